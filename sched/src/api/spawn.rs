//! A G's life, from `go` to its free list.
//!
// ANCHOR: life
//! ```text
//!   go(f)      a G from gfree (or new: record + stack window)
//!              f and its join cell are written to the top of the *new* stack: no allocation but the cell
//!              fresh frame below them, Idle → Runnable, into the slot
//!   g_main     first function on the stack: runs `run` under `catch`
//!   run        reads f, runs it, leaves its value in the cell
//!   end_of_body  wakes the joiner, leaves the group
//!   finish     Running → Dead, leaves the M; `after_exit` recycles record and stack, from another stack
//! ```
// ANCHOR_END: life
//!
//! Only the code that looks at the closure or its value exists once a type (`Body`); the rest
//! exists once.
//!
//! A G whose stack can't grow does not come to the end of its body. Nor does a G that has done
//! something to another G's stack that can't be undone. The frames of such a G are
//! [abandoned](abandon): an instruction in the middle of anything can't be unwound. So no
//! destructor runs, and everything that its frames own is leaked. Its joiner gets the cause, the
//! locks that it held stay held, and its window's addresses are never used again. Its frames stay
//! in memory while members of its scopes may borrow from them (INV-LENT in `wait/group.rs`), and so
//! long the G is Dead.
//!
//! A G may belong to a group (a scope, a set): a `Member` lies beside its closure, and is told of
//! the end in any case, last.
//!
//! The top word of every stack in use is the address of its G's record.
//!
//! The public part is here; `core/recycle.rs` has the record and its stack, `start.rs` the start
//! frame, `end.rs` the first function and the ends.

mod end;
mod start;

use core::fmt;
use core::panic::Location;

use crate::api::join::{CellRef, JoinHandle};
use crate::core::m::M;
pub use crate::core::recycle::DEFAULT_STACK;
use crate::core::recycle::{launch, put_back, take_g};
use crate::g::Name;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform::NoStack;
use crate::wait::group::{Alone, Member};
use start::{Head, Laid, Start};

pub use crate::machine::payload::is_exit;
pub use end::{abandon, came_to_panic, exit_g};

/// The windows there are; a request gets the next larger one.
const STACK_CLASSES: [usize; 4] = [DEFAULT_STACK, 1 << 20, 16 << 20, 1 << 30];

/// A G could not be made. The closure comes back.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let error = Builder::new().stack_max(0).spawn(|| 5).unwrap_err();
/// assert_eq!(error.to_string(), "a goroutine's stack must be 1 byte to 1 GiB");
/// assert_eq!(error.into_inner()(), 5); // the closure
/// # });
/// ```
#[non_exhaustive]
pub enum SpawnError<F> {
    /// No memory for a record or a stack, even after everything that can be given back was.
    OutOfMemory(F),
    /// There are as many stacks of that size as there are addresses for.
    TooManyGoroutines(F),
    /// No window is that large (the largest is 1 GiB), or the size was zero.
    BadStackSize(F),
    /// The G was to be pinned to a core that there is not, or that does not run.
    NoSuchCore(F),
}

impl<F> SpawnError<F> {
    /// Returns the closure.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let f = Builder::new().stack_max(usize::MAX).spawn(|| 5).unwrap_err().into_inner();
    /// assert_eq!(f(), 5);
    /// # });
    /// ```
    pub fn into_inner(self) -> F {
        match self {
            Self::OutOfMemory(f) | Self::TooManyGoroutines(f) | Self::BadStackSize(f) | Self::NoSuchCore(f) => f,
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::OutOfMemory(_) => "out of memory for a goroutine's record or stack",
            Self::TooManyGoroutines(_) => "too many goroutines with a stack of that size",
            Self::BadStackSize(_) => "a goroutine's stack must be 1 byte to 1 GiB",
            Self::NoSuchCore(_) => "no such core runs, to pin a goroutine to",
        }
    }
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<F> fmt::Display for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<F> core::error::Error for SpawnError<F> {}

/// The settings for a new G.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let worker = Builder::new().name("worker").stack_max(1 << 20).spawn(|| 6 * 7);
/// assert_eq!(worker.unwrap().join().unwrap(), 42);
/// # });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Builder {
    name: Name,
    stack: usize,
    pin: Option<usize>,
}

impl Builder {
    /// Makes settings without a name and with the default window.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(Builder::new().spawn(|| 5).unwrap().join().unwrap(), 5);
    /// # });
    /// ```
    pub fn new() -> Self {
        Self { name: Name::EMPTY, stack: DEFAULT_STACK, pin: None }
    }

