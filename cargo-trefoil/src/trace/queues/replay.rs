//! A walk through the events, and the comparison with the kernel's snapshots.

use std::collections::VecDeque;

use trefoil_trace::{Kind, Record};

use super::super::events::{Event, Events};
use super::known::Known;
use super::{Queue, Queues};

/// How far the comparison looks ahead for a thief's record: 10 ms.
const NEAR_NS: u64 = 10_000_000;

/// A snapshot of the kernel's that the replay does not agree with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The number of the event.
    pub event: usize,
    /// The P; `None`: the global queue.
    pub p: Option<u8>,
    /// The slot and the queue as the kernel had them.
    pub kernel: (u64, Vec<u64>),
    /// The slot and the queue as they were replayed.
    pub replayed: (u64, Vec<u64>),
}

/// Replays all events, and compares each snapshot. Returns how many agree, and those that do not.
///
/// A trace that begins in the middle does not know all queues. There, a snapshot of a queue that is
/// not known sets its contents.
///
/// ```
/// use cargo_trefoil::trace::{events::Events, queues, sample::Sample, Trace};
///
/// let trace = Trace::parse(&Sample::default().file()).unwrap();
/// let (matched, mismatches) = queues::verify(&Events::of(&trace));
/// assert!(matched > 10 && mismatches.is_empty());
/// ```
pub fn verify(events: &Events) -> (usize, Vec<Mismatch>) {
    let mut replay = Replay::new(events);
    let (mut matched, mut mismatches) = (0, Vec::new());
    while let Some(event) = replay.events.get(replay.at) {
        if event.kind() == Some(Kind::Snapshot) && !replay.sets(event) {
            match replay.compare(event) {
                None => matched += 1,
                Some(mismatch) => mismatches.push(mismatch),
            }
        }
        replay.step();
    }
    (matched, mismatches)
}

/// Walks through the events.
#[derive(Debug, Clone)]
pub struct Replay<'a> {
    events: &'a Events,
    /// The number of the next event.
    pub at: usize,
    /// The contents before it.
    pub queues: Queues,
    known: Known,
}

impl<'a> Replay<'a> {
    /// Begins at the first event.
    pub fn new(events: &'a Events) -> Self {
        Self { events, at: 0, queues: Queues::default(), known: Known::new(!events.is_cut_in_front) }
    }

    /// Applies the next event, and returns it.
    pub fn step(&mut self) -> Option<&'a Event> {
        let event = self.events.get(self.at)?;
        if self.sets(event) {
            self.known.learn(event.record.p);
            self.queues.set(event);
        }
        self.known.follow(&mut self.queues, event);
        self.queues.apply(event);
        self.at += 1;
        Some(event)
    }

    /// Goes to the event with this number; backwards from the first one on.
    pub fn go_to(&mut self, at: usize) {
        if at < self.at {
            *self = Self::new(self.events);
        }
        while self.at < at && self.step().is_some() {}
    }

    /// Compares a snapshot, the next event, with what was replayed.
    fn compare(&self, event: &Event) -> Option<Mismatch> {
        let kernel = (event.record.a, event.queue.as_deref().unwrap_or(&[]).to_vec());
        let p = Some(event.record.p).filter(|&p| p != Record::NO_P);
        let mut queue = match p {
            None => Queue { slot: 0, ring: self.queues.global.clone() },
            Some(p) => self.queues.ps.get(&p).cloned().unwrap_or_default(),
        };
        if let Some(&g) = self.queues.yielded.get(&event.m) {
            // It stands in the ring as soon as its registers are saved: after the snapshot.
            queue.remove(g);
        }
        let is_equal = |queue: &Queue| queue.slot == kernel.0 && queue.ring.iter().eq(&kernel.1);
        if is_equal(&queue) {
            return None;
        }
        let replayed = (queue.slot, queue.ring.iter().copied().collect());
        // A thief writes its record after it has taken the goroutines.
        let near = |later: &&Event| later.ns <= event.ns.saturating_add(NEAR_NS);
        for later in self.events[self.at..].iter().take_while(near) {
            let Record { a, b, n, .. } = later.record;
            let is_from_here = p.is_some_and(|p| b == u64::from(p)) && later.m != event.m;
            if later.kind() == Some(Kind::Steal) && is_from_here {
                queue.stolen(n as usize, a);
                if is_equal(&queue) {
                    return None;
                }
            }
        }
        Some(Mismatch { event: self.at, p, kernel, replayed })
    }

    /// Returns true if a queue is known from this event on only.
    fn sets(&self, event: &Event) -> bool {
        event.kind() == Some(Kind::Snapshot) && !self.known.has(event.record.p)
    }
}

