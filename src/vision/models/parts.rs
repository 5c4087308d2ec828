//! Networks that learn five parts of faces from attributes alone: hair, eyes, nose, mouth and beard. Where a network for "Eyeglasses" or
//! "Narrow Eyes" responds, there are eyes. A window shows a face if the parts respond where they lie in a face, and not elsewhere in it.
//!
//! Source: Yang et al., "From Facial Parts Responses to Face Detection: A Deep Learning Approach", ICCV 2015, sections 3.1 and 3.2; the first
//! layers are common to all five, as in its journal version (TPAMI 2018). The filters are our choice, as are the regions of parts.

use crate::error::{Error, Result};
use crate::graph::{Draft, Var};
use crate::ops::batch_norm::BatchNorm;
use crate::ops::conv2d::Conv2d;
use crate::ops::cumulative_sum::CumulativeSum;
use crate::ops::reduce::{Axes, Kind, Reduce};
use crate::ops::view::Border;
use crate::tensor::Tensor;
use crate::vision::boxes::Bounds;
use crate::weights::Weights;

/// A part of the face, and the attributes of CelebA that it is learned from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    pub name: &'static str,
    pub attributes: &'static [&'static str],
    pub region: Region,
}

/// Which region of a head a part lies in. One number λ, 0 to 1, says where: it is learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Region {
    /// All above λ.
    Above,
    /// A band around λ: its left and right side, and its height, as parts of the head's.
    Around([f64; 3]),
    /// All below λ.
    Below,
}

impl Region {
    /// Returns the region in a head, clipped to it.
    pub fn of(self, head: &Bounds, lambda: f64) -> Bounds {
        let [left, top, right, bottom] = match self {
            Self::Above => [0.0, 0.0, 1.0, lambda],
            Self::Around([left, right, height]) => [left, lambda - height / 2.0, right, lambda + height / 2.0],
            Self::Below => [0.0, lambda, 1.0, 1.0],
        };
        let (top, bottom) = (top.max(0.0), bottom.min(1.0));
        head.part([left, top, right - left, bottom - top])
    }
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
        region: Region::Above,
    },
    Part {
        name: "eyes",
        attributes: &["Bushy_Eyebrows", "Arched_Eyebrows", "Narrow_Eyes", "Bags_Under_Eyes", "Eyeglasses"],
        region: Region::Around([0.15, 0.85, 0.2]),
    },
    Part { name: "nose", attributes: &["Big_Nose", "Pointy_Nose"], region: Region::Around([0.3, 0.7, 0.25]) },
    Part {
        name: "mouth",
        attributes: &["Big_Lips", "Mouth_Slightly_Open", "Smiling", "Wearing_Lipstick"],
        region: Region::Around([0.25, 0.75, 0.2]),
    },
    Part {
        name: "beard",
        attributes: &["No_Beard", "Goatee", "5_o_Clock_Shadow", "Mustache", "Sideburns"],
        region: Region::Below,
    },
];

/// Side of the patches that the networks learn from, in pixels.
pub const SIDE: usize = 96;
/// Heights of the faces in them.
pub const HEIGHTS: [f64; 2] = [40.0, 80.0];
/// Pixels between the responses of neighbouring places.
pub const STRIDE: usize = 4;

/// How the channels of the convolutions are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// By batch normalisation, as the networks are trained.
    Batch,
    /// By the weights of the convolutions, as [`folded`] returns them.
    Folded,
}

impl Norm {
    fn conv<'d>(self, x: Var<'d>, name: &str, channels: usize, kernel: usize, op: Conv2d) -> Var<'d> {
        let x = x.conv(name, channels, kernel, op);
        match self {
            Self::Batch => x.batch_norm(&format!("{name}.norm")).relu(),
            Self::Folded => x.relu(),
        }
    }

    fn layer<'d>(self, x: Var<'d>, name: &str, channels: usize) -> Var<'d> {
        self.conv(x, name, channels, 3, Conv2d::same(3))
    }
}

