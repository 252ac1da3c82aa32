//! Channels, as Go has them, with `crossbeam-channel`'s names.
//!
//! ```text
//!   Sender ──┐                                              ┌── Receiver
//!   Sender ──┼─▶ Shared { lock, ring, recvq, sendq, counts } ┼── Receiver
//!            └─── the last one closes, on either side ───────┘
//! ```
//!
//! A value goes from hand to hand where it can: a sender that finds a parked receiver writes into that receiver's stack and readies
//! it (into `runnext`, so that it runs next on this core); a receiver that finds a parked sender takes from that one. Only
//! otherwise does a value enter the ring, and only with no room does a G park. `bounded(0)` has no room at all: a rendezvous.
//!
//! # Closed and disconnected
//!
//! The two words mean one state, which a channel enters once: by [`Sender::close`] (Go's `close`), or when the last handle of
//! either side is dropped. From then on a send fails and gives its value back, and receivers get what is in the ring and then an error. G's
//! that wait are woken: a waiting sender gets its value back (Go panics there). Values that nobody can receive any more, because the last
//! receiver is gone, are dropped with it.
//!
//! The flavour is in `chan/bounded.rs`; it is guarded by one spin lock, held for a few dozen instructions; a G that parks gives it to
//! `commit`. A handle may be used by several G's at once.

mod bounded;
mod errors;

use alloc::sync::Arc;
use core::fmt;
use core::iter::FusedIterator;
use core::panic::{RefUnwindSafe, UnwindSafe};

pub use errors::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};

use crate::sync::{AtomicUsize, Ordering};
use crate::time::{Duration, Instant};
use bounded::Bounded;

/// What both ends share: the channel, and how many ends there are.
struct Shared<T> {
    chan: Bounded<T>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// A channel that holds `capacity` values; 0 makes every send wait for its receive.
///
/// # Panics
/// If the capacity does not fit in memory.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared =
        Arc::new(Shared { chan: Bounded::new(capacity), senders: AtomicUsize::new(1), receivers: AtomicUsize::new(1) });
    (Sender(shared.clone()), Receiver(shared))
}

/// The sending end. Clones share the channel; when the last is dropped, it is closed.
pub struct Sender<T>(Arc<Shared<T>>);

/// The receiving end. Clones share the channel, and each value goes to one of them; when the last is dropped, it is closed.
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Sends `value`; parks while there is no room (or, with capacity 0, no receiver).
    ///
    /// # Errors
    /// The channel is closed; the value comes back.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.chan.send(value)
    }

    /// Sends `value` only if that needs no waiting.
    ///
    /// # Errors
    /// No room (or no receiver that waits), or closed; the value comes back.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.0.chan.try_send(value)
    }

    /// Sends `value`; parks for at most `timeout` while there is no room (or, with capacity 0, no receiver).
    ///
    /// # Errors
    /// The time is over, or the channel is closed; the value comes back.
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_deadline(value, Instant::now() + timeout)
    }

    /// The same, until the clock has reached `deadline`. One that has passed: only if that needs no waiting.
    ///
    /// # Errors
    /// The deadline came first, or the channel is closed; the value comes back.
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.0.chan.send_deadline(value, deadline)
    }

    /// Closes the channel, as Go's `close`: receivers get what is in it and then an error, senders get an error. Again: does nothing.
    pub fn close(&self) {
        self.0.chan.close();
    }

    /// How many values are in it.
    pub fn len(&self) -> usize {
        self.0.chan.len()
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a send would have to wait for room. Always, for capacity 0.
    pub fn is_full(&self) -> bool {
        self.len() == self.0.chan.capacity()
    }

    /// How many values it holds.
    pub fn capacity(&self) -> Option<usize> {
        Some(self.0.chan.capacity())
    }

    /// Whether both are ends of one channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Receiver<T> {
    /// Receives a value; parks while there is none.
    ///
    /// # Errors
    /// The channel is empty and closed.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.chan.recv()
    }

    /// Receives a value only if that needs no waiting.
    ///
    /// # Errors
    /// None is there, or the channel is empty and closed.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.chan.try_recv()
    }

    /// Receives a value; parks for at most `timeout` while there is none.
    ///
    /// # Errors
    /// The time is over, or the channel is empty and closed.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_deadline(Instant::now() + timeout)
    }

    /// The same, until the clock has reached `deadline`. One that has passed: only if that needs no waiting.
    ///
    /// # Errors
    /// The deadline came first, or the channel is empty and closed.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.0.chan.recv_deadline(deadline)
    }

    /// Receives until the channel is empty and closed.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Receives until nothing is there; never parks.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }

    /// How many values are in it.
    pub fn len(&self) -> usize {
        self.0.chan.len()
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it holds as many values as it can. Always, for capacity 0.
    pub fn is_full(&self) -> bool {
        self.len() == self.0.chan.capacity()
    }

    /// How many values it holds.
    pub fn capacity(&self) -> Option<usize> {
        Some(self.0.chan.capacity())
    }

    /// Whether both are ends of one channel.
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

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        // Relaxed: as above.
        self.0.receivers.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // AcqRel: the last one closes after all that the others did.
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.chan.close();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // AcqRel: as above.
        if self.0.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.chan.close();
            // Nobody can receive what is left.
            while self.0.chan.try_recv().is_ok() {}
        }
    }
}

// A panic leaves no channel half changed: none can happen while the lock is held.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender { .. }")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver { .. }")
    }
}

/// Receives until the channel is empty and closed.
#[derive(Debug)]
pub struct Iter<'a, T>(&'a Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

/// As [`Iter`], with the receiver in it.
#[derive(Debug)]
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for IntoIter<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

/// Receives until nothing is there.
#[derive(Debug)]
pub struct TryIter<'a, T>(&'a Receiver<T>);

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

// A closed channel stays closed.
impl<T> FusedIterator for Iter<'_, T> {}
impl<T> FusedIterator for IntoIter<T> {}

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
