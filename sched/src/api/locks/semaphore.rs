//! `Semaphore`: so many may do something at the same time; weighted, first come, first served.
//!
//! ```text
//!   word:   permits that are there ‖ QUEUED
//!
//!   acquire(n)   not QUEUED and n are there: take them (CAS)      else: set QUEUED, wait in the list with n
//!   release(n)   add them; if QUEUED: the first gets its n as soon as they are there, then the second, …
//! ```
//!
//! Uncontended, each is one atomic operation. QUEUED keeps newcomers out, so a large request at the
//! head is not passed by small ones: it starves nobody and is not starved. **INV-UNITS**: with the
//! list's lock free, QUEUED says whether anybody waits. While it is set the permits only grow, but
//! for those that the holder of the list's lock gives away.
//!
//! A wait that is over without having been served may have held up those behind it. So its G looks
//! at the list once more. If that G has died in between, the next to come looks.

use core::fmt;
use core::time::Duration;

use super::owner::{dead_frame, lies_among_the_dead};
use crate::api::time::Instant;
use crate::g::WaitReason;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicUsize, Ordering};
use crate::wait::deaths::{Deaths, Waited, bury_one};
use crate::wait::list::WaitQueue;
use crate::wait::ticket::{Lost, NEVER, Woken, reserve_timer, wait_watched};

/// A G waits.
const QUEUED: usize = 1;
/// One permit.
const ONE: usize = 2;

/// A number of permits, each for one G to do something at the same time as the others.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let connections = sync::Semaphore::new(3);
/// let one = connections.acquire();
/// let two = connections.acquire_many(2);
/// assert!(connections.try_acquire().is_none());
/// drop(two);
/// assert_eq!(connections.available_permits(), 2);
/// # drop(one);
/// # });
/// ```
///
/// Permits are given back when their guard is dropped, also by a panic. To carry one into another
/// G, [`forget`](SemaphorePermit::forget) it here and [`add_permits`](Self::add_permits) there. A G
/// that is abandoned (its stack overflowed) runs no destructors: its permits are lost, as if it had
/// forgotten them. Nobody can tell whose they were, so a G that waits for them goes on waiting, and
/// the deadlock report shows it.
///
/// A semaphore can't be closed: a G that may have to give up waits with a deadline.
///
/// Asking for more than there will ever be waits for ever, and keeps everybody behind it waiting;
/// the deadlock report shows it.
pub struct Semaphore {
    word: AtomicUsize,
    /// The waiters' slots hold the number of permits that each wants.
    waiters: SpinLock<WaitQueue>,
}

impl core::panic::UnwindSafe for Semaphore {}
impl core::panic::RefUnwindSafe for Semaphore {}

impl Semaphore {
    /// The most permits there can be.
    pub const MAX_PERMITS: usize = usize::MAX >> 3;

    crate::const_unless_loom! {
        /// Makes a semaphore with so many permits.
        ///
        /// # Panics
        /// More than [`MAX_PERMITS`](Self::MAX_PERMITS).
        ///
        /// ```
        /// # use trefoil_hosted::prelude::*;
        /// # trefoil_hosted::example(|| {
        /// assert_eq!(sync::Semaphore::new(3).available_permits(), 3);
        /// # });
        /// ```
        pub fn new(permits: usize) -> Self {
            assert!(permits <= Self::MAX_PERMITS, "Semaphore: too many permits");
            Self { word: AtomicUsize::new(permits * ONE), waiters: SpinLock::new(WaitQueue::new()) }
        }
    }

    /// Returns the number of permits that are there right now.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let semaphore = sync::Semaphore::new(3);
    /// let _permit = semaphore.acquire();
    /// assert_eq!(semaphore.available_permits(), 2);
    /// # });
    /// ```
    pub fn available_permits(&self) -> usize {
        self.word.load(Ordering::Relaxed) / ONE
    }

