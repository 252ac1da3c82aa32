//! The receiving half: fast, slow and rare receives.

use core::mem::MaybeUninit;

use super::slot::{Slot, empty, take, take_from};
use super::wait::{RECEIVING, wait, wait_plain};
use super::{Exchange, State};
use crate::api::chan::errors::{RecvError, RecvTimeoutError, TryRecvError};
use crate::api::time::Instant;
use crate::core::park::current_g;
use crate::g::waiter::place_for;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinGuard;
use crate::wait::list::Claimed;
use crate::wait::ticket::{NEVER, Woken, reserve_timer};

impl<T> Exchange<T> {
    /// Receives while there is something; `state` is locked. None: there is nothing, and the lock
    /// is still held.
    #[inline(always)]
    pub(in crate::api::chan) fn recv_now(&self, guard: &PreemptGuard, mut state: SpinGuard<'_, State>) -> Option<T> {
        if state.len > 0 {
            // SAFETY: 1. `state` is this channel's own, and `len` is more than 0.
            let value = unsafe { self.pop(&mut state) };
            if let Some(sender) = state.sendq.pop() {
                // SAFETY: 1. `pop` has just freed a place that `room` does not count, and the
                // sender was claimed from this channel's `sendq`.
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
        // SAFETY: 1. the sender was claimed from the `sendq` of this channel, which is one of `T`.
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
    pub(in crate::api::chan) unsafe fn refill(guard: &PreemptGuard, mut state: SpinGuard<'_, State>, sender: Claimed) {
        // SAFETY: 1. the sender comes from this channel's `sendq`, so its slot holds a `T`; there
        // is room for that value, which `room` does not count.
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
    pub(in crate::api::chan) fn recv(&self) -> Result<T, RecvError> {
        let guard = PreemptGuard::new();
        match self.recv_now(&guard, self.state.lock(&guard)) {
            Some(value) => Ok(value),
            // SAFETY: 1. `recv_now` returns `None` with the lock held and its guard forgotten.
            None => unsafe { self.recv_slowly(guard) },
        }
    }

    /// Receives when nothing is there.
    ///
    /// # Safety
    /// 1. The lock is held, without a guard, and is the caller's to give away.
    #[inline(never)]
    unsafe fn recv_slowly(&self, guard: PreemptGuard) -> Result<T, RecvError> {
        // SAFETY: 1. the caller holds the lock without a guard.
        if unsafe { self.state.with_held(|state| state.closed) } || self.flavour.clock.is_some() {
            // SAFETY: 1. the lock is still held, and `recv_rarely` releases it.
            return unsafe { self.recv_rarely(guard) };
        }
        let g = current_g(&guard);
        let mut spare = MaybeUninit::uninit();
        let slot: *mut Slot<T> = place_for(g, spare.as_mut_ptr());
        // SAFETY: `place_for` returns a place that fits a slot, and only this G knows the place
        // until the G is in the list.
        unsafe { slot.write(empty()) };
        // SAFETY: 1. the lock is held without a guard, and there is no deadline. 2. `slot` is a
        // `Slot<T>`, as `hand_to` expects. `g` is the caller.
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
        // SAFETY: 1. the caller holds the lock without a guard, and does not release it.
        let closed = unsafe { self.release() };
        drop(guard);
        match &self.flavour.clock {
            Some(clock) if !closed => (clock.recv)(self, NEVER).map_err(|_| RecvError),
            _ => Err(RecvError),
        }
    }

    pub(in crate::api::chan) fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        match self.try_recv() {
            Ok(value) => return Ok(value),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) if deadline <= Instant::now() => return Err(RecvTimeoutError::Timeout),
            Err(TryRecvError::Empty) => {}
        }
        let guard = reserve_timer(deadline.as_nanos());
        match self.recv_now(&guard, self.state.lock(&guard)) {
            Some(value) => Ok(value),
            // SAFETY: 1. `recv_now` returns `None` with the lock held, and `reserve_timer` has
            // reserved the timer.
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
            // SAFETY: 1. the lock is held without a guard: by the caller at first, and by the
            // failed `recv_now` at the end of each turn.
            if unsafe { self.state.with_held(|state| state.closed) } || self.flavour.clock.is_some() {
                // SAFETY: 1. the lock is held, and nobody else releases it.
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
            // SAFETY: `place_for` returns a place that fits a slot, and only this G knows the place
            // until the G is in the list.
            unsafe { slot.write(empty()) };
            // SAFETY: 1. the lock is held without a guard, and a timer is reserved. 2. `slot` is a
            // `Slot<T>`, as `hand_to` expects.
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
    pub(in crate::api::chan) fn try_recv(&self) -> Result<T, TryRecvError> {
        let guard = PreemptGuard::new();
        if let Some(value) = self.recv_now(&guard, self.state.lock(&guard)) {
            return Ok(value);
        }
        // SAFETY: 1. the failed `recv_now` has left the lock held.
        let closed = unsafe { self.release() };
        if closed {
            return Err(TryRecvError::Disconnected);
        }
        let clock = self.flavour.clock.as_ref();
        clock.and_then(|clock| (clock.take)(self, Instant::now().as_nanos())).ok_or(TryRecvError::Empty)
    }
}
