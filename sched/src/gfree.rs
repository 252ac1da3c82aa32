//! Free G's, waiting for their next life.
//!
//! ```text
//!   a P's own list         warm: a default window with its top page there      no lock, no page fault
//!     ▲│ half, past LOCAL_MAX
//!     │▼
//!   the global warm list   the same                                            a lock for 32
//!      │ the scavenger strips their windows
//!      ▼
//!   the global bare list   no memory: a window's addresses, or none at all     a lock, a frame
//! ```
//!
//! A G that has used more than a few pages goes to the global list at once, so that what the P's keep stays small.
//!
//! So a spawn after an exit on the same P meets no lock and no page fault, and memory that nobody has wanted for a while goes back.

use core::cell::{Cell, RefCell};

use crate::g::{Batch, GRef};
use crate::lock::SpinLock;
use crate::preempt::PreemptGuard;
use crate::registry::Registry;
use crate::sync::{AtomicUsize, Ordering};

/// A P keeps at most this many.
const LOCAL_MAX: usize = 64;
/// How many move at once.
const MOVE: usize = 32;

/// A P's own free list. Owner only.
#[derive(Debug)]
pub(crate) struct LocalFree {
    list: RefCell<Batch>,
    /// A copy of the length, for a look without a borrow.
    len: Cell<usize>,
}

impl LocalFree {
    pub(crate) fn new() -> Self {
        Self { list: RefCell::new(Batch::new()), len: Cell::new(0) }
    }

    /// A free G, from here or from the global list.
    #[inline]
    pub(crate) fn pop(&self, global: &GlobalFree, preempt: &PreemptGuard) -> Option<GRef> {
        let mut list = self.list.borrow_mut();
        if list.is_empty() {
            if global.warm_len() == 0 {
                return None;
            }
            *list = global.take(preempt, MOVE);
        }
        let g = list.pop();
        self.len.set(list.len());
        g
    }

    /// Keeps `g`; the most recently used is the first to be reused (its top page is warm).
    #[inline]
    pub(crate) fn push(&self, g: GRef, global: &GlobalFree, preempt: &PreemptGuard) {
        let mut list = self.list.borrow_mut();
        list.push_front(g);
        if list.len() > LOCAL_MAX {
            let mut out = Batch::new();
            for _ in 0..MOVE {
                out.push(list.pop().expect("longer than LOCAL_MAX"));
            }
            global.give(preempt, out);
        }
        self.len.set(list.len());
    }

    /// Gives all of them to the global list, where the scavenger finds them.
    pub(crate) fn flush(&self, global: &GlobalFree, preempt: &PreemptGuard) {
        global.give(preempt, self.list.take());
        self.len.set(0);
    }

    pub(crate) fn len(&self) -> usize {
        self.len.get()
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

    /// How many wait in the global lists.
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

    /// Keeps one whose stack is deep, where the scavenger finds it.
    #[cold]
    pub(crate) fn push_deep(&self, g: GRef, preempt: &PreemptGuard) {
        let mut list = self.warm.lock(preempt);
        list.push_front(g);
        self.warm_len.store(list.len(), Ordering::Relaxed);
    }

    /// A bare one, new if need be; none without memory for its record.
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

    /// Keeps one without memory.
    pub(crate) fn push_bare(&self, g: GRef, preempt: &PreemptGuard) {
        let mut list = self.bare.lock(preempt);
        list.push_front(g);
        self.bare_len.store(list.len(), Ordering::Relaxed);
    }
}
