//! The events as columns, for the page: `html/data.js` reads what this module writes.
//!
//! Numbers of goroutines become numbers of rows, addresses become texts, and times count from the
//! first event. So the page needs 53 bits a number at most.

use std::collections::{BTreeMap, HashMap};

use trefoil_trace::{Kind, Place, Record};

use super::json;
use super::rules;
use crate::trace::Trace;
use crate::trace::events::{Event, Events};

/// The kinds whose `a` is a goroutine.
const WITH_G: [Kind; 23] = [
    Kind::Create,
    Kind::Switch,
    Kind::Ready,
    Kind::Put,
    Kind::Overflow,
    Kind::Steal,
    Kind::Share,
    Kind::Block,
    Kind::BlockEnd,
    Kind::Pin,
    Kind::Unpin,
    Kind::SliceEnd,
    Kind::Ripe,
    Kind::ChainEnd,
    Kind::TimerSet,
    Kind::TimerFired,
    Kind::TimerCancel,
    Kind::Grow,
    Kind::Shrink,
    Kind::Pack,
    Kind::Unpack,
    Kind::Snapshot,
    Kind::Begin,
];

/// The greatest whole number that the page's numbers hold exactly.
const EXACT: u64 = 1 << 53;

/// A goroutine as the page knows it. Texts and stacks are numbers of the tables.
#[derive(Default, Clone)]
struct Row {
    id: u64,
    name: u64,
    function: u64,
    site: u64,
    /// One more than the number of the stack at its creation; 0: none.
    stack: u64,
    /// One more than the number of the event that created it; 0: before the first.
    created: u64,
    creator: u64,
}

/// The tables to which the columns refer.
struct Tables<'a> {
    trace: &'a Trace,
    strings: Vec<String>,
    by_text: HashMap<String, u64>,
    stacks: Vec<Vec<u64>>,
    by_frames: HashMap<Box<[u32]>, u64>,
    rows: Vec<Row>,
    by_id: HashMap<u64, u64>,
    functions: HashMap<u32, u64>,
    sites: HashMap<u32, u64>,
    snapshots: Vec<Vec<u64>>,
}

/// Returns the time from which the page's times count.
pub(super) fn zero(events: &Events) -> u64 {
    events.first().map_or(events.begin, |event| event.ns.min(events.begin))
}

/// Writes the head and the columns.
pub(super) fn of(trace: &Trace, events: &Events) -> Vec<u8> {
    let mut tables = Tables::new(trace);
    let first = zero(events);
    let mut columns: [Vec<u8>; 10] = Default::default();
    let mut before = first;
    let mut running: BTreeMap<u32, u64> = BTreeMap::new();
    for (i, event) in events.iter().enumerate() {
        let Record { kind, p, how, place, n, .. } = event.record;
        let (a, b) = tables.arguments(event, first);
        match event.kind() {
            Some(Kind::Create) => tables.created(event, a, i, running.get(&event.m).copied().unwrap_or(0)),
            Some(Kind::Switch) => drop(running.insert(event.m, b)),
            _ => {}
        }
        let extra = tables.extra(event);
        number(&mut columns[0], event.ns.saturating_sub(before));
        before = before.max(event.ns);
        columns[1].push(kind);
        number(&mut columns[2], u64::from(event.m));
        columns[3].push(p);
        columns[4].push(how);
        columns[5].push(place);
        number(&mut columns[6], u64::from(n));
        number(&mut columns[7], a);
        number(&mut columns[8], b);
        number(&mut columns[9], extra);
    }
    let fields: [fn(&Row) -> u64; 7] = [
        |row| row.id,
        |row| row.name,
        |row| row.function,
        |row| row.site,
        |row| row.stack,
        |row| row.created,
        |row| row.creator,
    ];
    let mut bytes = Vec::new();
    piece(&mut bytes, tables.head(events, first).as_bytes());
    columns.iter().for_each(|column| piece(&mut bytes, column));
    for field in fields {
        let mut column = Vec::new();
        tables.rows.iter().for_each(|row| number(&mut column, field(row)));
        piece(&mut bytes, &column);
    }
    bytes
}

/// Writes a piece behind its length.
fn piece(bytes: &mut Vec<u8>, piece: &[u8]) {
    let length = u32::try_from(piece.len()).expect("a column has less than 4 GiB");
    bytes.extend(length.to_le_bytes());
    bytes.extend(piece);
}

