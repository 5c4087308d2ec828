//! Networks as functions that add named nodes and parameters to a [`Graph`].

pub mod attributes;
pub mod bands;
pub mod cbn;
pub mod deepid2;
pub mod fsrcnn;
pub mod parts;
pub mod shipped;
pub mod srcnn;

use crate::error::{Error, Result};
use crate::graph::{Graph, Init, NodeId};
use crate::ops::conv2d::Conv2d;
use crate::ops::prelu::Prelu;

/// What a convolution of odd size reads beyond its input's border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// Zeros. The result is as large as the input.
    Zero,
    /// The nearest pixel. The result is as large as the input.
    Repeat,
    /// Nothing. The result lacks ⌊kernel / 2⌋ pixels on each side.
    Valid,
}

/// Adds a convolution of odd size as node `name` with parameters `name.w` and `name.b`; 3×3 with zero padding uses the
/// specialised operation.
///
/// # Errors
/// `kernel` is even or above 11; `x` is smaller than `kernel` and `padding` is `Valid`; a name is taken.
pub(crate) fn conv(
    g: &mut Graph,
    name: &str,
    x: NodeId,
    channels: usize,
    kernel: usize,
    init: Init,
    padding: Padding,
) -> Result<NodeId> {
    let [_, inputs, _, _] = g.shape(x)?.nchw();
    let w = g.param(&format!("{name}.w"), [channels, inputs, kernel, kernel], init)?;
    let b = g.param(&format!("{name}.b"), [1, channels, 1, 1], Init::Constant(0.0))?;
    let same = Conv2d::same(kernel);
    match padding {
        Padding::Zero => g.add_named(name, same, &[x, w, b]),
        Padding::Repeat => g.add_named(name, Conv2d { replicate: true, ..same }, &[x, w, b]),
        Padding::Valid => g.add_named(name, Conv2d::default(), &[x, w, b]),
    }
}

/// Adds a PReLU with one slope per channel as node `name.prelu` with parameter `name.a`, initially 0.25 (He et al. 2015).
pub(crate) fn prelu(g: &mut Graph, name: &str, x: NodeId) -> Result<NodeId> {
    let [_, channels, _, _] = g.shape(x)?.nchw();
    let a = g.param(&format!("{name}.a"), [1, channels, 1, 1], Init::Constant(0.25))?;
    g.add_named(&format!("{name}.prelu"), Prelu, &[x, a])
}

/// What a super-resolution network reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// The small picture's luminance; the network enlarges it.
    Small,
    /// The luminance enlarged bicubically; the network sharpens it.
    Enlarged,
}

/// A named super-resolution network on luminance in 0..1.
#[derive(Debug, Clone, PartialEq)]
pub struct SuperResolution {
    pub name: String,
    pub scale: usize,
    pub reads: Reads,
    /// Input pixels to each side that an output pixel depends on. If `reads` is `Small`, they are counted from the small
    /// pixel that contains the output pixel.
    pub halo: usize,
    network: Network,
}

#[derive(Debug, Clone, PartialEq)]
enum Network {
    Fsrcnn(fsrcnn::Config),
    Srcnn(srcnn::Config),
}

/// Names that [`SuperResolution::new`] accepts.
pub const SUPER_RESOLUTION: [&str; 5] = ["fsrcnn", "fsrcnn-s", "srcnn", "srcnn-9-3-5", "srcnn-9-5-5"];

impl SuperResolution {
    /// Returns the network `name` for `scale`.
    ///
    /// # Errors
    /// `name` is unknown (the error lists the known names); `scale` is outside 2..=4.
    pub fn new(name: &str, scale: usize) -> Result<Self> {
        if !(2..=4).contains(&scale) {
            return Err(Error::Usage(format!("scale must be 2, 3 or 4, got {scale}")));
        }
        let network = match name {
            "fsrcnn" => Network::Fsrcnn(fsrcnn::Config::paper(scale)),
            "fsrcnn-s" => Network::Fsrcnn(fsrcnn::Config::small(scale)),
            "srcnn" => Network::Srcnn(srcnn::Config { kernels: [9, 1, 5] }),
            "srcnn-9-3-5" => Network::Srcnn(srcnn::Config { kernels: [9, 3, 5] }),
            "srcnn-9-5-5" => Network::Srcnn(srcnn::Config { kernels: [9, 5, 5] }),
            _ => return Err(Error::Usage(format!("there is no model {name:?}; there are {SUPER_RESOLUTION:?}"))),
        };
        let (reads, halo) = match &network {
            Network::Fsrcnn(config) => (Reads::Small, config.halo()),
            Network::Srcnn(config) => (Reads::Enlarged, config.halo()),
        };
        Ok(Self { name: name.to_owned(), scale, reads, halo, network })
    }

    /// Adds the network to a graph. `x` is `[N, 1, H, W]`; the result is `[N, 1, scale·H, scale·W]` if the network reads
    /// the small picture, else it has the shape of `x`.
    ///
    /// # Errors
    /// `x` has another number of channels.
    pub fn build(&self, g: &mut Graph, x: NodeId) -> Result<NodeId> {
        match &self.network {
            Network::Fsrcnn(config) => fsrcnn::build(g, x, config),
            Network::Srcnn(config) => srcnn::build(g, x, config),
        }
    }

    /// Like [`SuperResolution::build`], but in the form used for training: SRCNN is unpadded, so that the result lacks
    /// [`SuperResolution::cut_px`] on each side.
    ///
    /// # Errors
    /// `x` has another number of channels; the result would be empty.
    pub fn build_for_training(&self, g: &mut Graph, x: NodeId) -> Result<NodeId> {
        match &self.network {
            Network::Fsrcnn(config) => fsrcnn::build(g, x, config),
            Network::Srcnn(config) => srcnn::build_valid(g, x, config),
        }
    }

    /// Returns how many pixels the result of [`SuperResolution::build_for_training`] lacks on each side of the target.
    pub fn cut_px(&self) -> usize {
        match &self.network {
            Network::Fsrcnn(_) => 0,
            Network::Srcnn(config) => config.halo(),
        }
    }
}
