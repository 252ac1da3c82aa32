//! Latencies: three histograms a P, in powers of two.
//!
//! | histogram | from | to | which |
//! |---|---|---|---|
//! | `ready` | the G can run: its deadline was seen, its interrupt came, or it was put into a slot | the G is dispatched | every sleeper and every G that an interrupt readies; of the others the first that waits in a slot whose alarm is off (so at most one each 50 µs) |
//! | `timer` | its deadline | a g0 takes it out of the heap | every timer |
//! | `preempt` | the end of the slice | the G is off the core | every slice that ends while others wait |
//!
//! No part of this is on a hot path. A G that is timed has a bit set in the byte that its dispatch
//! looks at anyway (doomed, pinned). So it takes the out-of-line way there. The clock is read only
//! where it was read before: where an alarm is set, in handlers, in the search for work. The G's
//! record keeps the time of readying, where the time of its park stood, in units of 64 ns. So a
//! wait of more than 4 minutes comes out too short.
//!
//! Rejected: timing every dispatch (two clock reads on a path of 119 instructions). Rejected:
//! timing every 61st dispatch (by then the time of readying is not known).

use core::time::Duration;

use crate::machine::counter::Counter;

/// Bucket 0 holds 0 ns, bucket n from 2^(n-1) to 2^n - 1 ns; the last one everything above 17 s.
pub const BUCKETS: usize = 36;

/// The latencies on one P. Written by its holder.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    pub(crate) ready: Histogram,
    pub(crate) timer: Histogram,
    pub(crate) preempt: Histogram,
}

/// Counts by magnitude.
#[derive(Debug)]
pub(crate) struct Histogram([Counter; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self(core::array::from_fn(|_| Counter::default()))
    }
}

fn bucket(ns: u64) -> usize {
    ((u64::BITS - ns.leading_zeros()) as usize).min(BUCKETS - 1)
}

impl Histogram {
    pub(crate) fn record(&self, ns: u64) {
        self.0[bucket(ns)].add(1);
    }

    pub(crate) fn snapshot(&self) -> Distribution {
        Distribution(core::array::from_fn(|i| self.0[i].get()))
    }
}

/// A distribution of times, by powers of two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Distribution([u64; BUCKETS]);

impl Default for Distribution {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Distribution {
    /// Returns how many there were.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the time that `per_cent` of them (of 100) took at most; exact to a factor of two,
    /// rounded up. Returns zero if there were none.
    ///
    /// # Panics
    /// If `per_cent` is above 100.
    pub fn percentile(&self, per_cent: u32) -> Duration {
        assert!(per_cent <= 100, "a percentile is at most 100, not {per_cent}");
        let wanted = (self.count() * u64::from(per_cent)).div_ceil(100).max(1);
        let mut seen = 0;
        for (i, &n) in self.0.iter().enumerate() {
            seen += n;
            if seen >= wanted {
                return Duration::from_nanos((1 << i) - 1);
            }
        }
        Duration::ZERO
    }

    /// Returns the longest, as [`percentile`](Self::percentile) has it.
    pub fn max(&self) -> Duration {
        self.percentile(100)
    }

    /// Yields the number of times in each bucket: bucket 0 holds 0 ns, bucket n from 2^(n-1) to
    /// 2^n - 1 ns.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.0.into_iter()
    }

    /// Yields the buckets that are not empty: the shortest and the longest time in each, and how
    /// many.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, Duration, u64)> {
        let bounds = |i: usize| (Duration::from_nanos((1 << i) >> 1), Duration::from_nanos((1 << i) - 1));
        self.0.iter().enumerate().filter(|(_, n)| **n > 0).map(move |(i, &n)| (bounds(i).0, bounds(i).1, n))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a += b);
    }

    /// Returns the additions since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i].saturating_sub(before.0[i])))
    }
}

impl core::fmt::Debug for Distribution {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{} (p50 {:?}, p99 {:?}, max {:?})",
            self.count(),
            self.percentile(50),
            self.percentile(99),
            self.max()
        )
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_found_within_a_factor_of_two() {
        let h = Histogram::default();
        (0..99).for_each(|_| h.record(1000));
        h.record(1_000_000);
        let d = h.snapshot();
        assert_eq!(d.count(), 100);
        assert_eq!((d.percentile(50), d.percentile(99)), (Duration::from_nanos(1023), Duration::from_nanos(1023)));
        assert_eq!(d.max(), Duration::from_nanos((1 << 20) - 1));
        assert_eq!(d.buckets().count(), 2);
        assert!(d.buckets().all(|(low, high, n)| low.as_nanos() <= 1_000_000 && high.as_nanos() >= 1000 && n > 0));
    }

    #[test]
    fn the_extremes_have_a_place() {
        let h = Histogram::default();
        assert_eq!(h.snapshot().max(), Duration::ZERO);
        h.record(0);
        h.record(u64::MAX);
        let d = h.snapshot();
        assert_eq!((d.count(), d.percentile(50)), (2, Duration::ZERO));
        assert_eq!(d.max(), Duration::from_nanos((1 << 35) - 1));
        assert_eq!(d.since(&d).count(), 0);
    }
}
