//! Sets of goroutines: [`JoinSet`], whose results come in the order in which they are ready, and
//! [`ErrGroup`], Go's `errgroup`.
//!
//! ```text
//!   JoinSet ──▶ Shared { lock { done: MemberNode → MemberNode → …, waiter } }
//!      │ all: MemberNode ⇄ MemberNode ⇄ …     one a goroutine; its handle is in it
//!      └ join_next: pops a done node, joins its handle (which is there), frees the node
//!   a member leaves: pushes its node, wakes the waiter; or the set is gone, and it frees the node
//! ```
//!
//! A member leaves after its outcome is in its cell, however it ended (`wait/group.rs`), so an
//! overflow is a result like any other. To leave allocates nothing: the node was made before the
//! goroutine.
//!
//! Neither ends a goroutine by force; [`context`](crate::context) says why.

mod errgroup;
mod member;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::panic::Location;
use core::ptr::NonNull;
use core::time::Duration;

pub use errgroup::ErrGroup;
#[cfg(loom)]
pub use errgroup::model as errgroup_model;

use self::member::{InSet, MemberNode, Shared, State};
use crate::api::join::{JoinHandle, Outcome};
use crate::api::spawn::{Builder, SpawnError};
use crate::api::time::Instant;
use crate::g::WaitReason;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::wait::list::WaitQueue;
use crate::wait::ticket::{NEVER, Woken, reserve_timer, wait_until};

/// Goroutines whose results come as they are ready.
///
/// Dropping the set lets its goroutines go on by themselves.
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::joinset::JoinSet;
/// let mut set = JoinSet::new();
/// for i in 0..10u64 {
///     set.go(move || i * i);
/// }
/// let mut sum = 0;
/// while let Some(square) = set.join_next() {
///     sum += square.unwrap();
/// }
/// assert_eq!(sum, 285);
/// # });
/// ```
pub struct JoinSet<T> {
    shared: Arc<Shared<T>>,
    /// All nodes, the newest first.
    all: Option<NonNull<MemberNode<T>>>,
    len: usize,
}

// SAFETY: the nodes belong to the set, or to the lock; their content is sendable.
unsafe impl<T: Send> Send for JoinSet<T> {}
// SAFETY: by reference only its length is seen.
unsafe impl<T: Send> Sync for JoinSet<T> {}

