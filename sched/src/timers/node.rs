//! The part of a timer that the heap knows.

use core::cell::Cell;

use super::Timers;
use crate::machine::sync::{AtomicPtr, Ordering};

/// The part of a timer that the heap knows, in a G's record or in an [`Alarm`](super::Alarm).
#[derive(Debug)]
pub(crate) struct TimerNode {
    /// INV-NODE. Null: in none.
    pub(super) home: AtomicPtr<Timers>,
    // --- Guarded by the lock of `home`. If `home` is null, guarded by the node's owner.
    /// Its entry there.
    pub(super) at: Cell<u32>,
    /// Counts the nodes that were put in, so that equals leave in order.
    pub(super) number: Cell<u32>,
    pub(super) what: Cell<What>,
}

/// The owner of a node, and the generation that the owner has given it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    /// A G that sleeps.
    Sleep,
    /// A G whose wait, the one of its ticket, has a deadline.
    Wait,
    /// An [`Alarm`](super::Alarm).
    Call(u32),
}

impl TimerNode {
    crate::const_unless_loom! {
        pub(crate) fn new() -> Self {
            let home = AtomicPtr::new(core::ptr::null_mut());
            Self { home, at: Cell::new(0), number: Cell::new(0), what: Cell::new(What::Sleep) }
        }
    }

    /// Returns true if the node stands in a heap. The answer is a guess unless the caller keeps the
    /// node from changing.
    pub(crate) fn is_pending(&self) -> bool {
        !self.home.load(Ordering::Relaxed).is_null()
    }

    /// Says what the timer is for. By its owner, while the node stands in no heap.
    pub(crate) fn set_what(&self, what: What) {
        self.what.set(what);
    }

    /// Returns what the timer is for. By its owner, or with the lock of its heap held.
    pub(crate) fn what(&self) -> What {
        self.what.get()
    }
}
