//! A recorded run as an execution trace of Go: `go tool trace NAME.go` opens it.
//!
//! ```text
//!   Trace, Events ──frames──▶ stacks, names ──┐
//!                 ──export──▶ rules ──────────┴──▶ encode ──▶ bytes
//! ```
//!
//! | module | its idea |
//! |---|---|
//! | [`encode`] | the bytes of a Go trace |
//! | [`rules`] | only events that Go's reader accepts, in an order that it accepts |
//! | [`frames`] | stacks for events, in names of functions |
//! | [`plain`] | names of functions as `pprof` can show them |
//!
//! | Trefoil | Go |
//! |---|---|
//! | a goroutine's function | the goroutine's name, by which the analysis groups |
//! | the name that a program gives it | a label behind the name |
//! | yield, preemption | a stop, for `runtime.Gosched` or `preempted` |
//! | wait for a lock, a join, a group | a block, for `sync: mutex lock` and so on: `-pprof=sync` counts it |
//! | wait for input or output | a block, for `network`: `-pprof=net` counts it |
//! | `block_in_place` | a system call: `-pprof=syscall` counts it |
//! | frames in use | the size of the heap |
//! | `trace::{log, region, task}` | `runtime/trace`'s |
//!
//! Decisions on g0 (steals, rests, timers) have no event in Go's format. A program's words from g0
//! or an interrupt handler have none either.

pub mod encode;
pub mod frames;
pub mod plain;
pub mod rules;

use std::collections::{HashMap, HashSet};

use trefoil_trace::{Kind, Why};

use crate::trace::events::{Event, Events};
use crate::trace::{Meta, Trace};

use encode::{Encoder, Stack, event};
use frames::{Born, Frames};
use rules::{Place, Rules, State};

const FRAME_BYTES: u64 = 4096;
/// A record has a byte for the number of a P.
const MOST_PROCS: u64 = 255;

/// Returns the trace as a file for `go tool trace`.
///
/// ```
/// use cargo_trefoil::trace::{Trace, events::Events, sample::Sample};
///
/// let trace = Trace::parse(&Sample::default().file()).unwrap();
/// let bytes = cargo_trefoil::go::export(&trace, &Events::of(&trace));
/// assert!(bytes.starts_with(b"go 1.23 trace"));
/// ```
pub fn export(trace: &Trace, events: &Events) -> Vec<u8> {
    let mut export = Export::new(trace, events);
    for event in events.iter() {
        export.event(event);
    }
    export.finish(events)
}

struct Export<'a> {
    trace: &'a Trace,
    rules: Rules,
    encoder: Encoder,
    frames: Frames<'a>,
    /// Names that programs have given to goroutines that have not run since.
    labels: HashMap<u64, Box<str>>,
    /// Tasks that have begun.
    tasks: HashSet<u64>,
    /// The number of P's, as long as no event has said it.
    procs: Option<u64>,
}

impl<'a> Export<'a> {
    fn new(trace: &'a Trace, events: &Events) -> Self {
        let seen = events.iter().filter_map(|event| event.record.p()).max().map_or(0, |highest| highest as u64 + 1);
        let change = events.iter().find(|event| event.kind() == Some(Kind::Procs));
        let mut frames = Frames::new(trace);
        let mut labels = HashMap::new();
        for row in &trace.rows {
            let born = Born { entry: row.entry, created_at: row.created_at };
            if !frames.born(row.id, born, row.name()) && !row.name().is_empty() {
                labels.insert(row.id, row.name().into());
            }
        }
        Self {
            trace,
            rules: Rules::new(trace.meta.procs.min(MOST_PROCS).max(seen)),
            encoder: Encoder::new(),
            frames,
            labels,
            tasks: HashSet::new(),
            procs: Some(change.map_or(trace.meta.procs, |event| event.record.b)).filter(|&procs| procs > 0),
        }
    }

    fn event(&mut self, event: &Event) {
        let Some(kind) = event.kind() else { return };
        let record = &event.record;
        let proc = record.p().map(|proc| proc as u64);
        let at = Place { thread: event.m.into(), time: event.ns, proc };
        match kind {
            Kind::Create => self.create(at, event),
            Kind::Switch => self.switch(at, event),
            Kind::Ready => {
                let stack = self.waker(at, record.how);
                self.rules.wake(at, record.a, stack);
            }
            Kind::Block => {
                let stack = self.frames.pseudo(&mut self.encoder, "block in place", record.a);
                self.rules.begin_call(at, record.a, stack);
            }
            Kind::BlockEnd => self.rules.finish_call(at, record.a),
            Kind::Hold => proc.into_iter().for_each(|proc| self.rules.hold(at, proc)),
            Kind::Release => proc.into_iter().for_each(|proc| self.rules.release(at, proc)),
            Kind::Procs => {
                self.procs = None;
                let stack = self.own_stack(at, "set_max_procs");
                self.rules.annotate(at, event::PROCS_CHANGE, &[record.n.into(), stack.into()]);
            }
            Kind::Frames => {
                let used = record.b.saturating_sub(record.a).saturating_mul(FRAME_BYTES);
                self.rules.measure(at, event::HEAP_ALLOC, used);
            }
            Kind::Log | Kind::RegionBegin | Kind::RegionEnd | Kind::TaskBegin | Kind::TaskEnd => {
                self.word(at, kind, event);
            }
            _ => {}
        }
    }

