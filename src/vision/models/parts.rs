//! Networks that learn five parts of faces from attributes alone: hair, eyes, nose, mouth and beard. Where a network for "Eyeglasses" or
//! "Narrow Eyes" responds, there are eyes.
//!
//! Source: Yang et al., "From Facial Parts Responses to Face Detection: A Deep Learning Approach", ICCV 2015, section 3.1; the first
//! layers are common to all five, as in its journal version (TPAMI 2018). The filters are our choice.

use crate::graph::Var;
use crate::ops::avg_pool2d::AvgPool2d;
use crate::ops::conv2d::Conv2d;
use crate::ops::reduce::{Axes, Kind, Reduce};

/// A part of the face, and the attributes of CelebA that it is learned from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    pub name: &'static str,
    pub attributes: &'static [&'static str],
    /// Where the part lies in a face's box, forehead to chin: left, top, right and bottom, as parts of its sides.
    pub region: [f64; 4],
}

/// The parts from top to bottom.
pub const PARTS: [Part; 5] = [
    Part {
        name: "hair",
        attributes: &[
            "Black_Hair",
            "Blond_Hair",
            "Brown_Hair",
            "Gray_Hair",
            "Bald",
            "Wavy_Hair",
            "Straight_Hair",
            "Receding_Hairline",
            "Bangs",
        ],
        region: [0.0, -0.3, 1.0, 0.2],
    },
    Part {
        name: "eyes",
        attributes: &["Bushy_Eyebrows", "Arched_Eyebrows", "Narrow_Eyes", "Bags_Under_Eyes", "Eyeglasses"],
        region: [0.0, 0.25, 1.0, 0.5],
    },
    Part { name: "nose", attributes: &["Big_Nose", "Pointy_Nose"], region: [0.25, 0.4, 0.75, 0.7] },
    Part {
        name: "mouth",
        attributes: &["Big_Lips", "Mouth_Slightly_Open", "Smiling", "Wearing_Lipstick"],
        region: [0.2, 0.65, 0.8, 0.9],
    },
    Part {
        name: "beard",
        attributes: &["No_Beard", "Goatee", "5_o_Clock_Shadow", "Mustache", "Sideburns"],
        region: [0.0, 0.6, 1.0, 1.05],
    },
];

/// Side of the patches that the networks learn from, in pixels.
pub const SIDE: usize = 96;
/// Heights of the faces in them.
pub const HEIGHTS: [f64; 2] = [40.0, 80.0];
/// Pixels between the responses of neighbouring places.
pub const STRIDE: usize = 4;

fn layer<'d>(x: Var<'d>, name: &str, channels: usize) -> Var<'d> {
    x.conv(name, channels, 3, Conv2d::same(3)).relu()
}

/// Returns the responses of each part's last convolution `[N, 32, H / 4, W / 4]` to luminance `x` `[N, 1, H, W]` in −1 to 1. H and W are
/// multiples of 4.
pub fn responses(x: Var) -> [Var; 5] {
    let x = x.conv("stem", 24, 5, Conv2d { stride: [2; 2], ..Conv2d::same(5) }).relu().max_pool(2);
    let x = layer(layer(layer(x, "conv1", 32), "conv2", 32), "conv3", 48);
    PARTS.map(|part| layer(layer(x, &format!("{}.conv1", part.name), 32), &format!("{}.conv2", part.name), 32))
}

/// Returns the logits of a part's attributes `[N, attributes, 1, 1]`: the means of its responses decide, wherever in the picture they are.
pub fn logits<'d>(part: &Part, responses: Var<'d>) -> Var<'d> {
    responses.avg_pool2d(AvgPool2d::adaptive([1, 1])).dense(&format!("{}.attributes", part.name), part.attributes.len())
}

/// Returns how strongly a part is seen at each place `[N, 1, H / 4, W / 4]`: the mean of its responses over the channels.
pub fn partness(responses: Var) -> Var {
    responses.reduce(Reduce { kind: Kind::Mean, axes: Axes { axes: vec![1], keep: true } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Device, Params, Select};
    use crate::graph::Draft;
    use crate::tensor::Tensor;
    use std::collections::BTreeSet;

    #[test]
    fn responses_lie_where_what_they_see_is() {
        let device = Device::open(&Select::Cpu).unwrap();
        let network = device.network(Params::fresh(2), |g: &Draft| {
            for (part, responses) in PARTS.iter().zip(responses(g.input("x"))) {
                g.output(&format!("{}_map", part.name), partness(responses));
                g.output(&format!("{}_logits", part.name), logits(part, responses));
            }
        });
        let run = |[left, top]: [usize; 2]| {
            let at = |k: usize| (k % 96).abs_diff(left) < 3 && (k / 96).abs_diff(top) < 3;
            let x = (0..96 * 96).map(|k| if at(k) { 1.0 } else { 0.0 }).collect();
            network.run(&[("x", &Tensor::new([1, 1, 96, 96], x).unwrap())]).unwrap()
        };
        // What moves by two and one places moves the responses by as many, as far from the borders as they see.
        let (here, there) = (run([44, 44]), run([44 + 2 * STRIDE, 44 + STRIDE]));
        for part in &PARTS {
            let [here, there] = [&here, &there].map(|out| &out[&format!("{}_map", part.name)[..]]);
            assert_eq!(here.shape(), [1, 1, 24, 24]);
            let mut seen = 0.0_f32;
            for (row, column) in (7..16).flat_map(|row| (7..15).map(move |column| (row, column))) {
                let [a, b] = [here.data()[row * 24 + column], there.data()[(row + 1) * 24 + column + 2]];
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1e-3), "{} {row} {column}: {a} {b}", part.name);
                seen = seen.max((a - here.data()[7 * 24 + 7]).abs());
            }
            assert!(seen > 1e-4, "{} sees nothing", part.name);
            let all: BTreeSet<&str> = part.attributes.iter().copied().collect();
            assert_eq!(all.len(), part.attributes.len());
        }
    }
}
