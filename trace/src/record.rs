//! One record, and one row of the table of goroutines.

use crate::kind::{Kind, Place};

/// The bytes of a [`Record`].
pub const RECORD_BYTES: usize = 32;

/// The bytes of a [`Row`].
pub const ROW_BYTES: usize = 64;

/// One decision of an M; the crate's documentation draws it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// The time-stamp counter.
    pub at: u64,
    /// The number of its [`Kind`].
    pub kind: u8,
    /// The P that the M held; [`Record::NO_P`]: none.
    pub p: u8,
    /// The kind's own small number.
    pub how: u8,
    /// A [`Place`], if `kind` says so.
    pub place: u8,
    /// The kind's own number.
    pub n: u32,
    /// The kind's first argument, mostly the number of a goroutine.
    pub a: u64,
    /// The kind's second argument.
    pub b: u64,
}

impl Record {
    /// In `p`: the M held none.
    pub const NO_P: u8 = 0xff;

    /// Packs the parts of word 1.
    #[inline(always)]
    pub const fn word(kind: Kind, p: u8, how: u8, place: Place, n: u32) -> u64 {
        kind as u64 | (p as u64) << 8 | (how as u64) << 16 | (place as u64) << 24 | (n as u64) << 32
    }

    /// Reads a record from its four words.
    pub const fn from_words(words: [u64; 4]) -> Self {
        let [at, word, a, b] = words;
        Self {
            at,
            kind: word as u8,
            p: (word >> 8) as u8,
            how: (word >> 16) as u8,
            place: (word >> 24) as u8,
            n: (word >> 32) as u32,
            a,
            b,
        }
    }

    /// Returns the four words.
    pub const fn to_words(self) -> [u64; 4] {
        let word = self.kind as u64
            | (self.p as u64) << 8
            | (self.how as u64) << 16
            | (self.place as u64) << 24
            | (self.n as u64) << 32;
        [self.at, word, self.a, self.b]
    }

    /// Reads a record from its bytes.
    pub fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Self {
        Self::from_words(core::array::from_fn(|i| u64::from_le_bytes(core::array::from_fn(|byte| bytes[8 * i + byte]))))
    }

    /// Returns the bytes.
    pub fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let words = self.to_words();
        core::array::from_fn(|i| words[i / 8].to_le_bytes()[i % 8])
    }

    /// Returns the kind, if this version knows it.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_u8(self.kind)
    }

    /// Returns the place, if this version knows it.
    pub fn place(&self) -> Option<Place> {
        Place::from_u8(self.place)
    }

    /// Returns the P that the M held.
    pub fn p(&self) -> Option<usize> {
        (self.p != Self::NO_P).then_some(usize::from(self.p))
    }

    /// Returns the bytes of a [`Kind::Text`].
    pub fn text(&self) -> ([u8; 16], usize) {
        let words = [self.a.to_le_bytes(), self.b.to_le_bytes()];
        (core::array::from_fn(|i| words[i / 8][i % 8]), usize::from(self.how).min(16))
    }

    /// Returns the lower halves of the addresses of a [`Kind::Stack`], innermost first.
    pub fn addresses(&self) -> impl Iterator<Item = u32> {
        let all = [self.a as u32, (self.a >> 32) as u32, self.b as u32, (self.b >> 32) as u32];
        all.into_iter().take(usize::from(self.how))
    }
}

/// A goroutine that lives when the trace is dumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Row {
    /// Its number.
    pub id: u64,
    /// Its state: 1 runnable, 2 running, 4 waiting.
    pub state: u8,
    /// If it waits: why, a value of [`Why`](crate::Why).
    pub why: u8,
    /// The lower half of the address of the object that it waits for.
    pub object: u32,
    /// The lower half of the address of its function.
    pub entry: u32,
    /// The lower half of the address of the place that created it (a `core::panic::Location`).
    pub created_at: u32,
    /// The bytes of its stack that memory backs.
    pub stack: u32,
    /// Its name, padded with zeros.
    pub name: [u8; 32],
}

impl Row {
    /// Reads a row from its bytes.
    pub fn from_bytes(bytes: &[u8; ROW_BYTES]) -> Self {
        let word = |at: usize| u32::from_le_bytes(core::array::from_fn(|i| bytes[at + i]));
        Self {
            id: u64::from_le_bytes(core::array::from_fn(|i| bytes[i])),
            state: bytes[8],
            why: bytes[9],
            object: word(12),
            entry: word(16),
            created_at: word(20),
            stack: word(24),
            name: core::array::from_fn(|i| bytes[32 + i]),
        }
    }

    /// Returns the bytes.
    pub fn to_bytes(self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8] = self.state;
        bytes[9] = self.why;
        for (at, word) in [(12, self.object), (16, self.entry), (20, self.created_at), (24, self.stack)] {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[32..].copy_from_slice(&self.name);
        bytes
    }

    /// Returns the name as far as it is text.
    pub fn name(&self) -> &str {
        let len = self.name.iter().position(|&byte| byte == 0).unwrap_or(self.name.len());
        core::str::from_utf8(&self.name[..len]).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_every_field() {
        let record = Record { at: u64::MAX - 1, kind: 2, p: 3, how: 4, place: 5, n: u32::MAX - 2, a: 7, b: u64::MAX };
        assert_eq!(Record::from_words(record.to_words()), record);
        assert_eq!(Record::from_bytes(&record.to_bytes()), record);
        let word = Record::word(Kind::Ready, 3, 4, Place::Ring, 9);
        let read = Record::from_words([0, word, 0, 0]);
        assert_eq!(
            (read.kind(), read.p(), read.how, read.place(), read.n),
            (Some(Kind::Ready), Some(3), 4, Some(Place::Ring), 9)
        );
    }

    #[test]
    fn a_row_keeps_every_field() {
        let mut name = [0; 32];
        name[..4].copy_from_slice(b"main");
        let row = Row { id: 1 << 40, state: 4, why: 2, object: 3, entry: 4, created_at: 5, stack: 8192, name };
        assert_eq!(Row::from_bytes(&row.to_bytes()), row);
        assert_eq!(row.name(), "main");
    }
}
