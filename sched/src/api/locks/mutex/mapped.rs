//! Guards of a part of the value: `std`'s `MappedMutexGuard`.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use super::{MutexGuard, Raw};
use crate::api::locks::poison::Unwinding;

/// A mutex, held, with access to a part of its value; free again when this is dropped. Made by
/// [`MutexGuard::map`] and [`filter_map`](MutexGuard::filter_map).
///
/// It holds the mutex as the guard did: a panic poisons, and a G that dies where it stands keeps
/// the mutex. A [`Condvar`](super::super::Condvar) does not take it, since others may change the
/// whole value during a wait.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let pair = sync::Mutex::new((1, String::from("one")));
/// let mut name = sync::MutexGuard::map(pair.lock().unwrap(), |pair| &mut pair.1);
/// name.push('!');
/// drop(name);
/// assert_eq!(pair.lock().unwrap().1, "one!");
/// # });
/// ```
#[must_use = "the mutex is free again when its guard is dropped"]
pub struct MappedMutexGuard<'a, T: ?Sized> {
    raw: &'a Raw,
    entered: Unwinding,
    /// The part. Also makes the guard `!Send`, as the whole one.
    value: NonNull<T>,
    _value: PhantomData<&'a mut T>,
}

// SAFETY: a shared guard gives shared access to the part only.
unsafe impl<T: ?Sized + Sync> Sync for MappedMutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Turns the guard into one of a part of the value. If `f` panics, the mutex is free and
    /// poisoned.
    ///
    /// Called as `MutexGuard::map(guard, f)`: the value may have a method of this name.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let numbers = sync::Mutex::new([1, 2, 3]);
    /// *sync::MutexGuard::map(numbers.lock().unwrap(), |numbers| &mut numbers[1]) = 5;
    /// assert_eq!(*numbers.lock().unwrap(), [1, 5, 3]);
    /// # });
    /// ```
    pub fn map<U: ?Sized>(mut orig: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
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
    /// let numbers = sync::Mutex::new(vec![1, 2]);
    /// let third = sync::MutexGuard::filter_map(numbers.lock().unwrap(), |numbers| numbers.get_mut(2));
    /// third.unwrap_err().push(3);
    /// assert_eq!(numbers.lock().unwrap().len(), 3);
    /// # });
    /// ```
    pub fn filter_map<U: ?Sized>(
        mut orig: Self,
        f: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Result<MappedMutexGuard<'a, U>, Self> {
        match f(&mut orig).map(NonNull::from) {
            Some(value) => Ok(orig.narrow(value)),
            None => Err(orig),
        }
    }

    /// Makes the guard of `value`, a part of this one's value.
    fn narrow<U: ?Sized>(self, value: NonNull<U>) -> MappedMutexGuard<'a, U> {
        let whole = ManuallyDrop::new(self);
        MappedMutexGuard { raw: whole.raw(), entered: whole.entered, value, _value: PhantomData }
    }
}

impl<'a, T: ?Sized> MappedMutexGuard<'a, T> {
    /// Turns the guard into one of a smaller part, as [`MutexGuard::map`].
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use sync::{MappedMutexGuard, MutexGuard};
    /// let nested = sync::Mutex::new((1, (2, 3)));
    /// let inner = MutexGuard::map(nested.lock().unwrap(), |value| &mut value.1);
    /// let last = MappedMutexGuard::map(inner, |value| &mut value.1);
    /// assert_eq!(*last, 3);
    /// # });
    /// ```
    pub fn map<U: ?Sized>(mut orig: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
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
    /// use sync::{MappedMutexGuard, MutexGuard};
    /// let value = sync::Mutex::new((1, Some(2)));
    /// let option = MutexGuard::map(value.lock().unwrap(), |value| &mut value.1);
    /// let number = MappedMutexGuard::filter_map(option, Option::as_mut).unwrap();
    /// assert_eq!(*number, 2);
    /// # });
    /// ```
    pub fn filter_map<U: ?Sized>(
        mut orig: Self,
        f: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Result<MappedMutexGuard<'a, U>, Self> {
        match f(&mut orig).map(NonNull::from) {
            Some(value) => Ok(orig.narrow(value)),
            None => Err(orig),
        }
    }

    /// As [`MutexGuard::narrow`].
    fn narrow<U: ?Sized>(self, value: NonNull<U>) -> MappedMutexGuard<'a, U> {
        let whole = ManuallyDrop::new(self);
        MappedMutexGuard { raw: whole.raw, entered: whole.entered, value, _value: PhantomData }
    }
}

impl<T: ?Sized> Deref for MappedMutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: `value` came from an exclusive borrow of the mutex's value. The guard exists only
        // while its G holds the mutex, so nobody else has a reference to it.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for MappedMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: `value` came from an exclusive borrow of the locked value, its G alone holds the
        // lock, and `&mut self` makes this the only reference.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized> Drop for MappedMutexGuard<'_, T> {
    fn drop(&mut self) {
        self.raw.poison().leave(self.entered);
        self.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MappedMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
