//! The engine of all flavours: values between two lists of waiting G's, under one spin lock.
//!
//! ```text
//!   state (under the lock)                       storage (guarded by the same lock)
//!   ┌───────────────────────────────┐            ┌───┬───┬───┬───┬───┬───┐
//!   │ closed  len  room  read write │            │   │ 3 │ 4 │ 5 │   │   │   a ring, or the blocks of an endless one
//!   │ recvq: G's that wait in recv  │            └───┴───┴───┴───┴───┴───┘
//!   │ sendq: G's that wait in send  │                  read        write
//!   └───────────────────────────────┘
//! ```
//!
//! The frequent paths know two numbers. `len` counts the values that can be taken; `room` counts
//! the values that can be put in before the flavour must be asked. The rest differs by [`Flavour`]:
//! a table of functions that only the constructor of that flavour names. So a program has the code
//! of the flavours that it uses.
//!
//! * **INV-ONE-SIDE**: a G waits in `recvq` only while there is no value, and in `sendq` only while
//!   there is no room. A receiver looks at `sendq` before it waits, and a sender looks at `recvq`.
//!   So at most one of the lists has anybody to claim in it.
//! * **INV-ROOM**: `len`, `room` and the places reserved (`reserve.rs`) by a dynamic select make up
//!   the capacity of a ring.
//! * Here a value is a small value of the program's, or the parcel of a large one (`parcel.rs`): so
//!   a move under the lock is short.
//! * A value moves once on every way: into the storage and out of it, or from the sender to the
//!   receiver's place for it. The place for up to 32 bytes is the receiver's record, so that the
//!   receiver's stack may stay packed away. For larger values the place is on that stack.
//! * The lock covers moves of values only: no `Drop`, no allocation, and nobody's `ready` (but a
//!   watcher's) runs under it.
//! * A closed channel has nobody in `sendq`, and nobody in `recvq`.
//!
//! **The hard race**, a value that comes between a receiver's look and its sleep, cannot happen.
//! The receiver keeps the lock from its look until its registers are saved. Then `park`'s `commit`
//! releases the lock.
//!
//! The slow paths know only [`State`], and so exist once for all types.
//!
//! # A lock, and not a queue without one
//!
//! An array queue without locks (a stamp in each slot, a compare-and-swap on each end) takes one
//! atomic read-modify-write for each operation, as the lock does. But in a channel G's also wait.
//! After a value is in, the sender must look for a receiver that went to sleep meanwhile. Between
//! the two stands a full fence, which is a second read-modify-write. The receiver pays the same for
//! its look at the senders. Such a queue can't keep INV-ONE-SIDE either: a value goes into the
//! array although a G waits, and is fetched from there.
//!
//! `kernel/examples/contend` measures both (`docs/channels.md` has the tables). The numbers are
//! instructions for a send and a receive of a ready value, without the contest's own 29:
//!
//! * 50 here;
//! * 42 through `crossbeam`'s array queue, in which nobody can wait;
//! * 78 through that queue with the fences and looks that waiting needs.
//!
//! On two cores that all want the same queue, the last one takes 1.2 to 1.8 times as long as the
//! lock. So Trefoil uses the lock. A holder has preemption off for a few dozen instructions, so it
//! is never switched away.

