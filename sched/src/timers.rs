//! Timers: a heap a P, and the G's and calls that wait in it.
//!
// ANCHOR: timers
//! ```text
//!   P ── Timers { lock ── Heap: (when, node) (when, node) … ,  when: the earliest }
//!                                   │
//!                                   ▼
//!                          TimerNode in a G's record      it sleeps, or waits for something and for a deadline
//!                          TimerNode in an Alarm          a call on a g0: starts a goroutine, cancels a context, does a chore
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
//!   the timer (`wait/ticket.rs`);
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

use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicU32, AtomicU64, Ordering};
pub(crate) use alarm::{Alarm, Firing};
use heap::{Growth, Heap, TimerEntry};
pub(crate) use node::{TimerNode, What};

mod alarm;
mod heap;
mod node;

/// The latest deadline, at which even an endless sleep ends, in nanoseconds. A heap's deadlines lie
/// before `u64::MAX`, which says that the heap is empty.
pub(crate) const LAST: u64 = u64::MAX - 1;

/// The generation of chores: they belong to the platform and are never cancelled.
pub(crate) const CHORE: u32 = u32::MAX;

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
        let chore = |entry: &&TimerEntry| matches!(entry.node.what.get(), What::Call(CHORE));
        // A few at a time: a snapshot, if others start and stop timers meanwhile. The last look has
        // the length, too: so few timers are counted exactly.
        let (mut seen, mut chores) = (0, 0);
        loop {
            let guard = PreemptGuard::new();
            let heap = self.heap.lock(&guard);
            chores += heap.some(seen, PIECE).filter(chore).count();
            seen += PIECE;
            if seen >= heap.len() {
                return heap.len().saturating_sub(chores);
            }
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
    pub(crate) fn insert(&self, preempt: &PreemptGuard, when: u64, node: &'static TimerNode) {
        debug_assert!(!node.is_pending(), "a timer was started twice");
        let mut heap = self.heap.lock(preempt);
        heap.push(when, node);
        self.adopt(node);
        self.publish(&heap);
    }

    /// Makes this heap the home of `node`. With the lock held.
    fn adopt(&self, node: &TimerNode) {
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

    /// Returns the size of an array with room for one timer more, if this one is too small.
    pub(crate) fn wants_room(&self, preempt: &PreemptGuard) -> Option<usize> {
        self.heap.lock(preempt).wants(1)
    }

    /// Gives a timer of this heap another deadline, and another purpose. By its owner. Returns
    /// false if the timer stands elsewhere, or in no heap.
    #[inline(always)]
    pub(crate) fn change(&self, preempt: &PreemptGuard, node: &TimerNode, when: u64, what: What) -> bool {
        let here = core::ptr::from_ref(self);
        // Relaxed: only the owner, which calls, puts it here.
        if !core::ptr::eq(node.home.load(Ordering::Relaxed), here) {
            return false;
        }
        let mut heap = self.heap.lock(preempt);
        if !core::ptr::eq(node.home.load(Ordering::Relaxed), here) {
            return false;
        }
        node.what.set(what);
        heap.change(node.at.get() as usize, when);
        self.publish(&heap);
        true
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

    /// Takes a timer that is due, and returns what `due` makes of it. While `due` looks at the
    /// node, nobody else does.
    pub(crate) fn pop_due<D>(
        &self,
        preempt: &PreemptGuard,
        now: u64,
        due: impl FnOnce(&'static TimerNode) -> D,
    ) -> Option<D> {
        if self.when() > now {
            return None;
        }
        let mut heap = self.heap.lock(preempt);
        if heap.first()?.when > now {
            return None;
        }
        let node = heap.pop()?.node;
        let due = due(node);
        // Release: an owner that sees that the node has left may start it anew.
        node.home.store(core::ptr::null_mut(), Ordering::Release);
        self.publish(&heap);
        Some(due)
    }
}

/// Takes a timer out of the heap in which it stands. Returns true if the timer will not fire. Only
/// its owner calls this, and only its owner starts it.
#[inline(never)]
pub(crate) fn cancel(preempt: &PreemptGuard, node: &TimerNode) -> bool {
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
