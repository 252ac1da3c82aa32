//! The bounded flavour: a ring of values and the two lists of waiting G's, under one spin lock.
//!
//! ```text
//!   state (under the lock)                       slots (guarded by the same lock)
//!   ┌───────────────────────────────┐            ┌───┬───┬───┬───┬───┬───┐
//!   │ closed  len  head  tail       │            │   │ 3 │ 4 │ 5 │   │   │
//!   │ recvq: G's that wait in recv  │            └───┴───┴───┴───┴───┴───┘
//!   │ sendq: G's that wait in send  │                  head        tail
//!   └───────────────────────────────┘
//! ```
//!
//! * **INV-ONE-SIDE**: a G waits in `recvq` only while the ring is empty, and in `sendq` only while it is full. With capacity 0 it
//!   is both, always: every value goes from hand to hand, and at most one of the lists has anybody in it.
//! * A value moves once on every way: into the ring and out of it, or from the sender to the receiver's place for it (the receiver's
//!   record for small values, so that its stack may stay packed away; its stack for larger ones).
//! * The lock covers moves of values only: no `Drop`, no allocation and nobody's `ready` runs under it.
//! * A closed channel has nobody in `sendq`, and nobody in `recvq`.
//!
//! **The hard race**, a value that comes between a receiver's look and its sleep, cannot happen: the receiver keeps the lock from its
//! look until its registers are saved, and `park`'s `commit` releases it.
//!
//! Only [`State`] is known to the slow paths, which so exist once for all types.

use alloc::boxed::Box;
use core::mem::MaybeUninit;

use super::errors::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
use crate::g::WaitReason;
use crate::lock::SpinLock;
use crate::park::current_g;
use crate::preempt::PreemptGuard;
use crate::sync::UnsafeCell;
use crate::ticket::{NEVER, Woken, reserve_timer, wait_until};
use crate::time::Instant;
use crate::waitq::{Claimed, WaitQueue, place_for};

/// Where a value lies: in the ring, or with a waiting G.
type Slot<T> = UnsafeCell<MaybeUninit<T>>;

/// A bounded channel without its handles.
pub(super) struct Bounded<T> {
    state: SpinLock<State>,
    /// Guarded by `state`: those from `head` on, `len` of them, hold a value.
    slots: Box<[Slot<T>]>,
}

struct State {
    closed: bool,
    len: usize,
    /// The slot of the oldest value.
    head: usize,
    /// The slot for the next value.
    tail: usize,
    recvq: WaitQueue,
    sendq: WaitQueue,
}

// SAFETY: values pass from one G to another, so they must be sendable; never are two at one.
unsafe impl<T: Send> Send for Bounded<T> {}
// SAFETY: as above; slots and lists are reached under the lock only.
unsafe impl<T: Send> Sync for Bounded<T> {}