use alloc::boxed::Box;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use super::errors::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
use crate::api::time::Instant;
use crate::core::park::current_g;
use crate::g::waiter::place_for;
use crate::g::{GRef, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::{SpinGuard, SpinLock};
use crate::machine::sync::{AtomicU64, UnsafeCell};
use crate::wait::list::{Claimed, WaitQueue};
use crate::wait::ticket::{self, NEVER, Woken, reserve_timer, wait_until};

/// Where a value lies: in the channel, or with a waiting G.
pub(super) type Slot<T> = UnsafeCell<MaybeUninit<T>>;

/// Makes a slot that holds nothing.
pub(super) fn empty<T>() -> Slot<T> {
    UnsafeCell::new(MaybeUninit::uninit())
}

/// Makes room and sends.
pub(super) type Grow<T> = fn(&Exchange<T>, T) -> Result<(), SendError<T>>;

/// The functions that differ between channels.
pub(super) struct Flavour<T> {
    /// Returns the capacity, for [`Exchange::capacity`].
    pub(super) capacity: fn(&Exchange<T>) -> Option<usize>,
    /// Makes room and sends, with no lock held, when there is no room. None: the sender waits.
    pub(super) grow: Option<Grow<T>>,
    /// Goes to the next block when `read` has come to the end of one. The lock is held.
    pub(super) turn: fn(&mut State),
    /// Frees the storage; no value is in it.
    pub(super) free: Option<fn(&mut State)>,
    /// Set if the values come from the clock.
    pub(super) clock: Option<Clock<T>>,
}

/// A channel whose values are made when they are taken.
pub(super) struct Clock<T> {
    /// Takes the value that is due at `now`.
    pub(super) take: fn(&Exchange<T>, now: u64) -> Option<T>,
    /// Waits until one is due, or for the deadline, and takes it.
    pub(super) recv: fn(&Exchange<T>, deadline: u64) -> Result<T, RecvTimeoutError>,
    /// Returns the time when the next value is due.
    pub(super) next: fn(&Exchange<T>) -> u64,
}

/// A channel without its handles.
pub(super) struct Exchange<T> {
    pub(super) state: SpinLock<State>,
    pub(super) flavour: Flavour<T>,
    /// The ring's storage, which is freed with the channel; empty for others.
    slots: NonNull<[Slot<T>]>,
    /// The time when a clock's next value is due, and the time from one to the next.
    pub(super) due: AtomicU64,
    pub(super) period: u64,
}

/// The fields that the lock guards.
pub(crate) struct State {
    pub(super) closed: bool,
    pub(super) len: usize,
    pub(super) room: usize,
    /// The number that a taken value adds to `room`: 1, but 0 in an endless channel, whose room is
    /// the rest of a block.
    pub(super) returns: usize,
    /// The slot of the oldest value, and the end of its block.
    pub(super) read: *mut u8,
    pub(super) read_end: *mut u8,
    /// The slot for the next value, and the end of its block.
    pub(super) write: *mut u8,
    pub(super) write_end: *mut u8,
    /// The beginning of a ring; null: the storage is no ring.
    pub(super) start: *mut u8,
    /// The blocks of an endless one: the reader's, the writer's, and one to use again.
    pub(super) blocks: [*mut (); 3],
    pub(super) recvq: WaitQueue,
    pub(super) sendq: WaitQueue,
}

// SAFETY: the pointers lead to the channel's own storage, which is reached under the lock only.
unsafe impl Send for State {}

// SAFETY: values pass from one G to another, so they must be sendable; never are two at one.
unsafe impl<T: Send> Send for Exchange<T> {}
// SAFETY: as above; slots and lists are reached under the lock only.
unsafe impl<T: Send> Sync for Exchange<T> {}

impl<T> Exchange<T> {
    /// Makes an open channel with storage for as many values as there are slots.
    pub(super) fn new(flavour: Flavour<T>, slots: Box<[Slot<T>]>, room: usize) -> Self {
        let slots = NonNull::from(Box::leak(slots));
        let start = slots.as_ptr().cast::<u8>();
        let end = start.wrapping_add(slots.len() * size_of::<Slot<T>>());
        let state = State {
            closed: false,
            len: 0,
            room,
            returns: 1,
            read: start,
            read_end: end,
            write: start,
            write_end: end,
            start,
            blocks: [core::ptr::null_mut(); 3],
            recvq: WaitQueue::new(),
            sendq: WaitQueue::new(),
        };
        Self { state: SpinLock::new(state), flavour, slots, due: AtomicU64::new(NEVER), period: 0 }
    }

    /// Returns the number of values that the ring holds.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Returns an identity that no other channel has.
    pub(super) fn id(&self) -> *const () {
        core::ptr::from_ref(self).cast()
    }

    /// Returns the lock, for a G that waits for several channels.
    pub(super) fn state(&self) -> &SpinLock<State> {
        &self.state
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        (self.flavour.capacity)(self)
    }

    pub(super) fn len(&self) -> usize {
        match &self.flavour.clock {
            Some(clock) => usize::from((clock.next)(self) <= Instant::now().as_nanos()),
            None => self.state.lock(&PreemptGuard::new()).len,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.capacity() == Some(self.len())
    }

    /// Returns the time when a value comes without a sender.
    pub(super) fn next_due(&self) -> u64 {
        self.flavour.clock.as_ref().map_or(NEVER, |clock| (clock.next)(self))
    }

    /// Returns true if sends never wait.
    pub(super) fn is_endless(&self) -> bool {
        self.flavour.grow.is_some()
    }

    /// Puts `value` in.
    ///
    /// # Safety
    /// 1. `state` is this channel's, and there is room: in `room`, or reserved.
    #[inline(always)]
    pub(super) unsafe fn push(state: &mut State, value: T) {
        if state.write == state.write_end {
            // Only a ring's: an endless one has no room at the end of its block.
            state.write = state.start;
        }
        // SAFETY: `write` lies in the storage and before the end of its block (1.), on a slot: it
        // goes from slot to slot.
        let slot = unsafe { &*state.write.cast::<Slot<T>>() };
        // SAFETY: the lock is held, and the slot at `write` of a channel that has room holds
        // nothing.
        slot.with_mut(|slot| unsafe { (*slot).write(value) });
        state.write = state.write.wrapping_add(size_of::<Slot<T>>());
        state.len += 1;
    }

    /// Takes the oldest value out.
    ///
    /// # Safety
    /// 1. `state` is this channel's, and there is a value.
    #[inline(always)]
    unsafe fn pop(&self, state: &mut State) -> T {
        if state.read == state.read_end {
            (self.flavour.turn)(state);
        }
        // SAFETY: `read` lies in the storage and before the end of its block (1.), on a slot: it
        // goes from slot to slot.
        let slot = unsafe { &*state.read.cast::<Slot<T>>() };
        state.read = state.read.wrapping_add(size_of::<Slot<T>>());
        state.len -= 1;
        // SAFETY: the lock is held, the slot at `read` of a channel that is not empty holds a
        // value, and it is not read again.
        unsafe { take(slot) }
    }

    /// Sends while that needs no waiting; `state` is locked. On failure the value comes back, and
    /// the lock is still held.
    #[inline(always)]
    fn send_now(&self, guard: &PreemptGuard, mut state: SpinGuard<'_, State>, value: T) -> Result<(), T> {
        if !state.closed {
            if let Some(receiver) = state.recvq.pop() {
                drop(state);
                // SAFETY: it was in our `recvq`.
                unsafe { hand_to(receiver, value) }.wake(guard);
                return Ok(());
            }
            if state.room > 0 {
                state.room -= 1;
                // SAFETY: 1. just looked.
                unsafe { Self::push(&mut state, value) };
                return Ok(());
            }
        }
        state.into_held();
        Err(value)
    }

    /// Sends. Short enough to be inlined: rarely needed code is behind calls.
    #[inline(always)]
    pub(super) fn send(&self, value: T) -> Result<(), SendError<T>> {
        let guard = PreemptGuard::new();
        match self.send_now(&guard, self.state.lock(&guard), value) {
            Ok(()) => Ok(()),
            // SAFETY: 1. it comes back with the lock held.
            Err(value) => unsafe { self.send_slowly(guard, value) },
        }
    }

    /// Sends when the channel is closed or has no room.
    ///
    /// # Safety
    /// 1. The lock is held, without a guard, and is the caller's to give away.
    #[inline(never)]
    unsafe fn send_slowly(&self, guard: PreemptGuard, value: T) -> Result<(), SendError<T>> {
        // SAFETY: 1.
        if unsafe { self.state.with_held(|state| state.closed) } || self.flavour.grow.is_some() {
            // SAFETY: 1.
            return unsafe { self.send_rarely(guard, value) };
        }
        let g = current_g(&guard);
        let mut spare = MaybeUninit::uninit();
        let slot: *mut Slot<T> = place_for(g, spare.as_mut_ptr());
        // SAFETY: the place is large enough, and this G's alone until it is in the list.
        unsafe { slot.write(UnsafeCell::new(MaybeUninit::new(value))) };
        // SAFETY: 1. it is. 2. and a receiver's `take_from` is all that uses the slot.
        if unsafe { wait_plain::<SENDING>(guard, g, &self.state, slot.cast()) } == Woken::Served {
            return Ok(());
        }
        // Closed meanwhile.
        // SAFETY: nobody served us, so the value is where we put it.
        Err(SendError(unsafe { take(&*slot) }))
    }

    /// # Safety
    /// As [`send_slowly`](Self::send_slowly).
    #[cold]
    #[inline(never)]
    unsafe fn send_rarely(&self, guard: PreemptGuard, value: T) -> Result<(), SendError<T>> {
        // SAFETY: 1.
        let closed = unsafe { self.release() };
        drop(guard);
        match self.flavour.grow {
            Some(grow) if !closed => grow(self, value),
            _ => Err(SendError(value)),
        }
    }

    pub(super) fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        let value = match self.try_send(value) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Disconnected(value)) => return Err(SendTimeoutError::Disconnected(value)),
            Err(TrySendError::Full(value)) if deadline <= Instant::now() => {
                return Err(SendTimeoutError::Timeout(value));
            }
            Err(TrySendError::Full(value)) => value,
        };
        let guard = reserve_timer(deadline.as_nanos());
        match self.send_now(&guard, self.state.lock(&guard), value) {
            Ok(()) => Ok(()),
            // SAFETY: 1. it comes back with the lock held.
            Err(value) => unsafe { self.send_until(guard, value, deadline.as_nanos()) },
        }
    }

    /// Sends when that is possible.
    ///
    /// # Safety
    /// 1. As in `send_slowly`; and a timer is reserved for the deadline.
    #[inline(always)]
    unsafe fn send_until(
        &self,
        mut guard: PreemptGuard,
        mut value: T,
        deadline: u64,
    ) -> Result<(), SendTimeoutError<T>> {
        loop {
            // SAFETY: 1. it is held by us, here and at the end of the loop.
            if unsafe { self.state.with_held(|state| state.closed) } || self.flavour.grow.is_some() {
                // SAFETY: as above.
                let closed = unsafe { self.release() };
                drop(guard);
                return match self.flavour.grow {
                    Some(grow) if !closed => grow(self, value).map_err(SendTimeoutError::from),
                    _ => Err(SendTimeoutError::Disconnected(value)),
                };
            } else {
                let g = current_g(&guard);
                let mut spare = MaybeUninit::uninit();
                let slot: *mut Slot<T> = place_for(g, spare.as_mut_ptr());
                // SAFETY: the place is large enough, and this G's alone until it is in the list.
                unsafe { slot.write(UnsafeCell::new(MaybeUninit::new(value))) };
                // SAFETY: 1. it is. 2. and a receiver's `take_from` is all that uses the slot.
                let woken = unsafe { wait::<SENDING>(guard, &self.state, slot.cast(), deadline) };
                if woken == Woken::Served {
                    return Ok(());
                }
                // SAFETY: nobody served us, so the value is where we put it.
                value = unsafe { take(&*slot) };
                if woken == Woken::TimedOut {
                    return Err(SendTimeoutError::Timeout(value));
                }
                // Closed; the next look says so.
            }
            guard = reserve_timer(deadline);
            value = match self.send_now(&guard, self.state.lock(&guard), value) {
                Ok(()) => return Ok(()),
                Err(value) => value,
            };
        }
    }

    /// Releases the lock that `send_now` or `recv_now` has left held. Returns true if the channel
    /// is closed.
    ///
    /// # Safety
    /// 1. As in `send_slowly`.
    unsafe fn release(&self) -> bool {
        // SAFETY: 1.
        unsafe {
            let closed = self.state.with_held(|state| state.closed);
            self.state.unlock();
            closed
        }
    }

    #[inline(always)]
    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let guard = PreemptGuard::new();
        let Err(value) = self.send_now(&guard, self.state.lock(&guard), value) else { return Ok(()) };
        // SAFETY: 1. it was left held.
        let closed = unsafe { self.release() };
        drop(guard);
        match self.flavour.grow {
            _ if closed => Err(TrySendError::Disconnected(value)),
            Some(grow) => grow(self, value).map_err(TrySendError::from),
            None => Err(TrySendError::Full(value)),
        }
    }

    /// Receives while there is something; `state` is locked. None: there is nothing, and the lock
    /// is still held.
    #[inline(always)]
    pub(super) fn recv_now(&self, guard: &PreemptGuard, mut state: SpinGuard<'_, State>) -> Option<T> {
        if state.len > 0 {
            // SAFETY: 1. just looked.
            let value = unsafe { self.pop(&mut state) };
            if let Some(sender) = state.sendq.pop() {
                // SAFETY: 1. just emptied a place; it was in our `sendq`.
                unsafe { Self::refill(guard, state, sender) };
            } else {
                state.room += state.returns;
            }
            return Some(value);
        }
        let Some(sender) = state.sendq.pop() else {
            state.into_held();
            return None;
        };
        drop(state);
        // SAFETY: it was in our `sendq`.
        let (value, sender) = unsafe { take_from(sender) };
        sender.wake(guard);
        Some(value)
    }

    /// Fills a gap with the value of the sender that has waited longest.
    ///
    /// # Safety
    /// 1. `state` is this channel's, there is room that is not in `room`, and the sender was
    ///    claimed from its `sendq`.
    #[inline(never)]
    pub(super) unsafe fn refill(guard: &PreemptGuard, mut state: SpinGuard<'_, State>, sender: Claimed) {
        // SAFETY: 1.
        let sender = unsafe {
            let (next, sender) = take_from(sender);
            Self::push(&mut state, next);
            sender
        };
        drop(state);
        sender.wake(guard);
    }

    /// Receives. Short, as [`send`](Self::send).
    #[inline(always)]
    pub(super) fn recv(&self) -> Result<T, RecvError> {
        let guard = PreemptGuard::new();
        match self.recv_now(&guard, self.state.lock(&guard)) {
            Some(value) => Ok(value),
            // SAFETY: 1. it is still held.
            None => unsafe { self.recv_slowly(guard) },
        }
    }

    /// Receives when nothing is there.
    ///
    /// # Safety
    /// 1. The lock is held, without a guard, and is the caller's to give away.
    #[inline(never)]
    unsafe fn recv_slowly(&self, guard: PreemptGuard) -> Result<T, RecvError> {
        // SAFETY: 1.
        if unsafe { self.state.with_held(|state| state.closed) } || self.flavour.clock.is_some() {
            // SAFETY: 1.
            return unsafe { self.recv_rarely(guard) };
        }
        let g = current_g(&guard);
        let mut spare = MaybeUninit::uninit();
        let slot: *mut Slot<T> = place_for(g, spare.as_mut_ptr());
        // SAFETY: the place is large enough, and this G's alone until it is in the list.
        unsafe { slot.write(empty()) };
        // SAFETY: 1. it is. 2. and a sender's `hand_to` is all that uses the slot.
        if unsafe { wait_plain::<RECEIVING>(guard, g, &self.state, slot.cast()) } == Woken::Served {
            // SAFETY: a sender has served us: it wrote a value.
            return Ok(unsafe { take(&*slot) });
        }
        // Closed meanwhile.
        Err(RecvError)
    }

    /// # Safety
    /// As [`recv_slowly`](Self::recv_slowly).
    #[cold]
    #[inline(never)]
    unsafe fn recv_rarely(&self, guard: PreemptGuard) -> Result<T, RecvError> {
        // SAFETY: 1.
        let closed = unsafe { self.release() };
        drop(guard);
        match &self.flavour.clock {
            Some(clock) if !closed => (clock.recv)(self, NEVER).map_err(|_| RecvError),
            _ => Err(RecvError),
        }
    }

    pub(super) fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        match self.try_recv() {
            Ok(value) => return Ok(value),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) if deadline <= Instant::now() => return Err(RecvTimeoutError::Timeout),
            Err(TryRecvError::Empty) => {}
        }
        let guard = reserve_timer(deadline.as_nanos());
        match self.recv_now(&guard, self.state.lock(&guard)) {
            Some(value) => Ok(value),
            // SAFETY: 1. it is still held.
            None => unsafe { self.recv_until(guard, deadline.as_nanos()) },
        }
    }

    /// Receives when that is possible.
    ///
    /// # Safety
    /// 1. As in `recv_slowly`; and a timer is reserved for the deadline.
    #[inline(always)]
    unsafe fn recv_until(&self, mut guard: PreemptGuard, deadline: u64) -> Result<T, RecvTimeoutError> {
        loop {
            // SAFETY: 1. it is held by us, here and at the end of the loop.
            if unsafe { self.state.with_held(|state| state.closed) } || self.flavour.clock.is_some() {
                // SAFETY: as above.
                let closed = unsafe { self.release() };
                drop(guard);
                return match &self.flavour.clock {
                    Some(clock) if !closed => (clock.recv)(self, deadline),
                    _ => Err(RecvTimeoutError::Disconnected),
                };
            }
            let g = current_g(&guard);
            let mut spare = MaybeUninit::uninit();
            let slot: *mut Slot<T> = place_for(g, spare.as_mut_ptr());
            // SAFETY: the place is large enough, and this G's alone until it is in the list.
            unsafe { slot.write(empty()) };
            // SAFETY: 1. it is. 2. and a sender's `hand_to` is all that uses the slot.
            match unsafe { wait::<RECEIVING>(guard, &self.state, slot.cast(), deadline) } {
                // SAFETY: a sender has served us: it wrote a value.
                Woken::Served => return Ok(unsafe { take(&*slot) }),
                Woken::TimedOut => return Err(RecvTimeoutError::Timeout),
                // Closed; or a select that had chosen us has changed its mind: we had lost our
                // ticket. The next look tells.
                Woken::Unserved => {}
            }
            guard = reserve_timer(deadline);
            if let Some(value) = self.recv_now(&guard, self.state.lock(&guard)) {
                return Ok(value);
            }
        }
    }

    #[inline(always)]
    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        let guard = PreemptGuard::new();
        if let Some(value) = self.recv_now(&guard, self.state.lock(&guard)) {
            return Ok(value);
        }
        // SAFETY: 1. it was left held.
        let closed = unsafe { self.release() };
        if closed {
            return Err(TryRecvError::Disconnected);
        }
        let clock = self.flavour.clock.as_ref();
        clock.and_then(|clock| (clock.take)(self, Instant::now().as_nanos())).ok_or(TryRecvError::Empty)
    }

    /// Takes a value out of a channel that is closed, or that nobody has any more: nobody waits to
    /// send.
    pub(super) fn drain_one(&self) -> Option<T> {
        let guard = PreemptGuard::new();
        let mut state = self.state.lock(&guard);
        if state.len == 0 {
            return None;
        }
        // SAFETY: 1. just looked.
        Some(unsafe { self.pop(&mut state) })
    }

    pub(super) fn close(&self) {
        close(&self.state);
    }

    /// Runs `f` under the lock.
    pub(super) fn with_state<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock(&PreemptGuard::new()))
    }
}

