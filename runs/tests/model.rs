//! The kernel's free runs against a simple model: a bit for each unit. A list that differs from the
//! model breaks INV-JOINED; a unit that is taken for the edge of a run breaks INV-EDGE.

use trefoil_runs::{Ground, Runs, Word};

/// Units beside each other, in areas of `AREA` with a unit between two that is never free.
struct Table {
    words: Vec<[u32; 4]>,
    edges: Vec<bool>,
    area: u32,
}

impl Table {
    /// Makes a table whose edge bits begin as garbage, but for those beside an area.
    fn new(units: u32, area: u32) -> Self {
        Self { words: vec![[0xdead_beef; 4]; units as usize], edges: (0..units).map(|u| u % 3 == 0).collect(), area }
    }
}

impl Ground for Table {
    fn load(&self, unit: u32, word: Word) -> u32 {
        self.words[unit as usize][word as usize]
    }
    fn store(&mut self, unit: u32, word: Word, value: u32) {
        self.words[unit as usize][word as usize] = value;
    }
    fn is_edge(&self, unit: u32) -> bool {
        !unit.is_multiple_of(self.area) && self.edges[unit as usize]
    }
    fn set_edge(&mut self, unit: u32, edge: bool) {
        self.edges[unit as usize] = edge;
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % u64::from(n)) as u32
    }
}

/// The structure, the model, and the pieces that are out.
struct Pair<const ROWS: usize> {
    runs: Runs<Table, ROWS>,
    free: Vec<bool>,
    out: Vec<(u32, u32)>,
}

impl<const ROWS: usize> Pair<ROWS> {
    fn new(areas: u32, area: u32) -> Self {
        let units = areas * area + 1;
        let mut pair =
            Self { runs: Runs::new(Table::new(units, area)), free: vec![false; units as usize], out: Vec::new() };
        for at in 0..areas {
            // Units that were never handed out come in as if they came back.
            pair.runs.ground().clear_edges(at * area + 1, area - 1);
            pair.runs.give(at * area + 1, area - 1);
            (at * area + 1..(at + 1) * area).for_each(|unit| pair.free[unit as usize] = true);
        }
        pair
    }

    fn mark(&mut self, first: u32, len: u32, free: bool) {
        for unit in first..first + len {
            assert_ne!(self.free[unit as usize], free, "unit {unit}, of {first}+{len}");
            self.free[unit as usize] = free;
        }
    }

    /// Returns the model's runs.
    fn model(&self) -> Vec<(u32, u32)> {
        let mut runs = Vec::new();
        let mut first = 0;
        while first < self.free.len() {
            let len = self.free[first..].iter().take_while(|&&free| free).count();
            if len > 0 {
                runs.push((first as u32, len as u32));
            }
            first += len + 1;
        }
        runs
    }

    fn assert_same(&self) {
        let missing = self.model().into_iter().find(|&(first, len)| !self.runs.is_run(first, len));
        assert_eq!(missing, None, "a run of the model is none");
    }

    /// Asserts that taking run by run finds all free units.
    fn assert_found(&mut self) {
        let mut found = Vec::new();
        while let Some(run) = self.runs.take_some(u32::MAX) {
            found.push(run);
        }
        found.sort_unstable();
        assert_eq!(found, self.model(), "the lists have other runs than the model");
        found.into_iter().for_each(|(first, len)| _ = self.runs.give(first, len));
    }

    fn take(&mut self, len: u32, align: u32) {
        let fits = |&(first, whole): &(u32, u32)| first.next_multiple_of(align) + len <= first + whole;
        match self.runs.take(len, align) {
            Some(first) => {
                assert!(first.is_multiple_of(align));
                self.mark(first, len, false);
                self.out.push((first, len));
            }
            // A few runs of a list are looked at, not all: then the model may know one that fits.
            None => assert!(self.model().iter().filter(|run| fits(run)).count() == 0 || self.model().len() > 16),
        }
    }

