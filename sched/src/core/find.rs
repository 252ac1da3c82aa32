//! The scheduling loop on g0: how an M finds its next G when none is at hand.
//!
// ANCHOR: find
//! ```text
//!   run_m: loop {  find a G  ──▶ switch g0 → G ──▶ … G's switch among themselves … ──▶ somebody switches to g0  }
//!
//!   find a G:  1 due timers, inbox,     4 slot              7 others' rings, ripe slots, due timers, and 6 again (spinning)
//!                pinned G's             5 ring              8 rest: give up the P, become findable, look once more
//!              2 every 61st: the slot   6 globq, a share
//!                goes behind the ring,
//!                if its slice is over
//!              3 then one of globq
//! ```
// ANCHOR_END: find
//!
//! No object lock is held here, and no code here runs on a G's stack.

use crate::core::due::{run_arrived, run_strays, run_timers};
use crate::core::enqueue::{end_chain, end_if_over};
use crate::core::leave::run_next;
use crate::core::m::M;
use crate::core::p::{ATTEND_SLICE, FAIR_TICKS, Held};
use crate::core::rest::rest;
use crate::core::slice::{arm_if_others_wait, goes_first};
use crate::core::trace::{self, found_in};
use crate::core::victims::victims;
use crate::g::GRef;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::{Ordering, spin_loop};
use crate::queue::ring::CAPACITY;
use trefoil_trace::{Kind, Place};

/// The most G's taken from the global queue at once: half a ring.
const GLOBAL_SHARE: usize = CAPACITY as usize / 2;

/// Rounds that a thief makes before it rests. From the last of these on it also looks at due timers
/// and ripe slots.
const ROUNDS: usize = if cfg!(loom) { 1 } else { 4 };

/// Rounds of an M that was woken. Its wake-up has been paid for, and another M has taken the work
/// that it was meant for. More work usually follows within microseconds, so the M looks longer
/// before the wake-up counts as needless.
const ROUNDS_WOKEN: usize = if cfg!(loom) { 1 } else { 64 };

/// Pauses between two rounds.
const PAUSES: usize = 8;

/// Runs G's on this core for ever. On the core's g0 stack, after
/// [`Sched::start_m`](crate::Sched::start_m), with preemption off (depth 1).
pub fn run_m(m: &'static M) -> ! {
    // SAFETY: 1. `run_m` begins at depth 1, as its documentation asks, and no guard stands for that
    // level.
    let guard = unsafe { PreemptGuard::adopt() };
    loop {
        let g = next_g(m, &guard);
        if g.pinned_to().is_some_and(|at| at != m.index()) {
            m.misrouted.set(Some(g));
            continue;
        }
        arm_if_others_wait(m, &m.held(&guard));
        let next = run_next(m, Some(g));
        // SAFETY: 1. the G came from a queue, so its context is saved, and this M alone has it. The
        // level of preemption goes with the switch and comes back with it.
        unsafe { platform::switch(m.g0.sp.get(), next, after_nothing, core::ptr::null_mut(), core::ptr::null_mut()) };
    }
}

/// g0 needs no publishing.
unsafe extern "C" fn after_nothing(_: *mut (), _: *mut ()) {}

/// Searches and rests until there is a G for `m`. Passes the search on if `m` was the last to
/// search.
pub(crate) fn next_g(m: &'static M, guard: &PreemptGuard) -> GRef {
    let g = find_runnable(m, guard);
    if m.spinning.replace(false) {
        trace::note_all(m, Kind::SpinEnd, 1, Place::Nowhere, 0, 0, 0);
        if m.sched.rest.stop_spinning() && m.sched.has_work(0) {
            // The last spinner found work and there is more: the chain of wake-ups goes on.
            m.sched.wake_one(m);
        }
    }
    if m.news.get() != 0 {
        tell_news(m, g);
    }
    g
}

/// Notes that `m`, which was woken, has found `g` to run, and records that it runs next.
#[cold]
#[inline(never)]
fn tell_news(m: &M, g: GRef) {
    if m.take_woken() {
        m.sched.rest.woken_usefully();
        trace::note_all(m, Kind::Woken, 1, Place::Nowhere, 0, g.id(), 0);
    }
    trace::found(m, g);
}

fn find_runnable(m: &'static M, guard: &PreemptGuard) -> GRef {
    loop {
        if let Some(g) = m.misrouted.take() {
            m.send(g, guard);
        }
        if m.p().is_some_and(|p| p.index() >= m.sched.num_ps()) {
            // A surplus or private P: other M's may run the G's that wait there.
            m.surrender(guard);
        }
        if m.p().is_some() {
            let p = m.held(guard);
            if let Some(g) = local_work(m, &p, guard) {
                return g;
            }
            if let Some(g) = look_around(m, &p, guard) {
                return g;
            }
            if m.spinning.get() && m.watches() {
                m.nap(&p);
                continue;
            }
        }
        rest(m);
    }
}

