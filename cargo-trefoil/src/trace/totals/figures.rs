//! Times, and the figures that describe them.

/// Times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures(Vec<u64>);

impl Figures {
    /// Adds a time.
    pub(super) fn add(&mut self, ns: u64) {
        self.0.push(ns);
    }

    /// Puts the times in order. Before any quantile is asked for.
    pub(super) fn sort(&mut self) {
        self.0.sort_unstable();
    }

    /// Returns how many there are.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Returns their sum.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, &ns| sum.saturating_add(ns))
    }

    /// Returns the shortest; 0 if there is none.
    pub fn min(&self) -> u64 {
        self.0.first().copied().unwrap_or(0)
    }

    /// Returns the longest; 0 if there is none.
    pub fn max(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    /// Returns the mean, rounded down; 0 if there is none.
    pub fn mean(&self) -> u64 {
        self.total() / self.count().max(1)
    }

    /// Returns the time that `per_mille` of them do not exceed: the nearest rank.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let rank = (self.count() * per_mille).div_ceil(1000).max(1);
        self.0.get(rank as usize - 1).copied().unwrap_or(0)
    }

    /// Counts the times by powers of two: bucket `i` has those from 2^(i−1) to 2^i − 1.
    pub fn buckets(&self) -> Vec<u64> {
        let mut buckets = Vec::new();
        for ns in &self.0 {
            let bucket = (u64::BITS - ns.leading_zeros()) as usize;
            buckets.resize(buckets.len().max(bucket + 1), 0);
            buckets[bucket] += 1;
        }
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_times() {
        let figures = Figures((1..=100).collect());
        let quantiles = [500, 900, 990, 999, 1000].map(|per_mille| figures.quantile(per_mille));
        assert_eq!(quantiles, [50, 90, 99, 100, 100]);
        assert_eq!((figures.min(), figures.mean(), figures.max(), figures.total()), (1, 50, 100, 5050));
        let none = Figures::default();
        assert_eq!((none.min(), none.mean(), none.max(), none.quantile(990)), (0, 0, 0, 0));
    }

    #[test]
    fn buckets_are_powers_of_two() {
        assert_eq!(Figures(vec![0, 1, 2, 3, 4, 1023, 1024]).buckets(), [1, 1, 2, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
