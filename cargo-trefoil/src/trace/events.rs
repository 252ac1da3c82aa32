//! The records of all M's as one list, causes before their effects.
//!
//! Of one M's records, the order by time is the true one. Across M's, a record's time is a little
//! apart from the moment of the change. So one M may take a goroutine before the time at which
//! another M readied it. The list has the cause first:
//!
//! ```text
//!   by time   M 1: switch to G 9 (100 ns)    M 0: ready G 9 (104 ns)
//!   listed    M 0: ready G 9 (104 ns)        M 1: switch to G 9 (104 ns)
//! ```
//!
//! An M whose next record needs another M's is held back until that has come; `HELD_NS` bounds how
//! far the search for it goes. Times in the list never decrease.
//!
//! A list is *complete*: it begins where the last of the overwritten rings begins, and ends where
//! the first full one ends. Records outside are counted in [`Events::outside`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use trefoil_trace::{Kind, Place, Record, Why};

use super::file::{Ring, Trace};

/// A decision, with the records that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The time, in nanoseconds of the machine's clock.
    pub ns: u64,
    /// The M that decided.
    pub m: u32,
    /// The record.
    pub record: Record,
    /// The text of a log or region, the name of a task or of a new goroutine.
    pub text: Option<Box<str>>,
    /// The stack of a goroutine that waits, or of the creator: the lower halves of return
    /// addresses, innermost first.
    pub stack: Option<Box<[u32]>>,
    /// The goroutines of a `Snapshot`, oldest first.
    pub queue: Option<Box<[u64]>>,
}

impl Event {
    /// Returns the kind, if this version knows it.
    pub fn kind(&self) -> Option<Kind> {
        self.record.kind()
    }

    /// Returns the reason in `how` of a `Switch` or a `Put`.
    pub fn why(&self) -> Why {
        Why(self.record.how)
    }

    /// Returns the place; `Nowhere` if this version does not know it.
    pub fn place(&self) -> Place {
        self.record.place().unwrap_or(Place::Nowhere)
    }
}

/// All events of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Events {
    /// The events, in order.
    pub list: Vec<Event>,
    /// The time of the first event that could be listed, in nanoseconds: from here on no M's
    /// records are missing.
    pub begin: u64,
    /// The time up to which no M's records are missing.
    pub end: u64,
    /// The first records were overwritten: goroutines may exist that were not seen created.
    pub is_cut_in_front: bool,
    /// Records that some M's have before `begin` or after `end`.
    pub outside: u64,
    /// Pieces of text, stack or queue without the record that they belong to.
    pub orphans: u64,
    /// Events whose cause no M recorded near by.
    pub uncaused: u64,
}

/// How far the search for a cause goes, in nanoseconds and in records of an M.
const HELD_NS: u64 = 20_000_000;
const HELD_RECORDS: usize = 20_000;

impl std::ops::Deref for Events {
    type Target = [Event];

    fn deref(&self) -> &[Event] {
        &self.list
    }
}

impl Events {
    /// Makes the list.
    ///
    /// ```
    /// use cargo_trefoil::trace::{events::Events, sample::Sample, Trace};
    ///
    /// let trace = Trace::parse(&Sample::default().file()).unwrap();
    /// let events = Events::of(&trace);
    /// assert!(events.windows(2).all(|pair| pair[0].ns <= pair[1].ns));
    /// ```
    pub fn of(trace: &Trace) -> Self {
        let mut events = Self::default();
        let mut all: Vec<Vec<Event>> =
            trace.rings.iter().map(|ring| joined(trace, ring, &mut events.orphans)).collect();
        events.cut(trace, &mut all);
        let mut merge = Merge::new(all, !events.is_cut_in_front);
        events.list = merge.run();
        events.uncaused = merge.uncaused;
        events
    }

