//! Goroutines that borrow: `std::thread::scope`, for G's.
//!
//! ```text
//!   scope(|s| {                      opens a group
//!       s.go(|| … &local …);         a member
//!   })                               waits until every member has left, even when the closure panics
//! ```
//!
//! `wait/group.rs` makes this sound. `scope` does not return (and does not unwind) before the last
//! member has left, and a member leaves after its closure and its value are gone. A G that
//! overflows its stack inside `scope` neither returns nor unwinds. Its frames stay as they are
//! until the last member has left, and its stack's addresses are never used again.

use crate::core::drops::report_unseen;
use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::time::Duration;

use crate::api::join::{JoinError, JoinHandle, Outcome};
use crate::api::panic::catch;
use crate::api::spawn::{Builder, SpawnError};
use crate::core::drops::drop_caught;
use crate::g::GRef;
use crate::machine::platform;
use crate::wait::group::{Group, Member, orphan, own_id};

/// Starts goroutines that may borrow from outside of [`scope`]; those goroutines may use it, too.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let text = String::from("borrowed");
/// let length = scope(|s| s.go(|| text.len()).join().unwrap());
/// assert_eq!(length, 8);
/// # });
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    group: Arc<Group>,
    // Invariant in both, as `std` has it: a shorter `'scope` would let borrows end too soon, a
    // shorter `'env` would let them be made inside.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// Runs `f`, and parks until every goroutine that was started in the scope has ended. The
/// goroutines may borrow values that live outside. [`ScopedJoinHandle::join`] returns their
/// results.
///
/// # Panics
/// With the panic of `f`, once all have ended. Else, if a goroutine of the scope panicked (or died
/// of its stack) and nobody has joined it.
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let mut words = vec!["to", "be"];
/// let total = scope(|s| {
///     let first = s.go(|| words[0].len());
///     let second = s.go(|| words[1].len());
///     first.join().unwrap() + second.join().unwrap()
/// });
/// words.push("or");
/// assert_eq!(total, 4);
/// # });
/// ```
pub fn scope<'env, F, R>(f: F) -> R
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
{
    let scope = Scope { group: Group::open(), scope: PhantomData, env: PhantomData };
    let result = catch(|| f(&scope));
    let failed = scope.group.wait();
    match result {
        // The panic is not a new one: it was reported, or was not, when it began.
        Err(payload) => platform::unwind(payload),
        Ok(value) if failed => {
            // Now, and not while the scope's own panic unwinds.
            drop(value);
            panic!("a goroutine of the scope panicked")
        }
        Ok(value) => value,
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a goroutine of this scope, as [`go`](crate::spawn::go) does.
    ///
    /// # Panics
    /// When there is no memory for the goroutine.
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let mut counts = [0; 4];
    /// scope(|s| {
    ///     for (i, count) in counts.iter_mut().enumerate() {
    ///         s.go(move || *count = i * i);
    ///     }
    /// });
    /// assert_eq!(counts, [0, 1, 4, 9]);
    /// # });
    /// ```
    #[track_caller]
    pub fn go<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match self.try_go(f) {
            Ok(handle) => handle,
            Err(error) => panic!("go: {error}"),
        }
    }

    /// Starts a goroutine as [`go`](Self::go), with an error where that panics.
    ///
    /// # Errors
    /// No memory; the closure comes back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let text = String::from("borrowed");
    /// let length = scope(|s| s.try_go(|| text.len()).unwrap().join().unwrap());
    /// assert_eq!(length, 8);
    /// # });
    /// ```
    #[track_caller]
    pub fn try_go<F, T>(&'scope self, f: F) -> Result<ScopedJoinHandle<'scope, T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        Builder::new().spawn_scoped(self, f)
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scope { .. }")
    }
}

