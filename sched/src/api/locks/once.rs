//! `Once`: a closure that runs once, in the first caller; all others wait until it has run.
//!
//! ```text
//!                     first caller: CAS                  it returns: swap
//!   INCOMPLETE ─────────────────────────▶ owner ──────────────────────────▶ COMPLETE
//!       ▲ (with force)                       │ it panics
//!   POISONED ◀───────────────────────────────┘
//! ```
//!
//! QUEUED may stand beside any state but COMPLETE: a G waits in the list, and the next swap takes
//! and wakes all of the list. The woken G's look again: of several that find POISONED and force it,
//! one runs. QUEUED is set under the list's lock, which settles **the hard race** as in the mutex.
//! If the end comes between a waiter's look and its sleep, the swap sees QUEUED and then needs that
//! lock, or the waiter's CAS fails.
//!
//! The runner is named by its life (`owner.rs`). If it dies, it runs for ever: the memory that it
//! was about to write may be lent to others. Callers and waiters panic.

use crate::g::waiter::Waiter;
use core::fmt;

use super::owner::{OWNER, dead_owner, deaths, held_by_the_dead, life_here};
use crate::core::park::{current_g, park};
use crate::g::{GRef, WaitReason, id_of};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicUsize, Ordering};
use crate::wait::deaths::{Deaths, Holding, Waited, carry, settle};
use crate::wait::list::WaitQueue;

const INCOMPLETE: usize = 0;
/// A G is in the list.
const QUEUED: usize = 1;
const POISONED: usize = 2;
const COMPLETE: usize = 4;

/// Runs something once: `std`'s `Once`.
///
/// Asking whether it is done takes three instructions. A closure that calls into its own `Once`
/// waits for itself, for ever; the deadlock report names it as the holder.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// static START: sync::Once = sync::Once::new();
/// START.call_once(|| println!("only the first one says so"));
/// assert!(START.is_completed());
/// # });
/// ```
pub struct Once {
    word: AtomicUsize,
    waiters: SpinLock<WaitQueue>,
}

impl core::panic::UnwindSafe for Once {}
impl core::panic::RefUnwindSafe for Once {}

/// The state that the closure of [`Once::call_once_force`] is told of.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let once = sync::Once::new();
/// once.call_once_force(|state| assert!(!state.is_poisoned()));
/// # });
/// ```
pub struct OnceState {
    poisoned: bool,
}

/// The state of a `Once` that nobody else can reach.
pub(super) enum Settled {
    Incomplete,
    /// Or its runner died: nobody borrows the memory that it has written.
    Poisoned,
    Complete,
}

impl Once {
    crate::const_unless_loom! {
        /// Makes a `Once` that has not run yet.
        ///
        /// ```
        /// # use trefoil_hosted::prelude::*;
        /// # trefoil_hosted::example(|| {
        /// let once = sync::Once::new();
        /// assert!(!once.is_completed());
        /// # });
        /// ```
        pub fn new() -> Self {
            Self { word: AtomicUsize::new(INCOMPLETE), waiters: SpinLock::new(WaitQueue::new()) }
        }
    }

    /// Runs `f` if no closure has run here before. If one is running, parks until it has returned.
    /// After this call a closure has returned, and its writes are seen.
    ///
    /// # Panics
    /// If an earlier closure panicked ("poisoned"); if the G that runs one has died; and with what
    /// `f` panics with.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (once, mut calls) = (sync::Once::new(), 0);
    /// once.call_once(|| calls += 1);
    /// once.call_once(|| calls += 1);
    /// assert_eq!(calls, 1);
    /// # });
    /// ```
    #[inline]
    pub fn call_once(&self, f: impl FnOnce()) {
        if !self.is_completed() {
            let mut f = Some(f);
            self.call(false, &mut |_| {
                if let Some(f) = f.take() {
                    f();
                }
            });
        }
    }

    /// Runs `f` as [`call_once`](Self::call_once), but also where an earlier closure panicked; `f`
    /// is told.
    ///
    /// # Panics
    /// If the G that runs a closure here has died; and with what `f` panics with.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// static START: sync::Once = sync::Once::new();
    /// assert!(go(|| START.call_once(|| panic!("not this time"))).join().is_err());
    /// START.call_once_force(|state| assert!(state.is_poisoned()));
    /// assert!(START.is_completed());
    /// # });
    /// ```
    #[inline]
    pub fn call_once_force(&self, f: impl FnOnce(&OnceState)) {
        if !self.is_completed() {
            let mut f = Some(f);
            self.call(true, &mut |state| {
                if let Some(f) = f.take() {
                    f(state);
                }
            });
        }
    }

    /// Returns true if a closure has returned; its writes are seen.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let once = sync::Once::new();
    /// once.call_once(|| {});
    /// assert!(once.is_completed());
    /// # });
    /// ```
    #[inline(always)]
    pub fn is_completed(&self) -> bool {
        // Acquire: pairs with the Release in `Finish::drop`.
        self.word.load(Ordering::Acquire) == COMPLETE
    }

    /// Parks until another G has run a closure.
    ///
    /// # Panics
    /// If the `Once` is poisoned, or becomes so meanwhile; if the G that runs a closure dies.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let once = sync::Once::new();
    /// scope(|s| {
    ///     s.go(|| once.call_once(|| time::sleep(Duration::from_millis(1))));
    ///     once.wait();
    /// });
    /// # });
    /// ```
    pub fn wait(&self) {
        if !self.is_completed() {
            self.wait_until_complete(false);
        }
    }