impl<T: Send + 'static> JoinSet<T> {
    /// Makes an empty set.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::JoinSet;
    /// let mut set = JoinSet::<u32>::new();
    /// assert!(set.is_empty() && set.join_next().is_none());
    /// # });
    /// ```
    pub fn new() -> Self {
        let state = State { done: None, last: None, closed: false, waiters: WaitQueue::new() };
        Self { shared: Arc::new(Shared { state: SpinLock::new(state) }), all: None, len: 0 }
    }

    /// Starts a goroutine of the set, and returns its number.
    ///
    /// # Panics
    /// When there is no memory for the goroutine.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::JoinSet;
    /// let mut set = JoinSet::new();
    /// set.go(|| 5);
    /// assert_eq!(set.join_next().unwrap().unwrap(), 5);
    /// # });
    /// ```
    #[track_caller]
    pub fn go<F>(&mut self, f: F) -> u64
    where
        F: FnOnce() -> T + Send + 'static,
    {
        match self.spawn(Builder::new(), f) {
            Ok(id) => id,
            Err(error) => panic!("go: {error}"),
        }
    }

    /// Starts a goroutine as [`go`](Self::go), made as `builder` says.
    ///
    /// # Errors
    /// As [`Builder::spawn`] has it; `f` comes back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::JoinSet;
    /// let mut set = JoinSet::new();
    /// set.spawn(Builder::new().name("worker").stack_max(1 << 20), || 5).unwrap();
    /// assert_eq!(set.join_next().unwrap().unwrap(), 5);
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn<F>(&mut self, builder: Builder, f: F) -> Result<u64, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let at = Location::caller();
        // SAFETY: 1. nothing is borrowed.
        self.enlist(|member| unsafe { builder.make(f, member, at) }.map_err(|(error, _)| error))
    }

    /// Makes room for one more, which `start` starts, and returns its number.
    fn enlist<E>(
        &mut self,
        start: impl FnOnce(InSet<T>) -> Result<(JoinHandle<T>, PreemptGuard), E>,
    ) -> Result<u64, E> {
        let node = Box::new(MemberNode { handle: None, older: self.all, newer: None, next_done: None });
        let node = NonNull::from(Box::leak(node));
        // With preemption off from the start on: all of it, or nothing, should this G die on the
        // way.
        let (handle, _guard) = match start(InSet { shared: self.shared.clone(), node }) {
            Ok(handle) => handle,
            Err(error) => {
                // SAFETY: the goroutine did not start, so nobody else knows the node.
                drop(unsafe { Box::from_raw(node.as_ptr()) });
                return Err(error);
            }
        };
        let id = handle.id();
        if let Some(older) = self.all.replace(node) {
            // SAFETY: nodes in `all` are ours; this field nobody else touches.
            unsafe { (*older.as_ptr()).newer = Some(node) };
        }
        // SAFETY: the node is in `all`, and no member looks at a handle while the set is there.
        unsafe { (*node.as_ptr()).handle = Some(handle) };
        self.len += 1;
        Ok(id)
    }

    /// Returns the outcome of the next goroutine that has ended; parks until one has. `None`: the
    /// set is empty.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::JoinSet;
    /// let mut set = JoinSet::new();
    /// set.go(|| time::sleep(Duration::from_millis(500)));
    /// set.go(|| panic!("this one ends first"));
    /// assert_eq!(set.join_next().unwrap().unwrap_err().message(), Some("this one ends first"));
    /// assert!(set.join_next().unwrap().is_ok());
    /// assert!(set.join_next().is_none());
    /// # });
    /// ```
    pub fn join_next(&mut self) -> Option<Outcome<T>> {
        self.next_until(NEVER).ok().flatten()
    }

    /// Joins as [`join_next`](Self::join_next), if that needs no waiting.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::JoinSet;
    /// let (tx, rx) = chan::bounded::<u32>(0);
    /// let mut set = JoinSet::new();
    /// set.go(move || rx.recv().unwrap());
    /// assert!(set.try_join_next().is_none());
    /// tx.send(5).unwrap();
    /// assert_eq!(set.join_next().unwrap().unwrap(), 5);
    /// # });
    /// ```
    pub fn try_join_next(&mut self) -> Option<Outcome<T>> {
        loop {
            let node = self.pop_done()?;
            if let Some(outcome) = self.finish(node) {
                return Some(outcome);
            }
        }
    }

    /// Joins as [`join_next`](Self::join_next), for `d` at most.
    ///
    /// # Errors
    /// No goroutine has ended in that time.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::JoinSet;
    /// let (tx, rx) = chan::bounded::<u32>(0);
    /// let mut set = JoinSet::new();
    /// set.go(move || rx.recv().unwrap());
    /// assert!(set.join_next_timeout(Duration::from_millis(1)).is_err());
    /// tx.send(5).unwrap();
    /// assert_eq!(set.join_next_timeout(Duration::from_secs(20)).unwrap().unwrap().unwrap(), 5);
    /// # });
    /// ```
    pub fn join_next_timeout(&mut self, d: Duration) -> Result<Option<Outcome<T>>, TimedOut> {
        self.next_until((Instant::now() + d).as_nanos())
    }

    fn next_until(&mut self, deadline: u64) -> Result<Option<Outcome<T>>, TimedOut> {
        loop {
            if let Some(node) = self.pop_done() {
                if let Some(outcome) = self.finish(node) {
                    return Ok(Some(outcome));
                }
                continue;
            }
            if self.len == 0 {
                return Ok(None);
            }
            let guard = reserve_timer(deadline);
            let state = self.shared.state.lock(&guard);
            if state.done.is_some() {
                continue;
            }
            state.into_held();
            let none = core::ptr::null_mut();
            // SAFETY: 1. the lock was turned into "held" above. 2. `leave` wakes the waiter that it
            // pops. 3. `reserve_timer` has reserved the timer. 4. `self` holds the shared part.
            let woken =
                unsafe { wait_until(guard, &self.shared.state, State::waiters, none, WaitReason::Join, deadline) };
            if woken == Woken::TimedOut && self.shared.state.lock(&PreemptGuard::new()).done.is_none() {
                return Err(TimedOut);
            }
        }
    }

    fn pop_done(&mut self) -> Option<NonNull<MemberNode<T>>> {
        let guard = PreemptGuard::new();
        let mut state = self.shared.state.lock(&guard);
        let node = state.done?;
        // SAFETY: the lock is held, and guards `next_done`; a done node stays until the set frees
        // it.
        state.done = unsafe { (*node.as_ptr()).next_done };
        if state.done.is_none() {
            state.last = None;
        }
        Some(node)
    }

    /// Takes a node that was popped out of the set, and returns its outcome. None: the G that
    /// started this member died before the member was one of the set.
    fn finish(&mut self, node: NonNull<MemberNode<T>>) -> Option<Outcome<T>> {
        // SAFETY: the member of this node has left, so the node is the set's alone.
        let node = unsafe { Box::from_raw(node.as_ptr()) };
        let handle = node.handle?;
        // SAFETY: its neighbours are ours; these fields nobody else touches.
        unsafe {
            match node.newer {
                Some(newer) => (*newer.as_ptr()).older = node.older,
                None => self.all = node.older,
            }
            if let Some(older) = node.older {
                (*older.as_ptr()).newer = node.newer;
            }
        }
        self.len -= 1;
        Some(handle.join())
    }

    /// Parks until all have ended, and returns their outcomes, as they came.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::JoinSet;
    /// let mut set = JoinSet::new();
    /// (0..4).for_each(|n| _ = set.go(move || n));
    /// assert_eq!(set.join_all().into_iter().map(Result::unwrap).sum::<i32>(), 6);
    /// # });
    /// ```
    pub fn join_all(mut self) -> Vec<Outcome<T>> {
        let mut all = Vec::with_capacity(self.len);
        while let Some(outcome) = self.join_next() {
            all.push(outcome);
        }
        all
    }
}