    /// Parks until a permit is there, and takes it.
    ///
    /// # Panics
    /// If it would park, and the semaphore lies on the stack of a G that has died, or dies
    /// meanwhile.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let semaphore = sync::Semaphore::new(2);
    /// scope(|s| {
    ///     for _ in 0..10 {
    ///         s.go(|| {
    ///             let _permit = semaphore.acquire(); // two at a time
    ///             runtime::yield_now();
    ///         });
    ///     }
    /// });
    /// # });
    /// ```
    #[inline]
    pub fn acquire(&self) -> SemaphorePermit<'_> {
        self.acquire_many(1)
    }

    /// Parks until `n` permits are there, and takes them all at once. For 0 it never parks.
    ///
    /// # Panics
    /// If it would park, and the semaphore lies on the stack of a G that has died, or dies
    /// meanwhile.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let semaphore = sync::Semaphore::new(5);
    /// let _three = semaphore.acquire_many(3);
    /// assert_eq!(semaphore.available_permits(), 2);
    /// # });
    /// ```
    #[inline]
    pub fn acquire_many(&self, n: usize) -> SemaphorePermit<'_> {
        if !self.take(n) {
            self.wait(n, NEVER);
        }
        SemaphorePermit { semaphore: self, permits: n }
    }

    /// Takes a permit if one is there and nobody waits for it.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let semaphore = sync::Semaphore::new(1);
    /// let permit = semaphore.try_acquire();
    /// assert!(permit.is_some() && semaphore.try_acquire().is_none());
    /// # });
    /// ```
    #[inline]
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes `n` permits if they are there and nobody waits for any.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let semaphore = sync::Semaphore::new(4);
    /// assert!(semaphore.try_acquire_many(5).is_none());
    /// assert!(semaphore.try_acquire_many(4).is_some());
    /// # });
    /// ```
    #[inline]
    pub fn try_acquire_many(&self, n: usize) -> Option<SemaphorePermit<'_>> {
        self.take(n).then(|| SemaphorePermit { semaphore: self, permits: n })
    }

    /// Takes a permit as [`acquire`](Self::acquire), for `timeout` at most. None: time was over.
    ///
    /// # Panics
    /// If it would park, and the semaphore lies on the stack of a G that has died, or dies
    /// meanwhile.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let none = sync::Semaphore::new(0);
    /// assert!(none.acquire_timeout(Duration::from_millis(1)).is_none());
    /// # });
    /// ```
    pub fn acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit<'_>> {
        self.acquire_many_timeout(1, timeout)
    }

    /// Takes permits as [`acquire_many`](Self::acquire_many), for `timeout` at most. None: time was
    /// over.
    ///
    /// # Panics
    /// If it would park, and the semaphore lies on the stack of a G that has died, or dies
    /// meanwhile.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let semaphore = sync::Semaphore::new(2);
    /// assert!(semaphore.acquire_many_timeout(3, Duration::from_millis(1)).is_none());
    /// # });
    /// ```
    pub fn acquire_many_timeout(&self, n: usize, timeout: Duration) -> Option<SemaphorePermit<'_>> {
        let got = self.take(n) || !timeout.is_zero() && self.wait(n, (Instant::now() + timeout).as_nanos());
        got.then(|| SemaphorePermit { semaphore: self, permits: n })
    }

    /// Adds `n` permits.
    ///
    /// # Panics
    /// If there are more than [`MAX_PERMITS`](Self::MAX_PERMITS) then.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let semaphore = sync::Semaphore::new(0);
    /// scope(|s| {
    ///     s.go(|| drop(semaphore.acquire()));
    ///     semaphore.add_permits(1);
    /// });
    /// assert_eq!(semaphore.available_permits(), 1);
    /// # });
    /// ```
    pub fn add_permits(&self, n: usize) {
        let more = |word: usize| {
            let sum = (word / ONE).checked_add(n).filter(|&sum| sum <= Self::MAX_PERMITS)?;
            Some((sum * ONE) | word & QUEUED)
        };
        // Release: as in `release`.
        match self.word.fetch_update(Ordering::Release, Ordering::Relaxed, more) {
            Ok(word) if word & QUEUED != 0 => self.serve(),
            Ok(_) => {}
            Err(_) => panic!("Semaphore: too many permits"),
        }
    }

    /// Adds a permit unless one is there.
    pub(super) fn put_one(&self) {
        let one = |word: usize| Some(if word < ONE { word + ONE } else { word });
        // Release: as in `release`. A caller that finds a permit writes the word, too, so that the
        // taker of that permit has seen all that was before this call.
        if self.word.fetch_update(Ordering::Release, Ordering::Relaxed, one).is_ok_and(|word| word & QUEUED != 0) {
            self.serve();
        }
    }

    #[inline(always)]
    fn take(&self, n: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & QUEUED == 0 && word / ONE >= n {
            // Acquire: pairs with the Release in `release`.
            match self.word.compare_exchange_weak(word, word - n * ONE, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        n == 0
    }

    #[inline(always)]
    fn release(&self, n: usize) {
        // Release: pairs with the Acquire in `take`, `take_first` and `serve`.
        if self.word.fetch_add(n * ONE, Ordering::Release) & QUEUED != 0 {
            self.serve();
        }
    }

    /// Takes the permits if nobody is in the list. Otherwise a G is in it in a moment. With the
    /// list's lock held.
    fn take_first(&self, n: usize, nobody: bool) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let takes = nobody && word / ONE >= n;
            let to = if takes { (word & !QUEUED) - n * ONE } else { word | QUEUED };
            // Acquire: pairs with the Release in `release`.
            match self.word.compare_exchange_weak(word, to, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return takes,
                Err(now) => word = now,
            }
        }
    }

    /// Parks until the permits were handed over, or it is `deadline`. Returns true if they were.
    #[cold]
    fn wait(&self, n: usize, deadline: u64) -> bool {
        self.serve();
        let at = core::ptr::from_ref(self).addr();
        if let Some(id) = dead_frame(at) {
            lies_among_the_dead("Semaphore", at, id);
        }
        let guard = reserve_timer(deadline);
        let waiters = self.waiters.lock(&guard);
        if self.take_first(n, waiters.is_empty()) {
            return true;
        }
        waiters.into_held();
        let slot = core::ptr::without_provenance_mut(n);
        // SAFETY: 1. the lock is held without a guard, and `guard` is this G's only one. 2. `serve`
        // wakes the G's that it pops. 3. `reserve_timer` has reserved the timer. 4. the caller
        // borrows the semaphore.
        let woken = unsafe {
            wait_watched(guard, self, &self.waiters, |waiters| waiters, slot, WaitReason::Semaphore, deadline)
        };
        let woken = match woken {
            Ok(woken) => woken,
            Err(Lost(id)) => lies_among_the_dead("Semaphore", at, id),
        };
        if woken == Woken::TimedOut {
            self.serve();
        }
        woken != Woken::TimedOut
    }

    /// Gives the G's at the head of the list their permits, as far as those are there.
    #[cold]
    fn serve(&self) {
        while self.serve_one(&PreemptGuard::new()) {}
    }

    /// Serves the first of them. Returns true if it is served.
    fn serve_one(&self, guard: &PreemptGuard) -> bool {
        let first = {
            let mut waiters = self.waiters.lock(guard);
            // Acquire: pairs with the Release in `release`; the one that is served learns of it by
            // `ready`.
            let there = self.word.load(Ordering::Acquire) / ONE;
            let first = waiters.pop_if(|slot| slot.addr() <= there);
            let taken = first.as_ref().map_or(0, |first| first.slot().addr());
            // Only grown meanwhile.
            self.word.fetch_sub(taken * ONE, Ordering::Relaxed);
            if waiters.is_empty() {
                self.word.fetch_and(!QUEUED, Ordering::Relaxed);
            }
            first
        };
        let any = first.is_some();
        if let Some(first) = first {
            first.serve().wake(guard);
        }
        any
    }
}

