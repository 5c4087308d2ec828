//! Folders of faces: with landmarks in a text file beside the folder, or aligned and without landmarks.

use crate::error::{Error, Result};
use crate::files;
use crate::rng::Rng;
use crate::vision::image::{Channel, Picture};
use crate::vision::models::cbn::shape::Similarity;
use crate::vision::tasks::hallucinate::faces::Face;
use crate::vision::tasks::hallucinate::frame::Frame;
use crate::vision::tasks::hallucinate::points;
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::path::Path;

/// Where the face lies, from forehead to chin, in CelebA's aligned and in LFW's deep-funneled pictures: left and upper side, width and
/// height as parts of theirs. These are medians of YuNet's boxes in 400 pictures of each, from which single boxes deviate by 2 to 5 %.
pub(super) const CELEBA: [f64; 4] = [0.264, 0.306, 0.477, 0.535];
pub(super) const FUNNELED: [f64; 4] = [0.315, 0.2525, 0.371, 0.515];

/// Faces in the canonical frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Faces {
    /// Names of the files in the folder, one per face.
    pub names: Vec<String>,
    pub faces: Vec<Face>,
    /// SHA-256 of the landmarks and all pictures, in order. It identifies the data independently of its location.
    pub fingerprint: String,
}

/// Faces without landmarks, in the canonical frame or moved in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Aligned {
    /// Luminance in 0..1, `side` × `side`, row by row.
    pub luma: Vec<Vec<f32>>,
    /// For each face, maps where a point lies in the canonical frame to where it lies in its plane.
    pub moves: Vec<Similarity>,
    /// Rows, then columns of the canonical frame that the pictures show, as fractions of its side. The rest repeats their border.
    pub seen: [Range<f64>; 2],
    /// SHA-256 of the frame's place and all pictures, in order.
    pub fingerprint: String,
}

impl Aligned {
    /// Returns a plane of `side` × `side` for face `index`: 1 where its picture shows the frame, else 0.
    pub fn shown(&self, index: usize, side: usize) -> Vec<f32> {
        let back = self.moves.get(index).map(Similarity::inverse);
        let [rows, columns] = &self.seen;
        let is_seen = |corner: [usize; 2]| {
            let [x, y] = corner.map(|v| v as f64 / side as f64);
            let [x, y] = back.map_or([x, y], |back| back.apply([x, y]));
            (rows.start..=rows.end).contains(&y) && (columns.start..=columns.end).contains(&x)
        };
        let is_shown = |q: usize| {
            let (i, j) = (q / side, q % side);
            [[j, i], [j + 1, i], [j, i + 1], [j + 1, i + 1]].into_iter().all(is_seen)
        };
        (0..side * side).map(|q| f32::from(is_shown(q))).collect()
    }
}

/// Reads the pictures in `folder` and its subfolders, which must all have one size. The canonical frame is the square
/// `[left, top, side]` in pixels and may extend beyond the pictures. Faces are returned as `side` × `side`, each in a frame that
/// was moved at random if `moved` says by how much and from which seed.
///
/// # Errors
/// There is no picture; a picture is broken or has another size; the square lies outside the pictures.
pub fn aligned(
    folder: &Path,
    [left, top, square]: [f64; 3],
    side: usize,
    moved: Option<(Movement, u64)>,
) -> Result<Aligned> {
    let mut moved = moved.map(|(by, seed)| (by, Rng::new(seed)));
    let frame = Frame::of_square([left, top], square)?;
    let mut hash = Sha256::new();
    [left, top, square].iter().for_each(|v| hash.update(v.to_le_bytes()));
    let (mut luma, mut moves) = (Vec::new(), Vec::new());
    let mut size = None;
    for path in crate::vision::image::folder::pictures_below(folder, Path::new(""))? {
        let bytes = crate::files::read(&path, |file, problem| Error::Image { file, problem })?;
        hash.update(Sha256::digest(&bytes));
        let picture = Picture::decode(&bytes, &path.display().to_string())?;
        let own = [picture.height(), picture.width()];
        let first = *size.get_or_insert(own);
        if own != first {
            let [[h, w], [height, width]] = [own, first];
            let problem =
                format!("has {w} × {h} pixels, those before it {width} × {height}; one square fits one size only");
            return Err(Error::image(path.display(), problem));
        }
        let by = moved.as_mut().map_or(Similarity::NONE, |(by, rng)| by.draw(rng));
        let plane = picture.plane(Channel::Y, picture.whole())?;
        luma.push(Frame { to_frame: by.after(&frame.to_frame) }.crop(&plane, own, side)?);
        moves.push(by);
    }
    let part = |first: f64, size: usize| ((0.0 - first) / square).max(0.0)..((size as f64 - first) / square).min(1.0);
    let [height, width] = size.unwrap_or_default();
    let seen = [part(top, height), part(left, width)];
    if seen.iter().any(|part| part.is_empty()) {
        let problem =
            format!("the square {left},{top},{square} lies outside its pictures of {width} × {height} pixels");
        return Err(Error::Usage(format!("{}: {problem}", folder.display())));
    }
    let fingerprint = files::hex(&hash.finalize());
    Ok(Aligned { luma, moves, seen, fingerprint })
}

