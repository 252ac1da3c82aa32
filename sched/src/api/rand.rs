//! Random numbers: a generator for each goroutine, with the traits of `rand_core`.
//!
//! ```text
//!   the scheduler's seed (seed=N, or the counter at boot)
//!     ├──▶ each goroutine's generator, by its number ──▶ rng(), random(), random_range() …
//!     └──▶ the seeds of maps' hashers
//! ```
//!
//! Other generators and other crates fit, since the traits are the usual ones. None of this is for
//! keys and passwords: the numbers can be predicted from the output.
//!
//! Rejected: the crate `rand`. Cargo builds one copy of it for a whole program. If a test of the
//! program turns its feature `std` on, as `proptest` does, the kernel would depend on std.

use core::cell::RefCell;
use core::ops::{Bound, RangeBounds};

pub use rand_core::{self, CryptoRng, Rng, SeedableRng, TryRng};

use crate::core::m::M;
use crate::core::park::current_g;
use crate::machine::guard::PreemptGuard;

/// A small and fast generator: xoshiro256++, as `rand`'s of this name.
///
/// ```
/// use trefoil_sched::rand::{Rng, SeedableRng, SmallRng};
///
/// assert_eq!(SmallRng::seed_from_u64(5).next_u64(), SmallRng::seed_from_u64(5).next_u64());
/// ```
pub type SmallRng = rand_xoshiro::Xoshiro256PlusPlus;

/// The generator, by the path that the crate `rand` has.
pub mod rngs {
    pub use super::SmallRng;
}

/// Returns the seed of this run: that of the option `seed=N`, or else the clock's at boot. A later
/// run with `seed=` and this number has the same generators in the same goroutines.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// println!("to see this again: seed={}", rand::seed());
/// # });
/// ```
pub fn seed() -> u64 {
    let guard = PreemptGuard::new();
    M::current(&guard).sched().seed()
}

crate::goroutine_local! {
    /// Makes the seeds of the generators that this goroutine asks for.
    static SEEDS: RefCell<SmallRng> = RefCell::new(first());
}