/// Writes a number, seven bits a byte, low bits first.
fn number(column: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        column.push(value as u8 | 128);
        value >>= 7;
    }
    column.push(value as u8);
}

impl<'a> Tables<'a> {
    fn new(trace: &'a Trace) -> Self {
        let mut tables = Self {
            trace,
            strings: Vec::new(),
            by_text: HashMap::new(),
            stacks: Vec::new(),
            by_frames: HashMap::new(),
            rows: Vec::new(),
            by_id: HashMap::new(),
            functions: HashMap::new(),
            sites: HashMap::new(),
            snapshots: Vec::new(),
        };
        tables.string("");
        tables.row(0);
        for row in &trace.rows {
            let at = tables.row(row.id) as usize;
            tables.rows[at].name = tables.string(row.name());
            tables.rows[at].function = tables.function(row.entry);
            tables.rows[at].site = tables.site(row.created_at);
        }
        tables
    }

    /// Returns the number of a text.
    fn string(&mut self, text: &str) -> u64 {
        if let Some(&number) = self.by_text.get(text) {
            return number;
        }
        let number = self.strings.len() as u64;
        self.strings.push(text.into());
        self.by_text.insert(text.into(), number);
        number
    }

    /// Returns the row of a goroutine.
    fn row(&mut self, id: u64) -> u64 {
        let rows = &mut self.rows;
        *self.by_id.entry(id).or_insert_with(|| {
            rows.push(Row { id, ..Row::default() });
            rows.len() as u64 - 1
        })
    }

    fn function(&mut self, low: u32) -> u64 {
        if let Some(&number) = self.functions.get(&low) {
            return number;
        }
        let name = if low == 0 { String::new() } else { self.trace.entry(low) };
        let number = self.string(&name);
        self.functions.insert(low, number);
        number
    }

    fn site(&mut self, low: u32) -> u64 {
        if let Some(&number) = self.sites.get(&low) {
            return number;
        }
        let place = self.trace.place(low).map(ToString::to_string);
        let number = self.string(&place.unwrap_or_default());
        self.sites.insert(low, number);
        number
    }

    /// Returns one more than the number of a stack.
    fn stack(&mut self, frames: &[u32]) -> u64 {
        if let Some(&number) = self.by_frames.get(frames) {
            return number;
        }
        let mut lines = Vec::new();
        for &low in frames {
            let code = self.trace.code(low);
            if code.is_empty() {
                lines.push(format!("{:#x}", self.trace.meta.address(low)));
            }
            lines.extend(code.iter().map(|code| {
                let place = if code.file.is_empty() { String::new() } else { format!("  {}:{}", code.file, code.line) };
                format!("{}{place}", code.function)
            }));
        }
        let lines = lines.iter().map(|line| self.string(line)).collect();
        self.stacks.push(lines);
        let number = self.stacks.len() as u64;
        self.by_frames.insert(frames.into(), number);
        number
    }

    /// Returns `a` and `b` of a record as the page wants them.
    fn arguments(&mut self, event: &Event, first: u64) -> (u64, u64) {
        let Record { a, b, .. } = event.record;
        let Some(kind) = event.kind() else { return (a.min(EXACT), b.min(EXACT)) };
        let a = if WITH_G.contains(&kind) { self.row(a) } else { a.min(EXACT) };
        let b = match kind {
            Kind::Switch => self.row(b),
            Kind::Create => 0,
            Kind::Rest | Kind::Arm | Kind::TimerSet | Kind::TimerFired | Kind::TimerCancel => {
                b.saturating_sub(first).min(EXACT)
            }
            _ => b.min(EXACT),
        };
        (a, b)
    }

    /// Notes what the creation of a goroutine tells about it.
    fn created(&mut self, event: &Event, row: u64, number: usize, creator: u64) {
        let b = event.record.b;
        let (function, site) = (self.function(b as u32), self.site((b >> 32) as u32));
        let stack = event.stack.as_deref().map_or(0, |frames| self.stack(frames));
        let name = event.text.as_deref().map(|text| self.string(text));
        let row = &mut self.rows[row as usize];
        (row.function, row.site, row.stack) = (function, site, stack);
        (row.created, row.creator) = (number as u64 + 1, creator);
        row.name = name.unwrap_or(row.name);
    }