/// Reads a file of landmarks, one line per picture.
///
/// # Errors
/// The file is missing or broken; the error says what belongs there.
pub fn landmarks(list: &Path) -> Result<Vec<points::Face>> {
    let fail = |file, problem| Error::Import {
        file,
        problem: format!("{problem}; landmarks are a text file with one line per picture: name,x1,y1,…,x68,y68"),
    };
    let text = crate::files::read(list, fail)?;
    let text = String::from_utf8(text).map_err(|_| fail(list.display().to_string(), "is not UTF-8 text".into()))?;
    points::parse(&text, &list.display().to_string())
}

/// A face that was moved in its frame, as if the frame had been found less accurately.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// Index of the original in [`Faces::faces`].
    pub of: usize,
    /// Maps where a point lay in the frame to where it lies now.
    pub by: Similarity,
    pub face: Face,
}

/// Largest size of the planes of all faces and their copies, in bytes.
const MAX_FACES_BYTES: u64 = 8 << 30;

/// Standard deviations of a random movement in the canonical frame: a similarity about its centre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Movement {
    /// Of the rotation, in radians.
    pub angle: f64,
    /// Of the natural logarithm of the scale.
    pub scale: f64,
    /// Of the shift along each axis, as a fraction of the frame's side.
    pub shift: f64,
}

impl Movement {
    /// That of copies which only keep networks from memorising faces. Chosen by us.
    pub const JITTER: Self = Self { angle: 0.05, scale: 0.04, shift: 0.02 };

    /// Creates a movement of an angle in degrees, a scale, and a shift.
    ///
    /// # Errors
    /// A number is below 0 or not finite; the angle is above 45°, the scale above 0.5, or the shift above 0.25.
    pub fn new([degrees, scale, shift]: [f64; 3]) -> Result<Self> {
        let is_within = |(value, most): (f64, f64)| (0.0..=most).contains(&value);
        if ![(degrees, 45.0), (scale, 0.5), (shift, 0.25)].into_iter().all(is_within) {
            return Err(Error::Usage(format!(
                "--moved {degrees},{scale},{shift}: expected standard deviations of the angle (0 to 45 degrees), of the scale's \
                 logarithm (0 to 0.5) and of the shift (0 to 0.25 of the side), such as 9,0.09,0.03"
            )));
        }
        Ok(Self { angle: degrees.to_radians(), scale, shift })
    }

    /// Draws a movement.
    pub fn draw(&self, rng: &mut Rng) -> Similarity {
        let [angle, scale] = [self.angle * rng.normal(), (self.scale * rng.normal()).exp()];
        let (a, b) = (scale * angle.cos(), scale * angle.sin());
        let centre = [0.5 - 0.5 * a + 0.5 * b, 0.5 - 0.5 * b - 0.5 * a];
        Similarity { a, b, shift: centre.map(|c| c + self.shift * rng.normal()) }
    }
}

/// Copies of each face, each moved at random.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Copies {
    pub count: usize,
    pub by: Movement,
    pub seed: u64,
}

/// Which faces of a folder to use: every k-th may be held out of training, for choosing between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    All,
    /// All but every k-th.
    Trained(usize),
    /// Every k-th.
    HeldOut(usize),
}

impl Part {
    /// Returns whether face `index` of the list, from 0, belongs to this part.
    fn holds(self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Trained(k) => !(index + 1).is_multiple_of(k),
            Self::HeldOut(k) => (index + 1).is_multiple_of(k),
        }
    }
}

/// Reads the faces of `part` from the pictures in `folder` that `folder`.csv names, in its order, as `side` × `side`.
///
/// # Errors
/// The list or a picture is missing or broken; landmarks coincide or lie outside their picture; there is no face.
pub fn open(folder: &Path, part: Part, side: usize) -> Result<Faces> {
    Ok(open_moved(folder, part, side, Copies { count: 0, by: Movement::JITTER, seed: 0 })?.0)
}