fn first() -> SmallRng {
    let goroutine = current_g(&PreemptGuard::new()).id();
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
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use rand::RngExt;
///
/// let mut rng = rand::rng();
/// let mut cards: Vec<u32> = (0..52).collect();
/// rng.shuffle(&mut cards);
/// let share: f64 = rng.random(); // from 0 to 1
/// println!("{:?} {share}", &cards[..5]);
/// # });
/// ```
pub fn rng() -> SmallRng {
    SmallRng::seed_from_u64(SEEDS.with(|seeds| seeds.borrow_mut().next_u64()))
}

/// Returns a random value of type `T`: any integer, a number from 0 to 1 (1 excluded), or a `bool`.
///
/// # Panics
/// As [`rng`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let heads: bool = rand::random();
/// println!("{}", if heads { "heads" } else { "tails" });
/// # });
/// ```
pub fn random<T: Random>() -> T {
    rng().random()
}

/// Returns a random value within `range`.
///
/// # Panics
/// If `range` is empty; and as [`rng`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let dice = rand::random_range(1..=6);
/// assert!((1..=6).contains(&dice));
/// # });
/// ```
#[track_caller]
pub fn random_range<T: Uniform>(range: impl RangeBounds<T>) -> T {
    rng().random_range(range)
}

/// Returns `true` with the probability `p`.
///
/// # Panics
/// If `p` does not lie between 0 and 1; and as [`rng`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// assert!(!rand::random_bool(0.0));
/// # });
/// ```
#[track_caller]
pub fn random_bool(p: f64) -> bool {
    rng().random_bool(p)
}

/// Values drawn from any generator, by the names of the crate `rand`.
///
/// ```
/// use trefoil_sched::rand::{RngExt, SeedableRng, SmallRng};
///
/// let mut rng = SmallRng::seed_from_u64(1);
/// let mut list = [1, 2, 3, 4, 5, 6];
/// rng.shuffle(&mut list);
/// assert_eq!(list.iter().sum::<i32>(), 21);
/// assert!(rng.random_range(0.5..0.75) < 0.75);
/// assert!(list.contains(rng.choose(&list).unwrap()));
/// ```
pub trait RngExt: Rng {
    /// Returns a random value: see [`random`].
    ///
    /// ```
    /// # use trefoil_sched::rand::{RngExt, SeedableRng, SmallRng};
    /// assert!((0.0..1.0).contains(&SmallRng::seed_from_u64(1).random::<f64>()));
    /// ```
    fn random<T: Random>(&mut self) -> T {
        T::draw(self)
    }

    /// Returns a random value within `range`.
    ///
    /// # Panics
    /// If `range` is empty.
    ///
    /// ```
    /// # use trefoil_sched::rand::{RngExt, SeedableRng, SmallRng};
    /// assert!((-5..5).contains(&SmallRng::seed_from_u64(1).random_range(-5..5)));
    /// ```
    #[track_caller]
    fn random_range<T: Uniform>(&mut self, range: impl RangeBounds<T>) -> T {
        T::draw_within(self, range.start_bound(), range.end_bound())
    }

    /// Returns `true` with the probability `p`.
    ///
    /// # Panics
    /// If `p` does not lie between 0 and 1.
    ///
    /// ```
    /// # use trefoil_sched::rand::{RngExt, SeedableRng, SmallRng};
    /// assert!(SmallRng::seed_from_u64(1).random_bool(1.0));
    /// ```
    #[track_caller]
    fn random_bool(&mut self, p: f64) -> bool {
        assert!((0.0..=1.0).contains(&p), "random_bool: a probability lies between 0 and 1, not {p}");
        self.random::<f64>() < p
    }

    /// Brings the list into a random order.
    ///
    /// ```
    /// # use trefoil_sched::rand::{RngExt, SeedableRng, SmallRng};
    /// let mut list: Vec<u8> = (0..100).collect();
    /// SmallRng::seed_from_u64(1).shuffle(&mut list);
    /// assert!(!list.is_sorted());
    /// ```
    fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.random_range(0..=i));
        }
    }

    /// Returns one of the list, or `None` if the list is empty.
    ///
    /// ```
    /// # use trefoil_sched::rand::{RngExt, SeedableRng, SmallRng};
    /// assert_eq!(SmallRng::seed_from_u64(1).choose::<u8>(&[]), None);
    /// ```
    fn choose<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        (!list.is_empty()).then(|| &list[self.random_range(0..list.len())])
    }
}

impl<R: Rng + ?Sized> RngExt for R {}

/// Types with a usual distribution of random values: integers, floats from 0 to 1, `bool`.
///
/// ```
/// # use trefoil_sched::rand::{Random, SeedableRng, SmallRng};
/// let _: u8 = Random::draw(&mut SmallRng::seed_from_u64(1));
/// ```
pub trait Random {
    /// Draws a value.
    fn draw<R: Rng + ?Sized>(rng: &mut R) -> Self;
}

/// Types of which a range has equally likely values: integers and floats.
///
/// ```
/// # use trefoil_sched::rand::{SeedableRng, SmallRng, Uniform};
/// # use core::ops::Bound;
/// let n = u8::draw_within(&mut SmallRng::seed_from_u64(1), Bound::Included(&3), Bound::Included(&3));
/// assert_eq!(n, 3);
/// ```
pub trait Uniform: Sized {
    /// Draws a value within these bounds.
    ///
    /// # Panics
    /// If no value lies within them.
    #[track_caller]
    fn draw_within<R: Rng + ?Sized>(rng: &mut R, low: Bound<&Self>, high: Bound<&Self>) -> Self;
}

/// Draws a number below `n`, each equally likely; below 2^64 if `n` is 0.
fn below<R: Rng + ?Sized>(rng: &mut R, n: u64) -> u64 {
    if n == 0 {
        return rng.next_u64();
    }
    // Lemire: the high word of the product, without the few products that would be one too many.
    // The remainder is below `n`, and a division is dear: it is seldom computed.
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(n);
        let low = product as u64;
        if low >= n || low >= n.wrapping_neg() % n {
            return (product >> 64) as u64;
        }
    }
}

