//! What parks a goroutine instead of a core: `std`'s and Go's behaviour, a file a kind.

#[path = "../support/mod.rs"]
mod support;

mod condvar;
mod counting;
mod mutex;
mod once;
mod rwlock;

use trefoil_sched::yield_now;

/// Long enough, on one core, for everybody who can run to do so.
fn let_others_run() {
    (0..5).for_each(|_| yield_now());
}