impl State {
    /// Returns true if the other side would not have to wait for `g`. For a G that is about to wait
    /// on this side of several channels.
    pub(crate) fn is_ready(&mut self, sending: bool, g: GRef) -> bool {
        self.closed
            || if sending { self.room > 0 || self.recvq.has_other(g) } else { self.len > 0 || self.sendq.has_other(g) }
    }

    /// Returns the list of one side.
    pub(crate) fn queue(&mut self, sending: bool) -> &mut WaitQueue {
        if sending { &mut self.sendq } else { &mut self.recvq }
    }
}

impl<T> Drop for Exchange<T> {
    fn drop(&mut self) {
        /// Should a value's destructor panic, the others are dropped all the same (and a second
        /// panic is one too many).
        struct Drain<'a, T>(&'a Exchange<T>);
        impl<T> Drop for Drain<'_, T> {
            fn drop(&mut self) {
                while self.0.drain_one().map(drop).is_some() {}
                if let Some(free) = self.0.flavour.free {
                    self.0.with_state(free);
                }
                // SAFETY: it was leaked in `new`, no value is in it, and nobody else has the
                // channel any more.
                drop(unsafe { Box::from_raw(self.0.slots.as_ptr()) });
            }
        }
        let rest = Drain(self);
        while rest.0.drain_one().map(drop).is_some() {}
    }
}

