//! Goroutines that ended where they stood, and the G's that wait for them.
//!
//! An abandoned G (see [`abandon`](crate::abandon)) is a G that is parked for ever. Nothing that
//! the dead G held passes to another: it may have lent its access to G's that still use it. The
//! remaining duty is to *tell*. A waiter that would wait for ever for a dead G is woken, and panics
//! with the dead G's name.
//!
//! # The undertaker
//!
//! After each death an M looks at every G that waits. Is the awaited object lost, or left half done
//! by the dead G? Such a look is a *round*. A round runs in pieces of a few records, on g0, on any
//! M that comes by. Resting M's count a round as work, and no M declares a deadlock while it lasts.
//! A death during a round asks for another one.
//!
//! **The hard race** is a waiter that goes to sleep while the owner dies:
//!
//! ```text
//!   waiter                                   the dying G's core
//!   in the list; state: Parking              the death is recorded
//!   ── fence ──                              ── fence ──
//!   is the owner dead? then a round!         a round!
//!   state: Waiting
//!                                            the round, later, on any core:
//!                                            for each G: is what it waits for lost? then one of its list is woken, until it is
//!                                              (Parking: the piece ends, and looks once more)
//! ```
//!
//! With a fence on both sides, either the round sees the waiter, or the waiter sees the death and
//! asks for a round that sees both. The waiter does not leave the list by itself, because a plain
//! node is in the middle of it.
//!
//! A G may also die while it wakes a crowd (a `notify_all`, a close). Its record names the waiters
//! that it has not reached. The undertaker wakes them, a few in each piece, before it looks at any
//! other G.
//!
//! Unused promises of a dynamic select to the dead G (`api/chan/reserve.rs`) are given back on its
//! core, or by a round if there are many.
//!
//! The undertaker *pops*, so it needs no node by name: every waiter in the list of a lost object is
//! to be woken. The undertaker visits G's in no order. From a G that waits for a lost object, it
//! goes on only when that object's list is empty. So the list is empty when the round is over.
//!
//! An unlock has two steps: free the word, then wake a waiter. A death may come between the two. So
//! the undertaker also finishes that unlock: it treats a lock that nobody holds as one whose
//! wake-up was lost. A waiter that was woken does not die before it has competed, since preemption
//! is off from its wake-up until then.
//!
//! Rejected:
//!
//! * a walk over all G's by the dying core in one piece: 100,000 G's are milliseconds without
//!   preemption;
//! * a list, for each G, of the locks that it holds: each lock would have to enter it there;
//! * a G of its own for this work: there may be no memory for its stack just then.