    /// Returns the number of what belongs to an event.
    fn extra(&mut self, event: &Event) -> u64 {
        match event.kind() {
            Some(Kind::Snapshot) => {
                let queue = event.queue.iter().flatten().map(|&id| self.row(id)).collect();
                self.snapshots.push(queue);
                self.snapshots.len() as u64
            }
            Some(Kind::Switch | Kind::Create) => event.stack.as_deref().map_or(0, |frames| self.stack(frames)),
            _ => event.text.as_deref().map_or(0, |text| self.string(text)),
        }
    }

    /// Writes the head: counts, names, and the numbers of dropped records.
    fn head(&self, events: &Events, first: u64) -> String {
        let meta = &self.trace.meta;
        let ms = events.iter().map(|event| event.m + 1).max().unwrap_or(0).max(1);
        let ps = events.iter().filter_map(|event| event.record.p()).map(|p| p as u64 + 1).max().unwrap_or(0);
        let numbers = |list: &Vec<u64>| json::list(list.iter().map(u64::to_string));
        let kinds = Kind::ALL.iter().map(|&kind| format!("[{},{}]", kind as u8, json::text(kind.as_str())));
        let facts = [
            (meta.seed != 0).then(|| format!("seed {}", meta.seed)),
            (!meta.cause.is_empty()).then(|| format!("dumped at {}", meta.cause)),
        ];
        let facts: Vec<_> = facts.into_iter().flatten().collect();
        json::object([
            ("events", events.len().to_string()),
            ("end", events.end.saturating_sub(first).to_string()),
            ("ms", ms.to_string()),
            // A private P of a G that blocks in place has a number above those of the machine.
            ("ps", ps.max(meta.procs.min(255)).max(1).to_string()),
            ("goroutines", self.rows.len().to_string()),
            ("facts", json::text(&facts.join(" · "))),
            ("cut", events.is_cut_in_front.to_string()),
            ("dropped", json::list(dropped(self.trace, events).iter().map(|line| json::text(line)))),
            ("kinds", json::list(kinds)),
            ("withG", json::list(WITH_G.iter().map(|&kind| (kind as u8).to_string()))),
            ("places", json::list(Place::ALL.iter().map(|place| json::text(place.as_str())))),
            ("reasons", json::object(meta.reasons.iter().map(|(number, name)| (number.to_string(), json::text(name))))),
            ("strings", json::list(self.strings.iter().map(|string| json::text(string)))),
            ("stacks", json::list(self.stacks.iter().map(numbers))),
            ("snapshots", json::list(self.snapshots.iter().map(numbers))),
            ("rules", rules::json()),
        ])
    }
}

/// Says which records the page lacks; no line if it lacks none.
fn dropped(trace: &Trace, events: &Events) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut counted, mut lost) = (0, 0);
    let mut by_m = Vec::new();
    for ring in &trace.rings {
        let (all, gone) = trace.dropped(ring.m);
        counted += all;
        lost += gone;
        if gone > 0 {
            by_m.push(format!("{gone} of M{}", ring.m));
        }
    }
    if lost > 0 {
        let which = if trace.meta.mode == "flight" { "first" } else { "last" };
        lines.push(format!("Dropped: {lost} of {counted} records, the {which} ones ({}).", by_m.join(", ")));
    }
    if events.outside > 0 {
        lines.push(format!("Left out: {} records from a time for which other M’s have none.", events.outside));
    }
    if events.orphans > 0 {
        lines.push(format!("{} pieces of texts or stacks have lost their record.", events.orphans));
    }
    if events.uncaused > 0 {
        lines.push(format!("{} events have no recorded cause.", events.uncaused));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::sample::Sample;

    #[test]
    fn a_number_takes_seven_bits_a_byte() {
        let written = |value| {
            let mut column = Vec::new();
            number(&mut column, value);
            column
        };
        assert_eq!(written(0), [0]);
        assert_eq!(written(127), [127]);
        assert_eq!(written(300), [0xac, 2]);
        assert_eq!(written(u64::MAX).len(), 10);
    }

    #[test]
    fn dropped_records_are_told() {
        let told = |sample: Sample| {
            let trace = Trace::parse(&sample.file()).unwrap();
            dropped(&trace, &Events::of(&trace)).join(" ")
        };
        assert_eq!(told(Sample { events: 2_000, ..Sample::default() }), "");
        let full = told(Sample { events: 2_000, capacity: 100, ..Sample::default() });
        assert!(full.starts_with("Dropped: ") && full.contains("the last ones"), "{full}");
        let flight = told(Sample { events: 2_000, capacity: 100, flight: true, ..Sample::default() });
        assert!(flight.contains("the first ones"), "{flight}");
    }
}
