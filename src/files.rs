//! Writes files that are either whole or absent, and reads inputs up to a size limit.

use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Maximum size of a file that is read into memory.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Reads the bytes of `path`; `fail` creates the error for a file that is missing, a folder, empty or too large.
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
    if metadata.len() > MAX_FILE_BYTES {
        return Err(too_large(name, fail));
    }
    let mut bytes = Vec::new();
    bytes.reserve_exact(metadata.len() as usize);
    read_to_end(file, &mut bytes, &name, fail)?;
    if bytes.is_empty() {
        return Err(fail(name, "the file is empty; copy or download it again".into()));
    }
    Ok(bytes)
}

/// Reads `length` bytes from `offset` on, or all that follow, of the file `location` in the folder of the network `path`.
///
/// # Errors
/// The file is missing or lies outside of the folder, also by a link; it does not have so many bytes, or more than may be read.
pub(crate) fn part(path: &Path, location: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>> {
    let fail = |problem: String| {
        Error::import(path.display().to_string(), format!("its values lie in {location:?}, {problem}"))
    };
    let is_plain =
        |part: std::path::Component| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir);
    if location.is_empty() || !Path::new(location).components().all(is_plain) {
        return Err(fail("which is not a path within its own folder; export it again".into()));
    }
    let folder = folder_of(path).canonicalize().map_err(|e| Error::io(path, e))?;
    let found = folder.join(location).canonicalize().map_err(|_| fail("which does not exist; copy it there".into()))?;
    if !found.starts_with(&folder) {
        return Err(fail("which leads out of its own folder; copy the file there".into()));
    }
    let mut file = File::open(&found).map_err(|e| Error::io(&found, e))?;
    let size = file.metadata().map_err(|e| Error::io(&found, e))?.len();
    let rest = size.checked_sub(offset).ok_or_else(|| fail(format!("which has {size} bytes, fewer than {offset}")))?;
    let length = length.unwrap_or(rest);
    if length > rest || length > MAX_FILE_BYTES {
        return Err(fail(format!("which has {rest} bytes from {offset} on, expected {length}; copy it again")));
    }
    file.seek(SeekFrom::Start(offset)).map_err(|e| Error::io(&found, e))?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes).map_err(|e| Error::io(&found, e))?;
    Ok(bytes)
}

/// Reads stdin; `fail` as in [`read`].
pub(crate) fn read_stdin(fail: fn(String, String) -> Error) -> Result<Vec<u8>> {
    let (mut bytes, name) = (Vec::new(), "standard input");
    read_to_end(std::io::stdin().lock(), &mut bytes, name, fail)?;
    if bytes.is_empty() {
        return Err(fail(name.into(), "is empty; check the command before the pipe".into()));
    }
    Ok(bytes)
}

fn read_to_end(source: impl Read, bytes: &mut Vec<u8>, name: &str, fail: fn(String, String) -> Error) -> Result<()> {
    // A device has no length, so the limit is applied here too.
    source.take(MAX_FILE_BYTES + 1).read_to_end(bytes).map_err(|e| Error::io(name, e))?;
    if bytes.len() as u64 > MAX_FILE_BYTES { Err(too_large(name.into(), fail)) } else { Ok(()) }
}

fn too_large(name: String, fail: fn(String, String) -> Error) -> Error {
    fail(name, format!("is larger than {} GiB; split it into smaller files", MAX_FILE_BYTES >> 30))
}

/// What to do with a file that already exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Keep it and fail, even if it appears while the new file is being written. A link counts as a file, even a broken one.
    Refuse,
    /// Replace it by the new file. A link is itself replaced, never its target.
    Replace,
}

impl Existing {
    /// Returns what `--overwrite` requests.
    pub fn overwrite(is_wanted: bool) -> Self {
        if is_wanted { Self::Replace } else { Self::Refuse }
    }
}

/// Fails if [`write_whole`] would fail. Call it before the work whose result is written.
///
/// # Errors
/// `path` is a folder, or exists and must not be replaced; its folder does not exist or cannot be written to.
pub(crate) fn check_output(path: &Path, existing: Existing) -> Result<()> {
    check_place(path, existing)?;
    // Only a write shows whether a folder can be written to.
    temporary(path).map(drop)
}

