//! A mutex that parks the goroutine, not the core; `std`'s signatures and poisoning.
//!
//! ```text
//!   word:   0 ──lock: CAS──▶ owner ──a second G comes: CAS──▶ owner | CONTENDED
//!           ▲                 │ unlock: swap 0                  │ unlock: swap 0, wake the first waiter
//!           └─────────────────┴─────────────────────────────────┘
//!                        the owner is dead: whoever waits, or its undertaker, sets POISONED and unlocks for it
//! ```
//!
//! Uncontended, lock and unlock are one atomic operation each.
//!
//! **The owner** is named by an address on its stack: it costs no look at the current M, it stays right when the G moves to another core, and it
//! says what matters: when a G dies of an overflow, its window's addresses are never used again, so "the owner lies in a dead window" can't
//! be mistaken. Such an owner will not unlock; its mutex is poisoned and free.
//!
//! **INV-CONTENDED**: while anybody waits in the list, the word says CONTENDED, or a woken G is on its way to make it so.
//!
//! **The hard race** is an unlock between a waiter's look at the word and its entry into the list. The waiter holds the list's
//! lock from its CAS to CONTENDED until it is saved in the list, and an unlock that finds CONTENDED takes that lock before it pops: so
//! either the waiter's CAS sees 0, or the unlock sees the waiter. The same race with an owner's *death*: the waiter is Parking when `commit` looks
//! whether the owner is dead; the undertaker marks the window dead, and only then looks for waiting G's (and waits for those that are
//! Parking). With a fence on both sides, one of them sees the other.
//!
//! A woken waiter competes again, and a running G may be faster (barging: no switch for each hand-over, as in Go's normal mode). What it
//! takes it takes as CONTENDED, because it cannot know whether others wait; that costs one needless look at the list when none
//! does. Waiters are woken first come, first served; one that loses to a barger goes to the end.
//!
//! Rejected: handing the lock over to the waiter (every contended unlock would wait for a switch); spinning before parking (on the core
//! that the holder was preempted on, or on one P, it can only waste its slice; to be measured before it comes); the G's number as the owner (to
//! learn it costs more than the lock).

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use super::poison::{LockResult, Poison, TryLockError, TryLockResult, Unwinding};
use crate::g::{GRef, WaitReason};
use crate::gstate::State;
use crate::lock::SpinLock;
use crate::park::{current_g, park};
use crate::platform;
use crate::preempt::PreemptGuard;
use crate::sched::Sched;
use crate::sync::{AtomicUsize, Ordering, UnsafeCell, fence, spin_loop};
use crate::waitq::{WaitQueue, Waiter};

const FREE: usize = 0;
/// Somebody may wait.
const CONTENDED: usize = 1;

/// The mutex without its value: what the slow paths need, so that they exist once.
struct Raw {
    word: AtomicUsize,
    poison: Poison,
    waiters: SpinLock<WaitQueue>,
}

/// A value that one G at a time may use.
pub struct Mutex<T: ?Sized> {
    raw: Raw,
    /// Guarded by the word.
    value: UnsafeCell<T>,
}

/// What names the G that runs as an owner: an address on its stack.
#[inline(always)]
fn owner_here() -> usize {
    let here = 0usize;
    core::ptr::from_ref(&here).addr()
}

// SAFETY: the mutex admits one G at a time, so the value only needs to be sendable.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

