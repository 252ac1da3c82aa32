//! The payload of a panic, and the scheduler's way to drop values of the program's.
//!
//! A payload is anybody's value, and so is a result that nobody wants: their destructors may panic.
//! Where a program drops one, that is a panic like any other. Where the scheduler does it in the
//! program's place (a handle is dropped, a goroutine ends), nobody expects one. So there the
//! destructor runs inside a catch ([`drop_caught`]); its panic is reported, and the goroutine goes
//! on.

use alloc::boxed::Box;
use core::any::Any;
use core::fmt;
use core::mem::{ManuallyDrop, needs_drop};

use super::panic_message;
use crate::api::spawn::is_exit;
use crate::g::GRef;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;

/// How many payloads in a row may panic when they are dropped. The next one is leaked.
const PATIENCE: usize = 4;

/// The payload of a panic: in [`JoinError::Panicked`](crate::api::join::JoinError::Panicked).
///
/// A payload can be shared between goroutines, although the value in it need not be. A shared
/// payload gives its message and values that can be shared themselves. All others need the payload
/// itself: [`into_inner`](Self::into_inner).
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::panic::Payload;
/// let Err(JoinError::Panicked(payload)) = go(|| panic!("no")).join() else { unreachable!() };
/// let payload: Payload = payload;
/// assert_eq!(payload.message(), Some("no"));
/// # });
/// ```
pub struct Payload {
    thrown: Box<dyn Any + Send>,
    /// The platform has said something about this panic when it began.
    is_told: bool,
}

// SAFETY: a shared reference gives access to strings and to `T: Sync` only, and to the value's
// type.
unsafe impl Sync for Payload {}

impl Payload {
    /// Makes a payload from the value that a panic threw. For platforms: `is_told` says that they
    /// have told of the panic when it began.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::panic::Payload;
    /// assert_eq!(Payload::new(Box::new("no"), false).message(), Some("no"));
    /// # });
    /// ```
    pub fn new(thrown: Box<dyn Any + Send>, is_told: bool) -> Self {
        Self { thrown, is_told }
    }

    /// Returns the value that was thrown.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let Err(JoinError::Panicked(payload)) = go(|| panic!("no")).join() else { unreachable!() };
    /// // The same panic goes on in another goroutine.
    /// let again = go(|| panic::resume_unwind(payload.into_inner())).join();
    /// assert_eq!(again.map(|()| 0).unwrap_err().message(), Some("no"));
    /// # });
    /// ```
    pub fn into_inner(self) -> Box<dyn Any + Send> {
        self.thrown
    }

    /// Returns the value that was thrown, if it is a `T`.
    ///
    /// # Errors
    /// The value is something else; the payload comes back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// struct Code(i32);
    /// let thrown = go(|| panic::resume_unwind(Box::new(Code(7)))).join();
    /// let Err(JoinError::Panicked(payload)) = thrown else { unreachable!() };
    /// assert_eq!(payload.downcast::<Code>().unwrap().0, 7);
    /// # });
    /// ```
    pub fn downcast<T: Any>(self) -> Result<Box<T>, Self> {
        let Self { thrown, is_told } = self;
        thrown.downcast().map_err(|thrown| Self { thrown, is_told })
    }

    /// Returns true if a `T` was thrown.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let Err(JoinError::Panicked(payload)) = go(|| panic!("no")).join() else { unreachable!() };
    /// assert!(payload.is::<&str>());
    /// # });
    /// ```
    pub fn is<T: Any>(&self) -> bool {
        self.thrown.is::<T>()
    }

    /// Returns the thrown value, if it is a `T`: by reference, so it must be a type that can be
    /// shared.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let Err(JoinError::Panicked(payload)) = go(|| panic!("no")).join() else { unreachable!() };
    /// assert_eq!(payload.downcast_ref(), Some(&"no"));
    /// # });
    /// ```
    pub fn downcast_ref<T: Any + Sync>(&self) -> Option<&T> {
        self.thrown.downcast_ref()
    }

