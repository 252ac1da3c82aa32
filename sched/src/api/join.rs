//! The cell in which a G leaves its result, and the handle that waits for it.
//!
//! One word decides everything:
//!
// ANCHOR: word
//! ```text
//!            join: CAS                    complete: swap
//!   EMPTY ───────────────▶ a waiting G ──────────────────▶ DONE      verdict Wake(g)
//!     │ └─────────────── complete: swap ─────────────────▶ DONE      verdict Kept
//!     └── the handle is dropped: CAS ──▶ ABANDONED ──────▶ DONE      verdict Unclaimed
//! ```
// ANCHOR_END: word
//!
//! A joiner with a deadline registers its token instead, and takes the token back with a CAS when
//! the time has come. If the completer was faster, it has woken a token, which only makes the G
//! look once more.
//!
//! The value is written before the word becomes DONE and read after, so the value needs no lock.
//! The word also says which side frees the cell, so the cell needs no reference count. The handle
//! frees it, unless the handle was dropped before the end; then the G does.
//!
//! **The hard race** is `join` against `complete`. The joiner registers in `after`, when its
//! registers are saved (INV-PUBLISH). If the CAS fails, the result has arrived in between, and the
//! joiner goes on at once.

mod cell;
mod word;

use core::fmt;
use core::mem::ManuallyDrop;
use core::time::Duration;

pub(crate) use self::cell::CellRef;
pub use self::cell::JoinCell;
pub use self::word::{Completed, JoinWord};
pub use crate::g::JoinError;
pub use crate::machine::payload::panic_message;

use crate::core::drops::{drop_caught_at, report_unseen};

/// The result of a G, or the reason why it has none.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::join::Outcome;
/// let outcome: Outcome<u32> = go(|| 5).join();
/// assert_eq!(outcome.unwrap(), 5);
/// # });
/// ```
pub type Outcome<T> = Result<T, JoinError>;

/// The right to a G's result. Dropping it lets the G go on by itself; if that G panics, the panic
/// is reported.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let handle = go(|| 5);
/// assert_eq!(handle.join().unwrap(), 5);
/// drop(go(|| 6)); // it runs all the same
/// # });
/// ```
pub struct JoinHandle<T> {
    cell: CellRef<T>,
    g: u64,
}

// SAFETY: a handle is one side of a cell, whose word passes the value from the other; the value is
// sendable.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: by reference, it only looks at the cell's word.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(crate) fn new(cell: CellRef<T>, g: u64) -> Self {
        Self { cell, g }
    }

    /// As `drop`, but says how the G ended, if it has.
    pub(crate) fn detach(self) -> Option<Outcome<()>> {
        // SAFETY: 1. `ManuallyDrop` keeps the handle's own `drop` from ending the cell a second
        // time.
        unsafe { end(ManuallyDrop::new(self).cell) }
    }

    /// Parks until the G has ended, and returns its result.
    ///
    /// # Errors
    /// The G panicked, ended without a result, or was ended where it stood.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(go(|| 5).join().unwrap(), 5);
    /// assert!(go(|| panic!("no")).join().is_err());
    /// # });
    /// ```
    pub fn join(self) -> Outcome<T> {
        // The handle's side ends here, and not in `drop`.
        let shared = ManuallyDrop::new(self).cell;
        // SAFETY: 1. the handle's side of the cell ends with `free` below.
        let word = unsafe { shared.word() };
        if !word.is_done() {
            // SAFETY: 1. the caller is the handle, which alone frees the cell.
            unsafe { word.wait() };
        }
        // SAFETY: 1. the handle's side of the cell ends with `free` below. 2. the word is DONE, and
        // the handle is the only side that takes the result.
        let outcome = unsafe { shared.take() };
        // SAFETY: 1. the result was taken. The handle was not dropped before DONE, so it frees the
        // cell, and the G does not look at the cell after DONE.
        unsafe { shared.free() };
        outcome
    }

    /// Returns the outcome, if the G has ended.
    ///
    /// # Errors
    /// The G has not ended; the handle comes back.
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded::<u32>(0);
    /// let handle = go(move || rx.recv().unwrap());
    /// let handle = handle.try_join().unwrap_err();
    /// tx.send(5).unwrap();
    /// assert_eq!(handle.join().unwrap(), 5);
    /// # });
    /// ```
    pub fn try_join(self) -> Result<Outcome<T>, Self> {
        if self.is_finished() { Ok(self.join()) } else { Err(self) }
    }

    /// Joins as [`join`](Self::join), for `d` at most. A timeout does not end the G: see
    /// [`context`](crate::context).
    ///
    /// # Errors
    /// The G has not ended in that time; the handle comes back.
    ///
    /// # Panics
    /// When there is no memory for the timer.
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let handle = go(|| time::sleep(Duration::from_millis(20)));
    /// let handle = handle.join_timeout(Duration::from_millis(1)).unwrap_err();
    /// handle.join().unwrap();
    /// # });
    /// ```
    pub fn join_timeout(self, d: Duration) -> Result<Outcome<T>, Self> {
        let done = {
            // SAFETY: 1. the handle's side ends with the handle.
            let word = unsafe { self.cell.word() };
            word.is_done() || word.wait_for(d)
        };
        if done { Ok(self.join()) } else { Err(self) }
    }

    /// Returns true if the G has ended: [`join`](Self::join) would not park.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let handle = go(|| 5);
    /// while !handle.is_finished() {
    ///     runtime::yield_now();
    /// }
    /// assert_eq!(handle.join().unwrap(), 5);
    /// # });
    /// ```
    pub fn is_finished(&self) -> bool {
        // SAFETY: 1. the handle's side ends with the handle.
        unsafe { self.cell.word() }.is_done()
    }

    /// Returns the G's number.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (a, b) = (go(|| ()), go(|| ()));
    /// assert_ne!(a.id(), b.id());
    /// # });
    /// ```
    pub fn id(&self) -> u64 {
        self.g
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("g", &self.g).field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // SAFETY: 1. this is the handle's end, and nobody uses `self.cell` after it.
        if let Some(Err(error)) = unsafe { end(self.cell) } {
            report_unseen(error, self.g);
        }
    }
}

