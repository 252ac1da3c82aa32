//! The word of a lock for readers and writers, and who waits for it.
//!
//! ```text
//!   free       0
//!   written    owner's address                                     | WRITER | QUEUED
//!   read       sum of the readers' pages ‖ how many readers there are        | QUEUED
//!              63 ─────────────────── 28   27 ──────────────────── 2     1        0
//! ```
//!
//! Uncontended, each lock and unlock is one atomic operation. While anybody waits, QUEUED keeps newcomers out: they wait as well, and the lock passes
//! from hand to hand. **Phases** alternate, as in Go:
//!
//! * a writer leaves: all readers that wait by then get it, else the first writer;
//! * the last reader leaves: the first writer gets it, else the readers.
//!
//! So a writer waits for those who read when it came and for the writers before it (and a round of readers between any two), a reader for one writer at
//! most. Nobody starves.
//!
//! **INV-OURS**: a word that says QUEUED and nothing else belongs to whoever has the lists' lock: nobody takes it, whoever comes needs that lock to wait.
//! So the hand-over is a plain store. (And no word stays so while that lock is free.)
//!
//! **The hard race** is that of the mutex, with the same answer: QUEUED is set, and the waiter's node is in its list, before the lists' lock is free.
//!
//! **A dead writer** is buried and the lock poisoned (`owner.rs`). **A dead reader** has changed nothing: it is counted off, nothing is poisoned. Its
//! unit is subtracted, which is its page and a one; so of a sum with one summand left, the page says whose that is. Of *several* dead readers of one lock
//! nobody can say which summands are theirs: such a lock stays read, writers wait, and the deadlock report says so.
//!
//! Rejected: a list of its readers for each lock, or of its locks for each G (an allocation or a search for each read); Go's writer mutex beside
//! the count (two words to take); waking instead of handing over (a writer would compete with a flood of readers).

use crate::g::{GRef, WaitReason};
use crate::lock::SpinLock;
use crate::locks::owner::{Owned, carry, fence_against_death, owner_here, owner_is_dead};
use crate::locks::poison::Poison;
use crate::park::{current_g, park};
use crate::platform;
use crate::preempt::PreemptGuard;
use crate::sync::{AtomicUsize, Ordering};
use crate::waitq::{Claimed, Crowd, WaitQueue, Waiter};

const FREE: usize = 0;
/// Somebody is in a list.
const QUEUED: usize = 1;
const WRITER: usize = 2;
/// One reader in the count.
const ONE: usize = 4;
const PAGE_SHIFT: u32 = 12;
/// Where the sum of the pages begins.
const SUM_SHIFT: u32 = 28;
/// The bits of the count.
const COUNT: usize = (1 << SUM_SHIFT) - ONE;
/// Of so many readers that the next one could be too many: 33 million.
const MANY: usize = 1 << (SUM_SHIFT - 1);
/// What keeps a reader from coming in.
const BARRED: usize = QUEUED | WRITER | MANY;

// 48 bits of address, of which the topmost is repeated above: what is left of a page's number above the count.
const _: () = assert!(usize::BITS == 64 && SUM_SHIFT - PAGE_SHIFT == 64 - 48);

/// What a reader at `addr` adds to the word.
#[inline(always)]
fn unit(addr: usize) -> usize {
    addr >> PAGE_SHIFT << SUM_SHIFT | ONE
}

/// The page of the one reader that `word` counts.
fn reader_in(word: usize) -> usize {
    ((word >> SUM_SHIFT << SUM_SHIFT) as isize >> (SUM_SHIFT - PAGE_SHIFT)) as usize
}

/// Whether `word` counts one reader, which is dead.
fn last_is_dead(word: usize) -> bool {
    word & (WRITER | COUNT) == ONE && platform::stack_is_dead(reader_in(word))
}

/// The lock without its value.
pub(crate) struct Raw {
    word: AtomicUsize,
    pub(super) poison: Poison,
    lists: SpinLock<Lists>,
}

struct Lists {
    /// Their slots: their units.
    readers: WaitQueue,
    /// Their slots: their addresses as owners.
    writers: WaitQueue,
}

/// Those who have got the lock and are to be woken.
#[must_use = "they wait for ever unless they are woken"]
struct Woken {
    readers: Crowd,
    writer: Option<Claimed>,
}

impl Woken {
    const NOBODY: Self = Self { readers: Crowd::nobody(), writer: None };

    #[inline(never)]
    fn wake(self) {
        if let Some(writer) = self.writer {
            writer.wake(&PreemptGuard::new());
        }
        self.readers.wake_all();
    }
}

/// Who has just left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Reader,
    Writer,
}

impl Raw {
    crate::const_unless_loom! {
        pub(super) fn new() -> Self {
            let (readers, writers) = (WaitQueue::new(), WaitQueue::new());
            Self {
                word: AtomicUsize::new(FREE),
                poison: Poison::new(),
                lists: SpinLock::new(Lists { readers, writers }),
            }
        }
    }

