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

mod pass;
mod word;

use self::pass::{Left, Lists};
use self::word::{
    BARRED, BARS_A_WRITER, COUNT, FAIR, FREE, KEPT, MANY, QUEUED, READING, WRITER, WRITING, admits_a_reader,
    dead_holder, dead_reader, unit,
};
use crate::api::locks::owner::{self, deaths, held_by_the_dead, life_here};
use crate::api::locks::poison::Poison;
use crate::core::m::M;
use crate::core::park::{current_g, park};
use crate::g::waiter::Waiter;
use crate::g::{GRef, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicUsize, Ordering, fence};
use crate::wait::deaths::{self, carry, settle};
use crate::wait::list::WaitQueue;

/// A writer that has waited so long has the lock handed over: 1 ms, as in the mutex.
const STARVES: u64 = 1_000_000;

/// The lock without its value.
pub(crate) struct Raw {
    word: AtomicUsize,
    pub(super) poison: Poison,
    lists: SpinLock<Lists>,
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
                // SAFETY: 1. this G parks right below.
                false => unsafe { lists.writers.push_front(waiter) },
            };
            // SAFETY: 1. the lists' lock was turned into "held" above.
            unsafe { self.lists.with_held(list) };
            let arg = core::ptr::from_ref(self).cast_mut().cast();
            // SAFETY: 1. the popper that claims the waiter wakes it, once. 2. the caller borrows
            // the lock.
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
        // SAFETY: 1. `try_to_read` has turned the lists' lock into "held".
        unsafe { self.lists.with_held(list) };
        let arg = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: 1. the G that lets the reader in, or buries it, wakes it, once. 2. the caller
        // borrows the lock.
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
}

#[cold]
fn too_many() -> ! {
    panic!("RwLock: too many readers")
}

/// `park`'s commit: the G is saved, the lists' lock may go; see the mutex's.
unsafe fn unlock_lists(raw: *mut (), g: GRef) -> bool {
    // SAFETY: 1. `try_to_write` and `wait_to_read` pass their lock, whose lists they hold locked
    // without a guard, and the closure releases that lock.
    unsafe { settle(g, || (*raw.cast::<Raw>()).lists.unlock()) };
    true
}
