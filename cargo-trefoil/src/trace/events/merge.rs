//! The records of several M's become one list.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use trefoil_trace::{Kind, Place, Record};

use super::Event;

/// How far the search for a cause goes, in nanoseconds and in records of an M.
const HELD_NS: u64 = 10_000_000;
const HELD_RECORDS: usize = 2_000;

/// The state of a goroutine, as far as the order of records depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Runnable,
    Running,
    Waiting,
    Gone,
}

/// The state that a record needs, and that another M's record gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Need {
    /// The goroutine can run.
    Runnable(u64),
    /// The goroutine has left its core.
    Left(u64),
    /// Nobody holds the P.
    Free(u8),
}

pub(super) struct Merge {
    rings: Vec<std::vec::IntoIter<Event>>,
    /// The first record of each that is not held back: time, rank, ring.
    heads: BinaryHeap<Reverse<(u64, u8, usize)>>,
    /// The rings whose first record is held back, by what it needs.
    held: HashMap<Need, Vec<usize>>,
    states: HashMap<u64, State>,
    /// The M that holds each P.
    holders: HashMap<u8, u32>,
    /// Goroutines whose creation is still to come.
    unborn: HashSet<u64>,
    pub(super) uncaused: u64,
    last: u64,
}

impl Merge {
    pub(super) fn new(all: Vec<Vec<Event>>, is_whole: bool) -> Self {
        let creates = all.iter().flatten().filter(|event| event.kind() == Some(Kind::Create));
        let unborn = if is_whole { creates.map(|event| event.record.a).collect() } else { HashSet::new() };
        let mut merge = Self {
            rings: all.into_iter().map(Vec::into_iter).collect(),
            heads: BinaryHeap::new(),
            held: HashMap::new(),
            states: HashMap::new(),
            holders: HashMap::new(),
            unborn,
            uncaused: 0,
            last: 0,
        };
        (0..merge.rings.len()).for_each(|ring| merge.show(ring));
        merge
    }

    /// Puts the first record of a ring among those to choose from.
    fn show(&mut self, ring: usize) {
        if let Some(event) = self.rings[ring].as_slice().first() {
            self.heads.push(Reverse((event.ns, rank(event), ring)));
        }
    }

    pub(super) fn run(&mut self) -> Vec<Event> {
        let mut list = Vec::with_capacity(self.rings.iter().map(ExactSizeIterator::len).sum());
        loop {
            let Some(Reverse((_, _, ring))) = self.heads.pop() else {
                // A circle of needs: the trace is not as it should be.
                let Some(need) = self.earliest_held() else { return list };
                self.uncaused += 1;
                self.take(need.1, &mut list);
                continue;
            };
            match self.need(&self.rings[ring].as_slice()[0]) {
                Some(need) if self.is_coming(need, ring) => self.held.entry(need).or_default().push(ring),
                need => {
                    self.uncaused += u64::from(need.is_some());
                    self.take(ring, &mut list);
                }
            }
        }
    }

    /// Frees the held ring with the earliest record.
    fn earliest_held(&mut self) -> Option<(Need, usize)> {
        let time = |ring: usize| self.rings[ring].as_slice()[0].ns;
        let all = self.held.iter().flat_map(|(&need, rings)| rings.iter().map(move |&ring| (need, ring)));
        let (need, ring) = all.min_by_key(|&(_, ring)| (time(ring), ring))?;
        let rings = self.held.get_mut(&need)?;
        rings.retain(|&held| held != ring);
        if rings.is_empty() {
            self.held.remove(&need);
        }
        Some((need, ring))
    }

    /// Lists the first record of a ring.
    fn take(&mut self, ring: usize, list: &mut Vec<Event>) {
        let mut event = self.rings[ring].next().expect("a ring that was chosen has a record");
        self.last = self.last.max(event.ns);
        event.ns = self.last;
        self.note(&event);
        list.push(event);
        self.show(ring);
    }

