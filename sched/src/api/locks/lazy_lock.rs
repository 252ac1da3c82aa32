//! `LazyLock`: a value that is made when it is first looked at; `std`'s.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::Deref;

use super::once::{Once, Settled};
use crate::machine::sync::UnsafeCell;

/// First the closure, then the value; the `Once` says which of them, or none.
union Content<T, F> {
    make: ManuallyDrop<F>,
    value: ManuallyDrop<T>,
}

/// A value that the first G to look at it makes. Other G's that come meanwhile park until it is
/// there.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// static PRIMES: sync::LazyLock<Vec<u32>> = sync::LazyLock::new(|| (2..100).filter(|n| (2..*n).all(|d| n % d != 0)).collect());
/// assert_eq!(PRIMES[3], 7);
/// # });
/// ```
///
/// If making it panics, the value is poisoned: every G that looks at it panics. So do they if its G
/// dies meanwhile; the message names that one.
pub struct LazyLock<T, F = fn() -> T> {
    once: Once,
    content: UnsafeCell<Content<T, F>>,
}

// SAFETY: all G's share the value once it is made; `F` is moved out by the first G to come.
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}
// SAFETY: the value, or the closure, may be used and dropped by another G: both are sendable.
unsafe impl<T: Send, F: Send> Send for LazyLock<T, F> {}

impl<T: core::panic::UnwindSafe, F: core::panic::UnwindSafe> core::panic::UnwindSafe for LazyLock<T, F> {}
impl<T: core::panic::RefUnwindSafe + core::panic::UnwindSafe, F: core::panic::UnwindSafe> core::panic::RefUnwindSafe
    for LazyLock<T, F>
{
}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    crate::const_unless_loom! {
        /// Makes a lock whose value `make` will make.
        ///
        /// ```
        /// # use trefoil_hosted::prelude::*;
        /// # trefoil_hosted::example(|| {
        /// let table = sync::LazyLock::new(|| (0..10u32).map(|n| n * n).collect::<Vec<_>>());
        /// assert_eq!(table[9], 81);
        /// # });
        /// ```
        pub fn new(make: F) -> Self {
            Self { once: Once::new(), content: UnsafeCell::new(Content { make: ManuallyDrop::new(make) }) }
        }
    }

    /// Makes the value now, unless it is there, as `*lazy` does. May park.
    ///
    /// # Panics
    /// If making it panics, or did so before; if the G that makes it has died.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lazy = sync::LazyLock::new(|| 6 * 7);
    /// assert_eq!(*sync::LazyLock::force(&lazy), 42);
    /// # });
    /// ```
    #[inline]
    pub fn force(this: &Self) -> &T {
        this.once.call_once(|| {
            // SAFETY: the `Once` is incomplete, so `make` is there; this is its only use.
            let make = this.content.with_mut(|content| unsafe { ManuallyDrop::take(&mut (*content).make) });
            let value = make();
            // SAFETY: one closure at a time, and none after this; `make` has gone.
            this.content.with_mut(|content| unsafe { (*content).value = ManuallyDrop::new(value) });
        });
        // SAFETY: it is complete, so the value is there, and only read as long as `this` is
        // borrowed.
        this.content.with(|content| unsafe { &(*content).value })
    }
}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// Forces as [`force`](Self::force), for a caller that may change the value.
    ///
    /// # Panics
    /// As [`force`](Self::force).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let mut lazy = sync::LazyLock::new(|| vec![1]);
    /// sync::LazyLock::force_mut(&mut lazy).push(2);
    /// assert_eq!(*lazy, [1, 2]);
    /// # });
    /// ```
    pub fn force_mut(this: &mut Self) -> &mut T {
        Self::force(this);
        // SAFETY: it is complete, so the value is there, and `&mut` makes this the only access.
        this.content.with_mut(|content| unsafe { &mut (*content).value })
    }
}

impl<T, F> LazyLock<T, F> {
    /// Returns the value, if it has been made. Does not make it, and never parks.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let lazy = sync::LazyLock::new(|| 5);
    /// assert_eq!(sync::LazyLock::get(&lazy), None);
    /// assert_eq!(*lazy, 5);
    /// assert_eq!(sync::LazyLock::get(&lazy), Some(&5));
    /// # });
    /// ```
    pub fn get(this: &Self) -> Option<&T> {
        // SAFETY: it is complete, so the value is there, and only read as long as `this` is
        // borrowed.
        this.once.is_completed().then(|| this.content.with(|content| unsafe { &*(*content).value }))
    }

    /// Returns the value, if it has been made, for a caller that may change it.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let mut lazy = sync::LazyLock::new(|| 5);
    /// assert_eq!(sync::LazyLock::get_mut(&mut lazy), None);
    /// *sync::LazyLock::force_mut(&mut lazy) = 6;
    /// assert_eq!(sync::LazyLock::get_mut(&mut lazy), Some(&mut 6));
    /// # });
    /// ```
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        match this.once.settled() {
            // SAFETY: it is complete, so the value is there, and `&mut` makes this the only access.
            Settled::Complete => Some(this.content.with_mut(|content| unsafe { &mut *(*content).value })),
            _ => None,
        }
    }
}

impl<T, F> Drop for LazyLock<T, F> {
    fn drop(&mut self) {
        let settled = self.once.settled();
        self.content.with_mut(|content| match settled {
            // SAFETY: `make` was not called.
            Settled::Incomplete => unsafe { ManuallyDrop::drop(&mut (*content).make) },
            // SAFETY: `make` was called, so the value is there, and it is dropped this once.
            Settled::Complete => unsafe { ManuallyDrop::drop(&mut (*content).value) },
            // `make` was called, and gave no value.
            Settled::Poisoned => {}
        });
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;
    /// # Panics
    /// As [`force`](Self::force).
    #[inline]
    fn deref(&self) -> &T {
        Self::force(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_tuple("LazyLock");
        if self.once.is_completed() {
            // SAFETY: it is complete, so the value is there.
            all.field(self.content.with(|content| unsafe { &*(*content).value }));
        } else {
            all.field(&format_args!("<uninit>"));
        }
        all.finish()
    }
}
