//! Go's `WaitGroup`: waits until a number of things are done.
//!
//! ```text
//!   word:   things to do ‖ QUEUED
//!
//!   add, done    one atomic operation; the `done` that leaves QUEUED alone in the word takes the list and wakes it
//!   wait         0 things: returns; else sets QUEUED (CAS, under the list's lock) and waits in the list
//! ```
//!
//! A G that [`go`](WaitGroup::go) or [`go_scoped`](WaitGroup::go_scoped) has started and that ended
//! where it stood is never done. `dead` has its life, and a `wait` that would be for ever panics.
//!
//! Misuse is found where Go finds it:
//!
//! * a count below zero;
//! * an `add` after the last `done` and before the waiters are released;
//! * things to do again before a `wait` has returned.

use crate::core::drops::report_unseen;
use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;

use super::owner::{dead_frame, held_by_the_dead, lies_among_the_dead};
use crate::api::scope::{InScope, Scope};
use crate::api::spawn::Builder;
use crate::core::park::current_g;
use crate::g::JoinError;
use crate::g::{GRef, WaitReason, id_of};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicUsize, Ordering};
use crate::wait::deaths::{Deaths, Waited};
use crate::wait::group::{Member, close_all, own_id};
use crate::wait::list::WaitQueue;
use crate::wait::ticket::{Lost, NEVER, wait_watched};

/// A G waits.
const QUEUED: usize = 1;
/// One thing to do.
const ONE: usize = 2;

/// A counter, and the G's that wait until it is zero. Share it in an `Arc`, or let it be a
/// `static`. The G's of a scope borrow it: [`go_scoped`](Self::go_scoped).
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
    /// The life of the first member that died before it was done.
    dead: AtomicUsize,
    waiters: SpinLock<WaitQueue>,
}

impl core::panic::UnwindSafe for WaitGroup {}
impl core::panic::RefUnwindSafe for WaitGroup {}

impl WaitGroup {
    crate::const_unless_loom! {
        /// Makes a group with nothing to wait for.
        ///
        /// ```
        /// # use trefoil_hosted::prelude::*;
        /// # trefoil_hosted::example(|| {
        /// sync::WaitGroup::new().wait(); // nothing to wait for
        /// # });
        /// ```
        pub fn new() -> Self {
            let (word, dead) = (AtomicUsize::new(0), AtomicUsize::new(0));
            Self { word, dead, waiters: SpinLock::new(WaitQueue::new()) }
        }
    }

    /// Adds `n` things to wait for. From zero on, before the matching `wait` begins.
    ///
    /// # Panics
    /// If the count overflows; or if a G waits, and the last of the things that it waits for was
    /// done a moment ago ("Add called concurrently with Wait").
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
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let to = match Self::more(word, n) {
                Ok(to) => to,
                Err(misuse) => panic!("{misuse}"),
            };
            // Relaxed: `done` publishes the work that is to be seen when all is done.
            match self.word.compare_exchange_weak(word, to, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Returns the word with `n` more things to do than in `word`, or the reason why that is
    /// misuse.
    #[inline]
    fn more(word: usize, n: usize) -> Result<usize, &'static str> {
        if word == QUEUED && n > 0 {
            return Err("WaitGroup misuse: Add called concurrently with Wait");
        }
        n.checked_mul(ONE).and_then(|n| word.checked_add(n)).ok_or("WaitGroup: the count overflows")
    }

