//! The frames of a G that was ended where it stood, and the duty to give them up.
//!
//! Two things must have happened. The G's core has left its stack ([`left`](Grave::left), in
//! `after_exit`). And the members of all groups that the G had open have left them, since they may
//! borrow from its frames ([`unlent`](Grave::unlent), by the last of those). Either may come first,
//! on any core. Each is one read-modify-write on this word; the second one is told so, and gives
//! the frames up.

use crate::machine::sync::{AtomicU8, Ordering};

const LEFT: u8 = 1;
const UNLENT: u8 = 2;

/// The word.
#[derive(Debug)]
pub struct Grave(AtomicU8);

impl Grave {
    /// Of a G that has never run.
    pub fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// The frames are given up: the next life may begin. By whoever was told to do so.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn add(&self, mine: u8) -> bool {
        // AcqRel: Release publishes what came before to the second one's Acquire: the last use of
        // the frames, or that nobody runs there.
        self.0.fetch_or(mine, Ordering::AcqRel) == (LEFT | UNLENT) & !mine
    }

    /// Nobody runs on its stack any more. True: the caller gives the frames up. Once.
    #[must_use]
    pub fn left(&self) -> bool {
        self.add(LEFT)
    }

    /// Nobody borrows from its frames any more. True: the caller gives the frames up. Once.
    #[must_use]
    pub fn unlent(&self) -> bool {
        self.add(UNLENT)
    }
}

impl Default for Grave {
    fn default() -> Self {
        Self::new()
    }
}