impl<T> Bounded<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let (recvq, sendq) = (WaitQueue::new(), WaitQueue::new());
        Self {
            state: SpinLock::new(State { closed: false, len: 0, head: 0, tail: 0, recvq, sendq }),
            slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock(&PreemptGuard::new()).len
    }

    /// Puts `value` into the ring.
    ///
    /// # Safety
    /// 1. `state` is this channel's, and the ring is not full.
    #[inline(always)]
    unsafe fn push(&self, state: &mut State, value: T) {
        let at = state.tail;
        debug_assert!(state.len < self.slots.len() && at < self.slots.len());
        // SAFETY: `tail` is below the capacity, which is not 0 (1.).
        let slot = unsafe { self.slots.get_unchecked(at) };
        // SAFETY: the lock is held, and the slot at `tail` of a ring that is not full holds nothing.
        slot.with_mut(|slot| unsafe { (*slot).write(value) });
        state.tail = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        state.len += 1;
    }

    /// Takes the oldest value out of the ring.
    ///
    /// # Safety
    /// 1. `state` is this channel's, and the ring is not empty.
    #[inline(always)]
    unsafe fn pop(&self, state: &mut State) -> T {
        let at = state.head;
        debug_assert!(state.len > 0 && at < self.slots.len());
        // SAFETY: `head` is below the capacity, which is not 0 (1.).
        let slot = unsafe { self.slots.get_unchecked(at) };
        state.head = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        state.len -= 1;
        // SAFETY: the lock is held, the slot at `head` of a ring that is not empty holds a value, and it is not read again.
        unsafe { take(slot) }
    }

    pub(super) fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_until(value, NEVER).map_err(|error| SendError(error.into_inner()))
    }

    pub(super) fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        match self.try_send(value) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(value)) => Err(SendTimeoutError::Disconnected(value)),
            Err(TrySendError::Full(value)) if deadline <= Instant::now() => Err(SendTimeoutError::Timeout(value)),
            Err(TrySendError::Full(value)) => self.send_until(value, deadline.as_nanos()),
        }
    }

    #[inline(always)]
    fn send_until(&self, value: T, deadline: u64) -> Result<(), SendTimeoutError<T>> {
        let guard = reserve_timer(deadline);
        let mut state = self.state.lock(&guard);
        if state.closed {
            return Err(SendTimeoutError::Disconnected(value));
        }
        if let Some(receiver) = state.recvq.pop() {
            drop(state);
            // SAFETY: it was in our `recvq`.
            unsafe { hand_to(receiver, value) }.wake(&guard);
            return Ok(());
        }
        if state.len < self.slots.len() {
            // SAFETY: 1. just looked.
            unsafe { self.push(&mut state, value) };
            return Ok(());
        }
        state.into_held();
        let g = current_g(&guard);
        let mut spare = MaybeUninit::uninit();
        let slot: *mut Slot<T> = place_for(g, spare.as_mut_ptr());
        // SAFETY: the place is large enough, and this G's alone until it is in the list.
        unsafe { slot.write(UnsafeCell::new(MaybeUninit::new(value))) };
        // SAFETY: 1. it is. 2. and a receiver's `take_from` is all that uses the slot.
        let error = match unsafe { wait::<SENDING>(guard, &self.state, slot.cast(), deadline) } {
            Woken::Served => return Ok(()),
            Woken::Unserved => SendTimeoutError::Disconnected,
            Woken::TimedOut => SendTimeoutError::Timeout,
        };
        // SAFETY: nobody served us, so the value is where we put it.
        Err(error(unsafe { take(&*slot) }))
    }

    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let guard = PreemptGuard::new();
        let mut state = self.state.lock(&guard);
        if state.closed {
            return Err(TrySendError::Disconnected(value));
        }
        if let Some(receiver) = state.recvq.pop() {
            drop(state);
            // SAFETY: it was in our `recvq`.
            unsafe { hand_to(receiver, value) }.wake(&guard);
        } else if state.len < self.slots.len() {
            // SAFETY: 1. just looked.
            unsafe { self.push(&mut state, value) };
        } else {
            return Err(TrySendError::Full(value));
        }
        Ok(())
    }

    /// What `recv` does while there is something: `Err` gives back the lock, held.
    #[inline(always)]
    fn recv_now<'a>(&'a self, guard: &'a PreemptGuard) -> Result<T, crate::lock::SpinGuard<'a, State>> {
        let mut state = self.state.lock(guard);
        if state.len > 0 {
            // SAFETY: 1. just looked.
            let value = unsafe { self.pop(&mut state) };
            if let Some(sender) = state.sendq.pop() {
                // The gap is the longest waiting sender's.
                // SAFETY: 1. just emptied; it was in our `sendq`.
                let sender = unsafe {
                    let (next, sender) = take_from(sender);
                    self.push(&mut state, next);
                    sender
                };
                drop(state);
                sender.wake(guard);
            }
            return Ok(value);
        }
        let Some(sender) = state.sendq.pop() else { return Err(state) };
        drop(state);
        // SAFETY: it was in our `sendq`.
        let (value, sender) = unsafe { take_from(sender) };
        sender.wake(guard);
        Ok(value)
    }

    pub(super) fn recv(&self) -> Result<T, RecvError> {
        self.recv_until(NEVER).map_err(|_| RecvError)
    }

    pub(super) fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        match self.try_recv() {
            Ok(value) => Ok(value),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) if deadline <= Instant::now() => Err(RecvTimeoutError::Timeout),
            Err(TryRecvError::Empty) => self.recv_until(deadline.as_nanos()),
        }
    }

    #[inline(always)]
    fn recv_until(&self, deadline: u64) -> Result<T, RecvTimeoutError> {
        let guard = reserve_timer(deadline);
        let state = match self.recv_now(&guard) {
            Ok(value) => return Ok(value),
            Err(state) => state,
        };
        if state.closed {
            return Err(RecvTimeoutError::Disconnected);
        }
        state.into_held();
        let g = current_g(&guard);
        let mut spare = MaybeUninit::uninit();
        let slot: *mut Slot<T> = place_for(g, spare.as_mut_ptr());
        // SAFETY: the place is large enough, and this G's alone until it is in the list.
        unsafe { slot.write(UnsafeCell::new(MaybeUninit::uninit())) };
        // SAFETY: 1. it is. 2. and a sender's `hand_to` is all that uses the slot.
        match unsafe { wait::<RECEIVING>(guard, &self.state, slot.cast(), deadline) } {
            // SAFETY: a sender has served us: it wrote a value.
            Woken::Served => Ok(unsafe { take(&*slot) }),
            Woken::Unserved => Err(RecvTimeoutError::Disconnected),
            Woken::TimedOut => Err(RecvTimeoutError::Timeout),
        }
    }

    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        let guard = PreemptGuard::new();
        self.recv_now(&guard)
            .map_err(|state| if state.closed { TryRecvError::Disconnected } else { TryRecvError::Empty })
    }

    pub(super) fn close(&self) {
        close(&self.state);
    }
}

