//! Timers: a heap a P, and the G's and calls that wait in it.
//!
// ANCHOR: timers
//! ```text
//!   P ── Timers { lock ── Heap: (when, node) (when, node) … ,  when: the earliest }
//!                                   │
//!                                   ▼
//!                          Node in a G's record      it sleeps, or waits for something and for a deadline
//!                          Node in an Alarm          a call on a g0: starts a goroutine, cancels a context, does a chore
//!
//!            start                     pop_due, by whoever runs the timers of this P
//!   nowhere ───────▶ in P's heap ───────────────────▶ nowhere, and `Due`: what is to be done, by value
//!              ▲           │  └── move_to: in another P's heap (INV-TIMER-HOME, INV-STRAY)
//!              └── cancel ─┘
//! ```
// ANCHOR_END: timers
//!
//! A P's heap is guarded by a lock: thieves run the due timers of busy P's, and any core may cancel
//! a timer. The earliest deadline stands beside the heap in an atomic, so the scheduler and the
//! interrupt handler look at one word. No timer runs in a handler. The handler only sees that a
//! deadline has passed, tells the P (`attention`), and wakes an M that can steal the timer.
//!
//! **INV-NODE**: `home` says in which heap a node stands, and is written under that heap's lock (a
//! move holds both). A caller that has locked the heap that `home` named, and finds it unchanged,
//! may take the node out. A caller that finds `home` empty knows that the timer has left its heap.
//! A timer never goes back by itself.
//!
//! **The hard race** is `cancel` against a timer that has just left: its action is on its way, on
//! another core. Nobody waits for that action. The heap hands out a copy, with the *generation*
//! that the timer had when it was started. The node itself is not looked at again, and may be
//! started anew at once. The M that carries the action out checks the generation in the same step
//! that makes the action happen:
//!
//! * a G that waits with a deadline has a ticket that one compare-and-swap wins, for a waker or for
//!   the timer (`ticket.rs`);
//! * an [`Alarm`]'s call asks under its owner's lock, and the owner changes the generation under
//!   that lock.
//!
//! So `cancel` returns true if the timer will never fire. False means that it has fired, or was not
//! started. If its owner has ended the generation, an action still on its way has no effect. There
//! is no state "being fired", and nothing to wait for.
//!
//! Starting a timer does not allocate: [`reserve`] makes room before, while the G can still be told
//! that there is no memory. Only the holder of a P adds to its heap, since the holder's one-shot is
//! armed for it. Any other core only takes away. A deadline that is taken away stays armed: a
//! needless interrupt costs less than a look at another core's one-shot.

use alloc::vec::Vec;
use core::cell::Cell;
use core::ptr::NonNull;

use crate::g::{G, GRef, WaitReason};
use crate::lock::SpinLock;
use crate::m::M;
use crate::park::park;
use crate::platform;
use crate::preempt::PreemptGuard;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use crate::ticket::Number;
use crate::time::{Duration, Instant};
#[cfg(loom)]
pub use alarm::Bell;
pub use alarm::Chore;
pub(crate) use alarm::{Alarm, Firing};
use heap::{Entry, Growth, Heap};

mod alarm;
mod heap;

/// The part of a timer that the heap knows, in a G's record or in an [`Alarm`].
#[derive(Debug)]
pub(crate) struct Node {
    /// INV-NODE. Null: in none.
    home: AtomicPtr<Timers>,
    // --- Guarded by the lock of `home`. If `home` is null, guarded by the node's owner.
    /// Its entry there.
    at: Cell<u32>,
    /// Counts the nodes that were put in, so that equals leave in order.
    number: Cell<u32>,
    what: Cell<What>,
}

/// The owner of a node, and the generation that the owner has given it.
#[derive(Debug, Clone, Copy)]
enum What {
    /// A G that sleeps.
    Sleep,
    /// A G whose wait, the one of its ticket, has a deadline.
    Wait,
    /// An [`Alarm`].
    Call(u32),
}

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

impl Node {
    crate::const_unless_loom! {
        pub(crate) fn new() -> Self {
            let home = AtomicPtr::new(core::ptr::null_mut());
            Self { home, at: Cell::new(0), number: Cell::new(0), what: Cell::new(What::Sleep) }
        }
    }

