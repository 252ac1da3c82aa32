//! A mutex that parks the goroutine, not the core; `std`'s signatures and poisoning, Go's two
//! modes.
//!
//! ```text
//!   word:   owner's life | STARVING | QUEUED
//!
//!   0 ──── lock: CAS ────▶ owner ──── another G comes: CAS ────▶ owner | QUEUED            (it stands in the list now)
//!   ▲                        │                                        │
//!   └── unlock: AND FLAGS ───┘                       unlock: AND FLAGS: QUEUED is left, nobody owns it:
//!                                                      normal:   the first waiter is woken, and competes; the word is 0
//!                                                      STARVING: the first waiter owns it now
//! ```
//!
//! Uncontended, lock and unlock are one atomic operation each. `owner.rs` explains the word's
//! owner, and the case of a dead owner.
//!
//! **Normal mode.** A woken waiter competes with running G's, and a running G may be faster
//! (barging: no switch for each hand-over). A waiter that loses goes back to the *front* of the
//! list, so waiters keep their order among themselves. At most one waiter is on its way at a time
//! (`woken`). Until that waiter has come, the word does not say that others wait. A running G then
//! takes the mutex and gives it back at the price of a free one, thousands of times in a slice. The
//! waiter sets QUEUED again when it comes.
//!
//! **Starvation mode.** A waiter that loses after it has waited for [`STARVES`] sets STARVING. From
//! then on an unlock gives the mutex to the first waiter, no G barges in, and a newcomer goes to
//! the end of the list. The receiver ends this mode if it has waited less than [`STARVES`], or if
//! nobody waits behind it. So a G waits for [`STARVES`] and one round through the waiters before it
//! at most. The throughput of the normal mode comes back by itself.
//!
//! **INV-QUEUED**: with the list's lock free, QUEUED says whether a waiter is in the list, or a
//! woken waiter is on its way. QUEUED is written under that lock only. In starvation mode, an owner
//! in the place of none is, too.
//!
//! **The hard race** is an unlock between a waiter's look at the word and its entry into the list.
//! The waiter holds the list's lock from its CAS to QUEUED until it is saved in the list. An unlock
//! that finds a flag takes that lock before it looks at the list. So either the waiter's CAS sees
//! no owner, or the unlock sees the waiter. While a woken waiter is on its way, a newcomer need not
//! be seen: the woken waiter looks at the list.
//!
//! Rejected:
//!
//! * Handing over always: every contended unlock would wait for a switch.
//! * Taking the word by a swap: between a swap to 0 and a look at the flags, a barger takes the
//!   mutex that a starving waiter is to get.
//! * Spinning before parking, as Go does where another core runs the owner. Nobody waits for a G
//!   that parks: a running G barges in.
//!
//! Spinning was measured on std threads, with two M's, best of five runs. The table gives
//! nanoseconds a turn without and with Go's four times thirty pauses.
//!
//! | G's | turns of a loop inside and outside | without | with |
//! |---|---|---|---|
//! | 2 | 100 | 60 | 60 |
//! | 2 | 1,000 | 300 | 300 |
//! | 2 | 20,000 | 5,380 | 5,370 |
//! | 8 | 1,000 | 389 | 387 |

use crate::api::locks::owner::{self, FLAGS, OWNER, dead_owner, deaths, held_by_the_dead, life_here};
use crate::api::locks::poison::Poison;
use crate::core::park::{current_g, park};
use crate::g::waiter::Waiter;
use crate::g::{GRef, WaitReason, id_of};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicUsize, Ordering};
use crate::wait::deaths::{Dead, Deaths, Holding, Waited, carry, settle};
use crate::wait::list::{Claimed, WaitQueue};

const FREE: usize = 0;
/// A G is in the list.
const QUEUED: usize = 1;
/// The next owner is the first waiter.
const STARVING: usize = 2;

/// A waiter that has waited so long gets the mutex handed over: 1 ms, as in Go.
const STARVES: u64 = 1_000_000;

/// A G that wants the mutex of a dead G panics (`IS_TOLD`), or takes the dead one's place
/// (`SUCCEEDS`).
const IS_TOLD: bool = false;
const SUCCEEDS: bool = true;

/// The mutex without its value: the part that the slow paths need, so that they exist once.
pub(crate) struct Raw {
    word: AtomicUsize,
    pub(super) poison: Poison,
    waiters: SpinLock<Waiters>,
}

struct Waiters {
    list: WaitQueue,
    /// A waiter was woken and is on its way to compete: no other is woken meanwhile.
    woken: bool,
}

