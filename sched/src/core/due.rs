//! Due work: timers, timers that no core would run in time, and G's that handlers have readied.

use core::ptr::NonNull;

use crate::core::enqueue::enqueue_last;
use crate::core::interrupt::attend_timer;
use crate::core::m::M;
use crate::core::p::{Held, P};
use crate::core::trace;
use crate::g::state::Ready;
use crate::g::ticket::Number;
use crate::g::{G, GRef};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::timers::{Alarm, TimerNode, What};
use trefoil_trace::{Kind, Place};

/// The most due timers that run at once. Later ones wait until g0 looks again, so that a storm of
/// timers does not keep the core from other G's. With 10,000 pending, each timer takes 500
/// instructions.
const BURST: usize = 16;

/// An action that is now due.
#[derive(Debug)]
#[must_use = "the timer has left its heap: nobody else will do it"]
pub(crate) enum Due {
    /// Ready this G.
    Wake(GRef),
    /// Ready this G if the timer wins this number of its ticket.
    Expire(GRef, Number),
    /// Nothing: that wait has been won by something else.
    Nothing,
    /// Call it, with its generation.
    Call(NonNull<Alarm>, u32),
}

impl Due {
    /// Returns the G that it is for.
    fn g(&self) -> Option<GRef> {
        match *self {
            Self::Wake(g) | Self::Expire(g, _) => Some(g),
            Self::Nothing | Self::Call(..) => None,
        }
    }

    /// Returns the action of `node`, which has just left its heap. With the lock of that heap.
    fn of(node: &'static TimerNode) -> Self {
        let at = core::ptr::from_ref(node).addr();
        // SAFETY: a node with this `what` is the field of a G's record, whose provenance
        // `wait/sleep.rs` has exposed; records live for ever.
        let g = || unsafe { &*core::ptr::with_exposed_provenance::<G>(at - core::mem::offset_of!(G, timer)) };
        match node.what() {
            What::Sleep => Self::Wake(g()),
            // While the node is in a heap the G does not begin another wait, so the ticket's
            // number, if one is open, is that of this one.
            What::Wait => g().ticket.current().map_or(Self::Nothing, |number| Self::Expire(g(), number)),
            What::Call(generation) => Self::Call(Alarm::of(node), generation),
        }
    }
}

/// Runs due timers that no core would run in time: see `core/handoff.rs`.
#[inline(always)]
pub(crate) fn run_strays(m: &M, p: &Held<'_>, guard: &PreemptGuard) -> Option<GRef> {
    if m.sched.strays.none() && !m.keeps_any() { None } else { run_some_stray(m, p, guard) }
}

#[cold]
#[inline(never)]
fn run_some_stray(m: &M, p: &Held<'_>, guard: &PreemptGuard) -> Option<GRef> {
    m.forget_kept();
    if m.sched.strays.none() && !m.keeps_any() {
        return None;
    }
    let now = platform::now();
    m.sched.stray_ps().find_map(|from| run_timers(m, p, from, guard, now))
}

/// Fires the first timer of `from`, due or not.
#[cfg(loom)]
pub(crate) fn fire_one(from: &P, guard: &PreemptGuard) -> bool {
    match from.timers.pop_due(guard, u64::MAX - 1, Due::of) {
        Some(Due::Expire(g, number)) => {
            if g.ticket.win(number) {
                crate::core::park::ready(guard, g);
            }
            true
        }
        Some(Due::Call(alarm, generation)) => {
            // SAFETY: 1. the pair comes from the `Due::Call` that was just popped, and is called
            // this once.
            unsafe { Alarm::ring(alarm, generation, guard, &M::current(guard).held(guard).timers, 0) };
            true
        }
        Some(Due::Wake(_) | Due::Nothing) => true,
        None => false,
    }
}