impl<T> JoinSet<T> {
    /// Returns the number of goroutines that have not been joined.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::JoinSet;
    /// let mut set = JoinSet::new();
    /// set.go(|| 5);
    /// assert_eq!(set.len(), 1); // until it was joined
    /// set.join_next().unwrap().unwrap();
    /// assert_eq!(set.len(), 0);
    /// # });
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if all have been joined.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use trefoil_sched::joinset::JoinSet;
    /// let mut set = JoinSet::new();
    /// set.go(|| 5);
    /// assert!(!set.is_empty());
    /// set.join_next().unwrap().unwrap();
    /// assert!(set.is_empty());
    /// # });
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T: Send + 'static> Default for JoinSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        let mut at = self.all;
        // First the handles, while the members can't free the nodes that they are in.
        while let Some(node) = at {
            // SAFETY: nodes in `all` are ours until `closed` is set, but for `next_done`, which a
            // member may be writing.
            let (handle, older) = unsafe { ((*node.as_ptr()).handle.take(), (*node.as_ptr()).older) };
            drop(handle);
            at = older;
        }
        let mut done = {
            let guard = PreemptGuard::new();
            let mut state = self.shared.state.lock(&guard);
            state.closed = true;
            state.last = None;
            state.done.take()
        };
        while let Some(node) = done {
            // SAFETY: its member has left, and nobody else knows it.
            let node = unsafe { Box::from_raw(node.as_ptr()) };
            done = node.next_done;
        }
    }
}

/// No goroutine has ended in that time.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::joinset::{JoinSet, TimedOut};
/// let (tx, rx) = chan::bounded::<()>(0);
/// let mut set = JoinSet::new();
/// set.go(move || rx.recv().is_err());
/// assert!(matches!(set.join_next_timeout(Duration::from_millis(1)), Err(TimedOut)));
/// drop(tx);
/// assert!(set.join_next().unwrap().unwrap());
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out waiting for a goroutine's end")
    }
}

impl core::error::Error for TimedOut {}

#[cfg(loom)]
pub mod model {
    //! Members without a G of the scheduler's.

    use super::{InSet, JoinSet, PreemptGuard};
    use crate::api::join::model::{Completer, pair};
    use crate::wait::group::Member;

    /// The part of a set member's G that runs at its end.
    pub struct SetMember<T>(Completer<T>, InSet<T>);

    /// Adds one more member.
    pub fn set_member<T: Send + 'static>(set: &mut JoinSet<T>) -> SetMember<T> {
        let mut made = None;
        let enlisted = set.enlist(|member| {
            let (completer, handle) = pair();
            made = Some(SetMember(completer, member));
            Ok::<_, ()>((handle, PreemptGuard::new()))
        });
        assert!(enlisted.is_ok());
        made.expect("it was enlisted")
    }

    impl<T: Send> SetMember<T> {
        /// Ends the member, with this value.
        pub fn end(self, value: T) {
            self.0.complete(value);
            self.1.leave();
        }
    }
}