    fn give(&mut self, at: u32) {
        let (first, len) = self.out.swap_remove(at as usize);
        self.mark(first, len, true);
        let run = self.runs.give(first, len);
        assert!(self.model().contains(&run), "{run:?} is no run of the model");
    }

    fn step(&mut self, random: &mut Random, longest: u32) {
        let what = random.below(100);
        let some = (!self.out.is_empty()).then(|| random.below(self.out.len().max(1) as u32));
        match (what, some) {
            (0..40, _) | (_, None) => {
                let len = 1 + random.below(longest) / (1 + random.below(longest));
                self.take(len, 1 << (random.below(6) / (1 + random.below(4))));
            }
            (40..50, _) => {
                if let Some((first, len)) = self.runs.take_some(1 + random.below(40)) {
                    self.mark(first, len, false);
                    // Each unit is a piece of its own.
                    self.out.extend((first..first + len).map(|unit| (unit, 1)));
                } else {
                    assert!(self.model().is_empty());
                }
            }
            (50..85, Some(at)) => self.give(at),
            (85..93, Some(at)) => {
                let ((first, len), more) = (self.out[at as usize], 1 + random.below(8));
                let behind = self.free[(first + len) as usize..].iter().take_while(|&&free| free).count() as u32;
                let grew = self.runs.grow(first, len, more);
                assert_eq!(grew, behind >= more, "{first}+{len} by {more}, with {behind} units behind it");
                if grew {
                    self.mark(first + len, more, false);
                    self.out[at as usize].1 += more;
                }
            }
            (_, Some(at)) => {
                let (first, len) = self.out[at as usize];
                if len > 1 {
                    let keep = 1 + random.below(len - 1);
                    self.mark(first + keep, len - keep, true);
                    self.runs.shrink(first, len, keep);
                    self.out[at as usize].1 = keep;
                }
            }
        }
    }
}

fn compare<const ROWS: usize>(areas: u32, area: u32, longest: u32, steps: u32) {
    for seed in 1..=20 {
        let (mut pair, mut random) =
            (Pair::<ROWS>::new(areas, area), Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)));
        for step in 0..steps {
            pair.step(&mut random, longest);
            if step % 16 == 0 {
                pair.assert_same();
            }
            if step % 256 == 0 {
                pair.assert_found();
            }
        }
        while !pair.out.is_empty() {
            let at = random.below(pair.out.len() as u32);
            pair.give(at);
        }
        // One run an area again: nothing is lost, and neighbours have joined.
        assert_eq!(pair.model().len(), areas as usize, "seed {seed}");
        pair.assert_same();
        if areas == 1 {
            assert!(pair.runs.is_run(1, area - 1));
            pair.runs.take_run(1, area - 1);
            assert_eq!(pair.runs.take(1, 1), None);
        }
    }
}

#[test]
fn runs_are_those_of_the_model() {
    compare::<12>(1, 5000, 600, 4000);
}

#[test]
fn runs_do_not_join_across_areas() {
    compare::<7>(20, 256, 255, 4000);
}

#[test]
fn a_piece_of_most_of_memory_is_found() {
    // The good fit rounds up beyond what there is.
    let mut pair = Pair::<16>::new(1, 100_000);
    for len in [99_999, 99_998, 90_113, 65_537, 60_000] {
        assert_eq!(pair.runs.take(len, 1), Some(1), "{len} of 99,999 units");
        pair.runs.give(1, len);
        assert_eq!(pair.runs.take(len.min(90_000), 64), Some(64), "{len} of 99,999 units, aligned");
        pair.runs.give(64, len.min(90_000));
    }
    assert_eq!(pair.runs.take(100_000, 1), None);
    assert_eq!(pair.runs.take(u32::MAX, 1), None);
    assert_eq!(pair.runs.take(99_999, 1 << 31), None);
    pair.assert_same();
    pair.assert_found();
}
