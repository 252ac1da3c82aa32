//! Futures: a goroutine that runs one, and wakers.
//!
//! ```text
//!   block_on(future)                                   a waker of G g, anywhere
//!     token: take what is there                          token: swap WOKEN
//!     poll ── Ready: done                                it was PARKED: ready(g)
//!       └─ Pending: park; in `commit`, when g is saved,  else: g will look again before it parks
//!          token: NONE → PARKED, or it was WOKEN: poll again
//! ```
//!
//! A waker is nothing but the address of its G's record. G memory is type-stable, so there is
//! nothing to count and nothing to free. To clone one, to drop one and to wake with one cost no
//! memory, and a handler may do all three. (`queue/inbox.rs` wakes the G in a handler.)
//!
//! **A stale waker** leaves a token in a G that did not ask for it: its `block_on` has returned,
//! its G has ended, or the record lives another life. A token only ever means "poll once more",
//! which a future must bear at any time. The token readies a G only if that G parks in `block_on`.
//! To be there is the G's own doing, since only its `commit` writes PARKED, and only one swap finds
//! it.
//!
//! **Nested** `block_on`s on one G share the token. The inner one may take a token that was meant
//! for the outer, so it leaves one behind when it returns.
//!
//! **The hard race**, a wake-up between the poll and the sleep, is the token: it stays until the
//! next look.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use crate::api::join::JoinHandle;
use crate::api::spawn::go;
use crate::core::interrupt::{park_for_interrupt, ready_anywhere};
use crate::core::park::{current_g, park};
use crate::g::{G, GRef, WaitReason};
use crate::machine::guard::PreemptGuard;

/// Runs `future` to its end on this goroutine, which parks while there is nothing to do.
///
/// # Panics
/// With what the future panics with. Outside any goroutine: ends the machine with a report.
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let sum = task::block_on(async {
///     let a = async { 2 }.await;
///     a + 5
/// });
/// assert_eq!(sum, 7);
/// # });
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    run::<F, false>(future)
}

/// Blocks as [`block_on`], on a future that an interrupt handler wakes: while it waits, the machine
/// is not dead, even if every other G waits.
///
/// # Panics
/// As [`block_on`].
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// assert_eq!(task::block_on_interrupt(async { 3 }), 3);
/// # });
/// ```
pub fn block_on_interrupt<F: Future>(future: F) -> F::Output {
    run::<F, true>(future)
}

fn run<F: Future, const INTERRUPT: bool>(future: F) -> F::Output {
    /// See the module about nesting.
    struct Leave(GRef);
    impl Drop for Leave {
        fn drop(&mut self) {
            self.0.token.wake();
        }
    }
    let g = {
        let guard = PreemptGuard::new();
        current_g(&guard)
    };
    let _leave = Leave(g);
    let waker = waker_of(g);
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        g.token.take();
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        let guard = PreemptGuard::new();
        let park = if INTERRUPT { park_for_interrupt } else { park };
        // SAFETY: 1. one `wake` finds PARKED, and readies the G; or `commit` returns false. 2. it
        // needs no argument.
        drop(unsafe { park(guard, WaitReason::Task, commit, core::ptr::null_mut()) });
    }
}

unsafe fn commit(_: *mut (), g: GRef) -> bool {
    g.token.park()
}

/// Starts a goroutine that runs `future` to its end.
///
/// So a future gets a stack of its own, and may call functions that park. For many futures on one
/// goroutine: join them, and [`block_on`] that.
///
/// # Panics
/// When there is no memory for the goroutine.
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let handle = task::spawn_future(async { 6 * 7 });
/// assert_eq!(handle.join().unwrap(), 42);
/// # });
/// ```
#[track_caller]
pub fn spawn_future<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    go(move || block_on(future))
}

pub(crate) fn waker_of(g: GRef) -> Waker {
    // SAFETY: the functions of the table take the record of a G, which lives for ever, and are safe
    // to call from anywhere.
    unsafe { Waker::new(core::ptr::from_ref(g).cast(), &TABLE) }
}

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop_waker);

unsafe fn clone(g: *const ()) -> RawWaker {
    RawWaker::new(g, &TABLE)
}

unsafe fn wake(g: *const ()) {
    // SAFETY: `waker_of` and `clone` pass the record of a G.
    let g: GRef = unsafe { &*g.cast::<G>() };
    if g.token.wake() {
        ready_anywhere(g);
    }
}

unsafe fn drop_waker(_: *const ()) {}
