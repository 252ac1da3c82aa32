//! Free runs of equal units: found, split and joined in constant time.
//!
//! The frames of the machine are the units of one such structure, the granules of the heap's arenas
//! those of another. The crate knows neither: it is plain arithmetic over a [`Ground`].
//! `tests/model.rs` compares it with a simple model, on the host.
//!
//! ```text
//!   units      │ used │ free   free   free   free │ used │ free │ used  used │
//!   edge bits     0       1      ?      ?      1      0      1      0     0
//!   words              len=4                first         len=1
//!                      prev,next                          prev,next,first
//!
//!   bins       one list for each length below 8, then eight lists for each power of two
//!              rows: a bit for each row that has a run; columns: a bit for each list of the row
//! ```
//!
//! * **INV-EDGE**: the edge bits of a free run's first and last unit are set. The edge bits of the
//!   first and the last unit of a piece that was handed out are clear. Inner bits mean nothing, and
//!   no code reads them. So a large piece costs as much as a small one, and no bit is prepared in
//!   advance.
//! * **INV-JOINED**: no two free runs touch. A piece that comes back looks at the two bits beside
//!   it.
//! * A list is doubly linked through the runs' first units, so a neighbour leaves it without a
//!   search.
//!
//! **The search** rounds a wanted length up to the next list. Each run there fits, so the search
//! takes the first one (a *good fit*; at most an eighth longer than the shortest that fits). If all
//! those lists are empty, the search looks at up to 16 runs of the lists below.
//!
//! Rejected: allocators of others, all of which build on the pinned compiler. Measured on the host
//! with blocks of 3,000 bytes to 64 KiB, amid 20,000 holes between blocks of 3,000 bytes and as
//! many between blocks of a page. *Full* is the share of 64 MiB in use at the worst failure, with
//! random lengths from 2 to 64 KiB.
//!
//! | | alloc, ticks | free, ticks | full | why not |
//! |---|--:|--:|--:|---|
//! | [`Runs`], as the heap uses it | 23–263 | 13–58 | 86 % | |
//! | `rlsf` | 81–283 | 9–11 | 79 % | takes memory in and gives none back; knows no frames |
//! | `talc` | 21–1,850,000 | 8–73 | 83 % | searches a list of runs that may not fit |
//! | `buddy_system_allocator` | – | – | 64 % | a free searches a list: no end within a minute |
//!
//! Rejected as well: a binary buddy system of our own, which finds no 600 MiB in 1,020 MiB of
//! memory.
//!
//! # Examples
//!
//! ```
//! use trefoil_runs::{Ground, Runs, Word};
//!
//! struct Table([[u32; 4]; 64], [bool; 64]);
//!
//! impl Ground for Table {
//!     fn load(&self, unit: u32, word: Word) -> u32 {
//!         self.0[unit as usize][word as usize]
//!     }
//!     fn store(&mut self, unit: u32, word: Word, value: u32) {
//!         self.0[unit as usize][word as usize] = value;
//!     }
//!     fn is_edge(&self, unit: u32) -> bool {
//!         self.1[unit as usize]
//!     }
//!     fn set_edge(&mut self, unit: u32, edge: bool) {
//!         self.1[unit as usize] = edge;
//!     }
//! }
//!
//! let mut runs = Runs::<_, 4>::new(Table([[0; 4]; 64], [false; 64]));
//! runs.give(1, 60); // units 1 to 60 are free
//! assert_eq!(runs.take(8, 1), Some(1));
//! assert_eq!(runs.take(8, 16), Some(16)); // aligned to 16 units
//! assert_eq!(runs.give(1, 8), (1, 15)); // the piece joins the free units up to 15
//! assert_eq!(runs.take(40, 1), None);
//! ```

#![no_std]

/// Runs of a list that the second search looks at.
const LOOKS: u32 = 16;
/// Lists of a row.
const COLUMNS: usize = 8;

/// The words of a free unit that the structure uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Of a run's first unit: its length.
    Len,
    /// Of a run's last unit: its first unit.
    First,
    /// Of a run's first unit: the run before it in its list; 0: none.
    Prev,
    /// Of a run's first unit: the run behind it in its list; 0: none.
    Next,
}

