//! The bottom floor: the machine as the scheduler sees it.
//!
//! [`platform`] has the hooks that a kernel or a host wires. `sync` is the one door to atomics,
//! `guard` keeps preemption off, and `spin` is the lock for a few words. Nothing here knows a G, a
//! P or an M.

pub mod counter;
pub mod guard;
pub mod payload;
pub mod platform;
pub mod spin;
pub mod sync;
pub mod token;

/// The most M's and P's: one bit each in a word.
pub const MAX: usize = 64;
