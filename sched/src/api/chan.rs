//! Channels, as Go has them, with `crossbeam-channel`'s names.
//!
//! ```text
//!   Sender ──┐                                               ┌── Receiver
//!   Sender ──┼─▶ Shared { lock, values, recvq, sendq, counts } ┼── Receiver
//!            └─── the last one closes, on either side ────────┘
//! ```
//!
//! A value goes from hand to hand where it can. A sender that finds a parked receiver writes into
//! the place which the receiver has ready. Then the sender readies the receiver (into the slot, so
//! that it runs next on this core). A receiver that finds a parked sender takes the value from that
//! sender. Only otherwise does a value enter the channel, and only with no room does a G park.
//!
//! | made by | flavour | a send waits | a receive waits |
//! |---|---|---|---|
//! | [`bounded(n)`](bounded) | `bounded.rs`: a ring | while `n` values are in it | while none is |
//! | [`bounded(0)`](bounded) | the same, without a ring | until a receiver takes the value | until a sender comes |
//! | [`unbounded()`](unbounded) | `unbounded.rs`: a chain of blocks | never | while none is in it |
//! | [`after`], [`at`], [`tick`] | `clock.rs`: no sender | | until the time has come |
//! | [`never()`](never()) | a channel without a sender | | for ever |
//!
//! A value of more than 128 bytes travels in a block of its own (`parcel.rs`). The sender fills the
//! block and the receiver empties it with no lock held. The common part of the flavours is in
//! `exchange.rs`; to wait for several channels, see [`select!`](crate::select!).
//!
//! # Closed and disconnected
//!
//! The two words mean one state, which a channel enters once: by [`Sender::close`] (Go's `close`),
//! or when the last handle of either side is dropped. From then on a send fails and gives its value
//! back, and receivers get what is in the channel and then an error. G's that wait are woken: a
//! waiting sender gets its value back (Go panics there). To close again does nothing (Go panics).
//! Values that nobody can receive any more, because the last receiver is gone, are dropped with it.
//! If the destructor of one panics, that panic goes on in the G that dropped the handle, after the
//! other values were dropped.
//!
//! A handle may be used by several G's at once, and sent to others.

mod arms;
mod bounded;
mod channel;
mod clock;
mod errors;
mod exchange;
mod iter;
mod parcel;
mod receiver;
mod reserve;
mod sender;
mod sides;
mod stream;
mod unbounded;

use alloc::sync::Arc;

pub use errors::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, SelectTimeoutError, SendError, SendTimeoutError, TryReadyError,
    TryRecvError, TrySelectError, TrySendError,
};
pub use iter::{IntoIter, Iter, TryIter};
pub use receiver::Receiver;
pub use sender::Sender;
pub use stream::RecvStream;
#[cfg(loom)]
pub use stream::Watch;

pub(crate) use self::exchange::State;
#[doc(hidden)]
pub use arms::{RecvArm, SendArm};
pub(crate) use arms::{WatchArm, box_recv, finish_recv};
#[doc(hidden)]
pub use sides::{MaybeRecvArm, MaybeSendArm, RecvSide, SendSide};

use self::channel::Channel;
use self::exchange::Exchange;
use crate::api::time::{Duration, Instant};
use crate::machine::sync::AtomicUsize;

/// The part that both ends share: the channel, and the number of ends.
struct Shared<T> {
    channel: Channel<T>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

fn pair<T>(channel: Channel<T>) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { channel, senders: AtomicUsize::new(1), receivers: AtomicUsize::new(1) });
    (Sender(shared.clone()), Receiver(shared))
}

fn only_receiver(exchange: Exchange<Instant>) -> Receiver<Instant> {
    let channel = Channel::of_clock(exchange);
    Receiver(Arc::new(Shared { channel, senders: AtomicUsize::new(0), receivers: AtomicUsize::new(1) }))
}

/// A channel that holds `capacity` values; 0 makes every send wait for its receive.
///
/// # Panics
/// If that many values do not fit in memory. (Of values of more than 128 bytes, if that many
/// pointers to them do not: see [`Sender::send`].)
///
/// # Examples
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(2);
/// tx.send("a").unwrap();
/// tx.send("b").unwrap(); // a third would wait
/// assert_eq!(rx.recv(), Ok("a"));
/// # });
/// ```
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    pair(Channel::bounded(capacity))
}

/// A channel that holds any number of values: a send never waits.
///
/// # Examples
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::unbounded();
/// (0..1000).for_each(|i| tx.send(i).unwrap());
/// drop(tx);
/// assert_eq!(rx.iter().sum::<i32>(), 499_500);
/// # });
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    pair(Channel::unbounded())
}

/// A channel that gives one value, the moment that lies `duration` ahead, when that has come. After
/// that it gives nothing, and is not closed either.
///
/// # Examples
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let begin = Instant::now();
/// let when = chan::after(Duration::from_millis(2)).recv().unwrap();
/// assert!(when >= begin + Duration::from_millis(2) && Instant::now() >= when);
/// # });
/// ```
pub fn after(duration: Duration) -> Receiver<Instant> {
    at(Instant::now() + duration)
}

/// A channel that gives one value, `when`, when that has come. [`Instant::NEVER`] does not come.
///
/// # Examples
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let when = Instant::now() + Duration::from_millis(1);
/// assert_eq!(chan::at(when).recv(), Ok(when));
/// # });
/// ```
pub fn at(when: Instant) -> Receiver<Instant> {
    only_receiver(clock::channel(clock::take_once, when.as_nanos(), 0))
}

/// A channel that gives a value each `duration`, the first one in `duration` from now: the moment
/// at which it was due. If nobody comes for a while, one value waits, the others are lost, and the
/// rhythm stays (as with Go's `time.Tick`). A duration of zero: there is always one.
///
/// # Examples
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let ticks = chan::tick(Duration::from_millis(1));
/// let (first, second) = (ticks.recv().unwrap(), ticks.recv().unwrap());
/// assert!(second - first >= Duration::from_millis(1));
/// # });
/// ```
pub fn tick(duration: Duration) -> Receiver<Instant> {
    let first = (Instant::now() + duration).as_nanos();
    only_receiver(clock::channel(clock::take_tick, first, crate::api::time::nanos(duration)))
}

/// A channel that never gives anything and is never closed: Go's nil channel, for an arm of a
/// `select!` that is switched off.
///
/// # Examples
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let off = chan::never::<u8>();
/// assert!(off.recv_timeout(Duration::from_millis(1)).is_err());
/// # });
/// ```
pub fn never<T>() -> Receiver<T> {
    let channel = Channel::bounded(0);
    Receiver(Arc::new(Shared { channel, senders: AtomicUsize::new(0), receivers: AtomicUsize::new(1) }))
}