impl Raw {
    crate::const_unless_loom! {
        pub(in crate::api::locks) fn new() -> Self {
            let waiters = Waiters { list: WaitQueue::new(), woken: false };
            Self { word: AtomicUsize::new(FREE), poison: Poison::new(), waiters: SpinLock::new(waiters) }
        }
    }

    pub(in crate::api::locks) fn poison(&self) -> &Poison {
        &self.poison
    }

    #[inline(always)]
    pub(in crate::api::locks) fn lock(&self) {
        if !self.take_if_free() {
            self.lock_contended();
        }
    }

    /// As [`lock`](Self::lock), but takes the place of an owner that is dead.
    pub(in crate::api::locks) fn succeed(&self) {
        if !self.take_if_free() {
            while !self.try_to_get::<SUCCEEDS>() {}
        }
    }

    #[inline(always)]
    pub(super) fn try_lock(&self) -> bool {
        self.take_if_free() || self.try_lock_queued()
    }

    #[inline(always)]
    fn take_if_free(&self) -> bool {
        // Acquire: pairs with the Release in `unlock`.
        self.word.compare_exchange(FREE, life_here(), Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    pub(in crate::api::locks) fn unlock(&self) {
        // Release: pairs with the Acquire in `take_if_free` and `take`.
        if self.word.fetch_and(FLAGS, Ordering::Release) & FLAGS != 0 {
            self.unlock_contended();
        }
    }

    /// For models: the first step of [`unlock`](Self::unlock).
    #[cfg(loom)]
    pub(crate) fn half_unlock(&self) {
        self.word.fetch_and(FLAGS, Ordering::Release);
    }

    /// Takes the word if nobody owns it and nobody is to be given it, and sets the flags `taken`.
    /// Otherwise sets the flags `else_set`, and returns false.
    fn take(&self, taken: usize, else_set: usize) -> bool {
        owner::take(&self.word, OWNER | STARVING, life_here(), taken, else_set)
    }

    /// Takes a word that is not free but may have no owner: others wait.
    #[cold]
    fn try_lock_queued(&self) -> bool {
        self.take(0, 0)
    }

    /// Parks until the word is ours. If its owner is dead, panics.
    ///
    /// From its wake-up on, a waiter keeps preemption off until it has competed: so it does not die
    /// in between, with a wake-up that was for all.
    ///
    /// The word may be free by now, or free with others that wait.
    #[cold]
    #[inline(never)]
    fn lock_contended(&self) {
        if !self.take(0, 0) {
            self.wait();
        }
    }

    #[inline(never)]
    fn wait(&self) {
        while !self.try_to_get::<IS_TOLD>() {}
    }

    /// False: the G is doomed, and was the owner only for as long as nobody has seen it.
    fn try_to_get<const OF_THE_DEAD: bool>(&self) -> bool {
        let mine = life_here();
        // The time when this G came; whether it was woken to compete; the flags that it adds to the
        // mode.
        let (mut since, mut woken, mut mode) = (None, false, 0);
        let mut guard = PreemptGuard::new();
        loop {
            let mut waiters = self.waiters.lock(&guard);
            waiters.woken &= !woken;
            let queued = if waiters.woken { 0 } else { QUEUED };
            // Without an owner the mode is starvation already.
            if self.take(if waiters.list.is_empty() { 0 } else { queued }, queued | mode) {
                break;
            }
            if let Some(dead) = self.dead_owner(deaths(&guard)) {
                self.set_queued(&waiters);
                if OF_THE_DEAD == SUCCEEDS {
                    // Nobody else changes a dead owner: that needs the list's lock. Relaxed: a turn
                    // publishes nothing, and the dead one has released nothing.
                    self.word.fetch_xor((self.word.load(Ordering::Relaxed) & OWNER) ^ mine, Ordering::Relaxed);
                    break;
                }
                drop(waiters);
                drop(guard);
                held_by_the_dead("Mutex", core::ptr::from_ref(self).addr(), dead.id());
            }
            let g = current_g(&guard);
            carry(g, self);
            let waiter = Waiter::of(g, core::ptr::without_provenance_mut(mine));
            match since {
                // SAFETY: 1. this G parks right below.
                None => unsafe { waiters.list.push(waiter) },
                // SAFETY: 1. this G parks right below.
                Some(_) => unsafe { waiters.list.push_front(waiter) },
            }
            let began = *since.get_or_insert_with(platform::now);
            waiters.into_held();
            let arg = core::ptr::from_ref(self).cast_mut().cast();
            // SAFETY: 1. the claimer of the waiter wakes it once. 2. the mutex outlives the call.
            guard = unsafe { park(guard, WaitReason::Mutex, unlock_list, arg) };
            let starves = platform::now().saturating_sub(began) >= STARVES;
            if waiter.was_served() {
                self.received(starves);
                break;
            }
            woken = true;
            mode = if starves { STARVING } else { 0 };
        }
        // A G that has waited is at its only level of preemption: it ends when that level goes.
        let doomed = since.is_some() && current_g(&guard).is_doomed();
        if doomed {
            self.unlock();
        }
        !doomed
    }

    /// The mutex was handed over to this G.
    fn received(&self, starved: bool) {
        if !starved || self.word.load(Ordering::Relaxed) & QUEUED == 0 {
            self.word.fetch_and(!STARVING, Ordering::Relaxed);
        }
    }

    /// Asks, before it takes the list's lock, the question that `pass_on` asks under it: a G that
    /// has barged in sees to the others.
    #[cold]
    #[inline(never)]
    fn unlock_contended(&self) {
        if self.word.load(Ordering::Relaxed) & OWNER == 0 {
            self.wake_next();
        }
    }

    #[inline(never)]
    fn wake_next(&self) {
        let guard = PreemptGuard::new();
        let next = {
            let mut waiters = self.waiters.lock(&guard);
            self.pass_on(&mut waiters)
        };
        if let Some(waiter) = next {
            waiter.wake(&guard);
        }
    }

    /// Passes on a word that may have no owner: returns the waiter to wake for it. With the list's
    /// lock held.
    #[inline(never)]
    fn pass_on(&self, waiters: &mut Waiters) -> Option<Claimed> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let gives = word & STARVING != 0;
            if word & OWNER != 0 || !gives && waiters.woken {
                // A G that has taken the word finds QUEUED when it unlocks; so does the woken one.
                return None;
            }
            let queued = if waiters.list.has_two() { QUEUED } else { 0 };
            let first = waiters.list.first_slot();
            let to = match first {
                Some(owner) if gives => owner.addr() | word & FLAGS & !QUEUED | queued,
                // The one that is on its way sets QUEUED itself: until then all others are fast.
                _ => FREE,
            };
            // Relaxed: the new owner learns of its ownership from `ready`. For all others this
            // write only continues the release of `unlock`.
            match self.word.compare_exchange(word, to, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) if gives => return waiters.list.pop().map(Claimed::serve),
                Ok(_) => {
                    waiters.woken = first.is_some();
                    return waiters.list.pop();
                }
                Err(now) => word = now,
            }
        }
    }

    /// The owner, if it is dead.
    fn dead_owner(&self, deaths: &Deaths) -> Option<&'static Dead> {
        dead_owner(self.word.load(Ordering::Relaxed), deaths)
    }

    /// Clears QUEUED if the list is empty, after a change to the list that no owner will see. With
    /// the list's lock held.
    fn set_queued(&self, waiters: &Waiters) {
        if waiters.list.is_empty() {
            self.word.fetch_and(!QUEUED, Ordering::Relaxed);
        }
    }
}

