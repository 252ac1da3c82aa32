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
//! # An app of your own
//!
//! ```sh
//! cargo trefoil new ../my-app && cd ../my-app && cargo run
//! ```
//!
//! [`macro@main`] marks the function that runs first, and [`prelude`] has the usual imports. `cargo
//! trefoil run --smp 2 --release` boots the app on another machine; `debug` starts gdb, `bench`
//! counts instructions.
//!
//! # The modules
//!
//! | for | module |
//! |---|---|
//! | goroutines | [`go`], [`Builder`], [`scope()`]; [`joinset`]: sets of them, and error groups |
//! | messages | [`chan`]: channels, timers as channels; [`select!`] waits for several, [`mod@select`] for a list of them |
//! | work on slices | [`par`]: `for_each`, `map`, `reduce` on all cores |
//! | shared values | [`sync`]: locks, once cells, semaphores, wait groups; [`goroutine_local!`], [`local`]: values of one goroutine |
//! | time | [`time`]: clock, date, sleep, timers, tickers |
//! | stopping | [`context`]: cancellation, deadlines |
//! | futures | [`task`]: a goroutine that runs one |
//! | to be seen | [`trace`]: a program's words in a recorded run, and the moment to write it |
//! | the machine | [`runtime`]: cores, arguments, input, counters, exit; [`PreemptGuard`] |
//! | panics | [`mod@panic`]: catching, hooks; a panic ends its goroutine, and [`JoinHandle::join`] tells |
//! | output | [`print!`], [`println!`]; [`log`]: the macros of the crate `log` |
//! | `std`'s library | [`collections`], [`rand`], [`num`], [`hash`], [`mod@alloc`]; and `std`'s other modules by the same names |
//!
//! # Guides
//!
//! The links lead into the book, which `make doc` renders beside these pages.
//!
//! * [From Go](../../book/from-go.html): each construct, and fifteen programs;
//!   [from std](../../book/from-std.html)
//! * [How to read the book](../../book/intro.html) on the scheduler's insides, and its
//!   [glossary](../../book/glossary.html)
//! * [Locks](../../book/sync.html), [channels](../../book/channels.html) and
//!   [time](../../book/time.html): behaviour and cost
//! * [Stacks](../../book/stacks.html): windows, overflow, packing
//! * [The cost of an operation](../../book/figures.html), and [whole programs beside
//!   Go's](../../book/performance.html)
//!
//! # Testing
//!
//! `cargo test` runs an app's tests: unit tests on the host's scheduler, and those marked with
//! [`macro@test`] on the machine ([An app of your own](../../book/app.html)). The option
//! `seed=N` repeats a run's random choices ([`rand::seed`] tells N). `--icount` makes the clock
//! count instructions, and `--record FILE` with `--replay FILE` repeats a run exactly. HACKING.md
//! shows how an image tests several cases on several machines ("A test image").
//!
//! # How it is built
//!
//! The kernel has floors. Each floor imports only floors below it; `cargo xtask tidy` checks that.
//!
//! ```text
//!   start, platform, upcalls, abandon   boot as a list; the answers to sched's and arch's calls
//!   testing                             instruments of the test images
//!   api                                 the program's interface: runtime, panic, console, log, time
//!   report                              last words, of the machine or of a G
//!   recorder                            rings of decisions, dumps, and their port (feature `trace`)
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

#[doc(no_inline)]
pub extern crate alloc;

#[cfg(target_feature = "avx")]
compile_error!(
    "the boot code and the handlers run before AVX is on: build without -C target-cpu=native, or for an older target-cpu"
);

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
#[cfg_attr(not(feature = "trace"), path = "no_recorder.rs")]
#[doc(hidden)]
pub mod recorder;
mod report;
mod scheduler;
mod start;
#[doc(hidden)]
pub mod testing;
mod upcalls;

#[doc(hidden)]
pub use api::console;
pub use api::{collections, log, panic, runtime, time, trace};
pub use arch::guard::PreemptGuard;
pub use trefoil_macros::{main, test};
pub use trefoil_sched::goroutine_local;
pub use trefoil_sched::join::{JoinError, JoinHandle};
#[doc(hidden)]
pub use trefoil_sched::spawn::DEFAULT_STACK;
pub use trefoil_sched::spawn::{go, try_go};
pub use trefoil_sched::{Builder, Scope, ScopedJoinHandle, SpawnError, scope, select, select_biased};

// The other modules of `std`, by the same paths: they are those of `alloc` and `core`.
#[doc(no_inline)]
pub use alloc::{borrow, boxed, fmt, format, rc, slice, str, string, vec};
#[doc(no_inline)]
pub use core::{
    any, array, ascii, cell, char, clone, cmp, convert, default, error, f32, f64, future, hint, iter, marker, mem, net,
    ops, option, pin, ptr, result,
};

/// Hashing, as `std::hash`.
pub mod hash {
    pub use crate::collections::{DefaultHasher, RandomState};
    #[doc(no_inline)]
    pub use core::hash::*;
}

/// Strings for and from C, as `std::ffi`.
pub mod ffi {
    #[doc(no_inline)]
    pub use alloc::ffi::{CString, FromVecWithNulError, IntoStringError, NulError};
    #[doc(no_inline)]
    pub use core::ffi::*;
}

/// Numbers, as `std::num`, and the functions of floats that `std` has and `core` has not.
pub mod num {
    pub use crate::api::num::Float;
    #[doc(no_inline)]
    pub use core::num::*;
}

/// Random numbers: a generator for each goroutine, with the traits of `rand_core`.
pub mod rand {
    pub use trefoil_sched::rand::*;
}

/// How goroutines are told to stop.
pub mod context {
    pub use trefoil_sched::context::*;
}

/// Sets of goroutines that are waited for together.
pub mod joinset {
    pub use trefoil_sched::joinset::*;
}

/// Work on slices, spread over the cores.
pub mod par {
    pub use trefoil_sched::par::*;
}

/// Futures: a goroutine that runs one, and the items of `std::task`.
pub mod task {
    #[doc(no_inline)]
    pub use alloc::task::Wake;
    #[doc(no_inline)]
    pub use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker, ready};
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
    #[doc(no_inline)]
    pub use alloc::sync::{Arc, Weak};
    #[doc(no_inline)]
    pub use core::sync::atomic;
    pub use trefoil_sched::locks::*;
}
