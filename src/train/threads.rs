//! The threads that prepare a run's data, and work spread over them.

use crate::error::{Error, Result};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest number of threads that a run starts.
pub const MAX: usize = 256;

/// Returns the number of threads for the value `asked` of `--threads`; 0 means one per core.
///
/// # Errors
/// `asked` is more than [`MAX`].
pub fn count(asked: usize) -> Result<usize> {
    match asked {
        0 => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(MAX)),
        1..=MAX => Ok(asked),
        _ => Err(Error::Usage(format!("--threads must be 1 to {MAX}, or 0 for one per core, got {asked}"))),
    }
}

/// Returns the error for a thread that the system refused to start.
pub fn refused(e: &std::io::Error) -> Error {
    Error::Usage(format!("the system cannot start more threads: {e}; give fewer --threads"))
}

/// Applies `work` to every item and returns the results in the items' order.
///
/// # Errors
/// The first error of `work`, in the items' order; the system refuses to start a thread.
pub fn over<T: Sync, R: Send + Sync>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let made: Vec<OnceLock<Result<R>>> = items.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let take = || {
        while let Some((item, slot)) = {
            let k = next.fetch_add(1, Ordering::Relaxed);
            items.get(k).zip(made.get(k))
        } {
            let _ = slot.set(work(item));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            if let Err(e) = std::thread::Builder::new().spawn_scoped(scope, take) {
                // Threads that already run take no more items.
                next.store(items.len(), Ordering::Relaxed);
                return Err(refused(&e));
            }
        }
        Ok(())
    })?;
    let lost = || Err(Error::Usage("a thread ended before its work was done; see its message above".into()));
    made.into_iter().map(|slot| slot.into_inner().unwrap_or_else(lost)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_threads_are_bounded() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(over(7, &items, |k| Ok(2 * k)).unwrap(), items.iter().map(|k| 2 * k).collect::<Vec<_>>());
        assert!(over(3, &[] as &[usize], |_| Ok(())).unwrap().is_empty());
        let error = over(2, &items, |k| if k % 40 == 3 { Err(Error::Usage(k.to_string())) } else { Ok(()) });
        assert_eq!(error.unwrap_err().to_string(), "3");
        assert!(count(0).unwrap() >= 1 && count(MAX).unwrap() == MAX);
        for asked in [MAX + 1, 100_000, usize::MAX] {
            let error = count(asked).unwrap_err().to_string();
            assert!(error.contains("--threads must be 1 to 256, or 0 for one per core"), "{error}");
        }
    }
}