impl Waited for Raw {
    fn is_lost(&self, deaths: &Deaths) -> bool {
        self.dead_owner(deaths).is_some()
    }

    fn see_to_one(&self, deaths: &Deaths, guard: &PreemptGuard) -> bool {
        let next = {
            let mut waiters = self.waiters.lock(guard);
            let word = self.word.load(Ordering::Relaxed);
            if word & OWNER == 0 {
                // Perhaps the G that unlocked the word has died before it came to this.
                self.pass_on(&mut waiters)
            } else if let Some(dead) = dead_owner(word, deaths) {
                let first = waiters.list.pop().map(|first| first.bury(dead.id()));
                self.set_queued(&waiters);
                first
            } else {
                None
            }
        };
        let any = next.is_some();
        if let Some(waiter) = next {
            waiter.wake(guard);
        }
        any
    }

    fn holder(&self) -> Holding {
        match self.word.load(Ordering::Relaxed) & OWNER {
            0 => Holding::Unknown,
            life => Holding::By(id_of(life)),
        }
    }
}

/// `park`'s commit: the G is saved, the list's lock may go. Nothing of the mutex is touched after
/// that: its G may be woken at once and free it.
unsafe fn unlock_list(raw: *mut (), g: GRef) -> bool {
    // SAFETY: 1. `try_to_get` passes its mutex, whose list it holds locked without a guard, and the
    // closure releases that lock.
    unsafe { settle(g, || (*raw.cast::<Raw>()).waiters.unlock()) };
    true
}
