//! The lock of this module: a spin lock held with preemption off.
//!
//! Separate from the scheduler's `SpinLock` only because it serves before there is a scheduler; the rules are the same.

use core::ops::{Deref, DerefMut};

use crate::arch::percpu;

/// A value behind a spin lock.
pub struct Lock<T>(spin::Mutex<T>);

/// The lock, held; preemption is off as long.
pub struct Guard<'a, T>(Option<spin::MutexGuard<'a, T>>);

impl<T> Lock<T> {
    /// An open lock.
    pub const fn new(value: T) -> Self {
        Self(spin::Mutex::new(value))
    }

    /// Spins until the lock is ours.
    pub fn lock(&self) -> Guard<'_, T> {
        percpu::preempt_off();
        Guard(Some(self.0.lock()))
    }

    /// Takes the lock only if it is free.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        percpu::preempt_off();
        let guard = self.0.try_lock();
        if guard.is_none() {
            percpu::preempt_on();
        }
        guard.map(|guard| Guard(Some(guard)))
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.0 = None;
        percpu::preempt_on();
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("a guard holds its lock until it is dropped")
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("a guard holds its lock until it is dropped")
    }
}