use crate::core::m::M;
use crate::core::rounds::{Rounds, Walk};
use crate::core::shared::Sched;
pub use crate::g::dead::{Dead, Deaths};
use crate::g::state::State;
use crate::g::{G, GRef, HAND_BYTES, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::{Ordering, fence};
use crate::queue::registry::Cursor;
use crate::wait::list::{Claimed, Crowd};

/// Records that a piece of a round looks at: two chunks of them.
const CHUNKS: usize = 2;
/// Waiters that a piece wakes before it ends. The rest of its chunk may add one for each G.
const WAKES: usize = 16;
/// The time between two pieces if a G runs in between, in nanoseconds.
const GAP: u64 = 20_000;

/// Leaves `crowd` for a round to wake.
#[cold]
pub(crate) fn leave_to_round(m: &M, crowd: Crowd, guard: &PreemptGuard) {
    m.sched().rounds.orphans.lock(guard).add(crowd.first());
    ask(m, guard);
}

/// Gives back the promises made to `dead`, which dies on `m`: some here, the rest by a round.
pub(crate) fn give_back(m: &M, dead: GRef, guard: &PreemptGuard) {
    if !dead.promises.get().is_null() {
        let mut owed = m.sched().rounds.owed.lock(guard);
        if owed.add(dead) {
            owed.work();
        }
        dead.promises.set(core::ptr::null());
    }
}

/// Asks for a round: a G has died, or a waiter has seen a death too late to turn back. On `m`.
pub(crate) fn ask(m: &M, guard: &PreemptGuard) {
    let sched = m.sched();
    // SeqCst: pairs with the fence in `settle`: see the hard race.
    fence(Ordering::SeqCst);
    sched.rounds.ask(work);
    follow(m, guard);
}

/// Makes the next piece come soon, even if a G runs here meanwhile.
fn follow(m: &M, guard: &PreemptGuard) {
    m.attend_platform();
    let p = m.held(guard);
    if p.is_outside() {
        return m.sched().wake_now(m);
    }
    p.slice.arm(platform::now() + GAP);
    m.arm(p.next_alarm());
}

/// Runs a piece of the round that is pending. On a g0, or by a model.
#[cold]
#[inline(never)]
#[optimize(size)]
pub(crate) fn work(guard: &PreemptGuard) {
    let m = M::current(guard);
    let sched = m.sched();
    let rounds = &sched.rounds;
    // AcqRel: Acquire pairs with the Release of the M before. Release tells the M at work, by its
    // own swap, of the requests so far.
    if rounds.at_work.swap(true, Ordering::AcqRel) {
        return;
    }
    // SAFETY: `at_work` admits one worker at a time.
    rounds.walk.with_mut(|walk| piece(sched, guard, unsafe { &mut *walk }));
    // AcqRel: as above. A swap, so that it sees the request of an M that has just gone away in
    // vain.
    rounds.at_work.swap(false, Ordering::AcqRel);
    if rounds.is_pending() {
        follow(m, guard);
    }
}

fn piece(sched: &'static Sched, guard: &PreemptGuard, walk: &mut Walk) {
    let rounds = &sched.rounds;
    if walk.target == rounds.done.load(Ordering::Relaxed) {
        // Acquire: pairs with the Release in `ask`.
        *walk = Walk { cursor: Cursor::new(), target: rounds.asked.load(Ordering::Acquire) };
        // SeqCst: as in `ask`, for this core.
        fence(Ordering::SeqCst);
    }
    let mut wakes = WAKES;
    while let Some(orphan) = next_orphan(rounds, guard) {
        orphan.wake(guard);
        wakes -= 1;
        if wakes == 0 {
            return;
        }
    }
    if rounds.owed.lock(guard).work() {
        return;
    }
    for _ in 0..CHUNKS {
        let before = walk.cursor;
        let mut settled = true;
        let last = sched.walk_gs(&mut walk.cursor, 1, |g| settled &= visit(sched, guard, g, &mut wakes));
        if !settled {
            walk.cursor = before;
            return;
        }
        if last {
            // Release: an M that sees the end of the round sees the G's that it readied.
            rounds.done.store(walk.target, Ordering::Release);
            return;
        }
    }
}

fn next_orphan(rounds: &Rounds, guard: &PreemptGuard) -> Option<Claimed> {
    // SAFETY: a node of the list belongs to a claimed G, which only this pop will wake.
    rounds.orphans.lock(guard).pop().map(|node| unsafe { Claimed::from_node(node) })
}

/// Sees to the object that `g` waits for. Returns false if `g` is to be visited once more.
fn visit(sched: &'static Sched, guard: &PreemptGuard, g: GRef, wakes: &mut usize) -> bool {
    if !is_watched(g.wait_reason()) {
        return true;
    }
    match g.state() {
        // On its way to park on another core, or another M looks at its stack.
        State::Parking | State::Scan => false,
        State::Waiting | State::Cold => {
            let mut settled = true;
            let scanned = sched.scan(guard, g, |g, _| {
                // SAFETY: 1. the scan keeps `g` parked while this closure runs, and the reference
                // does not leave it.
                let Some(object) = (unsafe { object_of(g) }) else { return };
                while object.see_to_one(&sched.deaths, guard) {
                    if *wakes == 0 {
                        settled = false;
                        return;
                    }
                    *wakes -= 1;
                }
            });
            scanned && settled
        }
        _ => true,
    }
}

/// An object that a G may wait for in vain because another G has died.
///
/// A waiting G carries the object in its place for values from hand to hand. The G does not need
/// that place meanwhile. So a program without locks has no code for this.
pub(crate) trait Waited {
    /// Returns true if all who wait here would wait for ever. With the list's lock held.
    fn is_lost(&self, deaths: &Deaths) -> bool;
    /// Wakes one waiter, if it would wait for ever, or if a dead G has left a step unfinished.
    /// Returns true if it did, so there may be more.
    fn see_to_one(&self, deaths: &Deaths, guard: &PreemptGuard) -> bool;
    /// Returns the holder, as far as it is known.
    fn holder(&self) -> Holding {
        Holding::Unknown
    }
}

/// Wakes `first`, if there is one, into the panic that names the dead G number `id`. Returns true
/// if there was one.
pub(crate) fn bury_one(first: Option<Claimed>, id: u64, guard: &PreemptGuard) -> bool {
    let any = first.is_some();
    if let Some(first) = first {
        first.bury(id).wake(guard);
    }
    any
}

/// The holder of an object that G's wait for.
pub(crate) enum Holding {
    /// Nobody, or several holders, or the object cannot be held.
    Unknown,
    /// The G with this number.
    By(u64),
    /// The G whose number ends with these bits: the value, and how many there are.
    ByShort(u64, u32),
}

const _: () = assert!(size_of::<*const dyn Waited>() <= HAND_BYTES);

/// Stores `object`, for which the running `g` is about to wait for a [watched](is_watched) reason.
pub(crate) fn carry<'a>(g: GRef, object: &'a (dyn Waited + 'a)) {
    let object: *const (dyn Waited + 'a) = object;
    // SAFETY: the place is large and aligned enough, and the G's own while it runs.
    unsafe { g.hand().cast::<*const (dyn Waited + 'a)>().write(object) };
}

/// Returns true if a G that waits for this reason carries its object.
fn is_watched(reason: WaitReason) -> bool {
    matches!(
        reason,
        WaitReason::Mutex
            | WaitReason::RwLockRead
            | WaitReason::RwLockWrite
            | WaitReason::Once
            | WaitReason::Condvar
            | WaitReason::Semaphore
            | WaitReason::Barrier
            | WaitReason::WaitGroup
    )
}

/// Returns the object that `g` waits for, if `g` carries it.
///
/// # Safety
/// 1. `g` is parked, and stays so as long as the reference lives.
pub(crate) unsafe fn object_of<'a>(g: &'a G) -> Option<&'a (dyn Waited + 'a)> {
    if !is_watched(g.wait_reason()) {
        return None;
    }
    // SAFETY: 1. a parked G with one of these reasons has put a pointer to its object there
    // (`carry`), and keeps the object alive.
    unsafe { Some(&*g.hand().cast::<*const (dyn Waited + 'a)>().read()) }
}

/// Releases the list's lock by `unlock`, after which the object may be gone. Runs in the `commit`
/// of `g`, which carries its object and stands in the list. If `g` would wait for ever, a round
/// will find it.
///
/// # Safety
/// 1. In a `commit`, with the object's lock held, which `unlock` releases.
pub(crate) unsafe fn settle(g: GRef, unlock: impl FnOnce()) {
    // SeqCst: pairs with the fence in `ask`; see the hard race.
    fence(Ordering::SeqCst);
    // SAFETY: 1. a switch runs `after` with one level of preemption off; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    let m = M::current(&guard);
    let deaths = &m.sched().deaths;
    // SAFETY: 1. `g` has parked, and nobody can claim it while the object's lock is held.
    let lost = deaths.count() != 0 && unsafe { object_of(g) }.is_some_and(|object| object.is_lost(deaths));
    unlock();
    if lost {
        ask(m, &guard);
    }
    guard.hand_over();
}
