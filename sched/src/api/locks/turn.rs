//! Whose turn it is: a mutex without a value, which outlives the death of its owner.
//!
//! A lock of the program stays held when its owner dies, since the owner may have lent the value.
//! A turn guards no reference: it puts the users of something in order, whose state is elsewhere,
//! whole at every instruction. So nothing of a dead owner's is in use, and the next G takes over.
//!
//! A turn uses the mutex's word and list (`mutex/raw.rs`). The undertaker wakes the waiters of a
//! dead owner, and the first of them puts itself in the dead one's place; the others wait for that
//! one.

use core::marker::PhantomData;

use super::mutex::Raw;

/// A turn; nobody's at first.
pub struct Turn(Raw);

impl Turn {
    crate::const_unless_loom! {
        /// Makes a turn that is nobody's.
        pub fn new() -> Self {
            Self(Raw::new())
        }
    }

    /// Parks until it is the caller's turn. The turn of a G that has died counts as given back.
    pub fn take(&self) -> TurnGuard<'_> {
        self.0.succeed();
        TurnGuard { turn: self, _not_send: PhantomData }
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Turn {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Turn { .. }")
    }
}

/// The caller's turn, until it is dropped.
#[derive(Debug)]
#[must_use = "the turn is given back when its guard is dropped"]
pub struct TurnGuard<'a> {
    turn: &'a Turn,
    _not_send: PhantomData<*const ()>,
}

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        self.turn.0.unlock();
    }
}
