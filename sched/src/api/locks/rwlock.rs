//! `RwLock`: `std`'s, around the word of `raw.rs`.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use super::poison::{LockResult, Poison, TryLockError, TryLockResult, Unwinding, show};
use crate::machine::sync::UnsafeCell;

mod mapped;
mod raw;

pub use mapped::{MappedRwLockReadGuard, MappedRwLockWriteGuard};
use raw::Raw;

/// A value that many G's may read at the same time, or one may change.
///
/// Readers and writers take turns (`raw.rs` says how), so neither can keep the other out.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let lock = sync::RwLock::new(vec![1, 2]);
/// {
///     let (a, b) = (lock.read().unwrap(), lock.read().unwrap());
///     assert_eq!(a.len() + b.len(), 4);
/// }
/// lock.write().unwrap().push(3);
/// assert_eq!(*lock.read().unwrap(), [1, 2, 3]);
/// # });
/// ```
///
/// A G that panics while it holds the lock for *writing* leaves it poisoned and free. A G that
/// panics while it *reads* has changed nothing. A G that dies where it stands keeps the lock: a
/// dead writer keeps everybody out, a dead reader only writers. G's that are kept out panic, with
/// the dead one's name. (Of several readers that are left nobody can tell which are dead. Writers
/// wait until one is left. If all are dead, writers wait for ever, and the deadlock report shows
/// them.)
pub struct RwLock<T: ?Sized> {
    raw: Raw,
    /// Guarded by the word.
    value: UnsafeCell<T>,
}

// SAFETY: the value goes to each writer: it must be sendable.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: G's have shared references to the value at the same time, and each writer has it alone.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T: ?Sized> core::panic::UnwindSafe for RwLock<T> {}
impl<T: ?Sized> core::panic::RefUnwindSafe for RwLock<T> {}

impl<T> RwLock<T> {
    crate::const_unless_loom! {
        /// Makes a free lock.
        ///
        /// ```
        /// # use trefoil_hosted::prelude::*;
        /// # trefoil_hosted::example(|| {
        /// let lock = sync::RwLock::new(5);
        /// assert_eq!(*lock.read().unwrap(), 5);
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
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(sync::RwLock::new(5).into_inner().unwrap(), 5);
    /// # });
    /// ```
    pub fn into_inner(self) -> LockResult<T> {
        let Self { raw, value } = self;
        raw.poison.check(value.into_inner())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Parks until no writer holds the lock, and it is this reader's turn.
    ///
    /// A G that reads already and asks again waits for ever if a writer has come in between.
    ///
    /// # Errors
    /// Poisoned; the guard is in the error.
    ///
    /// # Panics
    /// With 16 million readers.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::RwLock::new(5);
    /// let first = lock.read().unwrap();
    /// let sum = scope(|s| s.go(|| *lock.read().unwrap()).join().unwrap() + *first);
    /// assert_eq!(sum, 10);
    /// # });
    /// ```
    #[inline]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.reader(self.raw.read())
    }

    /// Locks as [`read`](Self::read), but does not wait.
    ///
    /// # Errors
    /// A writer holds the lock or waits for it ([`TryLockError::WouldBlock`]), or it is poisoned.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::RwLock::new(5);
    /// let writing = lock.write().unwrap();
    /// assert!(lock.try_read().is_err());
    /// drop(writing);
    /// assert!(lock.try_read().is_ok());
    /// # });
    /// ```
    #[inline]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        match self.raw.try_read() {
            Some(unit) => Ok(self.reader(unit)?),
            None => Err(TryLockError::WouldBlock),
        }
    }

    /// Parks until nobody holds the lock, and it is this writer's turn. A G that asks for it twice
    /// waits for ever; the deadlock report names that G.
    ///
    /// # Errors
    /// Poisoned; the guard is in the error.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::RwLock::new(vec![1]);
    /// lock.write().unwrap().push(2);
    /// assert_eq!(*lock.read().unwrap(), [1, 2]);
    /// # });
    /// ```
    #[inline]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.raw.write();
        self.writer()
    }

    /// Locks as [`write`](Self::write), but does not wait.
    ///
    /// # Errors
    /// A G holds the lock ([`TryLockError::WouldBlock`]), or it is poisoned.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::RwLock::new(5);
    /// let reading = lock.read().unwrap();
    /// assert!(lock.try_write().is_err());
    /// drop(reading);
    /// assert!(lock.try_write().is_ok());
    /// # });
    /// ```
    #[inline]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        if self.raw.try_write() { Ok(self.writer()?) } else { Err(TryLockError::WouldBlock) }
    }

    /// Returns the value: `&mut self` proves that nobody holds the lock.
    ///
    /// # Errors
    /// Poisoned; the value is in the error.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let mut lock = sync::RwLock::new(5);
    /// *lock.get_mut().unwrap() += 1;
    /// assert_eq!(*lock.read().unwrap(), 6);
    /// # });
    /// ```
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let Self { raw, value } = self;
        // SAFETY: `&mut self` makes this the only access for the reference's life.
        raw.poison.check(value.with_mut(|v| unsafe { &mut *v }))
    }

    /// Returns true if a G panicked while it wrote. A death does not poison: see [`RwLock`].
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = Arc::new(sync::RwLock::new(1));
    /// let theirs = lock.clone();
    /// let panics = go(move || {
    ///     let _guard = theirs.write().unwrap();
    ///     panic!("with the lock held");
    /// });
    /// assert!(panics.join().is_err());
    /// assert!(lock.is_poisoned() && lock.read().is_err());
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
    /// let lock = Arc::new(sync::RwLock::new(1));
    /// let theirs = lock.clone();
    /// let panics = go(move || {
    ///     let _guard = theirs.write().unwrap();
    ///     panic!("with the lock held");
    /// });
    /// assert!(panics.join().is_err());
    /// lock.clear_poison();
    /// assert!(lock.read().is_ok());
    /// # });
    /// ```
    pub fn clear_poison(&self) {
        self.raw.poison.clear();
    }

    #[inline(always)]
    fn reader(&self, unit: usize) -> LockResult<RwLockReadGuard<'_, T>> {
        self.raw.poison.check(RwLockReadGuard { lock: self, unit, _not_send: PhantomData })
    }

    #[inline(always)]
    fn writer(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.raw.poison.check(RwLockWriteGuard { lock: self, entered: Poison::enter(), _not_send: PhantomData })
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, "RwLock", self.try_read(), self.is_poisoned())
    }
}