    /// Parks until another G has run a closure, however many panic before.
    ///
    /// # Panics
    /// If the G that runs a closure dies.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let once = sync::Once::new();
    /// scope(|s| {
    ///     s.go(|| once.call_once(|| {}));
    ///     once.wait_force();
    /// });
    /// assert!(once.is_completed());
    /// # });
    /// ```
    pub fn wait_force(&self) {
        if !self.is_completed() {
            self.wait_until_complete(true);
        }
    }

    #[cold]
    fn wait_until_complete(&self, force: bool) {
        loop {
            // Acquire: as in `is_completed`.
            let word = self.word.load(Ordering::Acquire);
            match word & !QUEUED {
                COMPLETE => return,
                POISONED if !force => poisoned(),
                _ => self.park_while(word),
            }
        }
    }

    #[cold]
    fn call(&self, force: bool, f: &mut dyn FnMut(&OnceState)) {
        if let Some((state, mut finish)) = self.begin(force) {
            f(&state);
            finish.to = COMPLETE;
        }
    }

    /// Makes the caller the runner, unless a closure has run; parks as long as another G runs one.
    pub(crate) fn begin(&self, force: bool) -> Option<(OnceState, Finish<'_>)> {
        // Acquire: as in `is_completed`.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            match word & !QUEUED {
                COMPLETE => return None,
                POISONED if !force => poisoned(),
                state @ (INCOMPLETE | POISONED) => {
                    let mine = life_here() | word & QUEUED;
                    // Acquire: pairs with the Release in `Finish::drop`, so the writes of a closure
                    // that panicked are seen.
                    match self.word.compare_exchange(word, mine, Ordering::Acquire, Ordering::Acquire) {
                        Ok(_) => {
                            let state = OnceState { poisoned: state == POISONED };
                            return Some((state, Finish { once: self, to: POISONED }));
                        }
                        Err(now) => word = now,
                    }
                }
                _ => {
                    self.park_while(word);
                    // Acquire: as in `is_completed`.
                    word = self.word.load(Ordering::Acquire);
                }
            }
        }
    }

    /// Parks until there was a change to the state that `seen` says, or not at all if that is over.
    /// Panics if that will never change.
    fn park_while(&self, seen: usize) {
        let guard = PreemptGuard::new();
        if let Some(dead) = dead_owner(seen, deaths(&guard)) {
            drop(guard);
            held_by_the_dead("Once", core::ptr::from_ref(self).addr(), dead.id());
        }
        let mut waiters = self.waiters.lock(&guard);
        // Relaxed: the caller looks again. A G that finds QUEUED takes the list's lock.
        let queued = self.word.compare_exchange(seen, seen | QUEUED, Ordering::Relaxed, Ordering::Relaxed);
        if queued.is_err_and(|now| now != seen | QUEUED) {
            return;
        }
        let g = current_g(&guard);
        carry(g, self);
        // SAFETY: 1. this G parks right below.
        unsafe { waiters.push(Waiter::of(g, core::ptr::null_mut())) };
        waiters.into_held();
        // SAFETY: 1. the taker of the list wakes each of it once. 2. the `Once` outlives the call.
        drop(unsafe { park(guard, WaitReason::Once, unlock_list, core::ptr::from_ref(self).cast_mut().cast()) });
    }

    /// Returns the state: `&mut self` says that no G runs a closure.
    pub(super) fn settled(&mut self) -> Settled {
        match self.word.load(Ordering::Relaxed) & !QUEUED {
            INCOMPLETE => Settled::Incomplete,
            COMPLETE => Settled::Complete,
            _ => Settled::Poisoned,
        }
    }
}

impl Waited for Once {
    fn is_lost(&self, deaths: &Deaths) -> bool {
        dead_owner(self.word.load(Ordering::Relaxed), deaths).is_some()
    }

    fn see_to_one(&self, deaths: &Deaths, guard: &PreemptGuard) -> bool {
        let one = {
            let mut waiters = self.waiters.lock(guard);
            let word = self.word.load(Ordering::Relaxed);
            let dead = dead_owner(word, deaths);
            // Without a runner: it has died between the end of its closure and the waking of the
            // waiters. The woken waiters look again.
            let one = if dead.is_some() || word & OWNER == 0 { waiters.pop() } else { None };
            if dead.is_some() && waiters.is_empty() {
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

    fn holder(&self) -> Holding {
        match self.word.load(Ordering::Relaxed) & OWNER {
            0 => Holding::Unknown,
            life => Holding::By(id_of(life)),
        }
    }
}

impl OnceState {
    /// Returns true if an earlier closure panicked.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let once = Arc::new(sync::Once::new());
    /// let theirs = once.clone();
    /// assert!(go(move || theirs.call_once(|| panic!("failed"))).join().is_err());
    /// once.call_once_force(|state| assert!(state.is_poisoned()));
    /// # });
    /// ```
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

/// The end of a closure, however it ends.
pub(crate) struct Finish<'a> {
    once: &'a Once,
    to: usize,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire of every G that looks at the word.
        if self.once.word.swap(self.to, Ordering::Release) & QUEUED != 0 {
            let guard = PreemptGuard::new();
            let all = self.once.waiters.lock(&guard).take();
            all.wake_claimed(guard);
        }
    }
}

#[cold]
#[inline(never)]
fn poisoned() -> ! {
    panic!("Once instance has previously been poisoned")
}

/// `park`'s commit: the G is saved, the list's lock may go; see the mutex's.
unsafe fn unlock_list(once: *mut (), g: GRef) -> bool {
    // SAFETY: 1. `park_while` passes its `Once`, whose list it holds locked without a guard, and
    // the closure releases that lock.
    unsafe { settle(g, || (*once.cast::<Once>()).waiters.unlock()) };
    true
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

impl fmt::Debug for OnceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceState").field("poisoned", &self.poisoned).finish()
    }
}
