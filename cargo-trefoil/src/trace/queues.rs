//! The queues' contents at any event, replayed by the format's rules, and compared with the
//! kernel's own snapshots.
//!
//! A step applies one event. Two M's may touch one ring at the same time, so the order of their
//! records may be another than that of their changes. A record names the goroutine that it takes:
//! a goroutine is found by its number, wherever it stands in the ring. So the contents are right
//! again as soon as both records are read.

use std::collections::{BTreeMap, VecDeque};

use trefoil_trace::{Kind, Place, Record, Why};

use super::events::{Event, Events};

/// The queues of all P's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queues {
    /// By number of the P.
    pub ps: BTreeMap<u8, Queue>,
    /// The global queue, oldest first.
    pub global: VecDeque<u64>,
    /// The inbox of goroutines that interrupts have readied.
    pub inbox: VecDeque<u64>,
    /// Each M's goroutines that are pinned to it.
    pub pinned: BTreeMap<u32, VecDeque<u64>>,
    /// The goroutine that an M has taken, and is about to run.
    pub hands: BTreeMap<u32, Vec<u64>>,
    /// The goroutine on each M; none: g0.
    pub running: BTreeMap<u32, u64>,
    /// Goroutines that a record took from a place where they did not stand.
    pub missed: u64,
}

/// The queue of a P.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// The goroutine in the slot; 0: none.
    pub slot: u64,
    /// The ring, oldest first.
    pub ring: VecDeque<u64>,
}

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
/// A trace that begins in the middle knows a queue from its first snapshot on: that one sets the
/// contents.
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
            match replay.queues.compare(replay.at, event) {
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
    /// The queues that are known: those with a snapshot, if the first records are missing.
    known: BTreeMap<u8, ()>,
}

impl<'a> Replay<'a> {
    /// Begins at the first event.
    pub fn new(events: &'a Events) -> Self {
        Self { events, at: 0, queues: Queues::default(), known: BTreeMap::new() }
    }

    /// Applies the next event, and returns it.
    pub fn step(&mut self) -> Option<&'a Event> {
        let event = self.events.get(self.at)?;
        if self.sets(event) {
            self.known.insert(event.record.p, ());
            self.queues.set(event);
        }
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

    /// Returns true if a queue is known from this event on only.
    fn sets(&self, event: &Event) -> bool {
        let is_snapshot = event.kind() == Some(Kind::Snapshot);
        is_snapshot && self.events.is_cut_in_front && !self.known.contains_key(&event.record.p)
    }
}

impl Queues {
    /// Applies an event.
    pub fn apply(&mut self, event: &Event) {
        let Record { a, b, n, p, .. } = event.record;
        match event.kind() {
            Some(Kind::Create | Kind::Ready | Kind::Put) => {
                if event.kind() == Some(Kind::Put) && event.why() == Why::NONE {
                    // It was moved: it stands somewhere.
                    self.remove(p, a);
                }
                self.put(event.m, p, event.place(), a);
            }
            Some(Kind::ChainEnd) => {
                self.remove(p, a);
                self.put(event.m, p, Place::Ring, a);
            }
            Some(Kind::Switch) => {
                self.running.remove(&event.m);
                if b != 0 {
                    self.take(event, b);
                    self.running.insert(event.m, b);
                }
                if a != 0 && event.why() == Why::YIELD {
                    self.put(event.m, p, Place::Ring, a);
                }
            }
            Some(Kind::Overflow) => self.overflow(p, n as usize, a),
            Some(Kind::Steal) => self.steal(event, b as u8, n as usize, a),
            Some(Kind::Share) => {
                let n = (n as usize).min(self.global.len());
                let back = (b as usize).min(n.saturating_sub(1));
                let mut taken: Vec<u64> = self.global.drain(..n).collect();
                match taken.iter().position(|&g| g == a) {
                    Some(at) => drop(taken.remove(at)),
                    None => self.missed += 1,
                }
                let kept = taken.len().saturating_sub(back);
                self.global.extend(taken.drain(kept..));
                self.ps.entry(p).or_default().ring.extend(taken);
                self.hands.entry(event.m).or_default().push(a);
            }
            _ => {}
        }
    }

    fn put(&mut self, m: u32, p: u8, place: Place, g: u64) {
        match place {
            Place::Slot => {
                let queue = self.ps.entry(p).or_default();
                let old = std::mem::replace(&mut queue.slot, g);
                if old != 0 {
                    queue.ring.push_back(old);
                }
            }
            Place::Ring => self.ps.entry(p).or_default().ring.push_back(g),
            Place::Global => self.global.push_back(g),
            Place::Inbox => self.inbox.push_back(g),
            Place::Pinned => self.pinned.entry(m).or_default().push_back(g),
            Place::Hand => self.hands.entry(m).or_default().push(g),
            Place::Nowhere | Place::Marked | Place::Timers => {}
        }
    }

