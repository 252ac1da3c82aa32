//! `Barrier`: all come before any goes on; `std`'s.

use core::fmt;

use super::owner::{dead_frame, lies_among_the_dead};
use crate::g::WaitReason;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::wait::deaths::{Deaths, Waited, bury_one};
use crate::wait::list::WaitQueue;
use crate::wait::ticket::{Lost, NEVER, wait_watched};

/// Lets G's go on when `n` of them have come; then it is ready for the next `n`.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let barrier = Arc::new(sync::Barrier::new(4));
/// let gs: Vec<_> = (0..4)
///     .map(|_| {
///         let barrier = barrier.clone();
///         go(move || barrier.wait().is_leader())
///     })
///     .collect();
/// let leaders = gs.into_iter().map(|g| g.join().unwrap()).filter(|leads| *leads).count();
/// assert_eq!(leaders, 1);
/// # });
/// ```
///
/// A G that panics or dies on its way leaves the others waiting, as in `std`; the deadlock report
/// shows them. If the barrier lies on the stack of a G that dies, they panic.
pub struct Barrier {
    n: usize,
    state: SpinLock<State>,
}

struct State {
    come: usize,
    waiters: WaitQueue,
}

/// The result that each G gets when all have come.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let result = sync::Barrier::new(1).wait();
/// assert!(result.is_leader());
/// # });
/// ```
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Returns true for one of them: the last to come.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let barrier = sync::Barrier::new(2);
    /// let leaders = scope(|s| {
    ///     let other = s.go(|| barrier.wait().is_leader());
    ///     [barrier.wait().is_leader(), other.join().unwrap()]
    /// });
    /// assert!(leaders[0] != leaders[1]);
    /// # });
    /// ```
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult").field("is_leader", &self.is_leader()).finish()
    }
}

impl core::panic::UnwindSafe for Barrier {}
impl core::panic::RefUnwindSafe for Barrier {}

impl Barrier {
    crate::const_unless_loom! {
        /// Makes a barrier for `n` G's; 0 is as good as 1, for which nobody waits.
        ///
        /// ```
        /// # use trefoil_hosted::prelude::*;
        /// # trefoil_hosted::example(|| {
        /// sync::Barrier::new(1).wait(); // for one, nobody waits
        /// # });
        /// ```
        pub fn new(n: usize) -> Self {
            Self { n, state: SpinLock::new(State { come: 0, waiters: WaitQueue::new() }) }
        }
    }

    /// Parks until `n` G's have come here.
    ///
    /// # Panics
    /// If it would park, and the barrier lies on the stack of a G that has died, or dies meanwhile.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let barrier = sync::Barrier::new(3);
    /// scope(|s| (0..3).for_each(|_| drop(s.go(|| barrier.wait()))));
    /// # });
    /// ```
    pub fn wait(&self) -> BarrierWaitResult {
        let guard = PreemptGuard::new();
        let mut state = self.state.lock(&guard);
        state.come += 1;
        if state.come >= self.n {
            state.come = 0;
            let all = state.waiters.take();
            drop(state);
            all.wake_claimed(guard);
            return BarrierWaitResult(true);
        }
        let at = core::ptr::from_ref(self).addr();
        if let Some(id) = dead_frame(at) {
            drop(state);
            drop(guard);
            lies_among_the_dead("Barrier", at, id);
        }
        state.into_held();
        let (slot, reason) = (core::ptr::null_mut(), WaitReason::Barrier);
        // SAFETY: 1. the lock is held without a guard, and `guard` is this G's only one. 2. the
        // last to come wakes all. 3. a wait without a deadline needs no timer. 4. the caller
        // borrows the barrier.
        let woken = unsafe { wait_watched(guard, self, &self.state, |state| &mut state.waiters, slot, reason, NEVER) };
        if let Err(Lost(id)) = woken {
            lies_among_the_dead("Barrier", at, id);
        }
        BarrierWaitResult(false)
    }
}

impl Waited for Barrier {
    fn is_lost(&self, _: &Deaths) -> bool {
        dead_frame(core::ptr::from_ref(self).addr()).is_some()
    }

    fn see_to_one(&self, _: &Deaths, guard: &PreemptGuard) -> bool {
        let Some(id) = dead_frame(core::ptr::from_ref(self).addr()) else { return false };
        let first = self.state.lock(guard).waiters.pop();
        bury_one(first, id, guard)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}
