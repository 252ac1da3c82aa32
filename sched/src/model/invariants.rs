//! Invariants of a scheduler that hold whenever nothing is on its way: for the end of every model.
//!
//! ```text
//!   one owner         a P is free, or gone, or one M's, or on its way to one (handed over): exactly one of these; below the number, none is gone
//!   INV-TIMER-HOME    a pending timer has a core whose one-shot, or the end of whose rest, comes in time
//!   no lost wake-up   something waits, a P is free for it, and an M rests: then another M is on its way to it
//! ```
//!
//! Where M's do not rest, all G's come to an end instead, and leave nothing behind
//! ([`left_behind`]). There is no timer, no open wait, no node in a list and no claimed G. Nothing
//! is in a queue, and there is no round.
//!
//! "On its way" is an M that was claimed, and one that spins: it looks before it rests.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::core::m::M;
use crate::core::p::P;
use crate::core::p::TIMER_RETRY;
use crate::core::shared::Sched;
use crate::g::GRef;
use crate::g::state::State;
use crate::machine::platform;
use crate::machine::sync::Ordering;

impl Sched {
    fn rests(&self, m: &M) -> bool {
        self.rest.is_resting(m.index())
    }

    /// Returns the M that keeps the deadlines of `p`, which has no M.
    fn home(&'static self, p: &P) -> Option<&'static M> {
        let home = self.m(p.home.load(Ordering::Relaxed))?;
        (home.keeps.load(Ordering::Relaxed) >> p.index() & 1 == 1).then_some(home)
    }
}

/// Returns true if the one-shot of `m` comes in time for `when`. For a time that has come, a little
/// later will do.
fn is_armed(m: &M, when: u64) -> bool {
    let armed = m.armed.load(Ordering::Relaxed);
    armed != 0 && armed <= when.max(platform::now() + TIMER_RETRY)
}

/// Returns a P without an M and with a pending timer whose home fails it. The home rests for
/// another P, or runs and has its one-shot armed for something later.
pub fn orphan(sched: &'static Sched) -> Option<usize> {
    let free = sched.ps().iter().filter(|p| sched.rest.is_idle_p(p.index()) && p.timers.when() != u64::MAX);
    let is_kept = |p: &P| {
        // At rest it is the platform that knows until when: see `deadlines`. One that was claimed
        // sets its one-shot when it is up.
        sched.home(p).is_some_and(|m| sched.rests(m) || m.token.is_set() || is_armed(m, p.timers.when()))
    };
    free.filter(|p| !is_kept(p)).map(P::index).next()
}

/// Returns the M's that rest, and the deadlines for which they do.
pub fn deadlines(sched: &'static Sched) -> Vec<(usize, u64)> {
    let kept = sched.ps().iter().filter(|p| sched.rest.is_idle_p(p.index()));
    let kept = kept.filter_map(|p| Some((sched.home(p)?, p.timers.when())));
    let outside = sched.ms().map(|m| (m, m.outside.timers.when()));
    kept.chain(outside)
        .filter(|&(m, when)| sched.rests(m) && when != u64::MAX)
        .map(|(m, when)| (m.index(), when))
        .collect()
}

/// Returns the first invariant that does not hold.
pub fn broken(sched: &'static Sched) -> Option<String> {
    for p in sched.ps() {
        let at = p.index();
        let is_here = |held: Option<&P>| usize::from(held.is_some_and(|held| core::ptr::eq(held, p)));
        // SAFETY: `send` stores `&'static P`s only.
        let handed_p = |m: &M| unsafe { m.handed_p.load(Ordering::Relaxed).as_ref() };
        let ms = sched.ms().map(|m| is_here(m.p()) + is_here(handed_p(m))).sum::<usize>();
        let owners = ms + usize::from(sched.rest.is_idle_p(at)) + usize::from(sched.rest.is_gone(at));
        if owners != 1 {
            return Some(format!("P {at} has {owners} owners"));
        }
        if at < sched.num_ps() && sched.rest.is_gone(at) {
            return Some(format!("P {at} is gone, although there are to be {}", sched.num_ps()));
        }
    }
    if let Some(p) = orphan(sched) {
        return Some(format!("no core keeps the timers of P {p}"));
    }
    let held = |m: &&M| m.p().is_some_and(|p| p.timers.when() != u64::MAX && !is_armed(m, p.timers.when()));
    if let Some(m) = sched.ms().find(held) {
        return Some(format!("M {} has timers for which it is not armed", m.index()));
    }
    let on_its_way = sched.rest.counts().1 > 0 || sched.ms().any(|m| m.token.is_set());
    if sched.has_work(platform::now())
        && sched.rest.can_wake()
        && !on_its_way
        && !sched.ps().iter().any(|p| p.slot.is_deferred())
    {
        return Some(String::from("something waits, a P is free and an M rests"));
    }
    None
}

/// Returns something that `gs` have left behind. The caller passes the G's of `sched`, all of which
/// have come to their last park. Nothing waits for an M, for a deadline or for a wake-up any more.
pub fn left_behind(sched: &'static Sched, gs: impl Iterator<Item = GRef>) -> Option<String> {
    for (i, g) in gs.enumerate() {
        let number = i + 1;
        if !matches!(g.state(), State::Waiting | State::Cold) {
            return Some(format!("G {number} has ended and is {:?}", g.state()));
        }
        if g.ticket.current().is_some() {
            return Some(format!("G {number} has ended, and its wait has not"));
        }
        if g.waiter.is_linked() {
            return Some(format!("G {number} has ended and stands in a list of waiters"));
        }
        if g.rest_of_crowd.get().is_some() {
            return Some(format!("G {number} has ended, and has claimed G's that it has not woken"));
        }
    }
    if sched.rounds.is_pending() || sched.rounds.has_orphans() {
        return Some(String::from("a G has died, and the round after it is not over"));
    }
    if sched.has_timers() {
        return Some(String::from("all have ended, and a timer is pending"));
    }
    if sched.has_work(platform::now()) || sched.has_slots() {
        return Some(String::from("all have ended, and something waits for an M"));
    }
    None
}

/// Returns the number of P's that an M holds, and of those that are free for one.
pub fn p_states(sched: &'static Sched) -> (usize, usize) {
    let held = sched.ms().filter(|m| m.p().is_some_and(|p| !p.is_outside())).count();
    (held, sched.num_idle_ps())
}
