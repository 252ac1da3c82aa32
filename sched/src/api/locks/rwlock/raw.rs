//! The word of a readers–writer lock, and the lists of G's that wait for the lock.
//!
//! ```text
//!   free       0                                                              | FAIR |        | QUEUED
//!   written    writer's life                                                  | FAIR | WRITER | QUEUED
//!   read       sum of the readers' numbers ‖ how many readers there are       | FAIR |        | QUEUED
//!              63 ─────────────────── 28   27 ──────────────────── 3             2      1        0
//! ```
//!
//! Uncontended, each lock and unlock is one atomic operation. QUEUED says that a G waits.
//!
//! **Barging.** A running G takes a free lock at once, as with the mutex. One preempted holder must
//! not build a convoy in which each unlock is a switch. A leaving G wakes the first writer, if no
//! writer is on its way, and the woken writer competes. Until that writer has come, the word does
//! not say that others wait (as with the mutex). Readers do not compete: all waiting readers are
//! let in together. While QUEUED is set, a newcomer does not join readers that a writer waits for.
//!
//! **FAIR.** A woken writer that finds the lock held after it has waited for [`STARVES`] sets FAIR.
//! From then on no G barges in, and the lock passes from hand to hand. As in Go, two phases
//! alternate:
//!
//! * a writer leaves: all readers that wait by then get it, else the first writer;
//! * the last reader leaves: the first writer gets it, else the readers.
//!
//! FAIR ends with a writer that has waited less than [`STARVES`], or when no writer waits. So a
//! writer waits for the readers that were there when it came, then for [`STARVES`], then for one
//! round. The round goes through the writers before it, with a round of readers between any two. A
//! reader waits for one writer, which holds the lock or is given it.
//!
//! **INV-OURS**: a word that says FAIR and QUEUED, and has no owner, belongs to the holder of the
//! lists' lock: nobody takes it.
//!
//! **The hard race** is that of the mutex, with the same answer. QUEUED is set, and the waiter's
//! node is in its list, before the lists' lock is free. A leaving G that finds a flag asks the word
//! again. If another G has taken the word, that G will come here. While a writer is on its way, a
//! newcomer need not be seen: that writer looks at the lists.
//!
//! **A dead writer** keeps all others out: G's that want the lock panic (`owner.rs`). **A dead
//! reader** has the lock for reading for ever: writers stay out, and other readers lose nothing. A
//! reader's unit is a one and the lowest bits of its G's number. So in a sum with one summand left,
//! the number names the reader, and writers are told. Of *several* readers that are left, nobody
//! can say which summands are dead: writers wait until one is left. If all of several are dead,
//! writers wait for ever, and the deadlock report shows them.
//!
//! Rejected:
//!
//! * a list of its readers for each lock, or of its locks for each G: an allocation or a search for
//!   each read;
//! * Go's writer mutex beside the count: two words to take;
//! * handing over always: after one preemption every operation is a switch;
//! * readers that are woken to compete: one by one, a crowd of them would find a writer there and
//!   wait again.

use crate::api::locks::owner::{self, OWNER, dead_owner, deaths, held_by_the_dead, life_here};
use crate::api::locks::poison::Poison;
use crate::core::m::M;
use crate::core::park::{current_g, park};
use crate::g::waiter::Waiter;
use crate::g::{GRef, LIFE_SHIFT, WaitReason, id_of};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicUsize, Ordering, fence};
use crate::wait::deaths::{self, Dead, Deaths, Holding, Waited, carry, settle};
use crate::wait::list::{Claimed, Crowd, WaitQueue};

const FREE: usize = 0;
/// A G is in a list.
const QUEUED: usize = 1;
const WRITER: usize = 2;
/// No G barges in: a leaving G hands the lock over.
const FAIR: usize = 4;
/// The flags that stay when a writer leaves.
const KEPT: usize = QUEUED | FAIR;
/// One reader in the count.
const ONE: usize = 8;
/// Where the sum of the numbers begins.
const SUM_SHIFT: u32 = 28;
/// So many bits of a number are summed. After 69 billion goroutines a dead reader could be taken
/// for another one. (Then a writer is told a wrong name.)
const SUM_BITS: u32 = usize::BITS - SUM_SHIFT;
/// The bits of the count.
const COUNT: usize = (1 << SUM_SHIFT) - ONE;
/// Set from 16 million readers on: the next one could be too many.
const MANY: usize = 1 << (SUM_SHIFT - 1);
/// With none of these set, a reader comes in at once.
const BARRED: usize = QUEUED | WRITER | MANY;

/// A writer that has waited so long has the lock handed over: 1 ms, as in the mutex.
const STARVES: u64 = 1_000_000;