/// Memory cut into units. Unit 0 is never free.
pub trait Ground {
    /// Reads a word of a free unit.
    fn load(&self, unit: u32, word: Word) -> u32;
    /// Writes a word of a free unit.
    fn store(&mut self, unit: u32, word: Word, value: u32);
    /// Returns the edge bit of a unit; false for a unit that is never free.
    fn is_edge(&self, unit: u32) -> bool;
    /// Writes the edge bit of a unit.
    fn set_edge(&mut self, unit: u32, edge: bool);
    /// Clears the edge bits of `len` units.
    fn clear_edges(&mut self, first: u32, len: u32) {
        (first..first + len).for_each(|unit| self.set_edge(unit, false));
    }
}

/// The free runs of a [`Ground`]. A run has less than `4 << ROWS` units.
#[derive(Debug)]
pub struct Runs<G, const ROWS: usize> {
    ground: G,
    /// Bit `r`: row `r` has a run.
    rows: u32,
    /// Bit `c` of row `r`: that list has a run.
    columns: [u8; ROWS],
    /// The first run of each list; 0: none.
    heads: [[u32; COLUMNS]; ROWS],
}

/// Returns the list of runs of `len` units.
#[inline(always)]
fn list_of(len: u32) -> (usize, usize) {
    if len < COLUMNS as u32 {
        return (0, len as usize);
    }
    let log = len.ilog2();
    (log as usize - 2, (len >> (log - 3)) as usize & (COLUMNS - 1))
}

/// Returns the first list of which each run has `len` units.
#[inline(always)]
fn list_from(len: u32) -> (usize, usize) {
    if len < COLUMNS as u32 { (0, len as usize) } else { list_of(len + (1 << (len.ilog2() - 3)) - 1) }
}

impl<G: Ground, const ROWS: usize> Runs<G, ROWS> {
    /// Makes a structure without a free unit.
    pub const fn new(ground: G) -> Self {
        assert!(ROWS <= 29, "lengths are 32 bits");
        Self { ground, rows: 0, columns: [0; ROWS], heads: [[0; COLUMNS]; ROWS] }
    }

    /// The longest run that there may be.
    const LONGEST: u32 = (4 << ROWS) - 1;

    /// Returns the ground.
    pub fn ground(&mut self) -> &mut G {
        &mut self.ground
    }

    /// Adds a run to its list.
    #[inline]
    fn insert(&mut self, first: u32, len: u32) {
        debug_assert!(first > 0 && len > 0 && len <= Self::LONGEST);
        let (row, column) = list_of(len);
        let next = core::mem::replace(&mut self.heads[row][column], first);
        if next != 0 {
            self.ground.store(next, Word::Prev, first);
        }
        self.rows |= 1 << row;
        self.columns[row] |= 1 << column;
        let last = first + len - 1;
        self.ground.store(first, Word::Len, len);
        self.ground.store(first, Word::Prev, 0);
        self.ground.store(first, Word::Next, next);
        self.ground.store(last, Word::First, first);
        self.ground.set_edge(first, true);
        if last != first {
            self.ground.set_edge(last, true);
        }
    }

    /// Takes a run out of its list. Its edge bits stay.
    #[inline]
    fn unlink(&mut self, first: u32, len: u32) {
        let (prev, next) = (self.ground.load(first, Word::Prev), self.ground.load(first, Word::Next));
        if next != 0 {
            self.ground.store(next, Word::Prev, prev);
        }
        if prev != 0 {
            return self.ground.store(prev, Word::Next, next);
        }
        let (row, column) = list_of(len);
        self.heads[row][column] = next;
        if next == 0 {
            self.columns[row] &= !(1 << column);
            if self.columns[row] == 0 {
                self.rows &= !(1 << row);
            }
        }
    }

    /// Finds the first list from this one on that has a run.
    #[inline(always)]
    fn first_from(&self, (row, column): (usize, usize)) -> Option<(usize, usize)> {
        let columns = u32::from(*self.columns.get(row)?) >> column << column;
        if columns != 0 {
            return Some((row, columns.trailing_zeros() as usize));
        }
        let rows = self.rows & !((2 << row) - 1);
        (rows != 0).then(|| {
            let row = rows.trailing_zeros() as usize;
            (row, self.columns[row].trailing_zeros() as usize)
        })
    }

    /// Finds a run with `len` units that begin at a multiple of `align`, and where those units
    /// begin.
    #[inline]
    fn find(&self, len: u32, align: u32) -> Option<(u32, u32)> {
        let loose = len.checked_add(align - 1).filter(|&loose| loose <= Self::LONGEST)?;
        if let Some((row, column)) = self.first_from(list_from(loose)) {
            let first = self.heads[row][column];
            return Some((first, first.next_multiple_of(align)));
        }
        self.find_tight(len, align, loose)
    }

