//! Step 8: an M that has found nothing rests, and the last one to rest looks for a deadlock.
//!
//! `idle.rs` draws the protocol; this is the M's side of it.
//!
//! INV-TIMER-HOME: An M gives up its P with the timers in it, and rests with the earliest of them
//! as its deadline. The M is that P's *home* from then on, and prefers it when it gets up. An M
//! that gets another P also arms its one-shot for the deadlines that it keeps. A P taken by another
//! M takes its timers along (`Sched::take_p` arms them). So every pending timer has a core whose
//! one-shot is armed for it.

use crate::core::m::{M, WOKEN};
use crate::core::p::TIMER_RETRY;
use crate::core::shared::Sched;
use crate::core::trace;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform::{self, Fatal};
use crate::machine::sync::{Ordering, spin_loop};
use trefoil_trace::{Kind, Place};

/// Takes step 8. Returns when there may be work and this M has a P.
pub(crate) fn rest(m: &'static M) {
    let sched = m.sched;
    if m.take_woken() {
        trace::note_all(m, Kind::Woken, 0, Place::Nowhere, 0, 0, 0);
        m.counters.wakes_useless.add(1);
        sched.rest.woken_in_vain();
    }
    let p = m.p();
    if let Some(p) = p {
        m.keep(p);
        // Nobody waits here. An alarm that is left would interrupt the M that takes the P next.
        p.forget_alarms();
    }
    m.forget_haul();
    if m.spinning.get() {
        trace::note(m, Kind::SpinEnd, 0, 0);
    }
    if p.is_some() {
        trace::note(m, Kind::Release, 0, 0);
    }
    m.set_p(None);
    // INV-WATCH: an M that spins on sees to the G's that this one has left in place.
    sched.rest.lie_down(m.index(), p.map(|p| p.index()), m.spinning.replace(false));
    let mut watched = m.is_shy() && sched.rest.is_watched();
    let mut now = platform::now();
    loop {
        // INV-RECHECK: we are findable now. A push from before that moment is ours to see.
        let own = !m.pinned_queue.is_empty();
        if own || sched.rest.has_idle_p() && sched.has_work_but(core::mem::take(&mut watched), now) {
            if !sched.rest.get_up(m.index()) {
                return wait_for_token(m);
            }
            if sched.take_p_to_look(m) {
                sched.rest.spin();
                m.spinning.set(true);
                trace::note(m, Kind::Spin, 0, 0);
                return;
            }
            // Another M was faster, or the P is surplus (see `core/max_procs.rs`) and will be
            // claimed in a moment.
            if own {
                m.pass_on_own();
            }
            sched.rest.lie_down(m.index(), None, false);
            spin_loop();
            now = platform::now();
            continue;
        }
        if !sched.has_timers() && sched.rest.all_rest() {
            check_deadlock(m, now);
        }
        // INV-TIMER-HOME: the timers of the P that we gave up are ours until another M takes the P.
        let mut until = m.kept_until().min(m.outside.timers.when());
        if until <= now {
            // All P's are taken, or the P is surplus: an M that has a P runs them.
            m.stray();
            m.ask_others();
            until = now + TIMER_RETRY;
        }
        m.resting_since.store(now, Ordering::Relaxed);
        trace::note(m, Kind::Rest, 0, until);
        platform::idle(&m.token, until);
        m.resting_since.store(u64::MAX, Ordering::Relaxed);
        trace::note_all(m, Kind::Rise, u8::from(m.token.is_set()), Place::Nowhere, 0, 0, 0);
        let woke = platform::now();
        m.counters.idle_ns.add(woke.saturating_sub(core::mem::replace(&mut now, woke)));
        // The one-shot was the idle hook's to use.
        m.forget_armed();
        if m.token.is_set() {
            return wait_for_token(m);
        }
    }
}

/// Takes the token and a P, after another M has claimed us and counts us as spinning.
fn wait_for_token(m: &'static M) {
    while !m.token.take() {
        spin_loop();
    }
    m.counters.wakes_received.add(1);
    m.spinning.set(true);
    m.news.set(m.news.get() | WOKEN);
    trace::note(m, Kind::Spin, 0, 0);
    if m.take_handed_p() {
        return;
    }
    // Without a P `find_runnable` comes straight back to `rest`, which gives up the spinning.
    m.sched.take_p_to_look(m);
}

/// Reports a deadlock if it is certain. Every started M rests and no timer is pending. If that
/// still holds, with nothing to run and no interrupt expected, no G will ever run again.
#[cold]
fn check_deadlock(m: &M, now: u64) {
    let sched = m.sched;
    // An M that rests and scans looks again when it is through, and comes here itself. First,
    // because a G that the scanner queues is work.
    if sched.is_scanning() {
        return;
    }
    // No dispatch between two looks at the resting M's: then all facts in between held at the same
    // time. (An interrupt may have woken an M, whose G waits for the next one now.)
    let before = sched.dispatches();
    if sched.is_stuck(now) && sched.rest.all_rest() && sched.dispatches() == before && sched.num_goroutines() > 0 {
        platform::fatal(Fatal::Deadlock);
    }
}

impl Sched {
    /// Returns the total of dispatches.
    #[inline(never)]
    pub(crate) fn dispatches(&'static self) -> u64 {
        self.ms().fold(0, |sum: u64, m| sum.wrapping_add(m.counters.runs.get()))
    }

    /// Returns true if no G is queued, no timer is armed and nobody waits for an interrupt.
    #[inline(never)]
    fn is_stuck(&'static self, now: u64) -> bool {
        !(self.inbox.is_expected()
            || self.has_work(now)
            || self.has_slots()
            || self.has_timers()
            || self.rounds.is_pending())
    }

    /// Returns true if only the calling timer keeps the scheduler from a deadlock. For a timer's
    /// own call, on a g0. Such a timer should not fire again, for it hides the deadlock.
    pub fn is_dead_but_for_me(&'static self, now: u64) -> bool {
        let me = M::current(&PreemptGuard::new()).index();
        self.rest.all_rest_but(me) && !self.is_scanning() && self.is_stuck(now)
    }
}
