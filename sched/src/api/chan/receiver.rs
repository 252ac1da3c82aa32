//! The receiving end.

use alloc::sync::Arc;
use core::fmt;
use core::panic::{RefUnwindSafe, UnwindSafe};

use super::Shared;
use super::channel::Channel;
use super::errors::{RecvError, RecvTimeoutError, TryRecvError};
use super::iter::{IntoIter, Iter, TryIter};
use crate::api::time::{Duration, Instant};
use crate::machine::sync::Ordering;

/// The receiving end. Clones share the channel, and each value goes to one of them. When the last
/// receiver is dropped, the channel is closed.
///
/// # Examples
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(4);
/// drop(go(move || (0..10).for_each(|i| tx.send(i).unwrap())));
/// for (expected, got) in rx.iter().enumerate() {
///     assert_eq!(got, expected);
/// }
/// # });
/// ```
pub struct Receiver<T>(pub(super) Arc<Shared<T>>);

impl<T> Receiver<T> {
    pub(super) fn channel(&self) -> &Channel<T> {
        &self.0.channel
    }

    /// Receives a value; parks while there is none.
    ///
    /// # Errors
    /// The channel is empty and closed.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(0);
    /// let sender = go(move || tx.send(5).unwrap());
    /// assert_eq!(rx.recv(), Ok(5));
    /// sender.join().unwrap();
    /// assert!(rx.recv().is_err());
    /// # });
    /// ```
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.channel.recv()
    }

    /// Receives a value only if that needs no waiting.
    ///
    /// # Errors
    /// No value is there, or the channel is empty and closed.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded::<u8>(1);
    /// assert!(rx.try_recv().unwrap_err().is_empty());
    /// drop(tx);
    /// assert!(rx.try_recv().unwrap_err().is_disconnected());
    /// # });
    /// ```
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.channel.try_recv()
    }

    /// Receives a value; parks for at most `timeout` while there is none.
    ///
    /// # Errors
    /// The time is over, or the channel is empty and closed.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (_tx, rx) = chan::bounded::<u8>(0);
    /// assert!(rx.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    /// # });
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_deadline(Instant::now() + timeout)
    }

    /// Receives a value; parks until the clock has reached `deadline` at most. A deadline that has
    /// passed: receives only if that needs no waiting.
    ///
    /// # Errors
    /// The deadline came first, or the channel is empty and closed.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// tx.send(1).unwrap();
    /// assert_eq!(rx.recv_deadline(Instant::now()), Ok(1));
    /// # });
    /// ```
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.0.channel.recv_deadline(deadline)
    }

    /// Receives until the channel is empty and closed; parks while it is only empty.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::unbounded();
    /// (0..4).for_each(|i| tx.send(i).unwrap());
    /// assert!(rx.try_iter().eq(0..4)); // would not wait for a fifth
    /// drop(tx);
    /// assert_eq!(rx.iter().count(), 0);
    /// # });
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Receives until nothing is there; never parks.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(4);
    /// (0..3).for_each(|n| tx.send(n).unwrap());
    /// assert_eq!(rx.try_iter().count(), 3);
    /// assert_eq!(rx.try_iter().count(), 0);
    /// # });
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }

    /// Returns the number of values in the channel. Values of senders that wait do not count; a
    /// channel of the clock holds one when that is due.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(2);
    /// tx.send('a').unwrap();
    /// assert_eq!((rx.len(), rx.is_empty(), rx.is_full(), rx.capacity()), (1, false, false, Some(2)));
    /// assert!(rx.same_channel(&rx.clone()));
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
    /// assert!(rx.is_empty());
    /// tx.send(1).unwrap();
    /// assert!(!rx.is_empty());
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
    /// assert!(rx.is_full());
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
    /// assert_eq!(rx.capacity(), Some(3));
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
    /// assert!(rx.same_channel(&rx.clone()));
    /// # drop((tx, rx));
    /// # });
    /// ```
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        // Relaxed: an end exists, so the count can't reach zero meanwhile.
        self.0.receivers.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // AcqRel: the last one closes after all that the others did.
        if self.0.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.channel.close();
            // Nobody can receive the values that are left.
            self.0.channel.drain();
        }
    }
}

impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver { .. }")
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}
