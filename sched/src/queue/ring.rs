//! A P's local run queue: a ring with one producer (the P's owner) and many consumers (the owner
//! and thieves).
//!
// ANCHOR: ring
//! ```text
//!            head ── consumers advance it by CAS          tail ── only the owner advances it
//!              ▼                                            ▼
//!     ┌───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┐
//!     │   │   │ G │ G │ G │ G │ G │ G │ G │ G │ G │ G │   │   │   │   slots, indexed modulo CAPACITY
//!     └───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┘
//! ```
// ANCHOR_END: ring
//!
//! `head` and `tail` count up for ever and wrap at 2³²; `tail - head` is the length.
//!
//! **The hard race**: a consumer reads a slot, and only then claims it by moving `head`. If the
//! claim fails, the value may be nonsense (the owner may have reused the slot), and is dropped
//! unused. If the claim succeeds, no other consumer moved `head` in between. So the owner could not
//! have reused the slot: it reuses slots only below the `head` it has loaded.
//!
//! A full ring makes the owner move half of it and the new G to the global queue in one batch. So a
//! burst of spawns costs one lock for 129 G's.
//!
//! Ownership by type: [`Runq::owner`] gives [`RingOwner`], whose operations take `&mut self`;
//! anyone may hold `&Runq` and steal.
//!
//! Rejected: the Chase–Lev deque. Its owner pops the newest end, and a run queue wants the oldest.
//! Rejected: tokio's two packed heads. Such heads let a thief copy outside the claim, while our
//! copy is at most 128 words.

use crossbeam_utils::CachePadded;

use crate::g::{Batch, G, GRef};
use crate::machine::sync::{AtomicPtr, AtomicU32, Ordering};

/// Slots of a ring. Small under loom, so that overflow and wrap-around are within its reach.
pub const CAPACITY: u32 = if cfg!(loom) { 4 } else { 256 };
const _: () = assert!(CAPACITY.is_power_of_two());

/// The ring.
#[derive(Debug)]
pub struct Runq {
    /// Shared: consumers move it by CAS.
    head: CachePadded<AtomicU32>,
    /// Written by the owner alone, read by all.
    tail: CachePadded<AtomicU32>,
    /// Written by the owner, read by consumers before they claim. Relaxed throughout: `head` and
    /// `tail` order them.
    slots: [AtomicPtr<G>; CAPACITY as usize],
}

/// The ring was full: half of it and the new G, to be put on the global queue.
#[derive(Debug)]
#[must_use]
pub struct Overflow(pub Batch);

impl Runq {
    /// Makes an empty ring.
    pub fn new() -> Self {
        Self {
            head: CachePadded::new(AtomicU32::new(0)),
            tail: CachePadded::new(AtomicU32::new(0)),
            slots: core::array::from_fn(|_| AtomicPtr::new(core::ptr::null_mut())),
        }
    }

