//! FSRCNN(d, s, m): maps the luminance of a small picture to that of the large one.
//!
//! conv5 (d) – conv1 (s) – m × conv3 (s) – conv1 (d) – deconv9 with stride = scale (1), a PReLU after every convolution.
//! Source: Dong, Loy, Tang, "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016, section 3.1.
//!
//! Differs from the paper: zero padding in every layer, so that input and output cover the same picture. The
//! deconvolution is padded by ⌈(9 − scale) / 2⌉, which centres its kernel on the small pixel's place in the large
//! picture (exactly for scale 3).
//! Not stated in the paper: we chose a PReLU after every mapping layer, as in the released networks.

use super::{Padding, conv, prelu};
use crate::error::Result;
use crate::graph::{Graph, Init, NodeId};
use crate::ops::conv_transpose2d::ConvTranspose2d;

/// Side of the deconvolution's filters.
const DECONV: usize = 9;

/// The sizes of an FSRCNN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    pub scale: usize,
    /// Feature channels.
    pub d: usize,
    /// Channels after shrinking.
    pub s: usize,
    /// Mapping layers.
    pub m: usize,
}

impl Config {
    /// FSRCNN(56, 12, 4).
    pub fn paper(scale: usize) -> Self {
        Self { scale, d: 56, s: 12, m: 4 }
    }
    /// FSRCNN-s: (32, 5, 1).
    pub fn small(scale: usize) -> Self {
        Self { scale, d: 32, s: 5, m: 1 }
    }
    fn padding(&self) -> usize {
        (DECONV - self.scale).div_ceil(2)
    }
    /// Returns how many small pixels an output pixel depends on to each side of the small pixel that contains it.
    pub fn halo(&self) -> usize {
        // Output o = scale·j + phase sums inputs i with 0 <= o + padding - scale·i < 9.
        let before = (DECONV - 1 - self.padding()) / self.scale;
        let after = self.padding().div_ceil(self.scale);
        2 + self.m + before.max(after)
    }
}

/// Adds the network to `g`. `x` is `[N, 1, H, W]` with luminance in 0..1; the result is `[N, 1, scale·H, scale·W]`.
///
/// # Errors
/// `x` does not have exactly one channel; a name is taken.
pub fn build(g: &mut Graph, x: NodeId, config: &Config) -> Result<NodeId> {
    let Config { scale, d, s, m } = *config;
    // He et al. 2015 eq. 15, with PReLU's initial slope.
    let he = |inputs: usize, kernel: usize| Init::He { fan_in: inputs * kernel * kernel, slope: 0.25 };
    let layer = |g: &mut Graph, name: &str, x, inputs, channels, kernel| {
        let y = conv(g, name, x, channels, kernel, he(inputs, kernel), Padding::Zero)?;
        prelu(g, name, y)
    };
    let mut y = layer(g, "feature", x, 1, d, 5)?;
    y = layer(g, "shrink", y, d, s, 1)?;
    for i in 1..=m {
        y = layer(g, &format!("map{i}"), y, s, s, 3)?;
    }
    y = layer(g, "expand", y, s, d, 1)?;
    let w = g.param("deconv.w", [d, 1, DECONV, DECONV], Init::Normal(0.001))?;
    let b = g.param("deconv.b", [1, 1, 1, 1], Init::Constant(0.0))?;
    let padding = config.padding();
    let op = ConvTranspose2d {
        stride: [scale; 2],
        padding: [padding; 2],
        output_padding: [2 * padding - (DECONV - scale); 2],
        ..ConvTranspose2d::default()
    };
    g.add_named("deconv", op, &[y, w, b])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_scale_times_input() {
        for scale in 2..=4 {
            let mut g = Graph::new();
            let x = g.input("x", [2, 1, 10, 7]).unwrap();
            let y = build(&mut g, x, &Config::paper(scale)).unwrap();
            assert_eq!(g.shape(y).unwrap(), [2, 1, 10 * scale, 7 * scale]);
        }
    }

    #[test]
    fn parameters_are_the_papers() {
        // 12,464 weights without biases and slopes: section 3.2, and systems.md 5.5.
        let mut g = Graph::new();
        let x = g.input("x", [1, 1, 8, 8]).unwrap();
        build(&mut g, x, &Config::paper(3)).unwrap();
        let weights = g.initialize(0);
        let count: usize =
            weights.tensors().iter().filter(|(n, _)| n.ends_with(".w")).map(|(_, t)| t.data().len()).sum();
        assert_eq!(count, 12_464);
    }
}
