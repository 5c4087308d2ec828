//! DeepID2's network: 160 features of a face.
//!
//! conv1 4×4 (20), conv2 3×3 (40) and conv3 3×3 (60), each with ReLU and max pooling, conv4 2×2 (80) with ReLU, and a fully connected
//! layer of 160 with ReLU on conv3 and conv4 together. Filters of conv3 are shared in cells of 2×2 positions, those of conv4 not at all.
//! Source: Sun, Chen, Wang, Tang, "Deep Learning Face Representation by Joint Identification-Verification", NIPS 2014, section 2.

use crate::graph::Var;
use crate::ops::conv2d::Conv2d;
use crate::ops::dropout::Dropout;

/// Height and width of its input.
pub const SIZE: [usize; 2] = [55, 47];

/// Number of features.
pub const FEATURES: usize = 160;

/// Choices of the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Shares all filters over all positions, which leaves a third of the parameters.
    pub is_shared: bool,
    /// Probability that an input of the fully connected layer is dropped in training.
    pub dropout: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self { is_shared: false, dropout: 0.5 }
    }
}

/// Returns the features `[N, 160, 1, 1]` of faces `x` `[N, C, 55, 47]`.
pub fn features<'d>(x: Var<'d>, config: &Config) -> Var<'d> {
    let x = x.conv("conv1", 20, 4, Conv2d::default()).relu().max_pool(2);
    let x = x.conv("conv2", 40, 3, Conv2d::default()).relu().max_pool(2);
    let (third, fourth) = if config.is_shared {
        let third = x.conv("conv3", 60, 3, Conv2d::default()).relu().max_pool(2);
        (third, third.conv("conv4", 80, 2, Conv2d::default()).relu())
    } else {
        let third = x.local_conv("conv3", 60, 3, 2).relu().max_pool(2);
        (third, third.local_conv("conv4", 80, 2, 1).relu())
    };
    let both = third.flatten().concat(&[fourth.flatten()], 1);
    let [n, inputs] = [both.shape()[0], both.shape()[1]];
    let both = both.reshape([n, inputs, 1, 1]).dropout(Dropout { p: config.dropout, seed: 1 });
    both.dense("fc", FEATURES).relu()
}