    /// Returns the action of a node that has just left its heap.
    fn due(&'static self) -> Due {
        let at = core::ptr::from_ref(self).addr();
        // SAFETY: a node with this `what` is the field of a G's record, whose provenance `start_g`
        // has exposed; records live for ever.
        let g = || unsafe { &*core::ptr::with_exposed_provenance::<G>(at - core::mem::offset_of!(G, timer)) };
        match self.what.get() {
            What::Sleep => Due::Wake(g()),
            // While the node is in a heap the G does not begin another wait, so the ticket's
            // number, if one is open, is that of this one.
            What::Wait => g().ticket.current().map_or(Due::Nothing, |number| Due::Expire(g(), number)),
            What::Call(generation) => Due::Call(Alarm::of(self), generation),
        }
    }

    /// Returns true if the node stands in a heap. The answer is a guess unless the caller keeps the
    /// node from changing.
    fn is_pending(&self) -> bool {
        !self.home.load(Ordering::Relaxed).is_null()
    }
}

/// The most entries copied, or looked at, with preemption off: some hundred to a few thousand
/// instructions.
const PIECE: usize = 256;

/// The most timers moved with preemption off: a few thousand instructions. One, in models.
pub(crate) const MOVED: usize = if cfg!(loom) { 1 } else { 8 };

/// A P's timers.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: SpinLock<Heap>,
    /// The earliest deadline; `u64::MAX`: none. Written under the lock.
    when: AtomicU64,
    /// Counts the array's growths that began, and those that are over. In between there is memory
    /// that [`bytes`](Self::bytes) does not tell of.
    begun: AtomicU32,
    ended: AtomicU32,
}

impl Timers {
    pub(crate) fn new() -> Self {
        let (begun, ended) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { heap: SpinLock::new(Heap::new()), when: AtomicU64::new(u64::MAX), begun, ended }
    }

    /// Returns the earliest deadline.
    #[inline]
    pub(crate) fn when(&self) -> u64 {
        // Acquire: pairs with the Release in `publish`; a rester that re-checks sees what was
        // inserted before it lay down.
        self.when.load(Ordering::Acquire)
    }

    fn publish(&self, heap: &Heap) {
        // Release: pairs with the Acquire in `when`.
        self.when.store(heap.first().map_or(u64::MAX, |first| first.when), Ordering::Release);
    }

    /// Returns how many G's and alarms wait here (without chores of the platform).
    pub(crate) fn len(&self) -> usize {
        let chore = |entry: &&Entry| matches!(entry.node.what.get(), What::Call(alarm::CHORE));
        // A few at a time: a snapshot, if others start and stop timers meanwhile.
        let (mut seen, mut chores) = (0, 0);
        loop {
            let guard = PreemptGuard::new();
            let heap = self.heap.lock(&guard);
            if seen >= heap.len() {
                return heap.len().saturating_sub(chores);
            }
            chores += heap.some(seen, PIECE).filter(chore).count();
            seen += PIECE;
        }
    }

    /// Returns the blocks of memory that are kept for timers, each with its bytes.
    pub(crate) fn bytes(&self, preempt: &PreemptGuard) -> impl Iterator<Item = usize> + use<> {
        self.heap.lock(preempt).bytes().into_iter()
    }

    /// Returns how many growths of the array are over, failed ones included. Returns `None` during
    /// a growth.
    pub(crate) fn growths(&self) -> Option<u32> {
        // Acquire: pairs with the Release in `grow`: the old array has gone.
        let ended = self.ended.load(Ordering::Acquire);
        (self.begun.load(Ordering::Relaxed) == ended).then_some(ended)
    }

    /// Puts in a node that stands in no heap, where there is room. By the P's holder.
    #[inline(never)]
    fn insert(&self, preempt: &PreemptGuard, when: u64, node: &'static Node) {
        debug_assert!(!node.is_pending(), "a timer was started twice");
        let mut heap = self.heap.lock(preempt);
        heap.push(when, node);
        self.adopt(node);
        self.publish(&heap);
    }

