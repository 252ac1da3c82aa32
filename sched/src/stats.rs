//! Snapshots of what the scheduler has done.

use alloc::vec::Vec;

use crate::m::M;
use crate::sched::Sched;

/// What one M has done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MStats {
    /// Its number.
    pub m: usize,
    /// G's dispatched.
    pub runs: u64,
    /// G's taken from other P's.
    pub steals: u64,
    /// G's that parked on it.
    pub parks: u64,
    /// Nanoseconds at rest.
    pub idle_ns: u64,
    /// Wake-ups it sent.
    pub wakes_sent: u64,
    /// Wake-ups it received.
    pub wakes_received: u64,
    /// Of those, how many found nothing to run.
    pub wakes_useless: u64,
    /// Timer interrupts it took.
    pub timer_interrupts: u64,
    /// G's whose core was taken away because their slice was over.
    pub preemptions: u64,
}

/// What the scheduler has done since boot. Taken without stopping anybody, so the numbers of running cores may be a little apart.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stats {
    /// One entry for each started M.
    pub ms: Vec<MStats>,
    /// G's that live.
    pub goroutines: u64,
    /// G records waiting for their next life.
    pub free_goroutines: usize,
    /// G's in the global queue.
    pub global_queue: usize,
}

impl Stats {
    /// The sum over all M's (its `m` is 0).
    pub fn total(&self) -> MStats {
        self.ms.iter().fold(MStats::default(), |a, b| MStats {
            m: 0,
            runs: a.runs + b.runs,
            steals: a.steals + b.steals,
            parks: a.parks + b.parks,
            idle_ns: a.idle_ns + b.idle_ns,
            wakes_sent: a.wakes_sent + b.wakes_sent,
            wakes_received: a.wakes_received + b.wakes_received,
            wakes_useless: a.wakes_useless + b.wakes_useless,
            timer_interrupts: a.timer_interrupts + b.timer_interrupts,
            preemptions: a.preemptions + b.preemptions,
        })
    }
}

impl M {
    /// What it has done so far.
    pub fn stats(&self) -> MStats {
        let c = &self.counters;
        MStats {
            m: self.index(),
            runs: c.runs.get(),
            steals: c.steals.get(),
            parks: c.parks.get(),
            idle_ns: c.idle_ns.get(),
            wakes_sent: c.wakes_sent.get(),
            wakes_received: c.wakes_received.get(),
            wakes_useless: c.wakes_useless.get(),
            timer_interrupts: c.timer_interrupts.get(),
            preemptions: c.preemptions.get(),
        }
    }
}

impl Sched {
    /// A snapshot.
    pub fn stats(&'static self) -> Stats {
        Stats {
            ms: self.ms().map(M::stats).collect(),
            goroutines: self.num_goroutines(),
            free_goroutines: self.num_free(),
            global_queue: self.globq.len(),
        }
    }
}
