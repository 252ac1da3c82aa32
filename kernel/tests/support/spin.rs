//! Goroutines that never give their core away.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Spins in a loop without a call until `stop` is set. Returns how often the loop went round.
pub fn spin(stop: &AtomicBool) -> u64 {
    let mut turns = 0;
    while !stop.load(Relaxed) {
        turns += 1;
        black_box(turns);
    }
    turns
}
