//! Guards of a part of the value: `std`'s `MappedRwLockReadGuard` and `MappedRwLockWriteGuard`.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use super::{Raw, RwLockReadGuard, RwLockWriteGuard};
use crate::api::locks::poison::Unwinding;

/// A lock, held for reading, with access to a part of its value; given back when this is dropped.
/// Made by [`RwLockReadGuard::map`] and [`filter_map`](RwLockReadGuard::filter_map).
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let lock = sync::RwLock::new((1, "one"));
/// let name = sync::RwLockReadGuard::map(lock.read().unwrap(), |pair| pair.1);
/// assert_eq!(&*name, "one");
/// assert!(lock.try_write().is_err());
/// # });
/// ```
#[must_use = "the lock is given back when its guard is dropped"]
pub struct MappedRwLockReadGuard<'a, T: ?Sized> {
    raw: &'a Raw,
    unit: usize,
    /// The part. Also makes the guard `!Send`, as the whole one.
    value: NonNull<T>,
    _value: PhantomData<&'a T>,
}

/// A lock, held for writing, with access to a part of its value; free again when this is dropped.
/// Made by [`RwLockWriteGuard::map`] and [`filter_map`](RwLockWriteGuard::filter_map).
///
/// It holds the lock as the guard did: a panic poisons, and a G that dies where it stands keeps the
/// lock. It can't be [downgraded](RwLockWriteGuard::downgrade), as in `std`.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let lock = sync::RwLock::new((1, 2));
/// *sync::RwLockWriteGuard::map(lock.write().unwrap(), |pair| &mut pair.1) += 1;
/// assert_eq!(*lock.read().unwrap(), (1, 3));
/// # });
/// ```
#[must_use = "the lock is free again when its guard is dropped"]
pub struct MappedRwLockWriteGuard<'a, T: ?Sized> {
    raw: &'a Raw,
    entered: Unwinding,
    /// The part. Also makes the guard `!Send`, as the whole one.
    value: NonNull<T>,
    _value: PhantomData<&'a mut T>,
}

// SAFETY: a shared guard gives shared access to the part only.
unsafe impl<T: ?Sized + Sync> Sync for MappedRwLockReadGuard<'_, T> {}
// SAFETY: a shared write guard gives shared access to the part only.
unsafe impl<T: ?Sized + Sync> Sync for MappedRwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockReadGuard<'a, T> {
    /// Turns the guard into one of a part of the value. If `f` panics, the lock is given back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::RwLock::new([1, 2, 3]);
    /// let first = sync::RwLockReadGuard::map(lock.read().unwrap(), |numbers| &numbers[0]);
    /// assert_eq!(*first, 1);
    /// # });
    /// ```
    pub fn map<U: ?Sized>(orig: Self, f: impl FnOnce(&T) -> &U) -> MappedRwLockReadGuard<'a, U> {
        let value = NonNull::from(f(&orig));
        orig.narrow(value)
    }

    /// Maps as [`map`](Self::map), if there is such a part.
    ///
    /// # Errors
    /// `f` returned `None`; the guard comes back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::RwLock::new(vec![1, 2]);
    /// let third = sync::RwLockReadGuard::filter_map(lock.read().unwrap(), |numbers| numbers.get(2));
    /// assert_eq!(third.unwrap_err().len(), 2);
    /// # });
    /// ```
    pub fn filter_map<U: ?Sized>(
        orig: Self,
        f: impl FnOnce(&T) -> Option<&U>,
    ) -> Result<MappedRwLockReadGuard<'a, U>, Self> {
        match f(&orig).map(NonNull::from) {
            Some(value) => Ok(orig.narrow(value)),
            None => Err(orig),
        }
    }

    /// Makes the guard of `value`, a part of this one's value.
    fn narrow<U: ?Sized>(self, value: NonNull<U>) -> MappedRwLockReadGuard<'a, U> {
        let whole = ManuallyDrop::new(self);
        MappedRwLockReadGuard { raw: &whole.lock.raw, unit: whole.unit, value, _value: PhantomData }
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Turns the guard into one of a part of the value. If `f` panics, the lock is free and
    /// poisoned.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::RwLock::new([1, 2, 3]);
    /// *sync::RwLockWriteGuard::map(lock.write().unwrap(), |numbers| &mut numbers[0]) = 5;
    /// assert_eq!(*lock.read().unwrap(), [5, 2, 3]);
    /// # });
    /// ```
    pub fn map<U: ?Sized>(mut orig: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedRwLockWriteGuard<'a, U> {
        let value = NonNull::from(f(&mut orig));
        orig.narrow(value)
    }

    /// Maps as [`map`](Self::map), if there is such a part.
    ///
    /// # Errors
    /// `f` returned `None`; the guard comes back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::RwLock::new(vec![1, 2]);
    /// let third = sync::RwLockWriteGuard::filter_map(lock.write().unwrap(), |numbers| numbers.get_mut(2));
    /// third.unwrap_err().push(3);
    /// assert_eq!(lock.read().unwrap().len(), 3);
    /// # });
    /// ```
    pub fn filter_map<U: ?Sized>(
        mut orig: Self,
        f: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Result<MappedRwLockWriteGuard<'a, U>, Self> {
        match f(&mut orig).map(NonNull::from) {
            Some(value) => Ok(orig.narrow(value)),
            None => Err(orig),
        }
    }

    /// Makes the guard of `value`, a part of this one's value.
    fn narrow<U: ?Sized>(self, value: NonNull<U>) -> MappedRwLockWriteGuard<'a, U> {
        let whole = ManuallyDrop::new(self);
        MappedRwLockWriteGuard { raw: &whole.lock.raw, entered: whole.entered, value, _value: PhantomData }
    }
}

