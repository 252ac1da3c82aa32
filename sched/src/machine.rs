//! The bottom floor: the machine as the scheduler sees it.
//!
//! [`platform`] has the hooks that a kernel or a host wires. `sync` is the one door to atomics,
//! `guard` keeps preemption off, and `spin` is the lock for a few words. Nothing here knows a G, a
//! P or an M.

pub mod guard;
pub mod platform;
pub mod spin;
pub mod sync;
