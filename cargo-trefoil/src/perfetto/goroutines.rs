//! The events of goroutines.
//!
//! A goroutine's track has one slice for its life, and within that:
//!
//! ```text
//!   worker ───────────────────────────────────────────────────────────────────────  life
//!      region of the program ──────────────────────────────
//!               chan receive ── runnable ──                      runnable ──
//!      runs     waits           ▲          runs                  yields     runs, ends
//!                               └ an arrow from the instant "ready" on the waker's track
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use trefoil_trace::{Kind, Place, Record, Why};

use super::cores::{Leaves, Waker};
use super::slices::Slice;
use super::writer::Event as Written;
use super::{Export, ids};
use crate::symbols::Code;
use crate::trace::Trace;
use crate::trace::events::{Event, Events};
use crate::traces::is_runtime;

/// The making runnable of a goroutine that is on its way off a core.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    m: u32,
    waker: Waker,
    arrow: Option<u64>,
    by: &'static str,
}

/// The names of a goroutine.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Its own, or that of its function.
    pub(super) name: String,
    /// That of its function, if it is the program's.
    pub(super) function: String,
}

/// Returns the names of each goroutine that a trace has.
pub(super) fn names(trace: &Trace, events: &Events) -> BTreeMap<u64, Names> {
    let mut functions = HashMap::new();
    let mut named = |name: &str, entry: u32| {
        let function = functions.entry(entry).or_insert_with(|| {
            let function = trace.entry(entry);
            let is_runtime = is_runtime(&Code { name: function.clone(), at: None });
            (function, is_runtime)
        });
        match (name, function) {
            ("", (function, _)) => Names { name: function.clone(), function: function.clone() },
            // The runtime's function around `main` says nothing.
            (name, (_, true)) => Names { name: name.into(), function: name.into() },
            (name, (function, _)) => Names { name: name.into(), function: function.clone() },
        }
    };
    let mut names = BTreeMap::new();
    for row in &trace.rows {
        names.insert(row.id, named(row.name(), row.entry));
    }
    for event in events.iter() {
        let Record { a, b, .. } = event.record;
        match event.kind() {
            Some(Kind::Create) => {
                names.insert(a, named(event.text.as_deref().unwrap_or(""), b as u32));
            }
            Some(Kind::Switch) => {
                names.entry(a).or_insert_with(|| named("", 0));
                names.entry(b).or_insert_with(|| named("", 0));
            }
            Some(kind) if is_of_g(kind) || kind == Kind::Begin => {
                names.entry(a).or_insert_with(|| named("", 0));
            }
            _ => {}
        }
    }
    names.remove(&0);
    names
}

/// Returns true if `a` is the goroutine that a record is about.
fn is_of_g(kind: Kind) -> bool {
    use Kind::{Block, BlockEnd, Grow, Pack, Pin, Put, Ready, Shrink, SliceEnd, Unpack, Unpin};
    matches!(kind, Ready | Put | Block | BlockEnd | Pin | Unpin | SliceEnd | Grow | Shrink | Pack | Unpack)
}

