//! How a value travels: as it is, or, above [`LARGE`] bytes, in a parcel, a block of the heap of
//! its own.
//!
// ANCHOR: parcel
//! ```text
//!   small:   sender's stack ─────────────── under the lock ──────────────▶ slot, or the receiver's place
//!
//!   large:   sender's stack ──▶ block                                       block ──▶ receiver's stack
//!                               pointer ─── under the lock ──▶ slot … pointer
//!            preemption on      off                                         preemption on
//! ```
// ANCHOR_END: parcel
//!
//! A channel's lock is held with preemption off, so a move under it must be short. The move must
//! touch nobody's stack where that is not backed yet, and leave the channel whole if the mover's
//! stack ends there. A pointer does all that for values of any size and alignment.
//!
//! * **INV-PARCEL**: with a channel's lock held, or with preemption off, a channel moves at most
//!   [`LARGE`] bytes of a value.
//! * The sender packs before it locks, and the receiver unpacks after it has released the lock.
//!   Either may be preempted, may overflow its stack or may find no memory there: the channel is
//!   not involved. A goroutine that dies while it has a parcel leaks the parcel.
//! * A value of at most [`LARGE`] bytes is aligned to [`LARGE`] at most. So a place for it in a
//!   frame lies on pages that the frame has touched.
//!
//! The decision is a constant of the type. [`Either`] holds one of two things by that constant, and
//! `on!` is the one place that looks: below it, the same code works on `T` or on `Box<T>`.
//!
//! # Rejected
//!
//! * From stack to stack with preemption on: one move instead of two, and no block. But the two
//!   goroutines would depend on each other while the move lasts. A receiver that dies in its middle
//!   would leave a sender parked with half a value, and every wait would need an owner that others
//!   can find dead. A value in a buffer needs the block anyway. `docs/channels.md` has the counts.
//! * A ring of large slots, filled with preemption on between a reservation and a publication: a
//!   sender that dies in between stops every receiver behind it.

use alloc::alloc::{Layout, alloc, handle_alloc_error};
use alloc::boxed::Box;
use core::mem::ManuallyDrop;

/// The largest value that travels as it is, in bytes: two cache lines. Up to here a parcel costs
/// more than it saves (`docs/channels.md`).
pub(super) const LARGE: usize = 128;

/// Returns true if values of this type travel in parcels.
pub(super) const fn is_large<T>() -> bool {
    size_of::<T>() > LARGE
}

/// Moves `value` into a block of its own. With preemption on.
///
/// # Panics
/// When there is no memory for the block; `value` is dropped then.
#[inline(never)]
pub(super) fn pack<T>(value: T) -> Box<T> {
    let layout = Layout::new::<T>();
    // SAFETY: a large value has a size.
    let block = unsafe { alloc(layout) }.cast::<T>();
    if block.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: fresh memory of the right layout, allocated as a box is.
    unsafe {
        block.write(value);
        Box::from_raw(block)
    }
}

/// `S` for a type of small values, `L` for a type of large ones. Its owner knows the type, and
/// drops it.
pub(super) union Either<S, L> {
    small: ManuallyDrop<S>,
    large: ManuallyDrop<L>,
}

impl<S, L> Either<S, L> {
    #[inline(always)]
    pub(super) const fn small(small: S) -> Self {
        Self { small: ManuallyDrop::new(small) }
    }

    #[inline(always)]
    pub(super) const fn large(large: L) -> Self {
        Self { large: ManuallyDrop::new(large) }
    }

    /// # Safety
    /// 1. `self` was made by [`small`](Self::small).
    #[inline(always)]
    pub(super) unsafe fn as_small(&self) -> &S {
        // SAFETY: 1. `self` was made by `small`, so that field is the one that was written.
        unsafe { &self.small }
    }

    /// # Safety
    /// 1. `self` was made by [`large`](Self::large).
    #[inline(always)]
    pub(super) unsafe fn as_large(&self) -> &L {
        // SAFETY: 1. `self` was made by `large`, so that field is the one that was written.
        unsafe { &self.large }
    }

    /// # Safety
    /// 1. `self` was made by [`small`](Self::small).
    #[inline(always)]
    pub(super) unsafe fn as_small_mut(&mut self) -> &mut S {
        // SAFETY: 1. `self` was made by `small`, so that field is the one that was written.
        unsafe { &mut self.small }
    }

    /// # Safety
    /// 1. `self` was made by [`large`](Self::large).
    #[inline(always)]
    pub(super) unsafe fn as_large_mut(&mut self) -> &mut L {
        // SAFETY: 1. `self` was made by `large`, so that field is the one that was written.
        unsafe { &mut self.large }
    }
}

/// Runs `code` with the content of an [`Either`] of `T`. The code is compiled for the side that `T`
/// needs.
macro_rules! on {
    ($t:ty: $either:expr, $it:ident => $code:expr) => {
        if const { $crate::chan::parcel::is_large::<$t>() } {
            // SAFETY: 1. an `Either` of a large `T` is made by `large`.
            let $it = unsafe { $either.as_large() };
            $code
        } else {
            // SAFETY: 1. an `Either` of a small `T` is made by `small`.
            let $it = unsafe { $either.as_small() };
            $code
        }
    };
    ($t:ty: mut $either:expr, $it:ident => $code:expr) => {
        if const { $crate::chan::parcel::is_large::<$t>() } {
            // SAFETY: 1. an `Either` of a large `T` is made by `large`.
            let $it = unsafe { $either.as_large_mut() };
            $code
        } else {
            // SAFETY: 1. an `Either` of a small `T` is made by `small`.
            let $it = unsafe { $either.as_small_mut() };
            $code
        }
    };
}
pub(super) use on;