fn check_place(path: &Path, existing: Existing) -> Result<()> {
    let refuse = |problem: String| Err(refused(path, problem));
    if path.is_dir() {
        return refuse("cannot be written: it is a folder; name a file".into());
    }
    if existing == Existing::Refuse && path.symlink_metadata().is_ok() {
        return refuse("exists; give --overwrite or another output".into());
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        return refuse(format!("cannot be written: there is no folder {}; create it first", folder.display()));
    }
    Ok(())
}

fn refused(path: &Path, problem: String) -> Error {
    Error::io(path, std::io::Error::other(problem))
}

/// Returns the folder that contains `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Prefix and suffix of the names of temporary files.
const TEMPORARY: [&str; 2] = [".lineament-", ".part"];
/// Age from which an unlocked temporary file counts as left behind by a killed process.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// Returns the name of a temporary file: `number` and its checksum, so that no other program or person chooses such a name.
fn temporary_name(number: u64) -> String {
    let [begin, end] = TEMPORARY;
    let number = format!("{number:016x}");
    let check = hex(&Sha256::digest(format!("lineament {number}"))[..4]);
    format!("{begin}{number}-{check}{end}")
}

fn is_temporary(name: &str) -> bool {
    let number = name.strip_prefix(TEMPORARY[0]).and_then(|rest| rest.get(..16));
    number.and_then(|n| u64::from_str_radix(n, 16).ok()).is_some_and(|n| temporary_name(n) == name)
}

/// The temporary files that this process is writing.
static OWN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn own() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the temporary files of this process, which must then end at once: threads that still write block forever.
pub(crate) fn abandon() {
    let own = own();
    for path in &*own {
        // A file that cannot be removed becomes stale a day later.
        let _ = std::fs::remove_file(path);
    }
    std::mem::forget(own);
}

/// Creates and locks a temporary file in the folder of `path`; it is removed when dropped.
fn temporary(path: &Path) -> Result<Temporary> {
    let folder = folder_of(path);
    let name = temporary_name(RandomState::new().build_hasher().finish());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&name).rand_bytes(0);
    // The permissions of any new file, subject to the umask. The default for a temporary file is its owner only.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let at = folder.join(&name);
    own().insert(at.clone());
    let listed = Listed(at);
    let file = builder.tempfile_in(folder).map_err(|e| {
        refused(
            path,
            format!("cannot be written: {e} in the folder {}; choose a folder that you may write to", folder.display()),
        )
    })?;
    // On a file system without locks, only the file's age protects it.
    let _ = file.as_file().try_lock();
    Ok(Temporary { file, listed })
}

struct Temporary {
    file: tempfile::NamedTempFile,
    listed: Listed,
}

/// An entry of [`OWN`].
struct Listed(PathBuf);

impl Drop for Listed {
    fn drop(&mut self) {
        own().remove(&self.0);
    }
}

/// Removes from `folder` the temporary files that killed processes left behind: at least a day old, and not locked.
pub(crate) fn remove_stale(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(is_temporary);
        let is_file = entry.file_type().is_ok_and(|t| t.is_file());
        let age = || entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if is_ours
            && is_file
            && age().is_some_and(|age| age >= STALE)
            && let Ok(file) = File::options().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            // A file that cannot be removed does no harm.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Calls `write` with a temporary file in the folder of `path`, then renames it to `path`. If any step fails, nothing is left
/// behind and an older `path` is unchanged.
///
/// # Errors
/// Those of [`check_output`]; the disk is full; those of `write`.
pub(crate) fn write_whole(
    path: &Path,
    existing: Existing,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<()>,
) -> Result<()> {
    check_place(path, existing)?;
    let Temporary { mut file, listed } = temporary(path)?;
    let mut writer = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    write(&mut writer)?;
    writer.flush().map_err(|e| Error::io(path, e))?;
    drop(writer);
    let mut own = own();
    let renamed = match existing {
        Existing::Replace => file.persist(path),
        Existing::Refuse => file.persist_noclobber(path),
    };
    own.remove(&listed.0);
    drop(own);
    match renamed {
        Ok(_) => Ok(()),
        // The file appeared in the meantime.
        Err(e) if existing == Existing::Refuse && e.error.kind() == std::io::ErrorKind::AlreadyExists => {
            check_place(path, existing)
        }
        Err(e) => Err(Error::io(path, e.error)),
    }
}

/// Waits until no other process holds `path`, which is created if missing, and holds it until the file is closed.
///
/// # Errors
/// The operating system refuses.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let file = lockable(path)?;
    file.lock().map_err(|e| Error::io(path, e))?;
    Ok(file)
}