// A panic while it is held is not forgotten: it poisons.
impl<T: ?Sized> core::panic::UnwindSafe for Mutex<T> {}
impl<T: ?Sized> core::panic::RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    crate::const_unless_loom! {
        /// A free mutex.
        pub fn new(value: T) -> Self {
            Self {
                raw: Raw {
                    word: AtomicUsize::new(FREE),
                    poison: Poison::new(),
                    waiters: SpinLock::new(WaitQueue::new()),
                },
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value.
    ///
    /// # Errors
    /// Poisoned; the value is in the error.
    pub fn into_inner(self) -> LockResult<T> {
        let Self { raw, value } = self;
        raw.poison.check(value.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Parks until the mutex is ours. Locking it twice from one G waits for ever; the deadlock report names that G.
    ///
    /// # Errors
    /// Poisoned; the guard is in the error.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        if !self.raw.take_if_free() {
            self.raw.lock_contended();
        }
        self.guard()
    }

    /// Takes the mutex only if it is free.
    ///
    /// # Errors
    /// Held by another G, or poisoned.
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.raw.take_if_free() { Ok(self.guard()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// The value: `&mut self` proves that nobody holds the mutex.
    ///
    /// # Errors
    /// Poisoned; the value is in the error.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let Self { raw: Raw { poison, .. }, value } = self;
        // SAFETY: `&mut self` makes this the only access for the reference's life.
        poison.check(value.with_mut(|v| unsafe { &mut *v }))
    }

    /// Whether a G panicked or died while it held the lock.
    pub fn is_poisoned(&self) -> bool {
        self.raw.poison.get()
    }

    /// The value is right again.
    pub fn clear_poison(&self) {
        self.raw.poison.clear();
    }

    /// The evidence that the word is ours.
    #[inline(always)]
    fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.poison.check(MutexGuard { mutex: self, entered: Poison::enter(), _not_send: PhantomData })
    }
}

impl Raw {
    #[inline(always)]
    fn take_if_free(&self) -> bool {
        // Acquire: pairs with the Release in `unlock`.
        self.word.compare_exchange(FREE, owner_here(), Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    fn unlock(&self) {
        // Release: pairs with the Acquire in `take_if_free` and `lock_contended`.
        if self.word.swap(FREE, Ordering::Release) & CONTENDED != 0 {
            self.wake_first();
        }
    }

    #[cold]
    fn wake_first(&self) {
        let guard = PreemptGuard::new();
        let first = self.waiters.lock(&guard).pop();
        if let Some(waiter) = first {
            waiter.wake(&guard);
        }
    }

    /// Parks until the word is ours.
    #[cold]
    fn lock_contended(&self) {
        let mine = owner_here() | CONTENDED;
        loop {
            let guard = PreemptGuard::new();
            let mut waiters = self.waiters.lock(&guard);
            let mut word = self.word.load(Ordering::Relaxed);
            loop {
                let dead = word != FREE && platform::stack_is_dead(word & !CONTENDED);
                let to = if word == FREE || dead { mine } else { word | CONTENDED };
                // Acquire: pairs with the Release in `unlock`.
                match self.word.compare_exchange(word, to, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) if dead => return self.poison.set(),
                    Ok(_) if word == FREE => return,
                    Ok(_) => break,
                    Err(now) => word = now,
                }
            }
            // SAFETY: 1. this G parks right below.
            unsafe { waiters.push(Waiter::of(current_g(&guard), core::ptr::null_mut())) };
            waiters.into_held();
            // SAFETY: 1. whoever claims the waiter wakes it once. 2. the mutex outlives the call.
            drop(unsafe { park(guard, WaitReason::Mutex, unlock_list, core::ptr::from_ref(self).cast_mut().cast()) });
        }
    }

    /// If the owner is dead: poisons, and unlocks in its place. True: the caller owes the first waiter a wake-up.
    fn bury(&self) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        if word == FREE || !platform::stack_is_dead(word & !CONTENDED) {
            return false;
        }
        // Before the word is free: whoever takes it next sees it.
        self.poison.set();
        // Release: as in `unlock`. If another one has buried it meanwhile, the word is somebody else's by now.
        self.word.compare_exchange(word, FREE, Ordering::Release, Ordering::Relaxed).is_ok()
    }
}

/// `park`'s commit: the G is saved, the list's lock may go. Nothing of the mutex is touched after that: its G may be woken at once and free it.
unsafe fn unlock_list(raw: *mut (), _: GRef) -> bool {
    // SAFETY: `lock_contended` passes its mutex, whose list it holds locked.
    let raw = unsafe { &*raw.cast::<Raw>() };
    // SeqCst: our G is Parking by now; pairs with the fence in `owner_died`. See the hard race in the module's header.
    fence(Ordering::SeqCst);
    // SAFETY: 1. the list's lock is held, without a guard, and ours to release.
    let first = unsafe {
        let first = if raw.bury() { raw.waiters.with_held(WaitQueue::pop) } else { None };
        raw.waiters.unlock();
        first
    };
    if let Some(waiter) = first {
        // SAFETY: 1. a switch runs `after` with one level of preemption off; borrowed here.
        let guard = unsafe { PreemptGuard::adopt() };
        waiter.wake(&guard);
        guard.release();
    }
    true
}

/// A G has died and its window is marked dead: every mutex that somebody waits for and that it held is poisoned and unlocked. With preemption
/// off, on no list of any object.
pub(crate) fn owner_died(sched: &'static Sched, guard: &PreemptGuard) {
    // SeqCst: pairs with the fence in `unlock_list`.
    fence(Ordering::SeqCst);
    sched.for_each_g(|g| {
        // On its way to park on another core: a few instructions.
        while matches!(g.state(), State::Parking | State::ParkingReady) {
            spin_loop();
        }
        sched.scan(guard, g, |g, _| {
            if g.wait_reason() == WaitReason::Mutex {
                // SAFETY: a G that waits for a mutex has named it, and keeps it alive while it is parked; the scan keeps it parked.
                let raw = unsafe { &*(g.waits_for() as *const Raw) };
                if raw.bury() {
                    let first = raw.waiters.lock(guard).pop();
                    if let Some(waiter) = first {
                        waiter.wake(guard);
                    }
                }
            }
        });
    });
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("Mutex");
        match self.try_lock() {
            Ok(guard) => all.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => all.field("data", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => all.field("data", &format_args!("<locked>")),
        };
        all.field("poisoned", &self.is_poisoned()).finish_non_exhaustive()
    }
}

/// The mutex, held; free again when this is dropped. It belongs to the G that locked.
#[must_use = "the mutex is free again when its guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    entered: Unwinding,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives shared access to the value only.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while its G holds the mutex.
        self.mutex.value.with(|v| unsafe { &*v })
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `&mut self` makes this the only reference.
        self.mutex.value.with_mut(|v| unsafe { &mut *v })
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.mutex.raw.poison.leave(self.entered);
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