    /// Leaves the records outside the time that all M's recorded out.
    fn cut(&mut self, trace: &Trace, all: &mut [Vec<Event>]) {
        let first = all.iter().filter_map(|events| Some(events.first()?.ns)).min().unwrap_or(0);
        let last = all.iter().filter_map(|events| Some(events.last()?.ns)).max().unwrap_or(0);
        (self.begin, self.end) = (first, last);
        for (ring, events) in trace.rings.iter().zip(all.iter()) {
            let (counted, _) = trace.dropped(ring.m);
            let behind = counted.saturating_sub(ring.first).saturating_sub(ring.records.len() as u64);
            if ring.first > 0 {
                self.is_cut_in_front = true;
                self.begin = self.begin.max(events.first().map_or(last, |event| event.ns));
            }
            if behind > 0 {
                self.end = self.end.min(events.last().map_or(first, |event| event.ns));
            }
        }
        for events in all {
            let before = events.len();
            events.retain(|event| (self.begin..=self.end).contains(&event.ns));
            self.outside += (before - events.len()) as u64;
        }
    }
}

/// Returns an M's records by time, each with the pieces that belong to it.
fn joined(trace: &Trace, ring: &Ring, orphans: &mut u64) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::with_capacity(ring.records.len());
    let mut pieces = Pieces::default();
    for record in &ring.records {
        let kind = record.kind();
        if matches!(kind, Some(Kind::Text | Kind::Stack | Kind::Queued)) {
            let is_first = ring.first > 0 && pieces.owner.is_none();
            let belongs = pieces.add(record) || is_first;
            *orphans += u64::from(!belongs);
            continue;
        }
        // An interrupt's records may lie between a record and its pieces; none of them has pieces.
        if matches!(
            kind,
            Some(Kind::Create | Kind::Switch | Kind::Log | Kind::RegionBegin | Kind::TaskBegin | Kind::Snapshot)
        ) {
            pieces.give(&mut events);
            pieces.owner = Some(events.len());
        }
        let ns = trace.meta.ns(record.at);
        events.push(Event { ns, m: ring.m, record: *record, text: None, stack: None, queue: None });
    }
    pieces.give(&mut events);
    events.sort_by_key(|event| event.ns);
    events
}

/// The pieces of one record, as they come.
#[derive(Default)]
struct Pieces {
    /// The place of the record in the list.
    owner: Option<usize>,
    text: Vec<u8>,
    texts: u32,
    stack: Vec<u32>,
    stacks: u32,
    queue: Vec<u64>,
}

impl Pieces {
    /// Returns false if the piece is none of this record's.
    fn add(&mut self, record: &Record) -> bool {
        if self.owner.is_none() {
            return false;
        }
        match record.kind() {
            Some(Kind::Text) if record.n == self.texts => {
                let (bytes, len) = record.text();
                self.text.extend(&bytes[..len]);
                self.texts += 1;
            }
            Some(Kind::Stack) if record.n == self.stacks => {
                self.stack.extend(record.addresses());
                self.stacks += 1;
            }
            Some(Kind::Queued) => self.queue.extend([record.a, record.b].iter().filter(|&&g| g != 0)),
            _ => return false,
        }
        true
    }

    /// Gives the pieces to their record.
    fn give(&mut self, events: &mut [Event]) {
        let pieces = std::mem::take(self);
        let Some(event) = pieces.owner.and_then(|owner| events.get_mut(owner)) else { return };
        event.text = (pieces.texts > 0).then(|| String::from_utf8_lossy(&pieces.text).into());
        event.stack = (pieces.stacks > 0).then(|| pieces.stack.into());
        event.queue = (event.kind() == Some(Kind::Snapshot)).then(|| pieces.queue.into());
    }
}

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

struct Merge {
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
    uncaused: u64,
    last: u64,
}

