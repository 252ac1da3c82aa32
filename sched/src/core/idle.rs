//! The sleep protocol: how an M comes to rest without losing a wake-up, and how a submitter wakes
//! an M without waking too many.
//!
//! The protocol has three words: a bitmap of resting M's, a bitmap of P's without an M, and the
//! number of spinning M's. A spinning M looks for work, and has promised to look once more before
//! it rests.
//!
// ANCHOR: sleep
//! ```text
//!      submitter (any M with a G to run)          rester (an M that found nothing)
//!      ─────────────────────────────────          ────────────────────────────────
//!      S1  push the G                             R1  give up the P       (bit in idle_ps)
//!      S2  fence(SeqCst)                          R2  become findable     (bit in idle_ms)
//!      S3  read idle_ms, idle_ps, spinning        R3  stop spinning       (spinning -= 1)
//!          nobody rests, or one spins: done       R4  fence(SeqCst)
//!      S4  spinning 0 → 1   (CAS)                 R5  look at every queue again   (INV-RECHECK)
//!      S5  claim a bit of idle_ms (CAS)               work: take back the own bit, find a P, go on
//!      S6  set that M's token, interrupt it           none: rest until the token is set
//! ```
// ANCHOR_END: sleep
//!
//! **Why nothing is lost.** The two fences are in one order. If S2 is before R4, R5 sees the push
//! of S1. If R4 is before S2, S3 sees the writes of R1–R3: the M rests and does not spin. So S4–S6
//! wake it, unless another M spins. In that case the argument applies to that M's own R3–R5: it
//! either finds the G or rests after it.
//!
//! **The hard race** starts with a submitter A that won S4 and then found no M to claim at S5.
//! Meanwhile submitter B saw A's `spinning` and went away. A undoes S4, fences, and looks again. An
//! M that B should have woken may show its bit to A now. Otherwise the M sets its bit after A's
//! fence, and its R4 comes after B's push.
//!
//! **Not too many.** One spinning M is enough. An M that stops spinning because it *found* work
//! looks for more ([`stop_spinning`](IdleSets::stop_spinning) tells it to). So wake-ups spread like
//! a chain, as fast as there is work and no faster. An M that was woken in vain counts that
//! wake-up.
//!
//! **The budget.** A wake-up can still come too late: the G is short, and its own P runs it before
//! the woken core has come up. Each wake-up in vain costs `VAIN_COST` credits, each useful one
//! earns one. While the account is empty, a submitter *defers* instead of waking at once. Its P's
//! alarm (50 µs) wakes an M if the work is still there then. So at most about one wake-up in twenty
//! is needless, and no G waits longer than 100 µs beside a resting core for it.
//!
//! **A P without an M** also ends a submitter's search. So an M that gives a P up without lying
//! down takes the rester's steps: give up, fence, look at every queue. An M does so when it blocks,
//! when it has trimmed a P, and when the number of P's rises. [`give_up`](IdleSets::give_up) has
//! that fence.
//!
//! An M declares a deadlock if it finds all started M's resting after its own re-check, with no
//! timer armed and no G that waits for an interrupt (`rest.rs`). A claimed M has lost its bit, so
//! an M on its way up is never overlooked.
//!
//! Rejected: a lock around the idle lists (Go's `sched.lock`), because interrupts here also wake
//! M's. Rejected: waking on every push. Hermit went from lost wake-ups to 12,800 needless ones a
//! core.

use crate::machine::MAX;
use crate::machine::sync::{AtomicI32, AtomicU32, AtomicU64, Ordering, fence};

/// The cost of a wake-up in vain. A useful one earns 1.
const VAIN_COST: i32 = 20;
/// The account's bounds: how many needless wake-ups in a row are allowed, and how long bad luck is
/// remembered.
const CREDIT_MAX: i32 = 8 * VAIN_COST;
const CREDIT_MIN: i32 = -VAIN_COST;

/// No M is preferred.
pub(crate) const NOBODY: usize = MAX;

/// A submitter's next step.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a claimed M rests for ever unless its token is set"]
pub enum Submit {
    /// Nothing.
    Done,
    /// Set this M's token and interrupt it; it counts as spinning already.
    Wake(usize),
    /// Look again in a while: the budget is used up.
    Defer,
}