    fn create(&mut self, at: Place, event: &Event) {
        let (goroutine, functions) = (event.record.a, event.record.b);
        let (entry, created_at) = (functions as u32, (functions >> 32) as u32);
        let name = event.text.as_deref().unwrap_or_default();
        if !self.frames.born(goroutine, Born { entry, created_at }, name) && !name.is_empty() {
            self.labels.insert(goroutine, name.into());
        }
        let new = self.frames.entry(&mut self.encoder, goroutine);
        let creator = self.rules.goroutine(at.thread).unwrap_or(0);
        let stack = match &event.stack {
            Some(addresses) => self.frames.stack(&mut self.encoder, addresses, creator),
            None => self.frames.place(&mut self.encoder, created_at, creator),
        };
        self.rules.create(at, goroutine, new, stack);
    }

    fn switch(&mut self, at: Place, event: &Event) {
        let (from, to, why) = (event.record.a, event.record.b, event.why());
        if from != 0 {
            let reason = reason(&self.trace.meta, why);
            let stack = match &event.stack {
                Some(addresses) => self.frames.stack(&mut self.encoder, addresses, from),
                None => self.frames.pseudo(&mut self.encoder, &self.trace.meta.why(why), from),
            };
            let reason = self.encoder.text(&reason);
            if why.ends() {
                self.rules.destroy(at, from);
            } else if why.waits() {
                self.rules.block(at, from, reason, stack);
            } else {
                self.rules.stop(at, from, reason, stack);
            }
        }
        if to != 0 {
            self.rules.start(at, to);
            self.introduce(at, to);
        }
    }

    /// Says what can be said only once the goroutine runs: its name, and the number of P's.
    fn introduce(&mut self, at: Place, goroutine: u64) {
        if let Some(name) = self.labels.remove(&goroutine) {
            let name = self.encoder.text(&name);
            self.rules.annotate(at, event::GO_LABEL, &[name.into()]);
        }
        if let Some(procs) = self.procs.take() {
            self.rules.annotate(at, event::PROCS_CHANGE, &[procs, 0]);
        }
    }

    /// Writes what the program says with `trace::{log, region, task}`.
    fn word(&mut self, at: Place, kind: Kind, event: &Event) {
        let task = event.record.a;
        let named = event.text.as_deref().filter(|text| !text.is_empty()).unwrap_or("(no name)");
        let (key, text) = event.log().unwrap_or(("", named));
        let stack = self.own_stack(at, kind.as_str());
        let text = self.encoder.text(text);
        match kind {
            Kind::Log => {
                let key = self.encoder.text(key);
                self.rules.annotate(at, event::USER_LOG, &[task, key.into(), text.into(), stack.into()]);
            }
            Kind::RegionBegin => self.rules.begin_region(at, task, text, stack),
            Kind::RegionEnd => self.rules.end_region(at, stack),
            // A task that begins on g0 has no event, so its number stays free.
            Kind::TaskBegin if self.rules.goroutine(at.thread).is_some() && self.tasks.insert(task) => {
                let parent = event.record.b;
                self.rules.annotate(at, event::TASK_BEGIN, &[task, parent, text.into(), stack.into()]);
            }
            Kind::TaskEnd if self.rules.goroutine(at.thread).is_some() => {
                self.tasks.remove(&task);
                self.rules.annotate(at, event::TASK_END, &[task, stack.into()]);
            }
            _ => {}
        }
    }

    /// Returns the stack of the one who makes a goroutine ready: `how` is that of the record.
    fn waker(&mut self, at: Place, how: u8) -> Stack {
        let (what, goroutine) = match how {
            0 => ("ready", self.rules.goroutine(at.thread).unwrap_or(0)),
            1 => ("timer", 0),
            2 => ("interrupt", 0),
            _ => ("g0", 0),
        };
        self.frames.pseudo(&mut self.encoder, what, goroutine)
    }

    /// Returns a stack of the goroutine that runs on the M, which does `what`.
    fn own_stack(&mut self, at: Place, what: &str) -> Stack {
        let goroutine = self.rules.goroutine(at.thread).unwrap_or(0);
        self.frames.pseudo(&mut self.encoder, what, goroutine)
    }

    fn finish(mut self, events: &Events) -> Vec<u8> {
        // Goroutines of the table that no event names were so from the begin. If the last records
        // are missing, they may be younger.
        let is_cut_behind = events.outside > 0 && !events.is_cut_in_front;
        for row in self.trace.rows.iter().filter(|_| !is_cut_behind) {
            self.rules.meet(row.id, if row.state == State::Waiting as u8 { State::Waiting } else { State::Runnable });
        }
        let mut frames = self.frames;
        self.rules.finish(self.encoder, |encoder, goroutine| frames.entry(encoder, goroutine))
    }
}

/// Returns Go's reason for a goroutine to leave its core. Go's profiles look for "chan", "select"
/// and "sync", and for exactly "network".
fn reason(meta: &Meta, why: Why) -> String {
    let text = meta.why(why);
    match (why, text.as_str()) {
        (Why::YIELD, _) => "runtime.Gosched".into(),
        (Why::PREEMPT, _) => "preempted".into(),
        (_, "input" | "console output") => "network".into(),
        // For Go, "forever" is the end of a goroutine.
        (_, "chan send" | "chan receive" | "select" | "select (no cases)" | "sleep" | "future") => text,
        _ if why.waits() => format!("sync: {text}"),
        _ => text,
    }
}
