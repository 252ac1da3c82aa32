//! The scheduling loop on g0: how an M finds its next G when none is at hand.
//!
// ANCHOR: find
//! ```text
//!   run_m: loop {  find a G  ──▶ switch g0 → G ──▶ … G's switch among themselves … ──▶ somebody switches to g0  }
//!
//!   find a G:  1 due timers, inbox   4 slot             7 others' rings, then their due timers and ripe slots (spinning)
//!              2 every 61st: globq   5 ring             8 rest: give up the P, become findable, look once more
//!              3 slice over: slot    6 globq, a share
//!                → end of the ring
//! ```
// ANCHOR_END: find
//!
//! **The slice.** A G in the slot inherits the slice of the G that readied it. So a pair that
//! readies each other could keep the ring waiting for ever. The fast path does not read the clock.
//! Instead every G from the ring resets `slice_start` to "unknown", and the 61st dispatch looks. An
//! unknown start becomes now. If a known start is older than a slice, the G in the slot goes to the
//! end of the ring (step 3). The ring's first G runs instead. The same happens when the slice's
//! alarm has found preemption off: a pair that readies each other is in the scheduler most of the
//! time.
//!
//! INV-TIMER-HOME: An M gives up its P with the timers in it, and rests with the earliest of them
//! as its deadline. The M is that P's *home* from then on, and prefers it when it gets up. An M
//! that gets another P also arms its one-shot for the deadlines that it keeps. A P taken by another
//! M takes its timers along (`Sched::take_p` arms them). So every pending timer has a core whose
//! one-shot is armed for it.
//!
//! No object lock is held here, and no code here runs on a G's stack.

use crate::deaths;
use crate::g::GRef;
use crate::gstate::Ready;
use crate::inbox;
use crate::m::M;
use crate::p::{ATTEND_RETIRE, ATTEND_SLICE, FAIR_TICKS, Held, P, SLOT_DELAY};
use crate::park::{attend_timer, enqueue_last, run_next, set_slice_alarm};
use crate::platform::{self, Fatal};
use crate::preempt::PreemptGuard;
use crate::runq::CAPACITY;
use crate::sched::Sched;
use crate::steal_order::victims;
use crate::sync::{Ordering, fence, spin_loop};
use crate::timers::{Alarm, Due};

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

/// The delay after which the handler looks again at a P with a due timer that its G keeps from
/// running: 100 µs. Also the shortest distance of two interrupts for due timers, so that a storm of
/// deadlines cannot take the core.
pub(crate) const TIMER_RETRY: u64 = 100_000;

/// The most due timers that run at once. Later ones wait until g0 looks again, so that a storm of
/// timers does not keep the core from other G's. With 10,000 pending, each timer takes 500
/// instructions.
const BURST: usize = 16;

/// The shortest distance of two alarms of a P's own: 2 µs.
pub(crate) const ALARM_GAP: u64 = 2_000;

/// Runs G's on this core for ever. On the core's g0 stack, after [`Sched::start_m`], with
/// preemption off (depth 1).
pub fn run_m(m: &'static M) -> ! {
    // SAFETY: 1. the caller hands over the one level.
    let guard = unsafe { PreemptGuard::adopt() };
    loop {
        let g = next_g(m, &guard);
        if g.pinned_to().is_some_and(|at| at != m.index()) {
            m.owes.set(Some(g));
            continue;
        }
        begin_slice(m, &m.held(&guard));
        let next = run_next(m, Some(g));
        // SAFETY: 1. the G came from a queue: its context is saved and ours alone. The level of
        // preemption goes with the switch and comes back with it.
        unsafe { platform::switch(m.g0.sp.get(), next, after_nothing, core::ptr::null_mut(), core::ptr::null_mut()) };
    }
}

/// Arms the slice alarm if others wait.
///
/// A chain of hand-overs through the slot passes by here every 61st time, and whenever this P has
/// something to attend to. Such a G continues its chain's slice. Every other source has already
/// reset `slice_start`, or has called [`goes_first`].
fn begin_slice(m: &M, p: &Held<'_>) {
    if !p.wants_slice() {
        p.slice_started(platform::now());
    } else if !p.queues_are_empty() || !m.sched.globq.is_empty() || !m.sched.inbox.is_empty() || !m.own.is_empty() {
        // Pinned ones, too: a submitter of the second, while this M had no P, interrupted nobody.
        set_slice_alarm(m, p);
    }
}

