//! Go's behaviour suite: the situations of Go's own tests (`test/chan`, `runtime/chan_test.go`,
//! `sync`, `context`, `time`, `x/sync`), in new words and code.
//!
//! ```text
//!   sched/tests/go/*.rs ──┬── hosted/tests/go_suite.rs   each case a #[test], over 1, 2 and 4 M's, and with delays at random points
//!                         └── kernel/tests/go_suite.rs   each group an image's case, over 1, 2 and 4 cores
//! ```
//!
//! One source for both, so a case uses nothing but [`api`](crate::api): the names of
//! `trefoil::prelude`, which the hosted platform's prelude has, too. Each case says in front which
//! situation of Go's it stands for. Trefoil differs on purpose in places. A send on a closed
//! channel gives the value back, where Go panics. A receive says `Err`, where Go gives the zero
//! value and `false`. There the case holds Trefoil's side, and `docs/from-go.md` has the
//! difference.
//!
//! A case leaves nothing behind: the hosted runner checks G's, stacks and panics; the image checks
//! that account after each case.

use crate::api::*;

pub mod channels;
pub mod closing;
pub mod condvar;
pub mod contexts;
pub mod goroutines;
pub mod groups;
pub mod mutex;
pub mod once;
pub mod panics;
pub mod programs;
pub mod rwmutex;
pub mod scopes;
pub mod select;
pub mod select_races;
pub mod semaphore;
pub mod timers;
pub mod waitgroup;

/// Waits until `n` G's are parked, so that those of a case are where it wants them. The caller is
/// none of them.
pub fn until_parked(n: usize) {
    until(|| parked() >= n);
}

/// Waits until `done` holds.
pub fn until(mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(20), "this never happens");
        runtime::yield_now();
        time::sleep(Duration::from_micros(100));
    }
}

/// Gives whoever should not go on the chance to do so.
pub fn a_moment() {
    (0..10).for_each(|_| runtime::yield_now());
    time::sleep(Duration::from_millis(1));
}

/// Runs `f` as a G that must panic, and returns the message.
pub fn panic_of<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> String {
    match go(f).join() {
        Ok(_) => panic!("it did not panic"),
        Err(error) => error.message().unwrap_or("(no message)").to_string(),
    }
}