/// Runs the due timers of `from` (our own P or a victim's) on this M.
///
/// A due sleeper goes before the G's that wait here: it is returned, to run at once. The timers
/// behind it stay in place until it has left the core (or a thief takes them). After too many in a
/// row, the waiting G's have a turn. If no G waits, [`BURST`] sleepers go to the ring in the order
/// of their deadlines. The slot would run the last of them first. While others wait, one call is
/// made at a time, and the G's that it starts wait behind them. So the ring grows no longer however
/// many timers are due.
pub(crate) fn run_timers(m: &M, own: &Held<'_>, from: &P, guard: &PreemptGuard, now: u64) -> Option<GRef> {
    if from.timers.when() > now {
        return None;
    }
    let (mut ran, mut first) = (false, None);
    let others_wait = !own.queues_are_empty();
    if others_wait && own.has_let_ahead(m.counters.runs.get()) {
        // The timers stay in place. At the ring's end their G's would be ahead of G's that have had
        // a turn, and so be ahead twice.
        attend_timer(own);
        return None;
    }
    // A call may start its alarm again, here.
    if from.index() != own.index() && !own.timers.make_room(guard) {
        return None;
    }
    for _ in 0..BURST {
        let when = from.timers.when();
        let Some(due) = from.timers.pop_due(guard, now, Due::of) else { break };
        ran = true;
        own.latency.timer.record(now.saturating_sub(when));
        trace::note(m, Kind::TimerFired, due.g().map_or(0, |g| g.id()), when);
        trace::waited(m, now.saturating_sub(when));
        let g = match due {
            Due::Wake(g) => g,
            Due::Expire(g, number) if g.ticket.win(number) => g,
            Due::Expire(..) | Due::Nothing => continue,
            Due::Call(alarm, generation) => {
                // SAFETY: 1. the pair comes from the `Due::Call` that was just popped, and is
                // called this once.
                unsafe { Alarm::ring(alarm, generation, guard, &own.timers, now) };
                // A G that the call has readied or started waits as the others do.
                if let Some(g) = own.take_slot() {
                    trace::moved(m, g, Place::Ring);
                    push_last(m, own, g, guard);
                }
                if others_wait {
                    break;
                }
                continue;
            }
        };
        let noted = trace::Noted::new();
        if g.state.ready_after(|| noted.marked(guard, g, 1)) != Ready::Enqueue {
            continue;
        }
        g.time_ready(now);
        if others_wait && own.may_go_ahead(m.counters.runs.get()) {
            noted.put(guard, g, 1, Place::Hand);
            first = Some(g);
            break;
        }
        noted.put(guard, g, 1, Place::Ring);
        push_last(m, own, g, guard);
        if others_wait {
            break;
        }
    }
    if ran {
        if own.timers.when() <= now {
            attend_timer(own);
        }
        m.arm(own.next_alarm());
    }
    // The M runs one of them itself.
    if own.runq.len() > 1 {
        m.sched.wake_one(m);
    }
    first
}

fn push_last(m: &M, own: &Held<'_>, g: GRef, guard: &PreemptGuard) {
    if let Err(overflow) = own.ring().push(g) {
        m.sched.globq.push(guard, overflow.0, |all| trace::overflowed(m, g, all));
    }
}

/// Takes steps T1 to T3, and returns the G to run first, if there is one. Like a due sleeper, that
/// G goes before the G's that wait here, but not too often in a row.
#[cold]
pub(crate) fn run_arrived(m: &M, own: &Held<'_>, guard: &PreemptGuard) -> Option<GRef> {
    let mut all = m.sched.inbox.take();
    let mut first = None;
    while let Some(g) = all.pop() {
        g.leave_inbox();
        if g.state.ready() != Ready::Enqueue {
            continue;
        }
        if first.is_none() && (own.queues_are_empty() || own.may_go_ahead(m.counters.runs.get())) {
            own.slice.reset();
            trace::moved(m, g, Place::Hand);
            first = Some(g);
        } else {
            trace::moved(m, g, Place::Ring);
            enqueue_last(m, own, g, guard);
        }
    }
    first
}
