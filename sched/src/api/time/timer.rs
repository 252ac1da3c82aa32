//! Timers and tickers with a handle, as Go's: a due timer starts a function, or sends a value to a
//! channel.
//!
//! ```text
//!   Timer, Ticker ──▶ Inner { alarm, lock { generation, armed, … }, what }     counted: the handle, the heap while the alarm is in it, a new G
//!
//!   due, on a g0:    a channel:   under the lock: armed, and the same generation? the present into the channel, if there is room; a ticker starts again
//!                    a function:  a new G, with the generation that was due
//!   that G:          under the lock: armed, and the same generation? not armed any more, and the function runs
//!   stop, reset:     under the lock: the generation ends; the alarm leaves its heap, or its count is the call's to drop; the channel is emptied
//! ```
//!
//! So `stop` and the event never both win. `stop` says true if the event does not happen any more,
//! even if the G for it exists already. False means that the event has begun, or that nothing was
//! started. `stop` waits for nobody. **No stale value**: when `stop` or `reset` has returned, a
//! receive finds no value that was sent before.
//!
//! A G drops the function and its captures; a g0 never does. When there is no memory for a G, the
//! alarm tries again a little later.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::num::NonZeroU64;
use core::ptr::NonNull;

use super::{Duration, Instant, nanos};
use crate::api::chan::{Receiver, Sender, bounded};
use crate::api::spawn::Builder;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::timers::{Alarm, Firing};
use crate::wait::sleep::reserve;

/// The time until the next try, when there was no memory for a goroutine: 1 ms.
const RETRY: u64 = 1_000_000;

/// A timer that can be stopped and started anew. As Go's.
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
pub struct Timer(Arc<Inner>);

/// A clock that ticks: a value in its channel every so often. As Go's: a tick for which there is no
/// room, since the last one has not been received yet, is dropped. A dropped ticker stops, and its
/// channel is closed.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # use trefoil_sched::time::Ticker;
/// # trefoil_hosted::example(|| {
/// let ticker = Ticker::new(Duration::from_millis(2));
/// let begin = Instant::now();
/// for tick in ticker.receiver().iter().take(3) {
///     println!("{:?}", tick - begin);
/// }
/// assert!(begin.elapsed() >= Duration::from_millis(4));
/// # });
/// ```
pub struct Ticker(Arc<Inner>);

#[repr(C)]
struct Inner {
    /// First: the alarm's function finds the rest by it.
    alarm: Alarm,
    state: SpinLock<State>,
    what: What,
}

struct State {
    /// The number of the last start, or a later one: a start with another number is over.
    generation: u32,
    /// Started, and the event has not begun since.
    armed: bool,
    /// The time when the event is due.
    due: Instant,
    /// Of a ticker.
    period: Option<NonZeroU64>,
}

enum What {
    Function(Box<dyn Fn() + Send + Sync>),
    Channel(Sender<Instant>, Receiver<Instant>),
}

impl Timer {
    /// Makes a timer that sends the present into a channel of its own after `d`; see
    /// [`receiver`](Self::receiver). Go's `NewTimer`. A dropped timer stops, and the channel is
    /// closed.
    ///
    /// # Panics
    /// When there is no memory for the timer.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # use trefoil_sched::time::Timer;
    /// # trefoil_hosted::example(|| {
    /// let begin = Instant::now();
    /// let timer = Timer::new(Duration::from_millis(3));
    /// assert!(timer.receiver().recv().unwrap() >= begin + Duration::from_millis(3));
    /// assert!(!timer.stop()); // it has happened
    /// # });
    /// ```
    pub fn new(d: Duration) -> Self {
        let timer = Self(Inner::new(channel()));
        timer.reset(d);
        timer
    }

