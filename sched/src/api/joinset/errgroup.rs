//! [`ErrGroup`]: goroutines of which the first to fail tells the others to stop; Go's `errgroup`.
//!
//! ```text
//!   ErrGroup ──▶ Common { cancel, lock { running, limit, error, ended, starters, waiters } }
//!     go:               waits in `starters` for room; then running + 1, in one piece with the start
//!     a member fails:   its error is the first, or dropped; the context is cancelled
//!     a member leaves:  running - 1; wakes the first of `starters`; at 0, all of `waiters`
//! ```
//!
//! A starter that finds no room after all, because another one was faster, waits again. A starter
//! that dies is either not counted, or its member is there. If a dead starter was woken for room
//! that it did not come to use, the undertaker wakes the next (`wait/deaths.rs`). The undertaker
//! does so, too, if the last member dies while it wakes the waiters.
//!
//! A member leaves however it ended (`wait/group.rs`). So `wait` returns, and reports a member that
//! panicked or died of its stack.

mod common;
mod member;

use alloc::sync::Arc;
use core::cell::Cell;
use core::fmt;
use core::panic::Location;

use self::common::{Common, Running};
use self::member::InGroup;
use crate::api::context::{Cancel, Context};
use crate::api::panic::resume_unwind;
use crate::api::spawn::Builder;
use crate::core::drops::drop_caught;
use crate::g::{JoinError, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::wait::list::WaitQueue;
use crate::wait::ticket::{NEVER, wait_watched};

/// Goroutines that work on one thing: the first that fails cancels the others' context. Go's
/// `errgroup.Group`. Clones are the same group.
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::context::Context;
/// use trefoil_sched::joinset::ErrGroup;
/// let (group, ctx) = ErrGroup::with_context(&Context::background());
/// for i in 0..3 {
///     let ctx = ctx.clone();
///     group.go(move || {
///         if i == 1 {
///             return Err("no such page");
///         }
///         let _ = ctx.done().recv();
///         Ok(())
///     });
/// }
/// assert_eq!(group.wait(), Err("no such page"));
/// # });
/// ```
pub struct ErrGroup<E>(Arc<Common<E>>);

impl<E: Send + 'static> ErrGroup<E> {
    /// Makes a group without a context and without a limit.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::ErrGroup;
    /// let group = ErrGroup::<()>::new();
    /// assert_eq!(group.wait(), Ok(()));
    /// # });
    /// ```
    pub fn new() -> Self {
        Self::with(None)
    }

    fn with(cancel: Option<Cancel>) -> Self {
        let (starters, waiters) = (WaitQueue::new(), WaitQueue::new());
        let running = Running { running: 0, limit: usize::MAX, error: None, ended: None, starters, waiters };
        Self(Arc::new(Common { state: SpinLock::new(running), cancel }))
    }

    /// Makes a group, and the context that its first failure cancels; so does the return of
    /// [`wait`](Self::wait).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::context::Context;
    /// use trefoil_sched::joinset::ErrGroup;
    /// let (group, ctx) = ErrGroup::with_context(&Context::background());
    /// group.go(|| Err("broken"));
    /// assert!(ctx.done().recv().is_err()); // told to stop
    /// assert_eq!(group.wait(), Err("broken"));
    /// # });
    /// ```
    pub fn with_context(parent: &Context) -> (Self, Context) {
        let (context, cancel) = parent.with_cancel();
        (Self::with(Some(cancel)), context)
    }

    /// Limits the group: from now on at most `n` run at the same time, and [`go`](Self::go) waits.
    ///
    /// # Panics
    /// While any runs, as in Go; if `n` is 0.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::ErrGroup;
    /// let group = ErrGroup::<()>::new();
    /// group.set_limit(2);
    /// for _ in 0..10 {
    ///     // Waits while two run.
    ///     group.go(|| Ok(()));
    /// }
    /// assert_eq!(group.wait(), Ok(()));
    /// # });
    /// ```
    pub fn set_limit(&self, n: usize) {
        assert!(n > 0, "ErrGroup: a limit of 0 lets nobody run");
        let running = {
            let guard = PreemptGuard::new();
            let mut state = self.0.state.lock(&guard);
            if state.running == 0 {
                state.limit = n;
            }
            state.running
        };
        assert!(running == 0, "ErrGroup: the limit was changed while {running} goroutines of the group run");
    }

    /// Starts `f` as soon as the limit allows.
    ///
    /// # Panics
    /// When there is no memory for a goroutine.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::ErrGroup;
    /// let group = ErrGroup::new();
    /// group.go(|| Ok(()));
    /// group.go(|| "x".parse::<u32>().map(drop));
    /// assert!(group.wait().is_err());
    /// # });
    /// ```
    #[track_caller]
    pub fn go(&self, f: impl FnOnce() -> Result<(), E> + Send + 'static) {
        self.start(f, true);
    }

    /// Starts `f`, if the limit allows it now.
    ///
    /// # Panics
    /// As [`go`](Self::go).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::ErrGroup;
    /// let (tx, rx) = chan::bounded::<()>(0);
    /// let group = ErrGroup::<()>::new();
    /// group.set_limit(1);
    /// group.go(move || Ok(drop(rx.recv())));
    /// assert!(!group.try_go(|| Ok(())));
    /// drop(tx);
    /// assert_eq!(group.wait(), Ok(()));
    /// # });
    /// ```
    #[track_caller]
    pub fn try_go(&self, f: impl FnOnce() -> Result<(), E> + Send + 'static) -> bool {
        self.start(f, false)
    }

    #[track_caller]
    fn start(&self, f: impl FnOnce() -> Result<(), E> + Send + 'static, wait: bool) -> bool {
        let common = self.0.clone();
        let mut run = move || common.outcome(f());
        while self.0.has_room(wait) {
            let member = InGroup { group: self.0.clone(), refused: Cell::new(false) };
            // SAFETY: 1. nothing is borrowed.
            match unsafe { Builder::new().make(run, member, Location::caller()) } {
                Ok((handle, guard)) => {
                    let id = handle.id();
                    let outcome = handle.detach();
                    drop(guard);
                    if let Some(Err(error)) = outcome
                        && self.0.ended(error, id)
                    {
                        self.0.cancel();
                    }
                    return true;
                }
                // Another one has started meanwhile.
                Err((refusal, member)) if member.refused.get() => run = refusal.into_inner(),
                Err((error, _)) => {
                    // The room is another starter's.
                    self.0.wake_free(&PreemptGuard::new());
                    panic!("go: {error}")
                }
            }
        }
        false
    }

    /// Parks until all goroutines that were started have ended.
    ///
    /// # Errors
    /// The first error that a goroutine of the group returned.
    ///
    /// # Panics
    /// With the panic of a goroutine that panicked; or if one died of its stack.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::ErrGroup;
    /// let group = ErrGroup::new();
    /// for n in [3, 5] {
    ///     group.go(move || if n == 5 { Err(n) } else { Ok(()) });
    /// }
    /// assert_eq!(group.wait(), Err(5));
    /// assert_eq!(group.wait(), Ok(())); // said once
    /// # });
    /// ```
    pub fn wait(&self) -> Result<(), E> {
        let (error, ended) = loop {
            let guard = PreemptGuard::new();
            let mut state = self.0.state.lock(&guard);
            if state.running == 0 {
                break (state.error.take(), state.ended.take());
            }
            state.into_held();
            let none = core::ptr::null_mut();
            let reason = WaitReason::WaitGroup;
            // SAFETY: 1. the lock was turned into "held" above. 2. every popper of `waiters` wakes
            // the G. 3. a wait without a deadline needs no timer. 4. `self` holds the group.
            let _ = unsafe { wait_watched(guard, &*self.0, &self.0.state, Running::waiters, none, reason, NEVER) };
        };
        self.0.cancel();
        let Some((ended, _)) = ended else { return error.map_or(Ok(()), |error| Err(*error)) };
        // Not while that panic unwinds: the error's destructor may panic, too.
        drop_caught(error);
        match ended {
            JoinError::Panicked(payload) => resume_unwind(payload.into_inner()),
            ended => panic!("ErrGroup: {ended}"),
        }
    }
}

impl<E: Send + 'static> Default for ErrGroup<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Clone for ErrGroup<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> fmt::Debug for ErrGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErrGroup { .. }")
    }
}

#[cfg(loom)]
pub mod model {
    //! Members without a G of the scheduler's.

    use core::cell::Cell;

    use super::{ErrGroup, InGroup};
    use crate::wait::group::Member;

    /// The part of a group member's G that runs at its end.
    pub struct GroupMember<E>(InGroup<E>);

    /// Adds one more member; parks if there are as many as there may be.
    pub fn group_member<E: Send + 'static>(group: &ErrGroup<E>) -> GroupMember<E> {
        let member = InGroup { group: group.0.clone(), refused: Cell::new(false) };
        while group.0.has_room(true) && !member.starts() {}
        GroupMember(member)
    }

    impl<E: Send + 'static> GroupMember<E> {
        /// Ends the member, with this outcome.
        pub fn end(self, outcome: Result<(), E>) {
            self.0.group.outcome(outcome);
            drop(self.0.leave());
        }
    }
}
