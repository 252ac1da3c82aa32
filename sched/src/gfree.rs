//! Free G's, waiting for their next life with their stack still on.
//!
//! Each P keeps a list of its own, touched by nobody else; when it grows past [`LOCAL_MAX`], half goes to the global list,
//! and an empty one takes a batch from there. So a spawn after an exit on the same P meets no lock and no page fault.

use core::cell::{Cell, RefCell};

use crate::g::{Batch, GRef};
use crate::lock::SpinLock;
use crate::preempt::PreemptGuard;
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
            if global.len.load(Ordering::Relaxed) == 0 {
                return None;
            }
            *list = global.take(preempt);
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

    pub(crate) fn len(&self) -> usize {
        self.len.get()
    }
}

/// The list behind the lists.
#[derive(Debug)]
pub(crate) struct GlobalFree {
    list: SpinLock<Batch>,
    len: AtomicUsize,
}

impl GlobalFree {
    pub(crate) fn new() -> Self {
        Self { list: SpinLock::new(Batch::new()), len: AtomicUsize::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn take(&self, preempt: &PreemptGuard) -> Batch {
        let mut out = Batch::new();
        let mut list = self.list.lock(preempt);
        while out.len() < MOVE {
            let Some(g) = list.pop() else { break };
            out.push(g);
        }
        self.len.store(list.len(), Ordering::Relaxed);
        out
    }

    fn give(&self, preempt: &PreemptGuard, batch: Batch) {
        let mut list = self.list.lock(preempt);
        list.append(batch);
        self.len.store(list.len(), Ordering::Relaxed);
    }
}
