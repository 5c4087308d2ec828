//! What the outputs of a network mean: boxes, scores and landmarks.

use crate::error::{Error, Result};
use crate::import::array::Array;
use crate::vision::boxes::{Bounds, Detection};
use serde::Deserialize;

/// How boxes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Relative to a box at each place, as in SSD: the shift of the centre in sides of that box, and the logarithm of the size, both
    /// multiplied by `variances`.
    Priors,
    /// Distances from a place to the left, top, right and bottom side in strides, as in FCOS and SCRFD.
    Distances,
    /// Left, top, right and bottom as parts of the input's width and height.
    Corners,
}

/// How to feed a network and to read its outputs. It is a TOML file:
///
/// ```toml
/// kind = "priors"                 # or "distances" or "corners"
/// mean = [127]                    # subtracted from the samples, 0 to 255: one number, or red, green, blue
/// std = [128]                     # divides what is left
/// strides = [8, 16, 32, 64]       # pixels from place to place, for each grid
/// min_boxes = [[10, 16, 24], [32, 48], [64, 96], [128, 192, 256]]
/// scores = ["scores"]             # outputs: one for all grids, or one for each
/// boxes = ["boxes"]
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    pub kind: Kind,
    /// Subtracted from the samples, which are 0 to 255: one number, or one for each channel in the network's order; default 0.
    #[serde(default)]
    pub mean: Vec<f64>,
    /// Divides what is left; default 1.
    #[serde(default)]
    pub std: Vec<f64>,
    /// Whether blue is the first channel.
    #[serde(default)]
    pub bgr: bool,
    /// Width and height of the input, into which pictures are fitted; default that of the file, or the picture's own.
    #[serde(default)]
    pub size: Option<[usize; 2]>,
    /// The least score, 0 to 1.
    #[serde(default = "half")]
    pub threshold: f64,
    /// The largest IoU of two boxes.
    #[serde(default = "third")]
    pub overlap: f64,
    /// Pixels from one place to the next, for each grid; of corners none.
    #[serde(default)]
    pub strides: Vec<usize>,
    /// Where in its cell a place lies, in strides: 0 is the corner, 0.5 the centre. The default is 0.5 for priors, and 0 for distances.
    #[serde(default)]
    pub offset: Option<f64>,
    /// How many boxes there are at each place; of priors, as many as their sizes.
    #[serde(default = "one")]
    pub anchors: usize,
    /// The sides of the square priors of each grid, in pixels; default one of a stride.
    #[serde(default)]
    pub min_boxes: Vec<Vec<f64>>,
    /// Factors of the shift and of the logarithm of priors.
    #[serde(default = "variances")]
    pub variances: [f64; 2],
    /// Whether priors end at the input's sides.
    #[serde(default)]
    pub clip: bool,
    /// Whether the scores are logits.
    #[serde(default)]
    pub sigmoid: bool,
    /// The outputs with scores: one number for each box, or two of which the second is the object's.
    pub scores: Vec<String>,
    /// Outputs with a second score for each box; the score is then the geometric mean.
    #[serde(default)]
    pub objects: Vec<String>,
    pub boxes: Vec<String>,
    /// Outputs with landmarks, x and y, written as the boxes' centre is.
    #[serde(default)]
    pub points: Vec<String>,
}

fn half() -> f64 {
    0.5
}
fn third() -> f64 {
    0.3
}
fn one() -> usize {
    1
}
fn variances() -> [f64; 2] {
    [0.1, 0.2]
}

/// A place with the box that belongs to it, in pixels of the input.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    at: [f64; 2],
    size: [f64; 2],
}

