//! Who holds a lock: an address on a stack; and what happens when that stack is dead.
//!
//! A lock that one G at a time holds keeps in its word an address on the stack of that G. It costs no look at the current M, it stays right when the
//! G moves to another core, and it says what matters: when a G dies of an overflow, its frames are abandoned and its window's addresses are never
//! used again, so "the owner lies in a dead window" can't be mistaken. Such an owner will not unlock. Whoever waits or comes
//! later **buries** it: does in its place what a panic would have done (poisons), and passes the lock on.
//!
//! **The hard race** is a waiter that goes to sleep while the owner dies:
//!
//! ```text
//!   waiter                                   undertaker (the dying G's core, on its g0)
//!   in the list; state: Parking              the window is marked dead
//!   ── fence ──                              ── fence ──
//!   is the owner dead? then bury it          for each G that waits for a lock: is the lock's owner dead? then bury it
//!   state: Waiting                             (one that is Parking: wait until it is not)
//! ```
//!
//! With a fence on both sides, one of them sees the other. A G may also die *after* it was woken for a lock and before it has run (it was doomed
//! already when it parked). What it was given names it, so that is the same case; a wake-up that it was to use is passed on:
//! the undertaker treats each lock that nobody holds as one whose wake-up was lost.
//!
//! Rejected: the G's number as the owner (to learn it costs more than the lock); a list a G of what it holds (each lock would have to enter it there).

use crate::g::{GRef, HAND_BYTES, WaitReason};
use crate::gstate::State;
use crate::platform;
use crate::preempt::PreemptGuard;
use crate::sched::Sched;
use crate::sync::{Ordering, fence, spin_loop};

/// The bits of a word that name the owner. Locals of a word's size are aligned to it, so the lowest three are free for flags.
pub(super) const OWNER: usize = !FLAGS;
/// The others.
pub(super) const FLAGS: usize = 0b111;

const _: () = assert!(align_of::<usize>() > FLAGS);

/// What names the G that runs: an address on its stack.
#[inline(always)]
pub(super) fn owner_here() -> usize {
    let here = 0usize;
    core::ptr::from_ref(&here).addr()
}

/// Whether `word` names an owner, and that one is dead.
pub(super) fn owner_is_dead(word: usize) -> bool {
    word & OWNER != 0 && platform::stack_is_dead(word & OWNER)
}

/// Between what the undertaker may not see any more (a waiter that goes to sleep, a reader that leaves) and the look whether an owner is dead.
pub(super) fn fence_against_death() {
    // SeqCst: pairs with the fence in `owner_died`; see the hard race in the module's header.
    fence(Ordering::SeqCst);
}

/// A G has died and its window is marked dead: what it held, and somebody waits for, is buried. With preemption off, on no list of any object.
pub(crate) fn owner_died(sched: &'static Sched, guard: &PreemptGuard) {
    // SeqCst: pairs with the fence in `fence_against_death`.
    fence(Ordering::SeqCst);
    sched.for_each_g(|g| {
        loop {
            match g.state() {
                // On its way to park on another core, or somebody looks at its stack: a few instructions.
                State::Parking | State::ParkingReady | State::Scan | State::ScanReady => spin_loop(),
                state if state.is_parked() => {
                    let scanned = sched.scan(guard, g, |g, _| {
                        // SAFETY: 1. the scan keeps it parked.
                        if let Some(object) = unsafe { object_of(g) } {
                            object.owner_died(guard);
                        }
                    });
                    if scanned {
                        return;
                    }
                }
                _ => return,
            }
        }
    });
}

/// What a lock whose word names its owner can be asked for. A waiting G carries its lock as one (in the place for values from hand to hand, which it does not
/// need meanwhile), so that a program without locks has no code for their dead owners.
pub(super) trait Owned {
    /// If the owner is dead: buries it. A wake-up that has died with a waiter is passed on.
    fn owner_died(&self, guard: &PreemptGuard);
    /// The owner's address.
    fn holder(&self) -> Option<usize>;
}

const _: () = assert!(size_of::<*const dyn Owned>() <= HAND_BYTES);

/// `g`, which runs, is about to wait for `object`, with one of the reasons in `object_of`.
pub(super) fn carry<'a>(g: GRef, object: &'a (dyn Owned + 'a)) {
    let object: *const (dyn Owned + 'a) = object;
    // SAFETY: the place is large and aligned enough, and the G's own while it runs.
    unsafe { g.hand().cast::<*const (dyn Owned + 'a)>().write(object) };
}

/// What `g` waits for, if it is a lock with an owner.
///
/// # Safety
/// 1. `g` is parked, and stays so as long as the reference lives.
unsafe fn object_of<'a>(g: &'a crate::G) -> Option<&'a (dyn Owned + 'a)> {
    match g.wait_reason() {
        // SAFETY: 1. whoever waits with one of these reasons has put its lock there, and keeps it alive while it is parked.
        WaitReason::Mutex | WaitReason::RwLockRead | WaitReason::RwLockWrite | WaitReason::Once => unsafe {
            Some(&*g.hand().cast::<*const (dyn Owned + 'a)>().read())
        },
        _ => None,
    }
}

/// Who holds what `g` waits for, as far as its word names one. For reports.
///
/// # Safety
/// 1. `g` is parked, and stays so.
pub unsafe fn holder(sched: &Sched, g: &crate::G) -> Option<GRef> {
    // SAFETY: 1.
    let at = unsafe { object_of(g) }?.holder()?;
    let mut found = None;
    sched.for_each_g(|g| {
        if (g.stack().lo..g.stack().hi).contains(&at) {
            found = Some(g);
        }
    });
    found
}
