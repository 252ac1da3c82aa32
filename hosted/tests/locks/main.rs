//! Locks that park a goroutine instead of a core, with the behaviour of `std` and Go: one file for
//! each kind.

#[path = "../support/mod.rs"]
mod support;

mod condvar;
mod counting;
mod mapped;
mod mutex;
mod once;
mod parker;
mod rwlock;

use trefoil_sched::yield_now;

/// Yields often enough, on one core, for every G that can run to do so.
fn let_others_run() {
    (0..5).for_each(|_| yield_now());
}
