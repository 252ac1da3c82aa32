//! The payload of a panic: a value of the program's, with a note of what the platform has told.

use alloc::boxed::Box;
use core::any::Any;
use core::fmt;

/// The payload of a panic: in [`JoinError::Panicked`](crate::join::JoinError::Panicked).
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
    /// [`resume_unwind`](crate::panic::resume_unwind) throws without a word.
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

/// Returns the string in a panic's payload, if it is one.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::join::panic_message;
/// let payload = panic::catch_unwind(|| panic!("{} ways", 2)).unwrap_err();
/// assert_eq!(panic_message(&*payload), Some("2 ways"));
/// # });
/// ```
pub fn panic_message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<alloc::string::String>().map(|s| s.as_str()))
}

/// The payload of [`exit_g`](crate::exit_g)'s unwinding.
pub(crate) struct ExitG;

/// Returns true if this is the payload of [`exit_g`](crate::exit_g)'s unwinding.
pub fn is_exit(payload: &(dyn Any + Send)) -> bool {
    payload.is::<ExitG>()
}
