//! Ctrl-C and SIGTERM: work stops within two seconds, and no half-written file remains.
//!
//! The first signal is a request: long work checks [`is_requested`] between pieces and returns [`Error::Interrupted`]. If the
//! process is still running after [`GRACE`], it is ended from here, unless a [`Finishing`] protects work that would otherwise
//! be lost; the message then says which. The second signal ends the process at once. Files are always renamed into place, and
//! the process's temporary files are removed first, so that a forced end leaves nothing behind either.

use super::out::{self, warning};
use crate::error::{Error, Result};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::Builder;
use std::time::Duration;

/// Time for work to end by itself.
const GRACE: Duration = Duration::from_millis(1500);

/// Time for the last message, which would block forever on a pipe that nobody reads.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The exit code of a process that was interrupted: 128 and the number of SIGINT.
const CODE: i32 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Work that is being finished, the latest last.
static FINISHING: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());

/// Ends the process without running destructors of objects that other threads still use, such as the driver library's.
pub type ExitNow = fn(i32) -> !;

/// Returns true once the user has asked to stop.
pub fn is_requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Fails once the user has asked to stop.
///
/// # Errors
/// [`Error::Interrupted`].
pub fn check() -> Result<()> {
    if is_requested() { Err(Error::Interrupted) } else { Ok(()) }
}

/// Guards work that is finished even after a signal, until dropped.
#[must_use]
#[derive(Debug)]
pub struct Finishing(u64);

impl Finishing {
    /// `what` completes the sentence "finishing …".
    pub fn new(what: impl Into<String>) -> Self {
        let mut all = FINISHING.lock().unwrap_or_else(PoisonError::into_inner);
        let id = all.last().map_or(0, |(id, _)| id + 1);
        all.push((id, what.into()));
        Self(id)
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        FINISHING.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _)| *id != self.0);
    }
}

fn being_finished() -> Option<String> {
    FINISHING.lock().unwrap_or_else(PoisonError::into_inner).last().map(|(_, what)| what.clone())
}

/// Starts to listen for signals.
pub fn install(exit_now: ExitNow) {
    let handler = ctrlc::set_handler(move || {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            end(exit_now);
        }
        // The handler must return for the second signal to be seen, even if stderr is locked.
        // If the system refuses a thread, no message appears, and the work ends at its next check.
        let _ = Builder::new().spawn(|| {
            let what = being_finished()
                .map_or_else(|| "stopping".to_owned(), |what| format!("finishing {what}, then stopping"));
            let _ = writeln!(std::io::stderr().lock(), "\n{what}; Ctrl-C again stops at once");
        });
        let _ = Builder::new().spawn(move || {
            std::thread::sleep(GRACE);
            while being_finished().is_some() {
                std::thread::sleep(Duration::from_millis(20));
            }
            end(exit_now);
        });
    });
    if let Err(e) = handler {
        warning!("Ctrl-C will end the process at once: {e}");
    }
}

fn end(exit_now: ExitNow) -> ! {
    crate::files::abandon();
    let (done, said) = mpsc::channel();
    let _ = Builder::new().spawn(move || {
        out::end(Err(Error::Interrupted));
        let _ = done.send(());
    });
    let _ = said.recv_timeout(LAST_WORDS);
    exit_now(CODE)
}
