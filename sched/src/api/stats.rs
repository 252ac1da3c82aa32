//! Snapshots of the scheduler's counters.

use alloc::vec::Vec;

use crate::core::m::M;
use crate::core::p::P;
use crate::core::shared::Sched;
use crate::machine::platform;
use crate::machine::sync::Ordering;
pub use crate::measure::latency::Distribution;

/// The counters of one M since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MStats {
    /// The M's number.
    pub m: usize,
    /// G's dispatched.
    pub runs: u64,
    /// G's taken from other P's.
    pub steals: u64,
    /// G's that parked on the M.
    pub parks: u64,
    /// Nanoseconds since the M started.
    pub up_ns: u64,
    /// Nanoseconds at rest, up to now.
    pub idle_ns: u64,
    /// Wake-ups that the M sent.
    pub wakes_sent: u64,
    /// Wake-ups that the M received.
    pub wakes_received: u64,
    /// Of those, how many found nothing to run.
    pub wakes_useless: u64,
    /// Timer interrupts that the M took.
    pub timer_interrupts: u64,
    /// G's whose core was taken away because their slice was over.
    pub preemptions: u64,
    /// Times that the M took G's from another P: one or many at once.
    pub hauls: u64,
    /// Times that the M set its core's one-shot timer.
    pub timer_writes: u64,
    /// Nanoseconds that the M has waited for spin locks of the scheduler, channels among them.
    pub lock_ns: u64,
}

impl MStats {
    /// Returns the share of its time that the M was at rest, 0 to 1.
    ///
    /// ```ignore
    /// runtime::stats().ms.iter().for_each(|m| println!("M {}: {:.1} % idle", m.m, m.idle_share() * 100.0));
    /// ```
    pub fn idle_share(&self) -> f64 {
        if self.up_ns == 0 { 0.0 } else { (self.idle_ns as f64 / self.up_ns as f64).min(1.0) }
    }
}

/// Latencies; `measure/latency.rs` says what exactly is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latencies {
    /// From ready to running.
    pub ready: Distribution,
    /// From a timer's deadline to its firing.
    pub timer: Distribution,
    /// From the end of a slice to the G's being off the core.
    pub preempt: Distribution,
}

impl Latencies {
    fn of(p: &P) -> Self {
        Self {
            ready: p.latency.ready.snapshot(),
            timer: p.latency.timer.snapshot(),
            preempt: p.latency.preempt.snapshot(),
        }
    }

    /// Returns the additions since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            ready: self.ready.since(&before.ready),
            timer: self.timer.since(&before.timer),
            preempt: self.preempt.since(&before.preempt),
        }
    }
}

/// The scheduler's counters since boot. Taken without stopping any core, so the numbers of running
/// cores may be a little apart.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stats {
    /// One entry for each started M.
    pub ms: Vec<MStats>,
    /// The latencies on each P.
    pub latencies: Vec<Latencies>,
    /// G's that live.
    pub goroutines: u64,
    /// G records waiting for their next life.
    pub free_goroutines: usize,
    /// G's in the global queue.
    pub global_queue: usize,
    /// Timers that are pending.
    pub timers: usize,
}

impl Stats {
    /// Returns the latencies on all P's together.
    ///
    /// ```ignore
    /// println!("sleepers: {:?}", runtime::stats().latency().timer); // 120 (p50 2.047µs, p99 16.383µs, max 32.767µs)
    /// ```
    pub fn latency(&self) -> Latencies {
        self.latencies.iter().fold(Latencies::default(), |mut sum, p| {
            sum.ready.add(&p.ready);
            sum.timer.add(&p.timer);
            sum.preempt.add(&p.preempt);
            sum
        })
    }

    /// Returns the sum over all M's (its `m` is 0).
    pub fn total(&self) -> MStats {
        self.ms.iter().fold(MStats::default(), |a, b| MStats {
            m: 0,
            runs: a.runs + b.runs,
            steals: a.steals + b.steals,
            parks: a.parks + b.parks,
            up_ns: a.up_ns + b.up_ns,
            idle_ns: a.idle_ns + b.idle_ns,
            wakes_sent: a.wakes_sent + b.wakes_sent,
            wakes_received: a.wakes_received + b.wakes_received,
            wakes_useless: a.wakes_useless + b.wakes_useless,
            timer_interrupts: a.timer_interrupts + b.timer_interrupts,
            preemptions: a.preemptions + b.preemptions,
            hauls: a.hauls + b.hauls,
            timer_writes: a.timer_writes + b.timer_writes,
            lock_ns: a.lock_ns + b.lock_ns,
        })
    }
}

impl M {
    /// Returns the M's counters so far.
    pub fn stats(&self) -> MStats {
        let (c, now) = (&self.counters, platform::now());
        // Before the sum, which includes it: a rest that ends in between is counted once at most.
        let rests = now.saturating_sub(self.resting_since.load(Ordering::Relaxed));
        MStats {
            m: self.index(),
            runs: c.runs.get(),
            steals: c.steals.get(),
            parks: c.parks.get(),
            up_ns: now.saturating_sub(self.started_at.load(Ordering::Relaxed)),
            idle_ns: c.idle_ns.get() + rests,
            wakes_sent: c.wakes_sent.get(),
            wakes_received: c.wakes_received.get(),
            wakes_useless: c.wakes_useless.get(),
            timer_interrupts: c.timer_interrupts.get(),
            preemptions: c.preemptions.get(),
            hauls: c.hauls.get(),
            timer_writes: c.timer_writes.get(),
            lock_ns: c.lock_ns.get(),
        }
    }
}

impl Sched {
    /// Returns the times from ready to running on all P's. Allocates nothing, and takes no lock.
    pub fn latency_ready(&'static self) -> Distribution {
        self.ps().iter().fold(Distribution::default(), |mut sum, p| {
            sum.add(&p.latency.ready.snapshot());
            sum
        })
    }

    /// Takes a snapshot.
    pub fn stats(&'static self) -> Stats {
        Stats {
            ms: self.ms().map(M::stats).collect(),
            latencies: self.ps().iter().map(Latencies::of).collect(),
            goroutines: self.num_goroutines(),
            free_goroutines: self.num_free(),
            global_queue: self.globq.len(),
            timers: self.num_timers(),
        }
    }
}