/// The resting M's, the free P's, and the number of spinning M's.
#[derive(Debug)]
pub struct IdleSets {
    idle_ms: AtomicU64,
    idle_ps: AtomicU64,
    started: AtomicU64,
    spinning: AtomicU32,
    /// The budget's account. Relaxed: a stale value wakes once too often or too late, never not at
    /// all.
    credit: AtomicI32,
    /// The number of P's that may be held: those with a smaller index. No M holds the others for
    /// long (see `core/max_procs.rs`).
    ps: AtomicU32,
    /// P's that were claimed for good: no M holds them, and none may. One bit each.
    gone: AtomicU64,
}

impl IdleSets {
    /// Starts with `ps` P's, all without an M, and no started M.
    ///
    /// # Panics
    /// If `ps` is 0 or above [`MAX`].
    pub fn new(ps: usize) -> Self {
        assert!((1..=MAX).contains(&ps), "the number of P's must be 1 to 64");
        Self {
            idle_ms: AtomicU64::new(0),
            idle_ps: AtomicU64::new(u64::MAX >> (MAX - ps)),
            started: AtomicU64::new(0),
            spinning: AtomicU32::new(0),
            credit: AtomicI32::new(CREDIT_MAX),
            ps: AtomicU32::new(ps as u32),
            gone: AtomicU64::new(!(u64::MAX >> (MAX - ps))),
        }
    }

    /// Returns the number of P's that may be held now.
    #[inline(always)]
    pub fn num_ps(&self) -> usize {
        self.ps.load(Ordering::Relaxed) as usize
    }

    /// Makes [`claim_p`](Self::claim_p) claim only P's below `n` from now on. Returns the number
    /// before.
    pub fn set_num_ps(&self, n: usize) -> usize {
        let before = self.ps.swap(n as u32, Ordering::Relaxed) as usize;
        // SeqCst: of two callers that change the number, and then `gone`, one sees the other's
        // change.
        fence(Ordering::SeqCst);
        before
    }

    /// Returns true if P `p` was claimed for good.
    pub(crate) fn is_gone(&self, p: usize) -> bool {
        // Acquire: pairs with the Release in `give_back`: an M that sees the P back sees the number
        // for which it came.
        self.gone.load(Ordering::Acquire) >> p & 1 == 1
    }

    /// Marks P `p` as gone, by the caller that has claimed it and emptied it. Returns true if the P
    /// is not surplus any more: then the caller gives it back.
    #[must_use]
    pub(crate) fn bury(&self, p: usize) -> bool {
        // Release: pairs with the Acquire in `give_back`: the next holder sees the changes to the
        // P.
        self.gone.fetch_or(1 << p, Ordering::Release);
        // SeqCst: as in `set_num_ps`.
        fence(Ordering::SeqCst);
        p < self.num_ps()
    }

    /// Frees P `p` if it was gone: a gone P comes back once. Returns true if the P is surplus
    /// again: then the caller claims it again. The caller looks at every queue next.
    #[must_use]
    pub(crate) fn give_back(&self, p: usize) -> bool {
        // AcqRel: Acquire pairs with the Release in `bury`, Release with the Acquire in `is_gone`.
        if self.gone.fetch_and(!(1 << p), Ordering::AcqRel) >> p & 1 == 1 {
            self.give_up(p);
        }
        p >= self.num_ps()
    }

    /// Lets M `m` take part from now on.
    pub fn start(&self, m: usize) {
        self.started.fetch_or(1 << m, Ordering::Relaxed);
    }

    // --- submitters

    /// Takes steps S2–S5, after a push. With `budgeted` the verdict may be to defer.
    #[inline]
    pub fn submit(&self, budgeted: bool) -> Submit {
        if self.any_rests() { self.claim_one(budgeted, NOBODY) } else { Submit::Done }
    }

    /// Submits as [`submit`](Self::submit) does, without a budget, in a handler on the core of M
    /// `m`. Claims `m` first, if it rests.
    pub fn submit_near(&self, m: usize) -> Submit {
        if self.any_rests() { self.claim_one(false, m) } else { Submit::Done }
    }

    /// Takes steps S2 and S3 after a push: returns true if an M rests.
    #[inline(always)]
    pub(crate) fn any_rests(&self) -> bool {
        // SeqCst: S2 of the protocol; pairs with R4 in `lie_down`.
        fence(Ordering::SeqCst);
        self.idle_ms.load(Ordering::Relaxed) != 0
    }

