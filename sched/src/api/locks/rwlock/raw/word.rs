//! The word of the lock: the meaning of its bits, and the conditions for coming in. The picture is
//! in `raw.rs`.

use crate::api::locks::owner::dead_owner;
use crate::g::LIFE_SHIFT;
use crate::wait::deaths::{Dead, Deaths};

pub(super) const FREE: usize = 0;
/// A G is in a list.
pub(super) const QUEUED: usize = 1;
pub(super) const WRITER: usize = 2;
/// No G barges in: a leaving G hands the lock over.
pub(super) const FAIR: usize = 4;
/// The flags that stay when a writer leaves.
pub(super) const KEPT: usize = QUEUED | FAIR;
/// One reader in the count.
pub(super) const ONE: usize = 8;
/// Where the sum of the numbers begins.
pub(super) const SUM_SHIFT: u32 = 28;
/// So many bits of a number are summed. After 69 billion goroutines a dead reader could be taken
/// for another one. (Then a writer is told a wrong name.)
pub(super) const SUM_BITS: u32 = usize::BITS - SUM_SHIFT;
/// The bits of the count.
pub(super) const COUNT: usize = (1 << SUM_SHIFT) - ONE;
/// Set from 16 million readers on: the next one could be too many.
pub(super) const MANY: usize = 1 << (SUM_SHIFT - 1);
/// With none of these set, a reader comes in at once.
pub(super) const BARRED: usize = QUEUED | WRITER | MANY;

pub(super) const READING: bool = true;
pub(super) const WRITING: bool = false;

/// Returns true if a reader may come in: nobody writes, and the reader does not come between
/// readers and a writer that waits for them.
#[inline(always)]
pub(super) fn admits_a_reader(word: usize) -> bool {
    word & (WRITER | FAIR | MANY) == 0 && (word & QUEUED == 0 || word & COUNT == 0)
}

/// Without any of these a writer comes in.
pub(super) const BARS_A_WRITER: usize = WRITER | FAIR | COUNT;

/// Returns the number that a reader with this life adds to the word.
#[inline(always)]
pub(super) fn unit(life: usize) -> usize {
    // The flags' bits of a life are 0, so nothing of it is left in the count.
    life << (SUM_SHIFT - LIFE_SHIFT) | ONE
}

/// The lowest bits of the number of the one reader that `word` counts.
pub(super) fn reader_in(word: usize) -> u64 {
    (word >> SUM_SHIFT) as u64
}

/// The one reader that is left in `word`, if it is dead.
pub(super) fn dead_reader(word: usize, deaths: &Deaths) -> Option<&'static Dead> {
    if word & (WRITER | COUNT) == ONE { deaths.find_short(reader_in(word), SUM_BITS) } else { None }
}

/// The dead G that keeps a writer (or with `HOW` reading, a reader) out for ever.
pub(super) fn dead_holder<const HOW: bool>(word: usize, deaths: &Deaths) -> Option<&'static Dead> {
    if word & WRITER != 0 {
        dead_owner(word, deaths)
    } else if HOW == READING {
        None
    } else {
        dead_reader(word, deaths)
    }
}
