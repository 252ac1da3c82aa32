//! Free G's, waiting for their next life.
//!
// ANCHOR: lists
//! ```text
//!   a P's own list         warm: a default window with its top page there      no lock, no page fault
//!     ▲│ half, past LOCAL_MAX
//!     │▼
//!   the global warm list   the same                                            a lock for 32
//!      │ the scavenger strips their windows
//!      ▼
//!   the global bare list   no memory: a window's addresses, or none at all     a lock, a frame
//! ```
// ANCHOR_END: lists
//!
//! A G that has used more than a few pages goes to the global list at once, so that the P's free
//! lists hold little memory.
//!
//! So a spawn after an exit on the same P meets no lock and no page fault. Memory that has not been
//! wanted for a while goes back.

use core::cell::Cell;

use crate::g::{Batch, GRef};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicUsize, Ordering};
use crate::queue::registry::Registry;

/// The most G's that a P keeps.
const LOCAL_MAX: usize = 64;
/// The number of G's that move at once.
const MOVE: usize = 32;

/// A P's own free list: through the G's links, last in, first out. Owner only.
#[derive(Debug)]
pub(crate) struct LocalFree {
    head: Cell<Option<GRef>>,
    /// Written by the owner; others read it to count.
    len: AtomicUsize,
}

impl LocalFree {
    pub(crate) fn new() -> Self {
        Self { head: Cell::new(None), len: AtomicUsize::new(0) }
    }

    /// Takes a free G, from here or from the global list.
    #[inline]
    pub(crate) fn pop(&self, global: &GlobalFree, preempt: &PreemptGuard) -> Option<GRef> {
        if self.head.get().is_none() {
            self.refill(global, preempt);
        }
        self.pop_own()
    }

    #[inline(always)]
    fn pop_own(&self) -> Option<GRef> {
        let g = self.head.get()?;
        self.head.set(g.link());
        self.set_len(self.len() - 1);
        Some(g)
    }

    #[inline(never)]
    fn refill(&self, global: &GlobalFree, preempt: &PreemptGuard) {
        if global.warm_len() > 0 {
            let (head, len) = global.take(preempt, MOVE).into_chain();
            self.head.set(head);
            self.set_len(len);
        }
    }

    /// Keeps `g`; the most recently used is the first to be reused (its top page is warm).
    #[inline]
    pub(crate) fn push(&self, g: GRef, global: &GlobalFree, preempt: &PreemptGuard) {
        g.set_link(self.head.get());
        self.head.set(Some(g));
        let len = self.len() + 1;
        self.set_len(len);
        if len > LOCAL_MAX {
            self.give(MOVE, global, preempt);
        }
    }

    #[inline(never)]
    fn give(&self, n: usize, global: &GlobalFree, preempt: &PreemptGuard) {
        let mut out = Batch::new();
        while out.len() < n
            && let Some(g) = self.pop_own()
        {
            out.push(g);
        }
        global.give(preempt, out);
    }

    /// Gives all of them to the global list, where the scavenger finds them.
    pub(crate) fn flush(&self, global: &GlobalFree, preempt: &PreemptGuard) {
        self.give(self.len(), global, preempt);
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set_len(&self, len: usize) {
        self.len.store(len, Ordering::Relaxed);
    }
}

/// The lists behind the lists.
#[derive(Debug)]
pub(crate) struct GlobalFree {
    warm: SpinLock<Batch>,
    bare: SpinLock<Batch>,
    /// Lengths, for a look without a lock.
    warm_len: AtomicUsize,
    bare_len: AtomicUsize,
}

impl GlobalFree {
    pub(crate) fn new() -> Self {
        Self {
            warm: SpinLock::new(Batch::new()),
            bare: SpinLock::new(Batch::new()),
            warm_len: AtomicUsize::new(0),
            bare_len: AtomicUsize::new(0),
        }
    }

    /// Returns how many wait in the global lists.
    pub(crate) fn len(&self) -> usize {
        self.warm_len.load(Ordering::Relaxed) + self.bare_len.load(Ordering::Relaxed)
    }

    pub(crate) fn warm_len(&self) -> usize {
        self.warm_len.load(Ordering::Relaxed)
    }

    /// Takes up to `n` warm ones, those first that have waited longest.
    pub(crate) fn take(&self, preempt: &PreemptGuard, n: usize) -> Batch {
        let mut out = Batch::new();
        let mut list = self.warm.lock(preempt);
        while out.len() < n {
            let Some(g) = list.pop() else { break };
            out.push(g);
        }
        self.warm_len.store(list.len(), Ordering::Relaxed);
        out
    }

    fn give(&self, preempt: &PreemptGuard, batch: Batch) {
        let mut list = self.warm.lock(preempt);
        list.append(batch);
        self.warm_len.store(list.len(), Ordering::Relaxed);
    }

    /// Keeps a G whose stack is deep, where the scavenger finds it.
    #[cold]
    pub(crate) fn push_deep(&self, g: GRef, preempt: &PreemptGuard) {
        let mut list = self.warm.lock(preempt);
        list.push_front(g);
        self.warm_len.store(list.len(), Ordering::Relaxed);
    }

    /// Takes a bare G, new if need be. Returns `None` without memory for its record.
    pub(crate) fn pop_bare(&self, registry: &Registry, preempt: &PreemptGuard) -> Option<GRef> {
        let take = |list: &mut Batch| {
            let g = list.pop();
            self.bare_len.store(list.len(), Ordering::Relaxed);
            g
        };
        if let Some(g) = take(&mut self.bare.lock(preempt)) {
            return Some(g);
        }
        let mut fresh = Batch::new();
        if !registry.grow(|g| fresh.push(g)) {
            return None;
        }
        let mut list = self.bare.lock(preempt);
        list.append(fresh);
        take(&mut list)
    }

    /// Runs `f` with both lists' locks held: for tests of the code that needs them.
    pub(crate) fn with_locked<R>(&self, preempt: &PreemptGuard, f: impl FnOnce() -> R) -> R {
        let _lists = (self.warm.lock(preempt), self.bare.lock(preempt));
        f()
    }

    /// Keeps a G without memory.
    pub(crate) fn push_bare(&self, g: GRef, preempt: &PreemptGuard) {
        let mut list = self.bare.lock(preempt);
        list.push_front(g);
        self.bare_len.store(list.len(), Ordering::Relaxed);
    }
}
