//! The part that the clones of a group share: the count of members that run, and the G's that wait
//! for it.

use alloc::boxed::Box;

use crate::api::context::Cancel;
use crate::core::drops::report_unseen;
use crate::g::{JoinError, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::wait::deaths::{Deaths, Waited};
use crate::wait::list::{Claimed, WaitQueue};
use crate::wait::ticket::{NEVER, wait_watched};

pub(super) struct Common<E> {
    pub(super) state: SpinLock<Running<E>>,
    pub(super) cancel: Option<Cancel>,
}

pub(super) struct Running<E> {
    pub(super) running: usize,
    pub(super) limit: usize,
    /// The first error; in a box, so that no large one is moved under the lock.
    pub(super) error: Option<Box<E>>,
    /// The error of the first G that did not end by itself, and that G's number.
    pub(super) ended: Option<(JoinError, u64)>,
    /// G's that wait in `go`, for the limit, and in `wait`.
    pub(super) starters: WaitQueue,
    pub(super) waiters: WaitQueue,
}

impl<E> Drop for Common<E> {
    fn drop(&mut self) {
        // Nobody has waited, or nobody will any more.
        let ended = self.state.lock(&PreemptGuard::new()).ended.take();
        if let Some((error, id)) = ended {
            report_unseen(error, id);
        }
    }
}

impl<E> Running<E> {
    pub(super) fn has_room(&self) -> bool {
        self.running < self.limit
    }

    /// Claims a G that waits and need not: one in `wait` when nobody runs, or in `go` while there
    /// is room.
    fn pop_free(&mut self) -> Option<Claimed> {
        let waiter = if self.running == 0 { self.waiters.pop() } else { None };
        if waiter.is_none() && self.has_room() { self.starters.pop() } else { waiter }
    }

    pub(super) fn starters(&mut self) -> &mut WaitQueue {
        &mut self.starters
    }

    pub(super) fn waiters(&mut self) -> &mut WaitQueue {
        &mut self.waiters
    }
}

impl<E> Common<E> {
    /// Notes the result of a goroutine of the group.
    pub(super) fn outcome(&self, outcome: Result<(), E>) {
        if let Err(error) = outcome {
            self.fail(error);
        }
    }

    fn fail(&self, error: E) {
        let error = Box::new(error);
        let late = {
            let guard = PreemptGuard::new();
            let mut state = self.state.lock(&guard);
            if state.error.is_none() && state.ended.is_none() { state.error.replace(error) } else { Some(error) }
        };
        drop(late);
        self.cancel();
    }

    /// Notes that G number `id` has ended without coming to its end. True: the others are to stop.
    pub(super) fn ended(&self, error: JoinError, id: u64) -> bool {
        let fails = !matches!(error, JoinError::Exited);
        if fails {
            let late = {
                let guard = PreemptGuard::new();
                let mut state = self.state.lock(&guard);
                if state.ended.is_none() {
                    state.ended.replace((error, id)).map(|(error, _)| error)
                } else {
                    Some(error)
                }
            };
            if let Some(error) = late {
                report_unseen(error, id);
            }
        }
        fails
    }

    pub(super) fn cancel(&self) {
        if let Some(cancel) = &self.cancel {
            cancel.cancel();
        }
    }

    /// Wakes one of the G's in `wait`, unless there are members again. False: there is none.
    pub(super) fn wake_waiter(&self) -> bool {
        let guard = PreemptGuard::new();
        let waiter = {
            let mut state = self.state.lock(&guard);
            if state.running == 0 { state.waiters.pop() } else { None }
        };
        waiter.map(|one| one.wake(&guard)).is_some()
    }

    /// Wakes a G that need not wait. False: there is none.
    pub(super) fn wake_free(&self, guard: &PreemptGuard) -> bool {
        let free = self.state.lock(guard).pop_free();
        free.map(|one| one.wake(guard)).is_some()
    }
}

impl<E: Send> Common<E> {
    /// Returns true if there is room for one more. With `wait`, parks until there is.
    pub(super) fn has_room(&self, wait: bool) -> bool {
        loop {
            let guard = PreemptGuard::new();
            let state = self.state.lock(&guard);
            if state.has_room() {
                return true;
            }
            if !wait {
                return false;
            }
            state.into_held();
            let (none, reason) = (core::ptr::null_mut(), WaitReason::Semaphore);
            // SAFETY: 1. the lock was turned into "held" above. 2. every popper of `starters` wakes
            // the G. 3. a wait without a deadline needs no timer. 4. the caller holds the group.
            let _ = unsafe { wait_watched(guard, self, &self.state, Running::starters, none, reason, NEVER) };
        }
    }
}

/// Nobody waits for a dead G: a member leaves, however it ends. But its wake-up may be lost.
impl<E: Send> Waited for Common<E> {
    fn is_lost(&self, _: &Deaths) -> bool {
        false
    }

    fn see_to_one(&self, _: &Deaths, guard: &PreemptGuard) -> bool {
        self.wake_free(guard)
    }
}
