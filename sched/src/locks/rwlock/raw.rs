//! The word of a lock for readers and writers, and who waits for it.
//!
//! ```text
//!   free       0
//!   written    writer's life                                      | WRITER | QUEUED
//!   read       sum of the readers' numbers ‖ how many readers there are     | QUEUED
//!              63 ─────────────────── 28   27 ──────────────────── 2    1        0
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
//! **A dead writer** keeps everybody out: those who want the lock panic (`owner.rs`). **A dead
//! reader** has the lock for reading, for ever: it keeps writers out, and takes nothing away from
//! other readers. A reader's unit is the lowest bits of its G's number, and a one; so of a sum with
//! one summand left, the number says whose that is, and writers are told. Of *several* that are
//! left nobody can say which summands are dead: writers wait. So they do until one is left; if all
//! of several are dead, for ever, and the deadlock report shows them.
//!
//! Rejected: a list of its readers for each lock, or of its locks for each G (an allocation or a search for each read); Go's writer mutex beside
//! the count (two words to take); waking instead of handing over (a writer would compete with a flood of readers).

use crate::deaths::{self, Dead, Deaths, Holding, Waited, carry, settle};
use crate::g::{GRef, LIFE_SHIFT, WaitReason, id_of};
use crate::lock::SpinLock;
use crate::locks::owner::{dead_owner, deaths, held_by_the_dead, life_here};
use crate::locks::poison::Poison;
use crate::m::M;
use crate::park::{current_g, park};
use crate::preempt::PreemptGuard;
use crate::sync::{AtomicUsize, Ordering, fence};
use crate::waitq::{Claimed, Crowd, WaitQueue, Waiter};

const FREE: usize = 0;
/// Somebody is in a list.
const QUEUED: usize = 1;
const WRITER: usize = 2;
/// One reader in the count.
const ONE: usize = 4;
/// Where the sum of the numbers begins.
const SUM_SHIFT: u32 = 28;
/// So many bits of a number are summed: 69 billion goroutines later a dead reader could be taken
/// for another one. (Then a writer is told a wrong name.)
const SUM_BITS: u32 = usize::BITS - SUM_SHIFT;
/// The bits of the count.
const COUNT: usize = (1 << SUM_SHIFT) - ONE;
/// Of so many readers that the next one could be too many: 33 million.
const MANY: usize = 1 << (SUM_SHIFT - 1);
/// What keeps a reader from coming in.
const BARRED: usize = QUEUED | WRITER | MANY;

/// What a reader with this life adds to the word.
#[inline(always)]
fn unit(life: usize) -> usize {
    // The flags' bits of a life are 0, so nothing of it is left in the count.
    life << (SUM_SHIFT - LIFE_SHIFT) | ONE
}

/// The lowest bits of the number of the one reader that `word` counts.
fn reader_in(word: usize) -> u64 {
    (word >> SUM_SHIFT) as u64
}

/// The one reader that is left in `word`, if it is dead.
fn dead_reader(word: usize, deaths: &Deaths) -> Option<&'static Dead> {
    if word & (WRITER | COUNT) == ONE { deaths.find_short(reader_in(word), SUM_BITS) } else { None }
}

