//! `Condvar`: `std`'s.
//!
//! A waiter enters the list under the list's lock, lets the mutex go, and the list's lock is
//! released when the waiter is saved. A notifier needs that lock. **The hard race** is a
//! notification between the mutex's release and the waiter's sleep. The lock settles it: a G that
//! has the mutex after the waiter finds the waiter in the list.
//!
//! A waiter leaves its list when it is notified, and then locks the mutex like anybody else. Of a
//! notification and a deadline one wins the waiter's ticket (`wait/ticket.rs`), so a notification
//! is never spent on somebody who goes away with "timed out".
//!
//! Rejected: moving the notified from this list to the mutex's instead of waking them. Where the
//! notifier still holds the mutex, each of them would be switched to once less. But each mutex's
//! list would hold waiters of two kinds.

use core::fmt;
use core::mem::ManuallyDrop;
use core::time::Duration;

use super::mutex::{MutexGuard, Raw};
use super::owner::{dead_frame, lies_among_the_dead};
use super::poison::LockResult;
use crate::api::time::Instant;
use crate::g::WaitReason;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::wait::deaths::{Deaths, Waited, bury_one};
use crate::wait::list::WaitQueue;
use crate::wait::ticket::{Lost, NEVER, Woken, reserve_timer, wait_watched};

/// Parks G's until another G says that something has changed.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let pair = Arc::new((sync::Mutex::new(false), sync::Condvar::new()));
/// let other = pair.clone();
/// go(move || {
///     *other.0.lock().unwrap() = true;
///     other.1.notify_one();
/// });
/// let ready = pair.1.wait_while(pair.0.lock().unwrap(), |ready| !*ready).unwrap();
/// assert!(*ready);
/// # });
/// ```
///
/// As in `std`, a wait may end without a notification. So check the condition again, or use
/// [`wait_while`](Self::wait_while). All G's that wait at the same time wait with the same mutex.
pub struct Condvar {
    state: SpinLock<State>,
}

struct State {
    waiters: WaitQueue,
    /// The address of the mutex that the waiters wait with.
    mutex: usize,
}

/// Tells if a wait ended because time was over.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (mutex, condition) = (sync::Mutex::new(()), sync::Condvar::new());
/// let (_guard, result) = condition.wait_timeout(mutex.lock().unwrap(), Duration::from_millis(1)).unwrap();
/// assert!(result.timed_out());
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Returns true if time was over.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (mutex, condition) = (sync::Mutex::new(true), sync::Condvar::new());
    /// let guard = mutex.lock().unwrap();
    /// let (_guard, result) = condition.wait_timeout_while(guard, Duration::from_secs(9), |ready| !*ready).unwrap();
    /// assert!(!result.timed_out());
    /// # });
    /// ```
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl core::panic::UnwindSafe for Condvar {}
impl core::panic::RefUnwindSafe for Condvar {}

impl Condvar {
    crate::const_unless_loom! {
        /// Makes a condition variable without waiters.
        ///
        /// ```
        /// # use trefoil_hosted::prelude::*;
        /// # trefoil_hosted::example(|| {
        /// sync::Condvar::new().notify_one(); // nobody waits: it is lost
        /// # });
        /// ```
        pub fn new() -> Self {
            Self { state: SpinLock::new(State { waiters: WaitQueue::new(), mutex: 0 }) }
        }
    }