    /// Takes the rest of `submit`: claims M number `first` if it rests, else any.
    #[cold]
    pub(crate) fn claim_one(&self, budgeted: bool, first: usize) -> Submit {
        loop {
            let mut resting = self.idle_ms.load(Ordering::Relaxed);
            if resting == 0 || !self.has_idle_p() {
                return Submit::Done;
            }
            if budgeted && self.credit.load(Ordering::Relaxed) <= 0 {
                return Submit::Defer;
            }
            // Relaxed: the fences order it (S4 against R3).
            if self.spinning.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_err() {
                return Submit::Done;
            }
            while resting != 0 {
                let m = if first < MAX && resting >> first & 1 == 1 { first as u32 } else { resting.trailing_zeros() };
                // AcqRel: Acquire pairs with the Release in `lie_down` (the M's own words are
                // written), Release with `get_up`.
                let was = self.idle_ms.fetch_and(!(1 << m), Ordering::AcqRel);
                if was >> m & 1 == 1 {
                    return Submit::Wake(m as usize);
                }
                resting = was & !(1 << m);
            }
            self.spinning.fetch_sub(1, Ordering::Relaxed);
            // SeqCst: the hard race in the module's header.
            fence(Ordering::SeqCst);
        }
    }

    /// Claims M `m`, if it rests, and counts it as spinning from here on. The caller sets its token
    /// and interrupts it.
    pub fn claim_m(&self, m: usize) -> bool {
        // SeqCst: as S2: an M that lies down after this fence sees all earlier pushes.
        fence(Ordering::SeqCst);
        // AcqRel: as in `claim_one`.
        let rested = self.idle_ms.fetch_and(!(1 << m), Ordering::AcqRel) >> m & 1 == 1;
        if rested {
            self.spinning.fetch_add(1, Ordering::Relaxed);
        }
        rested
    }

