//! One word in each G decides the end of a wait that several events may end: one of several
//! objects, or a deadline.
//!
// ANCHOR: ticket
//! ```text
//!   G's ticket:   … 6 ──open──▶ 7 ──────────────────────────▶ 8 ──open──▶ 9 …       odd: a wait with this number is open
//!                                    ▲          ▲         ▲
//!              object a's popper ────┘          │         └──── the timer, which keeps (G, 7)
//!              under a's lock      object b's popper            one compare-and-swap each: one of them is the first
//!                                  under b's lock
//! ```
// ANCHOR_END: ticket
//!
//! The winner readies the G, once; a loser does nothing. A number is never used again, so a late
//! loser finds another number and does nothing. A loser is late if it is a timer that was not
//! cancelled in time, or the popper of a node that is about to be taken out. A record is recycled,
//! but its ticket goes on counting. (G's are type-stable: a stale reference to one can be looked at
//! for ever.)
//!
//! # A wait with a deadline, step by step
//!
//! ```text
//!   G, lock held:  open, push the node, park ─▶ commit, on another stack: release the lock, start the timer
//!   woken by:      a popper (Claimed)         or the timer
//!   G again:       cancel the timer              take the node out, under the lock
//! ```
//!
//! * **INV-TICKET**: for each number there is at most one winner, and the winner readies the G
//!   exactly once. The G itself may be the winner. While its registers are saved and its nodes are
//!   pushed one by one (`commit`), an object may turn out to need no wait. Then nobody owes the G a
//!   `ready`.
//! * No lock is held while another is taken: a G that waits for several objects registers with each
//!   under that one's own lock. The first object may claim and ready the G before the G is
//!   registered with the second. The G is Parking then: `ready` only marks it, and `after` finds
//!   the mark (`g/state.rs`). So its nodes stay where they are until `commit` is through.
//!
//! **The hard races.**
//!
//! * *Two objects at once*: both poppers hold their own lock, and the compare-and-swap decides. The
//!   loser goes on to the next node in its list. So no value is given to a G that already has one,
//!   and no waiter behind it is passed over.
//! * *An object and the timer*: the same. A G that timed out takes its node out under the object's
//!   lock, after which no popper knows the node.
//! * *A G that is ended where it stands* (its stack has overflowed) while a popper and the timer
//!   compete for it. The G ends when preemption is on again. By then its nodes are out and its
//!   timer is cancelled (INV-NO-ORPHAN in `wait/list.rs`). A timer on its way to fire meets a
//!   number that is over.
//!
//! Relaxed throughout: the word decides, and publishes nothing. The object's lock and `ready` hand
//! on the data that a loser or a winner touched.
//!
//! Rejected:
//!
//! * locking all objects in the order of their addresses and waiting with all locks held, as Go
//!   does: the longer the list, the longer all others wait, with preemption off;
//! * a lock in each G: a popper would hold two;
//! * a heap node with a reference count for each wait.

use crate::core::park::{current_g, park, park_as};
use crate::g::ticket::Number;
use crate::g::waiter::Waiter;
use crate::g::{GRef, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::wait::deaths::{Waited, carry, settle};
use crate::wait::list::WaitQueue;
use crate::wait::sleep;

/// The end of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Woken {
    /// The waker has [served](crate::wait::list::Claimed::serve) the G.
    Served,
    /// The G was woken, but not served.
    Unserved,
    /// The deadline came first.
    TimedOut,
}

/// For a wait without a deadline.
pub(crate) const NEVER: u64 = u64::MAX;

/// Before a wait with a deadline, and before the object's lock is taken: preemption off, and room
/// for its timer, since `commit` must not allocate.
///
/// # Panics
/// When there is no memory for the timer.
#[inline(always)]
pub(crate) fn reserve_timer(deadline: u64) -> PreemptGuard {
    if deadline == NEVER { PreemptGuard::new() } else { sleep::reserve() }
}

/// Parks the current G in the list `queue` of the object behind `lock` until somebody claims it or
/// the clock reads `deadline` nanoseconds ([`NEVER`]: no deadline). `slot` is its place for a
/// value. A deadline that has passed is still a wait: look at the clock first.
///
/// The lock is released when the G is saved. When this returns, the object is touched only if the
/// wait has timed out.
///
/// # Safety
/// 1. The caller holds `lock` without a guard
///    ([`into_held`](crate::internals::spin::SpinGuard::into_held)), and `guard` is its only one.
///    2. Every popper of the list wakes the G that it claims. 3. A [timer is
///    reserved](reserve_timer). 4. The object lives until this returns, unless somebody claims the
///    caller.
#[inline(always)]
pub(crate) unsafe fn wait_until<S>(
    guard: PreemptGuard,
    lock: &SpinLock<S>,
    queue: fn(&mut S) -> &mut WaitQueue,
    slot: *mut (),
    reason: WaitReason,
    deadline: u64,
) -> Woken {
    if deadline == NEVER {
        let g = current_g(&guard);
        // SAFETY: `wait_plain` has this function's own rules, and `g` is the caller.
        unsafe { wait_plain(guard, g, lock, queue, slot, reason) }
    } else {
        // SAFETY: `wait_timed` has this function's own rules.
        unsafe { wait_timed(guard, false, lock, queue, slot, reason, deadline) }
    }
}

/// A wait that would have been for ever, since the G with this number has died.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lost(pub(crate) u64);