    /// Makes this heap the home of `node`. With the lock held.
    fn adopt(&self, node: &Node) {
        // Release: pairs with the Acquire in `cancel`, which dereferences it.
        node.home.store(core::ptr::from_ref(self).cast_mut(), Ordering::Release);
    }

    /// Moves the `n` earliest to another P's heap. The caller holds that P, and arms its one-shot
    /// next. Returns true if none is left here. Returns `Err` if nothing was moved, since the other
    /// heap needs a [larger array](Self::grow) first.
    pub(crate) fn move_to(&self, to: &Self, n: usize, preempt: &PreemptGuard) -> Result<bool, usize> {
        if self.when() == u64::MAX {
            return Ok(true);
        }
        // In the order of their addresses, as every caller that moves.
        let (mut from, mut into) = if core::ptr::from_ref(self) < core::ptr::from_ref(to) {
            let from = self.heap.lock(preempt);
            (from, to.heap.lock(preempt))
        } else {
            let into = to.heap.lock(preempt);
            (self.heap.lock(preempt), into)
        };
        into.take_some(&mut from, n, |node| to.adopt(node))?;
        to.publish(&into);
        // Last: until then they are looked for here.
        self.publish(&from);
        Ok(from.len() == 0)
    }

    /// Makes room for a timer that may be started on this P's g0. By the P's holder. Returns false
    /// if there is none yet: memory is short, or many entries are left to copy. Each call copies a
    /// piece of them.
    pub(crate) fn make_room(&self, preempt: &PreemptGuard) -> bool {
        let wants = self.heap.lock(preempt).wants(1);
        wants.is_none_or(|larger| self.grow_by(larger, 2))
    }

    /// Makes the array as large as `capacity`, if there is memory.
    pub(crate) fn grow(&self, capacity: usize) -> bool {
        self.grow_by(capacity, usize::MAX)
    }

    /// Grows the array in at most `steps` steps. Holds the lock for a piece each time, and frees
    /// the old array without it.
    #[optimize(size)]
    fn grow_by(&self, capacity: usize, mut steps: usize) -> bool {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let grows = loop {
            let growth = self.heap.lock(&PreemptGuard::new()).growth(capacity);
            let mut array = Vec::new();
            match growth {
                Growth::Done => break true,
                _ if steps == 0 => break false,
                Growth::Begin(larger) if array.try_reserve_exact(larger).is_err() => break false,
                Growth::Begin(_) | Growth::Copy => steps -= 1,
            }
            let guard = PreemptGuard::new();
            let mut heap = self.heap.lock(&guard);
            let old = if array.capacity() > 0 { heap.begin(array) } else { heap.copy(PIECE) };
            drop(heap);
            drop(guard);
            drop(old);
        };
        // Release: pairs with the Acquire in `growths`.
        self.ended.fetch_add(1, Ordering::Release);
        grows
    }

    /// Takes a timer that is due.
    pub(crate) fn pop_due(&self, preempt: &PreemptGuard, now: u64) -> Option<Due> {
        if self.when() > now {
            return None;
        }
        let mut heap = self.heap.lock(preempt);
        if heap.first()?.when > now {
            return None;
        }
        let node = heap.pop()?.node;
        let due = node.due();
        // Release: an owner that sees that the node has left may start it anew.
        node.home.store(core::ptr::null_mut(), Ordering::Release);
        self.publish(&heap);
        Some(due)
    }
}

/// Takes a timer out of the heap in which it stands. Returns true if the timer will not fire. Only
/// its owner calls this, and only its owner starts it.
#[inline(never)]
pub(crate) fn cancel(preempt: &PreemptGuard, node: &Node) -> bool {
    loop {
        // Acquire: pairs with the Release in `adopt` and in `pop_due`.
        let home = node.home.load(Ordering::Acquire);
        // SAFETY: only `adopt` stores something else than null there: the timers of a P, which live
        // for ever.
        let Some(timers) = (unsafe { home.as_ref() }) else { return false };
        let mut heap = timers.heap.lock(preempt);
        // The node may have left, or moved, before we had the lock.
        if node.home.load(Ordering::Relaxed) == home {
            heap.remove(node.at.get() as usize);
            node.home.store(core::ptr::null_mut(), Ordering::Relaxed);
            timers.publish(&heap);
            return true;
        }
    }
}

