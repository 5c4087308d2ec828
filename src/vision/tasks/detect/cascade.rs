//! Finds faces with the networks of [`crate::vision::models::bands`]: the first stage proposes windows all over the picture, the second
//! judges each of them.
//!
//! Source: Yang et al., "WIDER FACE: A Face Detection Benchmark", CVPR 2016, section 4.

use super::judge::{AT_ONCE, Judge, Window, sigmoid};
use super::plane::{Plane, Zoom};
use crate::error::{Error, Result};
use crate::exec::{Device, Network, Session};
use crate::graph::{Draft, Given, NodeId};
use crate::tensor::Tensor;
use crate::vision::boxes::{Bounds, Detection, Overlap, suppress};
use crate::vision::image::Picture;
use crate::vision::models::bands::{BANDS, Band, CLASSES, Stage};
use crate::vision::patch::Photo;
use crate::weights::Weights;

/// Least score and largest IoU of faces, unless others are asked for. Chosen on AFW's dev half, as what follows.
pub const THRESHOLD: f64 = 0.5;
pub const OVERLAP: f64 = 0.3;
/// Largest part of a face that may lie in a more certain one.
pub const INSIDE: f64 = 0.7;
/// Least probability of a window that is judged, largest IoU of two of them, and how many of them a level has at most.
const LIKELY: f64 = 0.05;
const COMPETING: f64 = 0.6;
const MOST_WINDOWS: usize = 300;
/// Least score of what is judged once more.
const AGAIN: f64 = 0.02;
/// Most outputs of a first stage along each side of a part of the picture; their number is rounded up to a multiple, so that pictures of
/// similar sizes share a plan.
const MOST_OUTPUTS: usize = 128;
const MULTIPLE: usize = 4;

/// Which networks look at which sizes of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plan {
    /// Each band's networks look at the picture itself.
    #[default]
    Bands,
    /// The second band's networks look at the picture, and at it three times as large and a quarter as large: the paper's "two-stage CNN",
    /// a single network with a pyramid, to compare with.
    Pyramid,
}

/// A two-stage cascade.
#[derive(Debug)]
pub struct Cascade {
    levels: Vec<Level>,
}

/// A network as pictures of a size use it, for a profile.
#[derive(Debug)]
pub struct Use {
    pub name: String,
    pub stage: Stage,
    /// How often a picture is looked at: once for each part of it; once for [`AT_ONCE`] windows.
    pub runs: usize,
    pub session: Session,
}

/// The networks of a band, and the size of picture that they look at.
#[derive(Debug)]
struct Level {
    /// Of the band, from 1 on.
    number: usize,
    /// In samples of the networks' input.
    band: Band,
    zoom: Zoom,
    /// What the logits of a face are too high by. Networks learn from as many faces whatever the band, but in a picture, the more windows a
    /// level has, the fewer of them show a face: the logarithm of their number relative to that of the second band.
    excess: f64,
    propose: Network,
    judge: Judge,
}

/// Returns how many parts `outputs` outputs are computed in, and how many outputs each has.
fn parts(outputs: usize) -> (usize, usize) {
    let count = outputs.div_ceil(MOST_OUTPUTS);
    (count, outputs.div_ceil(count).next_multiple_of(MULTIPLE))
}

/// Returns a network of a band, given the weights of the whole cascade.
pub(super) fn network(device: &Device, weights: &Weights, number: usize, band: Band, stage: Stage) -> Result<Network> {
    let prefix = stage.prefix(number);
    let own = weights.renamed(|name| name.strip_prefix(&prefix).map(str::to_owned))?;
    if own.tensors().is_empty() {
        let problem = format!(
            "has no {prefix}*: it is not a whole cascade, as `lineament train detect` without --band writes it"
        );
        return Err(Error::weights(weights.name(), problem));
    }
    Ok(device.network(own, move |g: &Draft| {
        let x = g.input("x");
        let ([face, more], name) = match stage {
            Stage::Propose => (band.proposals(x), "scale"),
            Stage::Judge => (band.judgements(x), "box"),
        };
        g.output("face", face);
        g.output(name, more);
    }))
}

