//! The scheduler on the host: std threads as M's. For tests, model runs and native figures; no
//! product of its own.
//!
//! # A program's unit tests
//!
//! This crate has the names of crate `trefoil`. So a program's library is compiled for the host
//! when it is tested, and for the machine otherwise:
//!
//! ```ignore
//! #![cfg_attr(not(test), no_std)]
//! #[cfg(test)]
//! extern crate trefoil_hosted as trefoil;
//!
//! use trefoil::prelude::*;
//!
//! pub fn sum_of_squares(n: u64) -> u64 {
//!     let squares: Vec<_> = (1..=n).map(|n| go(move || n * n)).collect();
//!     squares.into_iter().map(|h| h.join().unwrap()).sum()
//! }
//!
//! #[cfg(test)]
//! mod tests {
//!     #[trefoil::test(smp = [1, 4])]
//!     fn squares_are_added() {
//!         assert_eq!(super::sum_of_squares(5), 55);
//!     }
//! }
//! ```
//!
//! `#[trefoil::test]` on the host starts a scheduler; in the folder `tests` it boots a machine.
//!
//! # How it works
//!
//! ```text
//!   run(config, main)
//!     ├─ thread "M0" ── start_m, spawns main's G ── run_m ─┐
//!     ├─ thread "M1" ── start_m ─────────────────── run_m ─┤  g0 is the thread's own stack
//!     └─ …                                                 │
//!   main returns, or nobody can run any more ──▶ stop ─────┴─▶ every M leaves run_m where it rests, by unwinding
//! ```
//!
//! The scheduler, the switch (crate `trefoil-context`) and the protocols are the
//! kernel's. A resting core is a parked thread, and a wake-up is an `unpark`. The one-shot timer is
//! a POSIX timer whose signal interrupts just that thread. So `timer_interrupt` runs in the middle
//! of whatever its M was doing, as it does in the kernel.
//!
//! # What differs from the kernel
//!
//! * Thread-locals belong to the thread, so a G that parks may wake up with others. One function
//!   that is never inlined, `machine::current`, reads this crate's thread-local. Tests must not
//!   keep a reference to a thread-local across a park.
//! * `std` counts panics in a thread-local: **no G parks while it unwinds**. `switch` checks that.
//! * A stack that overflows ends the process, with a line that names the goroutine (`overflow.rs`).
//! * A `main` that has returned does not stop G's that run: each M ends when it finds nothing to
//!   run.
//!
//! # Examples
//!
//! ```
//! use trefoil_hosted::{Config, run};
//! use trefoil_sched::spawn::go;
//!
//! let answer = run(Config::with_procs(2), || go(|| 6 * 7).join().unwrap());
//! assert_eq!(answer.unwrap(), 42);
//! ```

mod failure;
mod interrupt;
mod machine;
mod names;
mod overflow;
mod platform;
pub mod prelude;
mod run;
mod stack;

pub use failure::{Failure, Waiting};
pub use names::*;
pub use run::{Account, Config, account, example, run, run_test};

/// Returns the counts of all M's of this run so far. Call it on a G.
///
/// # Panics
/// Outside [`run`].
pub fn stats() -> trefoil_sched::stats::Stats {
    machine::here().machine.sched.stats()
}

/// Returns the number of parked G's of this run. Call it on a G.
///
/// # Panics
/// Outside [`run`].
pub fn parked() -> usize {
    let mut parked = 0;
    machine::here().machine.sched.for_each_g(|g| parked += usize::from(g.state().is_parked()));
    parked
}

/// Returns the number of the M that runs the caller. Another M may run the caller by the time that
/// it looks at the number.
///
/// # Panics
/// Outside [`run`].
pub fn current_m() -> usize {
    machine::here().m.index()
}
