//! What backs one page of a stack window, or one table of such pages: an entry, and every way in
//! which it changes.
//!
//! ```text
//!                map (the owner touches it)              retire (a parked G does not need it)
//!      EMPTY ─────────────────────────────▶ PRESENT ───────────────────────────────────────▶ LIMBO
//!        ▲                                   ▲   ▲        restore (anybody touches it)          │ │
//!        │                                   │   └──────────────────────────────────────────────┘ │
//!        │                                   │ unpack (anybody touches it)                        │ after an epoch:
//!        │                                 PACKED ◀─────────────────────── pack ─────────────────┤
//!        └───────────────────────────────────────────────────────────── reclaim ─────────────────┘
//! ```
//!
//! The word is the page-table entry itself, so hardware reads it too: bit 0 says present, and of an
//! entry that is not present hardware ignores the rest. LIMBO keeps the frame number and the
//! rights, so that a touch before the epoch ends gets *that* frame back, with all that was written
//! to it. PACKED holds where the page's bytes went.
//!
//! Who may take which step:
//! * `map`: the page's owner; EMPTY entries are nobody else's business.
//! * `restore`, `unpack`: whoever touches the page, on any core; one of several wins, the others
//!   see PRESENT.
//! * `retire`: the one reclaimer. `reclaim`, `pack`: the same one, after an epoch.
//!
//! **The hard race** is a touch while the reclaimer finishes. Each side is one compare-and-swap
//! from LIMBO, so one of them wins: the touch, then the reclaimer forgets the page and throws away
//! what it copied (it copies *before* its step: a copy of a page that is in use after all does no
//! harm); or the reclaimer, then the touch finds EMPTY or PACKED. It can't be confused by a page
//! that went PRESENT and LIMBO again meanwhile, because only the reclaimer takes pages to LIMBO.
//! And whoever unpacks can't be confused by a packed block that was freed and reused: its core
//! passes no epoch while it is in the fault handler, and packing needs one.
//!
//! Rejected: a PACKING state, in which a touch would have to wait for the packer (a handler that
//! spins on another core).

use crate::sync::{AtomicU64, Ordering};

/// Hardware may use the entry.
pub const PRESENT: u64 = 1;
/// Not present: the frame waits for the end of an epoch. (Bits 9 to 11 are software's, present or
/// not.)
pub const LIMBO: u64 = 1 << 9;
/// Not present: the bytes are elsewhere.
pub const PACKED: u64 = 1 << 10;

/// What is known of an entry. The words are as they stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// Nothing.
    Empty,
    /// A frame, in use.
    Present(u64),
    /// A frame that waits.
    Limbo(u64),
    /// A reference to what was in it.
    Packed(u64),
}

/// The entry.
#[derive(Debug)]
#[repr(transparent)]
pub struct Entry(AtomicU64);

impl Entry {
    crate::const_unless_loom! {
        /// An empty one.
        pub fn new() -> Self {
            Self(AtomicU64::new(0))
        }
    }

    /// What it says now.
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
        // AcqRel: Release publishes what the new word leads to; Acquire pairs with the step before.
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// EMPTY → PRESENT with `word`. False: somebody was faster.
    #[inline]
    #[must_use]
    pub fn map(&self, word: u64) -> bool {
        self.step(0, word | PRESENT)
    }

    /// PRESENT → LIMBO. False: it is not present.
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

    /// LIMBO (as `get` saw it) → PRESENT, with the frame and the rights it had. False: somebody
    /// else has changed it.
    #[inline]
    pub fn restore(&self, limbo: u64) -> bool {
        self.step(limbo, limbo & !LIMBO | PRESENT)
    }

    /// LIMBO (as `get` saw it) → EMPTY, after an epoch. True: the frame is the caller's.
    #[must_use]
    pub fn reclaim(&self, limbo: u64) -> bool {
        self.step(limbo, 0)
    }

    /// LIMBO (as `get` saw it) → PACKED with `reference`, after an epoch. True: the frame is the
    /// caller's.
    #[must_use]
    pub fn pack(&self, limbo: u64, reference: u64) -> bool {
        debug_assert!(reference & (PRESENT | LIMBO) == 0);
        self.step(limbo, reference | PACKED)
    }

    /// PACKED (as `get` saw it) → PRESENT with `word`. True: the packed block is the caller's to
    /// free; false: somebody was faster.
    #[inline]
    #[must_use]
    pub fn unpack(&self, packed: u64, word: u64) -> bool {
        self.step(packed, word | PRESENT)
    }

    /// What hardware does in models: it sets its accessed and dirty `bits`, if the entry is
    /// present.
    #[cfg(loom)]
    pub fn mark(&self, bits: u64) -> bool {
        let mark = |word: u64| (word & PRESENT != 0).then_some(word | bits);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, mark).is_ok()
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self::new()
    }
}
