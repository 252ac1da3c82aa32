//! The portable half of Trefoil: goroutines (G), processors (P), machines (M), and everything that
//! moves a G between them. Each folder knows only the folders below it.
//!
//! ```text
//!   api       go, chan, locks, select, sleep, join, scope, context …      the interface of programs
//!   wait      the list of waiters, the ticket, groups, sleepers, the undertaker
//!   core      park and ready · find the next G: slot, ring, inbox, thieves · rest · M, P, Sched
//!   queue     the ring, the global queue, the inbox, free G's, the registry
//!   g         a G's record, its states, its name; what of it stands in others' lists
//!   timers    the heap of deadlines · stack: a page that is taken away, epochs · measure: histograms
//!   machine   the hooks of a platform, atomics, the guard that keeps preemption off, the spin lock
//! ```
//!
//! There is no machine in this crate: no assembly, no MMIO, no `target_arch`. The kernel and the
//! hosted platform each wire one [`platform::Platform`] at link time. The crate owns no statics
//! either: the platform keeps the one [`Sched`] and hands out the current [`M`].
//!
//! Invariants that concern several folders:
//!
//! * INV-PUBLISH: a G becomes visible to other cores only in the `after` of the switch that left
//!   it. Visible means in a queue, in a free list, or in a waiter list whose lock is released. In
//!   `after` its registers are saved. See `core/park.rs`.
//! * **INV-ONE-PLACE**: a G stands in exactly one place: a queue slot, a free list, an M's `curg`,
//!   or an object it waits for.
//! * **INV-RECHECK**: an M rests only after it has made itself findable and then looked at every
//!   queue again. See `core/idle.rs`.
//! * INV-TIMER-HOME: a P with a timer pending is either held by an M, whose one-shot is armed for
//!   it, or idle. The home of an idle P, the M that released it, keeps that deadline: it rests with
//!   it, or has its one-shot armed for it. See `core/handoff.rs`.
#![cfg_attr(not(loom), no_std)]
#![feature(optimize_attribute)]

extern crate alloc;

mod api;
mod core;
mod g;
mod machine;
mod measure;
#[cfg(loom)]
pub mod model;
mod queue;
mod stack;
mod timers;
mod wait;

/// The inner parts, for the kernel, the hosted platform, and tests: no interface for programs.
#[doc(hidden)]
pub mod internals {
    pub use crate::core::trace as recorder;
    pub use crate::core::{idle, m};
    pub use crate::g::state;
    pub use crate::machine::spin;
    #[cfg(loom)]
    pub use crate::measure::modelled;
    pub use crate::queue::ring;
    pub use crate::stack::{epoch, page};
    pub use crate::wait::{deaths, group};

    pub mod g {
        pub use crate::g::*;
    }
    pub mod timers {
        #[cfg(loom)]
        pub use crate::wait::sleep::Bell;
        pub use crate::wait::sleep::Chore;
    }
}

// For programs.
pub use crate::api::scope::{Scope, ScopedJoinHandle, scope};
pub use crate::api::spawn::{Builder, SpawnError, exit_g};
pub use crate::api::{
    chan, context, input, join, joinset, local, locks, output, panic, par, rand, scope, select, spawn, stats, task,
    time, trace,
};
pub use crate::core::handoff::block_in_place;
pub use crate::core::max_procs::set_max_procs;
pub use crate::core::park::yield_now;
pub use crate::core::pin::{Pin, pin};
// For platforms.
pub use crate::api::spawn::abandon;
pub use crate::core::find::run_m;
pub use crate::core::interrupt::{
    park_for_interrupt, ready_anywhere, ready_from_interrupt, timer_interrupt, wake_interrupt,
};
pub use crate::core::m::M;
pub use crate::core::p::P;
pub use crate::core::park::{current_g, is_side_door, make_way, park, preempt, ready};
pub use crate::core::shared::{Config, Sched};
pub use crate::g::{Cause, G, GRef, WaitReason};
pub use crate::machine::guard::PreemptGuard;
pub use crate::machine::platform::{self, Fatal, Platform, Stack};
pub use crate::queue::registry::Cursor;