/// Compiles a network for an input `x` of this shape.
pub(super) fn session(network: &Network, shape: [usize; 4]) -> Result<Session> {
    let drafted = network.draft(&[Given::new("x", shape)], false)?;
    let outputs: Vec<NodeId> = drafted.outputs.iter().map(|(_, id)| *id).collect();
    network.device().compile(&drafted.graph, &outputs, network.weights()?)
}

impl Level {
    fn new(device: &Device, weights: &Weights, number: usize, band: Band, zoom: Zoom) -> Result<Self> {
        let network = |stage: Stage| network(device, weights, number, band, stage);
        let spacing = band.stride as f64 / zoom.factor();
        let excess = 2.0 * (BANDS[1].stride as f64 / spacing).ln();
        Ok(Self {
            number,
            band,
            zoom,
            excess,
            propose: network(Stage::Propose)?,
            judge: Judge { network: network(Stage::Judge)?, side: band.side },
        })
    }

    /// Returns how many parts a side of the input is looked at in, and how many outputs each has. Windows have their middle in the picture.
    fn parts(&self, side: usize) -> (usize, usize) {
        parts(side / self.band.stride + 1)
    }

    /// Returns the side of an input of so many outputs.
    fn input(&self, outputs: usize) -> usize {
        (outputs - 1) * self.band.stride + self.band.side
    }

    /// Returns the networks as a picture of this height and width uses them.
    fn uses(&self, size: [usize; 2]) -> Result<Vec<Use>> {
        let of = |side: usize| self.parts(self.zoom.of(side).unwrap_or_default());
        let [(rows, high), (columns, wide)] = size.map(of);
        let side = self.band.side;
        let networks = [
            (&self.propose, Stage::Propose, [1, 1, self.input(high), self.input(wide)], rows * columns),
            (&self.judge.network, Stage::Judge, [AT_ONCE, 1, side, side], 1),
        ];
        let used = networks.into_iter().map(|(network, stage, shape, runs)| {
            let session = session(network, shape)?;
            let zoom = if let Zoom::Enlarged(factor) = self.zoom { format!(" ×{factor}") } else { String::new() };
            let name = format!("{}{zoom}", stage.prefix(self.number).trim_end_matches('.'));
            Ok(Use { name, stage, runs, session })
        });
        used.collect()
    }

    /// Returns the probability of a face by its logit.
    fn score(&self, logit: f64) -> f64 {
        sigmoid(logit - self.excess)
    }