impl Builder {
    /// Starts a goroutine of `scope`, made as the builder says.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn) has it; `f` comes back.
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let text = String::from("borrowed");
    /// scope(|s| {
    ///     let reader = Builder::new().name("reader").spawn_scoped(s, || text.len()).unwrap();
    ///     assert_eq!(reader.join().unwrap(), 8);
    /// });
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> Result<ScopedJoinHandle<'scope, T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        // SAFETY: 1. the member is the scope's own.
        unsafe { self.spawn_member_of(scope, f, |member| member) }
    }

    /// Spawns as `spawn_scoped`. `and` makes the G's companion of the scope's member.
    ///
    /// # Safety
    /// 1. The companion passes each call on to the scope's member, as the last thing that it does.
    #[track_caller]
    pub(crate) unsafe fn spawn_member_of<'scope, F, T, N>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
        and: impl FnOnce(InScope) -> N,
    ) -> Result<ScopedJoinHandle<'scope, T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
        N: Member + 'scope,
    {
        // SAFETY: 1. `scope` waits until the member has left before `'scope` ends; the group is on
        // the heap.
        let handle = unsafe { self.spawn_member(f, and(InScope(scope.group.clone()))) }?;
        Ok(ScopedJoinHandle { handle: ManuallyDrop::new(handle), group: &scope.group, scope: PhantomData })
    }
}

/// A share in a scope's group.
pub(crate) struct InScope(Arc<Group>);

impl Member for InScope {
    type Remainder = ();

    fn starts(&self) -> bool {
        self.0.enter();
        true
    }

    fn unclaimed(&self, error: JoinError) {
        lost(&self.0, error, own_id());
    }

    fn leave(self) -> Option<()> {
        self.0.leave();
        None
    }

    fn abandoned(self, g: GRef) {
        orphan(g, Some(self.0));
    }
}

/// Notes that nobody will see the error of G number `id`, except that `scope` panics.
fn lost(group: &Group, error: JoinError, id: u64) {
    if !matches!(error, JoinError::Exited) {
        group.fail();
    }
    report_unseen(error, id);
}

/// The right to the result of a goroutine of a scope. Dropping it lets the goroutine go on by
/// itself, to the scope's end at most.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let text = String::from("borrowed");
/// let length = scope(|s| s.go(|| text.len()).join().unwrap());
/// assert_eq!(length, 8);
/// # });
/// ```
pub struct ScopedJoinHandle<'scope, T> {
    /// Taken by `drop`, and by the methods that consume the handle.
    handle: ManuallyDrop<JoinHandle<T>>,
    group: &'scope Group,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Parks until the goroutine has ended, and returns its result. All its work has happened
    /// before.
    ///
    /// # Errors
    /// The goroutine panicked, ended without a result, or was ended where it stood. The scope does
    /// not panic for it any more.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let text = String::from("borrowed");
    /// let length = scope(|s| s.go(|| text.len()).join().unwrap());
    /// assert_eq!(length, 8);
    /// # });
    /// ```
    pub fn join(self) -> Outcome<T> {
        self.into_inner().join()
    }

    /// Joins as [`JoinHandle::join_timeout`].
    ///
    /// # Errors
    /// The goroutine has not ended in that time; the handle comes back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded::<u32>(0);
    /// scope(|s| {
    ///     let child = s.go(|| rx.recv().unwrap());
    ///     let child = child.join_timeout(Duration::from_millis(1)).unwrap_err();
    ///     tx.send(5).unwrap();
    ///     assert_eq!(child.join().unwrap(), 5);
    /// });
    /// # });
    /// ```
    pub fn join_timeout(self, d: Duration) -> Result<Outcome<T>, Self> {
        let group = self.group;
        self.into_inner().join_timeout(d).map_err(|handle| Self {
            handle: ManuallyDrop::new(handle),
            group,
            scope: PhantomData,
        })
    }

    /// Returns true if the goroutine has ended: [`join`](Self::join) would not park.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// scope(|s| {
    ///     let handle = s.go(|| 5);
    ///     while !handle.is_finished() {
    ///         runtime::yield_now();
    ///     }
    ///     assert_eq!(handle.join().unwrap(), 5);
    /// });
    /// # });
    /// ```
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Returns the goroutine's number.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// scope(|s| assert_ne!(s.go(|| ()).id(), s.go(|| ()).id()));
    /// # });
    /// ```
    pub fn id(&self) -> u64 {
        self.handle.id()
    }

    fn into_inner(self) -> JoinHandle<T> {
        // SAFETY: `self` is not dropped, so this is the one time.
        unsafe { ManuallyDrop::take(&mut ManuallyDrop::new(self).handle) }
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

impl<T> Drop for ScopedJoinHandle<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the handle is being dropped, so nobody uses it after this.
        let handle = unsafe { ManuallyDrop::take(&mut self.handle) };
        let id = handle.id();
        match handle.detach() {
            None => {}
            Some(Ok(value)) => drop_caught(value),
            Some(Err(error)) => lost(self.group, error, id),
        }
    }
}
