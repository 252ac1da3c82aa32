//! A recorded run, read: the file, its events in one order, the goroutines' lives, the queues.
//!
//! ```text
//!   bytes ──file──▶ Trace ──events──▶ Events ──lives──▶ Life, Life, …     a goroutine's states
//!                     ▲                  └────queues──▶ Queues            at any event
//!                     └─ names: functions and lines for addresses (SYMS)
//! ```
//!
//! | module | its idea |
//! |---|---|
//! | [`file`](mod@file) | the sections of a file, checked |
//! | [`meta`] | the lines of META |
//! | [`names`] | names of addresses: the section SYMS, read and written |
//! | [`events`] | the records of all M's as one list, causes before effects |
//! | [`lives`] | each goroutine's states, and their causes |
//! | [`queues`] | the queues' contents, replayed and compared with snapshots |
//! | [`sample`] | traces of a run that never was, for tests |
//!
//! ```
//! use cargo_trefoil::trace::{events::Events, lives, sample::Sample, Trace};
//!
//! let bytes = Sample { events: 1_000, ..Sample::default() }.file();
//! let trace = Trace::parse(&bytes).unwrap();
//! let events = Events::of(&trace);
//! let lives = lives::of(&trace, &events);
//! assert!(lives[&1].runs().count() > 0);
//! ```

pub mod events;
pub mod file;
pub mod lives;
pub mod meta;
pub mod names;
pub mod queues;
#[doc(hidden)]
pub mod sample;

pub use file::{Error, Ring, Trace};
pub use meta::Meta;