/// The lock, held for reading; given back when this is dropped. A guard belongs to the G that
/// reads.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let lock = sync::RwLock::new(5);
/// let (one, other) = (lock.read().unwrap(), lock.try_read().unwrap());
/// assert_eq!(*one + *other, 10);
/// # });
/// ```
#[must_use = "the lock is given back when its guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    /// The number that this reader has added to the word.
    unit: usize,
    _not_send: PhantomData<*const ()>,
}

/// The lock, held for writing; free again when this is dropped. A guard belongs to the G that
/// writes.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let lock = sync::RwLock::new(5);
/// let mut guard = lock.write().unwrap();
/// *guard += 1;
/// drop(guard);
/// assert_eq!(*lock.read().unwrap(), 6);
/// # });
/// ```
#[must_use = "the lock is free again when its guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    entered: Unwinding,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives shared access to the value only.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: a shared write guard gives shared access to the value only.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Turns from writing to reading, with no other writer in between. Readers that wait come in as
    /// well.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::RwLock::new(1);
    /// let mut writer = lock.write().unwrap();
    /// *writer = 2;
    /// let reader = sync::RwLockWriteGuard::downgrade(writer);
    /// assert_eq!(*reader, *lock.read().unwrap());
    /// # });
    /// ```
    pub fn downgrade(this: Self) -> RwLockReadGuard<'a, T> {
        let lock = this.lock;
        lock.raw.poison.leave(this.entered);
        core::mem::forget(this);
        RwLockReadGuard { lock, unit: lock.raw.downgrade(), _not_send: PhantomData }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: while the guard exists nobody writes.
        self.lock.value.with(|v| unsafe { &*v })
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while its G alone holds the lock.
        self.lock.value.with(|v| unsafe { &*v })
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard exists only while its G alone holds the lock, and `&mut self` makes
        // this the only reference.
        self.lock.value.with_mut(|v| unsafe { &mut *v })
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.raw.unlock_read(self.unit);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.raw.poison.leave(self.entered);
        self.lock.raw.unlock_write();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
