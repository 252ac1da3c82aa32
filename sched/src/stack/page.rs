//! Entries: the backing of one page of a stack window, or of one table of such pages, and every way
//! in which it changes.
//!
// ANCHOR: pages
//! ```text
//!                map (the owner touches it)              retire (a parked G does not need it)
//!      EMPTY ─────────────────────────────▶ PRESENT ───────────────────────────────────────▶ LIMBO
//!        ▲                                   ▲   ▲        restore (anybody touches it)          │ │
//!        │                                   │   └──────────────────────────────────────────────┘ │
//!        │                                   │ unpack (anybody touches it)                        │ after an epoch:
//!        │                                 PACKED ◀─────────────────────── pack ─────────────────┤
//!        └───────────────────────────────────────────────────────────── reclaim ─────────────────┘
//! ```
// ANCHOR_END: pages
//!
//! The word is the page-table entry itself, so hardware reads it too. Bit 0 says present, and
//! hardware ignores the other bits of an entry that is not present. LIMBO keeps the frame number
//! and the rights. So a touch before the epoch ends gets *that* frame back, with all that was
//! written to it. PACKED holds the place to which the page's bytes went.
//!
//! Each step has its actor:
//! * `map`: the page's owner. No other core changes an EMPTY entry.
//! * `restore`, `unpack`: any core that touches the page. One of several wins, the others see
//!   PRESENT.
//! * `retire`: the one reclaimer. `reclaim`, `pack`: the same one, after an epoch.
//!
//! **The hard race** is a touch while the reclaimer finishes. Each side is one compare-and-swap
//! from LIMBO, so one of them wins. If the touch wins, the reclaimer forgets the page and throws
//! its copy away. The reclaimer copies *before* its step: a copy of a page that is in use after all
//! does no harm. If the reclaimer wins, the touch finds EMPTY or PACKED. A page that went PRESENT
//! and LIMBO again meanwhile cannot confuse the reclaimer, because no other core takes pages to
//! LIMBO. A packed block that was freed and reused cannot confuse a core that unpacks. Its core
//! passes no epoch in the fault handler, and packing needs one.
//!
//! Rejected: a PACKING state. A touch would have to wait for the packer, and the handler would spin
//! on another core.

use crate::machine::sync::{AtomicU64, Ordering};

/// Hardware may use the entry.
pub const PRESENT: u64 = 1;
/// Not present: the frame waits for the end of an epoch. (Bits 9 to 11 are software's, present or
/// not.)
pub const LIMBO: u64 = 1 << 9;
/// Not present: the bytes are elsewhere.
pub const PACKED: u64 = 1 << 10;

/// The meaning of an entry. The words are as they stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// Nothing.
    Empty,
    /// A frame, in use.
    Present(u64),
    /// A frame that waits.
    Limbo(u64),
    /// A reference to the packed bytes.
    Packed(u64),
}

/// An entry.
#[derive(Debug)]
#[repr(transparent)]
pub struct PageEntry(AtomicU64);

impl PageEntry {
    crate::const_unless_loom! {
        /// An empty one.
        pub fn new() -> Self {
            Self(AtomicU64::new(0))
        }
    }

    /// Returns the present meaning.
    #[inline]
    pub fn get(&self) -> Backing {
        // Acquire: pairs with the Release of every step: a table that is found is initialised, a
        // packed block is written.
        let word = self.0.load(Ordering::Acquire);
        if word & PRESENT != 0 {
            Backing::Present(word)
        } else if word == 0 {
            Backing::Empty
        } else if word & LIMBO != 0 {
            Backing::Limbo(word)
        } else {
            Backing::Packed(word)
        }
    }

    #[inline]
    fn step(&self, from: u64, to: u64) -> bool {
        // AcqRel: Release publishes the target of the new word. Acquire pairs with the step before.
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Goes from EMPTY to PRESENT with `word`. Returns false if another core was faster.
    #[inline]
    #[must_use]
    pub fn map(&self, word: u64) -> bool {
        self.step(0, word | PRESENT)
    }

    /// Goes from PRESENT to LIMBO. Returns false if the entry is not present.
    pub fn retire(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & PRESENT != 0 {
            // Again if hardware has set its accessed or dirty bit meanwhile. AcqRel: as in `step`.
            match self.0.compare_exchange(word, word & !PRESENT | LIMBO, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Goes from LIMBO (as `get` saw it) to PRESENT, with the frame and the rights that it had.
    /// Returns false if another core has changed the entry.
    #[inline]
    pub fn restore(&self, limbo: u64) -> bool {
        self.step(limbo, limbo & !LIMBO | PRESENT)
    }

    /// Goes from LIMBO (as `get` saw it) to EMPTY, after an epoch. Returns true if the frame is the
    /// caller's.
    #[must_use]
    pub fn reclaim(&self, limbo: u64) -> bool {
        self.step(limbo, 0)
    }

    /// Goes from LIMBO (as `get` saw it) to PACKED with `reference`, after an epoch. Returns true
    /// if the frame is the caller's.
    #[must_use]
    pub fn pack(&self, limbo: u64, reference: u64) -> bool {
        debug_assert!(reference & (PRESENT | LIMBO) == 0);
        self.step(limbo, reference | PACKED)
    }

    /// Goes from PACKED (as `get` saw it) to PRESENT with `word`. Returns true if the packed block
    /// is the caller's to free, and false if another core was faster.
    #[inline]
    #[must_use]
    pub fn unpack(&self, packed: u64, word: u64) -> bool {
        self.step(packed, word | PRESENT)
    }

    /// Sets the accessed and dirty `bits` if the entry is present, as hardware does: for models.
    #[cfg(loom)]
    pub fn mark(&self, bits: u64) -> bool {
        let mark = |word: u64| (word & PRESENT != 0).then_some(word | bits);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, mark).is_ok()
    }
}

impl Default for PageEntry {
    fn default() -> Self {
        Self::new()
    }
}
