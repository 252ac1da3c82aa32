//! The place of one value, and the moves into it and out of it.

use core::mem::MaybeUninit;

use crate::machine::sync::UnsafeCell;
use crate::wait::list::Claimed;

/// Where a value lies: in the channel, or with a waiting G.
pub(in crate::api::chan) type Slot<T> = UnsafeCell<MaybeUninit<T>>;

/// Makes a slot that holds nothing.
pub(in crate::api::chan) fn empty<T>() -> Slot<T> {
    UnsafeCell::new(MaybeUninit::uninit())
}

/// Moves the value out of a slot.
///
/// # Safety
/// 1. The slot holds a value, the caller alone reaches it, and the slot is not read again.
#[inline(always)]
pub(in crate::api::chan) unsafe fn take<T>(slot: &Slot<T>) -> T {
    // SAFETY: the slot holds a value, which nobody reads again, and no other reference to it
    // exists.
    slot.with_mut(|slot| unsafe { (*slot).assume_init_read() })
}

/// Moves `value` to a claimed receiver.
///
/// # Safety
/// 1. The receiver was claimed from the `recvq` of a channel of `T`.
#[inline(always)]
pub(in crate::api::chan) unsafe fn hand_to<T>(receiver: Claimed, value: T) -> Claimed {
    // SAFETY: a receiver in the `recvq` of a channel of `T` offers an empty `Slot<T>`, and stays
    // parked until its claimer wakes it.
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
pub(super) unsafe fn take_from<T>(sender: Claimed) -> (T, Claimed) {
    // SAFETY: a sender in the `sendq` of a channel of `T` offers a full `Slot<T>`, and stays parked
    // until its claimer wakes it.
    let slot = unsafe { &*sender.slot().cast::<Slot<T>>() };
    // SAFETY: 1. until the wake-up the slot is the claimer's, and a served sender does not read its
    // slot.
    (unsafe { take(slot) }, sender.serve())
}
