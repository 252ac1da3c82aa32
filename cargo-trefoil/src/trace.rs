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
//! | [`totals`] | totals by M, P, reason and spawn site |
//! | [`text`] | the texts of `cargo trefoil trace` |
//! | [`view`] | the words of its command line |
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
pub mod text;
pub mod totals;
pub mod view;

use std::collections::BTreeMap;

use events::Events;
use lives::Life;

pub use file::{Error, Ring, Trace};
pub use meta::Meta;

/// A trace with its events and lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    /// The file.
    pub trace: Trace,
    /// The events, in order.
    pub events: Events,
    /// The goroutines, by number.
    pub lives: BTreeMap<u64, Life>,
}

impl Recording {
    /// Reads the events and the lives of a trace.
    pub fn new(trace: Trace) -> Self {
        let events = Events::of(&trace);
        let lives = lives::of(&trace, &events);
        Self { trace, events, lives }
    }

    /// Returns the end of the last event's time, in nanoseconds.
    pub fn end(&self) -> u64 {
        self.events.end.max(self.events.last().map_or(0, |event| event.ns))
    }

    /// Returns the text that names a goroutine: its number, and its name or its function's.
    pub fn title(&self, g: u64) -> String {
        match self.lives.get(&g) {
            _ if g == 0 => "g0".into(),
            Some(life) => life.title(&self.trace),
            None => format!("G{g}"),
        }
    }
}
