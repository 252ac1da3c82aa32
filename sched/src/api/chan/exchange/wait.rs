//! The wait of a sender or a receiver in its list.

use super::State;
use crate::g::{GRef, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::wait::list::WaitQueue;
use crate::wait::ticket::{self, Woken, wait_until};

pub(in crate::api::chan) const SENDING: bool = true;

pub(in crate::api::chan) const RECEIVING: bool = false;

/// Parks the caller in its side's list.
///
/// # Safety
/// 1. The caller holds the lock, without a guard, and has reserved a timer for a deadline. 2.
///    `slot` is of the kind that the other side of the channel expects.
#[inline(always)]
pub(in crate::api::chan) unsafe fn wait<const SIDE: bool>(
    guard: PreemptGuard,
    state: &SpinLock<State>,
    slot: *mut (),
    deadline: u64,
) -> Woken {
    // SAFETY: 1. and 3. the lock is held without a guard, and a timer is reserved for a deadline.
    // 2. every operation that pops a G from these lists wakes it. 4. the caller borrows a handle,
    // which keeps the channel.
    unsafe { wait_until(guard, state, list::<SIDE>, slot, reason::<SIDE>(), deadline) }
}

/// Parks the caller likewise, without a deadline.
///
/// # Safety
/// As above; and `g` is the caller.
#[inline(always)]
pub(super) unsafe fn wait_plain<const SIDE: bool>(
    guard: PreemptGuard,
    g: GRef,
    state: &SpinLock<State>,
    slot: *mut (),
) -> Woken {
    // SAFETY: 1. and 3. the lock is held without a guard, and a wait without a deadline needs no
    // timer. 2. every operation that pops a G from these lists wakes it. 4. the caller borrows a
    // handle. `g` is the caller.
    unsafe { ticket::wait_plain(guard, g, state, list::<SIDE>, slot, reason::<SIDE>()) }
}

fn list<const SIDE: bool>(state: &mut State) -> &mut WaitQueue {
    if SIDE == SENDING { &mut state.sendq } else { &mut state.recvq }
}

const fn reason<const SIDE: bool>() -> WaitReason {
    if SIDE == SENDING { WaitReason::ChanSend } else { WaitReason::ChanRecv }
}
