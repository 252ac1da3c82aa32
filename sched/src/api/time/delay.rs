//! Time for futures: a future that is ready at some moment, and one that has so long and no longer.
//!
//! ```text
//!   poll:  is it time? ready                                the timer's goroutine, not before `when`:
//!          the waker into the slot; the first time           takes the waker out of the slot, and wakes it
//!          the timer starts
//!          is it time? ready
//! ```
//!
//! **The hard race** is a poll with another waker while the timer's goroutine takes the old one.
//! The goroutine takes the waker at `when` or later. So a poll whose waker came behind it finds
//! that it is time when it looks again.
//!
//! A waker is anybody's code, which may lock, allocate and park. So a goroutine calls it, never the
//! g0 that runs the timers. The cost is a goroutine for each delay that comes due, and none for one
//! that is dropped before.

use alloc::sync::Arc;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

use super::{Duration, Instant, Timer};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;

/// A future that is ready at some moment. Made by [`delay`] and [`delay_until`]. Dropped, it leaves
/// no timer behind.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let begin = Instant::now();
/// let delay: time::Delay = time::delay(Duration::from_millis(1));
/// task::block_on(delay);
/// assert!(begin.elapsed() >= Duration::from_millis(1));
/// # });
/// ```
#[must_use = "a future does nothing until it is awaited"]
pub struct Delay {
    when: Instant,
    /// Set from the first poll on that finds the delay early.
    waits: Option<Waits>,
}

struct Waits {
    timer: Timer,
    slot: Arc<Slot>,
}

/// The waker to call.
struct Slot(SpinLock<Option<Waker>>);

impl Slot {
    /// Puts `waker` in. The old one goes to the caller: a waker is dropped and called with no lock
    /// held.
    fn replace(&self, waker: Option<Waker>) -> Option<Waker> {
        core::mem::replace(&mut *self.0.lock(&PreemptGuard::new()), waker)
    }
}

/// Makes a future that is ready `d` from now: [`sleep`](super::sleep) for futures, which lets the
/// others of its goroutine go on.
///
/// # Panics
/// When the future is polled, if there is no memory for its timer.
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let begin = Instant::now();
/// task::block_on(time::delay(Duration::from_millis(2)));
/// assert!(begin.elapsed() >= Duration::from_millis(2));
/// # });
/// ```
pub fn delay(d: Duration) -> Delay {
    delay_until(Instant::now() + d)
}

/// Makes a future that is ready at `when`; never, if that is [`Instant::NEVER`].
///
/// # Panics
/// As [`delay`].
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let when = Instant::now() + Duration::from_millis(2);
/// task::block_on(time::delay_until(when));
/// assert!(Instant::now() >= when);
/// # });
/// ```
pub fn delay_until(when: Instant) -> Delay {
    Delay { when, waits: None }
}

impl Delay {
    fn is_over(&self) -> bool {
        self.when != Instant::NEVER && Instant::now() >= self.when
    }
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        let waker = Some(context.waker().clone());
        if let Some(waits) = &self.waits {
            drop(waits.slot.replace(waker));
        } else if self.when != Instant::NEVER {
            let slot = Arc::new(Slot(SpinLock::new(waker)));
            let theirs = slot.clone();
            let timer = Timer::after_func(self.when - Instant::now(), move || {
                theirs.replace(None).into_iter().for_each(Waker::wake);
            });
            self.waits = Some(Waits { timer, slot });
        }
        // See the module.
        if self.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        if let Some(waits) = &self.waits {
            waits.timer.stop();
        }
    }
}

impl fmt::Debug for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delay").field("when", &self.when).finish_non_exhaustive()
    }
}

/// Gives `future` so long, from this call on: its value, or [`Elapsed`] if it is not ready by then.
/// A late future is dropped with this one. A poll of it that is under way is not broken off, nor is
/// one that parks.
///
/// # Errors
/// [`Elapsed`].
///
/// # Panics
/// As `future`, and as [`delay`].
///
/// # Examples
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let patience = Duration::from_millis(2);
/// assert_eq!(task::block_on(time::timeout(patience, async { 5 })), Ok(5));
/// assert_eq!(task::block_on(time::timeout(patience, std::future::pending::<()>())), Err(time::Elapsed));
/// # });
/// ```
pub fn timeout<F: Future>(d: Duration, future: F) -> impl Future<Output = Result<F::Output, Elapsed>> {
    let mut delay = delay(d);
    async move {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => Pin::new(&mut delay).poll(context).map(|()| Err(Elapsed)),
        })
        .await
    }
}

/// A future was not ready in time.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let late = time::timeout(Duration::from_millis(1), std::future::pending::<()>());
/// assert_eq!(task::block_on(late), Err(time::Elapsed));
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the future was not ready in time")
    }
}

impl core::error::Error for Elapsed {}