/// Returns the weights with which the networks do without batch normalisation, and without the layers of labels: each filter is multiplied by
/// its channel's factor, and the bias moved.
///
/// # Errors
/// A tensor of a normalisation or of its convolution is missing or has another shape.
pub fn folded(weights: &Weights) -> Result<Weights> {
    let fail = |name: &str| Error::weights(weights.name(), format!("has no {name} that fits the networks of parts"));
    let is_other =
        |name: &str| name.starts_with(ARRANGEMENT) || name.contains(".attributes.") || name.contains(".norm.");
    let mut result = weights.renamed(|name| (!is_other(name)).then(|| name.to_owned()))?;
    let eps = f64::from(BatchNorm::default().eps);
    for norm in weights.tensors().keys().filter_map(|name| name.strip_suffix(".norm.w")) {
        let read = |name: String, count: Option<usize>| {
            let found = weights.get(&name).filter(|t| count.is_none_or(|count| t.data().len() == count));
            found.cloned().ok_or_else(|| fail(&name))
        };
        let mut bias = read(format!("{norm}.b"), None)?;
        let channels = bias.data().len();
        let all = ["w", "b", "mean", "variance"].map(|name| read(format!("{norm}.norm.{name}"), Some(channels)));
        let [scale, shift, mean, variance] = all;
        let (scale, shift, mean, variance) = (scale?, shift?, mean?, variance?);
        let mut filters = read(format!("{norm}.w"), None)?;
        if filters.shape()[0] != channels {
            return Err(fail(&format!("{norm}.w")));
        }
        let len = filters.data().len() / channels;
        for (k, filter) in filters.data_mut().chunks_mut(len).enumerate() {
            let factor = f64::from(scale.data()[k]) / (f64::from(variance.data()[k]) + eps).sqrt();
            filter.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
            let b = f64::from(bias.data()[k]) - f64::from(mean.data()[k]);
            bias.data_mut()[k] = (b * factor + f64::from(shift.data()[k])) as f32;
        }
        result.insert(format!("{norm}.w"), filters);
        result.insert(format!("{norm}.b"), bias);
    }
    Ok(result)
}

/// Returns the responses of each part's last convolution `[N, 32, H / 4, W / 4]` to luminance `x` `[N, 1, H, W]` in −1 to 1. H and W are
/// multiples of 4.
pub fn responses(x: Var, norm: Norm) -> [Var; 5] {
    let x = norm.conv(x, "stem", 24, 5, Conv2d { stride: [2; 2], ..Conv2d::same(5) }).max_pool(2);
    let x = norm.layer(norm.layer(norm.layer(x, "conv1", 32), "conv2", 32), "conv3", 48);
    PARTS.map(|part| {
        let [first, second] = ["conv1", "conv2"].map(|name| format!("{}.{name}", part.name));
        norm.layer(norm.layer(x, &first, 32), &second, 32)
    })
}

/// Returns the logits of a part's attributes `[N, attributes, 1, 1]`: the means of its responses decide, wherever in the picture they are.
pub fn logits<'d>(part: &Part, responses: Var<'d>) -> Var<'d> {
    let mean = Reduce { kind: Kind::Mean, axes: Axes { axes: vec![2, 3], keep: true } };
    responses.reduce(mean).dense(&format!("{}.attributes", part.name), part.attributes.len())
}

/// Returns how strongly each part is seen at each place `[N, 5, H / 4, W / 4]`: the mean of its [`responses`] over the channels.
pub fn partness<'d>(responses: &[Var<'d>; 5]) -> Var<'d> {
    let mean = Reduce { kind: Kind::Mean, axes: Axes { axes: vec![1], keep: true } };
    let [hair, others @ ..] = responses.map(|responses| responses.reduce(mean.clone()));
    hair.concat(&others, 1)
}

/// A head around a face's box, forehead to chin: left, top, width and height as parts of the box's sides.
const HEAD: [f64; 4] = [-0.25, -0.4, 1.5, 1.5];
/// Heights of the faces that windows are placed around, the middles of four parts of [`HEIGHTS`], and their widths as parts of them.
const TEMPLATES: [f64; 4] = [43.62, 51.87, 61.69, 73.36];
const WIDTH: f64 = 0.73;
/// Places between the middles of neighbouring windows.
const STEP: usize = 2;

