//! The totals of M's and P's.

use std::collections::BTreeMap;

use trefoil_trace::{Kind, Place, Record, Why};

use super::super::Recording;
use super::super::queues::Replay;
use super::Totals;

/// The totals of one M. Times are in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfM {
    /// On goroutines.
    pub running: u64,
    /// In the search for other P's work.
    pub spinning: u64,
    /// At rest.
    pub resting: u64,
    /// Times a goroutine began to run.
    pub runs: u64,
    /// Of those, goroutines that lost the core.
    pub preempted: u64,
    /// Hauls from other P's.
    pub hauls: u64,
    /// Goroutines in them.
    pub stolen: u64,
    /// Other M's woken.
    pub wakes: u64,
    /// Times this M was woken and found work.
    pub useful: u64,
    /// Times this M was woken and found none.
    pub in_vain: u64,
}

/// The totals of one P, or of the global queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfP {
    /// Nanoseconds in which its goroutines ran.
    pub running: u64,
    /// Goroutines that began to run, by their place before.
    pub from: BTreeMap<Place, u64>,
    /// The most goroutines that waited in its queue.
    pub longest: usize,
    /// Goroutines in its queue times nanoseconds.
    area: u128,
    waiting: usize,
    since: u64,
}

impl OfP {
    /// Returns the mean length of the queue, in thousandths.
    pub fn mean_queue(&self, ns: u64) -> u64 {
        (self.area.saturating_mul(1000) / u128::from(ns.max(1))) as u64
    }

    /// The queue has another length from `ns` on.
    fn set(&mut self, ns: u64, waiting: usize) {
        self.area = self.area.saturating_add(self.waiting as u128 * u128::from(ns - self.since));
        self.longest = self.longest.max(waiting);
        (self.waiting, self.since) = (waiting, ns);
    }
}

/// The occupation of an M.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Now {
    G0,
    Running(Option<usize>),
    Resting,
}

impl Totals {
    pub(super) fn cores(&mut self, run: &Recording) {
        let begin = run.events.begin;
        let mut occupied: BTreeMap<u32, (Now, u64, Option<u64>)> = BTreeMap::new();
        let mut replay = Replay::new(&run.events);
        let new = || OfP { since: begin, ..OfP::default() };
        self.global.since = begin;
        for ring in &run.trace.rings {
            self.ms.entry(ring.m).or_default();
        }
        for event in run.events.iter() {
            let Record { a, b, n, how, p, .. } = event.record;
            let (now, since, spins) = occupied.entry(event.m).or_insert((Now::G0, begin, None));
            let m = self.ms.entry(event.m).or_default();
            let next = match event.kind() {
                Some(Kind::Begin) if a != 0 => Some(Now::Running(event.record.p())),
                Some(Kind::Switch) => {
                    m.runs += u64::from(b != 0);
                    m.preempted += u64::from(event.why() == Why::PREEMPT);
                    if *now == Now::G0 && a != 0 && event.why() != Why::NONE {
                        // It ran before the trace began.
                        *now = Now::Running(event.record.p());
                    }
                    Some(if b == 0 { Now::G0 } else { Now::Running(event.record.p()) })
                }
                Some(Kind::Rest) => Some(Now::Resting),
                Some(Kind::Rise) => Some(Now::G0),
                Some(Kind::Spin) => {
                    *spins = Some(event.ns);
                    None
                }
                Some(Kind::SpinEnd) => {
                    m.spinning += spins.take().map_or(0, |since| event.ns - since);
                    None
                }
                Some(Kind::Steal) => {
                    (m.hauls, m.stolen) = (m.hauls + 1, m.stolen + u64::from(n));
                    None
                }
                Some(Kind::Wake) => {
                    m.wakes += 1;
                    None
                }
                Some(Kind::Woken) => {
                    if how == 1 {
                        m.useful += 1
                    } else {
                        m.in_vain += 1
                    }
                    None
                }
                _ => None,
            };
            if let Some(next) = next {
                let passed = event.ns - *since;
                m.spend(*now, passed);
                if let Now::Running(Some(p)) = *now {
                    self.ps.entry(p as u8).or_insert_with(new).running += passed;
                }
                (*now, *since) = (next, event.ns);
            }
            if event.kind() == Some(Kind::Switch) && b != 0 {
                *self.ps.entry(p).or_insert_with(new).from.entry(event.place()).or_default() += 1;
            }
            replay.step();
            let queues = &replay.queues;
            let victim = Some(b as u8).filter(|_| event.kind() == Some(Kind::Steal));
            for p in victim.into_iter().chain([p]) {
                if let Some(queue) = queues.ps.get(&p) {
                    let waiting = queue.ring.len() + usize::from(queue.slot != 0);
                    self.ps.entry(p).or_insert_with(new).set(event.ns, waiting);
                }
            }
            self.global.set(event.ns, queues.global.len());
        }
        self.end(run, &occupied);
    }

    fn end(&mut self, run: &Recording, occupied: &BTreeMap<u32, (Now, u64, Option<u64>)>) {
        let end = run.end();
        for (m, &(now, since, spins)) in occupied {
            let of_m = self.ms.entry(*m).or_default();
            of_m.spend(now, end - since);
            of_m.spinning += spins.map_or(0, |since| end - since);
            if let Now::Running(Some(p)) = now {
                self.ps.entry(p as u8).or_default().running += end - since;
            }
        }
        for p in self.ps.values_mut().chain([&mut self.global]) {
            p.set(end, p.waiting);
        }
    }
}

impl OfM {
    fn spend(&mut self, now: Now, ns: u64) {
        match now {
            Now::G0 => {}
            Now::Running(_) => self.running += ns,
            Now::Resting => self.resting += ns,
        }
    }
}
