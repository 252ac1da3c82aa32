//! The holder of a lock: a life of a G; and the effect on the others when that G is dead.
//!
//! A lock that one G at a time holds keeps in its word the number of that G, shifted by the flags'
//! three bits: its *life*. The number is never used again. A leaked guard, or the death of an
//! owner, leaves a lock that is never given back. Such a lock can't be taken for another G's.
//! Learning the life costs two loads, of the core's current G and of its number. The G may change
//! cores between the loads: both values are still its own.
//!
//! **A death grants nothing.** A G that ended where it stood is a G that is parked for ever. Its
//! locks stay held, because it may have lent the locked values to others, which use them still.
//! `lock` on such a lock panics and names the dead owner; `try_lock` says that it would block.
//! Waiters are woken into the same panic (`wait/deaths.rs`). A death does not poison.
//!
//! Rejected:
//!
//! * an address on the owner's stack: windows are used again, so a later G's overflow made a dead
//!   owner of a leaked guard whose G had ended well;
//! * to pass the lock on as poisoned: two `&mut` to one value, if the guard was leaked or lent.

use crate::core::m::M;
use crate::core::shared::Sched;
use crate::g::state::State;
use crate::g::{GRef, id_of};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::{AtomicUsize, Ordering};
use crate::wait::deaths::{Dead, Deaths, Holding, object_of};

pub use crate::g::LIFE_SHIFT;

/// The bits of a word that name the owner.
pub(super) const OWNER: usize = !FLAGS;
/// The other bits.
pub(super) const FLAGS: usize = (1 << LIFE_SHIFT) - 1;

/// Returns the life of the calling G, which names it. Not 0.
#[inline(always)]
pub(super) fn life_here() -> usize {
    platform::current_life()
}

/// Makes `owner` the owner of `word` and sets the flags `taken`, if none of the bits `barred` is
/// set. Otherwise sets the flags `else_set`, and returns false.
pub(super) fn take(word: &AtomicUsize, barred: usize, owner: usize, taken: usize, else_set: usize) -> bool {
    let mut now = word.load(Ordering::Relaxed);
    loop {
        let takes = now & barred == 0;
        if !takes && else_set == 0 {
            return false;
        }
        let to = if takes { now & FLAGS | owner | taken } else { now | else_set };
        // Acquire: pairs with the Release of the last holder's unlock.
        match word.compare_exchange(now, to, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return takes,
            Err(other) => now = other,
        }
    }
}

/// Returns the owner that `word` names, if it is dead.
pub(super) fn dead_owner(word: usize, deaths: &Deaths) -> Option<&'static Dead> {
    if word & OWNER == 0 { None } else { deaths.find(id_of(word & OWNER)) }
}

/// Returns the scheduler's record of deaths.
pub(super) fn deaths(guard: &PreemptGuard) -> &'static Deaths {
    &M::current(guard).sched().deaths
}

/// Returns the number of the G on whose stack `at` lay, if it is dead.
pub(super) fn dead_frame(at: usize) -> Option<u64> {
    match platform::dead_stack(at) {
        0 => None,
        id => Some(id),
    }
}

/// A death that a panic tells of; see [`Claimed::bury`](crate::wait::list::Claimed::bury).
struct Of(u64);

impl core::fmt::Display for Of {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let dead = deaths(&PreemptGuard::new()).find(self.0);
        match dead {
            Some(dead) => dead.fmt(f),
            None => write!(f, "G {}, which has died", self.0),
        }
    }
}

/// Ends a wait for `what` at `at`, which a dead G has and never gives back. With preemption on, and
/// no lock held.
#[cold]
#[inline(never)]
pub(super) fn held_by_the_dead(what: &str, at: usize, id: u64) -> ! {
    panic!("{what} at 0x{at:016x} stays held by {}", Of(id))
}

/// Ends a wait for an object that lies in the dead one's frames.
#[cold]
#[inline(never)]
pub(super) fn lies_among_the_dead(what: &str, at: usize, id: u64) -> ! {
    panic!("{what} at 0x{at:016x} lies on the stack of {}", Of(id))
}

/// The holder of the object that a parked G waits for. For reports.
#[derive(Debug)]
pub enum Holder {
    /// A G that lives.
    Lives(GRef),
    /// A G that ended where it stood.
    Died(&'static Dead),
    /// A G that has ended in good order, and left a guard behind. Its number.
    Ended(u64),
}

/// Returns the holder of the object that `g` waits for, if the object's word names one. For
/// reports.
///
/// # Safety
/// 1. `g` is parked, and stays so.
pub unsafe fn holder(sched: &'static Sched, g: &crate::g::G) -> Option<Holder> {
    // SAFETY: 1. `g` is parked, and stays so while this function runs.
    let (id, mask) = match unsafe { object_of(g) }?.holder() {
        Holding::Unknown => return None,
        Holding::By(id) => (id, u64::MAX),
        Holding::ByShort(id, bits) => (id, (1 << bits) - 1),
    };
    let mut lives = None;
    sched.for_each_g(|g| {
        if g.id() & mask == id && !matches!(g.state(), State::Idle | State::Dead) {
            lives = Some(g);
        }
    });
    let dead = if mask == u64::MAX { sched.deaths.find(id) } else { sched.deaths.find_short(id, mask.count_ones()) };
    Some(lives.map(Holder::Lives).or_else(|| dead.map(Holder::Died)).unwrap_or(Holder::Ended(id)))
}
