//! Counters without locked instructions.

use super::sync::{AtomicU64, Ordering};

/// A counter that one core writes and anyone reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`, by the one writer: a load and a store, no locked instruction.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one from a place that may interrupt the writer.
    pub fn add_shared(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
