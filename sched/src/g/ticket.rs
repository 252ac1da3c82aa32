//! The word that decides between the events which may end a wait of its G. `wait/ticket.rs` has the
//! picture and the rules.

use core::num::NonZeroU64;

use crate::machine::sync::{AtomicU64, Ordering};

/// The number of one wait of one G: odd, and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(NonZeroU64);

/// The word.
#[derive(Debug)]
pub(crate) struct Ticket(AtomicU64);

impl Ticket {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Begins a wait. By the G itself.
    pub(crate) fn open(&self) -> Number {
        let number = self.0.load(Ordering::Relaxed) | 1;
        self.0.store(number, Ordering::Relaxed);
        Number(NonZeroU64::MIN | number)
    }

    /// Ends the wait with this number. False: something else has ended it.
    #[must_use]
    pub(crate) fn win(&self, number: Number) -> bool {
        let number = number.0.get();
        self.0.compare_exchange(number, number + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The number of the wait that is open; a guess, unless the G is known not to begin another.
    pub(crate) fn current(&self) -> Option<Number> {
        let number = self.0.load(Ordering::Relaxed);
        (number & 1 == 1).then(|| Number(NonZeroU64::MIN | number))
    }

    /// Returns true if nothing has ended it yet; a guess.
    pub(crate) fn is_open(&self, number: Number) -> bool {
        self.0.load(Ordering::Relaxed) == number.0.get()
    }
}
