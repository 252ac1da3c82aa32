//! Hauls: how a thief learns from its steals, and when it leaves work where it is.
//!
// ANCHOR: haul
//! ```text
//!              200 µs of hauls that did not pay
//!   eager ─────────────────────────────────────────▶ shy: looks every 50 µs, naps in between
//!   takes half of ◀───────────────────────────────── takes half of a ring whose P is stuck,
//!   what waits       after 2 ms, up to 64 ms:        one G that a chain of hand-overs has
//!                    a trial                         passed by for 1 ms, else nothing
//! ```
// ANCHOR_END: haul
//!
//! G's that pass messages run for a fraction of a microsecond, then wait for each other. A steal of
//! such a G costs more than the G's run. Its stack and its channel lie in the other core's cache,
//! and from then on both cores contend for the channel. Such a program is fastest on one core. A G
//! that computes is worth the steal. A thief cannot tell the two apart beforehand, so it tries, and
//! judges after [`TRIAL`]. A trial *pays* in two cases:
//!
//! * Most G's ended, or were preempted, rather than parked.
//! * M's did not wait for spin locks for an eighth of their time (G's that contend run often and
//!   get nowhere). And either the G's ran for [`GRAIN`] each, or all M's together dispatched a
//!   quarter more G's a second than without this one.
//!
//! The rate without this M is measured while the M is shy, and anew after [`STALE`].
//!
//! **INV-WATCH**: a shy M that leaves G's behind goes on looking while G's wait or are dispatched,
//! and counts as spinning. The alternative is another M that had not stopped spinning when this one
//! lay down ([`is_watched`](crate::internals::idle::IdleSets::is_watched)). So submitters wake
//! nobody meanwhile. A G behind a long-running one waits for two looks, 100 µs, beside an M without
//! work. A nap is a rest with the P kept, and every interrupt ends it. Only the core that has
//! nothing to do pays for it.
//!
//! Any M takes from the global queue, due timers and ripe slots at once, shy or not.
//!
//! Rejected:
//!
//! * an age in each G: a clock read in each `ready`;
//! * a look at a ring's progress, without a memory: once two cores contend, everything is slow and
//!   seems worth a steal;
//! * a bound on how long G's run alone: a `select!` over eight channels parks every microsecond,
//!   and gains 2.5 times from a second core;
//! * wake-ups by the busy core's alarm: an interrupt every 50 µs where the work is.

use crate::core::slot::SLOT_DELAY;

use memory::{Done, SHY, SHY_MAX, Seen, What};

pub(crate) mod memory;

use crate::core::m::M;
use crate::core::p::P;
use crate::core::shared::Sched;
use crate::machine::platform;
use crate::machine::sync::Ordering;
use crate::queue::ring::CAPACITY;

/// A G that runs for this long at a time is worth its way to another core, at any rates: 5 µs.
const GRAIN: u64 = 5_000;

/// M's that wait for spin locks for more than this part of their time contend (a *quarrel*).
const QUARREL: u64 = 8;

/// An M tries for this long before it judges: 200 µs.
const TRIAL: u64 = 200_000;

/// An M judges earlier if it has taken this many G's.
const TRIED: u64 = 128;

/// The rate of the others without this M is measured anew after this long: 50 ms.
const STALE: u64 = 50_000_000;

/// The time between two looks of a shy M.
const NEAR: u64 = SLOT_DELAY;

/// A P that runs its G's for longer than this at a time is stuck: 10 µs.
const STUCK: u64 = 10_000;

/// A chain of hand-overs may pass by a G in the ring for this long: 1 ms.
const PASSED: u64 = 1_000_000;

impl M {
    /// Starts a measurement when this M has taken G's from another P.
    #[cold]
    #[inline(never)]
    pub(crate) fn begin_haul(&self) {
        if cfg!(loom) {
            return;
        }
        // The time that follows does not show the others' progress without this M.
        let what = if self.is_shy() { What::Rescue } else { What::Trial };
        if self.haul.what.get() != what {
            self.measure(what, platform::now());
        }
    }

    /// Ends any measurement when this M goes to rest: a rest is no part of a trial.
    pub(crate) fn forget_haul(&self) {
        self.haul.what.set(What::Nothing);
    }

    #[cold]
    #[inline(never)]
    fn measure(&self, what: What, now: u64) {
        let haul = &self.haul;
        haul.what.set(what);
        haul.since.set(now);
        haul.all.set(self.sched.done());
        haul.runs.set(self.counters.runs.get());
        haul.parks.set(self.counters.parks.get());
        haul.steals.set(self.counters.steals.get());
    }

    /// Judges, when this M is out of work, its hauls or its leaving G's where they are.
    #[cold]
    #[inline(never)]
    #[optimize(size)]
    pub(crate) fn end_haul(&self) {
        if cfg!(loom) {
            return;
        }
        let haul = &self.haul;
        let now = platform::now();
        let took = now.saturating_sub(haul.since.get());
        let runs = self.counters.runs.get() - haul.runs.get();
        match haul.what.get() {
            What::Nothing if self.is_shy() => self.measure(What::Alone, now),
            What::Nothing => {}
            What::Alone if took < TRIAL => {}
            What::Alone => {
                let rate = self.rate(took).0;
                haul.alone.set((rate, now));
                let with = haul.with.replace(0);
                if with != 0 {
                    self.judge(now, with, rate);
                } else if now >= haul.shy_until.get() {
                    haul.shy_until.set(0);
                    haul.what.set(What::Nothing);
                }
            }
            What::Trial if took < TRIAL && self.counters.steals.get() - haul.steals.get() < TRIED => {}
            What::Trial | What::Rescue => {
                let (rate, waited) = self.rate(took);
                let (alone, at) = haul.alone.get();
                if 2 * (self.counters.parks.get() - haul.parks.get()) <= runs {
                    self.be_eager();
                } else if QUARREL * waited > took {
                    haul.meek.set(haul.what.get() == What::Rescue);
                    self.be_shy(now);
                } else if took >= GRAIN * runs {
                    self.be_eager();
                } else if self.is_shy() {
                    self.measure(What::Alone, now);
                } else if at == 0 || now - at > STALE {
                    haul.with.set(rate);
                    haul.shy_until.set(now);
                    haul.what.set(What::Nothing);
                } else {
                    self.judge(now, rate, alone);
                }
            }
        }
    }

