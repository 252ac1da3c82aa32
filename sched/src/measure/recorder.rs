//! The recorder of one M: a ring of records, written by its core alone.
//!
//! ```text
//!   head ── counts every record, kept or not
//!     │
//!     ▼  head & mask
//!   ┌──────┬──────┬──────┬──────┬──────┬──────┬──────┬──────┐
//!   │      │      │ 32 bytes: time, word, a, b    │      │      │
//!   └──────┴──────┴──────┴──────┴──────┴──────┴──────┴──────┘
//!   full:    a record whose number is `limit` or more is dropped      (the first ones are kept)
//!   flight:  there is no limit, and the ring overwrites its oldest   (the last ones are kept)
//! ```
//!
//! The code of the scheduler writes records, and so do the interrupt handlers of the same core, in
//! the middle of each other. One atomic addition gives each writer a place of its own. The time is
//! written last. It is read from the counter last, too, so a handler that interrupts a writer has
//! the earlier time. A reader sorts by time.
//!
//! **Closing.** A dump reads the ring while its core may run. [`Recorder::close`] sets the highest
//! bit of `head`. From then on every number is above the limit, in flight mode as well, so nothing
//! is written any more, and everything is counted. Only a writer that got its number before may
//! still be writing. Its record has no time yet (0), or the time of the record that stood there a
//! round ago. [`Recorder::is_whole`] finds both.
//!
//! Rejected: a lock, or a flag for "I am writing": a handler would wait for the code that it
//! interrupted. Rejected: records of several sizes: a reader of an overwritten ring would not find
//! the first one.

use core::cell::Cell;

use crate::machine::sync::{AtomicPtr, AtomicU64, Ordering};

/// Words of a record.
const WORDS: usize = 4;

/// In `head`: the recorder is closed.
const CLOSED: u64 = 1 << 63;

/// Above every number of a record, and below [`CLOSED`].
const NO_LIMIT: u64 = CLOSED;

/// One M's recorder.
#[derive(Debug)]
pub struct Recorder {
    /// The number of the next record.
    head: AtomicU64,
    /// A record with this number or a higher one is dropped. 0: the recorder is off.
    limit: AtomicU64,
    /// The ring, of `mask + 1` records.
    base: AtomicPtr<[AtomicU64; WORDS]>,
    mask: AtomicU64,

    // --- The M's own, with preemption off.
    /// The place of the G that g0 has found.
    pub(crate) place: Cell<u8>,
    /// Switches left until the queues are recorded.
    pub(crate) until_snapshot: Cell<u32>,
    /// How long a G may wait for a core, in nanoseconds, before `late` is set; `u64::MAX`: for
    /// ever.
    pub(crate) late_after: AtomicU64,
    /// How long the first G waited that waited longer.
    pub(crate) late: AtomicU64,
}

/// The mode of a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Keeps the first records.
    Full,
    /// Keeps the last records.
    Flight,
}

impl Recorder {
    /// Makes a recorder that is off.
    pub const fn new() -> Self {
        Self {
            head: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            base: AtomicPtr::new(core::ptr::null_mut()),
            mask: AtomicU64::new(0),
            place: Cell::new(0),
            until_snapshot: Cell::new(0),
            late_after: AtomicU64::new(u64::MAX),
            late: AtomicU64::new(0),
        }
    }

    /// Turns the recorder on. Before its M starts.
    ///
    /// # Panics
    /// If the number of records is no power of two.
    pub fn start(&self, ring: &'static mut [[u64; WORDS]], mode: Mode) {
        assert!(ring.len().is_power_of_two(), "a ring of records has a power of two of them");
        let capacity = ring.len() as u64;
        self.mask.store(capacity - 1, Ordering::Relaxed);
        self.base.store(ring.as_mut_ptr().cast(), Ordering::Relaxed);
        let limit = if mode == Mode::Full { capacity } else { NO_LIMIT };
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Returns true if the recorder was turned on.
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.limit.load(Ordering::Relaxed) != 0
    }

    /// Writes a record, with the time that `ticks` returns. On the M's core, in a handler as well.
    #[inline(always)]
    pub(crate) fn write(&self, ticks: impl FnOnce() -> u64, word: u64, a: u64, b: u64) {
        // Relaxed: no other core writes here. A dump sees the records by their times.
        let number = self.head.fetch_add(1, Ordering::Relaxed);
        if number >= self.limit.load(Ordering::Relaxed) {
            return;
        }
        let at = (number & self.mask.load(Ordering::Relaxed)) as usize;
        // SAFETY: `start` stored a ring of `mask + 1` records, which lives for ever, before it set
        // the limit.
        let record = unsafe { &*self.base.load(Ordering::Relaxed).add(at) };
        record[1].store(word, Ordering::Relaxed);
        record[2].store(a, Ordering::Relaxed);
        record[3].store(b, Ordering::Relaxed);
        // Release: pairs with the Acquire in `get`: a record with a new time is whole.
        record[0].store(ticks(), Ordering::Release);
    }