impl Waited for Semaphore {
    fn is_lost(&self, _: &Deaths) -> bool {
        dead_frame(core::ptr::from_ref(self).addr()).is_some()
    }

    fn see_to_one(&self, _: &Deaths, guard: &PreemptGuard) -> bool {
        let Some(id) = dead_frame(core::ptr::from_ref(self).addr()) else {
            // Perhaps the G that has given permits back has died before it came to this.
            return self.serve_one(guard);
        };
        let first = {
            let mut waiters = self.waiters.lock(guard);
            let first = waiters.pop();
            if waiters.is_empty() {
                self.word.fetch_and(!QUEUED, Ordering::Relaxed);
            }
            first
        };
        bury_one(first, id, guard)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("permits", &self.available_permits()).finish_non_exhaustive()
    }
}

/// Permits; given back when this is dropped.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let semaphore = sync::Semaphore::new(1);
/// drop(semaphore.acquire()); // it comes back
/// assert_eq!(semaphore.available_permits(), 1);
/// # });
/// ```
#[must_use = "the permits are given back when this is dropped"]
#[derive(Debug)]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
}

impl SemaphorePermit<'_> {
    /// Returns the number of permits.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let semaphore = sync::Semaphore::new(5);
    /// assert_eq!(semaphore.acquire_many(3).num_permits(), 3);
    /// # });
    /// ```
    pub fn num_permits(&self) -> usize {
        self.permits
    }

    /// Keeps the permits from coming back: there are so many fewer from now on.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let two_at_a_time = Arc::new(sync::Semaphore::new(2));
    /// for i in 0..10 {
    ///     let semaphore = two_at_a_time.clone();
    ///     semaphore.acquire().forget();
    ///     go(move || {
    ///         println!("{i}");
    ///         semaphore.add_permits(1);
    ///     });
    /// }
    /// let all_have_ended = two_at_a_time.acquire_many(2);
    /// # drop(all_have_ended);
    /// # });
    /// ```
    pub fn forget(self) {
        core::mem::forget(self);
    }
}

impl Drop for SemaphorePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.permits);
    }
}