    /// Looks at some of the runs that may just fit.
    #[cold]
    #[inline(never)]
    fn find_tight(&self, len: u32, align: u32, loose: u32) -> Option<(u32, u32)> {
        let mut list = list_of(len);
        while let Some((row, column)) = self.first_from(list).filter(|&list| list <= list_of(loose)) {
            let (mut first, mut looks) = (self.heads[row][column], LOOKS);
            while first != 0 && looks > 0 {
                let at = first.next_multiple_of(align);
                if self.ground.load(first, Word::Len).checked_sub(at - first).is_some_and(|rest| rest >= len) {
                    return Some((first, at));
                }
                first = self.ground.load(first, Word::Next);
                looks -= 1;
            }
            list = if column + 1 < COLUMNS { (row, column + 1) } else { (row + 1, 0) };
        }
        None
    }

    /// Hands out `len` units that begin at a multiple of `align`, a power of two. `None`: no run is
    /// long enough.
    #[inline]
    pub fn take(&mut self, len: u32, align: u32) -> Option<u32> {
        debug_assert!(len > 0 && align.is_power_of_two());
        let (first, at) = self.find(len, align)?;
        let whole = self.ground.load(first, Word::Len);
        self.unlink(first, whole);
        if at > first {
            self.insert(first, at - first);
        }
        let (end, whole_end) = (at + len, first + whole);
        if end < whole_end {
            self.insert(end, whole_end - end);
        }
        self.ground.set_edge(at, false);
        self.ground.set_edge(end - 1, false);
        Some(at)
    }

    /// Hands out up to `most` units of the shortest run, from its end: each may come back alone. So
    /// single units use up the holes, and then the end of memory, where long pieces do not begin.
    #[inline]
    pub fn take_some(&mut self, most: u32) -> Option<(u32, u32)> {
        let (row, column) = self.first_from((0, 0))?;
        let first = self.heads[row][column];
        let whole = self.ground.load(first, Word::Len);
        let len = whole.min(most);
        self.unlink(first, whole);
        if len < whole {
            self.insert(first, whole - len);
        }
        let at = first + (whole - len);
        self.ground.clear_edges(at, len);
        Some((at, len))
    }

    /// Takes a piece back. Returns the free run that it is a part of now.
    #[inline]
    pub fn give(&mut self, mut first: u32, mut len: u32) -> (u32, u32) {
        debug_assert!(!self.ground.is_edge(first), "unit {first} is free already");
        if self.ground.is_edge(first - 1) {
            let before = self.ground.load(first - 1, Word::First);
            let its = first - before;
            self.unlink(before, its);
            first = before;
            len += its;
        }
        if self.ground.is_edge(first + len) {
            let its = self.ground.load(first + len, Word::Len);
            self.unlink(first + len, its);
            len += its;
        }
        self.insert(first, len);
        (first, len)
    }

    /// Makes a piece of `len` units longer by `more`, in place. Returns false if the units behind
    /// the piece are not free.
    #[inline]
    pub fn grow(&mut self, first: u32, len: u32, more: u32) -> bool {
        let behind = first + len;
        if !self.ground.is_edge(behind) {
            return false;
        }
        let whole = self.ground.load(behind, Word::Len);
        if whole < more {
            return false;
        }
        self.unlink(behind, whole);
        if more < whole {
            self.insert(behind + more, whole - more);
        }
        self.ground.set_edge(behind + more - 1, false);
        true
    }

    /// Makes a piece of `len` units shorter: `keep` stay, the rest is free.
    #[inline]
    pub fn shrink(&mut self, first: u32, len: u32, keep: u32) {
        debug_assert!(keep > 0 && keep < len);
        self.ground.set_edge(first + keep - 1, false);
        // The cut may fall on a unit whose bit is left from an older run.
        self.ground.set_edge(first + keep, false);
        self.give(first + keep, len - keep);
    }

    /// Returns true if the run of `len` units at `first` is free, and no part of a longer one.
    #[inline]
    pub fn is_run(&self, first: u32, len: u32) -> bool {
        self.ground.is_edge(first) && self.ground.load(first, Word::Len) == len
    }

    /// Hands out a whole run.
    #[inline]
    pub fn take_run(&mut self, first: u32, len: u32) {
        debug_assert!(self.is_run(first, len));
        self.unlink(first, len);
        self.ground.set_edge(first, false);
        self.ground.set_edge(first + len - 1, false);
    }
}
