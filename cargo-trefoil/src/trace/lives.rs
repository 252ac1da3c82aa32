//! The goroutines' lives: their creators, and their states from the first to the last.
//!
//! ```text
//!   created ──▶ runnable ──▶ running ──▶ waiting ──▶ runnable ──▶ running ──▶ gone
//!                 │  delay                  │  until      │
//!                 └─ its creator            │  a ready    └─ its waker: a goroutine, a timer, …
//!                                           └─ reason and object
//! ```
//!
//! Spans of a life follow each other without a gap. A goroutine that was there before the first
//! event begins in the state that its first event shows. Rows of goroutines without an event give a
//! single span.

use std::collections::BTreeMap;

use trefoil_trace::{Kind, Place, Record, Why};

use super::events::{Event, Events};
use super::file::Trace;

/// A goroutine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Life {
    /// Its number.
    pub id: u64,
    /// Its creation, if that was recorded.
    pub created: Option<Created>,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The lower half of the address of its function; 0 if it is not known.
    pub entry: u32,
    /// The lower half of the address of the place that created it; 0 if there is none.
    pub created_at: u32,
    /// Its states, in order.
    pub spans: Vec<Span>,
    /// The time and the reason of its end or death.
    pub gone: Option<(u64, Why)>,
}

/// A goroutine's creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// The time, in nanoseconds.
    pub ns: u64,
    /// The number of the event.
    pub event: usize,
    /// The creator; 0: the machine's start.
    pub by: u64,
    /// The M it was created on.
    pub m: u32,
}

/// A time in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The begin, in nanoseconds.
    pub from: u64,
    /// The end, in nanoseconds; that of the trace if the state lasts.
    pub to: u64,
    /// The number of the event that began it; `None`: it was so at the trace's begin.
    pub event: Option<usize>,
    /// The state.
    pub state: State,
}

impl Span {
    /// Returns how long it took, in nanoseconds.
    pub fn ns(&self) -> u64 {
        self.to - self.from
    }
}

/// A state of a goroutine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No core has taken the goroutine, which can run.
    Runnable(Cause),
    /// It runs.
    Running {
        /// The M.
        m: u32,
        /// The P; `None`: none that was recorded.
        p: Option<usize>,
        /// The place that it was taken from.
        from: Place,
    },
    /// It waits.
    Waiting {
        /// The reason.
        why: Why,
        /// The lower half of the address of the object, or 0.
        object: u32,
    },
}

/// The cause why a goroutine can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The creation.
    Created {
        /// The creator.
        by: u64,
    },
    /// A `ready`, by a goroutine or by the runtime.
    Readied {
        /// The goroutine that readied it; 0: none, see `how`.
        by: u64,
        /// 0: a goroutine; 1: a timer; 2: an interrupt; 3: the end of a look at its stack; 4: other
        /// work.
        how: u8,
        /// The M that readied it.
        m: u32,
    },
    /// The end of a run after which it can go on: it yielded, its core was taken away, or it had no
    /// reason to wait any more.
    Left(Why),
    /// The trace begins later.
    Unknown,
}

impl Cause {
    /// Returns the goroutine that caused it, if one did.
    pub fn waker(&self) -> Option<u64> {
        match *self {
            Self::Created { by } | Self::Readied { by, how: 0, .. } => Some(by).filter(|&by| by != 0),
            _ => None,
        }
    }
}

impl Life {
    /// Returns the times it ran.
    pub fn runs(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| matches!(span.state, State::Running { .. }))
    }

    /// Returns the state at a time.
    pub fn at(&self, ns: u64) -> Option<&Span> {
        let behind = self.spans.partition_point(|span| span.from <= ns);
        self.spans[..behind].last().filter(|span| ns <= span.to)
    }

    /// Returns the text that names it: `G 7 worker`, or with its function's name.
    pub fn title(&self, trace: &Trace) -> String {
        match &self.name {
            Some(name) => format!("G{} {name}", self.id),
            None if self.entry == 0 => format!("G{}", self.id),
            None => format!("G{} {}", self.id, trace.entry(self.entry)),
        }
    }

    /// Begins a state, and ends the one before.
    fn enter(&mut self, ns: u64, event: usize, state: State) {
        self.leave(ns);
        self.spans.push(Span { from: ns, to: ns, event: Some(event), state });
    }

    fn leave(&mut self, ns: u64) {
        if let Some(last) = self.spans.last_mut() {
            last.to = ns;
        }
    }

    fn waits(&self) -> Option<Why> {
        match self.spans.last()?.state {
            State::Waiting { why, .. } => Some(why),
            _ => None,
        }
    }

    fn is_running(&self) -> bool {
        self.spans.last().is_some_and(|span| matches!(span.state, State::Running { .. }))
    }
}