impl Export<'_> {
    /// Begins the lives of the goroutines that were there before the first event.
    pub(super) fn begin_gs(&mut self, events: &Events) {
        let created = events.iter().filter(|event| event.kind() == Some(Kind::Create));
        let created: BTreeSet<u64> = created.map(|event| event.record.a).collect();
        let rows: BTreeMap<u64, _> = self.trace.rows.iter().map(|row| (row.id, *row)).collect();
        let old: Vec<u64> = self.names.keys().copied().filter(|g| !created.contains(g)).collect();
        for g in old {
            let row = rows.get(&g).copied().unwrap_or_default();
            self.life(g, events.begin, row.entry, row.created_at).write();
        }
    }

    /// Takes an event of a goroutine. Returns false if it is none.
    pub(super) fn event_of_g(&mut self, event: &Event) -> bool {
        let Some(kind) = event.kind() else { return false };
        let Record { a: g, b, n, .. } = event.record;
        if g == 0 && is_of_g(kind) {
            return true;
        }
        let instant = |export: &mut Self, name: &str| export.instant_of_g(g, event.ns, name).write();
        match kind {
            Kind::Create => self.create(event),
            Kind::Switch => self.switch(event),
            Kind::Ready => self.ready(event),
            Kind::Put if event.record.how == 0 => {
                self.instant_of_g(g, event.ns, "moved").word("to", event.place().as_str()).write();
            }
            Kind::Put => self.put(event),
            Kind::Block => {
                let (thread, at) = self.thread_at(g, event.ns);
                self.slices.begin(&mut self.writer, Slice::Block, thread, at, "block_in_place").write();
            }
            Kind::BlockEnd => self.end(g, event.ns, Slice::Block),
            Kind::Pin => self.instant_of_g(g, event.ns, "pin").number("core", n.into()).write(),
            Kind::Unpin => instant(self, "unpin"),
            Kind::SliceEnd => instant(self, "slice ends"),
            Kind::Grow => self.instant_of_g(g, event.ns, "stack grows").number("bytes", b).write(),
            Kind::Shrink => self.instant_of_g(g, event.ns, "stack shrinks").number("bytes", b).write(),
            Kind::Pack => self.instant_of_g(g, event.ns, "stack is packed").number("bytes", b).write(),
            Kind::Unpack => instant(self, "stack is unpacked"),
            Kind::Log | Kind::RegionBegin | Kind::RegionEnd => self.say(event, kind),
            _ => return false,
        }
        true
    }

    fn create(&mut self, event: &Event) {
        let Record { a: g, b, .. } = event.record;
        let creator = self.current(event.m);
        let waker = Waker { thread: creator, is_interrupt: false };
        let thread = self.threads.of(g);
        let at = self.cores.wake(&mut self.writer, event.m as usize, event.ns, waker, thread);
        let arrow = self.arrow();
        let by = self.names.get(&self.threads.g(creator)).cloned().unwrap_or_default();
        self.writer.instant(ids::track(creator), at, "create", "go").number("goroutine", g).arrow(arrow).write();
        let stack = self.stack(event);
        let life = self.life(g, at, b as u32, (b >> 32) as u32).word("created by", &by);
        with_stack(life, &stack).write();
        self.slices
            .begin(&mut self.writer, Slice::Runnable, thread, at, "runnable")
            .word("by", "create")
            .word("place", event.place().as_str())
            .arrow_ends(arrow)
            .write();
    }

    fn switch(&mut self, event: &Event) {
        let Record { a, b, .. } = event.record;
        let [from, to] = [a, b].map(|g| if g == 0 { self.threads.m(event.m) } else { self.threads.of(g) });
        let why = event.why();
        let leaves = match why {
            _ if a == 0 => Leaves::Waits,
            Why::PREEMPT => Leaves::Preempted,
            why if why.ends() => Leaves::Dead,
            why if why.waits() => Leaves::Waits,
            _ => Leaves::Runnable,
        };
        let at = self.cores.switch(&mut self.writer, event.m as usize, event.ns, leaves, to);
        if a != 0 {
            self.leaves(event, from, at, leaves);
        }
        if b != 0 {
            self.slices.close(&mut self.writer, Slice::Wait, to, at);
            if let Some(end) = self.slices.end(&mut self.writer, Slice::Runnable, to, at) {
                end.word("taken from", event.place().as_str()).number("core", event.m.into()).write();
            }
        }
    }

    /// The goroutine of the thread `from` leaves its core.
    fn leaves(&mut self, event: &Event, from: i32, at: u64, leaves: Leaves) {
        let why = event.why();
        let reason = self.trace.meta.why(why);
        match leaves {
            Leaves::Dead => {
                if let Some(end) = self.slices.end(&mut self.writer, Slice::Life, from, at) {
                    end.word("ends", &reason).write();
                }
            }
            Leaves::Waits => {
                let stack = self.stack(event);
                let object = self.trace.meta.address(event.record.n);
                let mut wait = self.slices.begin(&mut self.writer, Slice::Wait, from, at, &reason);
                if event.record.n != 0 {
                    wait = wait.address("object", object);
                }
                with_stack(wait, &stack).write();
            }
            Leaves::Runnable | Leaves::Preempted => {
                let place = if why == Why::YIELD { Place::Ring } else { Place::Nowhere };
                let mut runnable = self.slices.begin(&mut self.writer, Slice::Runnable, from, at, "runnable");
                runnable = runnable.word("by", &reason);
                if place != Place::Nowhere {
                    runnable = runnable.word("place", place.as_str());
                }
                runnable.write();
            }
        }
    }

    /// A goroutine has left its core for a queue. If it is one that waits, it was readied on its
    /// way, or has found that it need not wait.
    fn put(&mut self, event: &Event) {
        let thread = self.threads.of(event.record.a);
        let mark = self.marks.remove(&thread);
        if self.slices.has(thread, Slice::Wait) {
            let itself = Mark { m: event.m, waker: Waker { thread, is_interrupt: false }, arrow: None, by: "itself" };
            self.runnable(thread, event.ns, mark.unwrap_or(itself), event.place());
        }
    }

    fn ready(&mut self, event: &Event) {
        let g = event.record.a;
        let (by, is_interrupt) = match event.record.how {
            0 => ("goroutine", false),
            1 => ("timer", false),
            2 => ("interrupt", true),
            3 => ("end of a look at its stack", false),
            _ => ("scheduler", false),
        };
        let waker = Waker { thread: self.current(event.m), is_interrupt };
        let arrow = self.arrow();
        // An interrupt's decisions are the M's.
        let track = ids::track(if is_interrupt { self.threads.m(event.m) } else { waker.thread });
        let mut ready = self.writer.instant(track, event.ns, "ready", "ready").number("goroutine", g);
        if let Some(name) = self.names.get(&g) {
            ready = ready.word("name", name);
        }
        ready.word("place", event.place().as_str()).arrow(arrow).write();
        let thread = self.threads.of(g);
        let mark = Mark { m: event.m, waker, arrow: Some(arrow), by };
        if self.cores.runs(thread) {
            self.marks.insert(thread, mark);
        } else {
            self.runnable(thread, event.ns, mark, event.place());
        }
    }

    /// The goroutine that runs says something about itself.
    fn say(&mut self, event: &Event, kind: Kind) {
        let thread = self.current(event.m);
        let at = self.cores.at(thread, event.ns);
        let text = event.text.as_deref().unwrap_or("?");
        let written = match kind {
            Kind::Log => {
                // A category, and the statement.
                let (category, said) = text.split_at_checked(event.record.n as usize).unwrap_or(("", text));
                let log = self.writer.instant(ids::track(thread), at, "log", said);
                Some(if category.is_empty() { log } else { log.word("category", category) })
            }
            Kind::RegionBegin => Some(self.slices.begin(&mut self.writer, Slice::Region, thread, at, text)),
            _ => self.slices.end(&mut self.writer, Slice::Region, thread, at),
        };
        match (written, event.record.a) {
            (Some(written), 0) => written.write(),
            (Some(written), task) => written.number("task", task).write(),
            (None, _) => {}
        }
    }

    /// A goroutine that waited can run.
    fn runnable(&mut self, thread: i32, at: u64, mark: Mark, place: Place) {
        let at = self.cores.wake(&mut self.writer, mark.m as usize, at, mark.waker, thread);
        self.slices.close(&mut self.writer, Slice::Wait, thread, at);
        if !self.slices.has(thread, Slice::Runnable) {
            let runnable = self.slices.begin(&mut self.writer, Slice::Runnable, thread, at, "runnable");
            let runnable = runnable.word("by", mark.by).word("place", place.as_str());
            match mark.arrow {
                Some(arrow) => runnable.arrow_ends(arrow).write(),
                None => runnable.write(),
            }
        }
    }

    /// Begins the slice of a goroutine's life.
    fn life(&mut self, g: u64, at: u64, entry: u32, created_at: u32) -> Written<'_> {
        let thread = self.threads.of(g);
        let name = self.names.get(&g).map_or("?", |name| name);
        let mut life = self.slices.begin(&mut self.writer, Slice::Life, thread, at, name).number("goroutine", g);
        if entry != 0 {
            life = life.word("function", &self.trace.entry(entry));
        }
        if let Some(place) = self.trace.place(created_at) {
            life = life.word("created at", &place.to_string()).word("created in", &place.function);
        }
        life
    }

    fn end(&mut self, g: u64, ns: u64, slice: Slice) {
        let (thread, at) = self.thread_at(g, ns);
        self.slices.close(&mut self.writer, slice, thread, at);
    }

    fn instant_of_g(&mut self, g: u64, ns: u64, name: &str) -> Written<'_> {
        let (thread, at) = self.thread_at(g, ns);
        self.writer.instant(ids::track(thread), at, "goroutine", name)
    }

    fn thread_at(&mut self, g: u64, ns: u64) -> (i32, u64) {
        let thread = self.threads.of(g);
        (thread, self.cores.at(thread, ns))
    }

    /// Returns the functions of an event's stack, innermost first: each with its place, and whether
    /// it is the program's.
    fn stack(&self, event: &Event) -> Vec<(String, bool)> {
        let addresses = event.stack.as_deref().unwrap_or_default();
        let code = addresses.iter().flat_map(|&low| self.trace.code(low));
        let text = |code: &crate::trace::names::Code| {
            let at = (!code.file.is_empty()).then(|| (code.file.clone(), code.line));
            let text = match &at {
                Some((file, line)) => format!("{} at {file}:{line}", code.function),
                None => code.function.clone(),
            };
            (text, !is_runtime(&Code { name: code.function.clone(), at }))
        };
        code.map(text).collect()
    }
}

/// Adds a stack to an event: the innermost place in the program, and all frames.
fn with_stack<'w>(mut event: Written<'w>, stack: &[(String, bool)]) -> Written<'w> {
    if let Some((place, _)) = stack.iter().find(|(_, is_programs)| *is_programs) {
        event = event.word("at", place);
    }
    for (depth, (place, _)) in stack.iter().enumerate() {
        event = event.word(&format!("stack {depth}"), place);
    }
    event
}