impl<T> Drop for Bounded<T> {
    fn drop(&mut self) {
        /// Should a value's destructor panic, the others are dropped all the same (and a second panic is one too many).
        struct Rest<'a, T>(&'a Bounded<T>);
        impl<T> Drop for Rest<'_, T> {
            fn drop(&mut self) {
                while self.0.try_recv().map(drop).is_ok() {}
            }
        }
        let _rest = Rest(self);
        while self.try_recv().map(drop).is_ok() {}
    }
}

/// Moves the value out of a slot.
///
/// # Safety
/// 1. The slot holds a value, the caller alone reaches it, and the slot is not read again.
#[inline(always)]
unsafe fn take<T>(slot: &Slot<T>) -> T {
    // SAFETY: 1.
    slot.with_mut(|slot| unsafe { (*slot).assume_init_read() })
}

/// Moves `value` to a claimed receiver.
///
/// # Safety
/// 1. It was claimed from the `recvq` of a channel of `T`.
#[inline(always)]
unsafe fn hand_to<T>(receiver: Claimed, value: T) -> Claimed {
    // SAFETY: 1. `recv` put the address of its empty slot there, and stays parked until it is woken.
    let slot = unsafe { &*receiver.slot().cast::<Slot<T>>() };
    // SAFETY: the slot is the claimer's until then.
    slot.with_mut(|slot| unsafe { (*slot).write(value) });
    receiver.serve()
}

/// Moves the value of a claimed sender here.
///
/// # Safety
/// 1. It was claimed from the `sendq` of a channel of `T`.
#[inline(always)]
unsafe fn take_from<T>(sender: Claimed) -> (T, Claimed) {
    // SAFETY: 1. `send` put the address of its full slot there, and stays parked until it is woken.
    let slot = unsafe { &*sender.slot().cast::<Slot<T>>() };
    // SAFETY: 1. the slot is the claimer's until then, and `send` does not look at it once it is served.
    (unsafe { take(slot) }, sender.serve())
}

const SENDING: bool = true;
const RECEIVING: bool = false;

/// Parks the caller in its side's list.
///
/// # Safety
/// 1. The caller holds the lock, without a guard, and has reserved a timer for a deadline. 2. `slot` is what the other side of the channel expects.
#[inline(never)]
unsafe fn wait<const SIDE: bool>(guard: PreemptGuard, state: &SpinLock<State>, slot: *mut (), deadline: u64) -> Woken {
    let (queue, reason): (fn(&mut State) -> &mut WaitQueue, _) = if SIDE == SENDING {
        (|state| &mut state.sendq, WaitReason::ChanSend)
    } else {
        (|state| &mut state.recvq, WaitReason::ChanRecv)
    };
    // SAFETY: 1. and 3. the caller. 2. the channel's operations do. 4. the caller has a handle.
    unsafe { wait_until(guard, state, queue, slot, reason, deadline) }
}

/// Closes the channel and wakes everybody who waits, unserved.
fn close(state: &SpinLock<State>) {
    let (receivers, senders) = {
        let guard = PreemptGuard::new();
        let mut state = state.lock(&guard);
        state.closed = true;
        (state.recvq.take(), state.sendq.take())
    };
    receivers.wake_all();
    senders.wake_all();
}