    /// Returns the windows that may show faces of at least `min_size`, in pixels of the picture, the most likely first.
    fn proposals(&self, photo: &Photo, min_size: f64) -> Result<Vec<Window>> {
        let (band, zoom) = (self.band, self.zoom.factor());
        if band.classes[CLASSES] < min_size * zoom {
            return Ok(Vec::new());
        }
        let Some(plane) = Plane::of(photo, self.zoom)? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        let [(rows, high), (columns, wide)] = [plane.height, plane.width].map(|side| self.parts(side));
        let size = [high, wide].map(|outputs| self.input(outputs));
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let first = [row * high, column * wide];
            let corner = first.map(|k| (k * band.stride) as i64 - band.side as i64 / 2);
            let x = Tensor::new([1, 1, size[0], size[1]], plane.samples(corner, size))?;
            let mut out = self.propose.run(&[("x", &x)])?;
            let (face, scale) = (out.take("face")?, out.take("scale")?);
            let (face, scale) = (face.data(), scale.data());
            for (k, logit) in face.iter().enumerate() {
                let middle = [k % wide + first[1], k / wide + first[0]].map(|k| (k * band.stride) as f64);
                let is_inside = middle[0] <= plane.width as f64 && middle[1] <= plane.height as f64;
                if !is_inside || self.score((*logit).into()) < LIKELY {
                    continue;
                }
                let of = |class: &usize| scale[class * high * wide + k];
                let class = (0..CLASSES).max_by(|a, b| of(a).total_cmp(&of(b))).unwrap_or_default();
                let side = band.window(class) / zoom;
                let [x, y] = middle.map(|v| v / zoom - side / 2.0);
                all.push(Window { bounds: Bounds::new(x, y, side, side), logit: (*logit).into() });
            }
        }
        let detections: Vec<Detection> = all.iter().map(|window| self.detection(window)).collect();
        let kept = suppress(&detections, COMPETING, Overlap::Union)?;
        Ok(kept.into_iter().take(MOST_WINDOWS).map(|k| all[k]).collect())
    }

    fn detection(&self, &Window { bounds, logit }: &Window) -> Detection {
        Detection { bounds, score: self.score(logit), points: Vec::new() }
    }

    /// Returns those of the windows that show faces, with the faces' boxes and scores of at least `threshold`: that of the mean of a window's
    /// logit and of those of its two judgements.
    fn judgements(&self, photo: &Photo, windows: &[Window], threshold: f64) -> Result<Vec<Detection>> {
        let bounds: Vec<Bounds> = windows.iter().map(|window| window.bounds).collect();
        let is_likely = |logit| self.score(logit) >= AGAIN.min(threshold);
        let found = self.judge.twice(photo, &bounds, &is_likely)?;
        let all = found.into_iter().map(|(k, Window { bounds, logit })| {
            self.detection(&Window { bounds, logit: (windows[k].logit + 2.0 * logit) / 3.0 })
        });
        Ok(all.filter(|face| face.score >= threshold).collect())
    }
}

impl Cascade {
    /// Creates a cascade of weights as `lineament train detect` writes them.
    ///
    /// # Errors
    /// The weights of a network are missing.
    pub fn new(device: &Device, weights: &Weights, plan: Plan) -> Result<Self> {
        let levels: Vec<(usize, Zoom)> = match plan {
            Plan::Bands => {
                BANDS.iter().enumerate().map(|(k, b)| (k, Zoom::Halved(b.reduced.ilog2() as usize))).collect()
            }
            Plan::Pyramid => [Zoom::Enlarged(3), Zoom::Halved(0), Zoom::Halved(2)].map(|zoom| (1, zoom)).to_vec(),
        };
        let level = |(k, zoom): (usize, Zoom)| Level::new(device, weights, k + 1, BANDS[k].at_input(), zoom);
        Ok(Self { levels: levels.into_iter().map(level).collect::<Result<_>>()? })
    }

