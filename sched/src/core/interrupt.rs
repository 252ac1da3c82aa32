//! The work of interrupt handlers: the one-shot's, another core's call, and G's that a handler
//! readies.
//!
//! A handler touches atomics and its own core's one-shot. The handler takes no lock, parks nobody,
//! and leaves the state words of G's and the rings of P's alone. Work that it finds goes to g0
//! (`attention`), or to an M that it wakes.

use crate::core::idle::Submit;
use crate::core::m::M;
use crate::core::p::TIMER_RETRY;
use crate::core::p::{ATTEND_RETIRE, ATTEND_TIMER, P};
use crate::core::park::{Commit, park, ready};
use crate::core::slot::SLOT_DELAY;
use crate::core::trace;
use crate::g::{GRef, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::{Ordering, fence};
use trefoil_trace::{Kind, Place};

/// The shortest distance of two alarms of a P's own: 2 µs.
pub(crate) const ALARM_GAP: u64 = 2_000;

/// Handles the one-shot of `m`, in the interrupt handler of its core. Touches atomics, takes no
/// lock, parks nobody. Returns true if the running G has had its slice while others wait: then the
/// platform makes it [`preempt`](crate::preempt).
///
/// A due timer makes the P's next scheduling point go to g0, and wakes a resting M, which steals
/// the timer. If none rests, the running G has to make way once it has run for
/// [`Config::wakeup`](crate::Config::wakeup). A slot whose G has waited too long becomes ripe, and
/// the handler wakes an M for it.
pub fn timer_interrupt(m: &M) -> bool {
    m.counters.timer_interrupts.add_shared();
    let Some(p) = m.p() else {
        trace::note(m, Kind::Alarm, 0, 0);
        // The one-shot is armed for nothing now. With its next P the M arms it anew.
        m.forget_armed();
        return false;
    };
    if p.is_outside() {
        trace::note(m, Kind::Alarm, 0, 0);
        outside_interrupt(m);
        return false;
    }
    let sched = m.sched;
    let now = platform::now();
    p.saw(now);
    let kept = m.kept_until();
    let due = p.timers.when().min(kept) <= now || sched.strays_due(now) || !sched.inbox.is_empty();
    let due = due || sched.rounds.wants_hand();
    if due {
        attend_timer(p);
        sched.wake_now(m);
        if !sched.rest.can_wake() {
            p.slice.arm(now);
        }
    }
    let delay = if sched.is_single() { sched.slice() } else { SLOT_DELAY };
    if p.slot.on_alarm(now, delay) {
        trace::note(m, Kind::Ripe, 0, 0);
        if sched.has_work(now) {
            sched.wake_now(m);
        }
        // INV-SLICE: also when an M was woken. The woken M may find other work first.
        if !p.queues_are_empty() {
            p.slice.arm(p.slice.start_or_begin(now.saturating_sub(delay)) + sched.slice());
        }
    }
    let waits = due || !p.queues_are_empty() || !sched.globq.is_empty() || !m.pinned_queue.is_empty();
    let over = p.slice.over(now, waits, if due { sched.wakeup().min(sched.slice()) } else { sched.slice() });
    if p.slice.alarm_is_off() {
        // SeqCst: pairs with the fence in `nudge`. Either the submitter sees that the alarm is off,
        // or we see the G that it queued.
        fence(Ordering::SeqCst);
        if !sched.globq.is_empty() || !m.pinned_queue.is_empty() {
            p.slice.arm(p.slice.start_or_begin(now) + sched.slice());
        }
    }
    // A due timer stays due until some g0 has run it. The handler looks again a little later,
    // because a thief that ran it may have left later ones.
    if due {
        m.calm.store(now + TIMER_RETRY, Ordering::Relaxed);
    }
    let timers = if due { now + TIMER_RETRY } else { p.timers.when().min(kept) };
    m.rearm(p.next_own_alarm().max(now + ALARM_GAP).min(timers));
    trace::note_all(m, Kind::Alarm, u8::from(due) | u8::from(over) << 1, Place::Nowhere, 0, 0, 0);
    if over && let Some(g) = m.running() {
        trace::note_all(m, Kind::SliceEnd, u8::from(due), Place::Nowhere, 0, g.id(), 0);
    }
    over && m.running().is_some()
}

/// Makes this P's M find the inbox at its next scheduling point. Its one-shot looks at the inbox
/// `after` nanoseconds at the latest. For handlers.
pub(crate) fn attend_inbox(m: &M, p: &P, after: u64) {
    attend_timer(p);
    let at = platform::now() + after;
    p.slice.arm(at);
    if m.armed.load(Ordering::Relaxed).wrapping_sub(1) >= at {
        m.rearm(at);
    }
}

/// Handles the one-shot of an M that is outside. Other M's run its timers, and those of the P that
/// it gave up if no M has taken that.
fn outside_interrupt(m: &M) {
    let now = platform::now();
    let when = m.kept_until().min(m.outside.timers.when());
    if when > now {
        return m.rearm(when);
    }
    m.ask_others();
    m.rearm(now + TIMER_RETRY);
}

/// Handles an interrupt from another core. Returns as [`timer_interrupt`]. There are three reasons:
///
/// * the core's M was woken;
/// * its P is surplus;
/// * there is work that no other M can take, and the P's alarm is off or late.
///
/// On g0 the handler sets the alarm as well: the look at the queues may be over, and the next G
/// about to run.
#[cold]
#[optimize(size)]
pub fn wake_interrupt(m: &M) -> bool {
    trace::note(m, Kind::IpiReceived, 0, 0);
    let Some(p) = m.p() else { return false };
    if p.is_outside() {
        return false;
    }
    if !m.sched.inbox.is_empty() {
        attend_inbox(m, p, ALARM_GAP);
    }
    let own = !m.pinned_queue.is_empty();
    if let Some(g) = m.running()
        && (p.attention.load(Ordering::Relaxed) & ATTEND_RETIRE != 0 || own && !g.is_pinned())
    {
        return true;
    }
    let sched = m.sched;
    if !sched.is_single() {
        // There was one P, and a submitter queued here without a look at the resting M's: see
        // `Sched::end_single`. The others have looked.
        if p.has_work() || !sched.globq.is_empty() {
            // Fences, as that submitter has not.
            sched.wake_now(m);
        }
        p.slot.hasten(platform::now() + SLOT_DELAY);
    }
    let waits = !p.queues_are_empty() || !m.sched.globq.is_empty() || own;
    if waits || p.next_own_alarm() != u64::MAX {
        let (now, slice) = (platform::now(), m.sched.slice());
        if waits {
            p.slice.arm(p.slice.start_or_begin(now).saturating_add(slice));
        }
        // The alarm may be set for a longer slice, for which the next G would wait.
        p.hasten(now.saturating_add(slice));
        m.rearm(p.next_alarm().min(m.kept_until()).max(now + ALARM_GAP));
    }
    if !m.sched.strays.none() {
        let now = platform::now();
        if m.sched.strays_due(now) {
            // The one-shot's handler knows what to do.
            p.slice.arm(now);
            m.rearm(now + ALARM_GAP);
        }
    }
    false
}

/// Makes a parked G runnable, from an interrupt handler of the core of `m`.
///
/// Called once a park, as [`ready`] is. A second call before the first was seen changes nothing.
/// Takes no lock, allocates nothing. Wakes an M that rests. If none rests, the G that runs on `m`
/// makes way as soon as it has run for the granularity of a wake-up
/// ([`Config::wakeup`](crate::Config::wakeup)).
///
/// A G that waits for a handler parks by [`park_for_interrupt`]. Otherwise the machine may report a
/// deadlock where there is none.
pub fn ready_from_interrupt(m: &M, g: GRef) {
    if g.enter_inbox() {
        trace::readied(m, g, 2, Place::Inbox);
        m.sched.inbox.put(g);
        announce(m);
    }
}

/// Makes a parked G runnable from any place: in a handler, on a G, on a g0 with a P or without. For
/// wakers that can't know their caller.
pub fn ready_anywhere(g: GRef) {
    if platform::in_handler() {
        // SAFETY: 1. borrowed: a handler is preempted by nobody. Not `new`: its drop might take a
        // reschedule that is pending, here.
        let guard = unsafe { PreemptGuard::adopt() };
        ready_from_interrupt(M::current(&guard), g);
        return guard.hand_over();
    }
    let guard = PreemptGuard::new();
    let m = M::current(&guard);
    match m.p() {
        Some(_) => ready(&guard, g),
        None => ready_from_interrupt(m, g),
    }
}

/// Parks as [`park`] does, for a G that a handler will ready. While the G waits, the machine is not
/// dead.
///
/// # Safety
/// As for [`park`].
pub unsafe fn park_for_interrupt(
    guard: PreemptGuard,
    reason: WaitReason,
    commit: Commit,
    arg: *mut (),
) -> PreemptGuard {
    // Relaxed, here and below: an M looks when all M's rest, and lying down is a release.
    let expected = &M::current(&guard).sched.inbox.expected;
    expected.fetch_add(1, Ordering::Relaxed);
    // SAFETY: `park` has this function's own rules for `commit` and `arg`.
    let guard = unsafe { park(guard, reason, commit, arg) };
    M::current(&guard).sched.inbox.expected.fetch_sub(1, Ordering::Relaxed);
    guard
}

/// Takes steps H3 and H4.
fn announce(m: &M) {
    let sched = m.sched;
    match sched.rest.submit_near(m.index()) {
        Submit::Wake(it) => sched.wake(it, m),
        Submit::Done | Submit::Defer => attend(m),
    }
}

/// Makes a running M look at the inbox soon, since no M was woken.
fn attend(m: &M) {
    let (sched, can_wake) = (m.sched, m.sched.rest.can_wake());
    if let Some(p) = m.p().filter(|p| !p.is_outside()) {
        // If an M could have been woken, another M spins, and looks before it rests. In case it
        // finds something else, this core looks again a little later.
        attend_inbox(m, p, if can_wake { TIMER_RETRY } else { ALARM_GAP });
    } else if !can_wake && let Some(busy) = sched.ms().find(|m| m.p().is_some_and(|p| !p.is_outside())) {
        platform::wake_m(busy.index());
    }
}

/// Notes, for `timer_interrupt`, that this P has a due timer.
pub(crate) fn attend_timer(p: &crate::core::p::P) {
    p.attention.fetch_or(ATTEND_TIMER, Ordering::Relaxed);
}
