//! The message of a G's wakers: "look once more". `api/task.rs` says how it is used.

use crate::machine::sync::{AtomicU8, Ordering};

const NONE: u8 = 0;
const WOKEN: u8 = 1;
const PARKED: u8 = 2;

/// The token.
#[derive(Debug)]
pub(crate) struct Token(AtomicU8);

impl Token {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(NONE))
    }

    /// Takes the token. Called by the G, which polls next.
    pub(crate) fn take(&self) {
        // Acquire: pairs with the Release in `wake`, so the poll sees the waker's earlier writes.
        self.0.swap(NONE, Ordering::Acquire);
    }

    /// Parks the token, in `commit`. False: there is a token.
    pub(crate) fn park(&self) -> bool {
        // Release: pairs with the Acquire in `wake`: the waker sees the saved registers. On failure
        // the next `take` acquires.
        self.0.compare_exchange(NONE, PARKED, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Leaves a token. True: its G is parked, and the caller readies it.
    pub(crate) fn wake(&self) -> bool {
        // AcqRel: Release pairs with the Acquire in `take`, Acquire with the Release in `park`.
        self.0.swap(WOKEN, Ordering::AcqRel) == PARKED
    }
}
