//! How the life of a G ended, as its joiner learns it.

use core::fmt;

use super::Cause;
use crate::machine::payload::Payload;

/// The reason why a G has no result. Can be shared, so `?` turns it into a `Box<dyn Error + Send +
/// Sync>`.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// match go(|| panic!("no")).join() {
///     Ok(()) => unreachable!(),
///     Err(JoinError::Panicked(payload)) => assert_eq!(payload.downcast_ref(), Some(&"no")),
///     Err(other) => println!("{other}"),
/// }
/// # });
/// ```
#[non_exhaustive]
pub enum JoinError {
    /// The G panicked; the payload is the value that `panic!` threw. (If a destructor panicked
    /// during the unwinding, the payload is that second value, and the frames were abandoned.)
    Panicked(Payload),
    /// The G called [`exit_g`](crate::exit_g).
    Exited,
    /// The G's stack used up its window. Its frames were abandoned: no destructor of theirs has
    /// run.
    StackOverflow,
    /// The G's stack could not grow: no memory was left. Its frames were abandoned.
    OutOfMemory,
    /// The G touched the stack of a G that had ended. Its frames were abandoned.
    DeadStack,
}

impl JoinError {
    /// Returns the error of a G that was ended where it stood. None: that end is known already.
    pub(crate) fn of(cause: Cause) -> Option<Self> {
        match cause {
            Cause::StackOverflow => Some(Self::StackOverflow),
            Cause::OutOfMemory => Some(Self::OutOfMemory),
            Cause::DeadStack => Some(Self::DeadStack),
            Cause::Panicked => None,
        }
    }

    /// Returns the panic's message, if it was a string.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let error = go(|| panic!("no")).join().unwrap_err();
    /// assert_eq!(error.message(), Some("no"));
    /// # });
    /// ```
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Panicked(payload) => payload.message(),
            _ => None,
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Not escaped: that would bring Unicode's tables into every image.
            Self::Panicked(_) => write!(f, "Panicked(\"{}\")", self.message().unwrap_or("(no message)")),
            Self::Exited => f.write_str("Exited"),
            Self::StackOverflow => f.write_str("StackOverflow"),
            Self::OutOfMemory => f.write_str("OutOfMemory"),
            Self::DeadStack => f.write_str("DeadStack"),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.message()) {
            (Self::Exited, _) => f.write_str("the goroutine exited without a result"),
            (Self::StackOverflow, _) => f.write_str("the goroutine's stack overflowed"),
            (Self::OutOfMemory, _) => f.write_str("no memory was left for the goroutine's stack"),
            (Self::DeadStack, _) => f.write_str("the goroutine touched the stack of one that had ended"),
            (Self::Panicked(_), Some(message)) => write!(f, "the goroutine panicked: {message}"),
            (Self::Panicked(_), None) => f.write_str("the goroutine panicked"),
        }
    }
}

impl core::error::Error for JoinError {}
