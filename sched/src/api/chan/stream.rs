//! A receiver as a stream, for futures.
//!
//! ```text
//!   poll:  try_recv ── a value, or closed: ready            a watcher: a goroutine that parks as one who only watches (`wait/list.rs`)
//!          nothing: the waker into the slot;                   something can be received: takes the waker out of the slot, wakes it, ends
//!          if nobody watches, a watcher starts                 the stream is dropped:     ends
//! ```
//!
//! A waker is anybody's code, which may lock, allocate and park. A sender has the channel's lock,
//! or has just released it and has preemption off, so it can't call such code. Therefore a
//! goroutine calls the waker, as for a [`delay`](crate::time::delay): one goroutine for each wait,
//! none for a poll that finds a value.
//!
//! The watcher takes nothing. A stream that is dropped after its wake-up has no value with it. A
//! receiver that waits behind the watcher is not passed over: the first to come has the value, and
//! a poll that comes too late waits again. The price is that of every watcher: on a `bounded(0)`, a
//! `try_send` does not meet a stream that waits. A `send` parks until the stream is polled.
//!
//! * **INV-WATCHED**: the slot says `watched` while there is a watcher that will look into it. To
//!   look, it clears the mark and takes the waker in one step, under the slot's lock.
//! * The watcher is no receiver: it holds the channel, but when the stream goes and was the last
//!   receiver, the channel is closed at once.
//!
//! **The hard race** is a value that comes between the poll's look and the watcher's wait: the
//! watcher looks itself before it waits, under the channel's lock. A poll with another waker may
//! come while the watcher is on its way to the slot. Either the poll puts the new waker there in
//! time, or it finds that nobody watches and starts another watcher. A wake-up may come for
//! nothing; none is lost.
//!
//! Rejected: the waker in the waiter's node. Its call would have to wait until the popper is out of
//! lock and guard, and every send would have to look for that.

use alloc::sync::Arc;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use futures_core::{FusedStream, Stream};

use super::arms::watch;
use super::errors::TryRecvError;
use super::{Receiver, Sender, Shared, bounded};
use crate::api::spawn::Builder;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;

/// A receiver as a [`Stream`]: it ends when the channel is empty and closed. Made by
/// [`Receiver::stream`] and [`Receiver::into_stream`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use futures_util::StreamExt;
///
/// let (tx, rx) = chan::bounded(0);
/// drop(go(move || (1..=3).for_each(|n| tx.send(n).unwrap())));
/// let sum = task::block_on(rx.into_stream().fold(0, async |sum, n| sum + n));
/// assert_eq!(sum, 6);
/// # });
/// ```
#[must_use = "a stream does nothing until it is polled"]
pub struct RecvStream<T> {
    from: Receiver<T>,
    /// From the first poll on that has found nothing.
    waits: Option<Waits>,
    ended: bool,
}

struct Waits {
    slot: Arc<Slot>,
    /// Closes `gone`, with the stream.
    _here: Sender<()>,
    gone: Receiver<()>,
}

/// The waker to call.
struct Slot(SpinLock<Waiting>);

struct Waiting {
    waker: Option<Waker>,
    watched: bool,
}

impl Slot {
    /// Runs `f` under the lock. The old waker goes to the caller: it is called and dropped with no
    /// lock held.
    fn with<R>(&self, f: impl FnOnce(&mut Waiting) -> R) -> R {
        f(&mut self.0.lock(&PreemptGuard::new()))
    }
}

/// The work of a watcher.
pub struct Watch<T> {
    shared: Arc<Shared<T>>,
    slot: Arc<Slot>,
    gone: Receiver<()>,
}

impl<T> Watch<T> {
    /// Waits until there is something for the stream, or it is gone; then calls the stream's waker.
    pub fn run(self) {
        watch(&self.shared.channel, &self.gone);
        let waker = self.slot.with(|waiting| {
            waiting.watched = false;
            waiting.waker.take()
        });
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<T> Receiver<T> {
    /// Returns a stream of the channel's values: of those that other receivers, this one among
    /// them, do not take.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use futures_util::StreamExt;
    ///
    /// let (tx, rx) = chan::unbounded();
    /// (0..3).for_each(|n| tx.send(n).unwrap());
    /// let (first, mut stream) = (rx.recv().unwrap(), rx.stream());
    /// assert_eq!((first, task::block_on(stream.next())), (0, Some(1)));
    /// assert_eq!(rx.recv(), Ok(2));
    /// # });
    /// ```
    pub fn stream(&self) -> RecvStream<T> {
        self.clone().into_stream()
    }

    /// Returns this receiver as a stream.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use futures_util::StreamExt;
    ///
    /// let ticks = chan::tick(Duration::from_millis(1)).into_stream();
    /// assert_eq!(task::block_on(ticks.take(3).count()), 3);
    /// # });
    /// ```
    pub fn into_stream(self) -> RecvStream<T> {
        RecvStream { from: self, waits: None, ended: false }
    }
}

impl<T> RecvStream<T> {
    /// Polls; `start` gets the watcher that the poll needs.
    pub(crate) fn poll_with(&mut self, context: &mut Context<'_>, start: impl FnOnce(Watch<T>)) -> Poll<Option<T>> {
        match self.from.try_recv() {
            Ok(value) => return Poll::Ready(Some(value)),
            Err(TryRecvError::Disconnected) => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Err(TryRecvError::Empty) => {}
        }
        let waits = self.waits.get_or_insert_with(|| {
            let (here, gone) = bounded(0);
            let slot = Arc::new(Slot(SpinLock::new(Waiting { waker: None, watched: false })));
            Waits { slot, _here: here, gone }
        });
        let waker = Some(context.waker().clone());
        let (before, watched) = waits.slot.with(|waiting| {
            (core::mem::replace(&mut waiting.waker, waker), core::mem::replace(&mut waiting.watched, true))
        });
        drop(before);
        if !watched {
            let (shared, slot, gone) = (self.from.0.clone(), waits.slot.clone(), waits.gone.clone());
            start(Watch { shared, slot, gone });
        }
        Poll::Pending
    }
}

/// # Panics
/// A poll that finds nothing needs a goroutine that watches: when there is no memory for it.
impl<T: Send + 'static> Stream for RecvStream<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_with(context, |watch| {
            let slot = watch.slot.clone();
            if let Err(error) = Builder::new().name("watcher of a stream").spawn(move || watch.run()) {
                // A later poll tries again.
                slot.with(|waiting| waiting.watched = false);
                panic!("poll of a receiver's stream: {error}");
            }
        })
    }
}

impl<T: Send + 'static> FusedStream for RecvStream<T> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<T> Drop for RecvStream<T> {
    fn drop(&mut self) {
        if let Some(waits) = &self.waits {
            drop(waits.slot.with(|waiting| waiting.waker.take()));
        }
    }
}

impl<T> fmt::Debug for RecvStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}
