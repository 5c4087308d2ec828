//! Divides work among the processor's threads.

use std::sync::{Mutex, PoisonError};

/// Returns whether [`in_threads`] has more than one thread.
pub fn are_several() -> bool {
    std::thread::available_parallelism().is_ok_and(|threads| threads.get() > 1)
}

/// Calls `work` for each of `parts`, in as many threads as the machine runs at once; in this one alone where there
/// are no threads, as in a browser.
pub fn in_threads<T: Send>(parts: impl ExactSizeIterator<Item = T> + Send, work: impl Fn(T) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(parts.len());
    let parts = Mutex::new(parts);
    let take = || {
        while let Some(part) = { parts.lock().unwrap_or_else(PoisonError::into_inner).next() } {
            work(part);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // If one cannot start, the others do its work.
            let _ = std::thread::Builder::new().spawn_scoped(scope, take);
        }
        take();
    });
}
