//! A member's place in the group, and the work that is left when the member has given it up.

use alloc::sync::Arc;
use core::cell::Cell;

use super::common::Common;
use crate::api::spawn::drop_elsewhere;
use crate::core::park::current_g;
use crate::g::{GRef, JoinError};
use crate::machine::guard::PreemptGuard;
use crate::wait::group::{Member, close_all, own_id};

/// A place in an [`ErrGroup`].
pub(super) struct InGroup<E> {
    pub(super) group: Arc<Common<E>>,
    /// The group had no room.
    pub(super) refused: Cell<bool>,
}

impl<E: Send + 'static> Member for InGroup<E> {
    type Remainder = Left<E>;

    fn starts(&self) -> bool {
        let guard = PreemptGuard::new();
        let mut state = self.group.state.lock(&guard);
        let room = state.has_room();
        state.running += usize::from(room);
        self.refused.set(!room);
        room
    }

    fn unclaimed(&self, error: JoinError) {
        if self.group.ended(error, own_id()) {
            let guard = PreemptGuard::new();
            let dies = current_g(&guard).is_doomed();
            drop(guard);
            if dies {
                // The current stack is a g0's, and there may be many contexts.
                drop_elsewhere(CancelOnDrop(self.group.clone()));
            } else {
                self.group.cancel();
            }
        }
    }

    fn leave(self) -> Option<Left<E>> {
        let (group, wakes) = self.give_up_place();
        if wakes { Some(Left::Wakes(Waking(group))) } else { Arc::into_inner(group).map(Left::Ends) }
    }

    fn abandoned(self, g: GRef) {
        close_all(g);
        // The undertaker wakes the G's in `wait`; and nothing of the program's is dropped on a g0.
        Arc::into_inner(self.give_up_place().0).into_iter().for_each(drop_elsewhere);
    }
}

impl<E> InGroup<E> {
    /// Gives the place up. Returns the group, and true if G's wait for it to have no members, as
    /// now.
    fn give_up_place(self) -> (Arc<Common<E>>, bool) {
        let guard = PreemptGuard::new();
        let mut state = self.group.state.lock(&guard);
        state.running -= 1;
        let starter = state.starters.pop();
        let wakes = state.running == 0 && !state.waiters.is_empty();
        drop(state);
        if let Some(starter) = starter {
            starter.wake(&guard);
        }
        (self.group, wakes)
    }
}

/// The duty of the last member when it has left, done when this is dropped.
#[expect(dead_code, reason = "dropped, not read")]
pub(super) enum Left<E> {
    /// G's are in `wait`.
    Wakes(Waking<E>),
    /// Nobody else has the group: it goes, with the results of its members.
    Ends(Common<E>),
}

/// Wakes the G's in `wait` when it is dropped.
pub(super) struct Waking<E>(Arc<Common<E>>);

impl<E> Drop for Waking<E> {
    fn drop(&mut self) {
        // Each waiter is in the list until it is woken, so a death in between leaves nobody behind.
        while self.0.wake_waiter() {}
    }
}

/// Cancels the group's context when it is dropped.
struct CancelOnDrop<E>(Arc<Common<E>>);

impl<E> Drop for CancelOnDrop<E> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
