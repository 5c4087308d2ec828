//! Finds faces by their parts: windows are placed all over a picture, ranked by how the parts of a face lie in them, and the best ones are
//! judged by a network of the cascade.
//!
//! Source: Yang et al., "From Facial Parts Responses to Face Detection: A Deep Learning Approach", ICCV 2015, sections 3.2 and 3.3; the
//! windows are placed as in its journal version (TPAMI 2018).

use super::cascade::{Use, network, session};
use super::judge::{AT_ONCE, Judge, sigmoid, square};
use super::plane::{Plane, Zoom};
use crate::error::Result;
use crate::exec::{Device, Network};
use crate::graph::Draft;
use crate::rng::Rng;
use crate::tensor::Tensor;
use crate::vision::boxes::{Bounds, Detection, Overlap, suppress};
use crate::vision::image::Picture;
use crate::vision::models::bands::{BANDS, Stage};
use crate::vision::models::parts::{
    Arrangement, HEIGHTS, Norm, PARTS, STRIDE, folded, partness, ratios, responses, templates,
};
use crate::vision::patch::Photo;
use crate::vision::tasks::windows::{Grid, Stretch, stretches};
use crate::weights::Weights;

/// The sizes of the picture that the networks look at: at each, they find faces twice as large as at the one before.
const ZOOMS: [Zoom; 5] = [Zoom::Enlarged(2), Zoom::Halved(0), Zoom::Halved(1), Zoom::Halved(2), Zoom::Halved(3)];
/// Most pixels of a part of the picture along each side, and how many of them are looked at again by its neighbour: a head may reach so far
/// beyond the middle of its window.
const MOST_SIDE: usize = 1024;
const HALO: usize = 96;
/// Sides of parts are multiples of this, so that pictures of similar sizes share a plan.
const MULTIPLE: usize = 32;
/// Windows per part and size of the picture that compete, the largest IoU of two that are kept, and how many are judged.
const MOST_PER_PART: usize = 400;
const COMPETING: f64 = 0.6;
const MOST_JUDGED: usize = 200;
/// The band whose network judges windows, at any size.
const JUDGED_BY: usize = 2;
/// Least score of what is judged once more.
const AGAIN: f64 = 0.02;

/// How windows are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// By faceness.
    #[default]
    Faceness,
    /// By chance, from this seed, to compare with; their ratios are 0.
    Chance(u64),
}

/// A window, and what the parts say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The face that it is placed around, in pixels of the picture.
    pub bounds: Bounds,
    /// The ratio of each part: the sum of its responses where it lies in a face over that elsewhere.
    pub ratios: [f64; 5],
    /// The higher, the more likely it is a face.
    pub faceness: f64,
}

/// Where parts are seen in a picture, at one size of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Maps {
    /// Heights of the faces whose parts are seen at this size, in pixels of the picture.
    pub heights: [f64; 2],
    /// Pixels of the picture per place along each side.
    pub spacing: f64,
    pub rows: usize,
    pub columns: usize,
    /// Of each part of [`PARTS`], the responses of all places, row by row.
    pub of: Vec<Vec<f32>>,
}

/// A detector of faces by their parts.
#[derive(Debug)]
pub struct Faceness {
    arrangement: Arrangement,
    network: Network,
    judge: Judge,
}

/// A part of a picture at a size.
struct Tile {
    rows: Stretch,
    columns: Stretch,
    samples: Tensor,
}

/// Cuts a picture at a size into parts that the networks can look at.
fn tiles(plane: &Plane) -> Result<Vec<Tile>> {
    let grid = Grid { multiple: MULTIPLE, remainder: 0, fixed: None };
    let [rows, columns] = [plane.height, plane.width].map(|side| stretches(grid.up(side), MOST_SIDE, HALO, &grid));
    let mut tiles = Vec::new();
    for (&rows, &columns) in rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
        let x = plane.samples([rows.start as i64, columns.start as i64], [rows.len, columns.len]);
        tiles.push(Tile { rows, columns, samples: Tensor::new([1, 1, rows.len, columns.len], x)? });
    }
    Ok(tiles)
}

