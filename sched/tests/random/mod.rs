//! Random programs, for the faults that no list of cases finds. The checks hold of all of them.
//!
//! * `storm`: many G's, random operations on one channel; every value that was sent is received
//!   once, in order for each sender, or dropped; nothing is sent after the close.
//! * `history`: few G's, few operations, and a check that some order of them one after the other
//!   explains all that they returned.
//!
//! The same source runs on std threads (`hosted/tests/random.rs`) and on the machine
//! (`kernel/tests/random.rs`). Each round has a seed of its own, which is printed when the round
//! fails, and decides everything but who runs when.

use crate::api::*;

pub mod history;
pub mod locks;
pub mod queue;
pub mod selects;
pub mod storm;

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Another seed, another stream.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one. (SplitMix64.)
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// One of `all`.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// Another stream, that of a G.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// Often nothing; else lets others run.
    pub fn pause(&mut self) {
        match self.below(16) {
            0..4 => runtime::yield_now(),
            4 => time::sleep(Duration::from_micros(self.below(50))),
            _ => {}
        }
    }
}

/// Runs rounds of `one` until the time is over, each with a seed that follows from `seed`; returns
/// how many.
pub fn rounds(seed: u64, how_long: Duration, one: impl Fn(u64)) -> u64 {
    let (begin, mut seeds, mut n) = (Instant::now(), Random::new(seed), 0);
    while n == 0 || begin.elapsed() < how_long {
        one(seeds.next());
        n += 1;
    }
    n
}
