//! What judges kernels and plans: checks against references, profiles beside what the adapter can do at most, measured
//! choices. The engine does not know this room.

pub mod cases;
pub mod check;
pub mod clock;
pub mod faults;
mod judge;
pub mod profile;
pub mod roof;
pub mod tune;