/// As [`wait_until`], for `object`, whose waiters are told if a death makes them wait for ever
/// (`wait/deaths.rs`). Out of line: the object's rare case.
///
/// # Safety
/// As [`wait_until`]; and `lock` is that of `object`.
#[cold]
pub(crate) unsafe fn wait_watched<S>(
    guard: PreemptGuard,
    object: &dyn Waited,
    lock: &SpinLock<S>,
    queue: fn(&mut S) -> &mut WaitQueue,
    slot: *mut (),
    reason: WaitReason,
    deadline: u64,
) -> Result<Woken, Lost> {
    let g = current_g(&guard);
    carry(g, object);
    let woken = if deadline == NEVER {
        let waiter = Waiter::of(g, slot);
        let arg = core::ptr::from_ref(lock).cast_mut().cast();
        // SAFETY: 1. of `with_held`: the caller holds the lock. 1. of `push`: this G parks right
        // below. 1. of `park_as`: the popper that claims the waiter wakes it, once. 2. the object
        // lives until this returns. 3. `g` is the caller.
        unsafe {
            lock.with_held(|state| queue(state).push(waiter));
            drop(park_as(guard, g, reason, settle_and_unlock::<S>, arg));
        }
        if waiter.was_served() { Woken::Served } else { Woken::Unserved }
    } else {
        // SAFETY: `wait_timed` has this function's own rules.
        unsafe { wait_timed(guard, true, lock, queue, slot, reason, deadline) }
    };
    g.waiter.buried_by().map_or(Ok(woken), |id| Err(Lost(id)))
}

/// Without a deadline.
///
/// # Safety
/// As [`wait_until`]; and `g` is the caller.
#[inline(always)]
pub(crate) unsafe fn wait_plain<S>(
    guard: PreemptGuard,
    g: GRef,
    lock: &SpinLock<S>,
    queue: fn(&mut S) -> &mut WaitQueue,
    slot: *mut (),
    reason: WaitReason,
) -> Woken {
    let waiter = Waiter::of(g, slot);
    // SAFETY: 1. of `with_held`: the caller holds the lock. 1. of `push`: this G parks right below.
    unsafe { lock.with_held(|state| queue(state).push(waiter)) };
    // SAFETY: 1. the popper that claims the waiter wakes it, once. 2. the object with the lock
    // lives until this returns. 3. `g` is the caller.
    drop(unsafe { park_as(guard, g, reason, unlock::<S>, core::ptr::from_ref(lock).cast_mut().cast()) });
    if waiter.was_served() { Woken::Served } else { Woken::Unserved }
}

/// With one.
///
/// # Safety
/// As [`wait_until`].
#[cold]
#[inline(never)]
unsafe fn wait_timed<S>(
    guard: PreemptGuard,
    watched: bool,
    lock: &SpinLock<S>,
    queue: fn(&mut S) -> &mut WaitQueue,
    slot: *mut (),
    reason: WaitReason,
    deadline: u64,
) -> Woken {
    let g = current_g(&guard);
    let number = g.ticket.open();
    let waiter = Waiter::of_ticketed(g, slot, number);
    // SAFETY: 1. of `with_held`: the caller holds the lock. 1. of `push_ticketed`: this G parks,
    // and removes the node if no pop has.
    unsafe { lock.with_held(|state| queue(state).push_ticketed(waiter)) };
    let wait = Timed { watched, lock, number, deadline };
    // SAFETY: 1. one popper, or the timer, wins the ticket and readies the G. 2. `wait` lies on
    // this stack, and `unlock_and_start` uses it only before the G can run again.
    let guard = unsafe { park(guard, reason, unlock_and_start::<S>, (&raw const wait).cast_mut().cast()) };
    // Preemption stays off until the node is out: INV-NO-ORPHAN.
    let woken = if waiter.was_claimed() {
        sleep::cancel_expiry(&guard, g);
        if waiter.was_served() { Woken::Served } else { Woken::Unserved }
    } else {
        queue(&mut lock.lock(&guard)).remove(waiter);
        Woken::TimedOut
    };
    waiter.make_plain();
    woken
}

struct Timed<'a, S> {
    /// The G carries the object that it waits for.
    watched: bool,
    lock: &'a SpinLock<S>,
    number: Number,
    deadline: u64,
}

/// `park`'s commit: the G is saved, the lock may go.
unsafe fn unlock<S>(lock: *mut (), _: GRef) -> bool {
    // SAFETY: `wait_plain` passes its object's lock, which is held without a guard, and this
    // releases it.
    unsafe { (*lock.cast::<SpinLock<S>>()).unlock() };
    true
}

/// `park`'s commit of a watched wait: the same, and the wait is settled.
unsafe fn settle_and_unlock<S>(lock: *mut (), g: GRef) -> bool {
    // SAFETY: 1. `wait_watched` passes its object's lock, which is held without a guard, and the
    // closure releases it.
    unsafe { settle(g, || (*lock.cast::<SpinLock<S>>()).unlock()) };
    true
}

/// `park`'s commit of a wait with a deadline: releases the lock and starts the timer.
unsafe fn unlock_and_start<S>(wait: *mut (), g: GRef) -> bool {
    // SAFETY: `wait_timed` passes its `Timed`. Its G stays Parking until this has returned, so its
    // stack is there.
    let wait = unsafe { &*wait.cast::<Timed<'_, S>>() };
    // SAFETY: the lock is held without a guard, and is released once.
    let unlock = || unsafe { wait.lock.unlock() };
    if wait.watched {
        // SAFETY: 1. this is a `commit`, and `unlock` releases the lock that is held.
        unsafe { settle(g, unlock) };
    } else {
        unlock();
    }
    if g.ticket.is_open(wait.number) {
        sleep::start_expiry(wait.deadline, g);
    }
    true
}
