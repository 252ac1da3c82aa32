//! A send in two steps, for a dynamic select: the select chooses a channel first, and has the value
//! later.
//!
//! A place is taken out of `room` (INV-ROOM), or a receiver that waits is claimed and goes on
//! waiting. Either is promised to one G, which [fulfils](Exchange::fulfil) the promise or [gives it
//! back](Exchange::give_back). Values stand in the order in which they are put in, so nobody waits
//! for a late promised value. A receiver that comes meanwhile waits in the list, and the promised
//! value or an earlier one serves it.
//!
//! **A G may die** between the two steps. So its record has a list of its promises ([`Promise`], in
//! the arm's block on the heap). Its death gives them back, before others learn of the death. (Of a
//! long list the undertaker gives back the rest, in pieces.) The list changes under the same guard
//! as the promise itself: nobody dies in between.
//!
//! A program may also *leak* a chosen operation. Then its promise stays in the list, in a block
//! that is never freed. The promise has only a weak handle of its channel, because the channel may
//! be gone. The list of a record's earlier life is not this life's: each promise has the number of
//! its life.

use core::cell::Cell;
use core::marker::PhantomPinned;

use super::errors::SendError;
use super::exchange::{Exchange, hand_to};
use crate::core::park::current_g;
use crate::g::promise::Link;
use crate::machine::guard::PreemptGuard;
use crate::wait::list::Claimed;

/// A promise that a value can be sent without waiting; see [`Exchange::reserve`].
pub(super) enum Reserved {
    /// The G that waits for the value.
    Receiver(Claimed),
    /// There is room.
    Room,
    /// There is always room.
    Endless,
    /// The channel is closed: the value comes back.
    Closed,
}

impl Reserved {
    /// Returns true if others miss the reserved place or receiver.
    fn is_missed(&self) -> bool {
        matches!(self, Self::Receiver(_) | Self::Room)
    }
}

/// A promise to a G, as the G's record knows it.
#[repr(C)]
pub(super) struct Promise {
    /// First: the list of the record leads to it.
    link: Link,
    reserved: Cell<Option<Reserved>>,
    /// Others reach the promise through the record: nobody's access is the only one.
    _pinned: PhantomPinned,
}

impl Promise {
    /// Makes an empty promise.
    ///
    /// # Safety
    /// 1. `give_back` may be called with this promise's link as soon as something is
    ///    [kept](Self::keep) in it.
    pub(super) unsafe fn new(give_back: unsafe fn(*const Link)) -> Self {
        // SAFETY: 1. only `keep` puts the link into a list, and from then on `give_back` may be
        // called.
        let link = unsafe { Link::new(give_back) };
        Self { link, reserved: Cell::new(None), _pinned: PhantomPinned }
    }

    /// Returns true if something is kept in it.
    pub(super) fn is_kept(&self) -> bool {
        // SAFETY: the promise is this G's, and nobody changes it during this look.
        unsafe { &*self.reserved.as_ptr() }.is_some()
    }

    /// Keeps `reserved` for the caller, dead or alive.
    ///
    /// # Safety
    /// 1. `at` is a promise in no list. The promise does not move, and its memory stays, until it
    ///    was [taken](Self::take).
    pub(super) unsafe fn keep(at: *const Self, reserved: Reserved, guard: &PreemptGuard) {
        if reserved.is_missed() {
            // SAFETY: 1. the link is the first field of the promise, which is in no list, and stays
            // in memory until it was taken.
            unsafe { Link::enter(at.cast(), current_g(guard)) };
        }
        // SAFETY: 1. the promise stays in memory until it was taken.
        unsafe { &*at }.reserved.set(Some(reserved));
    }

    /// Takes the reserved thing out; the caller fulfils it or gives it back under the same guard.
    pub(super) fn take(&self, guard: &PreemptGuard) -> Option<Reserved> {
        let reserved = self.reserved.take()?;
        if reserved.is_missed() {
            self.link.leave(current_g(guard));
        }
        Some(reserved)
    }