impl Faceness {
    /// Creates a detector of the weights of the parts' networks and of a cascade, as `lineament train detect` writes them.
    ///
    /// # Errors
    /// Weights are missing.
    pub fn new(device: &Device, parts: &Weights, cascade: &Weights) -> Result<Self> {
        let arrangement = Arrangement::of(parts)?;
        let own = folded(parts)?;
        let used = arrangement.clone();
        let network_of_parts = device.network(own, move |g: &Draft| {
            let maps = partness(&responses(g.input("x"), Norm::Folded));
            g.output("ratios", ratios(g, maps, &used));
            g.output("maps", maps);
        });
        let band = BANDS[JUDGED_BY - 1].at_input();
        let judge = Judge { network: network(device, cascade, JUDGED_BY, band, Stage::Judge)?, side: band.side };
        Ok(Self { arrangement, network: network_of_parts, judge })
    }

    /// Compiles the networks for a profile, as a picture of this height and width uses them.
    ///
    /// # Errors
    /// The picture is too large for the device.
    pub fn uses(&self, size: [usize; 2]) -> Result<Vec<Use>> {
        let grid = Grid { multiple: MULTIPLE, remainder: 0, fixed: None };
        let mut all = Vec::new();
        for zoom in ZOOMS {
            let of = |side: usize| stretches(grid.up(zoom.of(side).unwrap_or_default()), MOST_SIDE, HALO, &grid);
            let [rows, columns] = size.map(of);
            let (Some(row), Some(column)) = (rows.first(), columns.first()) else { continue };
            let session = session(&self.network, [1, 1, row.len, column.len])?;
            let name = format!("parts ×{}", zoom.factor());
            all.push(Use { name, stage: Stage::Propose, runs: rows.len() * columns.len(), session });
        }
        let session = session(&self.judge.network, [AT_ONCE, 1, self.judge.side, self.judge.side])?;
        all.push(Use { name: format!("band{JUDGED_BY}.judgements"), stage: Stage::Judge, runs: 1, session });
        Ok(all)
    }

    /// Returns where each part is seen, at every size of the picture.
    ///
    /// # Errors
    /// The adapter fails.
    pub fn maps(&self, picture: &Picture) -> Result<Vec<Maps>> {
        let photo = Photo::of(picture);
        let mut all = Vec::new();
        for zoom in ZOOMS {
            let Some(plane) = Plane::of(&photo, zoom)? else { continue };
            let (rows, columns) = (plane.height.div_ceil(STRIDE), plane.width.div_ceil(STRIDE));
            let mut of = vec![vec![0.0; rows * columns]; PARTS.len()];
            for tile in tiles(&plane)? {
                let maps = self.network.run(&[("x", &tile.samples)])?.take("maps")?;
                let (high, wide) = (tile.rows.len / STRIDE, tile.columns.len / STRIDE);
                let kept =
                    |stretch: &Stretch, most: usize| stretch.keep.0 / STRIDE..(stretch.keep.1 / STRIDE).min(most);
                for (map, from) in of.iter_mut().zip(maps.data().chunks(high * wide)) {
                    let columns_kept = kept(&tile.columns, columns);
                    let left = columns_kept.start - tile.columns.start / STRIDE;
                    for row in kept(&tile.rows, rows) {
                        let from = &from[(row - tile.rows.start / STRIDE) * wide + left..][..columns_kept.len()];
                        map[row * columns..][columns_kept.clone()].copy_from_slice(from);
                    }
                }
            }
            let heights = HEIGHTS.map(|height| height / zoom.factor());
            all.push(Maps { heights, spacing: STRIDE as f64 / zoom.factor(), rows, columns, of });
        }
        Ok(all)
    }

