//! The inbox: where an interrupt handler leaves G's that are ready.
//!
//! A handler can interrupt any code, so it may take no lock. Nor may a handler touch the state word
//! of a G or the ring of a P. The interrupted code may be halfway through a step of its own. A
//! handler may push the G onto one list, which any M takes as a whole:
//!
// ANCHOR: inbox
//! ```text
//!      handler (on any core, of whatever M)              taker (an M with a P, on its g0)
//!      ─────────────────────────────────────             ────────────────────────────────
//!      H1  queued: false → true, or done already         T1  head: xchg with empty
//!      H2  link the G before the head, CAS the head      T2  for each, oldest first: read its link, queued := false
//!      H3  fence, claim a resting M (its own first),     T3  ready() it, as any waker does: the first runs at once, the others
//!          set its token, send the IPI                       go to the ring
//!      H4  none rests: mark this core's P, and see
//!          to it that its G makes way
//! ```
// ANCHOR_END: inbox
//!
//! The scheduler has one inbox, not one for each core. An M that looks for work before it rests
//! looks at one word (INV-RECHECK). An M that takes the inbox has all there is. There is no ABA:
//! pushes only push, and a take takes everything.
//!
//! **INV-INBOX**: a G in the inbox is parked, or on its way there. The G has been published by its
//! `commit`, and this is its one `ready`. A G stands in the inbox by the `link` of its record,
//! which a parked G has no other use for. A second push before T2 finds `queued` set and changes
//! nothing.
//!
//! **No wake-up is lost**: the inbox is one of the queues of the sleep protocol (`idle.rs`). H2 is
//! its S1, and H3 is its S2 to S6. The rester looks at the inbox in R5.
//!
//! **The hard race** is a push when no M rests. An M on its g0 may have looked at the inbox
//! already. Such an M may be about to run a G that never comes back by itself. If the handler's
//! core holds no P, that M is on another core. So H4 interrupts a core that holds a P. The handler
//! there sets the P's mark and its one-shot, for as long as there is anything in the inbox. If the
//! handler interrupts a G at depth 0, the G makes way after the granularity of a wake-up. If it
//! interrupts g0, the next interrupt finds a G. And an M that begins to run a G looks once more
//! ([`run_m`](crate::run_m)).
//!
//! **Deadlock**: a G that waits for a handler is counted ([`park_for_interrupt`]) until it runs
//! again. So a machine that rests with such a G is not dead.
//!
//! Rejected:
//!
//! * readying in the handler, with interrupts off around every queue operation: the hot paths would
//!   pay;
//! * an inbox a core: every rester would look at all of them;
//! * a lock-free queue with nodes: a handler can't allocate.

use crate::g::{Batch, G, GRef, WaitReason};
use crate::gstate::Ready;
use crate::idle::Submit;
use crate::m::M;
use crate::p::Held;
use crate::park::{Commit, enqueue_last, park, ready};
use crate::platform;
use crate::preempt::PreemptGuard;
use crate::sched::Sched;
use crate::schedule::{ALARM_GAP, TIMER_RETRY, attend_inbox};
use crate::sync::{AtomicPtr, AtomicU32, Ordering};

/// The list, and the count of G's that may yet be put there.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// The newest G.
    head: AtomicPtr<G>,
    /// Counts the G's that wait for a handler, and those that a handler has readied and that have
    /// not run yet.
    expected: AtomicU32,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(core::ptr::null_mut()), expected: AtomicU32::new(0) }
    }

    /// Returns true if no G is in it.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: in the sleep protocol the fences order it (S2 and R4); elsewhere it is a hint.
        self.head.load(Ordering::Relaxed).is_null()
    }

    /// Returns true if some G waits for an interrupt.
    pub(crate) fn is_expected(&self) -> bool {
        self.expected.load(Ordering::Relaxed) != 0
    }

    /// Takes steps H1 and H2. Returns false if the G is in the inbox already.
    fn push(&self, g: GRef) -> bool {
        if !g.enter_inbox() {
            return false;
        }
        g.time_ready(platform::now());
        let me = core::ptr::from_ref(g).cast_mut();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the list holds `GRef`s only.
            g.set_link(unsafe { head.as_ref() });
            // Release: pairs with the Acquire in `take`: the links are written.
            match self.head.compare_exchange(head, me, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }

    /// Takes T1 and the first half of T2: all G's, oldest first.
    pub(crate) fn take(&self) -> Batch {
        // Acquire: pairs with the Release in `push`.
        let mut newest = self.head.swap(core::ptr::null_mut(), Ordering::Acquire);
        let mut all = Batch::new();
        // SAFETY: the list holds `GRef`s only.
        while let Some(g) = unsafe { newest.as_ref() } {
            newest = g.link().map_or(core::ptr::null_mut(), |next| core::ptr::from_ref(next).cast_mut());
            all.push_front(g);
        }
        all
    }
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
    if m.sched.inbox.push(g) {
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
        return guard.release();
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
    // SAFETY: as the caller has it.
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

/// Takes steps T1 to T3, and returns the G to run first, if there is one. Like a due sleeper, that
/// G goes before the G's that wait here, but not too often in a row.
#[cold]
pub(crate) fn run(m: &M, own: &Held<'_>, guard: &PreemptGuard) -> Option<GRef> {
    let mut all = m.sched.inbox.take();
    let mut first = None;
    while let Some(g) = all.pop() {
        g.leave_inbox();
        if g.state.ready() != Ready::Enqueue {
            continue;
        }
        if first.is_none() && (own.queues_are_empty() || own.may_go_ahead(m.counters.runs.get())) {
            own.begin_slice(0);
            first = Some(g);
        } else {
            enqueue_last(m, own, g, guard);
        }
    }
    first
}

impl Sched {
    /// Returns how many G's wait for an interrupt (a snapshot).
    pub fn num_expected(&self) -> u32 {
        self.inbox.expected.load(Ordering::Relaxed)
    }
}
