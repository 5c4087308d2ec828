//! SRCNN f1-f2-f3: sharpens the luminance of a bicubically enlarged picture.
//!
//! conv f1 (64) ReLU – conv f2 (32) ReLU – conv f3 (1).
//! Source: Dong, Loy, He, Tang, "Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016, section 3.
//! Every layer replicates borders, as in the authors' test code; training drops them, as in section 3.3.

use super::{Padding, conv};
use crate::error::Result;
use crate::graph::{Graph, Init, NodeId};

/// The filter sizes of an SRCNN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// f1, f2, f3, all odd.
    pub kernels: [usize; 3],
}

impl Config {
    /// Returns how many pixels to each side an output pixel depends on.
    pub fn halo(&self) -> usize {
        self.kernels.iter().map(|k| k / 2).sum()
    }
}

/// Adds the network to `g`. `x` and the result are `[N, 1, H, W]` with luminance in 0..1.
///
/// # Errors
/// `x` does not have exactly one channel; a name is taken.
pub fn build(g: &mut Graph, x: NodeId, config: &Config) -> Result<NodeId> {
    layers(g, x, config, Padding::Repeat)
}

/// Like [`build`], but without padding: the result is `[N, 1, H − 2·halo, W − 2·halo]`, the inner pixels of `build`'s.
///
/// # Errors
/// Those of [`build`]; H or W is at most 2·halo.
pub fn build_valid(g: &mut Graph, x: NodeId, config: &Config) -> Result<NodeId> {
    layers(g, x, config, Padding::Valid)
}

fn layers(g: &mut Graph, x: NodeId, config: &Config, padding: Padding) -> Result<NodeId> {
    let init = Init::Normal(0.001);
    let y = conv(g, "patch", x, 64, config.kernels[0], init, padding)?;
    let y = g.relu(y)?;
    let y = conv(g, "map", y, 32, config.kernels[1], init, padding)?;
    let y = g.relu(y)?;
    conv(g, "reconstruct", y, 1, config.kernels[2], init, padding)
}
