//! Traces of a few records, made by hand.

use cargo_trefoil::trace::{Meta, Ring, Trace};
use trefoil_trace::{Kind, Place, Record, Why};

/// A trace that grows.
#[derive(Debug, Default)]
pub struct Made {
    rings: Vec<Vec<Record>>,
    m: usize,
}

impl Made {
    /// Begins the records of the next M, which holds the P of the same number.
    pub fn m(mut self) -> Self {
        self.rings.push(Vec::new());
        self.m = self.rings.len() - 1;
        let p = self.m as u64;
        self.add(0, Kind::Begin, 0, Place::Nowhere, 0, [0, 0]).add(p + 1, Kind::Hold, 0, Place::Nowhere, 0, [0, 0])
    }

    /// Goes back to the records of an M.
    pub fn on(mut self, m: usize) -> Self {
        self.m = m;
        self
    }

    /// Adds a record.
    pub fn add(mut self, at: u64, kind: Kind, how: u8, place: Place, n: u32, [a, b]: [u64; 2]) -> Self {
        let word = Record::word(kind, self.m as u8, how, place, n);
        self.rings[self.m].push(Record::from_words([at, word, a, b]));
        self
    }

    /// Adds a record with nothing but an argument.
    pub fn note(self, at: u64, kind: Kind, how: u8, a: u64) -> Self {
        self.add(at, kind, how, Place::Nowhere, 0, [a, 0])
    }

    /// Adds a switch from `a` to `b`.
    pub fn switch(self, at: u64, why: Why, a: u64, b: u64) -> Self {
        self.add(at, Kind::Switch, why.0, Place::Ring, 0, [a, b])
    }

    /// Adds the creation of a goroutine with this name.
    pub fn create(self, at: u64, g: u64, name: &str) -> Self {
        self.add(at, Kind::Create, 0, Place::Ring, 0, [g, 0]).text(at, name)
    }

    /// Adds a text of at most 16 bytes.
    pub fn text(self, at: u64, text: &str) -> Self {
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let [a, b] = [0, 8].map(|half| u64::from_le_bytes(bytes[half..half + 8].try_into().unwrap()));
        self.add(at, Kind::Text, text.len() as u8, Place::Nowhere, 0, [a, b])
    }

    /// Returns the trace.
    pub fn trace(self) -> Trace {
        let reasons = [(2, "chan receive".to_string())].into();
        let ring = |(m, records)| Ring { m: m as u32, first: 0, records };
        let rings = self.rings.into_iter().enumerate().map(ring).collect();
        Trace { meta: Meta { reasons, ..Meta::default() }, rings, ..Trace::default() }
    }
}