impl Reading {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// The file is missing or is not such TOML; those of [`Reading::check`].
    #[cfg(feature = "files")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let reading: Self = crate::train::choices::open(path)?;
        match reading.check() {
            Err(Error::Usage(problem)) => Err(Error::import(path.display().to_string(), problem)),
            other => other.map(|()| reading),
        }
    }

    /// Returns the reading of a network that is known by its outputs: YuNet (Wu, Peng and Yu 2023), as OpenCV's FaceDetectorYN reads it.
    pub fn known(outputs: &[String]) -> Option<Self> {
        let strides = vec![8, 16, 32];
        let names = |part: &str| strides.iter().map(|stride| format!("{part}_{stride}")).collect::<Vec<_>>();
        let yunet = Self {
            kind: Kind::Priors,
            mean: vec![],
            std: vec![],
            bgr: true,
            size: None,
            threshold: 0.6,
            overlap: 0.3,
            offset: Some(0.0),
            anchors: 1,
            min_boxes: vec![],
            variances: [1.0, 1.0],
            clip: false,
            sigmoid: false,
            scores: names("cls"),
            objects: names("obj"),
            boxes: names("bbox"),
            points: names("kps"),
            strides,
        };
        let is_known = yunet.outputs().all(|name| outputs.contains(name));
        is_known.then_some(yunet)
    }

    /// Returns the names of all outputs that are read.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &String> {
        [&self.scores, &self.objects, &self.boxes, &self.points].into_iter().flatten()
    }

    /// Refuses what cannot be.
    ///
    /// # Errors
    /// A number is out of its range; lists do not fit together.
    pub fn check(&self) -> Result<()> {
        let refuse = |problem: String| Err(Error::Usage(problem));
        let grids = self.strides.len();
        if self.kind == Kind::Corners && grids != 0 {
            return refuse("strides are for priors and distances; corners have none".into());
        }
        if self.kind != Kind::Corners && !(1..=16).contains(&grids) {
            return refuse(format!("strides: expected 1 to 16 numbers, such as [8, 16, 32], got {grids}"));
        }
        if let Some(stride) = self.strides.iter().find(|stride| !(1..=1024).contains(*stride)) {
            return refuse(format!("strides: expected 1 to 1024 pixels, got {stride}"));
        }
        let sizes = self.min_boxes.iter().flatten();
        if !self.min_boxes.is_empty()
            && (self.kind != Kind::Priors
                || self.min_boxes.len() != grids
                || self.min_boxes.iter().any(|sizes| !(1..=64).contains(&sizes.len()))
                || !sizes.clone().all(|v| v.is_finite() && *v > 0.0))
        {
            return refuse(format!(
                "min_boxes: expected 1 to 64 sizes above 0 for each of {grids} strides, of priors only"
            ));
        }
        if !(1..=64).contains(&self.anchors) {
            return refuse(format!("anchors: expected 1 to 64 boxes per place, got {}", self.anchors));
        }
        for (name, list) in [("mean", &self.mean), ("std", &self.std)] {
            let is_well = matches!(list.len(), 0 | 1 | 3) && list.iter().all(|v| v.is_finite());
            if !is_well || name == "std" && list.contains(&0.0) {
                return refuse(format!("{name}: expected one number or three, finite and no divisor 0, got {list:?}"));
            }
        }
        if self.size.is_some_and(|size| size.contains(&0)) {
            return refuse("size: expected width and height of at least 1".into());
        }
        for (name, value) in [("threshold", self.threshold), ("overlap", self.overlap)] {
            if !(0.0..=1.0).contains(&value) {
                return refuse(format!("{name}: expected 0 to 1, got {value}"));
            }
        }
        let others = [self.offset.unwrap_or(0.0), self.variances[0], self.variances[1]];
        if !others.iter().all(|v| v.is_finite()) {
            return refuse("offset and variances: expected finite numbers".into());
        }
        for (name, list, may_lack) in [
            ("scores", &self.scores, false),
            ("boxes", &self.boxes, false),
            ("objects", &self.objects, true),
            ("points", &self.points, true),
        ] {
            let fits = list.len() == 1 || list.len() == grids && grids > 0 || may_lack && list.is_empty();
            if !fits {
                return refuse(format!(
                    "{name}: expected the name of one output, or of one for each of {grids} strides, got {list:?}"
                ));
            }
        }
        if self.kind == Kind::Corners && !self.points.is_empty() {
            return refuse("points are for priors and distances; corners have none".into());
        }
        Ok(())
    }

    /// Returns the mean and the divisor of a channel.
    pub(super) fn normalisation(&self, channel: usize) -> [f64; 2] {
        let of = |list: &[f64], default: f64| {
            list.get(if list.len() == 1 { 0 } else { channel }).copied().unwrap_or(default)
        };
        [of(&self.mean, 0.0), of(&self.std, 1.0)]
    }

    /// Returns of what the input's sides are multiples.
    pub(super) fn multiple(&self) -> usize {
        self.strides.iter().copied().max().unwrap_or(1)
    }

    /// Returns the number of boxes at each place of a grid.
    fn boxes_at(&self, grid: usize) -> usize {
        self.min_boxes.get(grid).map_or(self.anchors, Vec::len)
    }

    /// Returns the rows and columns of a grid in an input of a height and width.
    fn grid(&self, grid: usize, input: [usize; 2]) -> [usize; 2] {
        input.map(|side| side.div_ceil(self.strides[grid]))
    }

    /// Returns the places of all grids: row by row, and box by box.
    fn anchors(&self, input: [usize; 2]) -> Vec<Anchor> {
        let offset = self.offset.unwrap_or(if self.kind == Kind::Priors { 0.5 } else { 0.0 });
        let most = [input[1] as f64, input[0] as f64];
        let mut all = Vec::new();
        for (grid, &stride) in self.strides.iter().enumerate() {
            let ([rows, columns], stride) = (self.grid(grid, input), stride as f64);
            for cell in 0..rows * columns {
                let at = [cell % columns, cell / columns].map(|k| (k as f64 + offset) * stride);
                for k in 0..self.boxes_at(grid) {
                    let side = self.min_boxes.get(grid).map_or(stride, |sizes| sizes[k]);
                    let mut anchor = Anchor { at, size: [side; 2] };
                    if self.clip {
                        anchor.at = [0, 1].map(|d| anchor.at[d].clamp(0.0, most[d]));
                        anchor.size = [0, 1].map(|d| anchor.size[d].min(most[d]));
                    }
                    all.push(anchor);
                }
            }
        }
        all
    }

    /// Returns the values of outputs, `each` for one box, box by box; `None` stands for as many as there are.
    fn rows(
        &self,
        outputs: &[(String, Array)],
        names: &[String],
        input: [usize; 2],
        boxes: Option<usize>,
    ) -> Result<(usize, Vec<f64>)> {
        let mut all = Vec::new();
        for (grid, name) in names.iter().enumerate() {
            let array = outputs.iter().find(|(known, _)| known == name).map(|(_, array)| array);
            let array = array.ok_or_else(|| Error::Usage(format!("the network returned no output {name:?}")))?;
            let values = array.to_f64();
            // A map of channels, of which each box has some, instead of a list of boxes.
            let map = match (array.dims(), self.strides.len() == names.len()) {
                ([1, channels, rows, columns] | [channels, rows, columns], true)
                    if [*rows, *columns] == self.grid(grid, input) && channels % self.boxes_at(grid) == 0 =>
                {
                    Some((*channels, rows * columns))
                }
                _ => None,
            };
            match map {
                Some((channels, cells)) => {
                    all.extend((0..cells * channels).map(|k| values[k % channels * cells + k / channels]));
                }
                None => all.extend(values),
            }
        }
        let wrong = |expected: String| {
            Error::Usage(format!(
                "outputs {names:?} have {} values for an input of {} × {} pixels, expected {expected}; check strides, anchors and \
                 min_boxes of the reading",
                all.len(),
                input[1],
                input[0]
            ))
        };
        match boxes {
            Some(0) => Err(wrong("at least a box".into())),
            Some(boxes) if all.is_empty() || !all.len().is_multiple_of(boxes) => {
                Err(wrong(format!("a multiple of {boxes}")))
            }
            Some(boxes) => Ok((all.len() / boxes, all)),
            None if all.len().is_multiple_of(4) => Ok((4, all)),
            None => Err(wrong("four for each box".into())),
        }
    }

    /// Returns the boxes with at least a score, in pixels of an input of a height and width, in the order of the outputs.
    ///
    /// # Errors
    /// An output is missing, or does not have as many values as the reading says.
    pub fn decode(&self, outputs: &[(String, Array)], input: [usize; 2], threshold: f64) -> Result<Vec<Detection>> {
        let places: usize = (0..self.strides.len())
            .map(|grid| self.grid(grid, input).iter().product::<usize>() * self.boxes_at(grid))
            .sum();
        let (each, boxes) = self.rows(outputs, &self.boxes, input, (self.kind != Kind::Corners).then_some(places))?;
        let count = boxes.len() / 4;
        if each != 4 {
            let names = &self.boxes;
            return Err(Error::Usage(format!(
                "outputs {names:?} have {each} numbers for each box, expected 4; check the reading"
            )));
        }
        // Only now, so that there are no more of them than the network returned boxes.
        let anchors = self.anchors(input);
        let scores = |names: &[String]| -> Result<Vec<f64>> {
            let (each, all) = self.rows(outputs, names, input, Some(count))?;
            if each > 2 {
                return Err(Error::Usage(format!(
                    "outputs {names:?} have {each} numbers for each box, expected 1 or 2; check the reading"
                )));
            }
            let logistic = |v: f64| if self.sigmoid { 1.0 / (1.0 + (-v).exp()) } else { v };
            Ok(all.into_iter().skip(each - 1).step_by(each).map(logistic).collect())
        };
        let first = scores(&self.scores)?;
        let second = if self.objects.is_empty() { None } else { Some(scores(&self.objects)?) };
        let points =
            if self.points.is_empty() { None } else { Some(self.rows(outputs, &self.points, input, Some(count))?) };
        if points.as_ref().is_some_and(|(each, _)| !each.is_multiple_of(2)) {
            return Err(Error::Usage(format!("outputs {:?} have an odd number of values for each box", self.points)));
        }
        let mut found = Vec::new();
        for k in 0..count {
            let score = match &second {
                Some(second) => (first[k].clamp(0.0, 1.0) * second[k].clamp(0.0, 1.0)).sqrt(),
                None => first[k],
            };
            if score.is_nan() || score < threshold {
                continue;
            }
            let b = &boxes[4 * k..][..4];
            let place = |anchor: &Anchor, v: &[f64]| -> [f64; 2] {
                let scale = if self.kind == Kind::Priors { self.variances[0] } else { 1.0 };
                [0, 1].map(|d| anchor.at[d] + scale * v[d] * anchor.size[d])
            };
            let bounds = match (self.kind, anchors.get(k)) {
                (Kind::Priors, Some(anchor)) => {
                    let [x, y] = place(anchor, b);
                    let [w, h] = [0, 1].map(|d| (self.variances[1] * b[2 + d]).exp() * anchor.size[d]);
                    Bounds::new(x - w / 2.0, y - h / 2.0, w, h)
                }
                (Kind::Distances, Some(Anchor { at, size })) => {
                    let side = |d: usize, sign: f64, v: f64| at[d] + sign * v * size[d];
                    Bounds::of_sides([side(0, -1.0, b[0]), side(1, -1.0, b[1]), side(0, 1.0, b[2]), side(1, 1.0, b[3])])
                }
                _ => {
                    let [height, width] = input.map(|n| n as f64);
                    Bounds::of_sides([b[0] * width, b[1] * height, b[2] * width, b[3] * height])
                }
            };
            // What a network makes of a picture that is unlike all it has seen may be beyond all bounds.
            if !bounds.is_finite() {
                continue;
            }
            let points = match (&points, anchors.get(k)) {
                (Some((each, all)), Some(anchor)) => {
                    all[each * k..][..*each].chunks_exact(2).map(|v| place(anchor, v)).collect()
                }
                _ => vec![],
            };
            found.push(Detection { bounds, score, points });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(dims: &[usize], values: &[f32]) -> Array {
        Array::floats(dims, values.to_vec()).unwrap()
    }

    fn reading(text: &str) -> Reading {
        toml::from_str(text).unwrap()
    }

    fn outputs(list: &[(&str, Array)]) -> Vec<(String, Array)> {
        list.iter().map(|(name, array)| ((*name).to_owned(), array.clone())).collect()
    }

    #[test]
    fn priors_shift_and_scale_the_box_of_their_place() {
        let reading = reading(
            "kind = 'priors'\nstrides = [8, 16]\nmin_boxes = [[10, 20], [30]]\nscores = ['s']\nboxes = ['b']\npoints = ['p']",
        );
        // A grid of 2 × 2 with two boxes each, and one of 1 × 1: nine.
        let (mut scores, mut boxes, mut points) = (vec![[0.9f32, 0.1]; 9], vec![[0f32; 4]; 9], vec![[0f32; 2]; 9]);
        scores[5] = [0.2, 0.8];
        boxes[5] = [1.0, -2.0, 0.0, std::f32::consts::LN_2 / 0.2];
        points[5] = [5.0, 0.0];
        scores[8] = [0.3, 0.7];
        let got = outputs(&[
            ("s", array(&[1, 9, 2], scores.as_flattened())),
            ("b", array(&[1, 9, 4], boxes.as_flattened())),
            ("p", array(&[1, 9, 2], points.as_flattened())),
        ]);
        let found = reading.decode(&got, [16, 16], 0.5).unwrap();
        // The second box of the third place, centred at (4, 12): 2 right and 4 up, and twice as high.
        assert_eq!(found.len(), 2);
        let [x, y, w, h] = [found[0].bounds.x, found[0].bounds.y, found[0].bounds.width, found[0].bounds.height];
        for (got, expected) in [x, y, w, h].into_iter().zip([6.0 - 10.0, 8.0 - 20.0, 20.0, 40.0]) {
            assert!((got - expected).abs() < 1e-5, "{found:?}");
        }
        assert!((found[0].score - 0.8).abs() < 1e-6 && found[0].points == [[14.0, 12.0]]);
        assert_eq!(found[1].bounds, Bounds::new(8.0 - 15.0, 8.0 - 15.0, 30.0, 30.0));
        // Another size has other places.
        assert!(reading.decode(&got, [16, 24], 0.5).unwrap_err().to_string().contains("expected a multiple of 14"));
        let clipped = Reading { clip: true, ..reading };
        assert_eq!(clipped.decode(&got, [16, 16], 0.75).unwrap()[0].bounds.width, 16.0);
    }

    #[test]
    fn distances_reach_from_their_place_in_lists_and_in_maps() {
        let reading = reading(
            "kind = 'distances'\nstrides = [8]\nanchors = 2\nsigmoid = true\nscores = ['s']\nboxes = ['b']\npoints = ['p']",
        );
        // 1 × 2 places with two boxes each; the last is at (8, 0).
        let (mut scores, mut boxes, mut points) = ([-9f32; 4], [[0f32; 4]; 4], [[0f32; 4]; 4]);
        (scores[3], boxes[3], points[3]) = (0.0, [0.5, 1.0, 1.5, 2.0], [0.25, 0.5, 1.0, -1.0]);
        let lists = outputs(&[
            ("s", array(&[4, 1], &scores)),
            ("b", array(&[4, 4], boxes.as_flattened())),
            ("p", array(&[4, 4], points.as_flattened())),
        ]);
        let found = reading.decode(&lists, [8, 16], 0.5).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].score, found[0].bounds), (0.5, Bounds::of_sides([4.0, -8.0, 20.0, 16.0])));
        assert_eq!(found[0].points, [[10.0, 4.0], [16.0, -8.0]]);
        // The same as maps: channels of both boxes, then rows and columns.
        let map = |each: usize, values: &[f32]| {
            let channels = 2 * each;
            let planar: Vec<f32> = (0..values.len()).map(|k| values[k % 2 * channels + k / 2]).collect();
            array(&[1, channels, 1, 2], &planar)
        };
        let maps = outputs(&[
            ("s", map(1, &scores)),
            ("b", map(4, boxes.as_flattened())),
            ("p", map(4, points.as_flattened())),
        ]);
        assert_eq!(reading.decode(&maps, [8, 16], 0.5).unwrap(), found);
        let centred = Reading { offset: Some(0.5), ..reading };
        assert_eq!(centred.decode(&lists, [8, 16], 0.5).unwrap()[0].points[0], [14.0, 8.0]);
    }

    #[test]
    fn corners_are_parts_of_the_input() {
        let reading = reading("kind = 'corners'\nscores = ['s']\nboxes = ['b']");
        let got = outputs(&[
            ("s", array(&[1, 2, 2], &[0.1, 0.9, f32::NAN, f32::NAN])),
            ("b", array(&[1, 2, 4], &[0.25, 0.5, 0.5, 1.0, 0.0, 0.0, 1.0, 1.0])),
        ]);
        let found = reading.decode(&got, [100, 200], 0.0).unwrap();
        assert_eq!(found.iter().map(|f| f.bounds).collect::<Vec<_>>(), [Bounds::of_sides([50.0, 50.0, 100.0, 100.0])]);
        let infinite = outputs(&[("s", array(&[1], &[1.0])), ("b", array(&[4], &[f32::INFINITY, 0.0, 1.0, 1.0]))]);
        assert!(reading.decode(&infinite, [100, 200], 0.5).unwrap().is_empty());
        for wrong in [
            outputs(&[("s", array(&[1], &[1.0])), ("b", array(&[3], &[0.0; 3]))]),
            outputs(&[("s", array(&[3], &[1.0; 3])), ("b", array(&[8], &[0.0; 8]))]),
            outputs(&[("s", array(&[3], &[1.0; 3])), ("b", array(&[4], &[0.0; 4]))]),
            outputs(&[("s", array(&[0], &[])), ("b", array(&[0], &[]))]),
            outputs(&[("b", array(&[4], &[0.0; 4]))]),
        ] {
            assert!(reading.decode(&wrong, [100, 200], 0.5).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_yunet_is_known_by_its_outputs() {
        let names: Vec<String> = ["cls", "obj", "bbox", "kps"]
            .iter()
            .flat_map(|part| [8, 16, 32].map(|stride| format!("{part}_{stride}")))
            .collect();
        assert!(Reading::known(&names).is_some_and(|reading| reading.check().is_ok()));
        assert_eq!(Reading::known(&names[1..]), None);
    }

    #[test]
    fn readings_that_cannot_be_are_refused() {
        let start = "kind = 'priors'\nscores = ['s']\nboxes = ['b']\n";
        for (line, problem) in [
            ("", "strides: "),
            ("strides = [0]", "strides: "),
            ("strides = [8]\nmin_boxes = [[10], [20]]", "min_boxes: "),
            ("strides = [8]\nmin_boxes = [[0]]", "min_boxes: "),
            ("strides = [8]\nanchors = 0", "anchors: "),
            ("strides = [8]\nmean = [1, 2]", "mean: "),
            ("strides = [8]\nstd = [0]", "std: "),
            ("strides = [8]\nsize = [0, 10]", "size: "),
            ("strides = [8]\nthreshold = 1.5", "threshold: "),
            ("strides = [8]\noverlap = nan", "overlap: "),
            ("strides = [8]\noffset = inf", "offset "),
            ("strides = [8]\npoints = ['a', 'b']", "points: "),
        ] {
            let error = reading(&format!("{start}{line}")).check().unwrap_err().to_string();
            assert!(error.starts_with(problem), "{line}: {error}");
        }
        assert!(reading("kind = 'corners'\nscores = ['s']\nboxes = ['b']\nstrides = [8]").check().is_err());
        for text in [
            "kind = 'boxes'\nscores = ['s']\nboxes = ['b']",
            "kind = 'corners'\nscores = ['s']",
            "kind = 'corners'\nscore = ['s']",
        ] {
            assert!(toml::from_str::<Reading>(text).is_err());
        }
    }
}