    /// The ring found no room for `g`: its oldest go to the global queue, and then `g`.
    fn overflow(&mut self, p: u8, n: usize, g: u64) {
        let queue = self.ps.entry(p).or_default();
        if let Some(at) = queue.ring.iter().rposition(|&other| other == g) {
            queue.ring.remove(at);
        }
        let n = n.min(queue.ring.len());
        self.global.extend(queue.ring.drain(..n));
        self.global.push_back(g);
    }

    /// A thief takes `n`, the last of them `g`.
    fn steal(&mut self, event: &Event, victim: u8, n: usize, g: u64) {
        let from = self.ps.entry(victim).or_default();
        let hand = self.hands.entry(event.m).or_default();
        hand.push(g);
        if from.slot == g {
            from.slot = 0;
            return;
        }
        let Some(at) = from.ring.iter().position(|&other| other == g) else {
            self.missed += 1;
            return self.remove(victim, g);
        };
        let first = (at + 1).saturating_sub(n);
        let mut taken: Vec<u64> = from.ring.drain(first..=at).collect();
        taken.pop();
        self.ps.entry(event.record.p).or_default().ring.extend(taken);
    }

    /// A goroutine leaves its place for a core.
    fn take(&mut self, event: &Event, g: u64) {
        if let Some(hand) = self.hands.get_mut(&event.m)
            && let Some(at) = hand.iter().position(|&other| other == g)
        {
            hand.remove(at);
            return;
        }
        let p = event.record.p;
        let queue = self.ps.entry(p).or_default();
        let is_there = match event.place() {
            Place::Slot if queue.slot == g => {
                queue.slot = 0;
                true
            }
            Place::Ring => remove(&mut queue.ring, g),
            Place::Global => remove(&mut self.global, g),
            Place::Inbox => remove(&mut self.inbox, g),
            Place::Pinned => self.pinned.values_mut().any(|queue| remove(queue, g)),
            Place::Hand | Place::Nowhere | Place::Marked | Place::Timers => true,
            Place::Slot => false,
        };
        if !is_there {
            self.missed += 1;
            self.remove(p, g);
        }
    }

    /// Removes a goroutine, wherever it stands.
    fn remove(&mut self, p: u8, g: u64) {
        let first = self.ps.get_mut(&p).into_iter();
        let found = first.chain([]).any(|queue| queue.remove(g));
        let _ = found
            || self.ps.values_mut().any(|queue| queue.remove(g))
            || remove(&mut self.global, g)
            || remove(&mut self.inbox, g)
            || self.pinned.values_mut().any(|queue| remove(queue, g));
    }

    /// Takes the contents of a queue from a snapshot.
    fn set(&mut self, event: &Event) {
        let queue = event.queue.iter().flatten().copied().collect();
        if event.record.p == Record::NO_P {
            self.global = queue;
        } else {
            self.ps.insert(event.record.p, Queue { slot: event.record.a, ring: queue });
        }
    }

    fn compare(&self, at: usize, event: &Event) -> Option<Mismatch> {
        let kernel = (event.record.a, event.queue.as_deref().unwrap_or(&[]).to_vec());
        let p = Some(event.record.p).filter(|&p| p != Record::NO_P);
        let replayed = match p {
            None => (0, self.global.iter().copied().collect()),
            Some(p) => {
                self.ps.get(&p).map(|queue| (queue.slot, queue.ring.iter().copied().collect())).unwrap_or_default()
            }
        };
        (kernel != replayed).then_some(Mismatch { event: at, p, kernel, replayed })
    }
}

impl Queue {
    fn remove(&mut self, g: u64) -> bool {
        if self.slot == g {
            self.slot = 0;
            return true;
        }
        remove(&mut self.ring, g)
    }
}

fn remove(queue: &mut VecDeque<u64>, g: u64) -> bool {
    let at = queue.iter().position(|&other| other == g);
    at.and_then(|at| queue.remove(at)).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::file::Trace;
    use super::super::sample::Sample;
    use super::*;

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
        let sample = Sample { flight: true, capacity: 4_000, events: 30_000, ..Sample::default() };
        let events = Events::of(&Trace::parse(&sample.file()).unwrap());
        let (matched, mismatches) = verify(&events);
        assert!(matched > 5 && mismatches.is_empty(), "{matched} {:?}", mismatches.first());
    }
}