    /// Compiles the networks for a profile, each as a picture of this height and width uses it.
    ///
    /// # Errors
    /// The picture is too large for the device.
    pub fn uses(&self, size: [usize; 2]) -> Result<Vec<Use>> {
        let all: Vec<Vec<Use>> = self.levels.iter().map(|level| level.uses(size)).collect::<Result<_>>()?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Returns every face that a band finds with at least the score `threshold`, in no order; several boxes may show one face.
    ///
    /// # Errors
    /// The adapter fails.
    pub fn find(&self, picture: &Picture, threshold: f64, min_size: f64) -> Result<Vec<Detection>> {
        let photo = Photo::of(picture);
        let mut all = Vec::new();
        for level in &self.levels {
            let windows = level.proposals(&photo, min_size)?;
            all.extend(level.judgements(&photo, &windows, threshold)?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::{LEAST, square};
    use super::*;
    use crate::exec::{Params, Select};
    use crate::rng::Rng;
    use crate::vision::patch::{Layer, View};
    use std::collections::BTreeMap;

    fn device() -> Device {
        Device::open(&Select::Cpu).unwrap()
    }

    /// Weights by chance, of the networks of these bands.
    fn weights(device: &Device, bands: &[usize]) -> Weights {
        let mut all = BTreeMap::new();
        for (&number, stage) in bands.iter().flat_map(|band| [(band, Stage::Propose), (band, Stage::Judge)]) {
            let band = BANDS[number - 1].at_input();
            let network = device.network(Params::fresh(number as u64), move |g: &Draft| {
                let x = g.input("x");
                let [face, more] = if stage == Stage::Propose { band.proposals(x) } else { band.judgements(x) };
                g.output("face", face);
                g.output("more", more);
            });
            network.run(&[("x", &Tensor::zeros([1, 1, band.side, band.side]))]).unwrap();
            let own = network.weights().unwrap();
            all.extend(own.tensors().iter().map(|(name, t)| (format!("{}{name}", stage.prefix(number)), t.clone())));
        }
        Weights::from_tensors(all)
    }

    fn photo(width: usize, height: usize) -> Photo {
        let mut rng = Rng::new(5);
        Photo::new(width, height, (0..width * height).map(|_| rng.below(256) as u8).collect())
    }

    #[test]
    fn parts_cover_all_outputs() {
        for outputs in 1..2000 {
            let (count, each) = parts(outputs);
            assert!(count * each >= outputs && each <= MOST_OUTPUTS && (count - 1) * each < outputs, "{outputs}");
        }
        assert_eq!((parts(1), parts(128), parts(129)), ((1, 4), (1, 128), (2, 68)));
    }

    #[test]
    fn windows_lie_where_their_patches_do() {
        let device = device();
        // In two parts: 136 outputs in a row.
        let (band, photo) = (BANDS[0], photo(541, 9));
        let level = Level::new(&device, &weights(&device, &[1]), 1, band, Zoom::Halved(0)).unwrap();
        let found = level.proposals(&photo, 0.0).unwrap();
        assert!(!found.is_empty() && found.len() <= MOST_WINDOWS);
        assert!(found.iter().any(|window| window.bounds.x > 520.0), "the second part");
        for window in found.iter().step_by(20) {
            let [x, y] = window.bounds.centre();
            assert!((0.0..=541.0).contains(&x) && (0.0..=9.0).contains(&y) && x % 4.0 == 0.0 && y % 4.0 == 0.0);
            let view = View { of: [x, y], at: [15.0; 2], scale: 1.0, angle: 0.0, is_mirrored: false };
            let mut patch = vec![0.0; 900];
            Layer { photo: &photo, part: photo.whole(), view, light: [2.0, -1.0] }.draw(30, 0.0, &mut patch);
            let out = level.propose.run(&[("x", &Tensor::new([1, 1, 30, 30], patch).unwrap())]).unwrap();
            assert!((f64::from(out["face"].data()[0]) - window.logit).abs() < 1e-4, "{window:?}");
            let classes = out["scale"].data();
            let best = (0..CLASSES).max_by(|a, b| classes[*a].total_cmp(&classes[*b])).unwrap();
            assert_eq!(window.bounds.width, band.window(best));
        }
        assert_eq!(level.proposals(&photo, 31.0).unwrap(), [], "faces of this band are smaller");
    }

    #[test]
    fn judged_windows_are_moved_by_parts_of_their_sides_twice() {
        let device = device();
        let (band, photo) = (BANDS[0], photo(60, 50));
        let level = Level::new(&device, &weights(&device, &[1]), 1, band, Zoom::Halved(0)).unwrap();
        let windows: Vec<Bounds> = (0..AT_ONCE + 3).map(|k| Bounds::new(2.0 * k as f64, 5.0, 15.0, 15.0)).collect();
        let found = level.judge.judged(&photo, &windows).unwrap();
        assert_eq!(found.len(), windows.len());
        for (window, found) in windows.iter().zip(&found) {
            let view = View { of: window.centre(), at: [15.0; 2], scale: 2.0, angle: 0.0, is_mirrored: false };
            let mut patch = vec![0.0; 900];
            Layer { photo: &photo, part: photo.whole(), view, light: [2.0, -1.0] }.draw(30, 0.0, &mut patch);
            let out = level.judge.network.run(&[("x", &Tensor::new([1, 1, 30, 30], patch).unwrap())]).unwrap();
            assert!((f64::from(out["face"].data()[0]) - found.logit).abs() < 1e-4);
            for ((got, side), offset) in found.bounds.sides().iter().zip(window.sides()).zip(out["box"].data()) {
                assert!((got - side - 15.0 * f64::from(*offset)).abs() < 1e-4);
            }
        }
        // By chance, some boxes are inside out, and not judged again.
        let found: Vec<Window> =
            found.into_iter().filter(|face| face.bounds.width.min(face.bounds.height) >= LEAST).collect();
        assert!(found.len() > 5);
        let as_found: Vec<Window> = windows.iter().map(|bounds| Window { bounds: *bounds, logit: 0.3 }).collect();
        let both = level.judgements(&photo, &as_found, 0.0).unwrap();
        assert_eq!(both.len(), found.len());
        let squares: Vec<Bounds> = found.iter().map(|face| square(&face.bounds)).collect();
        assert!(squares.iter().all(|square| square.width == square.height));
        for ((a, b), mean) in found.iter().zip(level.judge.judged(&photo, &squares).unwrap()).zip(&both) {
            // Sixteen times as many windows as the second band's.
            let logit = (0.3 + a.logit + b.logit) / 3.0 - 16.0_f64.ln();
            assert!((sigmoid(logit) - mean.score).abs() < 1e-6);
            for ((a, b), mean) in a.bounds.sides().iter().zip(b.bounds.sides()).zip(mean.bounds.sides()) {
                assert!((a + b - 2.0 * mean).abs() < 1e-6);
            }
        }
        let best = both.iter().map(|face| face.score).fold(0.0, f64::max);
        assert_eq!(level.judgements(&photo, &as_found, best).unwrap().len(), 1);
    }

    #[test]
    fn a_band_looks_at_means_of_the_picture() {
        let device = device();
        let all = weights(&device, &[2, 3]);
        let level = |number: usize, weights: &Weights, zoom| {
            Level::new(&device, weights, number, BANDS[number - 1].at_input(), zoom).unwrap()
        };
        // The third band's networks on a picture are the same as on its halves.
        let photo = photo(90, 70);
        let (width, height, pixels) = photo.halved(1).unwrap();
        let half = Photo::new(width, height, pixels.to_vec());
        let found = level(3, &all, Zoom::Halved(1)).proposals(&photo, 0.0).unwrap();
        let of_half = level(3, &all, Zoom::Halved(0)).proposals(&half, 0.0).unwrap();
        assert!(!found.is_empty() && found.len() == of_half.len());
        for (a, b) in found.iter().zip(&of_half) {
            assert_eq!(a.bounds.sides(), b.bounds.sides().map(|side| 2.0 * side));
        }
        // Enlarged three times, the same windows are a third as large.
        let large = level(2, &all, Zoom::Enlarged(3)).proposals(&half, 0.0).unwrap();
        assert!(large.iter().all(|window| [40.0, 65.0, 100.0].contains(&(3.0 * window.bounds.width))));
        // Too small to be halved so often.
        let small = Photo::new(9, 9, vec![0; 81]);
        assert_eq!(level(3, &all, Zoom::Halved(2)).proposals(&small, 0.0).unwrap(), []);
    }

    #[test]
    fn a_cascade_needs_all_its_networks() {
        let device = device();
        let all = weights(&device, &[2]);
        assert!(Cascade::new(&device, &all, Plan::Pyramid).is_ok());
        let problem = Cascade::new(&device, &all, Plan::Bands).unwrap_err().to_string();
        assert!(problem.contains("band1.proposals."), "{problem}");
    }
}