    /// Makes a timer that calls `f` on a goroutine of its own after `d`. Go's `AfterFunc`. Dropping
    /// it stops nothing.
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
        let timer = Self(Inner::new(What::Function(Box::new(f))));
        timer.reset(d);
        timer
    }

    /// Returns the receiver at which the value arrives.
    ///
    /// # Panics
    /// If the timer calls a function instead.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let timer = time::Timer::new(Duration::from_millis(1));
    /// let timed_out = timer.receiver().recv().is_ok();
    /// assert!(timed_out);
    /// # });
    /// ```
    pub fn receiver(&self) -> &Receiver<Instant> {
        self.0.receiver()
    }

    /// Starts the timer anew, to be due `d` from now, in any state. True: the timer was running, or
    /// its value had not been received; the earlier event does not happen.
    ///
    /// # Panics
    /// When there is no memory for the timer.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let timer = time::Timer::after_func(Duration::from_secs(60), || println!("late"));
    /// assert!(timer.reset(Duration::from_secs(5)));
    /// assert!(timer.stop());
    /// # });
    /// ```
    pub fn reset(&self, d: Duration) -> bool {
        self.reset_at(Instant::now() + d)
    }

    /// Starts the timer anew likewise, to be due at `when`.
    ///
    /// # Panics
    /// As [`reset`](Self::reset).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let timer = time::Timer::after_func(Duration::from_secs(60), || println!("late"));
    /// assert!(timer.reset_at(Instant::now() + Duration::from_secs(5)));
    /// assert!(timer.stop());
    /// # });
    /// ```
    pub fn reset_at(&self, when: Instant) -> bool {
        self.0.start(when, None)
    }

    /// Stops the timer. True: it was running, or its value had not been received; the event does
    /// not happen any more. False: its function has begun, its value has been received, or it was
    /// stopped before.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let timer = time::Timer::after_func(Duration::from_secs(60), || println!("late"));
    /// assert!(timer.stop());
    /// assert!(!timer.stop());
    /// # });
    /// ```
    pub fn stop(&self) -> bool {
        self.0.stop()
    }
}

impl Ticker {
    /// Makes a ticker that ticks every `period`, the first time `period` from now.
    ///
    /// # Panics
    /// If `period` is zero, or when there is no memory for the timer.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let ticker = time::Ticker::new(Duration::from_millis(1));
    /// (0..3).for_each(|_| drop(ticker.receiver().recv()));
    /// # });
    /// ```
    pub fn new(period: Duration) -> Self {
        let ticker = Self(Inner::new(channel()));
        ticker.reset(period);
        ticker
    }

    /// Returns the receiver at which the ticks arrive.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let ticker = time::Ticker::new(Duration::from_millis(1));
    /// assert!(ticker.receiver().recv().is_ok());
    /// # });
    /// ```
    pub fn receiver(&self) -> &Receiver<Instant> {
        self.0.receiver()
    }

    /// Waits for the next tick, and returns its time. Parks; for ever if the ticker is stopped.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let ticker = time::Ticker::new(Duration::from_millis(1));
    /// assert!(ticker.tick() < ticker.tick());
    /// # });
    /// ```
    pub fn tick(&self) -> Instant {
        // The sender is in `Inner`, which we have.
        self.receiver().recv().unwrap_or(Instant::NEVER)
    }

    /// Restarts the ticker: it ticks every `period`, the first time `period` from now. A tick that
    /// has not been received is lost.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let ticker = time::Ticker::new(Duration::from_millis(1));
    /// ticker.reset(Duration::from_millis(2));
    /// ticker.tick();
    /// # });
    /// ```
    pub fn reset(&self, period: Duration) {
        let Some(ns) = NonZeroU64::new(nanos(period)) else { panic!("Ticker: the period must not be zero") };
        self.0.start(Instant::now() + period, Some(ns));
    }

