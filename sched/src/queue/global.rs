//! The global run queue: for the overflow of a full ring, and for G's that no P readied.
//!
//! A list under a lock is right here, because it is off every fast path. A P looks at it every 61st
//! dispatch, when its own ring is empty, and when that overflows (129 G's for one lock). The length
//! is an atomic beside the lock, so a look at an empty queue costs one load.

use crate::g::{Batch, GRef};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicUsize, Ordering};

/// A global queue.
#[derive(Debug)]
pub struct GlobQ {
    /// Guarded: the list.
    list: SpinLock<Batch>,
    /// Written under the lock, read anywhere.
    len: AtomicUsize,
}

impl GlobQ {
    /// Makes an empty queue.
    pub fn new() -> Self {
        Self { list: SpinLock::new(Batch::new()), len: AtomicUsize::new(0) }
    }

    /// Returns how many G's wait.
    #[inline]
    pub fn len(&self) -> usize {
        // Acquire: pairs with the Release below; a rester that sees 0 after its fence sees no
        // earlier push either.
        self.len.load(Ordering::Acquire)
    }

    /// Returns true if no G waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends one G, after `note`, with the lock held.
    #[inline]
    pub fn push_one(&self, preempt: &PreemptGuard, g: GRef, note: impl FnOnce()) {
        let mut one = Batch::new();
        one.push(g);
        self.push(preempt, one, |_| note());
    }

    /// Appends a batch, after `note`, with the lock held: so notes have the order of the queue.
    #[inline(never)]
    pub fn push(&self, preempt: &PreemptGuard, batch: Batch, note: impl FnOnce(&Batch)) {
        let mut list = self.list.lock(preempt);
        note(&batch);
        list.append(batch);
        // Release: pairs with the Acquire in `len`.
        self.len.store(list.len(), Ordering::Release);
    }

    /// Takes up to `n` G's.
    pub fn pop(&self, preempt: &PreemptGuard, n: usize) -> Batch {
        if self.is_empty() {
            return Batch::new();
        }
        let mut list = self.list.lock(preempt);
        let out = list.take_front(n);
        // Release: as in `push`.
        self.len.store(list.len(), Ordering::Release);
        out
    }

    /// Runs `f` on the G's, with the lock held: for records of the queue.
    #[cfg(feature = "trace")]
    pub(crate) fn look(&self, preempt: &PreemptGuard, f: impl FnOnce(&Batch)) {
        f(&self.list.lock(preempt));
    }

    /// Runs `f` while the queue's lock is held: for tests of the report path, which must not need
    /// it.
    #[doc(hidden)]
    pub fn with_locked<R>(&self, preempt: &PreemptGuard, f: impl FnOnce() -> R) -> R {
        let _list = self.list.lock(preempt);
        f()
    }
}

impl Default for GlobQ {
    fn default() -> Self {
        Self::new()
    }
}
