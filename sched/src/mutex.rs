//! A mutex that parks the goroutine, not the core; `std`'s signatures and poisoning.
//!
//! ```text
//!   word:   FREE ──lock: CAS──▶ HELD ──a second G comes: swap──▶ CONTENDED (held, and somebody may wait)
//!            ▲                   │ unlock: swap FREE              │ unlock: swap FREE, wake the first waiter
//!            └───────────────────┴────────────────────────────────┘
//! ```
//!
//! Uncontended, lock and unlock are one atomic operation each.
//!
//! **INV-CONTENDED**: while anybody waits in the list, the word is CONTENDED, or a woken G is on its way to make it so.
//!
//! **The hard race** is an unlock between a waiter's look at the word and its entry into the list. The waiter holds the list's
//! lock from the swap to CONTENDED until it is saved in the list, and an unlock that finds CONTENDED takes that lock before it pops: so
//! either the waiter's swap sees FREE, or the unlock sees the waiter.
//!
//! A woken waiter competes again, and a running G may be faster (barging: no switch for each hand-over, as in Go's normal mode). What it
//! takes it takes as CONTENDED, because it cannot know whether others wait; that costs one needless look at the list when none
//! does. Waiters are woken first come, first served; one that loses to a barger goes to the end.
//!
//! Rejected: handing the lock over to the waiter (every contended unlock would wait for a switch); spinning before parking (on the core
//! that the holder was preempted on, or on one P, it can only waste its slice; to be measured before it comes).

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::g::{GRef, WaitReason};
use crate::lock::SpinLock;
use crate::park::{current_g, park};
use crate::poison::{Poison, Unwinding};
use crate::preempt::PreemptGuard;
use crate::sync::{AtomicU32, Ordering, UnsafeCell};
use crate::waitq::{WaitQueue, Waiter};

pub use crate::poison::{LockResult, PoisonError, TryLockError, TryLockResult};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// A value that one G at a time may use.
pub struct Mutex<T: ?Sized> {
    word: AtomicU32,
    poison: Poison,
    waiters: SpinLock<WaitQueue>,
    /// Guarded by the word.
    value: UnsafeCell<T>,
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
                word: AtomicU32::new(FREE),
                poison: Poison::new(),
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
        let Self { poison, value, .. } = self;
        poison.check(value.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Parks until the mutex is ours. Locking it twice from one G waits for ever; the deadlock report names that G.
    ///
    /// # Errors
    /// Poisoned; the guard is in the error.
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        if !self.take_if_free() {
            lock_contended(&self.word, &self.waiters);
        }
        self.guard()
    }

    /// Takes the mutex only if it is free.
    ///
    /// # Errors
    /// Held by another G, or poisoned.
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.take_if_free() { Ok(self.guard()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// The value: `&mut self` proves that nobody holds the mutex.
    ///
    /// # Errors
    /// Poisoned; the value is in the error.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let Self { poison, value, .. } = self;
        // SAFETY: `&mut self` makes this the only access for the reference's life.
        poison.check(value.with_mut(|v| unsafe { &mut *v }))
    }

    /// Whether a G panicked while it held the lock.
    pub fn is_poisoned(&self) -> bool {
        self.poison.get()
    }

    /// The value is right again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    #[inline(always)]
    fn take_if_free(&self) -> bool {
        // Acquire: pairs with the Release in `unlock`.
        self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// The evidence that the word is ours.
    #[inline(always)]
    fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        self.poison.check(MutexGuard { mutex: self, entered: Poison::enter(), _not_send: PhantomData })
    }

    #[inline(always)]
    fn unlock(&self) {
        // Release: pairs with the Acquire in `take_if_free` and `lock_contended`.
        if self.word.swap(FREE, Ordering::Release) == CONTENDED {
            wake_one(&self.waiters);
        }
    }
}

/// Parks until the word goes from FREE to CONTENDED by our hand. No type parameter: it exists once.
#[cold]
fn lock_contended(word: &AtomicU32, list: &SpinLock<WaitQueue>) {
    loop {
        let guard = PreemptGuard::new();
        let mut waiters = list.lock(&guard);
        // Acquire: pairs with the Release in `unlock`.
        if word.swap(CONTENDED, Ordering::Acquire) == FREE {
            return;
        }
        let waiter = Waiter::new(current_g(&guard), core::ptr::null_mut());
        // SAFETY: 1. this G parks right below, and the node is on its stack.
        unsafe { waiters.push(&waiter) };
        waiters.into_held();
        // SAFETY: 1. whoever claims the waiter wakes it once. 2. the mutex outlives the call.
        drop(unsafe { park(guard, WaitReason::Mutex, unlock_list, core::ptr::from_ref(list).cast_mut().cast()) });
    }
}

/// `park`'s commit: the G is saved, the list's lock may go.
unsafe fn unlock_list(list: *mut (), _: GRef) -> bool {
    // SAFETY: `lock_contended` passes its list, whose lock it turned into "held".
    unsafe { (*list.cast::<SpinLock<WaitQueue>>()).unlock() };
    true
}

#[cold]
fn wake_one(list: &SpinLock<WaitQueue>) {
    let guard = PreemptGuard::new();
    let first = list.lock(&guard).pop();
    if let Some(waiter) = first {
        waiter.wake(&guard);
    }
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
        self.mutex.poison.leave(self.entered);
        self.mutex.unlock();
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
