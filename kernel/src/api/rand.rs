//! Random numbers: the crate `rand`, and a generator for each goroutine.
//!
//! ```text
//!   seed=N, or the counter and the processor's generator ──▶ seed()
//!                                          ├──▶ each goroutine's generator, by its number ──▶ rng()
//!                                          └──▶ the seeds of maps' hashers
//! ```
//!
//! The traits are those of `rand_core`, so that other generators and other crates fit. None of this
//! is for keys and passwords: [`rngs::SmallRng`] can be predicted from its output.

use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering};

#[doc(no_inline)]
pub use rand::{CryptoRng, Fill, Rng, RngExt, SeedableRng, TryCryptoRng, TryRng, distr, rand_core, rngs, seq};

use rand::distr::uniform::{SampleRange, SampleUniform};
use rand::distr::{Distribution, StandardUniform};
use rand::rngs::SmallRng;
use trefoil_sched::goroutine_local;
use x86_64::instructions::random::RdRand;

use super::options;
use crate::arch::{clock, percpu};

/// The seed that was drawn for want of an option; 0: nothing yet.
static DRAWN: AtomicU64 = AtomicU64::new(0);

/// Returns the seed of this run: that of the option `seed=N`, or else a number that is drawn at the
/// first call. A later run with `seed=` and this number has the same generators in the same
/// goroutines.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # trefoil::main!(main);
/// # fn main() {
/// println!("to see this again: seed={}", trefoil::rand::seed());
/// # }
/// ```
pub fn seed() -> u64 {
    options::seed().unwrap_or_else(drawn)
}

#[cold]
fn drawn() -> u64 {
    let random = RdRand::new().and_then(RdRand::get_u64).unwrap_or(0);
    let drawn = (random ^ clock::ticks()).max(1);
    // The first one holds for all.
    DRAWN.compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|first| first, |_| drawn)
}

goroutine_local! {
    /// Makes the seeds of the generators that this goroutine asks for.
    static SEEDS: RefCell<SmallRng> = RefCell::new(first());
}

/// Returns the generator of the calling goroutine.
fn first() -> SmallRng {
    let goroutine = percpu::current_g().map_or(0, |g| g.id());
    SmallRng::seed_from_u64(SmallRng::seed_from_u64(seed()).next_u64() ^ goroutine)
}

/// Returns a generator that nobody else has. It may move to another goroutine.
///
/// Under `seed=N` a goroutine of the same number gets the same generators, in the same order. On
/// one core the numbers are the same in each run; on several they follow the order of the calls of
/// `go`.
///
/// # Panics
/// In the destructors of goroutine-local values, and outside any goroutine.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # trefoil::main!(main);
/// # fn main() {
/// use trefoil::rand::{self, RngExt, seq::SliceRandom};
///
/// let mut rng = rand::rng();
/// let mut cards: Vec<u32> = (0..52).collect();
/// cards.shuffle(&mut rng);
/// let share: f64 = rng.random(); // from 0 to 1
/// println!("{:?} {share}", &cards[..5]);
/// # }
/// ```
pub fn rng() -> SmallRng {
    SmallRng::seed_from_u64(SEEDS.with(|seeds| seeds.borrow_mut().next_u64()))
}

/// Returns a random value of type `T`: any integer, a number from 0 to 1, a `bool`, ….
///
/// # Panics
/// As [`rng`].
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # trefoil::main!(main);
/// # fn main() {
/// let heads: bool = trefoil::rand::random();
/// println!("{}", if heads { "heads" } else { "tails" });
/// # }
/// ```
pub fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    rng().random()
}

/// Returns a random value within `range`.
///
/// # Panics
/// If `range` is empty; and as [`rng`].
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # trefoil::main!(main);
/// # fn main() {
/// let dice = trefoil::rand::random_range(1..=6);
/// assert!((1..=6).contains(&dice));
/// # }
/// ```
#[track_caller]
pub fn random_range<T: SampleUniform, R: SampleRange<T>>(range: R) -> T {
    rng().random_range(range)
}

/// Returns `true` with the probability `p`.
///
/// # Panics
/// If `p` does not lie between 0 and 1; and as [`rng`].
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # trefoil::main!(main);
/// # fn main() {
/// assert!(!trefoil::rand::random_bool(0.0));
/// # }
/// ```
#[track_caller]
pub fn random_bool(p: f64) -> bool {
    rng().random_bool(p)
}
