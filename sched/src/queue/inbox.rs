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
//! **No wake-up is lost**: the inbox is one of the queues of the sleep protocol (`core/idle.rs`).
//! H2 is its S1, and H3 is its S2 to S6. The rester looks at the inbox in R5.
//!
//! **The hard race** is a push when no M rests. An M on its g0 may have looked at the inbox
//! already. Such an M may be about to run a G that never comes back by itself. If the handler's
//! core holds no P, that M is on another core. So H4 interrupts a core that holds a P. The handler
//! there sets the P's mark and its one-shot, for as long as there is anything in the inbox. If the
//! handler interrupts a G at depth 0, the G makes way after the granularity of a wake-up. If it
//! interrupts g0, the next interrupt finds a G. And an M that begins to run a G looks once more
//! ([`run_m`](crate::run_m)).
//!
//! **Deadlock**: a G that waits for a handler is counted
//! ([`park_for_interrupt`](crate::park_for_interrupt)) until it runs again. So a machine that rests
//! with such a G is not dead.
//!
//! Rejected:
//!
//! * readying in the handler, with interrupts off around every queue operation: the hot paths would
//!   pay;
//! * an inbox a core: every rester would look at all of them;
//! * a lock-free queue with nodes: a handler can't allocate.

use crate::g::{Batch, G, GRef};
use crate::machine::platform;
use crate::machine::sync::{AtomicPtr, AtomicU32, Ordering};

/// The list, and the count of G's that may yet be put there.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// The newest G.
    head: AtomicPtr<G>,
    /// Counts the G's that wait for a handler, and those that a handler has readied and that have
    /// not run yet.
    pub(crate) expected: AtomicU32,
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

    /// Takes step H2, after step H1 ([`G::enter_inbox`]) with success.
    pub(crate) fn put(&self, g: GRef) {
        g.time_ready(platform::now());
        let me = core::ptr::from_ref(g).cast_mut();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the list holds `GRef`s only.
            g.set_link(unsafe { head.as_ref() });
            // Release: pairs with the Acquire in `take`: the links are written.
            match self.head.compare_exchange(head, me, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
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
