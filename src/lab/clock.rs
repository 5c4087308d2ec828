//! The host's clock, which the engine does not read itself.

use std::sync::OnceLock;
use std::time::Instant;

/// Returns the milliseconds since `begin`.
pub fn ms_since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

/// Returns the milliseconds since the first call.
pub(crate) fn now_ms() -> f64 {
    static ZERO: OnceLock<Instant> = OnceLock::new();
    ms_since(*ZERO.get_or_init(Instant::now))
}