    /// Closes the recorder. Returns the number of records until now.
    pub fn close(&self) -> u64 {
        self.head.fetch_or(CLOSED, Ordering::Relaxed) & !CLOSED
    }

    /// Opens a recorder that was closed.
    pub fn open(&self) {
        self.head.fetch_and(!CLOSED, Ordering::Relaxed);
    }

    /// Returns how many records were made, kept or not.
    pub fn counted(&self) -> u64 {
        self.head.load(Ordering::Relaxed) & !CLOSED
    }

    /// Returns how many records there is room for.
    pub fn capacity(&self) -> u64 {
        if self.is_on() { self.mask.load(Ordering::Relaxed) + 1 } else { 0 }
    }

    /// Returns the numbers of the records that the ring has, of `counted` that were made.
    pub fn kept(&self, counted: u64) -> core::ops::Range<u64> {
        let capacity = self.capacity();
        if self.limit.load(Ordering::Relaxed) == NO_LIMIT {
            counted.saturating_sub(capacity)..counted
        } else {
            0..counted.min(capacity)
        }
    }

    /// Returns record `number`, which the ring has.
    pub fn get(&self, number: u64) -> [u64; WORDS] {
        let at = (number & self.mask.load(Ordering::Relaxed)) as usize;
        // SAFETY: as in `write`.
        let record = unsafe { &*self.base.load(Ordering::Relaxed).add(at) };
        // Acquire: pairs with the Release in `write`.
        let time = record[0].load(Ordering::Acquire);
        [time, record[1].load(Ordering::Relaxed), record[2].load(Ordering::Relaxed), record[3].load(Ordering::Relaxed)]
    }

    /// Returns true if record `number`, of `kept`, is whole. Of a writer that was interrupted, the
    /// time is that of the round before, or 0.
    pub fn is_whole(&self, number: u64, kept: &core::ops::Range<u64>) -> bool {
        let time = self.get(number)[0];
        // A handler's record may be a little older than the one before it, never older than the
        // oldest of the ring.
        time != 0 && (number == kept.start || time >= self.get(kept.start)[0])
    }

    /// Takes the wait of the G that waited too long, if one did.
    pub fn take_late(&self) -> Option<u64> {
        match self.late.swap(0, Ordering::Relaxed) {
            0 => None,
            waited => Some(waited),
        }
    }

    /// Sets how long a G may wait for a core, in nanoseconds.
    pub fn set_late_after(&self, ns: u64) {
        self.late_after.store(ns, Ordering::Relaxed);
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn recorder(mode: Mode) -> Recorder {
        let recorder = Recorder::new();
        recorder.start(std::boxed::Box::leak(std::vec![[0; WORDS]; 8].into_boxed_slice()), mode);
        recorder
    }

    fn write(recorder: &Recorder, n: u64) {
        recorder.write(|| 1000 + n, n, 2 * n, 3 * n);
    }

    #[test]
    fn a_full_ring_keeps_the_first_and_counts_the_rest() {
        let r = recorder(Mode::Full);
        (0..20).for_each(|n| write(&r, n));
        assert_eq!((r.counted(), r.kept(20)), (20, 0..8));
        assert_eq!(r.get(7), [1007, 7, 14, 21]);
    }

    #[test]
    fn a_flight_recorder_keeps_the_last() {
        let r = recorder(Mode::Flight);
        (0..20).for_each(|n| write(&r, n));
        let kept = r.kept(r.counted());
        assert_eq!(kept, 12..20);
        assert!(kept.clone().all(|n| r.get(n) == [1000 + n, n, 2 * n, 3 * n] && r.is_whole(n, &kept)));
    }

    #[test]
    fn a_closed_recorder_counts_and_keeps_nothing() {
        let r = recorder(Mode::Flight);
        (0..3).for_each(|n| write(&r, n));
        assert_eq!(r.close(), 3);
        write(&r, 3);
        assert_eq!((r.counted(), r.get(3)), (4, [0; WORDS]));
        r.open();
        write(&r, 4);
        let kept = r.kept(r.counted());
        let whole: std::vec::Vec<u64> = kept.clone().filter(|&n| r.is_whole(n, &kept)).collect();
        assert_eq!(whole, [0, 1, 2, 4], "the record that was not kept is told from the others");
    }

    #[test]
    fn an_interrupted_writer_is_found() {
        let r = recorder(Mode::Flight);
        (0..10).for_each(|n| write(&r, n));
        // The time of number 10 is asked for last. Until then its place has the time of number 2.
        r.write(
            || {
                let kept = r.kept(r.counted());
                assert_eq!((kept.clone(), r.is_whole(10, &kept), r.is_whole(9, &kept)), (3..11, false, true));
                2000
            },
            0,
            0,
            0,
        );
    }
}
