//! The word on which a resting M waits.

use super::sync::{AtomicU32, Ordering};

/// A resting M's own word: set once by the core that claimed its bit.
#[derive(Debug)]
pub struct Token(AtomicU32);

impl Token {
    crate::const_unless_loom! {
        /// Not set.
        pub fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    /// Sets it. Only by the core that claimed the M's bit.
    pub fn set(&self) {
        // Release: pairs with the Acquire in `take`.
        self.0.store(1, Ordering::Release);
    }

    /// Returns true if it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Takes it. Only by the M itself.
    pub fn take(&self) -> bool {
        if !self.is_set() {
            return false;
        }
        // Relaxed: between the claim of our bit and our next rest nobody else writes it.
        self.0.store(0, Ordering::Relaxed);
        true
    }
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}
