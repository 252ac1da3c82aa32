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
//! An M whose next record needs another M's is held back until that has come; the search
//! for it is bounded. Times in the list never decrease.
//!
//! A list is *complete*: it begins where the last of the overwritten rings begins, and ends where
//! the first full one ends. Records outside are counted in [`Events::outside`].

use trefoil_trace::{Kind, Place, Record, Why};

use super::file::{Ring, Trace};

mod merge;

use merge::Merge;

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

    /// Returns the category and the message of a log line.
    pub fn log(&self) -> Option<(&str, &str)> {
        let text = self.text.as_deref().unwrap_or("");
        let parts = text.split_at_checked(self.record.n as usize).unwrap_or(("", text));
        (self.kind() == Some(Kind::Log)).then_some(parts)
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
            // Records that are missing in the middle were made while a dump was under way.
            let capacity = trace.meta.counter(ring.m, "capacity").unwrap_or(ring.records.len() as u64);
            if ring.first > 0 {
                self.is_cut_in_front = true;
                self.begin = self.begin.max(events.first().map_or(last, |event| event.ns));
            }
            if trace.meta.mode != "flight" && counted > capacity {
                self.end = self.end.min(events.last().map_or(first, |event| event.ns));
            }
        }
        self.end = self.end.max(self.begin);
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
        if kind == Some(Kind::Snapshot) && record.n == u32::MAX {
            // The snapshot before is void: a thief came between.
            pieces.give(&mut events);
            if let Some(at) = events.iter().rposition(|event| event.kind() == Some(Kind::Snapshot)) {
                events.remove(at);
            }
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
        let mut trace = trace(&rings);
        trace.meta.mode = "flight".into();
        let events = Events::of(&trace);
        assert_eq!(events.iter().map(|event| event.ns).collect::<Vec<_>>(), [8, 9, 20]);
        assert_eq!((events.begin, events.outside, events.orphans, events.is_cut_in_front), (8, 2, 0, true));
    }

    #[test]
    fn a_full_ring_ends_the_list() {
        let spin = |at| record(at, Kind::Spin, 0, Place::Nowhere, 0, [0, 0]);
        let mut trace = trace(&[(0, vec![spin(1), spin(2)]), (0, vec![spin(1), spin(20)])]);
        trace.meta.ms.insert(0, vec![("counted".into(), 9), ("capacity".into(), 2)]);
        let events = Events::of(&trace);
        assert_eq!((events.len(), events.end, events.outside), (3, 2, 1));
        assert_eq!(trace.dropped(0), (9, 7));
    }
}
