//! Batches made ahead on worker threads, in bounded queues. Their content and order do not depend on the number of threads.

use super::threads;
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Batches that a thread makes ahead of the requested one.
const AHEAD: usize = 2;

/// Returns the largest number of batches that `threads` threads hold together: those ahead, one in progress per thread, and the
/// one in use.
pub fn most_held(threads: usize) -> usize {
    threads * (AHEAD + 1) + 1
}

/// Threads that make the batches of the steps `first` to `last`; each of n threads makes every n-th batch.
#[derive(Debug)]
pub struct Loader<T> {
    queues: Vec<Receiver<Result<T>>>,
    threads: Vec<JoinHandle<()>>,
    first: u64,
    next: u64,
}

impl<T: Send + 'static> Loader<T> {
    /// Starts `threads` threads, but at least one and no more than there are steps. `make` must always return the same batch for
    /// a step.
    ///
    /// # Errors
    /// The system refuses to start a thread.
    pub fn new(
        threads: usize,
        first: u64,
        last: u64,
        make: impl Fn(u64) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        let make = Arc::new(make);
        let mut loader = Self { queues: Vec::new(), threads: Vec::new(), first, next: first };
        let steps = usize::try_from(last.saturating_sub(first).saturating_add(1)).unwrap_or(usize::MAX);
        let count = threads.clamp(1, steps.max(1));
        for k in 0..count {
            let (sender, receiver) = sync_channel(AHEAD);
            let make = make.clone();
            let work = move || {
                for step in (first + k as u64..=last).step_by(count) {
                    // If no one receives, the loader is gone; nothing follows an error.
                    let made = make(step);
                    let failed = made.is_err();
                    if sender.send(made).is_err() || failed {
                        return;
                    }
                }
            };
            loader.threads.push(std::thread::Builder::new().spawn(work).map_err(|e| threads::refused(&e))?);
            loader.queues.push(receiver);
        }
        Ok(loader)
    }

    /// Returns the batch of `step`, which must follow the previously requested step.
    ///
    /// # Errors
    /// Those of `make`; another step is due; the thread has ended.
    pub fn take(&mut self, step: u64) -> Result<T> {
        if step != self.next {
            return Err(Error::Usage(format!(
                "expected a request for the batch of step {}, got step {step}",
                self.next
            )));
        }
        self.next += 1;
        let queue = &self.queues[((step - self.first) % self.queues.len() as u64) as usize];
        let gone = || Error::Usage("a thread that makes batches has ended; see its message above".into());
        queue.recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl<T> Drop for Loader<T> {
    fn drop(&mut self) {
        self.queues.clear();
        for thread in self.threads.drain(..) {
            // A panic has already been reported.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn batches_come_in_order_from_any_number_of_threads() {
        for threads in [1, 2, 3, 7] {
            let mut loader = Loader::new(threads, 5, 30, Ok).unwrap();
            for step in 5..=30 {
                assert_eq!(loader.take(step).unwrap(), step, "{threads} threads");
            }
            assert!(loader.take(31).is_err(), "past the last");
        }
    }

    #[test]
    fn queues_are_bounded() {
        let made = Arc::new(AtomicU64::new(0));
        let counter = made.clone();
        let make = move |step| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(step)
        };
        let mut loader = Loader::new(2, 1, 1_000_000, make).unwrap();
        loader.take(1).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        // Two in each queue, one in progress per thread, and the one that was taken.
        assert!(made.load(Ordering::SeqCst) <= most_held(2) as u64, "{made:?} were made");
        drop(loader);
    }

    #[test]
    fn an_error_comes_at_its_step() {
        let make = |step| if step == 3 { Err(Error::Usage("no picture".into())) } else { Ok(step) };
        let mut loader = Loader::new(2, 1, 10, make).unwrap();
        assert_eq!((loader.take(1).unwrap(), loader.take(2).unwrap()), (1, 2));
        assert_eq!(loader.take(3).unwrap_err().to_string(), "no picture");
    }
}