    /// Returns the best `most` windows around faces of at least `min_size`, none of them too near to a better one.
    ///
    /// # Errors
    /// The adapter fails.
    pub fn proposals(&self, photo: &Photo, min_size: f64, order: Order, most: usize) -> Result<Vec<Proposal>> {
        let mut all = Vec::new();
        let mut rng = if let Order::Chance(seed) = order { Some(Rng::new(seed)) } else { None };
        for zoom in ZOOMS {
            if HEIGHTS[1] < min_size * zoom.factor() {
                continue;
            }
            let Some(plane) = Plane::of(photo, zoom)? else { continue };
            for tile in tiles(&plane)? {
                let windows = templates([tile.rows.len / STRIDE, tile.columns.len / STRIDE]);
                // By chance, windows are placed without a look at the picture.
                let ratios = match rng {
                    Some(_) => Tensor::zeros([5, windows.len()]),
                    None => self.network.run(&[("x", &tile.samples)])?.take("ratios")?,
                };
                all.extend(self.best(&tile, &plane, &windows, ratios.data(), zoom.factor(), &mut rng)?);
            }
        }
        best(&all, most, |proposal| proposal.faceness)
    }

    /// Returns the best windows of a part of the picture: those that are best by one of the parts, or by chance.
    fn best(
        &self,
        tile: &Tile,
        plane: &Plane,
        windows: &[Bounds],
        ratios: &[f32],
        zoom: f64,
        rng: &mut Option<Rng>,
    ) -> Result<Vec<Proposal>> {
        let count = windows.len();
        let mut all = Vec::new();
        for (k, window) in windows.iter().enumerate() {
            let [x, y] = window.centre();
            let is_kept = |v: f64, stretch: &Stretch, side: usize| {
                let v = v + stretch.start as f64;
                (stretch.keep.0 as f64..stretch.keep.1 as f64).contains(&v) && v <= side as f64
            };
            if !is_kept(x, &tile.columns, plane.width) || !is_kept(y, &tile.rows, plane.height) {
                continue;
            }
            let ratios = [0, 1, 2, 3, 4].map(|part| f64::from(ratios[part * count + k]));
            let faceness = rng.as_mut().map_or_else(|| self.arrangement.faceness(ratios), Rng::unit);
            let at = [window.x + tile.columns.start as f64, window.y + tile.rows.start as f64].map(|v| v / zoom);
            let bounds = Bounds::new(at[0], at[1], window.width / zoom, window.height / zoom);
            all.push(Proposal { bounds, ratios, faceness });
        }
        if rng.is_some() {
            return Ok(all);
        }
        let mut kept = Vec::new();
        for part in 0..PARTS.len() {
            kept.extend(best(&all, MOST_PER_PART, |proposal| proposal.ratios[part])?);
        }
        Ok(kept)
    }

    /// Returns every face that is found with at least the score `threshold`, in no order; several boxes may show one face.
    ///
    /// # Errors
    /// The adapter fails.
    pub fn find(&self, picture: &Picture, threshold: f64, min_size: f64) -> Result<Vec<Detection>> {
        let photo = Photo::of(picture);
        let proposals = self.proposals(&photo, min_size, Order::Faceness, MOST_JUDGED)?;
        let windows: Vec<Bounds> = proposals.iter().map(|proposal| square(&proposal.bounds)).collect();
        let is_likely = |logit| sigmoid(logit) >= AGAIN.min(threshold);
        let found = self.judge.twice(&photo, &windows, &is_likely)?;
        let all = found.into_iter().map(|(_, face)| Detection {
            bounds: face.bounds,
            score: sigmoid(face.logit),
            points: Vec::new(),
        });
        Ok(all.filter(|face| face.score >= threshold).collect())
    }
}

