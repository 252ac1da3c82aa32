//! The rounds after deaths, as the scheduler knows them: the pending ones, the M at work, and the
//! rest of the work. The steps of a round are in `wait/deaths.rs`.
//!
//! g0 works at a round without knowing what that is: the caller that asks for a round leaves the
//! function. So the floor below names nothing of the floor above, and a program in which no G can
//! die has no code for it.

use crate::g::promise::Owed;
use crate::g::waiter::Orphans;
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicBool, AtomicPtr, AtomicU64, Ordering, UnsafeCell};
use crate::queue::registry::Cursor;

/// Does a piece of the round that is pending, on the g0 of an M.
pub(crate) type Worker = fn(&PreemptGuard);

/// The rounds of the undertaker.
#[derive(Debug)]
pub(crate) struct Rounds {
    /// Counts the rounds that were asked for.
    pub(crate) asked: AtomicU64,
    /// Counts the requests that are over, by a round that began after them.
    pub(crate) done: AtomicU64,
    /// True while an M works at a round.
    pub(crate) at_work: AtomicBool,
    /// The [`Worker`]; null until a round was asked for.
    worker: AtomicPtr<()>,
    /// The state of the round at which an M works.
    pub(crate) walk: UnsafeCell<Walk>,
    /// The waiters to wake before the round looks at any G.
    pub(crate) orphans: SpinLock<Orphans>,
    /// The promises to give back before that.
    pub(crate) owed: SpinLock<Owed>,
}

/// How far a round has come.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) cursor: Cursor,
    /// The value of `done` at the end of this round. If `done` has it already, no round is under
    /// way.
    pub(crate) target: u64,
}

// SAFETY: only the M that has made `at_work` true touches `walk`.
unsafe impl Sync for Rounds {}

impl Rounds {
    pub(crate) fn new() -> Self {
        Self {
            asked: AtomicU64::new(0),
            done: AtomicU64::new(0),
            at_work: AtomicBool::new(false),
            worker: AtomicPtr::new(core::ptr::null_mut()),
            walk: UnsafeCell::new(Walk { cursor: Cursor::new(), target: 0 }),
            orphans: SpinLock::new(Orphans::new()),
            owed: SpinLock::new(Owed::nothing()),
        }
    }

    /// Asks for one more round, whose pieces `worker` does.
    pub(crate) fn ask(&self, worker: Worker) {
        self.worker.store(worker as *mut (), Ordering::Relaxed);
        // AcqRel: Release pairs with the Acquire in `worker` and at the begin of a round.
        self.asked.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns true if there is something to do.
    #[inline(always)]
    pub(crate) fn is_pending(&self) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        // One load where nobody has died.
        asked != 0 && asked != self.done.load(Ordering::Relaxed)
    }

    /// Returns the function that does a piece of the round, if a round was ever asked for.
    #[cold]
    pub(crate) fn worker(&self) -> Option<Worker> {
        // Acquire: pairs with the Release in `ask`: the function was stored before.
        if self.asked.load(Ordering::Acquire) == 0 {
            return None;
        }
        let worker = self.worker.load(Ordering::Relaxed);
        // SAFETY: a round was asked for, so `ask` has stored a `Worker` there, and nothing else
        // is ever stored.
        Some(unsafe { core::mem::transmute::<*mut (), Worker>(worker) })
    }

    /// Returns true if G's are to be woken for wakers that have died.
    #[cfg(loom)]
    pub(crate) fn has_orphans(&self) -> bool {
        !self.orphans.lock(&PreemptGuard::new()).is_empty()
    }

    /// Returns true if a round is pending and no M works at it.
    #[inline]
    pub(crate) fn wants_hand(&self) -> bool {
        self.is_pending() && !self.at_work.load(Ordering::Relaxed)
    }
}
