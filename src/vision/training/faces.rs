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

/// Faces without landmarks, in the canonical frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Aligned {
    /// Luminance in 0..1, `side` × `side`, row by row.
    pub luma: Vec<Vec<f32>>,
    /// Rows, then columns of the frame that the pictures show, as fractions of its side. The rest repeats their border.
    pub seen: [Range<f64>; 2],
    /// SHA-256 of the frame's place and all pictures, in order.
    pub fingerprint: String,
}

/// Reads the pictures in `folder` and its subfolders, which must all have one size. The canonical frame is the square
/// `[left, top, side]` in pixels and may extend beyond the pictures. Faces are returned as `side` × `side`.
///
/// # Errors
/// There is no picture; a picture is broken or has another size; the square lies outside the pictures.
pub fn aligned(folder: &Path, [left, top, square]: [f64; 3], side: usize) -> Result<Aligned> {
    let frame = Frame::of_square([left, top], square)?;
    let mut hash = Sha256::new();
    [left, top, square].iter().for_each(|v| hash.update(v.to_le_bytes()));
    let mut luma = Vec::new();
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
        luma.push(frame.crop(&picture.plane(Channel::Y, picture.whole())?, own, side)?);
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
    Ok(Aligned { luma, seen, fingerprint })
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
pub struct Jittered {
    /// Index of the original in [`Faces::faces`].
    pub of: usize,
    /// Maps where a point lay in the frame to where it lies now.
    pub by: Similarity,
    pub face: Face,
}

/// Largest size of the planes of all faces and their copies, in bytes.
const MAX_FACES_BYTES: u64 = 8 << 30;

/// Standard deviations of a copy's rotation (radians), of the logarithm of its scale, and of its shift along each axis
/// (fractions of the side). Chosen by us.
const JITTER: [f64; 3] = [0.05, 0.04, 0.02];

/// Returns a small random similarity about the frame's centre.
fn jitter(rng: &mut Rng) -> Similarity {
    let [angle, scale] = [JITTER[0] * rng.normal(), (JITTER[1] * rng.normal()).exp()];
    let (a, b) = (scale * angle.cos(), scale * angle.sin());
    let centre = [0.5 - 0.5 * a + 0.5 * b, 0.5 - 0.5 * b - 0.5 * a];
    Similarity { a, b, shift: centre.map(|c| c + JITTER[2] * rng.normal()) }
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
    Ok(open_jittered(folder, part, side, 0, 0)?.0)
}

/// Like [`open`], and also returns `copies` copies of each face, moved at random by `seed`.
///
/// # Errors
/// Those of [`open`]; the faces and their copies take too much memory.
pub fn open_jittered(
    folder: &Path,
    part: Part,
    side: usize,
    copies: usize,
    seed: u64,
) -> Result<(Faces, Vec<Jittered>)> {
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
    let numbers = [list.len(), copies.saturating_add(1), side, side];
    let bytes = numbers.into_iter().try_fold(4u64, |bytes, n| bytes.checked_mul(n as u64));
    if bytes.is_none_or(|bytes| bytes > MAX_FACES_BYTES) {
        return Err(Error::Usage(format!(
            "{}: {} faces with {copies} copies of each take more than {} GiB; give a smaller --jitter",
            folder.display(),
            list.len(),
            MAX_FACES_BYTES >> 30
        )));
    }
    let mut hash = Sha256::new();
    let (mut names, mut faces, mut jittered) = (Vec::new(), Vec::new(), Vec::new());
    let mut rng = Rng::new(seed);
    for face in list {
        let path = folder.join(&face.name);
        let bytes = crate::files::read(&path, |file, problem| Error::Image { file, problem })?;
        hash.update(Sha256::digest(&bytes));
        face.points.iter().flatten().for_each(|v| hash.update(v.to_le_bytes()));
        let picture = Picture::decode(&bytes, &path.display().to_string())?;
        let size = [picture.height(), picture.width()];
        let frame = Frame::of_face(&face.points, size).map_err(|e| Error::image(path.display(), e.to_string()))?;
        for _ in 0..copies {
            let by = jitter(&mut rng);
            let moved = Frame { to_frame: by.after(&frame.to_frame) };
            jittered.push(Jittered { of: faces.len(), by, face: Face::new(&picture, &face.points, &moved, side)? });
        }
        faces.push(Face::new(&picture, &face.points, &frame, side)?);
        names.push(face.name);
    }
    let fingerprint = files::hex(&hash.finalize());
    Ok((Faces { names, faces, fingerprint }, jittered))
}