    /// Notes that one thing is done. The last one wakes every G that waits.
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
        self.done_under(None);
    }

    /// Counts as `done`, under `guard` if the caller has one. With a guard, the count and the
    /// wake-ups happen together or not at all, even if the caller dies.
    #[inline]
    fn done_under(&self, guard: Option<PreemptGuard>) {
        // Release: pairs with the Acquire in `wait` and `release`.
        match self.word.fetch_update(Ordering::Release, Ordering::Relaxed, |word| word.checked_sub(ONE)) {
            Ok(word) if word == ONE | QUEUED => self.release(guard.unwrap_or_default()),
            Ok(_) => {}
            Err(_) => {
                drop(guard);
                panic!("negative WaitGroup counter")
            }
        }
    }

    /// Runs `f` as a G and waits for it, too: `add`, `go` and `done` in one, as Go's
    /// `WaitGroup.Go`.
    ///
    /// A panic in `f` is reported as of any G that nobody joins, and counts as done. A G that is
    /// abandoned (its stack overflowed) is not counted as done, and never will be:
    /// [`wait`](Self::wait) panics, and names it.
    ///
    /// # Panics
    /// Panics as [`add`](Self::add) and [`go`](crate::spawn::go).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let group = Arc::new(sync::WaitGroup::new());
    /// (0..10).for_each(|_| group.go(runtime::yield_now));
    /// group.wait();
    /// # });
    /// ```
    #[track_caller]
    pub fn go(self: &Arc<Self>, f: impl FnOnce() + Send + 'static) {
        self.allow_one();
        let group = self.clone();
        let run = move || {
            let _done = Done(group);
            f();
        };
        // SAFETY: 1. `run` is `'static`, and the member owns a handle of the group.
        let started = unsafe { Builder::new().spawn_member(run, Doing(self.clone())) };
        if let Err(error) = started {
            panic!("go: {error}");
        }
    }

    /// Runs `f` as a G of `scope`, and waits for it, too. So `f` may borrow, and the group needs no
    /// `Arc`: it may stand on the stack, outside of the scope.
    ///
    /// The end of the scope waits for the G as well. A panic in `f` counts as done, and the scope
    /// panics for it at its end. A G that is abandoned is never done: as in [`go`](Self::go).
    ///
    /// # Panics
    /// Panics as [`add`](Self::add) and [`go`](crate::spawn::go).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (wave, mut numbers) = (sync::WaitGroup::new(), [1, 2, 3]);
    /// let sum = sync::Mutex::new(0);
    /// scope(|s| {
    ///     for number in &mut numbers {
    ///         wave.go_scoped(s, || *sum.lock().unwrap() += *number);
    ///     }
    ///     wave.wait(); // the scope goes on
    ///     assert_eq!(*sum.lock().unwrap(), 6);
    /// });
    /// # });
    /// ```
    #[track_caller]
    pub fn go_scoped<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, f: impl FnOnce() + Send + 'scope) {
        self.allow_one();
        let run = move || {
            let _done = Done(self);
            f();
        };
        // SAFETY: 1. each method of `DoingInScope` calls the member's last.
        let started =
            unsafe { Builder::new().spawn_member_of(scope, run, |member| DoingInScope { group: self, member }) };
        if let Err(error) = started {
            panic!("go: {error}");
        }
    }

    /// Panics if one thing more to do would be misuse.
    fn allow_one(&self) {
        if let Err(misuse) = Self::more(self.word.load(Ordering::Relaxed), 1) {
            panic!("{misuse}");
        }
    }

    /// Parks until the count is zero.
    ///
    /// # Panics
    /// If the count is not zero any more when this G runs again: "WaitGroup is reused before
    /// previous Wait has returned". If it would park, and a G that [`go`](Self::go) has started
    /// here has died where it stood, or dies meanwhile, since that one is never done; and if the
    /// group lies on the stack of such a G.
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
        if let Some(id) = self.lost_by() {
            if waiters.is_empty() {
                self.word.fetch_and(!QUEUED, Ordering::Relaxed);
            }
            drop(waiters);
            drop(guard);
            self.is_never_done(id);
        }
        waiters.into_held();
        let (slot, reason) = (core::ptr::null_mut(), WaitReason::WaitGroup);
        // SAFETY: 1. the lock is held without a guard, and `guard` is this G's only one. 2.
        // `release` wakes the G's that it pops. 3. a wait without a deadline needs no timer. 4. the
        // caller borrows the group.
        let woken = unsafe { wait_watched(guard, self, &self.waiters, |waiters| waiters, slot, reason, NEVER) };
        if let Err(Lost(id)) = woken {
            self.is_never_done(id);
        }
        if self.word.load(Ordering::Relaxed) != 0 {
            panic!("WaitGroup is reused before previous Wait has returned");
        }
    }

    /// Notes that a member is never done.
    pub(crate) fn member_died(&self, g: GRef) {
        // Release: pairs with the Acquire in `lost_by`. The first one counts.
        let _ = self.dead.compare_exchange(0, g.life(), Ordering::Release, Ordering::Relaxed);
    }

    /// Returns the number of the dead G that keeps the count above zero, or because of which nobody
    /// is to wait here any more.
    fn lost_by(&self) -> Option<u64> {
        // Acquire: pairs with the Release in `member_died`.
        match self.dead.load(Ordering::Acquire) {
            0 => dead_frame(core::ptr::from_ref(self).addr()),
            life => Some(id_of(life)),
        }
    }

    #[cold]
    fn is_never_done(&self, id: u64) -> ! {
        let at = core::ptr::from_ref(self).addr();
        if self.dead.load(Ordering::Relaxed) != 0 {
            held_by_the_dead("WaitGroup", at, id);
        }
        lies_among_the_dead("WaitGroup", at, id)
    }

    /// Releases the waiters: all is done.
    #[cold]
    fn release(&self, guard: PreemptGuard) {
        let all = {
            let mut waiters = self.waiters.lock(&guard);
            // Acquire: pairs with the Release of every `done`; the waiters learn of the end by
            // `ready`.
            self.word.fetch_and(!QUEUED, Ordering::Acquire);
            waiters.take()
        };
        all.wake_claimed(guard);
    }
}