/// Moves the value out of a slot.
///
/// # Safety
/// 1. The slot holds a value, the caller alone reaches it, and the slot is not read again.
#[inline(always)]
pub(super) unsafe fn take<T>(slot: &Slot<T>) -> T {
    // SAFETY: 1.
    slot.with_mut(|slot| unsafe { (*slot).assume_init_read() })
}

/// Moves `value` to a claimed receiver.
///
/// # Safety
/// 1. The receiver was claimed from the `recvq` of a channel of `T`.
#[inline(always)]
pub(super) unsafe fn hand_to<T>(receiver: Claimed, value: T) -> Claimed {
    // SAFETY: 1. the receiver put the address of its empty slot there, and stays parked until it is
    // woken.
    let slot = unsafe { &*receiver.slot().cast::<Slot<T>>() };
    // SAFETY: the slot is the claimer's until then.
    slot.with_mut(|slot| unsafe { (*slot).write(value) });
    receiver.serve()
}

/// Moves the value of a claimed sender here.
///
/// # Safety
/// 1. The sender was claimed from the `sendq` of a channel of `T`.
#[inline(always)]
unsafe fn take_from<T>(sender: Claimed) -> (T, Claimed) {
    // SAFETY: 1. the sender put the address of its full slot there, and stays parked until it is
    // woken.
    let slot = unsafe { &*sender.slot().cast::<Slot<T>>() };
    // SAFETY: 1. the slot is the claimer's until then, and the sender does not look at it once it
    // is served.
    (unsafe { take(slot) }, sender.serve())
}

