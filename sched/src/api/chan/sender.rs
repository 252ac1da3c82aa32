//! The sending end.

use alloc::sync::Arc;
use core::fmt;
use core::panic::{RefUnwindSafe, UnwindSafe};

use super::Shared;
use super::channel::Channel;
use super::errors::{SendError, SendTimeoutError, TrySendError};
use crate::api::time::{Duration, Instant};
use crate::machine::sync::Ordering;

/// The sending end. Clones share the channel. When the last sender is dropped, the channel is
/// closed.
///
/// # Examples
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(0);
/// for i in 0..3 {
///     let tx = tx.clone();
///     drop(go(move || tx.send(i).unwrap()));
/// }
/// drop(tx);
/// assert_eq!(rx.iter().sum::<i32>(), 3);
/// # });
/// ```
pub struct Sender<T>(pub(super) Arc<Shared<T>>);

impl<T> Sender<T> {
    pub(super) fn channel(&self) -> &Channel<T> {
        &self.0.channel
    }

    /// Sends `value`; parks while there is no room (or, with capacity 0, no receiver).
    ///
    /// # Errors
    /// The channel is closed; the value comes back.
    ///
    /// # Panics
    /// When there is no memory for the block in which a value of more than 128 bytes travels. The
    /// value is dropped then, and the channel is as it was.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// assert_eq!(tx.send("a"), Ok(()));
    /// drop(rx);
    /// assert_eq!(tx.send("b").unwrap_err().into_inner(), "b");
    /// # });
    /// ```
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.channel.send(value)
    }

    /// Sends `value` only if that needs no waiting.
    ///
    /// # Errors
    /// No room (or no receiver that waits), or closed; the value comes back.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, _rx) = chan::bounded(1);
    /// assert!(tx.try_send(1).is_ok());
    /// assert!(tx.try_send(2).unwrap_err().is_full());
    /// # });
    /// ```
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.0.channel.try_send(value)
    }

    /// Sends `value`; parks for at most `timeout` while there is no room (or, with capacity 0, no
    /// receiver).
    ///
    /// # Errors
    /// The time is over, or the channel is closed; the value comes back.
    ///
    /// # Panics
    /// As [`send`](Self::send); and when there is no memory for the timer.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, _rx) = chan::bounded(0);
    /// assert!(tx.send_timeout(1, Duration::from_millis(1)).unwrap_err().is_timeout());
    /// # });
    /// ```
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_deadline(value, Instant::now() + timeout)
    }

    /// Sends `value`; parks until the clock has reached `deadline` at most. A deadline that has
    /// passed: sends only if that needs no waiting.
    ///
    /// # Errors
    /// The deadline came first, or the channel is closed; the value comes back.
    ///
    /// # Panics
    /// As [`send_timeout`](Self::send_timeout).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, _rx) = chan::bounded(0);
    /// assert!(tx.send_deadline(1, Instant::now()).is_err());
    /// # });
    /// ```
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.0.channel.send_deadline(value, deadline)
    }

    /// Closes the channel, as Go's `close`: receivers get the values in it and then an error,
    /// senders get an error. A second call does nothing.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(3);
    /// tx.send(1).unwrap();
    /// tx.close();
    /// assert!(tx.send(2).is_err());
    /// assert!(rx.iter().eq([1]));
    /// # });
    /// ```
    pub fn close(&self) {
        self.0.channel.close();
    }

    /// Returns the number of values in the channel. Values of senders that wait do not count.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, _rx) = chan::unbounded();
    /// tx.send('a').unwrap();
    /// assert_eq!((tx.len(), tx.is_empty(), tx.is_full(), tx.capacity()), (1, false, false, None));
    /// # });
    /// ```
    pub fn len(&self) -> usize {
        self.0.channel.len()
    }

    /// Returns true if no value is in the channel.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(2);
    /// assert!(tx.is_empty());
    /// tx.send(1).unwrap();
    /// assert!(!tx.is_empty());
    /// # drop(rx);
    /// # });
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if the channel holds as many values as it can. Always, for capacity 0.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(1).unwrap();
    /// assert!(tx.is_full());
    /// # drop(rx);
    /// # });
    /// ```
    pub fn is_full(&self) -> bool {
        self.0.channel.is_full()
    }

    /// Returns the number of values that the channel can hold; `None`: any number.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded::<u8>(3);
    /// assert_eq!(tx.capacity(), Some(3));
    /// # drop((tx, rx));
    /// # });
    /// ```
    pub fn capacity(&self) -> Option<usize> {
        self.0.channel.capacity()
    }

    /// Returns true if both are ends of one channel.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded::<u8>(3);
    /// assert!(tx.same_channel(&tx.clone()));
    /// # drop((tx, rx));
    /// # });
    /// ```
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        // Relaxed: an end exists, so the count can't reach zero meanwhile.
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // AcqRel: the last one closes after all that the others did.
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.channel.close();
        }
    }
}

// A panic leaves no channel half changed: none can happen while the lock is held.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender { .. }")
    }
}