    /// Returns the value that was thrown, if it is a `T`.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::Cell;
    /// let thrown = go(|| panic::resume_unwind(Box::new(Cell::new(7)))).join();
    /// let Err(JoinError::Panicked(mut payload)) = thrown else { unreachable!() };
    /// assert_eq!(payload.downcast_mut::<Cell<i32>>().map(|cell| cell.get()), Some(7));
    /// # });
    /// ```
    pub fn downcast_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.thrown.downcast_mut()
    }

    /// Returns the panic's message, if a string was thrown.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let Err(JoinError::Panicked(payload)) = go(|| panic!("{} ways", 2)).join() else { unreachable!() };
    /// assert_eq!(payload.message(), Some("2 ways"));
    /// # });
    /// ```
    pub fn message(&self) -> Option<&str> {
        panic_message(&*self.thrown)
    }

    /// Returns true if the platform has told of this panic when it began:
    /// [`resume_unwind`](super::resume_unwind) throws without a word.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let thrown = go(|| panic::resume_unwind(Box::new("no"))).join();
    /// let Err(JoinError::Panicked(payload)) = thrown else { unreachable!() };
    /// assert!(!payload.is_told());
    /// # });
    /// ```
    pub fn is_told(&self) -> bool {
        self.is_told
    }

    /// Returns true if this is the payload of [`exit_g`](crate::exit_g)'s unwinding.
    pub(crate) fn is_exit(&self) -> bool {
        is_exit(&*self.thrown)
    }
}

impl From<Payload> for Box<dyn Any + Send> {
    fn from(payload: Payload) -> Self {
        payload.into_inner()
    }
}

/// Its message: the value in it can't be shown.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not escaped: that would bring Unicode's tables into every image.
        write!(f, "Payload(\"{}\")", self.message().unwrap_or("(no message)"))
    }
}

/// The G that calls.
fn here() -> GRef {
    crate::core::park::current_g(&PreemptGuard::new())
}

/// Drops `value`, which is the program's. Its destructor may panic, and that panic comes back.
fn try_drop<T>(value: T) -> Result<(), Payload> {
    let mut value = ManuallyDrop::new(value);
    // SAFETY: 1. it is not dropped again.
    unsafe { try_drop_at(&raw mut *value) }
}

/// As [`try_drop`], where the value lies.
///
/// # Safety
/// 1. `place` points to a `T` that is not used again.
unsafe fn try_drop_at<T>(place: *mut T) -> Result<(), Payload> {
    unsafe fn drop_at<T>(value: *mut ()) {
        // SAFETY: `try_drop_at` passes its value, which is dropped only here.
        unsafe { value.cast::<T>().drop_in_place() };
    }
    // SAFETY: 1. `drop_at` drops a `T`, once.
    unsafe { platform::catch_inside(drop_at::<T>, place.cast()) }
}

/// Drops `value`, which is the program's, for the scheduler: a panic of its destructor is reported
/// and ends there. On a G, with preemption on.
#[inline]
pub(crate) fn drop_caught<T>(value: T) {
    if needs_drop::<T>()
        && let Err(payload) = try_drop(value)
    {
        report_unjoined(payload, here().id());
    }
}

/// As [`drop_caught`], where the value lies.
///
/// # Safety
/// 1. `place` points to a `T` that is not used again.
pub(crate) unsafe fn drop_caught_at<T>(place: *mut T) {
    if needs_drop::<T>()
        // SAFETY: 1.
        && let Err(payload) = unsafe { try_drop_at(place) }
    {
        report_unjoined(payload, here().id());
    }
}

/// Tells of a panic of G number `id` that nobody will see otherwise, and drops its payload.
#[cold]
#[inline(never)]
pub(crate) fn report_unjoined(payload: Payload, id: u64) {
    let (mut payload, mut id) = (payload, id);
    for _ in 0..PATIENCE {
        if !payload.is_exit() {
            platform::unjoined_panic(id, &payload);
        }
        let g = here();
        if g.is_doomed() {
            // On a g0 nothing of the program's runs. The payload is leaked, like all that the G
            // had.
            break;
        }
        match try_drop(payload.thrown) {
            Ok(()) => return,
            Err(next) => (payload, id) = (next, g.id()),
        }
    }
    core::mem::forget(payload);
}
