//! Ways to use a stack, for the images that test what becomes of it.

use core::hint::black_box;

use trefoil::prelude::*;

pub const KIB: usize = 1 << 10;

/// Uses about `bytes` of stack, writes a pattern to all of it and checks it on the way back.
#[inline(never)]
pub fn deep(bytes: usize, seed: u64) -> u64 {
    let mut block = [0u64; 64];
    black_box(&mut block).iter_mut().enumerate().for_each(|(i, word)| *word = seed ^ i as u64);
    // A frame is a little more than its block.
    let below = if bytes > 600 { deep(bytes - 600, seed + 1) } else { 0 };
    let block = black_box(&block);
    below + block.iter().enumerate().filter(|&(i, &word)| word != seed ^ i as u64).count() as u64
}

/// Waits until `done()`, letting others run.
pub fn until(done: impl Fn() -> bool) {
    while !done() {
        runtime::yield_now();
    }
}
