//! A small network for the attributes of a face: four 3×3 convolutions of 24, 48, 96 and 128 channels, each with batch normalisation,
//! ReLU and max pooling, then a fully connected layer of 160 with ReLU, and a logit for each attribute. All filters are shared over the
//! face, unlike those of [`deepid2`](super::deepid2), with which it has input and number of features in common.

use super::deepid2::FEATURES;
use crate::graph::Var;
use crate::ops::conv2d::Conv2d;
use crate::ops::dropout::Dropout;

/// Channels of the convolutions.
const CHANNELS: [usize; 4] = [24, 48, 96, 128];

/// Returns the features `[N, 160, 1, 1]` of faces `x` `[N, C, 55, 47]`; in training, half of the inputs of the last layer are dropped.
pub fn features(x: Var) -> Var {
    let mut x = x;
    for (k, channels) in CHANNELS.into_iter().enumerate() {
        let conv = format!("conv{}", k + 1);
        x = x.conv(&conv, channels, 3, Conv2d::same(3)).batch_norm(&format!("{conv}.norm")).relu().max_pool(2);
    }
    x.dropout(Dropout { p: 0.5, seed: 1 }).dense("fc", FEATURES).relu()
}

/// Returns the logits `[N, attributes, 1, 1]` of faces by their features.
pub fn logits(features: Var, attributes: usize) -> Var {
    features.dense("attributes", attributes)
}