impl Queues {
    /// Takes the contents of a queue from a snapshot.
    fn set(&mut self, event: &Event) {
        let mut queue: VecDeque<u64> = event.queue.iter().flatten().copied().collect();
        if event.record.p == Record::NO_P {
            self.global = queue;
        } else {
            queue.extend(self.yielded.get(&event.m));
            self.ps.insert(event.record.p, Queue { slot: event.record.a, ring: queue });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::file::Trace;
    use super::super::super::sample::Sample;
    use super::*;
    use trefoil_trace::Why;

    #[test]
    fn the_replay_agrees_with_every_snapshot() {
        for seed in 0..8 {
            let sample =
                Sample { seed, goroutines: [30, 3000][seed as usize % 2], events: 30_000, ..Sample::default() };
            let events = Events::of(&Trace::parse(&sample.file()).unwrap());
            let (matched, mismatches) = verify(&events);
            assert!(matched > 20, "{matched}");
            assert_eq!(mismatches.first(), None, "seed {seed}");
            let mut replay = Replay::new(&events);
            replay.go_to(usize::MAX);
            assert_eq!(replay.queues.missed, 0);
        }
    }

    #[test]
    fn the_samples_reach_every_rule() {
        let sample = |goroutines| Sample { goroutines, events: 60_000, ..Sample::default() }.file();
        let events = [100, 3_000].map(|goroutines| Events::of(&Trace::parse(&sample(goroutines)).unwrap()).list);
        let events = events.concat();
        for kind in [Kind::Overflow, Kind::Share, Kind::Steal, Kind::Tick, Kind::Put, Kind::Wake, Kind::Snapshot] {
            assert!(events.iter().any(|event| event.kind() == Some(kind)), "{kind:?}");
        }
    }

    #[test]
    fn a_rule_that_is_broken_is_noticed() {
        let mut events = Events::of(&Trace::parse(&Sample::default().file()).unwrap());
        let yielded = |event: &&mut Event| event.kind() == Some(Kind::Switch) && event.why() == Why::YIELD;
        events.list.iter_mut().filter(yielded).for_each(|event| event.record.how = Why::PREEMPT.0);
        assert_ne!(verify(&events).1, []);
    }

    #[test]
    fn a_step_back_gives_the_contents_that_were_there() {
        let events = Events::of(&Trace::parse(&Sample::default().file()).unwrap());
        let mut replay = Replay::new(&events);
        replay.go_to(500);
        let then = replay.queues.clone();
        replay.go_to(900);
        replay.go_to(500);
        assert_eq!((replay.at, replay.queues == then), (500, true));
    }

    #[test]
    fn a_flight_takes_the_first_snapshots_and_agrees_with_the_next() {
        for seed in 0..16 {
            let goroutines = [100, 3_000][seed as usize % 2];
            let sample =
                Sample { seed, flight: true, capacity: 6_000, events: 60_000, goroutines, ..Sample::default() };
            let events = Events::of(&Trace::parse(&sample.file()).unwrap());
            let (matched, mismatches) = verify(&events);
            assert!(matched > 5 && mismatches.is_empty(), "seed {seed}: {matched} {:?}", mismatches.first());
        }
    }
}