/// Takes steps 1 to 6.
fn local_work(m: &M, p: &Held<'_>, guard: &PreemptGuard) -> Option<GRef> {
    let attention = p.attention.load(Ordering::Relaxed);
    if attention != 0 {
        p.calm_down();
        p.made_way(platform::now());
        if attention & ATTEND_SLICE != 0 {
            end_chain(m, p, guard);
        }
    }
    platform::on_g0();
    if m.sched.rounds.is_pending()
        && let Some(work) = m.sched.rounds.worker()
    {
        work(guard);
    }
    if p.trimmed.get() != m.sched.trims.load(Ordering::Relaxed) {
        p.trimmed.set(m.sched.trims.load(Ordering::Relaxed));
        p.free.flush(&m.sched.free, guard);
    }
    if p.timers.when() != u64::MAX
        && let Some(g) = run_timers(m, p, p, guard, platform::now())
    {
        goes_first(p);
        found_in(m, Place::Hand);
        return Some(g);
    }
    if let Some(g) = run_strays(m, p, guard) {
        goes_first(p);
        found_in(m, Place::Hand);
        return Some(g);
    }
    if !m.sched.inbox.is_empty()
        && let Some(g) = run_arrived(m, p, guard)
    {
        goes_first(p);
        found_in(m, Place::Hand);
        return Some(g);
    }
    if let Some(g) = m.pinned_queue.pop(guard, 1).pop() {
        goes_first(p);
        found_in(m, Place::Pinned);
        return Some(g);
    }
    let left = p.fair.get() - 1;
    if left == 0 {
        p.fair.set(FAIR_TICKS);
        trace::ticked(m);
        end_if_over(m, p, guard);
        if let Some(g) = m.sched.globq.pop(guard, 1).pop() {
            p.slice.reset();
            found_in(m, Place::Global);
            return Some(g);
        }
    } else {
        p.fair.set(left);
    }
    if let Some(g) = p.take_slot() {
        found_in(m, Place::Slot);
        return Some(g);
    }
    if let Some(g) = p.ring().pop() {
        p.slice.reset();
        found_in(m, Place::Ring);
        return Some(g);
    }
    from_global(m, p, guard)
}

/// Takes step 6: takes a fair share of the global queue, and returns the first G to run.
fn from_global(m: &M, p: &Held<'_>, guard: &PreemptGuard) -> Option<GRef> {
    let globq = &m.sched.globq;
    let waiting = globq.len();
    if waiting == 0 {
        return None;
    }
    let mut share = globq.pop(guard, (waiting / m.sched.num_ps() + 1).min(GLOBAL_SHARE));
    let first = share.pop()?;
    trace::note_all(m, Kind::Share, 0, Place::Hand, 1 + share.len() as u32, first.id(), 0);
    p.ring().append(&mut share);
    found_in(m, Place::Hand);
    if !share.is_empty() {
        // The ring had G's already: the rest waits once more.
        trace::all_moved(m, &share, Place::Global);
        globq.push(guard, share);
    }
    p.slice.reset();
    Some(first)
}

/// Takes step 7: looks at other P's, as a spinning M.
fn look_around(m: &'static M, p: &Held<'_>, guard: &PreemptGuard) -> Option<GRef> {
    let sched = m.sched;
    if sched.is_single() || !(m.spinning.get() || sched.rest.try_spin()) {
        return None;
    }
    if !m.spinning.replace(true) {
        trace::note(m, Kind::Spin, 0, 0);
    }
    m.end_haul();
    let rounds = if m.is_shy() {
        1
    } else if m.was_woken() {
        ROUNDS_WOKEN
    } else {
        ROUNDS
    };
    for round in 0..rounds {
        if round > 0 {
            (0..PAUSES).for_each(|_| spin_loop());
        }
        // P's beyond the number, too, while they are not gone: timers may be left in them.
        for v in victims(sched.num_ps(), &p.rng).chain(sched.num_ps()..sched.ps().len()) {
            let victim = &sched.ps()[v];
            if v == p.index() {
                continue;
            }
            let most = m.may_take(victim);
            if most != 0
                && let end = p.ring().end()
                && let Some(g) = victim.runq.steal_into(&mut p.ring(), most)
            {
                let n = 1 + p.ring().end().wrapping_sub(end);
                m.counters.steals.add(u64::from(n));
                trace::note_all(m, Kind::Steal, 0, Place::Ring, n, g.id(), v as u64);
                m.counters.hauls.add(1);
                found_in(m, Place::Hand);
                m.begin_haul();
                p.slice.reset();
                return Some(g);
            }
            if round + 1 >= ROUNDS.min(rounds) {
                if let Some(g) = victim.slot.steal() {
                    m.counters.steals.add(1);
                    trace::note_all(m, Kind::Steal, 0, Place::Slot, 1, g.id(), v as u64);
                    found_in(m, Place::Hand);
                    p.slice.reset();
                    return Some(g);
                }
                if victim.timers.when() != u64::MAX {
                    // With an empty ring, due G's go there.
                    let first = run_timers(m, p, victim, guard, platform::now());
                    found_in(m, if first.is_some() { Place::Hand } else { Place::Ring });
                    if let Some(g) = first.or_else(|| p.ring().pop()) {
                        p.slice.reset();
                        return Some(g);
                    }
                }
            }
        }
        if let Some(g) = from_global(m, p, guard) {
            return Some(g);
        }
    }
    None
}