/// The lives while the events are read.
struct Reader<'a> {
    lives: BTreeMap<u64, Life>,
    /// The goroutine on each M.
    on: BTreeMap<u32, u64>,
    /// The causes of goroutines that were readied before they had left their core.
    early: BTreeMap<u64, Cause>,
    begin: u64,
    trace: &'a Trace,
}

/// Returns the goroutines' lives, by number.
///
/// ```
/// use cargo_trefoil::trace::{events::Events, lives, sample::Sample, Trace};
///
/// let trace = Trace::parse(&Sample::default().file()).unwrap();
/// let lives = lives::of(&trace, &Events::of(&trace));
/// assert_eq!(lives[&1].name.as_deref(), Some("main"));
/// ```
pub fn of(trace: &Trace, events: &Events) -> BTreeMap<u64, Life> {
    let mut reader =
        Reader { lives: BTreeMap::new(), on: BTreeMap::new(), early: BTreeMap::new(), begin: events.begin, trace };
    for (at, event) in events.iter().enumerate() {
        reader.read(at, event);
    }
    let end = events.end.max(events.last().map_or(0, |event| event.ns));
    reader.add_rows(end);
    for life in reader.lives.values_mut().filter(|life| life.gone.is_none()) {
        life.leave(end);
    }
    reader.lives
}