/// Cancels as [`cancel`] does, then starts the timer anew on the P held here, where there is room.
#[inline(never)]
fn restart(guard: &PreemptGuard, node: &'static Node, when: u64, what: What) -> bool {
    let m = M::current(guard);
    let p = m.held(guard);
    let here = core::ptr::from_ref(&p.timers);
    // Relaxed: only we put it here.
    if core::ptr::eq(node.home.load(Ordering::Relaxed), here) {
        let mut heap = p.timers.heap.lock(guard);
        if core::ptr::eq(node.home.load(Ordering::Relaxed), here) {
            node.what.set(what);
            heap.change(node.at.get() as usize, when);
            p.timers.publish(&heap);
            drop(heap);
            m.arm(p.next_alarm());
            return true;
        }
    }
    let was = cancel(guard, node);
    node.what.set(what);
    start(guard, when, node);
    was
}

/// Turns preemption off, with room for one timer in the heap of the P that is held here. A start
/// under this guard does not allocate.
///
/// # Panics
/// When there is no memory.
#[inline(never)]
pub(crate) fn reserve() -> PreemptGuard {
    loop {
        let guard = PreemptGuard::new();
        let m = M::current(&guard);
        let wants = m.held(&guard).timers.heap.lock(&guard).wants(1);
        let Some(larger) = wants else { return guard };
        let timers = m.p().map(|p| &p.timers);
        drop(guard);
        // Meanwhile this G may have gone elsewhere. Then that P gets room in vain, and the loop
        // comes round again.
        if !timers.is_some_and(|timers| timers.grow(larger)) && !platform::reclaim() {
            no_memory();
        }
    }
}

#[cold]
#[inline(never)]
fn no_memory() -> ! {
    panic!("out of memory for a timer");
}

/// Ends the open wait of `g` at `when` unless it has ended, and readies `g`. In its `commit`, under
/// a guard of [`reserve`].
pub(crate) fn start_expiry(when: u64, g: GRef) {
    // SAFETY: 1. a switch runs `after` with one level of preemption off; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    start_g(&guard, g, when.min(LAST.as_nanos()), What::Wait);
    guard.release();
}

/// Cancels the deadline of a wait that has ended. By `g`, before it begins another wait and before
/// preemption is on again.
pub(crate) fn cancel_expiry(guard: &PreemptGuard, g: GRef) {
    cancel(guard, &g.timer);
}

/// Starts the timer as the `commit` of a sleeper does.
#[cfg(loom)]
pub(crate) fn start_sleep(guard: &PreemptGuard, g: GRef, when: u64) {
    start_g(guard, g, when, What::Sleep);
}

/// Starts the timer in the record of `g`. In its `commit`, under a guard of [`reserve`].
fn start_g(guard: &PreemptGuard, g: GRef, when: u64, what: What) {
    // `due` finds the G by its node.
    let _ = core::ptr::from_ref(g).expose_provenance();
    g.timer.what.set(what);
    start(guard, when, &g.timer);
}

/// Puts a node into the heap of the P that is held here, where there is room, and sets the
/// one-shot.
fn start(guard: &PreemptGuard, when: u64, node: &'static Node) {
    let m = M::current(guard);
    let p = m.held(guard);
    p.timers.insert(guard, when, node);
    if p.slice_is_unknown() {
        // The G that runs now has just begun, in place of the G that goes to sleep.
        p.begin_slice(platform::now());
    }
    m.arm(p.next_alarm());
}

/// The latest deadline, at which even an endless sleep ends. A heap's deadlines lie before
/// `u64::MAX`, which says that the heap is empty.
pub(crate) const LAST: Instant = Instant::from_nanos(u64::MAX - 1);

