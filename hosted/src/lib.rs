//! The scheduler on the host: std threads as M's. For tests, model runs and native figures; no
//! product of its own.
//!
//! ```text
//!   run(config, main)
//!     ├─ thread "M0" ── start_m, spawns main's G ── run_m ─┐
//!     ├─ thread "M1" ── start_m ─────────────────── run_m ─┤  g0 is the thread's own stack
//!     └─ …                                                 │
//!   main returns, or nobody can run any more ──▶ stop ─────┴─▶ every M leaves run_m where it rests, by unwinding
//! ```
//!
//! The same `sched`, the same switch (crate `trefoil-context`), the same protocols: a
//! resting core is a parked thread, a wake-up an `unpark`, the one-shot timer a POSIX timer whose
//! signal interrupts just that thread. So `timer_interrupt` runs in the middle of whatever its M
//! was doing, as it does in the kernel.
//!
//! # What differs from the kernel
//!
//! * Thread-locals belong to the thread, so a G that parks may wake up with others. This crate
//!   reads its one thread-local through one function that is never inlined (`machine::current`);
//!   code of tests must not keep a reference to one across a park.
//! * `std` counts panics in a thread-local: **no G parks while it unwinds**. `switch` checks that.
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

mod interrupt;
mod machine;
mod platform;
pub mod prelude;
mod run;
mod stack;

pub use machine::{Failure, Waiting};
pub use run::{Account, Config, account, example, run};

/// What the M's of this run have done so far. On a G.
///
/// # Panics
/// Outside [`run`].
pub fn stats() -> trefoil_sched::stats::Stats {
    machine::here().machine.sched.stats()
}

/// How many G's of this run are parked. On a G.
///
/// # Panics
/// Outside [`run`].
pub fn parked() -> usize {
    let mut parked = 0;
    machine::here().machine.sched.for_each_g(|g| parked += usize::from(g.state().is_parked()));
    parked
}

/// The number of the M that runs the caller; it may be another one by the time the caller looks at
/// it.
///
/// # Panics
/// Outside [`run`].
pub fn current_m() -> usize {
    machine::here().m.index()
}
