//! `OnceLock`: a value that is written once; `std`'s.

use core::fmt;
use core::mem::MaybeUninit;

use super::once::{Once, Settled};
use crate::machine::sync::UnsafeCell;

/// A cell that can be written once, by the first to come.
///
/// A closure that panics leaves the cell empty, for the next one to try. If the closure's G dies
/// where it stands, the cell stays begun: `get_or_init` panics, and [`get`](Self::get) gives none.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// static NAME: sync::OnceLock<String> = sync::OnceLock::new();
/// assert_eq!(NAME.get(), None);
/// assert_eq!(NAME.get_or_init(|| "first".to_string()), "first");
/// assert_eq!(NAME.set("second".to_string()), Err("second".to_string()));
/// # });
/// ```
pub struct OnceLock<T> {
    once: Once,
    /// Written by the closure of `once`; a value once that is complete, and only read then.
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by one G and dropped by another, perhaps: it must be sendable.
unsafe impl<T: Send> Send for OnceLock<T> {}
// SAFETY: G's read the value at the same time, and one that finds no value may store it for all.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T: core::panic::UnwindSafe> core::panic::UnwindSafe for OnceLock<T> {}
impl<T: core::panic::RefUnwindSafe + core::panic::UnwindSafe> core::panic::RefUnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    crate::const_unless_loom! {
        /// Makes an empty cell.
        ///
        /// ```
        /// # use trefoil_hosted::prelude::*;
        /// # trefoil_hosted::example(|| {
        /// let lock = sync::OnceLock::<u32>::new();
        /// assert_eq!(lock.get(), None);
        /// # });
        /// ```
        pub fn new() -> Self {
            Self { once: Once::new(), value: UnsafeCell::new(MaybeUninit::uninit()) }
        }
    }

    /// Returns the value, if it is there. Does not wait.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::OnceLock::new();
    /// assert_eq!(lock.get(), None);
    /// lock.set(3).unwrap();
    /// assert_eq!(lock.get(), Some(&3));
    /// # });
    /// ```
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: 1. the `Once` is complete, so the value was written.
        if self.once.is_completed() { Some(unsafe { self.there() }) } else { None }
    }

    /// Returns the value, if it is there.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let mut lock = sync::OnceLock::from(3);
    /// *lock.get_mut().unwrap() += 1;
    /// assert_eq!(lock.into_inner(), Some(4));
    /// # });
    /// ```
    pub fn get_mut(&mut self) -> Option<&mut T> {
        match self.once.settled() {
            // SAFETY: it is complete, and `&mut self` makes this the only access.
            Settled::Complete => Some(self.value.with_mut(|value| unsafe { (*value).assume_init_mut() })),
            _ => None,
        }
    }

    /// Writes the value, if none is there. If one is on its way, parks until that is there.
    ///
    /// # Errors
    /// There is a value already; `value` is in the error.
    ///
    /// # Panics
    /// If the G that makes one has died.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::OnceLock::new();
    /// assert_eq!((lock.set(1), lock.set(2)), (Ok(()), Err(2)));
    /// # });
    /// ```
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| match value.take() {
            Some(value) => value,
            None => unreachable!("a closure is called once"),
        });
        value.map_or(Ok(()), Err)
    }

    /// Returns the value; if none is there, the one that `f` makes. If another G makes one now,
    /// parks until it is there.
    ///
    /// # Panics
    /// With what `f` panics with; the cell stays empty then. If the G that makes a value has died.
    /// If `f` calls this for the same cell, it waits for itself.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::OnceLock::new();
    /// assert_eq!(lock.get_or_init(|| 1), &1);
    /// assert_eq!(lock.get_or_init(|| unreachable!()), &1);
    /// # });
    /// ```
    #[inline]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        self.once.call_once_force(|_| {
            let value = f();
            // SAFETY: the `Once` lets one closure in at a time, and none after one has returned.
            self.value.with_mut(|cell| unsafe { (*cell).write(value) });
        });
        // SAFETY: 1. `call_once_force` has returned, so the value was written.
        unsafe { self.there() }
    }

    /// Parks until a G has written the value.
    ///
    /// # Panics
    /// If the G that makes one dies.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let cell = Arc::new(sync::OnceLock::new());
    /// let writer = cell.clone();
    /// go(move || writer.set(5));
    /// assert_eq!(*cell.wait(), 5);
    /// # });
    /// ```
    pub fn wait(&self) -> &T {
        self.once.wait_force();
        // SAFETY: 1. the `Once` is complete, so the value was written.
        unsafe { self.there() }
    }

    /// Returns the value, if it is there.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lock = sync::OnceLock::new();
    /// lock.set("here").unwrap();
    /// assert_eq!(lock.into_inner(), Some("here"));
    /// # });
    /// ```
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// Takes the value out, if it is there; the cell is empty then.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let mut lock = sync::OnceLock::new();
    /// lock.set(1).unwrap();
    /// assert_eq!((lock.take(), lock.get()), (Some(1), None));
    /// # });
    /// ```
    pub fn take(&mut self) -> Option<T> {
        match self.once.settled() {
            Settled::Complete => {
                self.once = Once::new();
                // SAFETY: it was complete and is not any more: nobody reads the value again.
                Some(self.value.with_mut(|value| unsafe { (*value).assume_init_read() }))
            }
            _ => None,
        }
    }

    /// # Safety
    /// 1. The `Once` is complete.
    #[inline(always)]
    unsafe fn there(&self) -> &T {
        // SAFETY: 1. the value was written, and is only read as long as `self` is borrowed.
        self.value.with(|value| unsafe { (*value).assume_init_ref() })
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> Self {
        let cell = Self::new();
        let _ = cell.set(value);
        cell
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> Self {
        self.get().map_or_else(Self::new, |value| Self::from(value.clone()))
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => all.field(value),
            None => all.field(&format_args!("<uninit>")),
        };
        all.finish()
    }
}