/// Ends the handle's side of a cell. Returns how the G has ended, if it has: the handle is the last
/// to hear of it. The result is dropped. If its destructor panics, the panic is reported, and the
/// caller goes on.
///
/// # Safety
/// 1. The caller is the handle, and ends.
unsafe fn end<T>(shared: CellRef<T>) -> Option<Outcome<()>> {
    // SAFETY: 1. the handle's side of the cell has not ended: this function ends it.
    if unsafe { shared.word() }.abandon() {
        return None;
    }
    // SAFETY: of `discard`: 1. the handle's side ends with `free`. 2. the word is DONE, and the
    // handle has not joined. Of `free`: 1. the outcome was taken, and the handle was there until
    // DONE, so the handle frees the cell.
    unsafe {
        let outcome = shared.discard(drop_caught_at);
        shared.free();
        Some(outcome)
    }
}

#[cfg(loom)]
pub mod model {
    //! Both sides of a cell without a G of the scheduler's, and waits with a deadline without a
    //! timer.

    use super::{CellRef, Completed, JoinHandle, Outcome};
    use crate::core::park::{current_g, ready};
    use crate::machine::guard::PreemptGuard;

    /// The side of the G that ends.
    pub struct Completer<T>(CellRef<T>);

    // SAFETY: the completer is one side of a cell, whose word passes the value to the other; the
    // value is sendable.
    unsafe impl<T: Send> Send for Completer<T> {}

    /// The two sides of a new cell.
    pub fn pair<T>() -> (Completer<T>, JoinHandle<T>) {
        let cell = CellRef::try_new().expect("there is memory");
        (Completer(cell), JoinHandle::new(cell, 7))
    }

    impl<T> Completer<T> {
        /// Ends the G, with `value`.
        pub fn complete(self, value: T) {
            let guard = PreemptGuard::new();
            // SAFETY: 1. this is the completer, which ends here.
            match unsafe {
                self.0.put(value);
                self.0.word().complete()
            } {
                Completed::Kept => {}
                Completed::Wake(joiner) => ready(&guard, joiner),
                // SAFETY: 1. and 2.: the handle abandoned the cell, so the completer takes the
                // outcome, once, and frees the cell.
                Completed::Unclaimed => unsafe {
                    drop(self.0.take());
                    self.0.free();
                },
            }
        }
    }

    /// Joins as `join_timeout`, until `is_over` returns true. The code that makes it true wakes the
    /// caller's token.
    pub fn join_until<T>(handle: JoinHandle<T>, is_over: impl Fn() -> bool) -> Result<Outcome<T>, JoinHandle<T>> {
        let g = current_g(&PreemptGuard::new());
        // SAFETY: 1. the handle's side ends with the handle.
        let word = unsafe { handle.cell.word() };
        if word.is_done() || word.wait_by_token(g, is_over) { Ok(handle.join()) } else { Err(handle) }
    }
}