/// Returns the faces that windows are placed around in maps of `rows` × `columns` places, in pixels of the input: of each size, with the
/// middle at every second place of every second row.
pub fn templates([rows, columns]: [usize; 2]) -> Vec<Bounds> {
    let middles = |count: usize| (0..=count).step_by(STEP).map(|k| (k * STRIDE) as f64);
    let of =
        |height: f64, y: f64, x: f64| Bounds::new(x - WIDTH * height / 2.0, y - height / 2.0, WIDTH * height, height);
    let all = TEMPLATES.into_iter().flat_map(|height| middles(rows).map(move |y| (height, y)));
    all.flat_map(|(height, y)| middles(columns).map(move |x| of(height, y, x))).collect()
}

/// Returns the places that lie in a box, which is in pixels: left, top, right and bottom of those that exist.
fn places(bounds: &Bounds, [rows, columns]: [usize; 2]) -> [usize; 4] {
    let near = |v: f64, most: usize| ((v / STRIDE as f64).round().max(0.0) as usize).min(most);
    let [left, top, right, bottom] = bounds.sides();
    [near(left, columns), near(top, rows), near(right, columns), near(bottom, rows)]
}

/// Where parts lie in a head, and what it says of a window that one responds there more than elsewhere in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrangement {
    /// λ of each part's region.
    pub lambda: [f64; 5],
    /// What is added to each place's response outside of a region, so that where nothing responds, nothing follows from it.
    pub floor: [f64; 5],
    /// Factor on a part's ratio and what is added: the logit of that the window shows a face.
    pub logistic: [[f64; 2]; 5],
}

/// Names of an arrangement's tensors in a weights file begin with this.
pub const ARRANGEMENT: &str = "arrangement.";

impl Arrangement {
    /// Reads an arrangement from the weights of the networks.
    ///
    /// # Errors
    /// It is missing or has another shape.
    pub fn of(weights: &Weights) -> Result<Self> {
        let read = |name: &str, len: usize| {
            let found = weights.get(&format!("{ARRANGEMENT}{name}")).map(Tensor::data).filter(|v| v.len() == len);
            let values = found.map(|values| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>());
            let remedy = "give weights that `lineament train detect --stage parts` wrote";
            values.ok_or_else(|| {
                Error::weights(weights.name(), format!("has no {len} numbers {ARRANGEMENT}{name}; {remedy}"))
            })
        };
        let five = |values: &[f64], from: usize| [0, 1, 2, 3, 4].map(|k| values[from + k]);
        let (lambda, floor, logistic) = (read("lambda", 5)?, read("floor", 5)?, read("logistic", 10)?);
        let (factors, added) = (five(&logistic, 0), five(&logistic, 5));
        let logistic = [0, 1, 2, 3, 4].map(|k| [factors[k], added[k]]);
        Ok(Self { lambda: five(&lambda, 0), floor: five(&floor, 0), logistic })
    }

    /// Adds the arrangement to weights.
    pub fn write(&self, weights: &mut Weights) {
        let logistic = [0, 1].map(|k| self.logistic.map(|line| line[k])).concat();
        for (name, values) in [("lambda", &self.lambda[..]), ("floor", &self.floor), ("logistic", &logistic)] {
            let mut tensor = Tensor::zeros([values.len()]);
            tensor.data_mut().iter_mut().zip(values).for_each(|(to, v)| *to = *v as f32);
            weights.insert(format!("{ARRANGEMENT}{name}"), tensor);
        }
    }

    /// Returns the logit of that each window shows a face, given its parts' ratios.
    pub fn logits(&self, ratios: [f64; 5]) -> [f64; 5] {
        [0, 1, 2, 3, 4].map(|k| self.logistic[k][0] * ratios[k] + self.logistic[k][1])
    }

    /// Returns the faceness of a window: the sum of its parts' logits.
    pub fn faceness(&self, ratios: [f64; 5]) -> f64 {
        self.logits(ratios).iter().sum()
    }
}

