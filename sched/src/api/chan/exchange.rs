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

mod recv;
mod send;
mod slot;
mod wait;

use alloc::boxed::Box;
use core::ptr::NonNull;

pub(super) use self::slot::{Slot, empty, hand_to, take};
pub(super) use self::wait::{RECEIVING, SENDING, wait};
use super::errors::{RecvTimeoutError, SendError};
use crate::api::time::Instant;
use crate::g::GRef;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::machine::sync::AtomicU64;
use crate::wait::list::WaitQueue;
use crate::wait::ticket::NEVER;

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
// SAFETY: a shared reference reaches slots and lists under the lock only, and values need only be
// sendable.
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
        // SAFETY: `write` goes from slot to slot. Here it lies before the end of its block: the
        // wrap above keeps a ring's there, and an endless channel has no room at the end of a
        // block.
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
        // SAFETY: `read` goes from slot to slot. Here it lies before the end of its block: there is
        // a value, and `turn` has left the end.
        let slot = unsafe { &*state.read.cast::<Slot<T>>() };
        state.read = state.read.wrapping_add(size_of::<Slot<T>>());
        state.len -= 1;
        // SAFETY: the lock is held, the slot at `read` of a channel that is not empty holds a
        // value, and it is not read again.
        unsafe { take(slot) }
    }

    /// Releases the lock that `send_now` or `recv_now` has left held. Returns true if the channel
    /// is closed.
    ///
    /// # Safety
    /// 1. As in `send_slowly`.
    unsafe fn release(&self) -> bool {
        // SAFETY: 1. the caller holds the lock without a guard, and leaves it to this function to
        // release it.
        unsafe {
            let closed = self.state.with_held(|state| state.closed);
            self.state.unlock();
            closed
        }
    }

    /// Takes a value out of a channel that is closed, or that nobody has any more: nobody waits to
    /// send.
    pub(super) fn drain_one(&self) -> Option<T> {
        let guard = PreemptGuard::new();
        let mut state = self.state.lock(&guard);
        if state.len == 0 {
            return None;
        }
        // SAFETY: 1. `state` is this channel's own, under its lock, and `len` is not 0.
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
                // SAFETY: `new` leaked the box, no value is in it, and nobody else has the channel
                // any more.
                drop(unsafe { Box::from_raw(self.0.slots.as_ptr()) });
            }
        }
        let rest = Drain(self);
        while rest.0.drain_one().map(drop).is_some() {}
    }
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
