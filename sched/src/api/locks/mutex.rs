//! `Mutex`: `std`'s, around the word of `raw.rs`.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use super::poison::{LockResult, Poison, TryLockError, TryLockResult, Unwinding, show};
use crate::machine::sync::UnsafeCell;

mod mapped;
mod raw;

pub use mapped::MappedMutexGuard;
pub(super) use raw::Raw;

/// A value that one G at a time may use.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let sum = Arc::new(sync::Mutex::new(0));
/// let gs: Vec<_> = (1..=10)
///     .map(|i| {
///         let sum = sum.clone();
///         go(move || *sum.lock().unwrap() += i)
///     })
///     .collect();
/// gs.into_iter().for_each(|g| g.join().unwrap());
/// assert_eq!(*sum.lock().unwrap(), 55);
/// # });
/// ```
///
/// A G that panics while it holds the mutex leaves it free and poisoned: every `lock` gives an
/// error, with the guard inside, until [`clear_poison`](Self::clear_poison). A G that dies where it
/// stands (of an overflow of its stack, say) keeps the mutex for ever, because it may have lent the
/// value to others. Such a death does not poison. A G that has waited for a millisecond is given
/// the mutex before any newcomer.
pub struct Mutex<T: ?Sized> {
    raw: Raw,
    /// Guarded by the word.
    value: UnsafeCell<T>,
}

// SAFETY: the mutex admits one G at a time, so the value only needs to be sendable.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: a shared mutex gives access to the value to one G at a time, so the value only needs to
// be sendable.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

// A panic while it is held is not forgotten: it poisons.
impl<T: ?Sized> core::panic::UnwindSafe for Mutex<T> {}
impl<T: ?Sized> core::panic::RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    crate::const_unless_loom! {
        /// Makes a free mutex.
        ///
        /// ```
        /// # use trefoil_hosted::prelude::*;
        /// # trefoil_hosted::example(|| {
        /// let mutex = sync::Mutex::new(5);
        /// assert_eq!(*mutex.lock().unwrap(), 5);
        /// # });
        /// ```
        pub fn new(value: T) -> Self {
            Self { raw: Raw::new(), value: UnsafeCell::new(value) }
        }
    }

    /// Returns the value.
    ///
    /// # Errors
    /// Poisoned; the value is in the error.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// assert_eq!(sync::Mutex::new(5).into_inner().unwrap(), 5);
    /// ```
    pub fn into_inner(self) -> LockResult<T> {
        let Self { raw, value } = self;
        raw.poison.check(value.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Parks until the mutex is ours. A G that locks it twice waits for ever; the deadlock report
    /// names that G.
    ///
    /// # Errors
    /// Poisoned; the guard is in the error.
    ///
    /// # Panics
    /// If the G that holds it has died where it stood, or does so meanwhile. The message names the
    /// mutex, that G and the cause of its death.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let count = Arc::new(sync::Mutex::new(0));
    /// let theirs = count.clone();
    /// go(move || *theirs.lock().unwrap() += 1).join().unwrap();
    /// assert_eq!(*count.lock().unwrap(), 1);
    /// # });
    /// ```
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.lock();
        self.guard()
    }

    /// Takes the mutex only if it is free: before the G's that wait for it, unless one of them has
    /// waited for a millisecond. Never parks.
    ///
    /// # Errors
    /// Held by another G, be it alive or dead; or poisoned.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let mutex = sync::Mutex::new(1);
    /// let held = mutex.lock().unwrap();
    /// assert!(matches!(mutex.try_lock(), Err(sync::TryLockError::WouldBlock)));
    /// # drop(held);
    /// # });
    /// ```
    #[inline]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        if self.raw.try_lock() { Ok(self.guard()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Returns the value: `&mut self` proves that nobody holds the mutex.
    ///
    /// # Errors
    /// Poisoned; the value is in the error.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let mut mutex = sync::Mutex::new(5);
    /// *mutex.get_mut().unwrap() += 1;
    /// assert_eq!(mutex.into_inner().unwrap(), 6);
    /// # });
    /// ```
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let Self { raw, value } = self;
        // SAFETY: `&mut self` makes this the only access for the reference's life.
        raw.poison.check(value.with_mut(|v| unsafe { &mut *v }))
    }

    /// Returns true if a G panicked while it held the lock. A death does not poison: the dead G
    /// holds the lock still.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = Arc::new(sync::Mutex::new(1));
    /// let theirs = lock.clone();
    /// let panics = go(move || {
    ///     let _guard = theirs.lock().unwrap();
    ///     panic!("with the lock held");
    /// });
    /// assert!(panics.join().is_err());
    /// assert!(lock.is_poisoned() && lock.lock().is_err());
    /// # });
    /// ```
    pub fn is_poisoned(&self) -> bool {
        self.raw.poison.get()
    }

    /// Clears the mark: the value is right again.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let mutex = Arc::new(sync::Mutex::new(1));
    /// let poisons = mutex.clone();
    /// assert!(go(move || {
    ///     let _held = poisons.lock();
    ///     panic!("while it is held");
    /// })
    /// .join()
    /// .is_err());
    /// *mutex.lock().unwrap_err().into_inner() = 2;
    /// mutex.clear_poison();
    /// assert_eq!(*mutex.lock().unwrap(), 2);
    /// # });
    /// ```
    pub fn clear_poison(&self) {
        self.raw.poison.clear();
    }

    /// Makes the guard, the evidence that the word is ours.
    #[inline(always)]
    fn guard(&self) -> LockResult<MutexGuard<'_, T>> {
        self.raw.poison.check(MutexGuard { mutex: self, entered: Poison::enter(), _not_send: PhantomData })
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
        show(f, "Mutex", self.try_lock(), self.is_poisoned())
    }
}

/// The mutex, held; free again when this is dropped. A guard belongs to the G that locked.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let mutex = sync::Mutex::new(vec![1]);
/// {
///     let mut guard = mutex.lock().unwrap();
///     guard.push(2);
/// } // unlocked
/// assert_eq!(mutex.lock().unwrap().len(), 2);
/// # });
/// ```
#[must_use = "the mutex is free again when its guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    entered: Unwinding,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives shared access to the value only.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Returns the mutex without its value.
    pub(crate) fn raw(&self) -> &'a Raw {
        &self.mutex.raw
    }
}

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
        // SAFETY: the guard exists only while its G holds the mutex, and `&mut self` makes this the
        // only reference.
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