    /// Takes the reserved thing out for a dead G, which has its list no more.
    pub(super) fn disown(&self) -> Option<Reserved> {
        self.reserved.take()
    }
}

impl<T> Exchange<T> {
    /// Reserves a place or a receiver, so that a value can be sent without waiting. The caller
    /// [fulfils](Self::fulfil) the promise or [gives it back](Self::give_back).
    pub(super) fn reserve(&self, guard: &PreemptGuard) -> Option<Reserved> {
        let mut state = self.state.lock(guard);
        if state.closed {
            Some(Reserved::Closed)
        } else if let Some(receiver) = state.recvq.pop() {
            Some(Reserved::Receiver(receiver))
        } else if self.flavour.grow.is_some() {
            Some(Reserved::Endless)
        } else if state.room > 0 {
            state.room -= 1;
            Some(Reserved::Room)
        } else {
            None
        }
    }

    /// Sends the promised value. With room, a receiver that came to wait meanwhile has the value at
    /// once.
    pub(super) fn fulfil(&self, guard: PreemptGuard, reserved: Reserved, value: T) -> Result<(), SendError<T>> {
        match reserved {
            Reserved::Closed => return Err(SendError(value)),
            Reserved::Endless => {
                drop(guard);
                return self.send(value);
            }
            // SAFETY: 1. the receiver was claimed from the `recvq` of this channel, which is one of
            // `T`.
            Reserved::Receiver(receiver) => unsafe { hand_to(receiver, value) }.wake(&guard),
            Reserved::Room => {
                let mut state = self.state.lock(&guard);
                if state.closed {
                    return Err(SendError(value));
                }
                match state.recvq.pop() {
                    Some(receiver) => {
                        drop(state);
                        // SAFETY: 1. the receiver was claimed from the `recvq` of this channel,
                        // which is one of `T`.
                        unsafe { hand_to(receiver, value) }.wake(&guard);
                        self.give_back(Reserved::Room);
                    }
                    // SAFETY: 1. `state` is this channel's own, and the place was reserved for this
                    // value.
                    None => unsafe { Self::push(&mut state, value) },
                }
            }
        }
        Ok(())
    }

    /// Gives the promise back: nothing will be sent, so others may send.
    pub(super) fn give_back(&self, reserved: Reserved) {
        let guard = PreemptGuard::new();
        match reserved {
            Reserved::Closed | Reserved::Endless => {}
            Reserved::Receiver(receiver) => self.let_go(&guard, receiver),
            Reserved::Room => {
                let mut state = self.state.lock(&guard);
                let Some(sender) = state.sendq.pop() else {
                    state.room += 1;
                    return;
                };
                // SAFETY: 1. the reserved place is free and not in `room`, and the sender was
                // claimed from this channel's `sendq`.
                unsafe { Self::refill(&guard, state, sender) };
            }
        }
    }

    /// Gives back a receiver that was promised a value that does not come: the receiver gets
    /// another value, or goes on waiting where it was.
    fn let_go(&self, guard: &PreemptGuard, receiver: Claimed) {
        let state = self.state.lock(guard);
        if state.closed || !receiver.is_plain() {
            // A receiver with a ticket has lost it: the receiver looks again by itself.
            drop(state);
            return receiver.wake(guard);
        }
        match self.recv_now(guard, state) {
            // SAFETY: 1. the receiver was claimed from the `recvq` of this channel, which is one of
            // `T`.
            Some(value) => unsafe { hand_to(receiver, value) }.wake(guard),
            // SAFETY: 1. `recv_now` has left the lock held without a guard. The receiver is still
            // parked, so its node stays where it is.
            None => unsafe {
                self.state.with_held(|state| state.recvq.put_back(receiver));
                self.state.unlock();
            },
        }
    }
}