    /// Returns what a record needs that has not come.
    fn need(&self, event: &Event) -> Option<Need> {
        let Record { a, b, p, .. } = event.record;
        let runnable = |g: u64| match self.states.get(&g) {
            Some(State::Runnable) => None,
            None if !self.unborn.contains(&g) => None,
            _ => Some(Need::Runnable(g)).filter(|_| g != 0),
        };
        match event.kind()? {
            Kind::Switch => runnable(b),
            Kind::Steal | Kind::Share => runnable(a),
            // A handler may ready a goroutine that has not left its core yet.
            Kind::Ready if event.place() != Place::Marked && event.record.how != 2 => match self.states.get(&a) {
                Some(State::Running | State::Runnable) => Some(Need::Left(a)),
                _ => None,
            },
            Kind::Hold => self.holders.get(&p).filter(|&&m| m != event.m).map(|_| Need::Free(p)),
            _ => None,
        }
    }

    /// Returns true if another ring has a record near by that gives what is needed.
    fn is_coming(&self, need: Need, ring: usize) -> bool {
        let now = self.rings[ring].as_slice()[0].ns;
        let others = self.rings.iter().enumerate().filter(|&(other, _)| other != ring);
        others
            .flat_map(|(_, ring)| {
                ring.as_slice().iter().take(HELD_RECORDS).take_while(|event| event.ns <= now.saturating_add(HELD_NS))
            })
            .any(|event| gives(event).contains(&Some(need)))
    }

    /// Keeps the states, and lets go the rings that were held for this.
    fn note(&mut self, event: &Event) {
        let Record { a, b, p, .. } = event.record;
        match event.kind() {
            Some(Kind::Begin) if a != 0 => {
                self.unborn.remove(&a);
                self.states.insert(a, State::Running);
            }
            Some(Kind::Create) => {
                self.unborn.remove(&a);
                self.states.insert(a, State::Runnable);
            }
            // A marked one is put by the core that it leaves.
            Some(Kind::Ready) if event.place() == Place::Marked => {}
            Some(Kind::Ready | Kind::Put) => {
                self.states.insert(a, State::Runnable);
            }
            Some(Kind::Switch) => {
                let why = event.why();
                let left = if why.ends() {
                    State::Gone
                } else if why.waits() {
                    State::Waiting
                } else {
                    State::Runnable
                };
                self.states.insert(a, left);
                self.states.insert(b, State::Running);
                self.unborn.remove(&b);
            }
            Some(Kind::Hold) => {
                self.holders.insert(p, event.m);
            }
            Some(Kind::Release) => {
                self.holders.remove(&p);
            }
            _ => {}
        }
        if self.held.is_empty() {
            return;
        }
        for need in gives(event).into_iter().flatten() {
            for ring in self.held.remove(&need).into_iter().flatten() {
                self.show(ring);
            }
        }
    }
}

/// Returns what a record gives to the records of other M's.
fn gives(event: &Event) -> [Option<Need>; 2] {
    let Record { a, p, .. } = event.record;
    match event.kind() {
        Some(Kind::Ready) if event.place() == Place::Marked => [None, None],
        Some(Kind::Create | Kind::Ready | Kind::Put) => [Some(Need::Runnable(a)), None],
        Some(Kind::Switch) if event.why().waits() => [Some(Need::Left(a)), None],
        Some(Kind::Switch) => [Some(Need::Runnable(a)), Some(Need::Left(a))],
        Some(Kind::Release) => [Some(Need::Free(p)), None],
        _ => [None, None],
    }
}

/// At one time, records that make a goroutine runnable come before those that take it.
fn rank(event: &Event) -> u8 {
    match event.kind() {
        Some(Kind::Begin) => 0,
        Some(Kind::Create | Kind::Ready | Kind::Put | Kind::Overflow | Kind::Release | Kind::Wake | Kind::IpiSent) => 1,
        Some(Kind::Steal | Kind::Share) => 3,
        Some(Kind::Switch | Kind::Hold | Kind::Rise | Kind::IpiReceived) => 4,
        _ => 2,
    }
}
