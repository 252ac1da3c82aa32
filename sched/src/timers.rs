//! Timers: a heap a P, and the G's and calls that wait in it.
//!
//! A P's heap is guarded by a lock, because thieves run the due timers of busy P's; its earliest deadline stands beside it in
//! an atomic, so that the scheduler and the interrupt handler look at one word. Nothing here runs in a handler: that only
//! sees that a deadline has passed, tells the P (`attention`) and wakes an M that can steal the timer.

use alloc::collections::BinaryHeap;
use core::cmp::Ordering as Order;

use crate::g::{GRef, WaitReason};
use crate::lock::SpinLock;
use crate::m::M;
use crate::park::park;
use crate::platform;
use crate::preempt::PreemptGuard;
use crate::sync::{AtomicU64, Ordering};
use crate::ticket::Number;
use crate::time::{Duration, Instant};

/// What a due timer does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    /// Readies a sleeping G.
    Wake(GRef),
    /// Readies a G whose wait has a deadline, if nothing else has ended that wait.
    Expire(GRef, Number),
    /// Calls a function on a g0; what it returns is when to call it again.
    Call(fn(u64) -> Option<u64>),
}

#[derive(Debug)]
struct Entry {
    when: u64,
    seq: u64,
    action: Action,
}

// `BinaryHeap` gives the greatest first: the earliest deadline is the greatest; equal deadlines fire in order of insertion.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Order {
        (other.when, other.seq).cmp(&(self.when, self.seq))
    }
}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}
impl Eq for Entry {}

/// A P's timers.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: SpinLock<Heap>,
    /// The earliest deadline; `u64::MAX`: none. Written under the lock.
    when: AtomicU64,
}

#[derive(Debug)]
struct Heap {
    entries: BinaryHeap<Entry>,
    inserted: u64,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self { heap: SpinLock::new(Heap { entries: BinaryHeap::new(), inserted: 0 }), when: AtomicU64::new(u64::MAX) }
    }

    /// The earliest deadline.
    #[inline]
    pub(crate) fn when(&self) -> u64 {
        // Acquire: pairs with the Release in `publish`; a rester that re-checks sees what was inserted before it lay down.
        self.when.load(Ordering::Acquire)
    }

    fn publish(&self, heap: &Heap) {
        // Release: pairs with the Acquire in `when`.
        self.when.store(heap.entries.peek().map_or(u64::MAX, |e| e.when), Ordering::Release);
    }

    /// Makes room for one more, so that `insert` does not allocate.
    fn reserve(&self, preempt: &PreemptGuard) {
        self.heap.lock(preempt).entries.reserve(1);
    }

    /// How many G's sleep here, and the bytes of memory that is kept for timers.
    pub(crate) fn size(&self, preempt: &PreemptGuard) -> (usize, usize) {
        let heap = self.heap.lock(preempt);
        let sleepers =
            heap.entries.iter().filter(|entry| matches!(entry.action, Action::Wake(_) | Action::Expire(..))).count();
        (sleepers, heap.entries.capacity() * size_of::<Entry>())
    }

    pub(crate) fn insert(&self, preempt: &PreemptGuard, when: u64, action: Action) {
        let mut heap = self.heap.lock(preempt);
        let seq = heap.inserted;
        heap.inserted += 1;
        heap.entries.push(Entry { when, seq, action });
        self.publish(&heap);
    }

    /// Moves all of them to another P's, which the caller holds: it arms its one-shot next.
    pub(crate) fn move_to(&self, to: &Self, preempt: &PreemptGuard) {
        if self.when() == u64::MAX {
            return;
        }
        let entries = core::mem::take(&mut self.heap.lock(preempt).entries);
        for entry in entries.into_sorted_vec().into_iter().rev() {
            to.insert(preempt, entry.when, entry.action);
        }
        // Last: until then they are looked for here.
        let heap = self.heap.lock(preempt);
        self.publish(&heap);
    }

    /// Forgets the deadline of a wait that is over.
    fn cancel(&self, preempt: &PreemptGuard, number: Number, g: GRef) -> bool {
        if self.when() == u64::MAX {
            return false;
        }
        let mut heap = self.heap.lock(preempt);
        let before = heap.entries.len();
        heap.entries.retain(|e| !matches!(e.action, Action::Expire(of, n) if n == number && core::ptr::eq(of, g)));
        self.publish(&heap);
        heap.entries.len() != before
    }

    /// Takes one that is due.
    pub(crate) fn pop_due(&self, preempt: &PreemptGuard, now: u64) -> Option<Action> {
        if self.when() > now {
            return None;
        }
        let mut heap = self.heap.lock(preempt);
        if heap.entries.peek()?.when > now {
            return None;
        }
        let entry = heap.entries.pop();
        self.publish(&heap);
        entry.map(|e| e.action)
    }
}

