//! The word of a cell, which decides everything between a G and its joiner; the picture is in
//! `join.rs`.

use core::task::Poll;
use core::time::Duration;

use crate::api::time::{Instant, Timer};
use crate::core::park::park;
use crate::g::{G, GRef, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::sync::{AtomicUsize, Ordering};

pub(super) const EMPTY: usize = 0;
const DONE: usize = 1;
const ABANDONED: usize = 2;
/// Beside a G: that G waits with a deadline, and is woken by its token (`api/task.rs`), which may
/// come late.
const BY_TOKEN: usize = 4;
const _: () = assert!(align_of::<G>() > BY_TOKEN);

/// The word of a cell: the waiter, and how far the two sides are.
#[derive(Debug)]
pub struct JoinWord(pub(super) AtomicUsize);

/// The duty that [`JoinWord::complete`] leaves to its caller.
#[derive(Debug)]
#[must_use]
pub enum Completed {
    /// The handle will find it.
    Kept,
    /// Ready this G, which waits for the result.
    Wake(GRef),
    /// Nobody will ever ask: the caller takes the result back.
    Unclaimed,
}

impl JoinWord {
    /// Marks the result as stored. Once.
    ///
    /// # Safety
    /// 1. The completer has put it into the cell of this word.
    #[inline(always)]
    pub unsafe fn complete(&self) -> Completed {
        // AcqRel: Release publishes the value to the Acquire of `is_done` and `register`; Acquire
        // pairs with the Release of `register`, so that the waiter's saved registers are seen.
        match self.0.swap(DONE, Ordering::AcqRel) {
            EMPTY => Completed::Kept,
            ABANDONED => Completed::Unclaimed,
            g if g & BY_TOKEN != 0 => {
                // SAFETY: it was stored by `register_token` from a `GRef`.
                let g = unsafe { &*((g & !BY_TOKEN) as *const G) };
                if g.token.wake() { Completed::Wake(g) } else { Completed::Kept }
            }
            // SAFETY: every other value was stored by `register` from a `GRef`.
            g => Completed::Wake(unsafe { &*(g as *const G) }),
        }
    }

    /// Leaves the token of `g` to be woken, which does no harm if it comes late. False if the
    /// result is there already.
    #[must_use]
    pub fn register_token(&self, g: GRef) -> bool {
        let g = core::ptr::from_ref(g) as usize | BY_TOKEN;
        // AcqRel: as in `register`. Again by the same G: nothing changes.
        match self.0.compare_exchange(EMPTY, g, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(was) => was == g,
        }
    }

    /// Takes the token back; false if the result is there.
    #[must_use]
    pub fn unregister_token(&self, g: GRef) -> bool {
        let g = core::ptr::from_ref(g) as usize | BY_TOKEN;
        // Acquire on failure: the result is taken next.
        self.0.compare_exchange(g, EMPTY, Ordering::Relaxed, Ordering::Acquire).is_ok()
    }

    /// Parks until the result is there (true), or `d` has passed.
    pub(super) fn wait_for(&self, d: Duration) -> bool {
        let g = {
            let guard = PreemptGuard::new();
            crate::core::park::current_g(&guard)
        };
        let deadline = Instant::now() + d;
        let waker = crate::api::task::waker_of(g);
        let timer = Timer::after_func(d, move || waker.wake_by_ref());
        let done = self.wait_by_token(g, || Instant::now() >= deadline);
        timer.stop();
        done
    }

    /// Parks `g`, the caller, until the result is there (true), or the wait `is_over`, of which the
    /// token of `g` tells.
    pub(super) fn wait_by_token(&self, g: GRef, is_over: impl Fn() -> bool) -> bool {
        crate::api::task::block_on(core::future::poll_fn(|_| {
            if !self.register_token(g) {
                return Poll::Ready(true);
            }
            if is_over() { Poll::Ready(!self.unregister_token(g)) } else { Poll::Pending }
        }))
    }

    /// Leaves `g` as the G to wake; false if the result is there already. `g` must be saved by now.
    #[must_use]
    pub fn register(&self, g: GRef) -> bool {
        // AcqRel: Release pairs with the Acquire of `complete`; on failure Acquire pairs with its
        // Release.
        let g = core::ptr::from_ref(g) as usize;
        self.0.compare_exchange(EMPTY, g, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Returns true if the result is there.
    #[inline]
    pub fn is_done(&self) -> bool {
        // Acquire: pairs with the Release of `complete`.
        self.0.load(Ordering::Acquire) == DONE
    }

    /// Abandons the result. True if the result is not there yet: then the completer takes it back.
    #[must_use]
    #[inline]
    pub fn abandon(&self) -> bool {
        // Acquire on failure: the value is taken next.
        self.0.compare_exchange(EMPTY, ABANDONED, Ordering::Relaxed, Ordering::Acquire).is_ok()
    }

    /// Parks until the result is there.
    ///
    /// # Safety
    /// 1. The caller is the handle's side of the cell, which only it frees.
    pub(super) unsafe fn wait(&self) {
        let guard = PreemptGuard::new();
        let arg = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: 1. a registered waiter is readied by `complete`, once; an unregistered one
        // returns false. 2. the cell is ours to free.
        drop(unsafe { park(guard, WaitReason::Join, commit_join, arg) });
    }
}

unsafe fn commit_join(word: *mut (), g: GRef) -> bool {
    // SAFETY: `wait` passed its word, and the cell lives until the handle is resumed.
    unsafe { &*word.cast::<JoinWord>() }.register(g)
}