    /// Returns the owner's side.
    ///
    /// # Safety
    /// 1. The caller owns the P that this ring belongs to, and no other `RingOwner` of it is alive.
    #[inline(always)]
    pub unsafe fn owner(&self) -> RingOwner<'_> {
        RingOwner { ring: self }
    }

    /// Returns how many G's wait here. A guess for all but the owner.
    #[inline]
    pub fn len(&self) -> u32 {
        // Acquire, in this order: `head` never passes a `tail` loaded after it, so the difference
        // is never negative.
        let head = self.head.load(Ordering::Acquire);
        self.tail.load(Ordering::Acquire).wrapping_sub(head)
    }

    /// Returns how many G's have left, and how many wait: [`len`](Self::len)'s guess with the count
    /// behind it.
    pub(crate) fn look(&self) -> (u32, u32) {
        // Acquire, in this order: as in `len`.
        let head = self.head.load(Ordering::Acquire);
        (head, self.tail.load(Ordering::Acquire).wrapping_sub(head))
    }

    /// Returns true if no G waits here; see [`len`](Self::len).
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the G at `index`, which waits here, or has waited. For records of the queue.
    #[cfg(feature = "trace")]
    pub(crate) fn peek(&self, index: u32) -> Option<GRef> {
        // SAFETY: the slots hold `GRef`s, or have not been used.
        unsafe { self.slot(index).load(Ordering::Relaxed).as_ref() }
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> &AtomicPtr<G> {
        &self.slots[(index & (CAPACITY - 1)) as usize]
    }

    /// Moves `head` from `from` over `n` slots that the caller has read: the claim.
    #[inline(always)]
    fn claim(&self, from: u32, n: u32) -> bool {
        // AcqRel: Release lets the owner reuse the slots only after our reads (pairs with its
        // Acquire of `head`); Acquire keeps the reads of what we claimed after the claims before
        // us.
        self.head.compare_exchange(from, from.wrapping_add(n), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes the older half of the waiting G's, rounded up, but `most` at most: one to return and
    /// the rest into `thief`'s ring.
    pub fn steal_into(&self, thief: &mut RingOwner<'_>, most: u32) -> Option<GRef> {
        let to = thief.ring;
        // Relaxed: only we write our own tail.
        let at = to.tail.load(Ordering::Relaxed);
        loop {
            // Acquire on both: `head` pairs with other consumers' claims, `tail` with the owner's
            // publication of the slots.
            let head = self.head.load(Ordering::Acquire);
            let tail = self.tail.load(Ordering::Acquire);
            let waiting = tail.wrapping_sub(head);
            let n = (waiting - waiting / 2).min(most);
            if n == 0 {
                return None;
            }
            if n > CAPACITY / 2 {
                // `head` went stale between the two loads.
                continue;
            }
            for i in 0..n {
                // Relaxed: ordered by `tail` above and by the claim below.
                let g = self.slot(head.wrapping_add(i)).load(Ordering::Relaxed);
                to.slot(at.wrapping_add(i)).store(g, Ordering::Relaxed);
            }
            if !self.claim(head, n) {
                continue;
            }
            let last = at.wrapping_add(n - 1);
            let g = to.slot(last).load(Ordering::Relaxed);
            if n > 1 {
                // Release: publishes the slots to thieves of *our* ring.
                to.tail.store(last, Ordering::Release);
            }
            // SAFETY: the slots we claimed were filled from `GRef`s by `push`, and G memory is
            // never freed.
            return Some(unsafe { &*g });
        }
    }
}

impl Default for Runq {
    fn default() -> Self {
        Self::new()
    }
}

/// The owner's side of a ring.
#[derive(Debug)]
pub struct RingOwner<'a> {
    ring: &'a Runq,
}

impl RingOwner<'_> {
    /// Appends `g`; on a full ring gives back half of it (and `g`) for the global queue.
    #[inline]
    pub fn push(&mut self, g: GRef) -> Result<(), Overflow> {
        loop {
            let Err(head) = self.push_if_room(g) else { return Ok(()) };
            if let Some(batch) = self.take_half(head, g) {
                return Err(Overflow(batch));
            }
            // Thieves made room meanwhile.
        }
    }

    /// Appends `g`; gives back the head of a full ring.
    #[inline(always)]
    pub(crate) fn push_if_room(&mut self, g: GRef) -> Result<(), u32> {
        let ring = self.ring;
        // Acquire: pairs with the Release of `claim`: slots below `head` are read out.
        let head = ring.head.load(Ordering::Acquire);
        // Relaxed: our own.
        let tail = ring.tail.load(Ordering::Relaxed);
        if tail.wrapping_sub(head) >= CAPACITY {
            return Err(head);
        }
        ring.slot(tail).store(core::ptr::from_ref(g).cast_mut(), Ordering::Relaxed);
        // Release: pairs with the Acquire of `tail` in `steal_into`: the slot is filled.
        ring.tail.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Appends G's of `batch`, as many as there is room for. Thieves see all of them at once.
    #[inline]
    pub fn append(&mut self, batch: &mut Batch) {
        let ring = self.ring;
        // Acquire: as in `push_if_room`.
        let head = ring.head.load(Ordering::Acquire);
        // Relaxed: our own.
        let mut tail = ring.tail.load(Ordering::Relaxed);
        while tail.wrapping_sub(head) < CAPACITY
            && let Some(g) = batch.pop()
        {
            ring.slot(tail).store(core::ptr::from_ref(g).cast_mut(), Ordering::Relaxed);
            tail = tail.wrapping_add(1);
        }
        // Release: pairs with the Acquire of `tail` in `steal_into`: the slots are filled.
        ring.tail.store(tail, Ordering::Release);
    }

    #[cold]
    #[inline(never)]
    fn take_half(&mut self, head: u32, g: GRef) -> Option<Batch> {
        let ring = self.ring;
        let n = CAPACITY / 2;
        // The links of G's that are not ours yet must not be touched: claim first. The slots stay
        // as they are until *we* reuse them, so reading them after the claim is sound for the owner
        // (and only for the owner).
        if !ring.claim(head, n) {
            return None;
        }
        let mut batch = Batch::new();
        for i in 0..n {
            let p = ring.slot(head.wrapping_add(i)).load(Ordering::Relaxed);
            // SAFETY: claimed slots hold `GRef`s.
            batch.push(unsafe { &*p });
        }
        batch.push(g);
        Some(batch)
    }

    /// Takes the oldest.
    #[inline]
    pub fn pop(&mut self) -> Option<GRef> {
        let ring = self.ring;
        loop {
            // Relaxed: a stale `head` only makes the claim fail; `tail` is our own.
            let head = ring.head.load(Ordering::Relaxed);
            if head == ring.tail.load(Ordering::Relaxed) {
                return None;
            }
            let g = ring.slot(head).load(Ordering::Relaxed);
            if ring.claim(head, 1) {
                // SAFETY: a claimed slot holds a `GRef`.
                return Some(unsafe { &*g });
            }
        }
    }

    /// Returns how many were ever appended, modulo 2³².
    #[inline]
    pub(crate) fn end(&self) -> u32 {
        // Relaxed: only the owner writes it.
        self.ring.tail.load(Ordering::Relaxed)
    }

    /// Returns how many wait. At least this many were here; thieves may have taken some since.
    #[inline]
    pub fn len(&self) -> u32 {
        self.ring.len()
    }

    /// Returns true if no G waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}
