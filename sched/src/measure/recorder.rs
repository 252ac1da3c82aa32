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
//! still be writing. Its record has no time yet: every writer first takes the time of the record
//! [`AHEAD`] places ahead away. So a record is whole if it has a time. The memory of a ring is
//! not cleared before.
//!
//! Rejected: a lock, or a flag for "I am writing": a handler would wait for the code that it
//! interrupted. Rejected: records of several sizes: a reader of an overwritten ring would not find
//! the first one.

use core::cell::Cell;
use core::mem::MaybeUninit;

use crate::machine::sync::{AtomicPtr, AtomicU64, Ordering};

/// Words of a record.
const WORDS: usize = 4;

/// A record has 2^5 bytes. `head`, `limit` and `mask` count bytes, so that the writer need not
/// multiply.
const SHIFT: u32 = 5;

/// In `head`: the recorder is closed.
const CLOSED: u64 = 1 << 63;

/// In `extras`: the stacks of G's that wait, and of creators.
pub(crate) const STACKS: u8 = 1;

/// In `extras`: long waits for a core are to be told of.
pub(crate) const LATE: u8 = 2;

/// Above every number of a record, and not above [`CLOSED`].
const NO_LIMIT: u64 = CLOSED;

/// The distance of a writer to the record whose time it takes away. More than the writers that can
/// be in the middle of a record at the same time, on one core: the scheduler, and one handler on
/// each stack for handlers.
const AHEAD: u64 = 8;

/// One M's recorder.
#[derive(Debug)]
pub struct Recorder {
    /// The number of the next record, in bytes.
    head: AtomicU64,
    /// A record with this number or a higher one is dropped; in bytes. 0: the recorder is off.
    limit: AtomicU64,
    /// The ring.
    base: AtomicPtr<u8>,
    /// Its bytes, less 1.
    mask: AtomicU64,

    // --- The M's own, with preemption off.
    /// The place of the G that g0 has found.
    pub(crate) place: Cell<u8>,
    /// Turns of the global queue on this M.
    pub(crate) turns: Cell<u32>,
    /// Bits for what is recorded besides: [`STACKS`], [`LATE`]. One test tells that there is none.
    pub(crate) extras: Cell<u8>,
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
    crate::const_unless_loom! {
        /// Makes a recorder that is off.
        pub fn new() -> Self {
            Self {
                head: AtomicU64::new(0),
                limit: AtomicU64::new(0),
                base: AtomicPtr::new(core::ptr::null_mut()),
                mask: AtomicU64::new(0),
                place: Cell::new(0),
                turns: Cell::new(0),
                extras: Cell::new(0),
                late_after: AtomicU64::new(u64::MAX),
                late: AtomicU64::new(0),
            }
        }
    }

    /// Turns the recorder on. Before its M starts.
    ///
    /// # Panics
    /// If the number of records is no power of two, or less than 16.
    pub fn start(&self, ring: &'static mut [MaybeUninit<[u64; WORDS]>], mode: Mode) {
        let capacity = ring.len() as u64;
        assert!(
            capacity.is_power_of_two() && capacity >= 2 * AHEAD,
            "a ring has a power of two of records, 16 at least"
        );
        ring.iter_mut().take(AHEAD as usize).for_each(|record| _ = record.write([0; WORDS]));
        self.start_at(ring.as_mut_ptr().cast(), capacity, mode);
    }

    fn start_at(&self, base: *mut u8, capacity: u64, mode: Mode) {
        self.mask.store((capacity << SHIFT) - 1, Ordering::Relaxed);
        self.base.store(base, Ordering::Relaxed);
        let limit = if mode == Mode::Full { (capacity - AHEAD) << SHIFT } else { NO_LIMIT };
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
        // Release: pairs with the Acquire in `close`: a dump sees which times were taken away.
        let number = self.head.fetch_add(1 << SHIFT, Ordering::Release);
        if number >= self.limit.load(Ordering::Relaxed) {
            return;
        }
        let (base, mask) = (self.base.load(Ordering::Relaxed), self.mask.load(Ordering::Relaxed));
        let place = |number: u64| place(base, number & mask);
        // SAFETY: `start` stored a ring of `mask + 1` bytes, which lives for ever, before it set
        // the limit. `number` is a multiple of a record's size.
        let (ahead, record) = unsafe { (&*place(number + (AHEAD << SHIFT)), &*place(number)) };
        ahead[0].store(0, Ordering::Relaxed);
        record[1].store(word, Ordering::Relaxed);
        record[2].store(a, Ordering::Relaxed);
        record[3].store(b, Ordering::Relaxed);
        // Release: pairs with the Acquire in `get`: a record with a time is whole.
        record[0].store(ticks(), Ordering::Release);
    }