impl Waited for WaitGroup {
    fn is_lost(&self, _: &Deaths) -> bool {
        self.word.load(Ordering::Relaxed) >= ONE && self.lost_by().is_some()
    }

    fn see_to_one(&self, deaths: &Deaths, guard: &PreemptGuard) -> bool {
        let one = {
            let mut waiters = self.waiters.lock(guard);
            let one = if self.is_lost(deaths) {
                waiters.pop().zip(self.lost_by()).map(|(one, id)| one.bury(id))
            } else if self.word.load(Ordering::Relaxed) < ONE {
                // The one that was done last has died before it came to this. Acquire: as in
                // `release`.
                self.word.fetch_and(!QUEUED, Ordering::Acquire);
                waiters.pop()
            } else {
                None
            };
            if one.is_some() && waiters.is_empty() {
                self.word.fetch_and(!QUEUED, Ordering::Relaxed);
            }
            one
        };
        let any = one.is_some();
        if let Some(one) = one {
            one.wake(guard);
        }
        any
    }
}

/// Counts as done, however its G's closure ends.
struct Done<W: Deref<Target = WaitGroup>>(W);

impl<W: Deref<Target = WaitGroup>> Drop for Done<W> {
    fn drop(&mut self) {
        // The G is counted, or is not, even if it dies.
        let guard = PreemptGuard::new();
        current_g(&guard).set_counted();
        self.0.done_under(Some(guard));
    }
}

/// The companion of the closure of a G that [`WaitGroup::go_scoped`] has started.
struct DoingInScope<'scope> {
    group: &'scope WaitGroup,
    member: InScope,
}

impl Member for DoingInScope<'_> {
    type Remainder = ();

    fn starts(&self) -> bool {
        // As in `Doing`.
        self.group.word.fetch_add(ONE, Ordering::Relaxed);
        self.member.starts()
    }

    fn unclaimed(&self, error: JoinError) {
        self.member.unclaimed(error);
    }

    fn leave(self) -> Option<()> {
        self.member.leave()
    }

    fn abandoned(self, g: GRef) {
        if !g.is_counted() {
            self.group.member_died(g);
        }
        self.member.abandoned(g);
    }
}

/// The companion of the closure of a G that [`WaitGroup::go`] has started.
struct Doing(Arc<WaitGroup>);

impl Member for Doing {
    /// Dropped with preemption on: it may be the last to hold the group.
    type Remainder = Self;

    fn starts(&self) -> bool {
        // Counted if it starts and only then: its starter can't die in between. Relaxed: as in
        // `add`.
        self.0.word.fetch_add(ONE, Ordering::Relaxed);
        true
    }

    fn unclaimed(&self, error: JoinError) {
        report_unseen(error, own_id());
    }

    fn leave(self) -> Option<Self> {
        Some(self)
    }

    fn abandoned(self, g: GRef) {
        close_all(g);
        if !g.is_counted() {
            self.0.member_died(g);
        }
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