/// Parks the current G for at least `duration`. Zero yields. A duration that reaches behind the end
/// of the clock is no deadlock: the G just sleeps.
///
/// # Panics
/// When there is no memory for the timer.
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
/// # Panics
/// As [`sleep`].
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
    if when <= Instant::now() {
        // No G sleeps with a deadline before the present. Such a deadline would always be the
        // earliest, and keep later ones from their turn.
        return crate::park::yield_now();
    }
    let when = when.min(LAST).as_nanos();
    // SAFETY: `when` outlives the park (it is on this stack), and `commit` hands G to one timer,
    // which readies it once.
    drop(unsafe { park(reserve(), WaitReason::Sleep, commit_sleep, (&raw const when).cast_mut().cast()) });
}

/// Makes the G visible to the M's that run the timers. Runs in `after`.
unsafe fn commit_sleep(when: *mut (), g: GRef) -> bool {
    // SAFETY: `sleep_until` passed a pointer to its deadline, and its G has not been resumed yet.
    let when = unsafe { *when.cast::<u64>() };
    // SAFETY: 1. a switch runs `after` with one level of preemption off; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    start_g(&guard, g, when, What::Sleep);
    guard.release();
    true
}

/// The most that an interrupt of the one-shot is late: 1 ms. (An emulated timer waits for its
/// host.)
const LATE: u64 = 1_000_000;

impl M {
    /// Arms this core's one-shot for `at`, unless it is armed for that or an earlier time.
    ///
    /// An earlier interrupt's handler arms the one-shot for the alarms there are then. A needless
    /// interrupt is rare, while on a P with many timers each look finds another next alarm. Out of
    /// line: many callers arm, none often.
    ///
    /// **The hard race**: an interrupt of this core comes between the caller's look at its P's
    /// alarms and the one-shot. Its handler sets an earlier alarm, and arms for it. The caller's
    /// write would then make that alarm late, or undo it. So `arm` looks at the alarms once more
    /// afterwards, unless `at` has passed. In that case the interrupt has come, or comes at once,
    /// and its handler arms for all there is. Insisting would bring one interrupt after the other,
    /// for ever.
    #[inline(never)]
    pub(crate) fn arm(&self, at: u64) {
        // The common case: the one-shot is armed for that, and this M keeps no other P's deadlines.
        if (self.armed.load(Ordering::Relaxed) ^ at) | self.keeps.load(Ordering::Relaxed) != 0 {
            self.arm_anew(at);
        }
    }

    #[inline(never)]
    fn arm_anew(&self, at: u64) {
        let mut at = at.min(self.kept_until());
        // 0: another user has taken the one-shot. An alarm that has just passed has its interrupt
        // on the way. `LATE` after the alarm, that interrupt must have come.
        let is_armed = |at| {
            let armed = self.armed.load(Ordering::Relaxed);
            at == u64::MAX || armed.wrapping_sub(1) < at && armed.saturating_add(LATE) >= platform::now()
        };
        if is_armed(at) {
            return;
        }
        let calm = self.calm.load(Ordering::Relaxed);
        if at < calm
            && let Some(p) = self.p().filter(|p| !p.queues_are_empty())
        {
            at = calm.min(p.next_own_alarm());
            if is_armed(at) {
                return;
            }
        }
        loop {
            self.rearm(at);
            let due = self.p().map_or(at, |p| p.next_own_alarm().min(at));
            if due == at && is_armed(at) || at <= platform::now() {
                return;
            }
            at = due;
        }
    }

    /// Arms the one-shot once more for its alarm, after the platform has used it. On this core,
    /// with preemption off.
    pub fn arm_again(&self) {
        loop {
            // 0: the user that has taken the one-shot arms it next.
            let at = self.armed.load(Ordering::Relaxed);
            if at == 0 {
                return;
            }
            platform::arm_timer(self, at);
            // As in `arm`: a handler may have come between.
            if self.armed.load(Ordering::Relaxed) == at {
                return;
            }
        }
    }

    /// Arms the one-shot for `at`, without a look at its alarm.
    #[inline(never)]
    pub(crate) fn rearm(&self, at: u64) {
        self.armed.store(at, Ordering::Relaxed);
        self.counters.timer_writes.add_shared();
        platform::arm_timer(self, at);
    }

    /// Notes that another user has taken the one-shot.
    pub(crate) fn forget_armed(&self) {
        self.armed.store(0, Ordering::Relaxed);
    }
}