/// Returns the ratios of each window of [`templates`] `[5, windows]`, given [`partness`] `[1, 5, rows, columns]`: the sum of a part's
/// responses in its region over the sum of those elsewhere in the head. Integral images make them the same few reads for any window.
pub fn ratios<'d>(g: &'d Draft, maps: Var<'d>, arrangement: &Arrangement) -> Var<'d> {
    let (rows, columns) = (maps.shape()[2], maps.shape()[3]);
    let sums = |axis: usize| CumulativeSum { axis, ..CumulativeSum::default() };
    let integral = maps
        .cumulative_sum(sums(2))
        .cumulative_sum(sums(3))
        .pad(&[(0, 0), (0, 0), (1, 0), (1, 0)], Border::Constant(0.0));
    let windows = templates([rows, columns]);
    let heads: Vec<Bounds> = windows.iter().map(|face| face.part(HEAD)).collect();
    let (mut corners, mut floors) = (Vec::new(), Vec::new());
    // Of the regions, and then of the whole heads: bottom right, top right, bottom left, top left.
    for is_whole in [false, true] {
        for (x, y) in [(2, 3), (2, 1), (0, 3), (0, 1)] {
            for (k, part) in PARTS.iter().enumerate() {
                corners.extend(heads.iter().map(|head| {
                    let bounds = if is_whole { *head } else { part.region.of(head, arrangement.lambda[k]) };
                    let sides = places(&bounds, [rows, columns]);
                    ((k * (rows + 1) + sides[y]) * (columns + 1) + sides[x]) as u32
                }));
            }
        }
    }
    for floor in arrangement.floor {
        floors.extend(heads.iter().map(|head| (floor * head.area() / (STRIDE * STRIDE) as f64) as f32));
    }
    let constant = |name: &str, tensor: Result<Tensor>| g.graph(&[], |graph, _| graph.constant(name, tensor?));
    let count = windows.len();
    let corners = constant("corners", Tensor::new([8 * 5 * count], corners));
    let signs = constant("signs", Tensor::new([1, 4, 1], vec![1.0, -1.0, -1.0, 1.0]));
    let floors = constant("floors", Tensor::new([5, count], floors));
    let flat = integral.reshape([5 * (rows + 1) * (columns + 1)]);
    let sums = (flat.gather(corners, 0).reshape([2, 4, 5 * count]) * signs).sum(&[1]);
    let [inside, all] = [0, 1].map(|k| sums.index(0, k).reshape([5, count]));
    inside / (all - inside + floors)
}

/// Integral images on the host, to learn an arrangement by.
#[derive(Debug, Clone)]
pub struct Integral {
    size: [usize; 2],
    /// Of each part, `(rows + 1) × (columns + 1)` sums of all above and to the left.
    sums: Vec<Vec<f64>>,
}

impl Integral {
    /// Adds up maps `[5, rows, columns]`.
    pub fn new(maps: &[f32], [rows, columns]: [usize; 2]) -> Self {
        let sums = maps.chunks(rows * columns).map(|map| {
            let mut sums = vec![0.0; (rows + 1) * (columns + 1)];
            for (y, row) in map.chunks(columns).enumerate() {
                let mut line = 0.0;
                for (x, value) in row.iter().enumerate() {
                    line += f64::from(*value);
                    sums[(y + 1) * (columns + 1) + x + 1] = sums[y * (columns + 1) + x + 1] + line;
                }
            }
            sums
        });
        Self { size: [rows, columns], sums: sums.collect() }
    }

