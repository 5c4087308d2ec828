//! A folder of faces, with their landmarks in a text beside it.

use crate::error::{Error, Result};
use crate::image::Picture;
use crate::tasks::hallucinate::faces::Face;
use crate::tasks::hallucinate::frame::Frame;
use crate::tasks::hallucinate::points;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Faces in the canonical frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Faces {
    /// Files in the folder, one a face.
    pub names: Vec<String>,
    pub faces: Vec<Face>,
    /// SHA-256 of the landmarks and of all pictures, in order: what the data is, wherever it lies.
    pub fingerprint: String,
}

/// The landmarks of a file, a line a picture.
///
/// # Errors
/// The file is missing or broken; says what belongs there.
pub fn landmarks(list: &Path) -> Result<Vec<points::Face>> {
    let fail = |file, problem| Error::Import {
        file,
        problem: format!("{problem}; landmarks are a text, a line a picture: name,x1,y1,…,x68,y68"),
    };
    let text = crate::files::read(list, fail)?;
    let text = String::from_utf8(text).map_err(|_| fail(list.display().to_string(), "is no text in UTF-8".into()))?;
    points::parse(&text, &list.display().to_string())
}

/// The faces of the pictures in `folder` that `folder`.csv names, in its order, `side` × `side`.
///
/// # Errors
/// The list or a picture is missing or broken; a face's landmarks lie in one place.
pub fn open(folder: &Path, side: usize) -> Result<Faces> {
    if !folder.is_dir() {
        let problem = "is no folder; give a folder of pictures, with its landmarks in FOLDER.csv beside it";
        return Err(Error::Usage(format!("{}: {problem}", folder.display())));
    }
    let list = landmarks(&folder.with_extension("csv"))?;
    let mut hash = Sha256::new();
    let (mut names, mut faces) = (Vec::new(), Vec::new());
    for face in list {
        let path = folder.join(&face.name);
        let bytes = crate::files::read(&path, |file, problem| Error::Image { file, problem })?;
        hash.update(Sha256::digest(&bytes));
        face.points.iter().flatten().for_each(|v| hash.update(v.to_le_bytes()));
        let picture = Picture::decode(&bytes, &path.display().to_string())?;
        let frame = Frame::of_points(&face.points).map_err(|e| Error::image(path.display(), e.to_string()))?;
        faces.push(Face::new(&picture, &face.points, &frame, side)?);
        names.push(face.name);
    }
    let fingerprint = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(Faces { names, faces, fingerprint })
}
