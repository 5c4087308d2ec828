//! Files as sets are distributed: tables that may be .gz, and archives of pictures.

use crate::error::{Error, Result};
use crate::files;
use crate::vision::image::folder;
use flate2::read::GzDecoder;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Most bytes that a table, and an archive, may unpack to.
const MOST_OF_TABLE: u64 = 1 << 28;
const MOST_OF_ARCHIVE: u64 = 4 << 30;

/// Reads a file, and unpacks it if it is a .gz.
///
/// # Errors
/// The file is missing, broken, or larger than 256 MiB when it is unpacked.
pub fn bytes(path: &Path) -> Result<Vec<u8>> {
    let fail = |problem: String| Error::import(path.display().to_string(), problem);
    let bytes = files::read(path, |file, problem| Error::Import { file, problem })?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    let mut decoder = GzDecoder::new(&bytes[..]).take(MOST_OF_TABLE + 1);
    decoder.read_to_end(&mut unpacked).map_err(|e| fail(format!("cannot be unpacked: {e}")))?;
    match unpacked.len() as u64 > MOST_OF_TABLE {
        true => Err(fail("is larger than 256 MiB when it is unpacked; give a part of it".into())),
        false => Ok(unpacked),
    }
}

/// Reads a text, and unpacks it if it is a .gz.
///
/// # Errors
/// Those of [`bytes`]; it is not UTF-8.
pub fn text(path: &Path) -> Result<String> {
    String::from_utf8(bytes(path)?).map_err(|_| Error::import(path.display().to_string(), "is not UTF-8 text"))
}

/// Calls `each` with the path and the contents of those files of an archive, .tar or packed as .gz, whose paths `is_wanted` accepts.
///
/// # Errors
/// The archive is missing or broken, or larger than 4 GiB when it is unpacked; those of `each`.
pub fn archive(
    archive: &Path,
    is_wanted: &dyn Fn(&str) -> bool,
    each: &mut dyn FnMut(&str, Vec<u8>) -> Result<()>,
) -> Result<()> {
    let fail = |e: std::io::Error| Error::import(archive.display().to_string(), format!("cannot be unpacked: {e}"));
    let file = BufReader::new(std::fs::File::open(archive).map_err(|e| Error::io(archive, e))?);
    let is_packed = archive.extension().is_some_and(|extension| extension == "gz");
    let bytes: Box<dyn Read> = if is_packed { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    let mut tar = tar::Archive::new(bytes.take(MOST_OF_ARCHIVE));
    for entry in tar.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        let path = entry.path().map_err(fail)?.to_string_lossy().into_owned();
        if entry.header().entry_type().is_file() && is_wanted(&path) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(fail)?;
            each(&path, bytes)?;
        }
    }
    Ok(())
}

/// Calls `each` with the path and the contents of every picture of the .tar.gz archives in a folder, by name, or if it holds none, of the
/// folder and those below. Returns what was read.
///
/// # Errors
/// The folder is missing; those of [`archive`] and of `each`.
pub fn pictures(inside: &Path, each: &mut dyn FnMut(&str, Vec<u8>) -> Result<()>) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(inside).map_err(|e| Error::io(inside, e))?;
    let mut archives: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    archives.retain(|path| path.to_string_lossy().ends_with(".tar.gz"));
    archives.sort();
    for path in &archives {
        archive(path, &|path| folder::is_picture(Path::new(path)), each)?;
    }
    if !archives.is_empty() {
        return Ok(archives);
    }
    for path in folder::pictures_below(inside, Path::new(""))? {
        let bytes = files::read(&path, |file, problem| Error::Image { file, problem })?;
        each(&path.display().to_string(), bytes)?;
    }
    Ok(vec![inside.to_owned()])
}