    /// Returns the place of record `number`. Only if the recorder was started.
    fn record(&self, number: u64) -> &[AtomicU64; WORDS] {
        let at = number << SHIFT & self.mask.load(Ordering::Relaxed);
        // SAFETY: `start` stored a ring of `mask + 1` bytes, which lives for ever.
        unsafe { &*place(self.base.load(Ordering::Relaxed), at) }
    }

    /// Closes the recorder. Returns the number of records until now.
    pub fn close(&self) -> u64 {
        // Acquire: pairs with the Release in `write`.
        (self.head.fetch_or(CLOSED, Ordering::Acquire) & !CLOSED) >> SHIFT
    }

    /// Opens a recorder that was closed when it had made so many records. The numbers since then
    /// have no records.
    pub fn open(&self, closed_at: u64) {
        let mut cleared = closed_at;
        loop {
            let head = self.head.load(Ordering::Relaxed);
            let end = ((head & !CLOSED) >> SHIFT) + AHEAD;
            if self.is_on() {
                // In full mode the numbers from the limit on have no place.
                let places = (self.mask.load(Ordering::Relaxed) + 1) >> SHIFT;
                let end = end.min(self.limit.load(Ordering::Relaxed) >> SHIFT).max(cleared);
                (cleared..end)
                    .take(places as usize)
                    .for_each(|number| self.record(number)[0].store(0, Ordering::Relaxed));
                cleared = end;
            }
            // Its core may have counted more meanwhile.
            if self.head.compare_exchange(head, head & !CLOSED, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Returns how many records were made, kept or not.
    pub fn counted(&self) -> u64 {
        (self.head.load(Ordering::Relaxed) & !CLOSED) >> SHIFT
    }

    /// Returns how many records there is room for.
    pub fn capacity(&self) -> u64 {
        if self.is_on() { ((self.mask.load(Ordering::Relaxed) + 1) >> SHIFT) - AHEAD } else { 0 }
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

    /// Returns record `number`, of [`kept`](Self::kept), if it is whole.
    pub fn get(&self, number: u64) -> Option<[u64; WORDS]> {
        let record = self.record(number);
        // Acquire: pairs with the Release in `write`.
        let time = record[0].load(Ordering::Acquire);
        let word = |i: usize| record[i].load(Ordering::Relaxed);
        (time != 0).then(|| [time, word(1), word(2), word(3)])
    }

    /// Sets whether the stacks of G's that wait, and of creators, are recorded. Before the M
    /// starts.
    pub fn record_stacks(&self, records: bool) {
        self.extras.set(self.extras.get() & !STACKS | if records { STACKS } else { 0 });
    }

    /// Takes the wait of the G that waited too long, if one did.
    pub fn take_late(&self) -> Option<u64> {
        match self.late.swap(0, Ordering::Relaxed) {
            0 => None,
            waited => Some(waited),
        }
    }

    /// Sets how long a G may wait for a core, in nanoseconds. Before the M starts, or `u64::MAX`.
    pub fn set_late_after(&self, ns: u64) {
        self.late_after.store(ns, Ordering::Relaxed);
        if ns != u64::MAX {
            self.extras.set(self.extras.get() | LATE);
        }
    }
}

/// Returns the place so many bytes into the ring.
#[cfg(not(loom))]
#[inline(always)]
fn place(base: *mut u8, bytes: u64) -> *const [AtomicU64; WORDS] {
    base.wrapping_add(bytes as usize).cast()
}

/// Returns that place where an atomic is larger than its value.
#[cfg(loom)]
fn place(base: *mut u8, bytes: u64) -> *const [AtomicU64; WORDS] {
    base.cast::<[AtomicU64; WORDS]>().wrapping_add((bytes >> SHIFT) as usize)
}

/// For models.
#[cfg(loom)]
impl Recorder {
    /// Turns the recorder on, with a ring of 16 records in memory that is not clear.
    pub fn start_model(&self, mode: Mode) {
        let word = |number: usize, word: usize| if word == 0 && number < AHEAD as usize { 0 } else { 7 };
        let record = |number| core::array::from_fn(|i| AtomicU64::new(word(number, i)));
        let ring: alloc::vec::Vec<[AtomicU64; WORDS]> = (0..16).map(record).collect();
        self.start_at(alloc::boxed::Box::leak(ring.into_boxed_slice()).as_mut_ptr().cast(), 16, mode);
    }

    /// Writes a record that tells its number `n`.
    pub fn write_model(&self, n: u64) {
        self.write(|| 1000 + n, n, 2 * n, 3 * n);
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
    use alloc::vec::Vec;

    fn recorder(mode: Mode) -> Recorder {
        let recorder = Recorder::new();
        // The memory is not clear.
        let ring = alloc::vec![MaybeUninit::new([7; WORDS]); 32];
        recorder.start(alloc::boxed::Box::leak(ring.into_boxed_slice()), mode);
        recorder
    }

    fn write(recorder: &Recorder, n: u64) {
        recorder.write(|| 1000 + n, n, 2 * n, 3 * n);
    }

    /// Returns the numbers of the whole records, each of which is what `write` wrote.
    fn whole(recorder: &Recorder) -> Vec<u64> {
        let kept = recorder.kept(recorder.counted());
        let found = kept.filter_map(|n| recorder.get(n).map(|record| (n, record)));
        found.inspect(|(n, record)| assert_eq!(*record, [1000 + n, *n, 2 * n, 3 * n])).map(|(n, _)| n).collect()
    }

    #[test]
    fn a_full_ring_keeps_the_first_and_counts_the_rest() {
        let r = recorder(Mode::Full);
        (0..80).for_each(|n| write(&r, n));
        assert_eq!((r.counted(), r.kept(80)), (80, 0..24));
        assert!(whole(&r).into_iter().eq(0..24));
    }

    #[test]
    fn a_flight_recorder_keeps_the_last() {
        let r = recorder(Mode::Flight);
        (0..80).for_each(|n| write(&r, n));
        assert!(whole(&r).into_iter().eq(56..80));
    }

    #[test]
    fn a_closed_recorder_counts_and_keeps_nothing() {
        for mode in [Mode::Full, Mode::Flight] {
            let r = recorder(mode);
            (0..3).for_each(|n| write(&r, n));
            let closed_at = r.close();
            (3..20).for_each(|n| write(&r, n));
            assert_eq!((closed_at, r.counted(), r.kept(closed_at)), (3, 20, 0..3));
            r.open(closed_at);
            (20..24).for_each(|n| write(&r, n));
            assert_eq!(whole(&r), [0, 1, 2, 20, 21, 22, 23], "{mode:?}");
        }
    }

    #[test]
    fn a_hole_longer_than_the_ring_leaves_nothing_old() {
        let r = recorder(Mode::Flight);
        (0..40).for_each(|n| write(&r, n));
        let closed_at = r.close();
        (40..200).for_each(|n| write(&r, n));
        r.open(closed_at);
        (200..203).for_each(|n| write(&r, n));
        assert_eq!(whole(&r), [200, 201, 202]);
    }

    #[test]
    fn an_interrupted_writer_leaves_no_record() {
        for before in [3, 100] {
            let r = recorder(Mode::Flight);
            (0..before).for_each(|n| write(&r, n));
            // The time is asked for last, so this runs in the middle of the writer.
            let in_the_middle = || {
                write(&r, before + 1);
                let whole = whole(&r);
                assert!(!whole.contains(&before) && whole.contains(&(before + 1)) && whole.contains(&(before - 1)));
                2000
            };
            r.write(in_the_middle, 0, 0, 0);
        }
    }
}