/// Returns the best `most` of proposals by a score, none of them too near to a better one.
fn best(all: &[Proposal], most: usize, score: impl Fn(&Proposal) -> f64) -> Result<Vec<Proposal>> {
    // More than a few times as many need not compete.
    const RIVALS: usize = 8;
    let mut all: Vec<&Proposal> = all.iter().collect();
    all.sort_by(|a, b| score(b).total_cmp(&score(a)));
    all.truncate(RIVALS * most);
    let boxes: Vec<Detection> = all
        .iter()
        .map(|proposal| Detection { bounds: proposal.bounds, score: score(proposal), points: Vec::new() })
        .collect();
    Ok(suppress(&boxes, COMPETING, Overlap::Union)?.into_iter().take(most).map(|k| all[k].clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Params, Select};
    use crate::vision::image::{Channels, Samples};
    use std::collections::BTreeMap;

    fn picture(width: usize, height: usize) -> Picture {
        let mut rng = Rng::new(5);
        let pixels = (0..width * height).map(|_| rng.below(256) as u8).collect();
        Picture::from_samples("x", width, height, Channels::Grey, Samples::U8(pixels)).unwrap()
    }

    /// A detector with weights by chance.
    fn faceness() -> Faceness {
        let device = Device::open(&Select::Cpu).unwrap();
        let network = device.network(Params::fresh(3), |g: &Draft| {
            g.output("maps", partness(&responses(g.input("x"), Norm::Batch)));
        });
        network.run(&[("x", &Tensor::zeros([1, 1, 32, 32]))]).unwrap();
        let mut parts = Weights::from_tensors(network.weights().unwrap().tensors().clone());
        let scales: Vec<(String, Tensor)> = parts
            .tensors()
            .iter()
            .filter(|(name, _)| name.ends_with(".norm.w"))
            .map(|(n, t)| (n.clone(), t.clone()))
            .collect();
        for (name, scale) in scales {
            // A fresh network has not counted anything yet.
            for (state, value) in [("mean", 0.0), ("variance", 1.0)] {
                parts.insert(name.replace(".norm.w", &format!(".norm.{state}")), Tensor::filled(scale.shape(), value));
            }
        }
        parts.insert("hair.attributes.w", Tensor::zeros([9, 32, 1, 1]));
        assert!(Faceness::new(&device, &parts, &Weights::default()).unwrap_err().to_string().contains("arrangement."));
        let logistic = [[1.0, 0.0], [0.5, 0.25], [2.0, 0.0], [1.0, 1.0], [0.25, 0.0]];
        Arrangement { lambda: [0.35, 0.55, 0.65, 0.75, 0.85], floor: [0.1; 5], logistic }.write(&mut parts);
        let band = BANDS[1].at_input();
        let judge = device.network(Params::fresh(4), move |g: &Draft| {
            let [face, offsets] = band.judgements(g.input("x"));
            g.output("face", face);
            g.output("box", offsets);
        });
        judge.run(&[("x", &Tensor::zeros([1, 1, band.side, band.side]))]).unwrap();
        let own = judge.weights().unwrap();
        let named = |(name, t): (&String, &Tensor)| (format!("{}{name}", Stage::Judge.prefix(JUDGED_BY)), t.clone());
        let cascade = Weights::from_tensors(own.tensors().iter().map(named).collect::<BTreeMap<_, _>>());
        Faceness::new(&device, &parts, &cascade).unwrap()
    }

    #[test]
    fn maps_of_a_large_picture_have_no_seams() {
        let faceness = faceness();
        // Two parts at its own size; the middle third of it is one, and begins at a multiple of a place.
        let (wide, part) = (picture(1100, 16), 800..1064);
        let whole = faceness.maps(&wide).unwrap();
        let rect = crate::vision::image::Rect { top: 0, left: part.start, height: 16, width: part.len() };
        let alone = faceness.maps(&wide.crop(rect).unwrap()).unwrap();
        let (whole, alone) = (&whole[1], &alone[1]);
        assert_eq!((whole.rows, whole.columns, alone.columns), (4, 275, 66));
        assert_eq!((whole.spacing, whole.heights), (4.0, HEIGHTS));
        for (map, alone) in whole.of.iter().zip(&alone.of) {
            // Away from the borders of the part.
            for (row, column) in (0..4).flat_map(|row| (8..58).map(move |column| (row, column))) {
                let [a, b] = [map[row * 275 + part.start / 4 + column], alone[row * 66 + column]];
                assert!((a - b).abs() <= 1e-5 * a.abs().max(1e-2), "{row} {column}: {a} {b}");
            }
        }
    }

    #[test]
    fn the_best_windows_are_kept_and_lie_apart() {
        let faceness = faceness();
        let small = picture(130, 96);
        let photo = Photo::new(130, 96, small.luma_u8());
        let found = faceness.proposals(&photo, 0.0, Order::Faceness, 40).unwrap();
        assert_eq!(found.len(), 40);
        assert!(found.windows(2).all(|pair| pair[0].faceness >= pair[1].faceness));
        for (k, a) in found.iter().enumerate() {
            assert!((a.faceness - faceness.arrangement.faceness(a.ratios)).abs() < 1e-12);
            let [x, y] = a.bounds.centre();
            assert!((0.0..=130.0).contains(&x) && (0.0..=96.0).contains(&y), "{a:?}");
            assert!(found[..k].iter().all(|b| a.bounds.iou(&b.bounds) <= COMPETING), "{a:?}");
        }
        // Sizes of several zooms, and none below the least asked for at its zoom.
        let sizes = |all: &[Proposal]| {
            all.iter().map(|p| p.bounds.height).fold((f64::MAX, 0.0_f64), |(a, b), h| (a.min(h), b.max(h)))
        };
        assert!(sizes(&found).1 > 60.0 || sizes(&found).0 < 40.0, "{:?}", sizes(&found));
        let large = faceness.proposals(&photo, 41.0, Order::Faceness, 40).unwrap();
        assert!(large.iter().all(|p| p.bounds.height >= 40.0), "{:?}", sizes(&large));
        // The same windows by chance, in an order of their own.
        let [a, b] = [1, 2].map(|seed| faceness.proposals(&photo, 0.0, Order::Chance(seed), 40).unwrap());
        assert!(a != b && a.len() == 40 && a != found);
    }

    #[test]
    fn of_too_many_windows_the_best_compete() {
        let at = |k: usize| Proposal {
            bounds: Bounds::new(20.0 * k as f64, 0.0, 10.0, 10.0),
            ratios: [0.0; 5],
            faceness: k as f64,
        };
        let kept = best(&(0..100).map(at).collect::<Vec<_>>(), 2, |proposal| proposal.faceness).unwrap();
        assert_eq!(kept, [at(99), at(98)]);
    }

    #[test]
    fn what_is_found_is_what_the_judge_says_of_the_best_windows() {
        let faceness = faceness();
        let small = picture(10, 8);
        let photo = Photo::new(10, 8, small.luma_u8());
        let found = faceness.find(&small, 0.0, 0.0).unwrap();
        let proposals = faceness.proposals(&photo, 0.0, Order::Faceness, MOST_JUDGED).unwrap();
        let windows: Vec<Bounds> = proposals.iter().map(|p| square(&p.bounds)).collect();
        let expected = faceness.judge.twice(&photo, &windows, &|_| true).unwrap();
        assert!(!found.is_empty() && found.len() == expected.len());
        for (face, (_, window)) in found.iter().zip(&expected) {
            assert_eq!((face.bounds, face.score), (window.bounds, sigmoid(window.logit)));
        }
        let best = found.iter().map(|face| face.score).fold(0.0, f64::max);
        assert_eq!(faceness.find(&small, best, 0.0).unwrap().len(), 1);
    }
}