macro_rules! integers {
    ($($int:ident)*) => { $(
        impl Random for $int {
            fn draw<R: Rng + ?Sized>(rng: &mut R) -> Self {
                rng.next_u64() as $int
            }
        }

        impl Uniform for $int {
            #[track_caller]
            fn draw_within<R: Rng + ?Sized>(rng: &mut R, low: Bound<&Self>, high: Bound<&Self>) -> Self {
                let low = match low {
                    Bound::Included(&low) => Some(low),
                    Bound::Excluded(&low) => low.checked_add(1),
                    Bound::Unbounded => Some($int::MIN),
                };
                let high = match high {
                    Bound::Included(&high) => Some(high),
                    Bound::Excluded(&high) => high.checked_sub(1),
                    Bound::Unbounded => Some($int::MAX),
                };
                match (low, high) {
                    (Some(low), Some(high)) if low <= high => {
                        let span = (high.wrapping_sub(low) as u64) & (u64::MAX >> (64 - $int::BITS));
                        low.wrapping_add(below(rng, span.wrapping_add(1)) as $int)
                    }
                    _ => panic!("random_range: the range is empty"),
                }
            }
        }
    )* };
}

integers! { u8 u16 u32 u64 usize i8 i16 i32 i64 isize }

macro_rules! floats {
    ($($float:ident $bits:literal)*) => { $(
        impl Random for $float {
            fn draw<R: Rng + ?Sized>(rng: &mut R) -> Self {
                (rng.next_u64() >> (64 - $bits)) as $float / (1u64 << $bits) as $float
            }
        }

        impl Uniform for $float {
            #[track_caller]
            fn draw_within<R: Rng + ?Sized>(rng: &mut R, low: Bound<&Self>, high: Bound<&Self>) -> Self {
                let (Bound::Included(&low), Bound::Included(&high) | Bound::Excluded(&high)) = (low, high) else {
                    panic!("random_range: a range of floats has two bounds")
                };
                assert!(low < high && (high - low).is_finite(), "random_range: the range is empty or infinite");
                // The sum may be rounded to the upper bound.
                (low + (high - low) * $float::draw(rng)).min(high.next_down())
            }
        }
    )* };
}

floats! { f32 24 f64 53 }

impl Random for bool {
    fn draw<R: Rng + ?Sized>(rng: &mut R) -> Self {
        rng.next_u64() >> 63 == 1
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_range_has_all_its_values_and_no_others() {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut seen: Vec<i8> = (0..2000).map(|_| rng.random_range(-3..=3)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [-3, -2, -1, 0, 1, 2, 3]);
        assert_eq!(rng.random_range(7..8), 7);
        let _: (u64, i64, u8) = (rng.random_range(..), rng.random_range(..), rng.random_range(250..));
        assert!((0..1000).all(|_| (0.1..0.2).contains(&rng.random_range(0.1..0.2))));
    }

    #[test]
    fn values_are_equally_likely() {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut faces = [0; 6];
        (0..60_000).for_each(|_| faces[rng.random_range(0..6)] += 1);
        assert!(faces.iter().all(|n| (9_500..10_500).contains(n)), "{faces:?}");
        let heads = (0..10_000).filter(|_| rng.random_bool(0.25)).count();
        assert!((2_300..2_700).contains(&heads), "{heads}");
    }

    #[test]
    fn a_range_that_divides_no_power_of_two_is_even_as_well() {
        // Two thirds of 2^64: of the small high words of products, two thirds would be odd.
        let (mut rng, limit) = (SmallRng::seed_from_u64(3), u64::MAX / 3 * 2);
        let small: Vec<u64> = (0..80_000).map(|_| rng.random_range(0..limit)).filter(|n| *n < limit / 8).collect();
        let even = small.iter().filter(|n| n.is_multiple_of(2)).count();
        assert!((45..55).contains(&(even * 100 / small.len())), "{even} of {} are even", small.len());
    }

    #[test]
    #[should_panic(expected = "the range is empty")]
    fn an_empty_range_is_refused() {
        SmallRng::seed_from_u64(3).random_range(5..5);
    }
}
