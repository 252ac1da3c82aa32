//! A channel without its handles, by the values that its users see; below it, large ones are in
//! parcels (`parcel.rs`).

use alloc::boxed::Box;

use super::errors::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
use super::exchange::{Exchange, State};
use super::parcel::{Either, is_large, on, pack};
use super::reserve::{Promise, Reserved};
use super::{bounded, unbounded};
use crate::api::time::Instant;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;

/// An exchange of values, or of parcels.
pub(super) struct Channel<T>(Either<Exchange<T>, Exchange<Box<T>>>);

impl<T> Channel<T> {
    pub(super) fn bounded(capacity: usize) -> Self {
        Self(if const { is_large::<T>() } {
            Either::large(bounded::channel(capacity))
        } else {
            Either::small(bounded::channel(capacity))
        })
    }

    pub(super) fn unbounded() -> Self {
        Self(if const { is_large::<T>() } {
            Either::large(unbounded::channel())
        } else {
            Either::small(unbounded::channel())
        })
    }

    /// Returns the exchange for small or for large values, for arms.
    #[inline(always)]
    pub(super) fn either(&self) -> &Either<Exchange<T>, Exchange<Box<T>>> {
        &self.0
    }

    #[inline(always)]
    pub(super) fn send(&self, value: T) -> Result<(), SendError<T>> {
        if const { is_large::<T>() } {
            // SAFETY: 1. the `Either` of a large `T` was made by `large`.
            let exchange = unsafe { self.0.as_large() };
            return exchange.send(pack(value)).map_err(|SendError(parcel)| SendError(*parcel));
        }
        // SAFETY: 1. the `Either` of a small `T` was made by `small`.
        unsafe { self.0.as_small() }.send(value)
    }

    #[inline(always)]
    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        if const { is_large::<T>() } {
            // SAFETY: 1. the `Either` of a large `T` was made by `large`.
            let exchange = unsafe { self.0.as_large() };
            return exchange.try_send(pack(value)).map_err(|error| match error {
                TrySendError::Full(parcel) => TrySendError::Full(*parcel),
                TrySendError::Disconnected(parcel) => TrySendError::Disconnected(*parcel),
            });
        }
        // SAFETY: 1. the `Either` of a small `T` was made by `small`.
        unsafe { self.0.as_small() }.try_send(value)
    }

    #[inline(always)]
    pub(super) fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        if const { is_large::<T>() } {
            // SAFETY: 1. the `Either` of a large `T` was made by `large`.
            let exchange = unsafe { self.0.as_large() };
            return exchange.send_deadline(pack(value), deadline).map_err(|error| match error {
                SendTimeoutError::Timeout(parcel) => SendTimeoutError::Timeout(*parcel),
                SendTimeoutError::Disconnected(parcel) => SendTimeoutError::Disconnected(*parcel),
            });
        }
        // SAFETY: 1. the `Either` of a small `T` was made by `small`.
        unsafe { self.0.as_small() }.send_deadline(value, deadline)
    }

    #[inline(always)]
    pub(super) fn recv(&self) -> Result<T, RecvError> {
        if const { is_large::<T>() } {
            // SAFETY: 1. the `Either` of a large `T` was made by `large`.
            return unsafe { self.0.as_large() }.recv().map(|parcel| *parcel);
        }
        // SAFETY: 1. the `Either` of a small `T` was made by `small`.
        unsafe { self.0.as_small() }.recv()
    }

    #[inline(always)]
    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        if const { is_large::<T>() } {
            // SAFETY: 1. the `Either` of a large `T` was made by `large`.
            return unsafe { self.0.as_large() }.try_recv().map(|parcel| *parcel);
        }
        // SAFETY: 1. the `Either` of a small `T` was made by `small`.
        unsafe { self.0.as_small() }.try_recv()
    }

    #[inline(always)]
    pub(super) fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        if const { is_large::<T>() } {
            // SAFETY: 1. the `Either` of a large `T` was made by `large`.
            return unsafe { self.0.as_large() }.recv_deadline(deadline).map(|parcel| *parcel);
        }
        // SAFETY: 1. the `Either` of a small `T` was made by `small`.
        unsafe { self.0.as_small() }.recv_deadline(deadline)
    }

    pub(super) fn reserve(&self, guard: &PreemptGuard) -> Option<Reserved> {
        on!(T: self.0, exchange => exchange.reserve(guard))
    }

    /// Sends the promised value. Without memory for a parcel the promise stays where it is.
    pub(super) fn fulfil(&self, promise: &Promise, value: T) -> Result<(), SendError<T>> {
        if const { is_large::<T>() } {
            let parcel = pack(value);
            let guard = PreemptGuard::new();
            let Some(reserved) = promise.take(&guard) else {
                drop(guard);
                return Err(SendError(*parcel));
            };
            // SAFETY: 1. the `Either` of a large `T` was made by `large`.
            let exchange = unsafe { self.0.as_large() };
            return exchange.fulfil(guard, reserved, parcel).map_err(|SendError(parcel)| SendError(*parcel));
        }
        let guard = PreemptGuard::new();
        let Some(reserved) = promise.take(&guard) else { return Err(SendError(value)) };
        // SAFETY: 1. the `Either` of a small `T` was made by `small`.
        unsafe { self.0.as_small() }.fulfil(guard, reserved, value)
    }

    pub(super) fn give_back(&self, reserved: Reserved) {
        on!(T: self.0, exchange => exchange.give_back(reserved));
    }

    pub(super) fn close(&self) {
        on!(T: self.0, exchange => exchange.close());
    }

    /// Drops the values in the channel, which is closed.
    pub(super) fn drain(&self) {
        on!(T: self.0, exchange => while exchange.drain_one().is_some() {});
    }

    pub(super) fn len(&self) -> usize {
        on!(T: self.0, exchange => exchange.len())
    }

    pub(super) fn is_full(&self) -> bool {
        on!(T: self.0, exchange => exchange.is_full())
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        on!(T: self.0, exchange => exchange.capacity())
    }

    /// Returns an identity that no other channel has.
    pub(super) fn id(&self) -> *const () {
        on!(T: self.0, exchange => exchange.id())
    }

    /// Returns the lock, for a G that waits for several channels.
    pub(super) fn state(&self) -> &SpinLock<State> {
        on!(T: self.0, exchange => exchange.state())
    }

    /// Returns true if sends never wait.
    pub(super) fn is_endless(&self) -> bool {
        on!(T: self.0, exchange => exchange.is_endless())
    }
}

impl Channel<Instant> {
    /// Makes a channel of the clock.
    pub(super) fn of_clock(exchange: Exchange<Instant>) -> Self {
        const { assert!(!is_large::<Instant>()) };
        Self(Either::small(exchange))
    }
}

impl<T> Drop for Channel<T> {
    fn drop(&mut self) {
        // SAFETY: this drop is the only one, and nobody uses the content after it.
        on!(T: mut self.0, exchange => unsafe { core::ptr::drop_in_place(exchange) });
    }
}
