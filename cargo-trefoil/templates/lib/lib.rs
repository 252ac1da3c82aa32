//! A library for programs on Trefoil.
#![no_std]

use trefoil::prelude::*;

/// Adds the squares from 1 to `n`, a goroutine for each.
pub fn sum_of_squares(n: u64) -> u64 {
    let squares: Vec<_> = (1..=n).map(|n| go(move || n * n)).collect();
    squares.into_iter().map(|h| h.join().unwrap()).sum()
}
