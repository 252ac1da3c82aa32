//! A send in two steps, for a dynamic select: it chooses a channel first, and has the value later.
//!
//! A place is taken out of `room` (INV-ROOM), or a receiver that waits is claimed and goes on waiting; either is promised to one G, which
//! [fulfils](Exchange::fulfil) the promise or [gives it back](Exchange::give_back). Values stand in the order in which they are put in, so nobody waits for a
//! promised one that is late: a receiver that comes meanwhile waits in the list, and is served by the promised value or an earlier one.
//!
//! A G that dies where it stands between the two steps keeps what it was promised, for ever: a
//! place, or a receiver. Neither is handed on, as with everything that a dead G holds
//! (`locks/owner.rs`): the channel has one place less, and the receiver waits (with a deadline or
//! in a `select`, until that ends it; else the deadlock report names it). All others go on. So a
//! select fulfils with nothing of the program's in between but the value's own expression.

use super::errors::SendError;
use super::exchange::{Exchange, hand_to};
use crate::preempt::PreemptGuard;
use crate::waitq::Claimed;

/// A promise that a value can be sent without waiting; see [`Exchange::reserve`].
pub(super) enum Reserved {
    /// This G waits for it.
    Receiver(Claimed),
    /// There is room.
    Room,
    /// There is always room.
    Endless,
    /// The channel is closed: the value comes back.
    Closed,
}

impl<T> Exchange<T> {
    /// Makes sure that a value can be sent without waiting. What is reserved is [fulfilled](Self::fulfil) or [given back](Self::give_back).
    pub(super) fn reserve(&self) -> Option<Reserved> {
        let guard = PreemptGuard::new();
        let mut state = self.state.lock(&guard);
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

    /// Sends what was promised. With room, whoever came to wait meanwhile has it at once.
    pub(super) fn fulfil(&self, reserved: Reserved, value: T) -> Result<(), SendError<T>> {
        let guard = PreemptGuard::new();
        match reserved {
            Reserved::Closed => return Err(SendError(value)),
            Reserved::Endless => {
                drop(guard);
                return self.send(value);
            }
            // SAFETY: it was in our `recvq`.
            Reserved::Receiver(receiver) => unsafe { hand_to(receiver, value) }.wake(&guard),
            Reserved::Room => {
                let mut state = self.state.lock(&guard);
                if state.closed {
                    return Err(SendError(value));
                }
                match state.recvq.pop() {
                    Some(receiver) => {
                        drop(state);
                        // SAFETY: as above.
                        unsafe { hand_to(receiver, value) }.wake(&guard);
                        self.give_back(Reserved::Room);
                    }
                    // SAFETY: 1. reserved.
                    None => unsafe { Self::push(&mut state, value) },
                }
            }
        }
        Ok(())
    }

    /// Nothing will be sent: others may.
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
                // SAFETY: 1. it was reserved.
                unsafe { Self::refill(&guard, state, sender) };
            }
        }
    }

    /// A receiver was promised a value that does not come: it gets another one, or goes on waiting where it was.
    fn let_go(&self, guard: &PreemptGuard, receiver: Claimed) {
        let state = self.state.lock(guard);
        if state.closed || !receiver.is_plain() {
            // One that has a ticket has lost it: it looks again by itself.
            drop(state);
            return receiver.wake(guard);
        }
        match self.recv_now(guard, state) {
            // SAFETY: it was in our `recvq`.
            Some(value) => unsafe { hand_to(receiver, value) }.wake(guard),
            // SAFETY: 1. `recv_now` has left the lock held. The receiver stays parked.
            None => unsafe {
                self.state.with_held(|state| state.recvq.put_back(receiver));
                self.state.unlock();
            },
        }
    }
}
