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

/// Returns the features `[N, 160, 1, 1]` of faces `x` `[N, C, 55, 47]`. In training, inputs of the fully connected layer are dropped with
/// probability `dropout`.
pub fn features(x: Var, dropout: f32) -> Var {
    let x = x.conv("conv1", 20, 4, Conv2d::default()).relu().max_pool(2);
    let x = x.conv("conv2", 40, 3, Conv2d::default()).relu().max_pool(2);
    let third = x.local_conv("conv3", 60, 3, 2).relu().max_pool(2);
    let fourth = third.local_conv("conv4", 80, 2, 1).relu();
    let both = third.flatten().concat(&[fourth.flatten()], 1);
    let [n, inputs] = [both.shape()[0], both.shape()[1]];
    let both = both.reshape([n, inputs, 1, 1]).dropout(Dropout { p: dropout, seed: 1 });
    both.dense("fc", FEATURES).relu()
}
