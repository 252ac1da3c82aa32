//! The sleep protocol: how an M comes to rest without losing a wake-up, and how a submitter wakes
//! one without waking too many.
//!
//! Three words are all there is: a bitmap of resting M's, a bitmap of P's without an M, and the
//! number of spinning M's (those that look for work and have promised to look once more before they
//! rest).
//!
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
//!
//! **Why nothing is lost.** The two fences are in one order. If S2 is before R4, R5 sees the push
//! of S1. If R4 is before S2, S3 sees what R1–R3 wrote: the M rests and does not spin, so S4–S6
//! wake it, unless another M spins, and then the argument applies to that M's own R3–R5: it either
//! finds the G or rests after it.
//!
//! **The hard race** is a submitter A that won S4 and then found nobody to claim at S5, while
//! submitter B saw A's `spinning` and went away. A undoes S4, fences, and looks again: an M that B
//! should have woken either shows its bit to A now, or sets it after A's fence, and then its R4
//! comes after B's push.
//!
//! **Not too many.** One spinning M is enough: whoever stops spinning because it *found* work looks
//! whether there is more ([`stop_spinning`](Rest::stop_spinning) tells it to), so wake-ups spread
//! like a chain, as fast as there is work and no faster. An M that was woken in vain counts it.
//!
//! **The budget.** A wake-up can still come too late: the G is short, and its own P runs it before
//! the woken core has come up. Each wake-up in vain costs [`VAIN_COST`] credits, each useful one
//! earns one. While the account is empty a submitter does not wake at once but *defers*: its P's
//! alarm (50 µs) wakes an M if the work is still there then. So at most about one wake-up in twenty
//! is needless, and no G waits longer than 100 µs beside a resting core for it.
//!
//! **A P without an M** is what a submitter looks for, too. So whoever gives one up otherwise than
//! by lying down (it blocks, it has trimmed one, there are to be more P's) does the same: give up,
//! fence, look at every queue. [`give_up`](Rest::give_up) has that fence.
//!
//! Deadlock is declared by an M that finds all started M's resting after its own re-check, with no
//! timer armed. A claimed M has lost its bit, so an M on its way up is never overlooked.
//!
//! Rejected: a lock around the idle lists (Go's `sched.lock`; it is also taken from wake-ups in
//! interrupts here); waking on every push (Hermit went from lost wake-ups to 12,800 needless ones a
//! core).

use crate::sync::{AtomicI32, AtomicU32, AtomicU64, Ordering, fence};

/// The most M's and P's: one bit each in a word.
pub const MAX: usize = 64;

/// What a wake-up in vain costs; a useful one earns 1.
const VAIN_COST: i32 = 20;
/// The account's bounds: how many needless wake-ups in a row are allowed, and how long bad luck is
/// remembered.
const CREDIT_MAX: i32 = 8 * VAIN_COST;
const CREDIT_MIN: i32 = -VAIN_COST;

/// No M is preferred.
pub(crate) const NOBODY: usize = MAX;

/// What a submitter has to do.
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

/// Who rests, which P's are free, how many look for work.
#[derive(Debug)]
pub struct Rest {
    idle_ms: AtomicU64,
    idle_ps: AtomicU64,
    started: AtomicU64,
    spinning: AtomicU32,
    /// The budget's account. Relaxed: a stale value wakes once too often or too late, never not at
    /// all.
    credit: AtomicI32,
    /// How many P's there may be: those with a smaller number. The others are nobody's (see
    /// `procs.rs`).
    ps: AtomicU32,
    /// P's that were claimed for good: no M holds them, and none may. One bit each.
    gone: AtomicU64,
}

/// A resting M's own word: set once by whoever claimed its bit.
#[derive(Debug)]
pub struct Token(AtomicU32);