/// g0 needs no publishing.
unsafe extern "C" fn after_nothing(_: *mut (), _: *mut ()) {}

/// Searches and rests until there is a G for `m`. Passes the search on if `m` was the last to
/// search.
pub(crate) fn next_g(m: &'static M, guard: &PreemptGuard) -> GRef {
    let g = find_runnable(m, guard);
    if m.spinning.replace(false) && m.sched.rest.stop_spinning() && m.sched.has_work(0) {
        // The last spinner found work and there is more: the chain of wake-ups goes on.
        m.sched.wake_one(m);
    }
    if m.woken.replace(false) {
        m.sched.rest.woken_usefully();
    }
    g
}

fn find_runnable(m: &'static M, guard: &PreemptGuard) -> GRef {
    loop {
        if let Some(g) = m.owes.take() {
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
        p.attention.store(0, Ordering::Relaxed);
        p.made_way(platform::now());
        if attention & ATTEND_SLICE != 0 {
            end_chain(m, p, guard);
        }
    }
    platform::on_g0(m);
    if m.sched.deaths.rounds.is_pending() {
        deaths::work(m, guard);
    }
    if p.trimmed.get() != m.sched.trims.load(Ordering::Relaxed) {
        p.trimmed.set(m.sched.trims.load(Ordering::Relaxed));
        p.free.flush(&m.sched.free, guard);
    }
    if p.timers.when() != u64::MAX
        && let Some(g) = run_timers(m, p, p, guard, platform::now())
    {
        goes_first(p);
        return Some(g);
    }
    if let Some(g) = run_strays(m, p, guard) {
        goes_first(p);
        return Some(g);
    }
    if !m.sched.inbox.is_empty()
        && let Some(g) = inbox::run(m, p, guard)
    {
        goes_first(p);
        return Some(g);
    }
    if let Some(g) = m.own.pop(guard, 1).pop() {
        goes_first(p);
        return Some(g);
    }
    let left = p.fair.get() - 1;
    if left == 0 {
        p.fair.set(FAIR_TICKS);
        end_slice(m, p, guard);
        if let Some(g) = m.sched.globq.pop(guard, 1).pop() {
            p.begin_slice(0);
            return Some(g);
        }
    } else {
        p.fair.set(left);
    }
    if let Some(g) = p.take_slot() {
        return Some(g);
    }
    if let Some(g) = p.ring().pop() {
        p.begin_slice(0);
        return Some(g);
    }
    from_global(m, p, guard)
}

/// Sets the slice of a G that runs before the slot. With an empty slot, a new slice begins.
/// Otherwise the G has the rest of the chain's slice: G's that come again and again would renew it.
#[inline(always)]
fn goes_first(p: &Held<'_>) {
    if p.slot_is_empty() {
        p.begin_slice(0);
    }
}

/// Runs due timers that no core would run in time: see `procs.rs`.
#[inline(always)]
fn run_strays(m: &M, p: &Held<'_>, guard: &PreemptGuard) -> Option<GRef> {
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

/// Takes step 3: a chain of hand-overs through the slot that has used up its slice makes way for
/// the ring.
fn end_slice(m: &M, p: &Held<'_>, guard: &PreemptGuard) {
    let now = platform::now();
    if now.saturating_sub(p.slice_started(now)) >= m.sched.slice() {
        end_chain(m, p, guard);
    }
}

/// Moves the G in the slot, whose slice is over, behind the ring.
#[cold]
#[inline(never)]
pub(crate) fn end_chain(m: &M, p: &Held<'_>, guard: &PreemptGuard) {
    if let Some(g) = p.take_slot() {
        p.begin_slice(0);
        enqueue_last(m, p, g, guard);
    }
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
    while let Some(g) = share.pop() {
        if let Err(overflow) = p.ring().push(g) {
            globq.push(guard, overflow.0);
        }
    }
    p.begin_slice(0);
    Some(first)
}

/// Fires the first timer of `from`, due or not.
#[cfg(loom)]
pub(crate) fn fire_one(from: &P, guard: &PreemptGuard) -> bool {
    match from.timers.pop_due(guard, u64::MAX - 1) {
        Some(Due::Expire(g, number)) => {
            if g.ticket.win(number) {
                crate::park::ready(guard, g);
            }
            true
        }
        Some(Due::Call(alarm, generation)) => {
            // SAFETY: 1. right above.
            unsafe { Alarm::ring(alarm, generation, guard, 0) };
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
fn run_timers(m: &M, own: &Held<'_>, from: &P, guard: &PreemptGuard, now: u64) -> Option<GRef> {
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
        let Some(due) = from.timers.pop_due(guard, now) else { break };
        ran = true;
        own.latency.timer.record(now.saturating_sub(when));
        let g = match due {
            Due::Wake(g) => g,
            Due::Expire(g, number) if g.ticket.win(number) => g,
            Due::Expire(..) | Due::Nothing => continue,
            Due::Call(alarm, generation) => {
                // SAFETY: 1. right above.
                unsafe { Alarm::ring(alarm, generation, guard, now) };
                // A G that the call has readied or started waits as the others do.
                if let Some(g) = own.take_slot() {
                    push_last(m, own, g, guard);
                }
                if others_wait {
                    break;
                }
                continue;
            }
        };
        if g.state.ready() != Ready::Enqueue {
            continue;
        }
        g.time_ready(now);
        if others_wait && own.may_go_ahead(m.counters.runs.get()) {
            first = Some(g);
            break;
        }
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
        m.sched.globq.push(guard, overflow.0);
    }
}

/// Takes step 7: looks at other P's, as a spinning M.
fn look_around(m: &'static M, p: &Held<'_>, guard: &PreemptGuard) -> Option<GRef> {
    let sched = m.sched;
    if sched.is_single() || !(m.spinning.get() || sched.rest.try_spin()) {
        return None;
    }
    m.spinning.set(true);
    m.end_haul();
    let rounds = if m.is_shy() {
        1
    } else if m.woken.get() {
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
                && let Some(g) = victim.runq.steal_into(&mut p.ring(), most)
            {
                m.counters.steals.add(1 + u64::from(p.ring().len()));
                m.counters.hauls.add(1);
                m.begin_haul();
                p.begin_slice(0);
                return Some(g);
            }
            if round + 1 >= ROUNDS.min(rounds) {
                if let Some(g) = victim.steal_slot() {
                    m.counters.steals.add(1);
                    p.begin_slice(0);
                    return Some(g);
                }
                if victim.timers.when() != u64::MAX {
                    // With an empty ring, due G's go there.
                    let first = run_timers(m, p, victim, guard, platform::now());
                    if let Some(g) = first.or_else(|| p.ring().pop()) {
                        p.begin_slice(0);
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

/// Takes step 8. Returns when there may be work and this M has a P.
fn rest(m: &'static M) {
    let sched = m.sched;
    if m.woken.replace(false) {
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
    m.set_p(None);
    // INV-WATCH: an M that spins on sees to the G's that this one has left in place.
    sched.rest.lie_down(m.index(), p.map(|p| p.index()), m.spinning.replace(false));
    let mut watched = m.is_shy() && sched.rest.is_watched();
    let mut now = platform::now();
    loop {
        // INV-RECHECK: we are findable now. A push from before that moment is ours to see.
        let own = !m.own.is_empty();
        if own || sched.rest.has_idle_p() && sched.has_work_but(core::mem::take(&mut watched), now) {
            if !sched.rest.get_up(m.index()) {
                return wait_for_token(m);
            }
            if sched.take_p_to_look(m) {
                sched.rest.spin();
                m.spinning.set(true);
                return;
            }
            // Another M was faster, or the P is surplus (see `procs.rs`) and will be claimed in a
            // moment.
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
        platform::idle(m, until);
        m.resting_since.store(u64::MAX, Ordering::Relaxed);
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
    m.woken.set(true);
    if m.take_gift() {
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
            || self.deaths.rounds.is_pending())
    }

    /// Returns true if only the calling timer keeps the scheduler from a deadlock. For a timer's
    /// own call, on a g0. Such a timer should not fire again, for it hides the deadlock.
    pub fn is_dead_but_for_me(&'static self, now: u64) -> bool {
        let me = M::current(&PreemptGuard::new()).index();
        self.rest.all_rest_but(me) && !self.is_scanning() && self.is_stuck(now)
    }
}

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
        // The one-shot is armed for nothing now. With its next P the M arms it anew.
        m.forget_armed();
        return false;
    };
    if p.is_outside() {
        outside_interrupt(m);
        return false;
    }
    let sched = m.sched;
    let now = platform::now();
    p.saw(now);
    let kept = m.kept_until();
    let due = p.timers.when().min(kept) <= now || sched.strays_due(now) || !sched.inbox.is_empty();
    let due = due || sched.deaths.rounds.wants_hand();
    if due {
        attend_timer(p);
        sched.wake_now(m);
        if !sched.rest.can_wake() {
            p.set_slice_alarm(now);
        }
    }
    let delay = if sched.is_single() { sched.slice() } else { SLOT_DELAY };
    if p.alarm(now, delay) {
        if sched.has_work(now) {
            sched.wake_now(m);
        }
        // INV-SLICE: also when an M was woken. The woken M may find other work first.
        if !p.queues_are_empty() {
            p.set_slice_alarm(p.slice_started(now.saturating_sub(delay)) + sched.slice());
        }
    }
    let waits = due || !p.queues_are_empty() || !sched.globq.is_empty() || !m.own.is_empty();
    let over = p.slice_over(now, waits, if due { sched.wakeup().min(sched.slice()) } else { sched.slice() });
    if p.wants_slice() {
        // SeqCst: pairs with the fence in `nudge`. Either the submitter sees that the alarm is off,
        // or we see the G that it queued.
        fence(Ordering::SeqCst);
        if !sched.globq.is_empty() || !m.own.is_empty() {
            p.set_slice_alarm(p.slice_started(now) + sched.slice());
        }
    }
    // A due timer stays due until some g0 has run it. The handler looks again a little later,
    // because a thief that ran it may have left later ones.
    if due {
        m.calm.store(now + TIMER_RETRY, Ordering::Relaxed);
    }
    let timers = if due { now + TIMER_RETRY } else { p.timers.when().min(kept) };
    m.rearm(p.next_own_alarm().max(now + ALARM_GAP).min(timers));
    over && m.running().is_some()
}

/// Makes this P's M find the inbox at its next scheduling point. Its one-shot looks at the inbox
/// `after` nanoseconds at the latest. For handlers.
pub(crate) fn attend_inbox(m: &M, p: &P, after: u64) {
    attend_timer(p);
    let at = platform::now() + after;
    p.set_slice_alarm(at);
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
    let Some(p) = m.p() else { return false };
    if p.is_outside() {
        return false;
    }
    if !m.sched.inbox.is_empty() {
        attend_inbox(m, p, ALARM_GAP);
    }
    let own = !m.own.is_empty();
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
        p.hasten_slot(platform::now() + SLOT_DELAY);
    }
    let waits = !p.queues_are_empty() || !m.sched.globq.is_empty() || own;
    if waits || p.next_own_alarm() != u64::MAX {
        let (now, slice) = (platform::now(), m.sched.slice());
        if waits {
            p.set_slice_alarm(p.slice_started(now).saturating_add(slice));
        }
        // The alarm may be set for a longer slice, for which the next G would wait.
        p.hasten(now.saturating_add(slice));
        m.rearm(p.next_alarm().min(m.kept_until()).max(now + ALARM_GAP));
    }
    if !m.sched.strays.none() {
        let now = platform::now();
        if m.sched.strays_due(now) {
            // The one-shot's handler knows what to do.
            p.set_slice_alarm(now);
            m.rearm(now + ALARM_GAP);
        }
    }
    false
}
