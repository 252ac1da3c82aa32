//! Errors of channel operations; names and texts as in `crossbeam-channel`. A value that was not
//! sent comes back.

use core::error::Error;
use core::fmt;

/// The channel is closed.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(1);
/// drop(rx);
/// assert_eq!(tx.send("back"), Err(chan::SendError("back")));
/// # });
/// ```
#[derive(PartialEq, Eq, Clone, Copy)]
pub struct SendError<T>(pub T);

/// The value could not be sent without waiting.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(1);
/// tx.send(1).unwrap();
/// assert_eq!(tx.try_send(2), Err(chan::TrySendError::Full(2)));
/// drop(rx);
/// assert_eq!(tx.try_send(3), Err(chan::TrySendError::Disconnected(3)));
/// # });
/// ```
#[derive(PartialEq, Eq, Clone, Copy)]
pub enum TrySendError<T> {
    /// No room, or, with capacity 0, no receiver that waits.
    Full(T),
    /// The channel is closed.
    Disconnected(T),
}

/// The value could not be sent before the deadline.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, _rx) = chan::bounded(0);
/// assert_eq!(tx.send_timeout(1, Duration::from_millis(1)), Err(chan::SendTimeoutError::Timeout(1)));
/// # });
/// ```
#[derive(PartialEq, Eq, Clone, Copy)]
pub enum SendTimeoutError<T> {
    /// The deadline came first.
    Timeout(T),
    /// The channel is closed.
    Disconnected(T),
}

/// The channel is empty and closed.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded::<u8>(1);
/// drop(tx);
/// assert_eq!(rx.recv(), Err(chan::RecvError));
/// # });
/// ```
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct RecvError;

/// No value before the deadline.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (_tx, rx) = chan::bounded::<u8>(1);
/// assert_eq!(rx.recv_timeout(Duration::from_millis(1)), Err(chan::RecvTimeoutError::Timeout));
/// # });
/// ```
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum RecvTimeoutError {
    /// The deadline came first.
    Timeout,
    /// The channel is empty and closed.
    Disconnected,
}

/// No value without waiting.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded::<u8>(1);
/// assert_eq!(rx.try_recv(), Err(chan::TryRecvError::Empty));
/// drop(tx);
/// assert_eq!(rx.try_recv(), Err(chan::TryRecvError::Disconnected));
/// # });
/// ```
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum TryRecvError {
    /// No value is there.
    Empty,
    /// The channel is empty and closed.
    Disconnected,
}

/// No operation of a select could be done without waiting.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (_tx, rx) = chan::bounded::<u8>(1);
/// let mut list = select::Select::new();
/// list.recv(&rx);
/// assert!(list.try_select().is_err());
/// # });
/// ```
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct TrySelectError;

/// No operation of a select could be done before the deadline.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (_tx, rx) = chan::bounded::<u8>(1);
/// let mut list = select::Select::new();
/// list.recv(&rx);
/// assert!(list.select_timeout(Duration::from_millis(1)).is_err());
/// # });
/// ```
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct SelectTimeoutError;

/// No operation of a select was ready.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (_tx, rx) = chan::bounded::<u8>(1);
/// let mut list = select::Select::new();
/// list.recv(&rx);
/// assert!(list.try_ready().is_err());
/// # });
/// ```
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct TryReadyError;

/// No operation of a select became ready before the deadline.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (_tx, rx) = chan::bounded::<u8>(1);
/// let mut list = select::Select::new();
/// list.recv(&rx);
/// assert!(list.ready_timeout(Duration::from_millis(1)).is_err());
/// # });
/// ```
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct ReadyTimeoutError;

impl<T> SendError<T> {
    /// Returns the value.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(chan::SendError(5).into_inner(), 5);
    /// # });
    /// ```
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> TrySendError<T> {
    /// Returns the value.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(chan::TrySendError::Full(5).into_inner(), 5);
    /// # });
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Disconnected(value) => value,
        }
    }

    /// Returns true if there was no room.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert!(chan::TrySendError::Full(5).is_full());
    /// # });
    /// ```
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Returns true if the channel is closed.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert!(!chan::TrySendError::Full(5).is_disconnected());
    /// # });
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected(_))
    }
}

impl<T> SendTimeoutError<T> {
    /// Returns the value.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(chan::SendTimeoutError::Timeout(5).into_inner(), 5);
    /// # });
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            Self::Timeout(value) | Self::Disconnected(value) => value,
        }
    }

    /// Returns true if the deadline came first.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert!(chan::SendTimeoutError::Timeout(5).is_timeout());
    /// # });
    /// ```
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// Returns true if the channel is closed.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert!(chan::SendTimeoutError::Disconnected(5).is_disconnected());
    /// # });
    /// ```
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected(_))
    }
}

impl TryRecvError {
    /// Returns true if there was no value, in an open channel.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert!(chan::TryRecvError::Empty.is_empty());
    /// # });
    /// ```
    pub fn is_empty(&self) -> bool {
        *self == Self::Empty
    }

    /// Returns true if the channel is empty and closed.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert!(chan::TryRecvError::Disconnected.is_disconnected());
    /// # });
    /// ```
    pub fn is_disconnected(&self) -> bool {
        *self == Self::Disconnected
    }
}

impl RecvTimeoutError {
    /// Returns true if the deadline came first.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert!(chan::RecvTimeoutError::Timeout.is_timeout());
    /// # });
    /// ```
    pub fn is_timeout(&self) -> bool {
        *self == Self::Timeout
    }

    /// Returns true if the channel is empty and closed.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert!(!chan::RecvTimeoutError::Timeout.is_disconnected());
    /// # });
    /// ```
    pub fn is_disconnected(&self) -> bool {
        *self == Self::Disconnected
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "Full(..)" } else { "Disconnected(..)" })
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendTimeoutError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sending on a disconnected channel")
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "sending on a full channel" } else { "sending on a disconnected channel" })
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_timeout() {
            "timed out waiting on send operation"
        } else {
            "sending on a disconnected channel"
        })
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("receiving on an empty and disconnected channel")
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "receiving on an empty channel",
            Self::Disconnected => "receiving on an empty and disconnected channel",
        })
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timed out waiting on receive operation",
            Self::Disconnected => "channel is empty and disconnected",
        })
    }
}

impl fmt::Display for TrySelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all operations in select would block")
    }
}

impl fmt::Display for SelectTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out waiting on select")
    }
}

impl fmt::Display for TryReadyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all operations in select would block")
    }
}

impl fmt::Display for ReadyTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out waiting on select")
    }
}

impl Error for TrySelectError {}
impl Error for SelectTimeoutError {}
impl Error for TryReadyError {}
impl Error for ReadyTimeoutError {}
impl<T> Error for SendError<T> {}
impl<T> Error for TrySendError<T> {}
impl<T> Error for SendTimeoutError<T> {}
impl Error for RecvError {}
impl Error for TryRecvError {}
impl Error for RecvTimeoutError {}

impl<T> From<SendError<T>> for TrySendError<T> {
    fn from(error: SendError<T>) -> Self {
        Self::Disconnected(error.0)
    }
}

impl<T> From<SendError<T>> for SendTimeoutError<T> {
    fn from(error: SendError<T>) -> Self {
        Self::Disconnected(error.0)
    }
}

impl From<RecvError> for RecvTimeoutError {
    fn from(_: RecvError) -> Self {
        Self::Disconnected
    }
}

impl From<RecvError> for TryRecvError {
    fn from(_: RecvError) -> Self {
        Self::Disconnected
    }
}