impl Token {
    crate::const_unless_loom! {
        /// Not set.
        pub fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    /// Sets it. Only by the one that claimed the M's bit.
    pub fn set(&self) {
        // Release: pairs with the Acquire in `take`.
        self.0.store(1, Ordering::Release);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Takes it. Only by the M itself.
    pub fn take(&self) -> bool {
        if !self.is_set() {
            return false;
        }
        // Relaxed: between the claim of our bit and our next rest nobody else writes it.
        self.0.store(0, Ordering::Relaxed);
        true
    }
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}

impl Rest {
    /// `ps` P's, all without an M; no M has started.
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

    /// How many P's there may be now.
    #[inline(always)]
    pub fn num_ps(&self) -> usize {
        self.ps.load(Ordering::Relaxed) as usize
    }

    /// From now on only P's below `n` are claimed by [`claim_p`](Self::claim_p). Returns how many
    /// there were.
    pub fn set_num_ps(&self, n: usize) -> usize {
        let before = self.ps.swap(n as u32, Ordering::Relaxed) as usize;
        // SeqCst: of two that change the number, and then `gone`, one sees what the other has done.
        fence(Ordering::SeqCst);
        before
    }

    /// Whether P `p` was claimed for good.
    pub(crate) fn is_gone(&self, p: usize) -> bool {
        // Acquire: pairs with the Release in `give_back`: who sees it back sees the number for
        // which it came.
        self.gone.load(Ordering::Acquire) >> p & 1 == 1
    }

    /// P `p` is claimed for good, by the one that has claimed it and emptied it. True: it is not
    /// one too many any more; give it back.
    #[must_use]
    pub(crate) fn bury(&self, p: usize) -> bool {
        // Release: pairs with the Acquire in `give_back`: what was done to the P is seen by its
        // next holder.
        self.gone.fetch_or(1 << p, Ordering::Release);
        // SeqCst: as in `set_num_ps`.
        fence(Ordering::SeqCst);
        p < self.num_ps()
    }

    /// P `p` is free, if it was claimed for good: one that was gone comes back once. True: it is
    /// one too many; claim it again. The caller looks at every queue next.
    #[must_use]
    pub(crate) fn give_back(&self, p: usize) -> bool {
        // AcqRel: Acquire pairs with the Release in `bury`, Release with the Acquire in `is_gone`.
        if self.gone.fetch_and(!(1 << p), Ordering::AcqRel) >> p & 1 == 1 {
            self.give_up(p);
        }
        p >= self.num_ps()
    }

    /// M `m` takes part from now on.
    pub fn start(&self, m: usize) {
        self.started.fetch_or(1 << m, Ordering::Relaxed);
    }

    // --- submitters

    /// S2–S5: after a push. With `budgeted` it may defer.
    #[inline]
    pub fn submit(&self, budgeted: bool) -> Submit {
        if self.any_rests() { self.claim_one(budgeted, NOBODY) } else { Submit::Done }
    }

    /// As [`submit`](Self::submit), without a budget, in a handler on the core of M `m`: that one
    /// is claimed first, if it rests.
    pub fn submit_near(&self, m: usize) -> Submit {
        if self.any_rests() { self.claim_one(false, m) } else { Submit::Done }
    }

    /// S2 and S3: after a push, whether there is anybody to wake.
    #[inline(always)]
    pub(crate) fn any_rests(&self) -> bool {
        // SeqCst: S2 of the protocol; pairs with R4 in `lie_down`.
        fence(Ordering::SeqCst);
        self.idle_ms.load(Ordering::Relaxed) != 0
    }

    /// The rest of `submit`: M number `first` if it rests, else any.
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

    /// Claims M `m`, if it rests: the caller sets its token and interrupts it. It counts as
    /// spinning from here on.
    pub fn claim_m(&self, m: usize) -> bool {
        // SeqCst: as S2; who lies down after it sees what was pushed before.
        fence(Ordering::SeqCst);
        // AcqRel: as in `claim_one`.
        let rested = self.idle_ms.fetch_and(!(1 << m), Ordering::AcqRel) >> m & 1 == 1;
        if rested {
            self.spinning.fetch_add(1, Ordering::Relaxed);
        }
        rested
    }

    /// A woken M found work.
    pub fn woken_usefully(&self) {
        if self.credit.load(Ordering::Relaxed) < CREDIT_MAX {
            self.credit.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A woken M found nothing.
    pub fn woken_in_vain(&self) {
        if self.credit.load(Ordering::Relaxed) > CREDIT_MIN {
            self.credit.fetch_sub(VAIN_COST, Ordering::Relaxed);
        }
    }

    // --- spinners

    /// Whether one more M may spin (at most half as many as there are busy P's), and counts it.
    #[inline]
    pub fn try_spin(&self) -> bool {
        let busy = (self.num_ps() as u32).saturating_sub(self.idle_p_count());
        if 2 * self.spinning.load(Ordering::Relaxed) >= busy {
            return false;
        }
        self.spinning.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// An M takes part in the search whatever the number: it has just seen work.
    pub fn spin(&self) {
        self.spinning.fetch_add(1, Ordering::Relaxed);
    }

    /// The M found work. If this says true, nobody spins any more: look at the queues, and
    /// [`submit`](Self::submit) if there is more.
    #[inline]
    #[must_use = "the last spinner owes a look at the queues"]
    pub fn stop_spinning(&self) -> bool {
        let last = self.spinning.fetch_sub(1, Ordering::Relaxed) == 1;
        // SeqCst: a submitter that saw us spin went away; its push must be visible to the look that
        // follows.
        fence(Ordering::SeqCst);
        last
    }

    // --- resters

    /// R1–R4: gives up P `p` (if it holds one), shows `m` as resting, stops spinning. The caller
    /// re-checks every queue next.
    pub fn lie_down(&self, m: usize, p: Option<usize>, spinning: bool) {
        if let Some(p) = p {
            self.free(p);
        }
        // Release: pairs with the Acquire in `claim_one`.
        self.idle_ms.fetch_or(1 << m, Ordering::Release);
        if spinning {
            self.spinning.fetch_sub(1, Ordering::Relaxed);
        }
        // SeqCst: R4; pairs with S2, and with that of another that lies down: of two, one sees that
        // the other spins no more.
        fence(Ordering::SeqCst);
    }

    /// After [`lie_down`](Self::lie_down): whether another M spins on. Then it looks at every queue
    /// after this.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.spinning.load(Ordering::Relaxed) != 0
    }

    /// P `p` has no M from now on. By the M that held it, or for one that nobody has held yet. The
    /// caller looks at every queue next: a submitter that found no P has gone away.
    pub fn give_up(&self, p: usize) {
        self.free(p);
        // SeqCst: as R4; pairs with S2. A `lock` instruction hides its absence on x86.
        fence(Ordering::SeqCst);
    }

    fn free(&self, p: usize) {
        // Release: pairs with the Acquire in `claim_exactly`: what the owner wrote to the P is seen
        // by the next one.
        self.idle_ps.fetch_or(1 << p, Ordering::Release);
    }

    /// `m` wants to go on by itself: true if it still was its own to take; false if somebody has
    /// claimed it, and then its token is set or about to be.
    #[must_use]
    pub fn get_up(&self, m: usize) -> bool {
        // Acquire: pairs with the Release of `claim_one`.
        self.idle_ms.fetch_and(!(1 << m), Ordering::Acquire) >> m & 1 == 1
    }

    /// The P's that an M may claim now.
    #[inline]
    fn claimable(&self) -> u64 {
        match self.idle_ps.load(Ordering::Relaxed) {
            0 => 0,
            free => free & u64::MAX >> (MAX - self.num_ps()),
        }
    }

    /// Whether a P is free that an M may claim.
    #[inline]
    pub fn has_idle_p(&self) -> bool {
        self.claimable() != 0
    }

    /// Whether P `p` is free.
    #[inline]
    pub fn is_idle_p(&self, p: usize) -> bool {
        self.idle_ps.load(Ordering::Relaxed) >> p & 1 == 1
    }

    /// Whether an M rests that could be woken for a P that is free.
    #[inline]
    pub fn can_wake(&self) -> bool {
        self.idle_ms.load(Ordering::Relaxed) != 0 && self.has_idle_p()
    }

    /// Takes P `p` if it is free, whether it may be held or not.
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

    /// Whether every M that has started rests. Only means something to an M that is one of them and
    /// has re-checked.
    pub fn all_rest(&self) -> bool {
        self.idle_ms.load(Ordering::SeqCst) == self.started.load(Ordering::SeqCst)
    }

    /// Whether every M that has started rests, but for `m`.
    pub fn all_rest_but(&self, m: usize) -> bool {
        self.idle_ms.load(Ordering::SeqCst) | 1 << m == self.started.load(Ordering::SeqCst)
    }

    /// Whether M `m` rests, and was not claimed.
    #[cfg(loom)]
    pub(crate) fn is_resting(&self, m: usize) -> bool {
        self.idle_ms.load(Ordering::Relaxed) >> m & 1 == 1
    }

    /// How many M's rest, and how many spin (a snapshot for `schedtrace` and reports).
    pub fn counts(&self) -> (u32, u32) {
        (self.idle_ms.load(Ordering::Relaxed).count_ones(), self.spinning.load(Ordering::Relaxed))
    }

    /// How many P's have no M, of those that there may be.
    pub fn idle_p_count(&self) -> u32 {
        self.claimable().count_ones()
    }

    /// One past the highest number of an M that has started.
    #[inline]
    pub fn started_end(&self) -> usize {
        MAX - self.started.load(Ordering::Relaxed).leading_zeros() as usize
    }

    /// How many M's have started.
    pub fn started_count(&self) -> u32 {
        self.started.load(Ordering::Relaxed).count_ones()
    }
}
