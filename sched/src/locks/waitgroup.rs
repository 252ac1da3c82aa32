//! Go's `WaitGroup`: waits until a number of things are done.

use crate::g::{GRef, WaitReason};
use crate::lock::SpinLock;
use crate::park::{current_g, park};
use crate::preempt::PreemptGuard;
use crate::waitq::{Crowd, WaitQueue, Waiter};

/// A counter, and the G's that wait until it is zero. Share it in an `Arc`.
#[derive(Debug)]
pub struct WaitGroup {
    state: SpinLock<State>,
}

#[derive(Debug)]
struct State {
    count: usize,
    waiters: WaitQueue,
}

impl WaitGroup {
    crate::const_unless_loom! {
        /// Nothing to wait for.
        pub fn new() -> Self {
            Self { state: SpinLock::new(State { count: 0, waiters: WaitQueue::new() }) }
        }
    }

    /// `n` more things to wait for. Before the matching `wait` begins.
    ///
    /// # Panics
    /// If the count overflows.
    pub fn add(&self, n: usize) {
        let added = {
            let guard = PreemptGuard::new();
            let mut state = self.state.lock(&guard);
            let sum = state.count.checked_add(n);
            state.count = sum.unwrap_or(state.count);
            sum.is_some()
        };
        assert!(added, "WaitGroup: the count overflows");
    }

    /// One thing is done. The last one wakes everybody who waits.
    ///
    /// # Panics
    /// If there was nothing left to do (Go: "negative WaitGroup counter").
    pub fn done(&self) {
        let (left, waiters) = {
            let guard = PreemptGuard::new();
            let mut state = self.state.lock(&guard);
            let left = state.count.checked_sub(1);
            state.count = left.unwrap_or(0);
            // Everybody who waits now is woken; who comes later waits for a new round. Without a count nobody waits.
            (left, if state.count == 0 { state.waiters.take() } else { Crowd::nobody() })
        };
        assert!(left.is_some(), "WaitGroup: done without a matching add");
        waiters.wake_all();
    }

    /// Parks until the count is zero.
    pub fn wait(&self) {
        let guard = PreemptGuard::new();
        let mut state = self.state.lock(&guard);
        if state.count == 0 {
            return;
        }
        // SAFETY: 1. this G parks right below.
        unsafe { state.waiters.push(Waiter::of(current_g(&guard), core::ptr::null_mut())) };
        let state: *const SpinLock<State> = state.into_held();
        // SAFETY: 1. whoever pops the waiter readies it once. 2. the group outlives the call.
        drop(unsafe { park(guard, WaitReason::WaitGroup, unlock, state.cast_mut().cast()) });
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        Self::new()
    }
}

/// `park`'s commit: the G is saved, the lock may go.
unsafe fn unlock(state: *mut (), _: GRef) -> bool {
    // SAFETY: `wait` passes its state, whose lock it turned into "held".
    unsafe { (*state.cast::<SpinLock<State>>()).unlock() };
    true
}