    /// Returns the dispatches a second of all M's, and each one's wait for spin locks, since the
    /// measurement began `took` ago.
    #[cold]
    #[inline(never)]
    #[optimize(size)]
    fn rate(&self, took: u64) -> (u64, u64) {
        let (before, all) = (self.haul.all.get(), self.sched.done());
        let waited = (all.waited - before.waited) / u64::from(self.sched.busy_ps());
        ((all.dispatches - before.dispatches) * 1_000_000_000 / took.max(1), waited)
    }

    #[cold]
    #[inline(never)]
    fn be_eager(&self) {
        let haul = &self.haul;
        haul.what.set(What::Nothing);
        haul.shy_until.set(0);
        haul.patience.set((haul.patience.get() / 2).max(SHY));
        haul.meek.set(false);
    }

    /// Judges whether it pays to take part, by the rate of all M's `with` this one and without.
    #[cold]
    #[inline(never)]
    fn judge(&self, now: u64, with: u64, alone: u64) {
        if with * 4 >= alone * 5 { self.be_eager() } else { self.be_shy(now) }
    }

    #[cold]
    #[inline(never)]
    fn be_shy(&self, now: u64) {
        let haul = &self.haul;
        let patience = haul.patience.get();
        haul.what.set(What::Nothing);
        haul.shy_until.set(now + patience);
        haul.patience.set((2 * patience).min(SHY_MAX));
    }

    /// Returns true if this M leaves short-lived work to others.
    pub(crate) fn is_shy(&self) -> bool {
        self.haul.shy_until.get() != 0
    }

    /// Returns the most G's that this M may take from the ring of `victim`. A steal takes half of a
    /// ring at most.
    pub(crate) fn may_take(&self, victim: &P) -> u32 {
        if self.is_shy() { self.takes_shyly(victim) } else { CAPACITY }
    }

    #[cold]
    #[inline(never)]
    #[optimize(size)]
    fn takes_shyly(&self, victim: &P) -> u32 {
        let (head, waits) = victim.runq.look();
        let place = &self.haul.seen[victim.index()];
        let seen = place.get();
        if waits == 0 {
            place.set(Seen { since: 0, ..seen });
            return 0;
        }
        let (now, ran) = (platform::now(), self.sched.runs_of(victim));
        if seen.since == 0 || seen.head != head {
            place.set(Seen { head, ran, since: now });
            return 0;
        }
        let waited = now - seen.since;
        if waited >= NEAR && ran.wrapping_sub(seen.ran) < waited / STUCK {
            if self.haul.meek.get() { 1 } else { CAPACITY }
        } else {
            u32::from(waited >= PASSED)
        }
    }

    /// Returns true if an M that found nothing it may take goes on looking, in a while. Such an M
    /// counts as spinning.
    #[cold]
    #[inline(never)]
    #[optimize(size)]
    pub(crate) fn watches(&self) -> bool {
        if !self.is_shy() {
            return false;
        }
        let now = platform::now();
        let all = self.sched.dispatches();
        let (before, since) = self.haul.look.replace((all, now));
        // After a look that is long ago, the rate tells nothing.
        let gets_on = all - before >= (now - since) / STUCK && now - since < 4 * NEAR;
        gets_on || self.sched.ps().iter().any(|p| p.waiting() != 0)
    }

    /// Rests with the P kept, between two looks.
    #[cold]
    #[inline(never)]
    #[optimize(size)]
    pub(crate) fn nap(&self, p: &P) {
        let now = platform::now();
        // Nobody waits here.
        p.forget_alarms();
        let until = p.next_alarm().min(now + NEAR);
        self.resting_since.store(now, Ordering::Relaxed);
        platform::idle(&self.token, until);
        self.resting_since.store(u64::MAX, Ordering::Relaxed);
        self.counters.idle_ns.add(platform::now().saturating_sub(now));
        // The one-shot was the idle hook's to use.
        self.forget_armed();
        self.arm(p.next_alarm());
    }
}

impl Sched {
    #[cold]
    #[inline(never)]
    fn done(&'static self) -> Done {
        Done { dispatches: self.dispatches(), waited: self.ms().map(|m| m.counters.lock_ns.get()).sum() }
    }

    /// Returns how many P's have an M, at least one: the asking M has one.
    fn busy_ps(&self) -> u32 {
        (self.num_ps() as u32).saturating_sub(self.rest.idle_p_count()).max(1)
    }

    /// Returns the dispatches of the M that holds `p`.
    fn runs_of(&'static self, p: &P) -> u64 {
        let holder = self.ms().find(|m| m.p().is_some_and(|held| core::ptr::eq(held, p)));
        holder.map_or(0, |m| m.counters.runs.get())
    }
}