/// Who sleeps for ever wakes up then: a heap's deadlines lie before `u64::MAX`, which says that it is empty.
const LAST: Instant = Instant::from_nanos(u64::MAX - 1);

/// Parks the current G for at least `duration`. Zero yields. A duration that reaches behind the end of the clock is no deadlock: who sleeps for
/// ever, sleeps.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// time::sleep(Duration::from_millis(5));
/// # });
/// ```
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return crate::park::yield_now();
    }
    sleep_until(Instant::now() + duration);
}

/// Parks the current G until the clock has reached `when`. A moment that has passed yields.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let begin = Instant::now();
/// for tick in 1..=3 {
///     time::sleep_until(begin + Duration::from_millis(2) * tick); // no drift
/// }
/// assert!(begin.elapsed() >= Duration::from_millis(6));
/// # });
/// ```
pub fn sleep_until(when: Instant) {
    let when = when.min(LAST).as_nanos();
    let guard = PreemptGuard::new();
    let m = M::current(&guard);
    m.held(&guard).timers.reserve(&guard);
    // SAFETY: `when` outlives the park (it is on this stack), and `commit` hands G to one timer, which readies it once.
    drop(unsafe { park(guard, WaitReason::Sleep, commit_sleep, (&raw const when).cast_mut().cast()) });
}

/// In `after`: the G becomes visible to whoever runs the timers.
unsafe fn commit_sleep(when: *mut (), g: GRef) -> bool {
    // SAFETY: `sleep_until` passed a pointer to its deadline, and its G has not been resumed yet.
    let when = unsafe { *when.cast::<u64>() };
    start(when, Action::Wake(g));
    true
}

/// Calls `f(now)` on a g0 at or after `when`; if it returns a time, again then. For the platform's own chores.
pub fn call_at(when: u64, f: fn(u64) -> Option<u64>) {
    start(when, Action::Call(f));
}

/// Makes room for a timer of the current P, so that a `commit` can start one without allocating.
pub(crate) fn reserve(guard: &PreemptGuard) {
    M::current(guard).held(guard).timers.reserve(guard);
}

/// At `when`, ends the wait `number` of `g` unless it has ended, and readies `g`. Room has been reserved.
pub(crate) fn start_expiry(when: u64, g: GRef, number: Number) {
    start(when.min(LAST.as_nanos()), Action::Expire(g, number));
}

/// That wait has ended otherwise. The timer may be on its way to fire: then it does nothing.
pub(crate) fn cancel_expiry(guard: &PreemptGuard, g: GRef, number: Number) {
    let m = M::current(guard);
    let _ = m.sched.all_ps().any(|p| p.timers.cancel(guard, number, g));
}

fn start(when: u64, action: Action) {
    let guard = PreemptGuard::new();
    let m = M::current(&guard);
    let p = m.held(&guard);
    p.timers.insert(&guard, when, action);
    if p.slice_is_unknown() {
        // Whoever runs now has just begun, in place of the G that goes to sleep.
        p.begin_slice(platform::now());
    }
    m.arm(p.next_alarm());
}

impl M {
    /// Arms this core's one-shot for `at`, unless that is what it is armed for.
    #[inline]
    pub(crate) fn arm(&self, at: u64) {
        if self.armed.load(Ordering::Relaxed) != at {
            self.rearm(at);
        }
    }

    /// Arms it for `at` whatever it was armed for.
    pub(crate) fn rearm(&self, at: u64) {
        self.armed.store(at, Ordering::Relaxed);
        platform::arm_timer(self, at);
    }

    /// Somebody else has used the one-shot.
    pub(crate) fn forget_armed(&self) {
        self.armed.store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_earliest_deadline_is_popped_first_and_equals_in_order() {
        fn call(_: u64) -> Option<u64> {
            None
        }
        let mut heap = BinaryHeap::new();
        for (seq, when) in [5u64, 1, 9, 1, 5].into_iter().enumerate() {
            heap.push(Entry { when, seq: seq as u64, action: Action::Call(call) });
        }
        let order: Vec<_> = core::iter::from_fn(|| heap.pop()).map(|e| (e.when, e.seq)).collect();
        assert_eq!(order, [(1, 1), (1, 3), (5, 0), (5, 4), (9, 2)]);
    }
}
