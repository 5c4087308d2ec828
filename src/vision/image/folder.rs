//! Lists the pictures of a folder.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Returns the picture files in `folder`, recognised by extension, in order of their names.
///
/// # Errors
/// The folder cannot be read or holds no picture.
pub(crate) fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_file() && is_picture(&path) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() { Err(no_picture(folder)) } else { Ok(found) }
}

/// Returns the picture files in `folder` and its subfolders, recognised by extension, in order of their paths. Links to
/// folders are not followed, and the folder `except` is skipped.
///
/// # Errors
/// A folder cannot be read; there is no picture.
pub(crate) fn pictures_below(folder: &Path, except: &Path) -> Result<Vec<PathBuf>> {
    let except = except.canonicalize().ok();
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).map_err(|e| Error::io(&at, e))? {
            let entry = entry.map_err(|e| Error::io(&at, e))?;
            let path = entry.path();
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                if except.is_none() || path.canonicalize().ok() != except {
                    open.push(path);
                }
            } else if path.is_file() && is_picture(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() { Err(no_picture(folder)) } else { Ok(found) }
}

/// Returns these files, and in the place of a folder its pictures.
///
/// # Errors
/// A folder cannot be read or holds no picture.
pub(crate) fn pictures_of(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for input in inputs {
        match input.is_dir() {
            true => all.extend(pictures(input)?),
            false => all.push(input.clone()),
        }
    }
    Ok(all)
}

/// Returns whether a file's name ends as a picture's does.
pub(crate) fn is_picture(path: &Path) -> bool {
    super::Format::of_name(&path.display().to_string()).is_some()
}

fn no_picture(folder: &Path) -> Error {
    Error::Usage(format!("{}: holds no picture (png, jpg, webp, bmp, tif, gif)", folder.display()))
}
