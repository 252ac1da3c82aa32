//! One-shot timers with a handle: [`Timer::after_func`] starts a goroutine when it is due.
//!
//! ```text
//!   Timer ──▶ Func { alarm, lock { generation, armed }, f }      counted: the handles, the heap while the alarm is in it, the new G
//!
//!   due, on a g0:    a new G, with the generation that was due
//!   that G:          under the lock: armed, and the same generation? not armed any more, and f runs
//!   stop, reset:     under the lock: the generation ends; the alarm leaves its heap, or its count is the new G's to drop
//! ```
//!
//! So `stop` and `f` never both win: it says true if `f` will not run for what was started before, even if the G for it exists already, and false if `f` has begun
//! (or nothing was started). It waits for nobody.
//!
//! `f` and what it holds are dropped by a G, never on a g0. When there is no memory for a G, the alarm tries again a little later.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;

use super::{Duration, Instant};
use crate::lock::SpinLock;
use crate::preempt::PreemptGuard;
use crate::spawn::Builder;
use crate::timers::{Alarm, Firing, reserve};

/// How soon it is tried again when there was no memory for a goroutine: 1 ms.
const RETRY: u64 = 1_000_000;

/// A timer that can be stopped and started anew. As Go's.
///
/// Dropping it stops nothing.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # use trefoil_sched::time::Timer;
/// # trefoil_hosted::example(|| {
/// let patience = Timer::after_func(Duration::from_secs(60), || println!("still at it"));
/// time::sleep(Duration::from_millis(1));
/// assert!(patience.stop());
/// # });
/// ```
pub struct Timer(Arc<Func>);

#[repr(C)]
struct Func {
    /// First: the call finds the rest by it.
    alarm: Alarm,
    state: SpinLock<State>,
    f: Box<dyn Fn() + Send + Sync>,
}

struct State {
    /// Of the last start, or a later one: what was started with another one is over.
    generation: u32,
    /// Started, and `f` has not begun since.
    armed: bool,
}

impl Timer {
    /// Calls `f` on a goroutine of its own after `d`. Go's `AfterFunc`.
    ///
    /// # Panics
    /// When there is no memory for the timer.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # use trefoil_sched::time::Timer;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded(1);
    /// Timer::after_func(Duration::from_millis(5), move || tx.send("later").unwrap());
    /// assert_eq!(rx.recv(), Ok("later"));
    /// # });
    /// ```
    pub fn after_func(d: Duration, f: impl Fn() + Send + Sync + 'static) -> Self {
        let timer = Self(Arc::new(Func {
            alarm: Alarm::new(ring),
            state: SpinLock::new(State { generation: 0, armed: false }),
            f: Box::new(f),
        }));
        timer.reset(d);
        timer
    }

    /// Starts it anew, to be due `d` from now, whatever it did before. True: it was running, and what it was to do then does not happen.
    ///
    /// # Panics
    /// When there is no memory for the timer.
    pub fn reset(&self, d: Duration) -> bool {
        self.reset_at(Instant::now() + d)
    }

    /// The same, to be due at `when`.
    ///
    /// # Panics
    /// As [`reset`](Self::reset).
    pub fn reset_at(&self, when: Instant) -> bool {
        let guard = reserve();
        let mut state = self.0.state.lock(&guard);
        let was = core::mem::replace(&mut state.armed, true);
        let generation = state.next();
        // The heap's count.
        let count = Arc::into_raw(self.0.clone());
        // SAFETY: 1. that count is given back by the next one who takes the alarm out, or with the call.
        if unsafe { Alarm::start(self.0.alarm(), &guard, when, generation) } {
            // SAFETY: the heap had one already; nor is it the last.
            unsafe { Arc::decrement_strong_count(count) };
        }
        was
    }

    /// Stops it. True: it was running, and `f` does not run any more. False: `f` has begun, or it was stopped before.
    pub fn stop(&self) -> bool {
        let guard = PreemptGuard::new();
        let mut state = self.0.state.lock(&guard);
        let was = core::mem::replace(&mut state.armed, false);
        state.next();
        if self.0.alarm.cancel(&guard) {
            // SAFETY: it was the heap's, and not the last: `self` has one.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self.0)) };
        }
        was
    }
}

impl State {
    /// What was started before is over.
    fn next(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }
}

impl Func {
    fn alarm(self: &Arc<Self>) -> NonNull<Alarm> {
        NonNull::new(Arc::as_ptr(self).cast_mut()).unwrap_or(NonNull::dangling()).cast()
    }

    /// Whether what was started as `generation` may still happen; then it is about to.
    fn claim(&self, generation: u32) -> bool {
        let guard = PreemptGuard::new();
        let mut state = self.state.lock(&guard);
        let mine = state.armed && state.generation == generation;
        state.armed &= !mine;
        mine
    }
}

/// A count of a [`Func`] on its way into a goroutine.
struct Count(NonNull<Func>);

// SAFETY: a `Func` is `Send` and `Sync`: `f` is, the rest is under its lock.
unsafe impl Send for Count {}

/// On a g0.
unsafe fn ring(alarm: NonNull<Alarm>, firing: Firing<'_>) {
    let (count, generation) = (Count(alarm.cast()), firing.generation());
    let run = move || {
        let Count(func) = { count };
        // SAFETY: `start` has put an alarm with this call into a `Func`, with a count, which has come to us.
        let func = unsafe { Arc::from_raw(func.as_ptr()) };
        if func.claim(generation) {
            (func.f)();
        }
    };
    if Builder::new().spawn(run).is_ok() {
        return;
    }
    // SAFETY: the count is still there: what came back and was dropped is a pointer.
    let func = unsafe { alarm.cast::<Func>().as_ref() };
    let _state = func.state.lock(firing.preempt());
    if func.alarm.is_pending() {
        // It was started anew, with a count of its own; and what is taken out of its heap now will ask for the lock before it drops that.
        // SAFETY: so ours is not the last.
        unsafe { Arc::decrement_strong_count(alarm.cast::<Func>().as_ptr()) };
    } else {
        // Even if it is over: a G is needed to drop it.
        let later = firing.now().saturating_add(RETRY);
        firing.again(later);
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.alarm.is_pending() { "Timer (running)" } else { "Timer (not running)" })
    }
}
