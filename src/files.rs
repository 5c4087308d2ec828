//! Files that are either whole or not there, and inputs that are read with a limit.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of the largest file that is read into memory.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// The bytes of `path`; `fail` makes the error for a file that is missing, a folder, empty or too large.
pub(crate) fn read(path: &Path, fail: fn(String, String) -> Error) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(fail(name, "there is no such file; check the path".into()));
        }
        Err(e) => return Err(Error::io(path, e)),
    };
    let metadata = file.metadata().map_err(|e| Error::io(path, e))?;
    if metadata.is_dir() {
        return Err(fail(name, "is a folder, expected a file; name a file in it".into()));
    }
    let mut bytes = Vec::new();
    if metadata.len() <= MAX_FILE_BYTES {
        bytes.reserve_exact(metadata.len() as usize);
        // A device has no length, so the limit is applied again.
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    }
    if metadata.len() > MAX_FILE_BYTES || bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(fail(name, format!("is larger than {} GiB; cut it into smaller files", MAX_FILE_BYTES >> 30)));
    }
    if bytes.is_empty() {
        return Err(fail(name, "the file is empty; copy or download it again".into()));
    }
    Ok(bytes)
}

/// What the names of temporary files begin with; the process's number and random letters follow.
const TEMPORARY: &str = ".lineament-";

/// Removes from `folder` the temporary files of processes that were killed. To be called before this process writes there,
/// since a file with its own number is then an earlier one's, as in a container.
pub(crate) fn remove_stale(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|n| n.strip_prefix(TEMPORARY)) else { continue };
        let is_file = entry.file_type().is_ok_and(|t| t.is_file());
        let pid = rest.split('-').next().and_then(|pid| pid.parse().ok());
        if is_file && !pid.is_some_and(|pid: u32| pid != std::process::id() && is_running(pid, &entry)) {
            // What cannot be removed harms nothing.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether process `pid` may still write `temporary`.
fn is_running(pid: u32, temporary: &std::fs::DirEntry) -> bool {
    let processes = Path::new("/proc");
    if processes.join("self").exists() {
        return processes.join(pid.to_string()).exists();
    }
    // Where processes are no files, what was written within the last hour may be in use.
    let age = temporary.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    age.is_none_or(|age| age.as_secs() < 3600)
}

/// Calls `write` with a temporary file in the folder of `path`, then renames it to `path`. Where anything fails on the
/// way, nothing stays behind and an older `path` is as it was.
///
/// # Errors
/// The folder does not exist or cannot be written, the disk is full, `path` is a folder; those of `write`.
pub(crate) fn write_whole(path: &Path, write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<()>) -> Result<()> {
    let refuse = |problem: String| Error::io(path, std::io::Error::other(problem));
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return Err(refuse("cannot be written: it is a folder; name a file".into()));
    }
    if !folder.is_dir() {
        return Err(refuse(format!("cannot be written: there is no folder {}; create it first", folder.display())));
    }
    let mut builder = tempfile::Builder::new();
    let prefix = format!("{TEMPORARY}{}-", std::process::id());
    builder.prefix(&prefix);
    // The rights that any new file gets; the process's mask applies. A temporary file would be for its owner alone.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(|e| {
        refuse(format!(
            "cannot be written: {e} in the folder {}; choose a folder that you may write to",
            folder.display()
        ))
    })?;
    let mut writer = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    write(&mut writer)?;
    writer.flush().map_err(|e| Error::io(path, e))?;
    drop(writer);
    file.persist(path).map_err(|e| Error::io(path, e.error))?;
    Ok(())
}

/// Picture files in `folder`, by their extensions, in order of their names.
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

/// Picture files in `folder` and in the folders below it, by their extensions, in order of their paths; links to folders
/// are not followed, and what lies in `except` is left out.
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

fn is_picture(path: &Path) -> bool {
    crate::image::Format::of_name(&path.display().to_string()).is_some()
}

fn no_picture(folder: &Path) -> Error {
    Error::Usage(format!("{}: holds no picture (png, jpg, webp, bmp, tif, gif)", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As when the disk is full: the writing fails after some bytes.
    #[test]
    fn a_write_that_fails_half_way_leaves_the_older_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "older").unwrap();
        let full = || Error::io("a", std::io::Error::other("no space"));
        let error = write_whole(&path, |out| {
            out.write_all(&[7; 3 << 20]).map_err(|_| full())?;
            assert!(std::fs::read(&path).unwrap() == b"older", "written over too early");
            Err(full())
        });
        assert!(error.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"older");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file stayed");
        write_whole(&path, |out| out.write_all(b"newer").map_err(|_| full())).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"newer");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
