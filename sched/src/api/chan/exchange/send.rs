//! The sending half: fast, slow and rare sends.

use core::mem::MaybeUninit;

use super::slot::{Slot, hand_to, take};
use super::wait::{SENDING, wait, wait_plain};
use super::{Exchange, State};
use crate::api::chan::errors::{SendError, SendTimeoutError, TrySendError};
use crate::api::time::Instant;
use crate::core::park::current_g;
use crate::g::waiter::place_for;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinGuard;
use crate::machine::sync::UnsafeCell;
use crate::wait::ticket::{Woken, reserve_timer};

impl<T> Exchange<T> {
    /// Sends while that needs no waiting; `state` is locked. On failure the value comes back, and
    /// the lock is still held.
    #[inline(always)]
    fn send_now(&self, guard: &PreemptGuard, mut state: SpinGuard<'_, State>, value: T) -> Result<(), T> {
        if !state.closed {
            if let Some(receiver) = state.recvq.pop() {
                drop(state);
                // SAFETY: 1. the receiver was claimed from the `recvq` of this channel, which is
                // one of `T`.
                unsafe { hand_to(receiver, value) }.wake(guard);
                return Ok(());
            }
            if state.room > 0 {
                state.room -= 1;
                // SAFETY: 1. `state` is this channel's own, and the place was taken out of `room`
                // on the line above.
                unsafe { Self::push(&mut state, value) };
                return Ok(());
            }
        }
        state.into_held();
        Err(value)
    }

    /// Sends. Short enough to be inlined: rarely needed code is behind calls.
    #[inline(always)]
    pub(in crate::api::chan) fn send(&self, value: T) -> Result<(), SendError<T>> {
        let guard = PreemptGuard::new();
        match self.send_now(&guard, self.state.lock(&guard), value) {
            Ok(()) => Ok(()),
            // SAFETY: 1. `send_now` gives the value back with the lock held and its guard
            // forgotten.
            Err(value) => unsafe { self.send_slowly(guard, value) },
        }
    }

    /// Sends when the channel is closed or has no room.
    ///
    /// # Safety
    /// 1. The lock is held, without a guard, and is the caller's to give away.
    #[inline(never)]
    unsafe fn send_slowly(&self, guard: PreemptGuard, value: T) -> Result<(), SendError<T>> {
        // SAFETY: 1. the caller holds the lock without a guard.
        if unsafe { self.state.with_held(|state| state.closed) } || self.flavour.grow.is_some() {
            // SAFETY: 1. the lock is still held, and `send_rarely` releases it.
            return unsafe { self.send_rarely(guard, value) };
        }
        let g = current_g(&guard);
        let mut spare = MaybeUninit::uninit();
        let slot: *mut Slot<T> = place_for(g, spare.as_mut_ptr());
        // SAFETY: `place_for` returns a place that fits a slot, and only this G knows the place
        // until the G is in the list.
        unsafe { slot.write(UnsafeCell::new(MaybeUninit::new(value))) };
        // SAFETY: 1. the lock is held without a guard, and there is no deadline. 2. `slot` is a
        // full `Slot<T>`, as `take_from` expects. `g` is the caller.
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
        // SAFETY: 1. the caller holds the lock without a guard, and does not release it.
        let closed = unsafe { self.release() };
        drop(guard);
        match self.flavour.grow {
            Some(grow) if !closed => grow(self, value),
            _ => Err(SendError(value)),
        }
    }

    pub(in crate::api::chan) fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
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
            // SAFETY: 1. `send_now` gives the value back with the lock held, and `reserve_timer`
            // has reserved the timer.
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
            // SAFETY: 1. the lock is held without a guard: by the caller at first, and by the
            // failed `send_now` at the end of each turn.
            if unsafe { self.state.with_held(|state| state.closed) } || self.flavour.grow.is_some() {
                // SAFETY: 1. the lock is held, and nobody else releases it.
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
                // SAFETY: `place_for` returns a place that fits a slot, and only this G knows the
                // place until the G is in the list.
                unsafe { slot.write(UnsafeCell::new(MaybeUninit::new(value))) };
                // SAFETY: 1. the lock is held without a guard, and a timer is reserved. 2. `slot`
                // is a full `Slot<T>`, as `take_from` expects.
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

    #[inline(always)]
    pub(in crate::api::chan) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let guard = PreemptGuard::new();
        let Err(value) = self.send_now(&guard, self.state.lock(&guard), value) else { return Ok(()) };
        // SAFETY: 1. the failed `send_now` has left the lock held.
        let closed = unsafe { self.release() };
        drop(guard);
        match self.flavour.grow {
            _ if closed => Err(TrySendError::Disconnected(value)),
            Some(grow) => grow(self, value).map_err(TrySendError::from),
            None => Err(TrySendError::Full(value)),
        }
    }
}
