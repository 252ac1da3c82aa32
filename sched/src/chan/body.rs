//! A channel's body: a ring of values and the two lists of waiting G's, under one lock.
//!
//! Never both: a G waits in `sendq` only while the ring is full and nobody waits in `recvq`, and the other way round. So each operation looks
//! at the other side's list first, then at the ring, then parks.

use alloc::collections::VecDeque;

use super::errors::{RecvError, SendError, TryRecvError, TrySendError};
use crate::g::{GRef, WaitReason};
use crate::lock::{SpinGuard, SpinLock};
use crate::park::{current_g, park, ready};
use crate::preempt::PreemptGuard;
use crate::waitq::{Popped, WaitQueue, Waiter};

/// A channel without its handles.
pub(super) struct Chan<T> {
    capacity: usize,
    body: SpinLock<Body<T>>,
}

struct Body<T> {
    /// Made with room for `capacity` values: never grows under the lock.
    ring: VecDeque<T>,
    recvq: WaitQueue,
    sendq: WaitQueue,
    closed: bool,
}

// SAFETY: values pass from one G to another, under the lock; waiters are reached under the lock.
unsafe impl<T: Send> Send for Chan<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Chan<T> {}

/// How an attempt to receive without waiting ended.
enum Received<'a, T> {
    Value(T),
    /// None is there; the lock is still held.
    Wait(SpinGuard<'a, Body<T>>),
    Closed,
}

/// How an attempt to send without waiting ended.
enum Attempt<'a, T> {
    Done,
    /// No room: the value back, and the lock still held.
    Wait(T, SpinGuard<'a, Body<T>>),
    Closed(T),
}

impl<T> Chan<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let ring = VecDeque::with_capacity(capacity);
        let (recvq, sendq) = (WaitQueue::new(), WaitQueue::new());
        Self { capacity, body: SpinLock::new(Body { ring, recvq, sendq, closed: false }) }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.body.lock(&PreemptGuard::new()).ring.len()
    }

    /// Hands `value` to a waiting receiver, or puts it into the ring. Releases the lock if it was done.
    #[inline]
    fn attempt_send<'a>(&'a self, guard: &'a PreemptGuard, value: T) -> Attempt<'a, T> {
        let mut body = self.body.lock(guard);
        if body.closed {
            return Attempt::Closed(value);
        }
        if let Some(receiver) = body.recvq.pop() {
            drop(body);
            hand_over(guard, receiver, value);
        } else if body.ring.len() < self.capacity {
            body.ring.push_back(value);
        } else {
            return Attempt::Wait(value, body);
        }
        Attempt::Done
    }

    /// Takes a value from the ring (and lets a waiting sender fill the gap), or from a waiting sender.
    #[inline]
    fn attempt_recv<'a>(&'a self, guard: &'a PreemptGuard) -> Received<'a, T> {
        let mut body = self.body.lock(guard);
        let from_ring = body.ring.pop_front();
        if let Some(sender) = body.sendq.pop() {
            let theirs = take(&sender);
            let value = match from_ring {
                Some(value) => {
                    body.ring.push_back(theirs);
                    value
                }
                None => theirs,
            };
            drop(body);
            ready(guard, sender.into_g());
            return Received::Value(value);
        }
        match from_ring {
            Some(value) => Received::Value(value),
            None if body.closed => Received::Closed,
            None => Received::Wait(body),
        }
    }

    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let guard = PreemptGuard::new();
        match self.attempt_send(&guard, value) {
            Attempt::Done => Ok(()),
            Attempt::Wait(value, _) => Err(TrySendError::Full(value)),
            Attempt::Closed(value) => Err(TrySendError::Disconnected(value)),
        }
    }

    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        let guard = PreemptGuard::new();
        match self.attempt_recv(&guard) {
            Received::Value(value) => Ok(value),
            Received::Wait(_) => Err(TryRecvError::Empty),
            Received::Closed => Err(TryRecvError::Disconnected),
        }
    }

    pub(super) fn send(&self, value: T) -> Result<(), SendError<T>> {
        let guard = PreemptGuard::new();
        let (value, mut body) = match self.attempt_send(&guard, value) {
            Attempt::Done => return Ok(()),
            Attempt::Closed(value) => return Err(SendError(value)),
            Attempt::Wait(value, body) => (value, body),
        };
        let mut slot = Some(value);
        let waiter = Waiter::new(current_g(&guard), (&raw mut slot).cast());
        // SAFETY: 1. this G parks right below, and the node is on its stack.
        unsafe { body.sendq.push(&waiter) };
        body.into_held();
        // SAFETY: 1. whoever pops the waiter readies it once. 2. the channel outlives the call.
        drop(unsafe { park(guard, WaitReason::ChanSend, unlock::<T>, core::ptr::from_ref(self).cast_mut().cast()) });
        match slot {
            Some(value) if waiter.closed.get() => Err(SendError(value)),
            _ => Ok(()),
        }
    }

    pub(super) fn recv(&self) -> Result<T, RecvError> {
        let guard = PreemptGuard::new();
        let mut body = match self.attempt_recv(&guard) {
            Received::Value(value) => return Ok(value),
            Received::Closed => return Err(RecvError),
            Received::Wait(body) => body,
        };
        let mut slot: Option<T> = None;
        let waiter = Waiter::new(current_g(&guard), (&raw mut slot).cast());
        // SAFETY: 1. as in `send`.
        unsafe { body.recvq.push(&waiter) };
        body.into_held();
        // SAFETY: as in `send`.
        drop(unsafe { park(guard, WaitReason::ChanRecv, unlock::<T>, core::ptr::from_ref(self).cast_mut().cast()) });
        // A reference to `slot` lives in the waiter; the one that popped it wrote through it, and is done.
        slot.ok_or(RecvError)
    }

    pub(super) fn close(&self) {
        let guard = PreemptGuard::new();
        loop {
            let mut body = self.body.lock(&guard);
            body.closed = true;
            let Some(waiter) = body.recvq.pop().or_else(|| body.sendq.pop()) else { return };
            drop(body);
            waiter.node().closed.set(true);
            ready(&guard, waiter.into_g());
        }
    }
}

/// Writes `value` to a popped receiver and wakes it.
#[inline]
fn hand_over<T>(guard: &PreemptGuard, receiver: Popped, value: T) {
    // SAFETY: `recv` pushed the address of an `Option<T>` (empty) on its stack, and stays parked until it is readied below.
    unsafe { receiver.node().slot.cast::<Option<T>>().write(Some(value)) };
    ready(guard, receiver.into_g());
}

/// Takes the value of a popped sender.
#[inline]
fn take<T>(sender: &Popped) -> T {
    // SAFETY: `send` pushed the address of an `Option<T>` on its stack, and stays parked until it is readied.
    let value = unsafe { (*sender.node().slot.cast::<Option<T>>()).take() };
    value.expect("a waiting sender has a value")
}

/// `park`'s commit: the G is saved, the lock may go.
unsafe fn unlock<T>(chan: *mut (), _: GRef) -> bool {
    // SAFETY: `send` and `recv` pass their channel, whose lock they turned into "held".
    unsafe { (*chan.cast::<Chan<T>>()).body.unlock() };
    true
}
