//! A mutex that parks the goroutine, not the core; `std`'s signatures and poisoning.
//!
//! ```text
//!   word:  0 free ──lock: CAS──▶ 1 held ──a second G comes: swap──▶ 2 held, and somebody may wait
//!          ▲                      │ unlock: swap 0                   │ unlock: swap 0, wake the first waiter
//!          └──────────────────────┴──────────────────────────────────┘
//! ```
//!
//! Uncontended, lock and unlock are one atomic operation each. **The hard race** is an unlock between a waiter's look at the word and its
//! entry into the list: the waiter holds the list's lock across both (swap to 2, push), and an unlock that finds 2 takes that
//! lock before it pops. A woken waiter competes again (a running G may barge in: fast, as in Go's normal mode) and always leaves 2
//! behind, so that the waiters after it are not forgotten.

use core::fmt;
use core::ops::{Deref, DerefMut};

use crate::g::{GRef, WaitReason};
use crate::lock::SpinLock;
use crate::park::{current_g, park};
use crate::platform;
use crate::preempt::PreemptGuard;
use crate::sync::{AtomicBool, AtomicU32, Ordering, UnsafeCell, spin_loop};
use crate::waitq::{WaitQueue, Waiter};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// How often a held lock is looked at before the G parks.
const SPINS: u32 = 30;

/// A value that one G at a time may use.
pub struct Mutex<T: ?Sized> {
    word: AtomicU32,
    poisoned: AtomicBool,
    waiters: SpinLock<WaitQueue>,
    value: UnsafeCell<T>,
}

// SAFETY: the mutex admits one G at a time.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

/// A G panicked while it held the lock. The guard is inside: the value is there, but may be half changed.
pub struct PoisonError<G> {
    guard: G,
}

impl<G> PoisonError<G> {
    /// The guard.
    pub fn into_inner(self) -> G {
        self.guard
    }

    /// The guard, by reference.
    pub fn get_ref(&self) -> &G {
        &self.guard
    }
}

impl<G> fmt::Debug for PoisonError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoisonError { .. }")
    }
}

impl<G> fmt::Display for PoisonError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("poisoned lock: another goroutine panicked while it held it")
    }
}

impl<G> core::error::Error for PoisonError<G> {}

/// Why `try_lock` gave no guard.
#[derive(Debug)]
pub enum TryLockError<G> {
    /// See [`PoisonError`].
    Poisoned(PoisonError<G>),
    /// Another G holds it.
    WouldBlock,
}

/// What `lock` gives.
pub type LockResult<G> = Result<G, PoisonError<G>>;
/// What `try_lock` gives.
pub type TryLockResult<G> = Result<G, TryLockError<G>>;

impl<T> Mutex<T> {
    crate::const_unless_loom! {
        /// A free mutex.
        pub fn new(value: T) -> Self {
            Self {
                word: AtomicU32::new(FREE),
                poisoned: AtomicBool::new(false),
                waiters: SpinLock::new(WaitQueue::new()),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// The value.
    ///
    /// # Errors
    /// Poisoned; the value is in the error.
    pub fn into_inner(self) -> LockResult<T> {
        let poisoned = self.is_poisoned();
        let value = self.value.into_inner();
        if poisoned { Err(PoisonError { guard: value }) } else { Ok(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the mutex is ours. Locking it twice from one G waits for ever.
    ///
    /// # Errors
    /// Poisoned; the guard is in the error.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        // Acquire: pairs with the Release in `unlock`.
        if self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_contended();
        }
        self.guard()
    }

    /// Takes the mutex only if it is free.
    ///
    /// # Errors
    /// Held by another G, or poisoned.
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        // Acquire: as in `lock`.
        if self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(TryLockError::WouldBlock);
        }
        self.guard().map_err(TryLockError::Poisoned)
    }

    #[inline]
    fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        let guard = MutexGuard { mutex: self, panicking: platform::panicking() };
        if self.poisoned.load(Ordering::Relaxed) { Err(PoisonError { guard }) } else { Ok(guard) }
    }

    #[cold]
    fn lock_contended(&self) {
        for _ in 0..SPINS {
            // Acquire: as in `lock`.
            if self.word.load(Ordering::Relaxed) == FREE
                && self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return;
            }
            spin_loop();
        }
        loop {
            let guard = PreemptGuard::new();
            let mut waiters = self.waiters.lock(&guard);
            // Acquire: as in `lock`.
            if self.word.swap(CONTENDED, Ordering::Acquire) == FREE {
                return;
            }
            let waiter = Waiter::new(current_g(&guard), core::ptr::null_mut());
            // SAFETY: 1. this G parks right below, and the node is on its stack.
            unsafe { waiters.push(&waiter) };
            let list: *const SpinLock<WaitQueue> = waiters.into_held();
            // SAFETY: 1. whoever pops the waiter readies it once. 2. the mutex outlives the call.
            drop(unsafe { park(guard, WaitReason::Mutex, unlock_list, list.cast_mut().cast()) });
        }
    }

    #[inline]
    fn unlock(&self) {
        // Release: pairs with the Acquire in `lock`.
        if self.word.swap(FREE, Ordering::Release) == CONTENDED {
            self.wake_one();
        }
    }

    #[cold]
    fn wake_one(&self) {
        let guard = PreemptGuard::new();
        let first = self.waiters.lock(&guard).pop();
        if let Some(waiter) = first {
            waiter.wake(&guard);
        }
    }

    /// Whether a G panicked while it held the lock.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    /// The value is right again.
    pub fn clear_poison(&self) {
        self.poisoned.store(false, Ordering::Relaxed);
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("poisoned", &self.is_poisoned()).finish_non_exhaustive()
    }
}

/// `park`'s commit: the G is saved, the list's lock may go.
unsafe fn unlock_list(list: *mut (), _: GRef) -> bool {
    // SAFETY: `lock_contended` passes its list, whose lock it turned into "held".
    unsafe { (*list.cast::<SpinLock<WaitQueue>>()).unlock() };
    true
}

/// The mutex, held.
#[must_use = "the mutex is free again when its guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// It was unwinding already when it took the lock: that panic does not poison.
    panicking: bool,
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while its G holds the mutex.
        self.mutex.value.with(|v| unsafe { &*v })
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `&mut self` makes this the only reference.
        self.mutex.value.with_mut(|v| unsafe { &mut *v })
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.panicking && platform::panicking() {
            self.mutex.poisoned.store(true, Ordering::Relaxed);
        }
        self.mutex.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
