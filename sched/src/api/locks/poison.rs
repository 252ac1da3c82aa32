//! Poisoning, as `std` has it: a G that panicked while it held a lock leaves a mark behind, and its
//! successors learn of it.

use core::fmt;
use core::ops::Deref;

use crate::machine::platform;
use crate::machine::sync::{AtomicBool, Ordering};

/// A lock's mark. Relaxed throughout: it is written before the unlock that the reader's lock pairs
/// with.
#[derive(Debug)]
pub(crate) struct Poison(AtomicBool);

/// True if the G unwound already when it took the lock: that panic does not poison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unwinding(bool);

impl Poison {
    crate::const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self(AtomicBool::new(false))
        }
    }

    /// Notes at lock whether the G unwinds: to be kept in the guard.
    #[inline(always)]
    pub(crate) fn enter() -> Unwinding {
        Unwinding(platform::panicking())
    }

    /// Sets the mark at unlock, with the lock still held, if need be.
    #[inline(always)]
    pub(crate) fn leave(&self, entered: Unwinding) {
        if !entered.0 && platform::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Returns `guard`, or the error with it inside.
    #[inline(always)]
    pub(crate) fn check<G>(&self, guard: G) -> LockResult<G> {
        if self.get() { Err(PoisonError::new(guard)) } else { Ok(guard) }
    }
}

/// A G panicked while it held the lock. The guard is inside: the value is there, but may be half
/// changed.
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
/// let error = lock.lock().unwrap_err();
/// assert_eq!(*error.into_inner(), 1);
/// # });
/// ```
pub struct PoisonError<G> {
    guard: G,
}

impl<G> PoisonError<G> {
    /// Makes an error around `guard`.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(sync::PoisonError::new(5).into_inner(), 5);
    /// # });
    /// ```
    pub fn new(guard: G) -> Self {
        Self { guard }
    }

    /// Returns the guard.
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
    /// let guard = lock.lock().unwrap_or_else(|error| error.into_inner());
    /// assert_eq!(*guard, 1);
    /// # });
    /// ```
    pub fn into_inner(self) -> G {
        self.guard
    }

    /// Returns the guard, by reference.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(sync::PoisonError::new(5).get_ref(), &5);
    /// # });
    /// ```
    pub fn get_ref(&self) -> &G {
        &self.guard
    }

    /// Returns the guard, by mutable reference.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let mut error = sync::PoisonError::new(5);
    /// *error.get_mut() += 1;
    /// assert_eq!(error.into_inner(), 6);
    /// # });
    /// ```
    pub fn get_mut(&mut self) -> &mut G {
        &mut self.guard
    }
}

impl<G> fmt::Debug for PoisonError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoisonError { .. }")
    }
}

impl<G> fmt::Display for PoisonError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("poisoned lock: another goroutine panicked while it held it")
    }
}

impl<G> core::error::Error for PoisonError<G> {}

/// The reason why an attempt to lock gave no guard.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let mutex = sync::Mutex::new(1);
/// let _held = mutex.lock().unwrap();
/// match mutex.try_lock() {
///     Ok(_) => unreachable!(),
///     Err(sync::TryLockError::WouldBlock) => {}
///     Err(sync::TryLockError::Poisoned(error)) => panic!("{error}"),
/// }
/// # });
/// ```
pub enum TryLockError<G> {
    /// See [`PoisonError`].
    Poisoned(PoisonError<G>),
    /// A G holds the lock.
    WouldBlock,
}

impl<G> From<PoisonError<G>> for TryLockError<G> {
    fn from(error: PoisonError<G>) -> Self {
        Self::Poisoned(error)
    }
}

impl<G> fmt::Debug for TryLockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poisoned(_) => "Poisoned(..)",
            Self::WouldBlock => "WouldBlock",
        })
    }
}

impl<G> fmt::Display for TryLockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(error) => error.fmt(f),
            Self::WouldBlock => f.write_str("the lock is held, and taking it would wait"),
        }
    }
}

impl<G> core::error::Error for TryLockError<G> {}

/// The result of `lock`.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let lock = sync::Mutex::new(5);
/// let locked: sync::LockResult<sync::MutexGuard<'_, i32>> = lock.lock();
/// assert_eq!(*locked.unwrap(), 5);
/// # });
/// ```
pub type LockResult<G> = Result<G, PoisonError<G>>;

/// The result of `try_lock`.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let lock = sync::Mutex::new(5);
/// let held = lock.lock();
/// let tried: sync::TryLockResult<sync::MutexGuard<'_, i32>> = lock.try_lock();
/// assert!(matches!(tried, Err(sync::TryLockError::WouldBlock)));
/// # drop(held);
/// # });
/// ```
pub type TryLockResult<G> = Result<G, TryLockError<G>>;

/// Shows a lock: its value, if that can be had without waiting, and its mark.
pub(super) fn show<G: Deref<Target: fmt::Debug>>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    tried: TryLockResult<G>,
    poisoned: bool,
) -> fmt::Result {
    let mut all = f.debug_struct(name);
    match tried {
        Ok(guard) => all.field("data", &&*guard),
        Err(TryLockError::Poisoned(error)) => all.field("data", &&**error.get_ref()),
        Err(TryLockError::WouldBlock) => all.field("data", &format_args!("<locked>")),
    };
    all.field("poisoned", &poisoned).finish_non_exhaustive()
}
