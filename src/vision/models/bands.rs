//! The networks of the multi-scale cascade: four bands of face sizes, each with a network that proposes windows on the whole picture
//! and one of the same structure that judges them.
//!
//! Source: Yang et al., "WIDER FACE: A Face Detection Benchmark", CVPR 2016, section 4. The sides of the inputs and the scale classes are
//! theirs; their layer tables are not published, and the filters here are our choice: no padding, and a receptive field that is the
//! input, so that a patch of a band's side gives one output and a picture a map of them. The last two bands begin with means of 2 × 2 and
//! 4 × 4 pixels: our photographs of faces have no more than 128 pixels, and networks that look at single pixels of larger faces would
//! learn that faces are blurred. The networks of both therefore see the same.

use crate::graph::Var;
use crate::ops::conv2d::Conv2d;
use crate::ops::max_pool2d::MaxPool2d;

/// A band of face sizes. All lengths are in pixels of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Side of a network's window.
    pub side: usize,
    /// Distance of the windows of neighbouring outputs.
    pub stride: usize,
    /// Heights of faces from which the scale classes begin, and where the last one ends.
    pub classes: [f64; 4],
    /// Side of the squares whose mean is a sample of the networks' input.
    pub reduced: usize,
    stem: Stem,
    /// Channels of the first and second pair of 3×3 convolutions, and of the layers after them.
    channels: [usize; 3],
}

/// The first layers of a network, before those that all have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stem {
    /// Two 3×3 convolutions and a maximum of 2 × 2.
    Fine,
    /// A 5×5 convolution of stride 2 and a maximum of 2 × 2.
    Coarse,
}

/// The bands, from the smallest faces on.
pub const BANDS: [Band; 4] = {
    let fine = Band {
        side: 30,
        stride: 4,
        classes: [10.0, 15.0, 20.0, 30.0],
        reduced: 1,
        stem: Stem::Fine,
        channels: [32, 32, 64],
    };
    let coarse = Band {
        side: 120,
        stride: 16,
        classes: [30.0, 50.0, 80.0, 120.0],
        reduced: 1,
        stem: Stem::Coarse,
        channels: [32, 48, 96],
    };
    [
        fine,
        coarse,
        Band { side: 240, stride: 32, classes: [120.0, 160.0, 200.0, 240.0], reduced: 2, ..coarse },
        Band { side: 480, stride: 64, classes: [240.0, 320.0, 400.0, 480.0], reduced: 4, ..coarse },
    ]
};

/// Which of a band's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The network that proposes windows.
    Propose,
    /// The network that judges windows and moves their sides.
    Judge,
}

impl Stage {
    /// Returns what the names of a network's weights begin with among those of the whole cascade; `band` counts from 1.
    pub fn prefix(self, band: usize) -> String {
        let network = match self {
            Self::Propose => "proposals",
            Self::Judge => "judgements",
        };
        format!("band{band}.{network}.")
    }
}

/// Scale classes of a band.
pub const CLASSES: usize = 3;

impl Band {
    /// Returns the scale class of a face of this height, or `None` if it belongs to another band.
    pub fn class(&self, height: f64) -> Option<usize> {
        self.classes.windows(2).position(|ends| (ends[0]..ends[1]).contains(&height))
    }

    /// Returns the side of the window that an output of this scale class proposes: the middle of its heights.
    pub fn window(&self, class: usize) -> f64 {
        (self.classes[class] + self.classes[class + 1]) / 2.0
    }

    /// Returns the band in which all lengths are in samples of the networks' input.
    #[must_use]
    pub fn at_input(&self) -> Self {
        let of = |length: usize| length / self.reduced;
        let classes = self.classes.map(|height| height / self.reduced as f64);
        Self { side: of(self.side), stride: of(self.stride), classes, reduced: 1, ..*self }
    }

