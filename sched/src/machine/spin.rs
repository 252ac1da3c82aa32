//! A spin lock for the few words that two cores must change together: a channel's body, a timer
//! heap, the global queue.
//!
//! A core holds the lock with preemption off (the guard borrows the evidence), for a bounded number
//! of instructions. No lock is held across a switch, with one exception: a G that parks gives the
//! *held* lock to its `commit`. The `commit` releases the lock on the next context's stack
//! ([`SpinGuard::into_held`], [`SpinLock::unlock`]). Interrupt handlers take none.
//!
//! Rejected: a ticket lock. Its fairness has a price: with more virtual cores than real ones, a
//! descheduled ticket holder stops everyone. Rejected: `spin::Mutex`, because loom cannot see it.

use core::ops::{Deref, DerefMut};

use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::{AtomicBool, Ordering, UnsafeCell, spin_loop};

/// A value behind a spin lock.
#[derive(Debug)]
pub struct SpinLock<T: ?Sized> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the lock admits one core at a time to the value, so it needs only to be movable between
// cores.
unsafe impl<T: ?Sized + Send> Send for SpinLock<T> {}
// SAFETY: `&SpinLock` gives access to `T` only through `lock`, which admits one core at a time.
unsafe impl<T: ?Sized + Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    crate::const_unless_loom! {
        /// Makes an open lock around `value`.
        pub fn new(value: T) -> Self {
            Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
        }
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Spins until the lock is ours. The guard proves that no preemption can strand the others.
    #[inline]
    pub fn lock<'a>(&'a self, _preempt: &'a PreemptGuard) -> SpinGuard<'a, T> {
        // Acquire: pairs with the Release in `unlock`, so that the last holder's writes are seen.
        if self.held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            spin(&self.held);
        }
        SpinGuard { lock: self }
    }

    /// Takes the lock only if it is free.
    #[inline]
    pub fn try_lock<'a>(&'a self, _preempt: &'a PreemptGuard) -> Option<SpinGuard<'a, T>> {
        // Acquire: as in `lock`.
        self.held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(SpinGuard { lock: self })
    }

    /// Releases a lock whose guard was turned into "held" by [`SpinGuard::into_held`].
    ///
    /// # Safety
    /// 1. The lock is held, no guard stands for it, and the caller is the one to release it.
    #[inline]
    pub unsafe fn unlock(&self) {
        // Release: pairs with the Acquire in `lock`.
        self.held.store(false, Ordering::Release);
    }

    /// Runs `f` on the value while the lock is held without a guard.
    ///
    /// # Safety
    /// 1. The lock is held and the caller is its holder.
    #[inline]
    pub unsafe fn with_held<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: 1. the caller holds the lock, so this is the only access.
        self.value.with_mut(|v| f(unsafe { &mut *v }))
    }
}

/// Waits for another holder. Out of line, so that the lock's users stay short.
#[cold]
#[inline(never)]
fn spin(held: &AtomicBool) {
    let began = if COUNTS { platform::now() } else { 0 };
    loop {
        while held.load(Ordering::Relaxed) {
            spin_loop();
        }
        // Acquire: as in `lock`.
        if held.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            break;
        }
    }
    if COUNTS {
        platform::lock_waited(platform::now() - began);
    }
}

/// Models of a lock alone have no M.
const COUNTS: bool = cfg!(not(any(loom, test)));

/// The lock, held.
#[derive(Debug)]
pub struct SpinGuard<'a, T: ?Sized> {
    lock: &'a SpinLock<T>,
}

impl<'a, T: ?Sized> SpinGuard<'a, T> {
    /// Keeps the lock held past the guard. The caller, or its successor, must call
    /// [`SpinLock::unlock`].
    #[inline]
    pub fn into_held(self) -> &'a SpinLock<T> {
        let lock = self.lock;
        core::mem::forget(self);
        lock
    }
}

impl<T: ?Sized> Deref for SpinGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while this core holds the lock; the reference lives no
        // longer than the guard.
        self.lock.value.with(|v| unsafe { &*v })
    }
}

impl<T: ?Sized> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard exists only while this core holds the lock, and `&mut self` makes this
        // the only reference.
        self.lock.value.with_mut(|v| unsafe { &mut *v })
    }
}

impl<T: ?Sized> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: 1. the guard stood for the held lock and is gone after this.
        unsafe { self.lock.unlock() }
    }
}
