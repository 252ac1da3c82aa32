//! The names of crate `trefoil`, on the host: a library whose unit tests say
//! `extern crate trefoil_hosted as trefoil` reads the same in both worlds.
//!
//! The machine's own parts are missing: `stdin`, `log`, `PreemptGuard`, and the memory and
//! interrupts in `stats`. Code that needs them is tested on the machine.

pub use trefoil_macros::hosted_test as test;
pub use trefoil_sched::join::{JoinError, JoinHandle};
pub use trefoil_sched::spawn::{DEFAULT_STACK, go, try_go};
pub use trefoil_sched::{Builder, Scope, ScopedJoinHandle, SpawnError, scope};
pub use trefoil_sched::{chan, context, joinset, local, panic, par, rand, time, trace};
pub use trefoil_sched::{goroutine_local, select, select_biased};

pub use std::{dbg, eprint, eprintln, print, println};

// std's other modules.
pub extern crate alloc;
pub use std::{
    any, array, ascii, borrow, boxed, cell, char, clone, cmp, collections, convert, default, error, f32, f64, ffi, fmt,
    format, future, hash, hint, iter, marker, mem, net, num, ops, option, pin, ptr, rc, result, slice, str, string,
    vec,
};

/// Locks and other objects that park a goroutine.
pub mod sync {
    pub use std::sync::{Arc, Weak, atomic};
    pub use trefoil_sched::locks::*;
}

/// Futures.
pub mod task {
    pub use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker, ready};
    pub use trefoil_sched::task::*;
}

/// The machine's part of the API.
pub mod runtime {
    use core::time::Duration;

    pub use crate::current_m as core;
    pub use std::process::{ExitCode, Termination, exit};
    pub use trefoil_sched::{Pin, WaitReason, block_in_place, exit_g, pin, set_max_procs, yield_now};

    fn sched() -> &'static trefoil_sched::Sched {
        crate::machine::here().machine.sched
    }

    /// Returns the program's own words: none.
    pub fn args() -> impl Iterator<Item = &'static str> {
        ::core::iter::empty()
    }

    /// Returns the bytes of the boot module: none.
    pub fn input() -> &'static [u8] {
        &[]
    }

    /// Returns the number of M's.
    ///
    /// # Panics
    /// Outside [`run`](crate::run).
    pub fn num_cpus() -> usize {
        crate::machine::here().machine.cores().len()
    }

    /// Returns the number of P's.
    ///
    /// # Panics
    /// Outside [`run`](crate::run).
    pub fn max_procs() -> usize {
        sched().num_ps()
    }

    /// Returns the number of goroutines, the caller among them.
    ///
    /// # Panics
    /// Outside [`run`](crate::run).
    pub fn num_goroutines() -> usize {
        sched().num_goroutines() as usize
    }

    /// Returns how long a goroutine may run while others wait for its core.
    ///
    /// # Panics
    /// Outside [`run`](crate::run).
    pub fn slice() -> Duration {
        Duration::from_nanos(sched().slice())
    }

    /// Returns the counts of all M's so far.
    ///
    /// # Panics
    /// Outside [`run`](crate::run).
    pub fn stats() -> trefoil_sched::stats::Stats {
        crate::stats()
    }
}