impl Merge {
    fn new(all: Vec<Vec<Event>>, is_whole: bool) -> Self {
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

    fn run(&mut self) -> Vec<Event> {
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
            Kind::Ready if event.place() != Place::Marked => match self.states.get(&a) {
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

#[cfg(test)]
mod tests {
    use super::super::meta::Meta;
    use super::*;

    fn record(at: u64, kind: Kind, how: u8, place: Place, n: u32, [a, b]: [u64; 2]) -> Record {
        Record::from_words([at, Record::word(kind, 0, how, place, n), a, b])
    }

    fn trace(rings: &[(u64, Vec<Record>)]) -> Trace {
        let rings = rings.iter().enumerate();
        let rings = rings.map(|(m, (first, records))| Ring { m: m as u32, first: *first, records: records.clone() });
        Trace { meta: Meta::default(), rings: rings.collect(), ..Trace::default() }
    }

    fn order(events: &Events) -> Vec<(u32, u64, Option<Kind>)> {
        events.iter().map(|event| (event.m, event.ns, event.kind())).collect()
    }

    #[test]
    fn a_cause_comes_before_its_effect_even_if_its_time_is_later() {
        let readied = record(104, Kind::Ready, 0, Place::Slot, 0, [9, 0]);
        let create = record(10, Kind::Create, 0, Place::Slot, 0, [9, 0]);
        let runs = record(20, Kind::Switch, 0, Place::Slot, 0, [0, 9]);
        let parks = record(30, Kind::Switch, 2, Place::Nowhere, 0, [9, 0]);
        let taken = record(100, Kind::Switch, 0, Place::Ring, 0, [0, 9]);
        let next = record(101, Kind::Spin, 0, Place::Nowhere, 0, [0, 0]);
        let events = Events::of(&trace(&[(0, vec![create, runs, parks, readied]), (0, vec![taken, next])]));
        let tail = [(0, 104, Some(Kind::Ready)), (1, 104, Some(Kind::Switch)), (1, 104, Some(Kind::Spin))];
        assert_eq!((order(&events)[3..].to_vec(), events.uncaused), (tail.to_vec(), 0));
    }

    #[test]
    fn a_cause_that_nobody_recorded_holds_nothing_up() {
        let parks = record(30, Kind::Switch, 2, Place::Nowhere, 0, [9, 0]);
        let taken = record(100, Kind::Switch, 0, Place::Ring, 0, [0, 9]);
        let events = Events::of(&trace(&[(0, vec![parks]), (0, vec![taken])]));
        assert_eq!((events.len(), events.uncaused), (2, 1));
    }

    #[test]
    fn pieces_are_joined_even_if_an_interrupt_wrote_between_them() {
        let text = |n, text: &[u8]| {
            let mut bytes = [0; 16];
            bytes[..text.len()].copy_from_slice(text);
            let [a, b] = [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()));
            record(50, Kind::Text, text.len() as u8, Place::Nowhere, n, [a, b])
        };
        let create = record(50, Kind::Create, 0, Place::Slot, 0, [9, 0]);
        let alarm = record(49, Kind::Alarm, 1, Place::Nowhere, 0, [0, 0]);
        let stack = record(50, Kind::Stack, 3, Place::Nowhere, 0, [0x2_0000_0001, 3]);
        let events = vec![create, text(0, b"a name of sixtee"), alarm, text(1, b"n"), stack, text(0, b"again")];
        let events = Events::of(&trace(&[(0, events)]));
        assert_eq!(order(&events), [(0, 49, Some(Kind::Alarm)), (0, 50, Some(Kind::Create))]);
        let created = &events[1];
        assert_eq!(
            (created.text.as_deref(), created.stack.as_deref()),
            (Some("a name of sixteen"), Some(&[1, 2, 3][..]))
        );
        assert_eq!(events.orphans, 1, "a second first piece belongs to no record");
    }

    #[test]
    fn a_flight_begins_where_every_m_has_records() {
        let spin = |at| record(at, Kind::Spin, 0, Place::Nowhere, 0, [0, 0]);
        let piece = record(5, Kind::Text, 1, Place::Nowhere, 3, [0, 0]);
        let rings = [(7, vec![piece, spin(5), spin(9)]), (3, vec![spin(8)]), (0, vec![spin(1), spin(20)])];
        let events = Events::of(&trace(&rings));
        assert_eq!(events.iter().map(|event| event.ns).collect::<Vec<_>>(), [8, 9, 20]);
        assert_eq!((events.begin, events.outside, events.orphans, events.is_cut_in_front), (8, 2, 0, true));
    }

    #[test]
    fn a_full_ring_ends_the_list() {
        let spin = |at| record(at, Kind::Spin, 0, Place::Nowhere, 0, [0, 0]);
        let mut trace = trace(&[(0, vec![spin(1), spin(2)]), (0, vec![spin(1), spin(20)])]);
        trace.meta.ms.insert(0, vec![("counted".into(), 9)]);
        let events = Events::of(&trace);
        assert_eq!((events.len(), events.end, events.outside), (3, 2, 1));
        assert_eq!(trace.dropped(0), (9, 7));
    }
}