/// Returns true if a reader may come in: nobody writes, and the reader does not come between
/// readers and a writer that waits for them.
#[inline(always)]
fn admits_a_reader(word: usize) -> bool {
    word & (WRITER | FAIR | MANY) == 0 && (word & QUEUED == 0 || word & COUNT == 0)
}

/// Without any of these a writer comes in.
const BARS_A_WRITER: usize = WRITER | FAIR | COUNT;

/// Returns the number that a reader with this life adds to the word.
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
        dead_owner(word, deaths)
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
    /// The readers' slots hold their units.
    readers: WaitQueue,
    /// The sum of the units of all readers in the list.
    units: usize,
    /// The writers' slots hold their addresses as owners.
    writers: WaitQueue,
    /// A writer was woken and is on its way to compete.
    woken: bool,
}

/// Readers that have got the lock; a writer that has got it, or is to compete for it.
#[must_use = "they wait for ever unless they are woken"]
struct Woken {
    readers: Crowd,
    writer: Option<Claimed>,
}

impl Woken {
    const NOBODY: Self = Self { readers: Crowd::nobody(), writer: None };

    fn is_nobody(&self) -> bool {
        self.writer.is_none() && self.readers.is_empty()
    }

    /// Wakes them. The guard under which they were claimed ends when all, or the first of them, are
    /// awake.
    #[inline(never)]
    fn wake(self, guard: PreemptGuard) {
        if let Some(writer) = self.writer {
            writer.wake(&guard);
        }
        self.readers.wake_claimed(guard);
    }
}