    fn sum(&self, part: usize, bounds: &Bounds) -> f64 {
        let [left, top, right, bottom] = places(bounds, self.size);
        let at = |y: usize, x: usize| self.sums[part][y * (self.size[1] + 1) + x];
        at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left)
    }

    /// Returns the mean response of a part in the head around a face.
    pub fn mean(&self, part: usize, face: &Bounds) -> f64 {
        let head = face.part(HEAD);
        self.sum(part, &head) * (STRIDE * STRIDE) as f64 / head.area()
    }

    /// Returns the ratio of a part in the head around a face, as [`ratios`].
    pub fn ratio(&self, part: usize, face: &Bounds, lambda: f64, floor: f64) -> f64 {
        let head = face.part(HEAD);
        let (inside, all) = (self.sum(part, &PARTS[part].region.of(&head, lambda)), self.sum(part, &head));
        inside / (all - inside + floor * head.area() / (STRIDE * STRIDE) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Device, Params, Select};
    use crate::rng::Rng;
    use std::collections::BTreeSet;

    fn device() -> Device {
        Device::open(&Select::Cpu).unwrap()
    }

    #[test]
    fn responses_lie_where_what_they_see_is() {
        let network = device().network(Params::fresh(2), |g: &Draft| {
            g.output("maps", partness(&responses(g.input("x"), Norm::Batch)));
        });
        let run = |[left, top]: [usize; 2]| {
            let at = |k: usize| (k % 96).abs_diff(left) < 3 && (k / 96).abs_diff(top) < 3;
            let x = (0..96 * 96).map(|k| if at(k) { 1.0 } else { 0.0 }).collect();
            network.run(&[("x", &Tensor::new([1, 1, 96, 96], x).unwrap())]).unwrap()
        };
        // What moves by two and one places moves the responses by as many, as far from the borders as they see.
        let (here, there) = (run([44, 44]), run([44 + 2 * STRIDE, 44 + STRIDE]));
        assert_eq!(here["maps"].shape(), [1, 5, 24, 24]);
        for (part, (here, there)) in
            PARTS.iter().zip(here["maps"].data().chunks(576).zip(there["maps"].data().chunks(576)))
        {
            let mut seen = 0.0_f32;
            for (row, column) in (7..16).flat_map(|row| (7..15).map(move |column| (row, column))) {
                let [a, b] = [here[row * 24 + column], there[(row + 1) * 24 + column + 2]];
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1e-3), "{} {row} {column}: {a} {b}", part.name);
                seen = seen.max((a - here[7 * 24 + 7]).abs());
            }
            assert!(seen > 1e-4, "{} sees nothing", part.name);
            let all: BTreeSet<&str> = part.attributes.iter().copied().collect();
            assert_eq!(all.len(), part.attributes.len());
        }
    }

    #[test]
    fn folded_weights_respond_as_those_that_were_trained() {
        let maps = |weights: Params, norm| {
            device().network(weights, move |g: &Draft| {
                let responses = responses(g.input("x"), norm);
                g.output("maps", partness(&responses));
                g.output("logits", logits(&PARTS[0], responses[0]));
            })
        };
        let mut rng = Rng::new(3);
        let x = Tensor::new([1, 1, 32, 32], (0..1024).map(|_| rng.uniform(-1.0, 1.0) as f32).collect()).unwrap();
        let network = maps(Params::fresh(2), Norm::Batch);
        network.run(&[("x", &x)]).unwrap();
        // As after a training, none is 0 or 1.
        let mut tensors = network.weights().unwrap().tensors().clone();
        let scales: Vec<String> = tensors.keys().filter(|name| name.ends_with(".norm.w")).cloned().collect();
        for name in scales {
            let shape = tensors[&name].shape();
            for state in ["mean", "variance"] {
                tensors.insert(name.replace(".norm.w", &format!(".norm.{state}")), Tensor::filled(shape, 0.5));
            }
        }
        for (_, tensor) in tensors.iter_mut().filter(|(name, _)| name.contains(".norm.") || name.ends_with(".b")) {
            tensor.data_mut().iter_mut().for_each(|v| *v += rng.uniform(0.1, 0.6) as f32);
        }
        let trained = Weights::from_tensors(tensors);
        let expected = maps(trained.clone().into(), Norm::Batch).run(&[("x", &x)]).unwrap();
        let own = folded(&trained).unwrap();
        assert!(own.tensors().keys().all(|name| !name.contains("norm") && !name.contains("attributes")));
        let found = device().network(own, |g: &Draft| {
            g.output("maps", partness(&responses(g.input("x"), Norm::Folded)));
        });
        let found = found.run(&[("x", &x)]).unwrap();
        for (a, b) in found["maps"].data().iter().zip(expected["maps"].data()) {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(0.1), "{a} {b}");
        }
        let lacking = trained.renamed(|name| (name != "conv2.norm.mean").then(|| name.to_owned())).unwrap();
        assert!(folded(&lacking).unwrap_err().to_string().contains("conv2.norm.mean"));
    }

    #[test]
    fn regions_lie_where_their_lambda_says() {
        let head = Bounds::new(10.0, 100.0, 60.0, 80.0);
        let sides = |region: Region, lambda| region.of(&head, lambda).sides().map(|v| (v * 1e6).round() / 1e6);
        assert_eq!(sides(Region::Above, 0.25), [10.0, 100.0, 70.0, 120.0]);
        assert_eq!(sides(Region::Below, 0.25), [10.0, 120.0, 70.0, 180.0]);
        assert_eq!(sides(Region::Around([0.25, 0.5, 0.2]), 0.6), [25.0, 140.0, 40.0, 156.0]);
        // No further than the head.
        assert_eq!(sides(Region::Around([0.0, 1.0, 0.2]), 0.95), [10.0, 168.0, 70.0, 180.0]);
    }

    fn arrangement() -> Arrangement {
        let logistic = [[1.0, 0.5], [2.0, 0.0], [0.25, -1.0], [4.0, 0.125], [1.5, -0.5]];
        Arrangement { lambda: [0.25, 0.5, 0.625, 0.75, 0.875], floor: [0.5, 0.25, 0.125, 0.75, 0.0625], logistic }
    }

    #[test]
    fn ratios_on_a_device_are_those_of_the_sums() {
        let (rows, columns) = (21, 34);
        let mut rng = Rng::new(7);
        let maps: Vec<f32> = (0..5 * rows * columns).map(|_| rng.unit() as f32).collect();
        let known = arrangement();
        let used = known.clone();
        let network = device().network(Params::fresh(1), move |g: &Draft| {
            g.output("ratios", ratios(g, g.input("maps"), &used));
        });
        let out = network.run(&[("maps", &Tensor::new([1, 5, rows, columns], maps.clone()).unwrap())]).unwrap();
        let windows = templates([rows, columns]);
        // Eleven rows and eighteen columns of middles, up to the border, in four sizes.
        assert_eq!((windows.len(), out["ratios"].shape()), (4 * 11 * 18, [5, windows.len()].into()));
        let integral = Integral::new(&maps, [rows, columns]);
        for (part, found) in out["ratios"].data().chunks(windows.len()).enumerate() {
            for (window, ratio) in windows.iter().zip(found) {
                let expected = integral.ratio(part, window, known.lambda[part], known.floor[part]);
                assert!(
                    (f64::from(*ratio) - expected).abs() < 1e-3 * (1.0 + expected),
                    "{part} {window:?}: {ratio} {expected}"
                );
            }
        }
        // By hand: a head of 12 × 16 places whose left upper place is (4, 2), the eyes in rows 7 to 11 of it, columns 2 to 10.
        let face = Bounds::new(4.0 * 4.0 + 8.0, 2.0 * 4.0 + 64.0 * 0.4 / 1.5, 32.0, 64.0 / 1.5);
        let eyes = &maps[rows * columns..];
        let sum = |rows: std::ops::Range<usize>, across: std::ops::Range<usize>| -> f64 {
            let places = rows.flat_map(|row| across.clone().map(move |column| row * columns + column));
            places.map(|at| f64::from(eyes[at])).sum()
        };
        let (all, inside) = (sum(2..18, 4..16), sum(2 + 6..2 + 10, 4 + 2..4 + 10));
        let expected = inside / (all - inside + 0.25 * 12.0 * 16.0);
        let got = integral.ratio(1, &face, 0.5, 0.25);
        assert!((got - expected).abs() < 1e-9, "{got} {expected}");
        assert!((integral.mean(1, &face) - all / (12.0 * 16.0)).abs() < 1e-9);
    }

    #[test]
    fn an_arrangement_is_read_as_it_was_written() {
        let mut weights = Weights::default();
        assert!(Arrangement::of(&weights).unwrap_err().to_string().contains("train detect --stage parts"));
        arrangement().write(&mut weights);
        assert_eq!(Arrangement::of(&weights).unwrap(), arrangement());
        assert_eq!(arrangement().logits([1.0, 2.0, 4.0, 0.0, 1.0]), [1.5, 4.0, 0.0, 0.125, 1.0]);
        assert_eq!(arrangement().faceness([1.0, 2.0, 4.0, 0.0, 1.0]), 6.625);
        weights.insert("arrangement.floor", Tensor::zeros([4]));
        assert!(Arrangement::of(&weights).unwrap_err().to_string().contains("arrangement.floor"));
    }
}