/// The dead G that keeps a writer (or with `HOW` reading, a reader) out for ever.
fn dead_holder<const HOW: bool>(word: usize, deaths: &Deaths) -> Option<&'static Dead> {
    if word & WRITER != 0 {
        dead_owner(word & !(WRITER | QUEUED), deaths)
    } else if HOW == READING {
        None
    } else {
        dead_reader(word, deaths)
    }
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

    /// Wakes them. The guard under which they were claimed goes when that is done, or the first of
    /// them are awake.
    #[inline(never)]
    fn wake(self, guard: PreemptGuard) {
        if let Some(writer) = self.writer {
            writer.wake(&guard);
        }
        self.readers.wake_claimed(guard);
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
        let unit = unit(life_here());
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
        let unit = unit(life_here());
        (self.try_read_once(unit) || self.try_read_among_readers(unit)).then_some(unit)
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
        self.word.compare_exchange(FREE, life_here() | WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub(super) fn try_write(&self) -> bool {
        self.try_write_once()
    }

    #[inline(always)]
    pub(super) fn unlock_read(&self, unit: usize) {
        // Release: pairs with the Acquire in `try_write_once` and `pass_on`.
        let word = self.word.fetch_sub(unit, Ordering::Release).wrapping_sub(unit);
        if word & QUEUED != 0 {
            self.last_reader_left(word);
        }
    }

    /// It may have been the last one, or the last that lives.
    #[cold]
    fn last_reader_left(&self, word: usize) {
        if word & COUNT == 0 {
            return self.left(Left::Reader);
        }
        // SeqCst: pairs with the fence in `deaths::ask`. Either the undertaker has seen that one
        // reader is left, or we see that this one is dead.
        fence(Ordering::SeqCst);
        let guard = PreemptGuard::new();
        if dead_reader(word, deaths(&guard)).is_some() {
            deaths::ask(M::current(&guard), &guard);
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
        let guard = PreemptGuard::new();
        let woken = self.pass_on(&mut self.lists.lock(&guard), who);
        woken.wake(guard);
    }

    /// Writer → reader. What the new reader has to give to `unlock_read`.
    pub(super) fn downgrade(&self) -> usize {
        let unit = unit(life_here());
        // Release: as in `unlock_write`.
        let to_read = |word: usize| Some(word & QUEUED | unit);
        let was = self.word.fetch_update(Ordering::Release, Ordering::Relaxed, to_read).unwrap_or_default();
        if was & QUEUED != 0 {
            let guard = PreemptGuard::new();
            let woken = self.admit(&mut self.lists.lock(&guard));
            woken.wake(guard);
        }
        unit
    }

    #[cold]
    fn read_contended(&self, unit: usize) {
        while !self.try_to_read(unit) {}
    }

    /// Parks until the caller reads. False: it was doomed, and has had the lock only for as long as
    /// nobody has seen it.
    fn try_to_read(&self, unit: usize) -> bool {
        if self.try_read_among_readers(unit) {
            return true;
        }
        let guard = PreemptGuard::new();
        let lists = self.lists.lock(&guard);
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if let Some(dead) = dead_holder::<READING>(word, deaths(&guard)) {
                drop(lists);
                drop(guard);
                self.held_by(dead.id());
            }
            if word & QUEUED != 0 {
                break;
            }
            let barred = word & BARRED != 0;
            if barred && word & WRITER == 0 {
                drop(lists);
                drop(guard);
                too_many();
            }
            let to = if barred { word | QUEUED } else { word.wrapping_add(unit) };
            // Acquire: as in `try_read_once`.
            match self.word.compare_exchange(word, to, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if !barred => return true,
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        lists.into_held();
        self.wait::<READING>(guard, unit)
    }

    #[cold]
    fn write_contended(&self) {
        while !self.try_to_write() {}
    }

    /// Parks until the caller writes. False: as `try_to_read`.
    fn try_to_write(&self) -> bool {
        let mine = life_here() | WRITER;
        let guard = PreemptGuard::new();
        let lists = self.lists.lock(&guard);
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if let Some(dead) = dead_holder::<WRITING>(word, deaths(&guard)) {
                drop(lists);
                drop(guard);
                self.held_by(dead.id());
            }
            if word & QUEUED != 0 {
                break;
            }
            let to = if word == FREE { mine } else { word | QUEUED };
            // Acquire: as in `try_write_once`.
            match self.word.compare_exchange(word, to, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if word == FREE => return true,
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        lists.into_held();
        self.wait::<WRITING>(guard, mine)
    }

    #[cold]
    fn held_by(&self, id: u64) -> ! {
        held_by_the_dead("RwLock", core::ptr::from_ref(self).addr(), id)
    }

    /// Parks until the lock was handed over. With the lists' lock held, without a guard. False: as
    /// `try_to_read`.
    fn wait<const HOW: bool>(&self, guard: PreemptGuard, slot: usize) -> bool {
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
        let guard = unsafe { park(guard, reason, unlock_lists, core::ptr::from_ref(self).cast_mut().cast()) };
        if let Some(id) = waiter.buried_by() {
            drop(guard);
            self.held_by(id);
        }
        // It ends when this level of preemption goes.
        let doomed = g.is_doomed();
        if doomed && HOW == READING {
            self.unlock_read(slot);
        } else if doomed {
            self.unlock_write();
        }
        drop(guard);
        !doomed
    }

    /// If nobody holds the lock any more, it goes to those whose turn it is. With the lists' lock
    /// held.
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

    /// Lets the first reader in that waits, while others read. With the lists' lock held.
    fn admit_one(&self, lists: &mut Lists) -> Option<Claimed> {
        let unit = lists.readers.first_slot()?.addr();
        let first = lists.readers.pop();
        let queued = if lists.is_empty() { 0 } else { QUEUED };
        // AcqRel: as in `pass_on`.
        let with_it = |word: usize| Some((word & !QUEUED | queued).wrapping_add(unit));
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with_it);
        first
    }

    /// QUEUED is as the lists are, after a change that nobody will see who unlocks. With their lock
    /// held.
    fn set_queued(&self, lists: &Lists) {
        if lists.is_empty() {
            self.word.fetch_and(!QUEUED, Ordering::Relaxed);
        }
    }
}

impl Waited for Raw {
    fn is_lost(&self, deaths: &Deaths) -> bool {
        // For a reader that stands behind a writer that is lost, too.
        dead_holder::<WRITING>(self.word.load(Ordering::Relaxed), deaths).is_some()
    }

    fn see_to_one(&self, deaths: &Deaths, guard: &PreemptGuard) -> bool {
        let mut lists = self.lists.lock(guard);
        let word = self.word.load(Ordering::Relaxed);
        let one = if word == QUEUED {
            // Whoever unlocked it has died before it came to this. (With empty lists it is free
            // now.)
            let woken = self.pass_on(&mut lists, Left::Reader);
            drop(lists);
            woken.wake(PreemptGuard::new());
            return true;
        } else if word & WRITER != 0 {
            let dead = dead_holder::<WRITING>(word, deaths);
            dead.and_then(|dead| {
                let one = lists.writers.pop().or_else(|| lists.readers.pop());
                self.set_queued(&lists);
                one.map(|one| one.bury(dead.id()))
            })
        } else if lists.writers.is_empty() {
            // Only if the writers in front of them were lost: they may read beside a dead reader.
            if word & COUNT == 0 { None } else { self.admit_one(&mut lists) }
        } else {
            dead_reader(word, deaths).and_then(|dead| {
                let one = lists.writers.pop();
                self.set_queued(&lists);
                one.map(|one| one.bury(dead.id()))
            })
        };
        drop(lists);
        let any = one.is_some();
        if let Some(one) = one {
            one.wake(guard);
        }
        any
    }

    fn holder(&self) -> Holding {
        let word = self.word.load(Ordering::Relaxed);
        match word & (WRITER | COUNT) {
            _ if word & WRITER != 0 => Holding::By(id_of(word & !(WRITER | QUEUED))),
            ONE => Holding::ByShort(reader_in(word), SUM_BITS),
            _ => Holding::Unknown,
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
unsafe fn unlock_lists(raw: *mut (), g: GRef) -> bool {
    // SAFETY: `wait` passes its lock, whose lists it holds locked. 1. of both: they are, without a
    // guard, and ours to release.
    unsafe { settle(g, || (*raw.cast::<Raw>()).lists.unlock()) };
    true
}