impl Reader<'_> {
    /// Returns a goroutine, which had the state `before` if it was not heard of.
    fn life(&mut self, id: u64, before: State) -> &mut Life {
        let begin = self.begin;
        self.lives.entry(id).or_insert_with(|| {
            let first = Span { from: begin, to: begin, event: None, state: before };
            Life { id, spans: vec![first], ..Life::default() }
        })
    }

    fn read(&mut self, at: usize, event: &Event) {
        let Record { a, b, n, how, .. } = event.record;
        let (ns, m) = (event.ns, event.m);
        let by = self.on.get(&m).copied().unwrap_or(0);
        match event.kind() {
            Some(Kind::Create) => {
                let life = Life {
                    id: a,
                    created: Some(Created { ns, event: at, by, m }),
                    name: event.text.as_deref().map(Into::into),
                    entry: b as u32,
                    created_at: (b >> 32) as u32,
                    ..Life::default()
                };
                self.lives.insert(a, life);
                self.life(a, State::Runnable(Cause::Unknown)).enter(ns, at, State::Runnable(Cause::Created { by }));
            }
            Some(Kind::Begin) if a != 0 => {
                self.on.insert(m, a);
                self.life(a, State::Running { m, p: event.record.p(), from: Place::Nowhere });
            }
            Some(Kind::Ready) => {
                let cause = Cause::Readied { by: if how == 0 { by } else { 0 }, how, m };
                let life = self.life(a, State::Waiting { why: Why::NONE, object: 0 });
                if event.place() != Place::Marked && life.waits().is_some() {
                    life.enter(ns, at, State::Runnable(cause));
                } else {
                    self.early.insert(a, cause);
                }
            }
            Some(Kind::Put) => {
                let early = self.early.remove(&a);
                let life = self.life(a, State::Waiting { why: Why::NONE, object: 0 });
                if let Some(why) = life.waits() {
                    // Without a cause, it had no reason to wait any more.
                    life.enter(ns, at, State::Runnable(early.unwrap_or(Cause::Left(why))));
                }
            }
            Some(Kind::Switch) => {
                self.left(at, event, n);
                if b == 0 {
                    self.on.remove(&m);
                } else {
                    self.on.insert(m, b);
                    let life = self.life(b, State::Runnable(Cause::Unknown));
                    life.enter(ns, at, State::Running { m, p: event.record.p(), from: event.place() });
                }
            }
            _ => {}
        }
    }

    /// The goroutine `a` of a switch leaves its core.
    fn left(&mut self, at: usize, event: &Event, object: u32) {
        let (ns, why, a) = (event.ns, event.why(), event.record.a);
        if a == 0 {
            return;
        }
        let life = self.life(a, State::Running { m: event.m, p: event.record.p(), from: Place::Nowhere });
        if why.ends() {
            life.leave(ns);
            life.gone = Some((ns, why));
        } else if why.waits() {
            life.enter(ns, at, State::Waiting { why, object });
        } else if life.is_running() {
            life.enter(ns, at, State::Runnable(Cause::Left(why)));
        }
    }

    /// Adds what the table of the living tells.
    fn add_rows(&mut self, end: u64) {
        for row in &self.trace.rows {
            let state = match row.state {
                2 => State::Running { m: 0, p: None, from: Place::Nowhere },
                4 => State::Waiting { why: Why(row.why), object: row.object },
                _ => State::Runnable(Cause::Unknown),
            };
            let life = self.life(row.id, state);
            if let [only] = &mut life.spans[..]
                && only.event.is_none()
            {
                only.to = end;
            }
            if life.name.is_none() && !row.name().is_empty() {
                life.name = Some(row.name().into());
            }
            if life.entry == 0 {
                (life.entry, life.created_at) = (row.entry, row.created_at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;

    fn read(sample: &Sample) -> (Trace, Events, BTreeMap<u64, Life>) {
        let trace = Trace::parse(&sample.file()).unwrap();
        let events = Events::of(&trace);
        let lives = of(&trace, &events);
        (trace, events, lives)
    }

    #[test]
    fn the_states_of_a_life_follow_each_other_and_each_run_was_runnable() {
        for seed in 0..8 {
            let (_, events, lives) = read(&Sample { seed, skew: seed * 40, ..Sample::default() });
            assert_eq!((events.uncaused, events.orphans), (0, 0));
            for life in lives.values() {
                assert!(life.created.is_some(), "G{}", life.id);
                for pair in life.spans.windows(2) {
                    assert_eq!(pair[0].to, pair[1].from, "G{}", life.id);
                    let fits = match pair[1].state {
                        State::Running { .. } => matches!(pair[0].state, State::Runnable(_)),
                        State::Waiting { .. } => matches!(pair[0].state, State::Running { .. }),
                        State::Runnable(Cause::Left(why)) if !why.waits() => {
                            matches!(pair[0].state, State::Running { .. })
                        }
                        State::Runnable(_) => matches!(pair[0].state, State::Waiting { .. }),
                    };
                    assert!(fits, "G{}: {pair:?}", life.id);
                }
            }
        }
    }

    #[test]
    fn switches_and_delays_are_the_ones_that_the_kernel_counted() {
        let (trace, _, lives) = read(&Sample::default());
        let mut runs = [0; 4];
        let mut delays = BTreeMap::new();
        for life in lives.values() {
            for pair in life.spans.windows(2) {
                if let State::Running { m, .. } = pair[1].state {
                    runs[m as usize] += 1;
                    *delays.entry(u64::BITS - pair[0].ns().leading_zeros()).or_insert(0) += 1;
                }
            }
        }
        let counted: Vec<_> = (0..4).map(|m| trace.meta.counter(m, "runs").unwrap()).collect();
        assert_eq!((&runs[..], delays), (&counted[..], trace.meta.ready.clone()));
    }

    #[test]
    fn a_flight_shows_goroutines_that_were_there_before() {
        let (trace, events, lives) = read(&Sample { flight: true, capacity: 500, ..Sample::default() });
        assert!(events.is_cut_in_front && trace.dropped(0).1 > 0);
        let before: Vec<_> = lives.values().filter(|life| life.created.is_none()).collect();
        assert!(!before.is_empty() && before.iter().all(|life| life.spans[0].from == events.begin));
        for row in &trace.rows {
            let last = lives[&row.id].spans.last().unwrap().state;
            let fits = match row.state {
                4 => matches!(last, State::Waiting { why, .. } if why.0 == row.why),
                2 => matches!(last, State::Running { .. }),
                _ => matches!(last, State::Runnable(_)),
            };
            assert!(fits, "G{}: {last:?} {row:?}", row.id);
        }
    }
}
