//! A member of a [`JoinSet`](super::JoinSet): its node, and its end.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ptr::NonNull;

use crate::api::join::{JoinError, JoinHandle};
use crate::core::drops::report_unseen;
use crate::g::GRef;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::wait::group::{Member, close_all, own_id};
use crate::wait::list::WaitQueue;

pub(super) struct Shared<T> {
    pub(super) state: SpinLock<State<T>>,
}

pub(super) struct State<T> {
    /// The members that have left and are not joined yet, the first of them first.
    pub(super) done: Option<NonNull<MemberNode<T>>>,
    pub(super) last: Option<NonNull<MemberNode<T>>>,
    /// The set is gone.
    pub(super) closed: bool,
    pub(super) waiters: WaitQueue,
}

// SAFETY: nodes are reached under the lock.
unsafe impl<T: Send> Send for State<T> {}

impl<T> State<T> {
    pub(super) fn waiters(&mut self) -> &mut WaitQueue {
        &mut self.waiters
    }
}

pub(super) struct MemberNode<T> {
    /// The set's; of a set that is gone nobody's.
    pub(super) handle: Option<JoinHandle<T>>,
    pub(super) older: Option<NonNull<MemberNode<T>>>,
    pub(super) newer: Option<NonNull<MemberNode<T>>>,
    /// Guarded by the set's lock.
    pub(super) next_done: Option<NonNull<MemberNode<T>>>,
}

/// The G's side of a node.
pub(super) struct InSet<T> {
    pub(super) shared: Arc<Shared<T>>,
    pub(super) node: NonNull<MemberNode<T>>,
}

// SAFETY: the node is used under the set's lock.
unsafe impl<T: Send> Send for InSet<T> {}

impl<T: Send> Member for InSet<T> {
    type Remainder = ();

    fn unclaimed(&self, error: JoinError) {
        report_unseen(error, own_id());
    }

    fn leave(self) -> Option<()> {
        let guard = PreemptGuard::new();
        let mut state = self.shared.state.lock(&guard);
        if state.closed {
            drop(state);
            // SAFETY: the set is gone: its `drop` has taken the handle out of the node and does not
            // know the node any more.
            drop(unsafe { Box::from_raw(self.node.as_ptr()) });
            return None;
        }
        match state.last.replace(self.node) {
            // SAFETY: nodes in the list are the set's, which looks at this field under the lock.
            Some(last) => unsafe { (*last.as_ptr()).next_done = Some(self.node) },
            None => state.done = Some(self.node),
        }
        let waiter = state.waiters.pop();
        drop(state);
        if let Some(waiter) = waiter {
            waiter.serve().wake(&guard);
        }
        None
    }

    fn abandoned(self, g: GRef) {
        close_all(g);
        self.leave();
    }
}
