//! The memory of a thief.

use core::cell::Cell;

use crate::machine::MAX;

/// An M stays shy for this long after a trial that did not pay: 2 ms, and up to 64 ms after several
/// in a row.
pub(super) const SHY: u64 = 2_000_000;
pub(super) const SHY_MAX: u64 = 64_000_000;

/// An M's memory.
#[derive(Debug)]
pub(crate) struct Haul {
    /// 0: eager. Else the M is shy, and this is the time of its next trial.
    pub(super) shy_until: Cell<u64>,
    /// The current measurement, and its start.
    pub(super) what: Cell<What>,
    pub(super) since: Cell<u64>,
    /// The totals at that start: of all M's, and of this one.
    pub(super) all: Cell<Done>,
    pub(super) runs: Cell<u64>,
    pub(super) parks: Cell<u64>,
    pub(super) steals: Cell<u64>,
    /// The dispatches a second of all M's without this one, and the time of that measurement. 0:
    /// not known.
    pub(super) alone: Cell<(u64, u64)>,
    /// The rate with this M in the last trial, if the next rate without it is to be compared with
    /// it. 0: no comparison is due.
    pub(super) with: Cell<u64>,
    /// The last G's taken from a stuck P quarrelled: next time one G is enough.
    pub(super) meek: Cell<bool>,
    /// The length of the next shy time.
    pub(super) patience: Cell<u64>,
    /// The total of dispatches at the last look, and its time.
    pub(super) look: Cell<(u64, u64)>,
    /// The last sight of each P.
    pub(super) seen: [Cell<Seen>; MAX],
}

/// A kind of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Nothing,
    /// Eager: the effect of this M's hauls.
    Trial,
    /// Shy: the others' progress without this M.
    Alone,
    /// Shy: the effect of a haul from a stuck P.
    Rescue,
}

/// Totals of all M's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) dispatches: u64,
    /// Nanoseconds spent waiting for spin locks.
    pub(super) waited: u64,
}

/// A shy M's last sight of a P.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// How many G's had left the ring.
    pub(super) head: u32,
    /// The dispatches of its M.
    pub(super) ran: u64,
    /// The time since which the oldest G waits. 0: none waited.
    pub(super) since: u64,
}

impl Haul {
    pub(crate) const fn new() -> Self {
        Self {
            shy_until: Cell::new(0),
            what: Cell::new(What::Nothing),
            since: Cell::new(0),
            all: Cell::new(Done { dispatches: 0, waited: 0 }),
            runs: Cell::new(0),
            parks: Cell::new(0),
            steals: Cell::new(0),
            alone: Cell::new((0, 0)),
            with: Cell::new(0),
            meek: Cell::new(false),
            patience: Cell::new(SHY),
            look: Cell::new((0, 0)),
            seen: [const { Cell::new(Seen { head: 0, ran: 0, since: 0 }) }; MAX],
        }
    }
}