    /// Returns the features `[N, C, H, W]` of luminance `x` `[N, 1, …]` at the input's size, an output for each window.
    fn features<'d>(&self, x: Var<'d>) -> Var<'d> {
        let layer = |x: Var<'d>, name: &str, channels: usize, kernel: usize, stride: usize| {
            x.conv(name, channels, kernel, Conv2d { stride: [stride; 2], ..Conv2d::default() }).relu()
        };
        let [first, second, last] = self.channels;
        let x = match self.stem {
            Stem::Fine => {
                let x = layer(layer(x, "stem1", 16, 3, 1), "stem2", 16, 3, 1).max_pool(2);
                layer(layer(x, "conv1", first, 3, 1), "conv2", second, 3, 1).max_pool2d(MaxPool2d::new(3, 2))
            }
            Stem::Coarse => {
                let x = layer(x, "stem", 24, 5, 2).max_pool(2);
                let x = layer(layer(x, "conv1", first, 3, 1), "conv2", first, 3, 1).max_pool2d(MaxPool2d::new(3, 2));
                layer(layer(x, "conv3", second, 3, 1), "conv4", second, 3, 1).max_pool(2)
            }
        };
        layer(layer(x, "top1", last, 4, 1), "top2", last, 1, 1)
    }

    /// Returns the logits of "a face is in the middle of this window" `[N, 1, H, W]` and of its scale classes `[N, 3, H, W]`, for
    /// luminance `x` `[N, 1, …]` in −1 to 1, at the input's size.
    pub fn proposals<'d>(&self, x: Var<'d>) -> [Var<'d>; 2] {
        let features = self.features(x);
        [("face", 1), ("scale", CLASSES)].map(|(name, channels)| features.conv(name, channels, 1, Conv2d::default()))
    }

    /// Returns the logit of "a face" `[N, 1, 1, 1]`, and how far the face's left, top, right and bottom lie from the window's, as parts of
    /// its side `[N, 4, 1, 1]`, for windows `x` at the input's size, `[N, 1, side, side]`.
    pub fn judgements<'d>(&self, x: Var<'d>) -> [Var<'d>; 2] {
        let features = self.features(x);
        let [verdict, offsets] =
            [("verdict", 2), ("box", 4)].map(|(name, channels)| features.conv(name, channels, 1, Conv2d::default()));
        // The softmax of two logits is the sigmoid of their difference.
        let [not, face] = [0, 1].map(|class| verdict.narrow(1, class, 1));
        [face - not, offsets]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Device, Params, Select};
    use crate::graph::Draft;
    use crate::rng::Rng;
    use crate::tensor::Tensor;

    #[test]
    fn a_map_has_what_each_window_has() {
        let device = Device::open(&Select::Cpu).unwrap();
        let mut rng = Rng::new(1);
        // The others have the second one's layers.
        for band in BANDS.iter().take(2) {
            let network = device.network(Params::fresh(3), |g: &Draft| {
                let [face, scale] = band.proposals(g.input("x"));
                g.output("face", face);
                g.output("scale", scale);
            });
            // Two windows wide and high, and pixels that no window reaches.
            let side = band.side + band.stride + 3;
            let x: Vec<f32> = (0..side * side).map(|_| rng.uniform(-1.0, 1.0) as f32).collect();
            let map = network.run(&[("x", &Tensor::new([1, 1, side, side], x.clone()).unwrap())]).unwrap();
            assert_eq!((map["face"].shape(), map["scale"].shape()), ([1, 1, 2, 2].into(), [1, CLASSES, 2, 2].into()));
            for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let from = |k: usize| (row * band.stride + k / band.side) * side + column * band.stride + k % band.side;
                let window = (0..band.side * band.side).map(|k| x[from(k)]).collect();
                let window = Tensor::new([1, 1, band.side, band.side], window).unwrap();
                let one = network.run(&[("x", &window)]).unwrap();
                for name in ["face", "scale"] {
                    for (c, v) in one[name].data().iter().enumerate() {
                        let there = map[name].data()[c * 4 + row * 2 + column];
                        assert!(
                            (v - there).abs() <= 1e-6 * v.abs().max(1e-3),
                            "{name} {c} of {row}, {column}: {v} {there}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn every_band_begins_where_the_last_one_ends() {
        let mut height = BANDS[0].classes[0];
        for band in &BANDS {
            assert_eq!(band.classes[0], height);
            height = band.classes[CLASSES];
            assert!(band.classes.is_sorted() && height <= band.side as f64);
            let input = band.at_input();
            assert!(
                input.side <= 120
                    && (input.side * band.reduced, input.stride * band.reduced) == (band.side, band.stride)
            );
            assert!((0..CLASSES).all(|k| input.window(k) * band.reduced as f64 == band.window(k)));
            let network = Device::open(&Select::Cpu).unwrap().network(Params::fresh(1), |g: &Draft| {
                let [face, offsets] = band.judgements(g.input("x"));
                g.output("face", face);
                g.output("box", offsets);
            });
            let out = network.run(&[("x", &Tensor::filled([2, 1, input.side, input.side], 0.25))]).unwrap();
            assert_eq!((out["face"].shape(), out["box"].shape()), ([2, 1, 1, 1].into(), [2, 4, 1, 1].into()));
        }
        assert_eq!(
            [9.9, 10.0, 14.9, 15.0, 29.9, 30.0].map(|h| BANDS[0].class(h)),
            [None, Some(0), Some(0), Some(1), Some(2), None]
        );
        assert_eq!(BANDS[0].window(2), 25.0);
    }
}