    /// Stops the ticks, until the ticker is [reset](Self::reset). A tick that has not been received
    /// is lost.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let ticker = time::Ticker::new(Duration::from_millis(1));
    /// ticker.stop();
    /// assert!(ticker.receiver().try_recv().is_err());
    /// # });
    /// ```
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let What::Channel(..) = self.0.what {
            self.stop();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn channel() -> What {
    let (tx, rx) = bounded(1);
    What::Channel(tx, rx)
}

impl Inner {
    fn new(what: What) -> Arc<Self> {
        let state = State { generation: 0, armed: false, due: Instant::NEVER, period: None };
        let call = if let What::Function(_) = what { ring_function } else { ring_channel };
        Arc::new(Self { alarm: Alarm::new(call), state: SpinLock::new(state), what })
    }

    fn receiver(&self) -> &Receiver<Instant> {
        match &self.what {
            What::Channel(_, receiver) => receiver,
            What::Function(_) => panic!("Timer: one that calls a function has no receiver"),
        }
    }

    fn start(self: &Arc<Self>, when: Instant, period: Option<NonZeroU64>) -> bool {
        let guard = reserve();
        let mut state = self.state.lock(&guard);
        let was = state.end() | self.drain();
        (state.armed, state.due, state.period) = (true, when, period);
        // The heap's count.
        let count = Arc::into_raw(self.clone());
        // SAFETY: 1. that count is given back by the next one who takes the alarm out, or with the
        // call.
        if unsafe { Alarm::start(alarm_of(count), &guard, when.as_nanos(), state.generation) } {
            // SAFETY: the alarm was in a heap before, with a count of its own. The heap's count
            // goes, and `self` holds another.
            unsafe { Arc::decrement_strong_count(count) };
        }
        was
    }

    fn stop(self: &Arc<Self>) -> bool {
        let guard = PreemptGuard::new();
        let mut state = self.state.lock(&guard);
        let was = state.end() | self.drain();
        if self.alarm.cancel(&guard) {
            // SAFETY: the alarm was in a heap, with a count of its own. The heap's count goes, and
            // `self` holds another.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(self)) };
        }
        was
    }

    /// Empties the channel of an earlier value. True: there was one. Under the lock: a value that
    /// comes later is another generation's.
    fn drain(&self) -> bool {
        matches!(&self.what, What::Channel(_, receiver) if receiver.try_recv().is_ok())
    }
}

impl State {
    /// Ends the generation. Returns true if its event was still to happen.
    fn end(&mut self) -> bool {
        self.generation = self.generation.wrapping_add(1);
        core::mem::replace(&mut self.armed, false)
    }

    /// Returns true if the event that was started as `generation` may still happen.
    fn wants(&self, generation: u32) -> bool {
        self.armed && self.generation == generation
    }
}

fn alarm_of(inner: *const Inner) -> NonNull<Alarm> {
    NonNull::new(inner.cast_mut()).unwrap_or(NonNull::dangling()).cast()
}

/// Sends a value to the channel. On a g0.
unsafe fn ring_channel(alarm: NonNull<Alarm>, firing: Firing<'_>) {
    // SAFETY: `start` has put an alarm with this call into an `Inner`, with a count, which has come
    // to us.
    let inner = unsafe { Arc::from_raw(alarm.cast::<Inner>().as_ptr()) };
    let mut state = inner.state.lock(firing.preempt());
    if !state.wants(firing.generation()) {
        return;
    }
    let now = firing.now();
    if let What::Channel(sender, _) = &inner.what {
        // Full: nobody has come for the last one.
        let _ = sender.try_send(Instant::from_nanos(now));
    }
    let Some(period) = state.period else {
        state.armed = false;
        return;
    };
    // Ticks that nobody has looked at for more than a period are dropped here.
    let late = now.saturating_sub(state.due.as_nanos());
    let next = state.due.as_nanos().saturating_add(period.get().saturating_mul(late / period.get() + 1));
    state.due = Instant::from_nanos(next);
    firing.again(next);
    drop(state);
    // The heap's again.
    core::mem::forget(inner);
}

/// A count of an [`Inner`] on its way into a goroutine.
struct Count(NonNull<Inner>);

// SAFETY: an `Inner` is `Send` and `Sync`: function and channel are, the rest is under its lock.
unsafe impl Send for Count {}

/// Starts a goroutine for the function. On a g0.
unsafe fn ring_function(alarm: NonNull<Alarm>, firing: Firing<'_>) {
    let (count, generation) = (Count(alarm.cast()), firing.generation());
    let run = move || {
        let Count(inner) = { count };
        // SAFETY: `ring_function` got the count that `start` gave to the heap, and has put it into
        // `count`.
        let inner = unsafe { Arc::from_raw(inner.as_ptr()) };
        let mine = {
            let guard = PreemptGuard::new();
            let mut state = inner.state.lock(&guard);
            let mine = state.wants(generation);
            state.armed &= !mine;
            mine
        };
        if let What::Function(f) = &inner.what
            && mine
        {
            f();
        }
    };
    if Builder::new().spawn(run).is_ok() {
        return;
    }
    // SAFETY: the count is still there: the closure that came back and was dropped holds a pointer.
    let inner = unsafe { alarm.cast::<Inner>().as_ref() };
    let _state = inner.state.lock(firing.preempt());
    if inner.alarm.is_pending() {
        // The timer was started anew, with a count of its own. The firing of the alarm that is
        // taken out of its heap now will ask for the lock before it drops that count. SAFETY: so
        // ours is not the last.
        unsafe { Arc::decrement_strong_count(alarm.cast::<Inner>().as_ptr()) };
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

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.alarm.is_pending() { "Ticker (running)" } else { "Ticker (stopped)" })
    }
}