/// The side that has just left.
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
                lists: SpinLock::new(Lists { readers, units: 0, writers, woken: false }),
            }
        }
    }

    /// Takes the lock for reading. The result is the reader's unit, for `unlock_read`.
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

    /// Takes the lock for reading while others come and go.
    fn try_read_among_others(&self, unit: usize) -> bool {
        let comes_in = |word: usize| admits_a_reader(word).then(|| word.wrapping_add(unit));
        // Acquire: as in `try_read_once`.
        self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, comes_in).is_ok()
    }

    #[inline]
    pub(super) fn try_read(&self) -> Option<usize> {
        let unit = unit(life_here());
        (self.try_read_once(unit) || self.try_read_among_others(unit)).then_some(unit)
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
        self.try_write_once() || self.try_write_among_others()
    }

    /// Takes the lock if nobody holds it and it is nobody's next.
    #[cold]
    #[inline(never)]
    fn try_write_among_others(&self) -> bool {
        self.take_to_write(life_here() | WRITER, 0, 0)
    }

    /// Takes the word for a writer if it may be taken, and sets the flags `taken`. Otherwise sets
    /// the flags `else_set`, and returns false.
    fn take_to_write(&self, mine: usize, taken: usize, else_set: usize) -> bool {
        owner::take(&self.word, BARS_A_WRITER, mine, taken, else_set)
    }

    #[inline(always)]
    pub(super) fn unlock_read(&self, unit: usize) {
        // Release: pairs with the Acquire in `try_write_once` and `pass_on`.
        let word = self.word.fetch_sub(unit, Ordering::Release).wrapping_sub(unit);
        if word & QUEUED != 0 {
            self.last_reader_left(word);
        }
    }

    /// Acts for a reader that may have been the last one, or the last that lives.
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
        // Release: pairs with the Acquire of the next takers.
        if self.word.fetch_and(KEPT, Ordering::Release) & KEPT != 0 {
            self.left(Left::Writer);
        }
    }

    /// Asks, before it takes the lists' lock, the question that `pass_on` asks under it. A G that
    /// has come since sees to the others when it leaves.
    #[cold]
    #[inline(never)]
    fn left(&self, who: Left) {
        if self.word.load(Ordering::Relaxed) & (WRITER | COUNT) == 0 {
            self.see_to_next(who);
        }
    }

    #[inline(never)]
    fn see_to_next(&self, who: Left) {
        let guard = PreemptGuard::new();
        let woken = self.pass_on(&mut self.lists.lock(&guard), who);
        woken.wake(guard);
    }

    /// Turns a writer into a reader. The result is the new reader's unit, for `unlock_read`.
    pub(super) fn downgrade(&self) -> usize {
        let unit = unit(life_here());
        // Release: as in `unlock_write`.
        let to_read = |word: usize| Some(word & KEPT | unit);
        let _ = self.word.fetch_update(Ordering::Release, Ordering::Relaxed, to_read);
        let guard = PreemptGuard::new();
        let woken = self.admit(&mut self.lists.lock(&guard));
        woken.wake(guard);
        unit
    }

    #[cold]
    #[inline(never)]
    fn read_contended(&self, unit: usize) {
        if !self.try_read_among_others(unit) {
            while !self.try_to_read(unit) {}
        }
    }

    /// Parks until the caller reads. False: the caller was doomed, and has had the lock only for as
    /// long as nobody has seen it.
    #[inline(never)]
    fn try_to_read(&self, unit: usize) -> bool {
        let guard = PreemptGuard::new();
        let lists = self.lists.lock(&guard);
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if let Some(dead) = dead_holder::<READING>(word, deaths(&guard)) {
                drop(lists);
                drop(guard);
                self.held_by(dead.id());
            }
            let comes_in = admits_a_reader(word);
            if !comes_in && word & (WRITER | MANY) == MANY {
                drop(lists);
                drop(guard);
                too_many();
            }
            if !comes_in && (word & QUEUED != 0 || lists.woken) {
                break;
            }
            let to = if comes_in { word.wrapping_add(unit) } else { word | QUEUED };
            // Acquire: as in `try_read_once`.
            match self.word.compare_exchange(word, to, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if comes_in => return true,
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        lists.into_held();
        self.wait_to_read(guard, unit)
    }

    #[cold]
    #[inline(never)]
    fn write_contended(&self) {
        if !self.try_write_among_others() {
            while !self.try_to_write() {}
        }
    }

    /// Parks until the caller writes. False: as `try_to_read`.
    ///
    /// From its wake-up on, a writer keeps preemption off until it has competed, as in the mutex.
    #[inline(never)]
    fn try_to_write(&self) -> bool {
        let mine = life_here() | WRITER;
        // The time when this G came; whether it was woken to compete; the flags that it adds to the
        // mode.
        let (mut since, mut woken, mut mode) = (None, false, 0);
        let mut guard = PreemptGuard::new();
        loop {
            let mut lists = self.lists.lock(&guard);
            lists.woken &= !woken;
            let queued = if lists.woken { 0 } else { QUEUED };
            if self.take_to_write(mine, if lists.is_empty() { 0 } else { queued }, queued | mode) {
                break;
            }
            if let Some(dead) = dead_holder::<WRITING>(self.word.load(Ordering::Relaxed), deaths(&guard)) {
                self.set_queued(&lists);
                if !lists.is_empty() {
                    // The last reader that lives has left while the word did not say that others
                    // wait.
                    deaths::ask(M::current(&guard), &guard);
                }
                drop(lists);
                drop(guard);
                self.held_by(dead.id());
            }
            let g = current_g(&guard);
            carry(g, self);
            let waiter = Waiter::of(g, core::ptr::without_provenance_mut(mine));
            let began = since.unwrap_or_else(platform::now);
            let is_first = since.replace(began).is_none();
            lists.into_held();
            let list = |lists: &mut Lists| match is_first {
                // SAFETY: 1. this G parks right below.
                true => unsafe { lists.writers.push(waiter) },
                // SAFETY: 1. as above.
                false => unsafe { lists.writers.push_front(waiter) },
            };
            // SAFETY: 1. it was just locked.
            unsafe { self.lists.with_held(list) };
            let arg = core::ptr::from_ref(self).cast_mut().cast();
            // SAFETY: 1. the claimer of the waiter wakes it once. 2. the lock outlives the call.
            guard = unsafe { park(guard, WaitReason::RwLockWrite, unlock_lists, arg) };
            if let Some(id) = waiter.buried_by() {
                drop(guard);
                self.held_by(id);
            }
            let starves = platform::now().saturating_sub(began) >= STARVES;
            if waiter.was_served() {
                if !starves {
                    self.word.fetch_and(!FAIR, Ordering::Relaxed);
                }
                break;
            }
            (woken, mode) = (true, if starves { FAIR } else { 0 });
        }
        // A G that has waited is at its only level of preemption: it ends when that level goes.
        let doomed = since.is_some() && current_g(&guard).is_doomed();
        if doomed {
            self.unlock_write();
        }
        !doomed
    }

    #[cold]
    fn held_by(&self, id: u64) -> ! {
        held_by_the_dead("RwLock", core::ptr::from_ref(self).addr(), id)
    }

    /// Parks until the reader is let in. The caller holds the lists' lock, without a guard. False:
    /// as `try_to_read`.
    fn wait_to_read(&self, guard: PreemptGuard, unit: usize) -> bool {
        let g = current_g(&guard);
        carry(g, self);
        let waiter = Waiter::of(g, core::ptr::without_provenance_mut(unit));
        let list = |lists: &mut Lists| {
            lists.units = lists.units.wrapping_add(unit);
            // SAFETY: 1. this G parks right below.
            unsafe { lists.readers.push(waiter) };
        };
        // SAFETY: 1. the caller holds it.
        unsafe { self.lists.with_held(list) };
        let arg = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: 1. the G that lets the reader in wakes it once. 2. the lock outlives the call.
        let guard = unsafe { park(guard, WaitReason::RwLockRead, unlock_lists, arg) };
        if let Some(id) = waiter.buried_by() {
            drop(guard);
            self.held_by(id);
        }
        // A doomed G ends when this level of preemption goes.
        let doomed = g.is_doomed();
        if doomed {
            self.unlock_read(unit);
        }
        drop(guard);
        !doomed
    }

    /// Returns the G's whose turn it is, if nobody holds the lock and no writer is on its way to
    /// it. With the lists' lock held.
    #[inline(never)]
    fn pass_on(&self, lists: &mut Lists, left: Left) -> Woken {
        // Acquire: pairs with the Release of every reader that has left, so that their reads come
        // before the next writer's writes.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let fair = word & FAIR != 0;
            if word & (WRITER | COUNT) != 0 || !fair && lists.woken {
                // The G that has the lock sees to the others, or the woken writer does.
                return Woken::NOBODY;
            }
            let writer =
                if left == Left::Reader || lists.readers.is_empty() { lists.writers.first_slot() } else { None };
            let (to, more) = match writer {
                Some(writer) => {
                    let to = if fair { writer.addr() } else { FREE };
                    // A writer on its way sets QUEUED itself: until then all others are fast.
                    (to, fair && (lists.writers.has_two() || !lists.readers.is_empty()))
                }
                None => (lists.units, !lists.writers.is_empty()),
            };
            // FAIR is of no use to readers alone, and harms nobody: the writer that it is for has
            // got the lock, or the next one ends it.
            let flags = if more { QUEUED | word & FAIR } else { 0 };
            // AcqRel: continues the release of the readers.
            match self.word.compare_exchange(word, to | flags, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if writer.is_none() => return Woken { readers: lists.take_readers(), writer: None },
                Ok(_) => {
                    let claimed = lists.writers.pop();
                    lists.woken |= !fair;
                    let writer = if fair { claimed.map(Claimed::serve) } else { claimed };
                    return Woken { readers: Crowd::nobody(), writer };
                }
                Err(now) => word = now,
            }
        }
    }

    /// Lets in all readers that wait, beside the caller, which reads. With the lists' lock held.
    #[inline(never)]
    fn admit(&self, lists: &mut Lists) -> Woken {
        // AcqRel: as in `pass_on`.
        let gone = if lists.writers.is_empty() { QUEUED | FAIR } else { 0 };
        let with_them = |word: usize| Some((word & !gone).wrapping_add(lists.units));
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with_them);
        Woken { readers: lists.take_readers(), writer: None }
    }

    /// Lets in the first reader that waits, while others read. With the lists' lock held.
    fn admit_one(&self, lists: &mut Lists) -> Option<Claimed> {
        let unit = lists.readers.first_slot()?.addr();
        let gone = if lists.writers.is_empty() && !lists.readers.has_two() { QUEUED | FAIR } else { 0 };
        let with_it =
            |word: usize| (word & WRITER == 0 && word & COUNT != 0).then(|| (word & !gone).wrapping_add(unit));
        // AcqRel: as in `pass_on`.
        self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with_it).ok()?;
        lists.pop_reader()
    }

    /// Clears QUEUED and FAIR if the lists are empty, after a change that no unlocking G will see.
    /// With the lists' lock held.
    fn set_queued(&self, lists: &Lists) {
        if lists.is_empty() {
            self.word.fetch_and(!(QUEUED | FAIR), Ordering::Relaxed);
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
        let one = if word & (WRITER | COUNT) == 0 {
            // Perhaps the G that unlocked the word has died before it came to this.
            let woken = self.pass_on(&mut lists, Left::Reader);
            drop(lists);
            let any = !woken.is_nobody();
            woken.wake(PreemptGuard::new());
            return any;
        } else if word & WRITER != 0 {
            let dead = dead_holder::<WRITING>(word, deaths);
            dead.and_then(|dead| {
                let one = lists.writers.pop().or_else(|| lists.pop_reader());
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
            _ if word & WRITER != 0 => Holding::By(id_of(word & OWNER)),
            ONE => Holding::ByShort(reader_in(word), SUM_BITS),
            _ => Holding::Unknown,
        }
    }
}

impl Lists {
    fn is_empty(&self) -> bool {
        self.readers.is_empty() && self.writers.is_empty()
    }

    fn take_readers(&mut self) -> Crowd {
        self.units = 0;
        self.readers.take()
    }

    fn pop_reader(&mut self) -> Option<Claimed> {
        let first = self.readers.pop()?;
        self.units = self.units.wrapping_sub(first.slot().addr());
        Some(first)
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
    // SAFETY: `try_to_write` and `wait_to_read` pass their lock, whose lists they hold locked. 1.
    // of both: they are, without a guard, and ours to release.
    unsafe { settle(g, || (*raw.cast::<Raw>()).lists.unlock()) };
    true
}
