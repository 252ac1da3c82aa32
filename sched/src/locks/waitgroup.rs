//! Go's `WaitGroup`: waits until a number of things are done.
//!
//! ```text
//!   word:   things to do ‖ QUEUED
//!
//!   add, done    one atomic operation; the `done` that leaves QUEUED alone in the word takes the list and wakes it
//!   wait         0 things: returns; else sets QUEUED (CAS, under the list's lock) and waits in the list
//! ```
//!
//! Misuse is found where Go finds it: a count below zero, an `add` after the last `done` and before those who wait are released, and things to do
//! again before a `wait` has returned.

use alloc::sync::Arc;
use core::fmt;

use crate::g::WaitReason;
use crate::lock::SpinLock;
use crate::preempt::PreemptGuard;
use crate::sync::{AtomicUsize, Ordering};
use crate::ticket::{NEVER, wait_until};
use crate::waitq::WaitQueue;

/// Somebody waits.
const QUEUED: usize = 1;
/// One thing to do.
const ONE: usize = 2;

/// A counter, and the G's that wait until it is zero. Share it in an `Arc`, or let it be a `static`.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # use std::sync::atomic::{AtomicU32, Ordering};
/// # trefoil_hosted::example(|| {
/// let (wg, sum) = (Arc::new(sync::WaitGroup::new()), Arc::new(AtomicU32::new(0)));
/// for i in 1..=10 {
///     let sum = sum.clone();
///     wg.go(move || _ = sum.fetch_add(i, Ordering::Relaxed));
/// }
/// wg.wait();
/// assert_eq!(sum.load(Ordering::Relaxed), 55);
/// # });
/// ```
pub struct WaitGroup {
    word: AtomicUsize,
    waiters: SpinLock<WaitQueue>,
}

impl core::panic::UnwindSafe for WaitGroup {}
impl core::panic::RefUnwindSafe for WaitGroup {}

impl WaitGroup {
    crate::const_unless_loom! {
        /// Nothing to wait for.
        ///
        /// ```
        /// # use trefoil_hosted::prelude::*;
        /// # trefoil_hosted::example(|| {
        /// sync::WaitGroup::new().wait(); // nothing to wait for
        /// # });
        /// ```
        pub fn new() -> Self {
            Self { word: AtomicUsize::new(0), waiters: SpinLock::new(WaitQueue::new()) }
        }
    }

    /// `n` more things to wait for. From zero on, before the matching `wait` begins.
    ///
    /// # Panics
    /// If the count overflows; or if somebody waits, and the last of what it waits for was done a moment ago ("Add called concurrently with Wait").
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let group = Arc::new(sync::WaitGroup::new());
    /// for _ in 0..10 {
    ///     group.add(1);
    ///     let theirs = group.clone();
    ///     drop(go(move || theirs.done()));
    /// }
    /// group.wait();
    /// # });
    /// ```
    pub fn add(&self, n: usize) {
        let more = |word: usize| {
            let sum = n.checked_mul(ONE).and_then(|n| word.checked_add(n));
            sum.filter(|_| word != QUEUED || n == 0)
        };
        // Relaxed: what is to be seen when all is done is published by `done`.
        match self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => {}
            Err(QUEUED) => panic!("WaitGroup misuse: Add called concurrently with Wait"),
            Err(_) => panic!("WaitGroup: the count overflows"),
        }
    }

    /// One thing is done. The last one wakes everybody who waits.
    ///
    /// # Panics
    /// If there was nothing left to do: "negative WaitGroup counter". The group is as it was.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let group = sync::WaitGroup::new();
    /// group.add(2);
    /// group.done();
    /// group.done();
    /// group.wait();
    /// # });
    /// ```
    #[inline]
    pub fn done(&self) {
        // Release: pairs with the Acquire in `wait` and `release`.
        match self.word.fetch_update(Ordering::Release, Ordering::Relaxed, |word| word.checked_sub(ONE)) {
            Ok(word) if word == ONE | QUEUED => self.release(),
            Ok(_) => {}
            Err(_) => panic!("negative WaitGroup counter"),
        }
    }

    /// Runs `f` as a G and waits for it, too: `add`, `go` and `done` in one, as Go's `WaitGroup.Go`.
    ///
    /// A panic in `f` is reported as of any G that nobody joins, and counts as done. A G that is abandoned (its stack overflowed) runs no destructors, and
    /// is not counted as done.
    ///
    /// # Panics
    /// As [`add`](Self::add) and [`go`](crate::spawn::go).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let group = Arc::new(sync::WaitGroup::new());
    /// (0..10).for_each(|_| group.go(runtime::yield_now));
    /// group.wait();
    /// # });
    /// ```
    pub fn go(self: &Arc<Self>, f: impl FnOnce() + Send + 'static) {
        /// However `f` ends.
        struct Done(Arc<WaitGroup>);
        impl Drop for Done {
            fn drop(&mut self) {
                self.0.done();
            }
        }
        self.add(1);
        let done = Done(self.clone());
        drop(crate::spawn::go(move || {
            let _done = done;
            f();
        }));
    }

    /// Parks until the count is zero.
    ///
    /// # Panics
    /// If the count is not zero any more when this G runs again: "WaitGroup is reused before previous Wait has returned".
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let group = Arc::new(sync::WaitGroup::new());
    /// for _ in 0..10 {
    ///     group.add(1);
    ///     let theirs = group.clone();
    ///     drop(go(move || theirs.done()));
    /// }
    /// group.wait();
    /// # });
    /// ```
    pub fn wait(&self) {
        // Acquire: pairs with the Release in `done`.
        if self.word.load(Ordering::Acquire) >= ONE {
            self.park_here();
        }
    }

    #[cold]
    fn park_here(&self) {
        let guard = PreemptGuard::new();
        let waiters = self.waiters.lock(&guard);
        let queue = |word: usize| (word >= ONE).then_some(word | QUEUED);
        // Acquire: as in `wait`.
        if self.word.fetch_update(Ordering::Relaxed, Ordering::Acquire, queue).is_err() {
            return;
        }
        waiters.into_held();
        let (slot, reason) = (core::ptr::null_mut(), WaitReason::WaitGroup);
        // SAFETY: 1. the lock is held, and this is the only guard. 2. `release` wakes. 3. there is no deadline. 4. it is borrowed.
        let _ = unsafe { wait_until(guard, &self.waiters, |waiters| waiters, slot, reason, NEVER) };
        if self.word.load(Ordering::Relaxed) != 0 {
            panic!("WaitGroup is reused before previous Wait has returned");
        }
    }

    /// All is done.
    #[cold]
    fn release(&self) {
        let all = {
            let guard = PreemptGuard::new();
            let mut waiters = self.waiters.lock(&guard);
            // Acquire: pairs with the Release of everybody who is done; those who wait learn of it by `ready`.
            self.word.fetch_and(!QUEUED, Ordering::Acquire);
            waiters.take()
        };
        all.wake_all();
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.word.load(Ordering::Relaxed) / ONE;
        f.debug_struct("WaitGroup").field("count", &count).finish_non_exhaustive()
    }
}