/// Like [`lock`], but returns `None` if another process holds `path`.
///
/// # Errors
/// The operating system refuses.
pub(crate) fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = lockable(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(Error::io(path, e)),
    }
}

fn lockable(path: &Path) -> Result<File> {
    File::options().read(true).create(true).append(true).open(path).map_err(|e| Error::io(path, e))
}

/// Formats bytes as hexadecimal digits, as checksums are written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Simulates a full disk: the write fails after some bytes.
    #[test]
    fn a_write_that_fails_half_way_leaves_the_older_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "older").unwrap();
        let full = || Error::io("a", std::io::Error::other("no space"));
        let error = write_whole(&path, Existing::Replace, |out| {
            out.write_all(&[7; 3 << 20]).map_err(|_| full())?;
            assert!(std::fs::read(&path).unwrap() == b"older", "written over too early");
            Err(full())
        });
        assert!(error.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"older");
        assert_eq!(count(folder.path()), 1, "a temporary file stayed");
        write_whole(&path, Existing::Replace, |out| out.write_all(b"newer").map_err(|_| full())).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"newer");
        assert_eq!(count(folder.path()), 1);
    }

    #[test]
    fn a_file_that_must_stay_stays_even_where_it_appears_during_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        check_output(&path, Existing::Refuse).unwrap();
        assert_eq!(count(folder.path()), 0, "the check left something");
        let error = write_whole(&path, Existing::Refuse, |out| {
            std::fs::write(&path, "another's").unwrap();
            out.write_all(b"ours").map_err(|e| Error::io("a", e))
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("exists; give --overwrite"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"another's");
        assert!(check_output(&path, Existing::Refuse).is_err());
        assert!(write_whole(&path, Existing::Refuse, |_| panic!("it was written all the same")).is_err());
        assert_eq!(count(folder.path()), 1);
        #[cfg(unix)]
        {
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
            assert!(check_output(&link, Existing::Refuse).is_err(), "a link that leads nowhere is a file");
            write_whole(&link, Existing::Replace, |_| Ok(())).unwrap();
            assert!(link.symlink_metadata().unwrap().is_file() && !folder.path().join("nowhere").exists());
        }
    }

    #[test]
    fn only_temporary_files_that_are_ours_old_and_unlocked_are_stale() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, hours: u64| {
            let path = folder.path().join(name);
            let file = File::create(&path).unwrap();
            let now = file.metadata().unwrap().modified().unwrap();
            file.set_modified(now - Duration::from_secs(hours * 3600)).unwrap();
            (path, file)
        };
        let names = [1, 2, 3].map(temporary_name);
        assert!(names.iter().all(|name| is_temporary(name)));
        let wrong = names[0].replace("-0000000000000001", "-0000000000000004");
        let (stale, _) = make(&names[0], 25);
        let (used, locked) = make(&names[1], 25);
        locked.lock().unwrap();
        let others = [
            make(&names[2], 23).0,
            make(&wrong, 25).0,
            make(".lineament-notes", 2500).0,
            make(".lineament-4000000000-abc", 2500).0,
            make(".lineament-0000000000000001", 2500).0,
        ];
        remove_stale(folder.path());
        assert!(!stale.exists(), "what a killed process left");
        assert!(used.exists(), "another process still writes it");
        assert!(others.iter().all(|path| path.exists()), "not a temporary file of ours, or too young");
        drop(locked);
        remove_stale(folder.path());
        assert!(!used.exists());
    }

    #[test]
    fn a_lock_is_held_until_its_file_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }
}