    /// Lets the mutex go and parks, in one step, until notified; then locks the mutex again.
    ///
    /// # Errors
    /// The mutex is poisoned; the guard is in the error.
    ///
    /// # Panics
    /// If others wait with another mutex. If the mutex's holder dies meanwhile, as
    /// [`Mutex::lock`](super::Mutex::lock). If the condition variable lies on the stack of a G that
    /// has died, or dies meanwhile; then the mutex is not locked.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (ready, condition) = (sync::Mutex::new(false), sync::Condvar::new());
    /// scope(|s| {
    ///     s.go(|| {
    ///         *ready.lock().unwrap() = true;
    ///         condition.notify_one();
    ///     });
    ///     let mut guard = ready.lock().unwrap();
    ///     while !*guard {
    ///         guard = condition.wait(guard).unwrap();
    ///     }
    /// });
    /// # });
    /// ```
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let (mutex, mut lent) = (guard.raw(), Lent::new(guard));
        self.wait_raw(mutex, NEVER, &mut lent.held);
        mutex.poison().check(lent.back())
    }

    /// Waits as long as `condition` returns true.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait), and with what `condition` panics with.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (ready, condition) = (sync::Mutex::new(false), sync::Condvar::new());
    /// scope(|s| {
    ///     s.go(|| {
    ///         *ready.lock().unwrap() = true;
    ///         condition.notify_one();
    ///     });
    ///     let guard = condition.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap();
    ///     assert!(*guard);
    /// });
    /// # });
    /// ```
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Waits as [`wait`](Self::wait), for `timeout` at most.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (mutex, condvar) = (sync::Mutex::new(()), sync::Condvar::new());
    /// let (_guard, result) = condvar.wait_timeout(mutex.lock().unwrap(), Duration::from_millis(1)).unwrap();
    /// assert!(result.timed_out());
    /// # });
    /// ```
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let (mutex, mut lent) = (guard.raw(), Lent::new(guard));
        let notified = self.wait_raw(mutex, (Instant::now() + timeout).as_nanos(), &mut lent.held);
        mutex.poison().check((lent.back(), WaitTimeoutResult(!notified)))
    }

    /// Waits as [`wait_while`](Self::wait_while), for `timeout` at most. "Timed out" says that
    /// `condition` still returns true.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait_while`](Self::wait_while).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (ready, condition) = (sync::Mutex::new(false), sync::Condvar::new());
    /// let guard = ready.lock().unwrap();
    /// let (guard, result) = condition.wait_timeout_while(guard, Duration::from_millis(1), |ready| !*ready).unwrap();
    /// assert!(result.timed_out() && !*guard);
    /// # });
    /// ```
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let deadline = Instant::now() + timeout;
        loop {
            if !condition(&mut *guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            let left = deadline.duration_since(Instant::now());
            if left.is_zero() {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            guard = self.wait_timeout(guard, left)?.0;
        }
    }

    /// Wakes the G that has waited longest, if any waits.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (ready, condition) = (sync::Mutex::new(false), sync::Condvar::new());
    /// scope(|s| {
    ///     s.go(|| {
    ///         *ready.lock().unwrap() = true;
    ///         condition.notify_one();
    ///     });
    ///     drop(condition.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap());
    /// });
    /// # });
    /// ```
    pub fn notify_one(&self) {
        let guard = PreemptGuard::new();
        let first = self.state.lock(&guard).waiters.pop();
        if let Some(waiter) = first {
            waiter.wake(&guard);
        }
    }

    /// Wakes all G's that wait.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (ready, condition) = (sync::Mutex::new(false), sync::Condvar::new());
    /// scope(|s| {
    ///     s.go(|| {
    ///         *ready.lock().unwrap() = true;
    ///         condition.notify_all();
    ///     });
    ///     s.go(|| drop(condition.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap()));
    ///     drop(condition.wait_while(ready.lock().unwrap(), |ready| !*ready).unwrap());
    /// });
    /// # });
    /// ```
    pub fn notify_all(&self) {
        let guard = PreemptGuard::new();
        let all = self.state.lock(&guard).waiters.take();
        all.wake_claimed(guard);
    }

    /// Unlocks `mutex`, which the caller holds, waits, and locks it again. `held` says whether the
    /// mutex is locked, should this panic. False: the deadline came first.
    fn wait_raw(&self, mutex: &Raw, deadline: u64, held: &mut bool) -> bool {
        let at = core::ptr::from_ref(self).addr();
        if let Some(id) = dead_frame(at) {
            lies_among_the_dead("Condvar", at, id);
        }
        let guard = reserve_timer(deadline);
        let address = core::ptr::from_ref(mutex).addr();
        let mut state = self.state.lock(&guard);
        if state.waiters.is_empty() {
            state.mutex = address;
        } else if state.mutex != address {
            drop(state);
            drop(guard);
            two_mutexes();
        }
        state.into_held();
        *held = false;
        mutex.unlock();
        // SAFETY: 1. the lock is held without a guard, and `guard` is this G's only one. 2.
        // `notify_one` and `notify_all` wake the G's that they pop. 3. `reserve_timer` has reserved
        // the timer. 4. the caller borrows the condvar.
        let woken = unsafe {
            wait_watched(
                guard,
                self,
                &self.state,
                |state| &mut state.waiters,
                core::ptr::null_mut(),
                WaitReason::Condvar,
                deadline,
            )
        };
        if let Err(Lost(id)) = woken {
            lies_among_the_dead("Condvar", at, id);
        }
        mutex.lock();
        *held = true;
        !matches!(woken, Ok(Woken::TimedOut))
    }
}

/// A guard whose mutex is another's to lock while its G waits: a panic drops it only if the mutex
/// is held.
struct Lent<'a, T: ?Sized> {
    guard: ManuallyDrop<MutexGuard<'a, T>>,
    held: bool,
}

impl<'a, T: ?Sized> Lent<'a, T> {
    fn new(guard: MutexGuard<'a, T>) -> Self {
        Self { guard: ManuallyDrop::new(guard), held: true }
    }

    /// Takes the guard back: the wait is over, and the mutex is held.
    fn back(mut self) -> MutexGuard<'a, T> {
        self.held = false;
        // SAFETY: `held` is false now, so `drop` does not drop the guard as well.
        unsafe { ManuallyDrop::take(&mut self.guard) }
    }
}

impl<T: ?Sized> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        if self.held {
            // SAFETY: `held` says that `back` was not called, and nobody uses the guard after this.
            unsafe { ManuallyDrop::drop(&mut self.guard) };
        }
    }
}

impl Waited for Condvar {
    fn is_lost(&self, _: &Deaths) -> bool {
        dead_frame(core::ptr::from_ref(self).addr()).is_some()
    }

    fn see_to_one(&self, _: &Deaths, guard: &PreemptGuard) -> bool {
        let Some(id) = dead_frame(core::ptr::from_ref(self).addr()) else { return false };
        let first = self.state.lock(guard).waiters.pop();
        bury_one(first, id, guard)
    }
}

#[cold]
fn two_mutexes() -> ! {
    panic!("Condvar: others wait with another mutex")
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