    /// Sets the name in reports; the first 31 bytes count.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// Builder::new().name("worker").spawn(|| ()).unwrap().join().unwrap();
    /// # });
    /// ```
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Name::new(name);
        self
    }

    /// Sets how far the stack may grow, in bytes (rounded up to 256 KiB, 1 MiB, 16 MiB or 1 GiB,
    /// guard included).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let deep = Builder::new().stack_max(1 << 20).spawn(|| [1u8; 300 << 10].iter().filter(|b| **b == 1).count());
    /// assert_eq!(deep.unwrap().join().unwrap(), 300 << 10);
    /// # });
    /// ```
    #[must_use]
    pub fn stack_max(mut self, bytes: usize) -> Self {
        self.stack = bytes;
        self
    }

    /// Pins the G to core number `core`, from its first instruction to its last; see
    /// [`pin`](crate::pin()).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let core = Builder::new().pin(0).spawn(runtime::core).unwrap().join().unwrap();
    /// assert_eq!(core, 0);
    /// # });
    /// ```
    #[must_use]
    pub fn pin(mut self, core: usize) -> Self {
        self.pin = Some(core);
        self
    }

    /// Starts a G that runs `f`. The G runs next on this P, unless a thief is faster.
    ///
    /// # Errors
    /// No memory, no window of that size, or no such core to pin it to; `f` comes back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let handle = Builder::new().spawn(|| "done").unwrap();
    /// assert_eq!(handle.join().unwrap(), "done");
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: 1. it borrows nothing.
        unsafe { self.spawn_member(f, Alone) }
    }

    /// Spawns as `spawn`, for a member of a group.
    ///
    /// # Safety
    /// 1. All that `f`, its value and `member` borrow lives until the member has left.
    #[track_caller]
    pub(crate) unsafe fn spawn_member<F, T, N>(self, f: F, member: N) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
        N: Member,
    {
        // SAFETY: 1. `make` has this function's own rule: the borrowed data lives until the member
        // has left.
        unsafe { self.make(f, member, Location::caller()) }.map(|(handle, _guard)| handle).map_err(|(error, _)| error)
    }

    /// Spawns as `spawn_member`, but preemption stays off after the start, so that the caller can
    /// do more in one piece with it. A member that does not start comes back. (With "out of
    /// memory", if it did not want to.) The place `at` is the program's call.
    ///
    /// # Safety
    /// 1. As there.
    #[inline(always)]
    pub(crate) unsafe fn make<F, T, N>(
        self,
        f: F,
        member: N,
        at: &'static Location<'static>,
    ) -> Result<(JoinHandle<T>, PreemptGuard), (SpawnError<F>, N)>
    where
        F: FnOnce() -> T + Send,
        T: Send,
        N: Member,
    {
        let Some(size) = STACK_CLASSES.into_iter().find(|&c| self.stack != 0 && self.stack <= c) else {
            return Err((SpawnError::BadStackSize(f), member));
        };
        if self.pin.is_some_and(no_such_core) {
            return Err((SpawnError::NoSuchCore(f), member));
        }
        let Some(cell) = CellRef::try_new() else { return Err((SpawnError::OutOfMemory(f), member)) };
        let start = match Laid::new(Start { head: Head { cell, member }, f }) {
            Ok(start) => start,
            Err(Start { head, f }) => {
                // SAFETY: 1. no G was started, so nobody else knows the cell.
                unsafe { cell.free() };
                return Err((SpawnError::OutOfMemory(f), head.member));
            }
        };
        let (guard, g) = match take_g(size) {
            Ok(taken) => taken,
            Err(why) => {
                let Start { head, f } = start.into_start();
                // SAFETY: 1. no G was started, so nobody else knows the cell.
                unsafe { cell.free() };
                let error = match why {
                    NoStack::Memory => SpawnError::OutOfMemory(f),
                    NoStack::Addresses => SpawnError::TooManyGoroutines(f),
                };
                return Err((error, head.member));
            }
        };
        if !start.member().starts() {
            put_back(g, &guard);
            drop(guard);
            let Start { head, f } = start.into_start();
            // SAFETY: 1. the G goes back unstarted, so nobody else knows the cell.
            unsafe { cell.free() };
            return Err((SpawnError::OutOfMemory(f), head.member));
        }
        g.name.set(self.name);
        g.set_created_at(at);
        start.lay(g);
        g.pardon();
        if let Some(core) = self.pin {
            g.pin(core);
        }
        let id = launch(&guard, g);
        Ok((JoinHandle::new(cell, id), guard))
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

/// Starts a G that runs `f`; it runs next on this P, unless a thief is faster.
///
/// # Panics
/// When there is no memory for the G; see [`try_go`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(0);
/// let sender = go(move || (0..3).for_each(|n| tx.send(n).unwrap()));
/// assert_eq!(rx.iter().sum::<i32>(), 3);
/// sender.join().unwrap();
/// # });
/// ```
#[track_caller]
pub fn go<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match try_go(f) {
        Ok(handle) => handle,
        Err(error) => panic!("go: {error}"),
    }
}

/// Starts a G as [`go`], with an error where that panics.
///
/// # Errors
/// No memory; the closure comes back.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// match try_go(|| 5) {
///     Ok(handle) => assert_eq!(handle.join().unwrap(), 5),
///     Err(error) => assert_eq!(error.into_inner()(), 5), // no memory: then here
/// }
/// # });
/// ```
#[track_caller]
pub fn try_go<F, T>(f: F) -> Result<JoinHandle<T>, SpawnError<F>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f)
}

/// Drops `value`, which is the program's, on a goroutine of its own: the caller has preemption off.
/// Without memory for a goroutine the value is leaked.
pub(crate) fn drop_elsewhere<T: Send + 'static>(value: T) {
    if let Err(error) = try_go(move || drop(value)) {
        core::mem::forget(error.into_inner());
    }
}

#[cold]
fn no_such_core(core: usize) -> bool {
    M::current(&PreemptGuard::new()).sched().m(core).is_none()
}
