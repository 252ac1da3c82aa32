//! A recorded run as a trace for Perfetto.
//!
//! Perfetto knows Linux: processes, threads, cores. A run is told in these terms, so that all its
//! pictures and queries work:
//!
//! ```text
//!   core            CPU of the same number: what it ran, switch by switch
//!   goroutine       thread: running, runnable or sleeping; if it was made runnable: by whom. Its
//!                   track has its life, its waits with reason and place, its regions, its logs
//!   function        process: the goroutines that began with it are its threads, and have its colour
//!   M               thread of the process "M's": it runs while its core is on g0, sleeps while a
//!                   goroutine runs or the core rests. Its track has the search for work, rests,
//!                   steals, timers, interrupts
//!   P               track: the M that holds it, and what befell its queue; and a counter for the
//!                   queue's length
//!   task            track of its own
//! ```
//!
//! Arrows lead from the waker of a goroutine to the goroutine's wait for a core. They lead from a
//! robbed P to the thief, from a wake-up to the M that rises, and from an interrupt that is sent to
//! its receipt.
//!
//! | module | its idea |
//! |---|---|
//! | `proto` | the messages of a Perfetto trace |
//! | `writer` | packets with events; names are written once |
//! | `cores` | switches and wake-ups, as ftrace has them |
//! | `ids` | the numbers of threads and tracks |
//! | `slices` | the open slices of each thread |
//! | `goroutines` | the events of goroutines |
//! | `machine` | the events of P's and M's |

mod cores;
mod goroutines;
mod ids;
mod machine;
mod proto;
mod slices;
mod writer;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use trefoil_trace::Kind;

use crate::trace::Trace;
use crate::trace::events::{Event, Events};
use crate::trace::queues::Replay;
use cores::{Cores, IDLE, Leaves};
use goroutines::Mark;
use ids::Threads;
use machine::Machine;
use proto::{Track, TrackProcess, TrackThread};
use slices::Slices;
use writer::Writer;

/// Returns the run as a trace that Perfetto reads.
///
/// ```
/// use cargo_trefoil::perfetto::export;
/// use cargo_trefoil::trace::{Trace, events::Events, sample::Sample};
///
/// let trace = Trace::parse(&Sample::default().file()).unwrap();
/// let exported = export(&trace, &Events::of(&trace));
/// assert_eq!(exported[0], 0x0a, "a packet comes first");
/// ```
pub fn export(trace: &Trace, events: &Events) -> Vec<u8> {
    let mut export = Export::new(trace);
    export.describe(events);
    export.begin(events);
    let mut replay = Replay::new(events);
    while let Some(event) = replay.step() {
        export.event(event);
        export.lengths(event, &replay.queues);
    }
    export.cores.finish(&mut export.writer);
    export.writer.finish()
}

/// An export that is being made.
#[derive(Debug)]
struct Export<'a> {
    trace: &'a Trace,
    writer: Writer,
    cores: Cores,
    threads: Threads,
    /// The goroutines' names.
    names: BTreeMap<u64, String>,
    slices: Slices,
    /// Threads that were readied on their way off a core.
    marks: HashMap<i32, Mark>,
    machine: Machine,
    /// The number of arrows so far.
    arrows: u64,
}

impl<'a> Export<'a> {
    fn new(trace: &'a Trace) -> Self {
        Self {
            trace,
            writer: Writer::default(),
            cores: Cores::default(),
            threads: Threads::default(),
            names: BTreeMap::new(),
            slices: Slices::default(),
            marks: HashMap::new(),
            machine: Machine::default(),
            arrows: 0,
        }
    }

    /// Describes processes, threads and tracks.
    fn describe(&mut self, events: &Events) {
        let names = goroutines::names(self.trace, events);
        self.threads = Threads::new(names.keys().copied());
        let mut processes: BTreeMap<String, Vec<(i32, String)>> = BTreeMap::new();
        for (&g, names) in &names {
            let thread = (self.threads.of(g), names.name.clone());
            processes.entry(names.function.clone()).or_default().push(thread);
        }
        self.names = names.into_iter().map(|(g, names)| (g, names.name)).collect();
        let ms: BTreeSet<u32> = self.trace.rings.iter().map(|ring| ring.m).collect();
        let ms = ms.into_iter().map(|m| (self.threads.m(m), format!("M {m}"))).collect();
        let all = [("M's".to_string(), ms)].into_iter().chain(processes);
        for (n, (name, threads)) in all.enumerate() {
            let pid = Some(self.threads.process(n));
            let process = Some(TrackProcess { pid, name: Some(name) });
            self.writer.track(Track { uuid: Some(ids::process(n)), process, ..Track::default() });
            for (tid, name) in threads {
                let thread = Some(TrackThread { pid, tid: Some(tid), name: Some(name) });
                self.writer.track(Track { uuid: Some(ids::track(tid)), thread, ..Track::default() });
            }
        }
        self.describe_ps(events);
    }

    /// Says what each core runs at the begin, and which goroutines live.
    fn begin(&mut self, events: &Events) {
        let mut first: BTreeMap<u32, i32> = BTreeMap::new();
        for event in events.iter() {
            let thread = match event.kind() {
                Some(Kind::Switch | Kind::Begin) if event.record.a != 0 => self.threads.of(event.record.a),
                Some(Kind::Switch | Kind::Begin | Kind::Rest) => self.threads.m(event.m),
                Some(Kind::Rise) => IDLE,
                _ => continue,
            };
            first.entry(event.m).or_insert(thread);
        }
        for ring in &self.trace.rings {
            let thread = first.get(&ring.m).copied().unwrap_or(self.threads.m(ring.m));
            // A core that came later is seen from its first record on.
            let ns = events.iter().find(|event| event.m == ring.m).map_or(events.begin, |event| event.ns);
            let ns = if events.is_cut_in_front { events.begin } else { ns };
            // Perfetto has no slice for the first switch of a core: it knows no thread before it.
            for thread in [IDLE, thread] {
                self.cores.switch(&mut self.writer, ring.m as usize, ns, Leaves::Waits, thread);
            }
        }
        self.begin_gs(events);
    }

    fn event(&mut self, event: &Event) {
        if !self.event_of_g(event) {
            self.event_of_machine(event);
        }
    }

    /// Returns the thread that runs on an M's core.
    fn current(&self, m: u32) -> i32 {
        match self.cores.thread(m as usize) {
            None | Some(IDLE) => self.threads.m(m),
            Some(thread) => thread,
        }
    }

    /// Returns the number of a new arrow.
    fn arrow(&mut self) -> u64 {
        self.arrows += 1;
        self.arrows
    }
}