/// Returns the faces of `part` that `folder`.csv names.
///
/// # Errors
/// The list is missing or broken; there is no face.
pub fn listed(folder: &Path, part: Part) -> Result<Vec<points::Face>> {
    if !folder.is_dir() {
        let problem = "is not a folder; give a folder of pictures, with its landmarks in FOLDER.csv beside it";
        return Err(Error::Usage(format!("{}: {problem}", folder.display())));
    }
    let list: Vec<_> = landmarks(&folder.with_extension("csv"))?
        .into_iter()
        .enumerate()
        .filter_map(|(index, face)| part.holds(index).then_some(face))
        .collect();
    if list.is_empty() {
        return Err(Error::Usage(format!(
            "{}: no face is left; give a smaller k to hold out every k-th",
            folder.display()
        )));
    }
    Ok(list)
}

/// Like [`open`], and also returns copies of the faces, those of each face one after the other.
///
/// # Errors
/// Those of [`open`]; the faces and their copies take too much memory.
pub fn open_moved(folder: &Path, part: Part, side: usize, copies: Copies) -> Result<(Faces, Vec<Moved>)> {
    let list = listed(folder, part)?;
    let numbers = [list.len(), copies.count.saturating_add(1), side, side];
    let bytes = numbers.into_iter().try_fold(4u64, |bytes, n| bytes.checked_mul(n as u64));
    if bytes.is_none_or(|bytes| bytes > MAX_FACES_BYTES) {
        return Err(Error::Usage(format!(
            "{}: {} faces with {} copies of each take more than {} GiB; give a smaller --jitter",
            folder.display(),
            list.len(),
            copies.count,
            MAX_FACES_BYTES >> 30
        )));
    }
    let mut hash = Sha256::new();
    let (mut names, mut faces, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    let mut rng = Rng::new(copies.seed);
    for face in list {
        let path = folder.join(&face.name);
        let bytes = crate::files::read(&path, |file, problem| Error::Image { file, problem })?;
        hash.update(Sha256::digest(&bytes));
        face.points.iter().flatten().for_each(|v| hash.update(v.to_le_bytes()));
        let picture = Picture::decode(&bytes, &path.display().to_string())?;
        let size = [picture.height(), picture.width()];
        let frame = Frame::of_face(&face.points, size).map_err(|e| Error::image(path.display(), e.to_string()))?;
        for _ in 0..copies.count {
            let by = copies.by.draw(&mut rng);
            let frame = Frame { to_frame: by.after(&frame.to_frame) };
            moved.push(Moved { of: faces.len(), by, face: Face::new(&picture, &face.points, &frame, side)? });
        }
        faces.push(Face::new(&picture, &face.points, &frame, side)?);
        names.push(face.name);
    }
    let fingerprint = files::hex(&hash.finalize());
    Ok((Faces { names, faces, fingerprint }, moved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn movements_have_their_deviations() {
        let by = Movement::new([9.0, 0.1, 0.04]).unwrap();
        let mut rng = Rng::new(3);
        let (mut sum, n) = ([0.0; 4], 4000);
        for _ in 0..n {
            let is = by.draw(&mut rng);
            let [x, y] = is.apply([0.5; 2]);
            let values = [is.b.atan2(is.a).to_degrees(), is.scale().ln(), x - 0.5, y - 0.5];
            sum.iter_mut().zip(values).for_each(|(sum, v)| *sum += v * v / f64::from(n));
        }
        for (found, wanted) in sum.map(f64::sqrt).into_iter().zip([9.0, 0.1, 0.04, 0.04]) {
            assert!((found / wanted - 1.0).abs() < 0.05, "{found} {wanted}");
        }
        assert_eq!(Movement::new([0.0; 3]).unwrap().draw(&mut rng), Similarity::NONE);
        for refused in [[46.0, 0.1, 0.1], [5.0, -0.1, 0.1], [5.0, 0.1, f64::NAN], [5.0, 0.1, 0.3]] {
            assert!(
                Movement::new(refused).unwrap_err().to_string().contains("expected standard deviations"),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn what_a_moved_face_shows_moves_with_it() {
        // Pictures that show the frame's left half; the second face lies a quarter of the side further right, the third is turned by 90°.
        let shifted = Similarity { shift: [0.25, 0.0], ..Similarity::NONE };
        let turned = Similarity { a: 0.0, b: 1.0, shift: [1.0, 0.0] };
        let aligned = Aligned {
            luma: Vec::new(),
            moves: vec![Similarity::NONE, shifted, turned],
            seen: [0.0..1.0, 0.0..0.5],
            fingerprint: String::new(),
        };
        let shown = |index: usize| -> Vec<usize> {
            let plane = aligned.shown(index, 4);
            (0..16).filter(|&q| plane[q] == 1.0).collect()
        };
        assert_eq!(shown(0), [0, 1, 4, 5, 8, 9, 12, 13]);
        assert_eq!(shown(1), [1, 2, 5, 6, 9, 10, 13, 14]);
        // What was left is above.
        assert_eq!(shown(2), (0..8).collect::<Vec<_>>());
    }
}
