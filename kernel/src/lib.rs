//! Trefoil: a goroutine scheduler that is the whole machine.
//!
//! ```no_run
//! #![no_std]
//! #![no_main]
//! use trefoil::prelude::*;
//!
//! #[trefoil::main]
//! fn main() {
//!     let (tx, rx) = chan::bounded::<u64>(0); // 0: rendezvous, as in Go
//!     let h = go(move || (0..3).for_each(|i| tx.send(i).unwrap()));
//!     for v in &rx {
//!         println!("{v}");
//!     }
//!     h.join().unwrap();
//! } // main returns: the machine stops, exit status 0
//! ```
//!
//! The rest of the program's interface is in [`chan`], [`sync`], [`time`] and [`runtime`]. It comes
//! with [`prelude`].
//!
//! The kernel has floors. Each floor imports only floors below it; `cargo xtask tidy` checks that.
//!
//! ```text
//!   start, platform, upcalls, abandon   boot as a list; the answers to sched's and arch's calls
//!   testing                             instruments of the test images
//!   api                                 the program's interface: runtime, panic, console, log, time
//!   report                              last words, of the machine or of a G
//!   mm                                  frames, heap, page tables, kernel stacks, the G's stacks
//!   arch                                the processor: vectors, devices, preemption, a core's record
//!   scheduler                           the one scheduler
//! ```
#![no_std]
// `panic::out_of_memory` says why.
#![feature(alloc_error_handler)]
// Boot, reports and other rarely run code are optimised for size: see the limit on the image in
// `xtask/tests/host.rs`.
#![feature(optimize_attribute)]

extern crate alloc;

#[cfg(panic = "abort")]
compile_error!(
    "Trefoil needs unwinding: a panic ends one goroutine, whose destructors run. \
     Remove `panic = \"abort\"` from the profile in Cargo.toml"
);

mod abandon;
mod api;
#[doc(hidden)]
pub mod arch;
#[doc(hidden)]
pub mod mm;
mod platform;
pub mod prelude;
mod report;
mod scheduler;
mod start;
#[doc(hidden)]
pub mod testing;
mod upcalls;

#[doc(hidden)]
pub use api::console;
pub use api::{log, panic, runtime, time};
pub use arch::guard::PreemptGuard;
pub use trefoil_macros::{main, test};
pub use trefoil_sched::goroutine_local;
pub use trefoil_sched::join::{JoinError, JoinHandle};
#[doc(hidden)]
pub use trefoil_sched::spawn::DEFAULT_STACK;
pub use trefoil_sched::spawn::{go, try_go};
pub use trefoil_sched::{Builder, Scope, ScopedJoinHandle, SpawnError, scope, select, select_biased};

/// How goroutines are told to stop.
pub mod context {
    pub use trefoil_sched::context::*;
}

/// Sets of goroutines that are waited for together.
pub mod joinset {
    pub use trefoil_sched::joinset::*;
}

/// Futures: a goroutine that runs one, and wakers.
pub mod task {
    pub use trefoil_sched::task::*;
}

/// Per-goroutine data; see [`goroutine_local!`].
pub mod local {
    pub use trefoil_sched::local::{AccessError, LocalKey};
}

/// Channels: `bounded(0)` is a rendezvous, as in Go.
pub mod chan {
    pub use trefoil_sched::chan::*;
}

/// Locks and other objects that park a goroutine instead of a core.
pub mod sync {
    pub use trefoil_sched::locks::*;
}