    /// Notes that a woken M found work.
    pub fn woken_usefully(&self) {
        if self.credit.load(Ordering::Relaxed) < CREDIT_MAX {
            self.credit.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that a woken M found nothing.
    pub fn woken_in_vain(&self) {
        if self.credit.load(Ordering::Relaxed) > CREDIT_MIN {
            self.credit.fetch_sub(VAIN_COST, Ordering::Relaxed);
        }
    }

    // --- spinners

    /// Counts one more spinning M and returns true, unless half as many spin as there are busy P's.
    #[inline]
    pub fn try_spin(&self) -> bool {
        let busy = (self.num_ps() as u32).saturating_sub(self.idle_p_count());
        if 2 * self.spinning.load(Ordering::Relaxed) >= busy {
            return false;
        }
        self.spinning.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Counts an M as spinning at any number of spinners: it has just seen work.
    pub fn spin(&self) {
        self.spinning.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the spinning of an M that found work. If it returns true, no M spins any more: the
    /// caller looks at the queues, and calls [`submit`](Self::submit) if there is more.
    #[inline]
    #[must_use = "the last spinner owes a look at the queues"]
    pub fn stop_spinning(&self) -> bool {
        let last = self.spinning.fetch_sub(1, Ordering::Relaxed) == 1;
        // SeqCst: a submitter that saw us spin went away. Its push must be visible to the look that
        // follows.
        fence(Ordering::SeqCst);
        last
    }

    // --- resters

    /// Takes steps R1–R4: gives up P `p` (if the M holds one), shows `m` as resting, stops
    /// spinning. The caller re-checks every queue next.
    pub fn lie_down(&self, m: usize, p: Option<usize>, spinning: bool) {
        if let Some(p) = p {
            self.free(p);
        }
        // Release: pairs with the Acquire in `claim_one`.
        self.idle_ms.fetch_or(1 << m, Ordering::Release);
        if spinning {
            self.spinning.fetch_sub(1, Ordering::Relaxed);
        }
        // SeqCst: R4; pairs with S2, and with the R4 of another M that lies down. Of two, one sees
        // that the other spins no more.
        fence(Ordering::SeqCst);
    }

    /// Returns true, after [`lie_down`](Self::lie_down), if another M spins on. The spinner looks
    /// at every queue later.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.spinning.load(Ordering::Relaxed) != 0
    }

    /// Frees P `p`. By the M that held it, or for a P that no M has held yet. The caller looks at
    /// every queue next: a submitter that found no P has gone away.
    pub fn give_up(&self, p: usize) {
        self.free(p);
        // SeqCst: as R4; pairs with S2. A `lock` instruction hides its absence on x86.
        fence(Ordering::SeqCst);
    }

    fn free(&self, p: usize) {
        // Release: pairs with the Acquire in `claim_exactly`: the next owner sees this owner's
        // writes to the P.
        self.idle_ps.fetch_or(1 << p, Ordering::Release);
    }

    /// Ends the rest of `m` by itself. Returns true if its bit was still its own to take. Returns
    /// false if another core has claimed `m`: then its token is set or about to be.
    #[must_use]
    pub fn get_up(&self, m: usize) -> bool {
        // Acquire: pairs with the Release of `claim_one`.
        self.idle_ms.fetch_and(!(1 << m), Ordering::Acquire) >> m & 1 == 1
    }

    /// Returns the P's that an M may claim now.
    #[inline]
    fn claimable(&self) -> u64 {
        match self.idle_ps.load(Ordering::Relaxed) {
            0 => 0,
            free => free & u64::MAX >> (MAX - self.num_ps()),
        }
    }

    /// Returns true if a P is free that an M may claim.
    #[inline]
    pub fn has_idle_p(&self) -> bool {
        self.claimable() != 0
    }

    /// Returns true if P `p` is free.
    #[inline]
    pub fn is_idle_p(&self, p: usize) -> bool {
        self.idle_ps.load(Ordering::Relaxed) >> p & 1 == 1
    }

    /// Returns true if an M rests that could be woken for a free P.
    #[inline]
    pub fn can_wake(&self) -> bool {
        self.idle_ms.load(Ordering::Relaxed) != 0 && self.has_idle_p()
    }

    /// Takes P `p` if it is free, even if it is surplus.
    pub fn claim_exactly(&self, p: usize) -> bool {
        // Acquire: pairs with the Release in `give_up`.
        self.idle_ps.fetch_and(!(1 << p), Ordering::Acquire) >> p & 1 == 1
    }

    /// Takes a free P, `prefer` if it is one of them.
    pub fn claim_p(&self, prefer: Option<usize>) -> Option<usize> {
        let mut free = self.claimable();
        while free != 0 {
            let p = match prefer {
                Some(p) if free >> p & 1 == 1 => p as u32,
                _ => free.trailing_zeros(),
            };
            if self.claim_exactly(p as usize) {
                return Some(p as usize);
            }
            free &= !(1 << p);
        }
        None
    }

    /// Returns true if every M that has started rests. Only means something to an M that is one of
    /// them and has re-checked.
    pub fn all_rest(&self) -> bool {
        self.idle_ms.load(Ordering::SeqCst) == self.started.load(Ordering::SeqCst)
    }

    /// Returns true if every M that has started rests, but for `m`.
    pub fn all_rest_but(&self, m: usize) -> bool {
        self.idle_ms.load(Ordering::SeqCst) | 1 << m == self.started.load(Ordering::SeqCst)
    }

    /// Returns true if M `m` rests, and was not claimed.
    #[cfg(loom)]
    pub(crate) fn is_resting(&self, m: usize) -> bool {
        self.idle_ms.load(Ordering::Relaxed) >> m & 1 == 1
    }

    /// Returns how many M's rest, and how many spin (a snapshot for `schedtrace` and reports).
    pub fn counts(&self) -> (u32, u32) {
        (self.idle_ms.load(Ordering::Relaxed).count_ones(), self.spinning.load(Ordering::Relaxed))
    }

    /// Returns how many of the P's that may be held have no M.
    pub fn idle_p_count(&self) -> u32 {
        self.claimable().count_ones()
    }

    /// Returns one past the highest number of an M that has started.
    #[inline]
    pub fn started_end(&self) -> usize {
        MAX - self.started.load(Ordering::Relaxed).leading_zeros() as usize
    }

    /// Returns how many M's have started.
    pub fn started_count(&self) -> u32 {
        self.started.load(Ordering::Relaxed).count_ones()
    }
}
