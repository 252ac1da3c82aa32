//! The lock of the kernel below the scheduler: a spin lock held with preemption off.
//!
//! Separate from the scheduler's `SpinLock` only because it serves before there is a scheduler; the
//! rules are the same.
//!
//! Rejected: the `spin` crate's mutex. Its compare-and-exchange costs 4 instructions more at each
//! lock, 1 to 2 % of an allocation of a large block, and its waiters pause at each look.

use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use super::percpu;

/// Looks between two pauses of a core that waits. Most locks are open again sooner than a pause is
/// over: it takes some 100 cycles, and a microsecond under QEMU's translator.
const LOOKS: u32 = 128;

/// A value behind a spin lock.
pub struct Lock<T> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by the lock's holder only, which may be any core.
unsafe impl<T: Send> Sync for Lock<T> {}

/// The lock, held; preemption is off as long.
pub struct Guard<'a, T>(&'a Lock<T>);

impl<T> Lock<T> {
    /// Creates an open lock.
    pub const fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Spins until the lock is ours.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        percpu::preempt_off();
        // Acquire: pairs with the Release of the guard's drop.
        if self.held.swap(true, Ordering::Acquire) {
            wait(&self.held);
        }
        Guard(self)
    }

    /// Takes the lock only if it is free.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        percpu::preempt_off();
        // Acquire: as in `lock`.
        if self.held.swap(true, Ordering::Acquire) {
            percpu::preempt_on();
            return None;
        }
        Some(Guard(self))
    }
}

/// Waits for the holder: out of line, so that the lock's users stay short.
#[cold]
#[inline(never)]
fn wait(held: &AtomicBool) {
    let mut looks = 0u32;
    // Acquire: as in `lock`.
    while held.load(Ordering::Relaxed) || held.swap(true, Ordering::Acquire) {
        looks += 1;
        if looks.is_multiple_of(LOOKS) {
            spin_loop();
        }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `lock`.
        self.0.held.store(false, Ordering::Release);
        percpu::preempt_on();
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as the guard lives.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held as long as the guard lives, and `&mut self` makes this the only
        // reference.
        unsafe { &mut *self.0.value.get() }
    }
}