impl<'a, T: ?Sized> MappedRwLockReadGuard<'a, T> {
    /// Turns the guard into one of a smaller part, as [`RwLockReadGuard::map`].
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use sync::{MappedRwLockReadGuard, RwLockReadGuard};
    /// let lock = sync::RwLock::new((1, (2, 3)));
    /// let inner = RwLockReadGuard::map(lock.read().unwrap(), |value| &value.1);
    /// assert_eq!(*MappedRwLockReadGuard::map(inner, |value| &value.0), 2);
    /// # });
    /// ```
    pub fn map<U: ?Sized>(orig: Self, f: impl FnOnce(&T) -> &U) -> MappedRwLockReadGuard<'a, U> {
        let value = NonNull::from(f(&orig));
        orig.narrow(value)
    }

    /// Maps as [`map`](Self::map), if there is such a part.
    ///
    /// # Errors
    /// `f` returned `None`; the guard comes back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use sync::{MappedRwLockReadGuard, RwLockReadGuard};
    /// let lock = sync::RwLock::new((1, Some(2)));
    /// let option = RwLockReadGuard::map(lock.read().unwrap(), |value| &value.1);
    /// assert_eq!(*MappedRwLockReadGuard::filter_map(option, Option::as_ref).unwrap(), 2);
    /// # });
    /// ```
    pub fn filter_map<U: ?Sized>(
        orig: Self,
        f: impl FnOnce(&T) -> Option<&U>,
    ) -> Result<MappedRwLockReadGuard<'a, U>, Self> {
        match f(&orig).map(NonNull::from) {
            Some(value) => Ok(orig.narrow(value)),
            None => Err(orig),
        }
    }

    /// As [`RwLockReadGuard::narrow`].
    fn narrow<U: ?Sized>(self, value: NonNull<U>) -> MappedRwLockReadGuard<'a, U> {
        let whole = ManuallyDrop::new(self);
        MappedRwLockReadGuard { raw: whole.raw, unit: whole.unit, value, _value: PhantomData }
    }
}

impl<'a, T: ?Sized> MappedRwLockWriteGuard<'a, T> {
    /// Turns the guard into one of a smaller part, as [`RwLockWriteGuard::map`].
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use sync::{MappedRwLockWriteGuard, RwLockWriteGuard};
    /// let lock = sync::RwLock::new((1, (2, 3)));
    /// let inner = RwLockWriteGuard::map(lock.write().unwrap(), |value| &mut value.1);
    /// *MappedRwLockWriteGuard::map(inner, |value| &mut value.0) = 5;
    /// assert_eq!(*lock.read().unwrap(), (1, (5, 3)));
    /// # });
    /// ```
    pub fn map<U: ?Sized>(mut orig: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedRwLockWriteGuard<'a, U> {
        let value = NonNull::from(f(&mut orig));
        orig.narrow(value)
    }

    /// Maps as [`map`](Self::map), if there is such a part.
    ///
    /// # Errors
    /// `f` returned `None`; the guard comes back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use sync::{MappedRwLockWriteGuard, RwLockWriteGuard};
    /// let lock = sync::RwLock::new((1, Some(2)));
    /// let option = RwLockWriteGuard::map(lock.write().unwrap(), |value| &mut value.1);
    /// *MappedRwLockWriteGuard::filter_map(option, Option::as_mut).unwrap() = 3;
    /// assert_eq!(*lock.read().unwrap(), (1, Some(3)));
    /// # });
    /// ```
    pub fn filter_map<U: ?Sized>(
        mut orig: Self,
        f: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Result<MappedRwLockWriteGuard<'a, U>, Self> {
        match f(&mut orig).map(NonNull::from) {
            Some(value) => Ok(orig.narrow(value)),
            None => Err(orig),
        }
    }

    /// As [`RwLockWriteGuard::narrow`].
    fn narrow<U: ?Sized>(self, value: NonNull<U>) -> MappedRwLockWriteGuard<'a, U> {
        let whole = ManuallyDrop::new(self);
        MappedRwLockWriteGuard { raw: whole.raw, entered: whole.entered, value, _value: PhantomData }
    }
}

impl<T: ?Sized> Deref for MappedRwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: `value` came from a borrow of the lock's value, and while the guard exists nobody
        // writes.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> Deref for MappedRwLockWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: `value` came from an exclusive borrow of the lock's value. The guard exists only
        // while its G alone holds the lock, so nobody else has a reference to it.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for MappedRwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: `value` came from an exclusive borrow of the locked value, its G alone holds the
        // lock, and `&mut self` makes this the only reference.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized> Drop for MappedRwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.raw.unlock_read(self.unit);
    }
}

impl<T: ?Sized> Drop for MappedRwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.raw.poison.leave(self.entered);
        self.raw.unlock_write();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedRwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MappedRwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedRwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MappedRwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
