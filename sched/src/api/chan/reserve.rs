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
use crate::g::G;
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
pub(crate) struct Promise {
    /// The promise that was made before this one, and the one after it.
    older: Cell<*const Promise>,
    newer: Cell<*const Promise>,
    /// The life of the G.
    life: Cell<usize>,
    reserved: Cell<Option<Reserved>>,
    give_back: unsafe fn(*const Promise),
    /// [`Owed::give_back_some`], called by way of a promise: a program without any has no code for
    /// it.
    give_back_some: fn(&mut Owed),
    /// Others reach the promise through the record: nobody's access is the only one.
    _pinned: PhantomPinned,
}

impl Promise {
    /// Makes an empty promise.
    ///
    /// # Safety
    /// 1. `give_back` may be called with this promise as soon as something is [kept](Self::keep) in
    ///    it.
    pub(super) unsafe fn new(give_back: unsafe fn(*const Promise)) -> Self {
        let nothing = || Cell::new(core::ptr::null());
        Self {
            older: nothing(),
            newer: nothing(),
            life: Cell::new(0),
            reserved: Cell::new(None),
            give_back,
            give_back_some: Owed::give_back_some,
            _pinned: PhantomPinned,
        }
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
        // SAFETY: 1.
        let promise = unsafe { &*at };
        if reserved.is_missed() {
            let g = current_g(guard);
            let older = newest(g);
            promise.life.set(g.life());
            promise.newer.set(core::ptr::null());
            promise.older.set(older);
            // SAFETY: 1. of the older one: a promise in the list is in memory.
            if let Some(older) = unsafe { older.as_ref() } {
                older.newer.set(at);
            }
            g.promises.set(at);
        }
        promise.reserved.set(Some(reserved));
    }

    /// Takes the reserved thing out; the caller fulfils it or gives it back under the same guard.
    pub(super) fn take(&self, guard: &PreemptGuard) -> Option<Reserved> {
        let reserved = self.reserved.take()?;
        if reserved.is_missed() {
            let (older, newer) = (self.older.get(), self.newer.get());
            // SAFETY: 1. of `keep`, of both: a promise in the list is in memory.
            unsafe { newer.as_ref() }.map_or(&current_g(guard).promises, |newer| &newer.older).set(older);
            // SAFETY: as above.
            if let Some(older) = unsafe { older.as_ref() } {
                older.newer.set(newer);
            }
        }
        Some(reserved)
    }

    /// Takes the reserved thing out for a dead G, which has its list no more.
    pub(super) fn disown(&self) -> Option<Reserved> {
        self.reserved.take()
    }
}

/// Returns the first promise in the list of `g`, in its present life.
fn newest(g: &G) -> *const Promise {
    let first = g.promises.get();
    // SAFETY: 1. of `keep`; one that was not taken in an earlier life was leaked.
    if !first.is_null() && unsafe { &*first }.life.get() == g.life() { first } else { core::ptr::null() }
}

/// The promises to G's that are dead: one list behind another.
///
/// ```text
///   first ──▶ promise ── older ──▶ promise ── older ──▶ (none)     the rest of one G's
///                └ newer ──▶ promise ── older ──▶ …                the rest of another one's
/// ```
#[derive(Debug)]
pub(crate) struct Owed(*const Promise);

// SAFETY: their G's never run again: they belong to the list.
unsafe impl Send for Owed {}

impl Owed {
    /// Makes an empty list.
    pub(crate) const fn nothing() -> Self {
        Self(core::ptr::null())
    }

    /// Puts the promises to one more dead G in front. False: there are none.
    pub(crate) fn add(&mut self, dead: &G) -> bool {
        let first = newest(dead);
        // SAFETY: 1. of `keep`.
        let Some(promise) = (unsafe { first.as_ref() }) else { return false };
        promise.newer.set(core::mem::replace(&mut self.0, first));
        true
    }

    /// Gives some back. True: there are more.
    pub(crate) fn work(&mut self) -> bool {
        // SAFETY: 1. of `keep`.
        if let Some(promise) = unsafe { self.0.as_ref() } {
            (promise.give_back_some)(self);
        }
        !self.0.is_null()
    }

    fn give_back_some(&mut self) {
        for _ in 0..TOGETHER {
            let at = self.0;
            // SAFETY: 1. of `keep`.
            let Some(promise) = (unsafe { at.as_ref() }) else { return };
            let (older, newer) = (promise.older.get(), promise.newer.get());
            // SAFETY: as above.
            self.0 = match unsafe { older.as_ref() } {
                Some(second) => {
                    second.newer.set(newer);
                    older
                }
                None => newer,
            };
            // SAFETY: 1. of `new`.
            unsafe { (promise.give_back)(at) };
        }
    }
}

/// So many are given back in one go: some thousands of instructions.
const TOGETHER: usize = 16;

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
                // SAFETY: 1. it was reserved.
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