    /// What the reader has to give to `unlock_read`.
    ///
    /// # Panics
    /// Too many readers.
    #[inline(always)]
    pub(super) fn read(&self) -> usize {
        let unit = unit(owner_here());
        if !self.try_read_once(unit) {
            self.read_contended(unit);
        }
        unit
    }

    #[inline(always)]
    fn try_read_once(&self, unit: usize) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        // Acquire: pairs with the Release in `unlock_write`.
        word & BARRED == 0
            && self.word.compare_exchange(word, word.wrapping_add(unit), Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// As long as no writer holds the lock or waits.
    fn try_read_among_readers(&self, unit: usize) -> bool {
        while self.word.load(Ordering::Relaxed) & BARRED == 0 {
            if self.try_read_once(unit) {
                return true;
            }
        }
        false
    }

    #[inline]
    pub(super) fn try_read(&self) -> Option<usize> {
        let unit = unit(owner_here());
        (self.try_read_once(unit) || self.retry(|| self.try_read_among_readers(unit))).then_some(unit)
    }

    #[inline(always)]
    pub(super) fn write(&self) {
        if !self.try_write_once() {
            self.write_contended();
        }
    }

    #[inline(always)]
    fn try_write_once(&self) -> bool {
        // Acquire: pairs with the Release in `unlock_write` and `unlock_read`.
        self.word.compare_exchange(FREE, owner_here() | WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub(super) fn try_write(&self) -> bool {
        self.try_write_once() || self.retry(|| self.try_write_once())
    }

    /// Once more, after a look whether a dead G is in the way.
    #[cold]
    fn retry(&self, attempt: impl Fn() -> bool) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        if last_is_dead(word) || word & WRITER != 0 && owner_is_dead(word) {
            self.owner_died(&PreemptGuard::new());
        }
        attempt()
    }

    #[inline(always)]
    pub(super) fn unlock_read(&self, unit: usize) {
        // Release: pairs with the Acquire in `try_write_once` and `pass_on`.
        let word = self.word.fetch_sub(unit, Ordering::Release).wrapping_sub(unit);
        if word & QUEUED != 0 {
            self.last_reader_left(word);
        }
    }

    /// It may have been the last one.
    #[cold]
    fn last_reader_left(&self, word: usize) {
        if word & COUNT == 0 {
            return self.left(Left::Reader);
        }
        // Either the undertaker has seen that one reader is left, or we see that this one is dead.
        fence_against_death();
        if last_is_dead(word) {
            self.owner_died(&PreemptGuard::new());
        }
    }

    #[inline(always)]
    pub(super) fn unlock_write(&self) {
        // Release: pairs with the Acquire of those who take it.
        if self.word.fetch_and(QUEUED, Ordering::Release) & QUEUED != 0 {
            self.left(Left::Writer);
        }
    }

    #[cold]
    fn left(&self, who: Left) {
        let woken = {
            let guard = PreemptGuard::new();
            let mut lists = self.lists.lock(&guard);
            self.pass_on(&mut lists, who)
        };
        woken.wake();
    }

    /// Writer → reader. What the new reader has to give to `unlock_read`.
    pub(super) fn downgrade(&self) -> usize {
        let unit = unit(owner_here());
        // Release: as in `unlock_write`.
        let to_read = |word: usize| Some(word & QUEUED | unit);
        let was = self.word.fetch_update(Ordering::Release, Ordering::Relaxed, to_read).unwrap_or_default();
        if was & QUEUED != 0 {
            let woken = {
                let guard = PreemptGuard::new();
                let mut lists = self.lists.lock(&guard);
                self.admit(&mut lists)
            };
            woken.wake();
        }
        unit
    }

    #[cold]
    fn read_contended(&self, unit: usize) {
        if self.try_read_among_readers(unit) {
            return;
        }
        let guard = PreemptGuard::new();
        let lists = self.lists.lock(&guard);
        let mut word = self.word.load(Ordering::Relaxed);
        while word & QUEUED == 0 {
            let barred = word & BARRED != 0;
            if barred && word & WRITER == 0 {
                drop(lists);
                drop(guard);
                too_many();
            }
            let to = if barred { word | QUEUED } else { word.wrapping_add(unit) };
            // Acquire: as in `try_read_once`.
            match self.word.compare_exchange(word, to, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if !barred => return,
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        lists.into_held();
        self.wait::<READING>(guard, unit);
    }

    #[cold]
    fn write_contended(&self) {
        let mine = owner_here() | WRITER;
        let guard = PreemptGuard::new();
        let lists = self.lists.lock(&guard);
        let mut word = self.word.load(Ordering::Relaxed);
        while word & QUEUED == 0 {
            let to = if word == FREE { mine } else { word | QUEUED };
            // Acquire: as in `try_write_once`.
            match self.word.compare_exchange(word, to, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if word == FREE => return,
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        lists.into_held();
        self.wait::<WRITING>(guard, mine);
    }

    /// Parks until the lock was handed over. With the lists' lock held, without a guard.
    fn wait<const HOW: bool>(&self, guard: PreemptGuard, slot: usize) {
        let g = current_g(&guard);
        carry(g, self);
        let waiter = Waiter::of(g, core::ptr::without_provenance_mut(slot));
        let list = |lists: &mut Lists| {
            let list = if HOW == READING { &mut lists.readers } else { &mut lists.writers };
            // SAFETY: 1. this G parks right below.
            unsafe { list.push(waiter) };
        };
        // SAFETY: 1. the caller holds it.
        unsafe { self.lists.with_held(list) };
        let reason = if HOW == READING { WaitReason::RwLockRead } else { WaitReason::RwLockWrite };
        // SAFETY: 1. whoever hands the lock over wakes it once. 2. the lock outlives the call.
        drop(unsafe { park(guard, reason, unlock_lists, core::ptr::from_ref(self).cast_mut().cast()) });
    }

    /// If nobody (who lives) holds the lock any more, it goes to those whose turn it is. With the lists' lock held.
    #[inline(never)]
    fn pass_on(&self, lists: &mut Lists, left: Left) -> Woken {
        // Acquire: pairs with the Release of every reader that has left: what they have read was read before the next one writes.
        let word = self.word.load(Ordering::Acquire);
        if word != QUEUED {
            return Woken::NOBODY;
        }
        // INV-OURS from here on.
        let writer = if left == Left::Reader || lists.readers.is_empty() { lists.writers.first_slot() } else { None };
        let Some(writer) = writer else { return self.admit(lists) };
        let claimed = lists.writers.pop();
        let queued = if lists.is_empty() { 0 } else { QUEUED };
        // Release: goes on with what the readers released.
        self.word.store(writer.addr() | queued, Ordering::Release);
        Woken { readers: Crowd::nobody(), writer: claimed }
    }

    /// Lets all readers in that wait. The caller holds the lists' lock; the lock is held for reading or by nobody, and QUEUED.
    #[inline(never)]
    fn admit(&self, lists: &mut Lists) -> Woken {
        let mut sum = 0usize;
        lists.readers.for_each_slot(|unit| sum = sum.wrapping_add(unit.addr()));
        // AcqRel: as in `pass_on`.
        let queued = if lists.writers.is_empty() { 0 } else { QUEUED };
        let with_them = |word: usize| Some((word & !QUEUED | queued).wrapping_add(sum));
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with_them);
        Woken { readers: lists.readers.take(), writer: None }
    }

    /// If a dead G holds the lock alone: unlocks in its place. With the lists' lock held.
    #[cold]
    #[inline(never)]
    fn bury(&self, lists: &mut Lists) -> Woken {
        // Acquire: pairs with the Release of the readers before.
        let word = self.word.load(Ordering::Acquire);
        let left = if last_is_dead(word) {
            Left::Reader
        } else if word & WRITER != 0 && owner_is_dead(word) {
            // Before the word is free: whoever takes it next sees it.
            self.poison.set();
            Left::Writer
        } else {
            return Woken::NOBODY;
        };
        // Release: as in `unlock_write`. If it fails, there is one more reader, which will look when it leaves; or another has buried it.
        if self.word.compare_exchange(word, word & QUEUED, Ordering::Release, Ordering::Relaxed).is_err() {
            return Woken::NOBODY;
        }
        self.pass_on(lists, left)
    }
}

impl Owned for Raw {
    fn owner_died(&self, guard: &PreemptGuard) {
        let woken = {
            let mut lists = self.lists.lock(guard);
            self.bury(&mut lists)
        };
        woken.wake();
    }

    fn holder(&self) -> Option<usize> {
        let word = self.word.load(Ordering::Relaxed);
        match word & (WRITER | COUNT) {
            _ if word & WRITER != 0 => Some(word & !(WRITER | QUEUED)),
            ONE => Some(reader_in(word)),
            _ => None,
        }
    }
}

impl Lists {
    fn is_empty(&self) -> bool {
        self.readers.is_empty() && self.writers.is_empty()
    }
}

const READING: bool = true;
const WRITING: bool = false;

#[cold]
fn too_many() -> ! {
    panic!("RwLock: too many readers")
}

/// `park`'s commit: the G is saved, the lists' lock may go; see the mutex's.
unsafe fn unlock_lists(raw: *mut (), _: GRef) -> bool {
    // SAFETY: `wait` passes its lock, whose lists it holds locked.
    let raw = unsafe { &*raw.cast::<Raw>() };
    fence_against_death();
    // SAFETY: 1. the lists' lock is held, without a guard, and ours to release.
    let woken = unsafe {
        let woken = raw.lists.with_held(|lists| raw.bury(lists));
        raw.lists.unlock();
        woken
    };
    woken.wake();
    true
}