pub(super) const SENDING: bool = true;
pub(super) const RECEIVING: bool = false;

/// Parks the caller in its side's list.
///
/// # Safety
/// 1. The caller holds the lock, without a guard, and has reserved a timer for a deadline. 2.
///    `slot` is of the kind that the other side of the channel expects.
#[inline(always)]
pub(super) unsafe fn wait<const SIDE: bool>(
    guard: PreemptGuard,
    state: &SpinLock<State>,
    slot: *mut (),
    deadline: u64,
) -> Woken {
    // SAFETY: 1. and 3. the caller. 2. the channel's operations do. 4. the caller has a handle.
    unsafe { wait_until(guard, state, list::<SIDE>, slot, reason::<SIDE>(), deadline) }
}

/// Parks the caller likewise, without a deadline.
///
/// # Safety
/// As above; and `g` is the caller.
#[inline(always)]
unsafe fn wait_plain<const SIDE: bool>(guard: PreemptGuard, g: GRef, state: &SpinLock<State>, slot: *mut ()) -> Woken {
    // SAFETY: as above.
    unsafe { ticket::wait_plain(guard, g, state, list::<SIDE>, slot, reason::<SIDE>()) }
}

fn list<const SIDE: bool>(state: &mut State) -> &mut WaitQueue {
    if SIDE == SENDING { &mut state.sendq } else { &mut state.recvq }
}

const fn reason<const SIDE: bool>() -> WaitReason {
    if SIDE == SENDING { WaitReason::ChanSend } else { WaitReason::ChanRecv }
}

/// Closes the channel and wakes every G that waits, unserved.
fn close(state: &SpinLock<State>) {
    let guard = PreemptGuard::new();
    let mut state = state.lock(&guard);
    state.closed = true;
    let all = state.recvq.take().and(state.sendq.take());
    drop(state);
    all.wake_claimed(guard);
}
