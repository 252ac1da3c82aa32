//! The order in which a thief visits its victims: a random start and a random stride coprime to the
//! number of P's. So a thief visits every P once, and no two thieves queue up behind the same
//! victim.

use core::cell::Cell;

/// A small generator (xorshift64*), one a P, seeded from `seed=`: every choice of the scheduler
/// comes from here.
#[derive(Debug)]
pub(crate) struct Rng(Cell<u64>);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero is the one state the generator cannot leave.
        Self(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    pub(crate) fn next(&self) -> u32 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Yields every number below `n` once, in an order chosen by `rng`.
pub(crate) fn victims(n: usize, rng: &Rng) -> impl Iterator<Item = usize> {
    let start = rng.next() as usize % n;
    // The strides coprime to n start at 1, so this ends at once for n = 1 and 2 and after a few
    // steps for all n ≤ 64.
    let mut stride = rng.next() as usize % n;
    while gcd(stride, n) != 1 {
        stride = if stride + 1 >= n { 1 } else { stride + 1 };
    }
    let mut at = start;
    (0..n).map(move |_| {
        let here = at;
        at = (at + stride) % n;
        here
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_victim_is_visited_once() {
        let rng = Rng::new(7);
        for n in 1..=64 {
            for _ in 0..50 {
                let seen = victims(n, &rng).fold(0u64, |set, v| {
                    assert_eq!(set >> v & 1, 0, "visited twice");
                    set | 1 << v
                });
                assert_eq!(seen.count_ones() as usize, n);
            }
        }
    }

    #[test]
    fn starts_are_spread() {
        let rng = Rng::new(1);
        let mut hits = [0u32; 8];
        for _ in 0..8000 {
            hits[victims(8, &rng).next().unwrap()] += 1;
        }
        assert!(hits.iter().all(|&h| (800..1200).contains(&h)), "{hits:?}");
    }
}
