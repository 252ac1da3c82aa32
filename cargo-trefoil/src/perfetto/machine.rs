//! The events of M's, P's and tasks.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use trefoil_trace::{Kind, Record};

use super::cores::{IDLE, Leaves, Waker};
use super::proto::{Track, TrackCounter};
use super::slices::Slice;
use super::writer::Event as Written;
use super::{Export, ids};
use crate::trace::events::{Event, Events};
use crate::trace::queues::Queues;

/// The order of a track's children: that of their ranks.
const BY_RANK: i32 = 3;

/// The machine, as the export has got to know it.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// The P's with a slice for their holder.
    held: BTreeSet<u8>,
    /// Arrows on the way to an M that is woken, or interrupted.
    wakes: HashMap<u32, u64>,
    interrupts: HashMap<u32, VecDeque<u64>>,
    /// The tracks of tasks.
    tasks: HashMap<u64, u64>,
    task_tracks: usize,
    /// The lengths of queues that were written last, by track.
    lengths: BTreeMap<u64, u64>,
    /// The queues whose length is known.
    known: BTreeSet<u8>,
}

impl Export<'_> {
    /// Describes the tracks of P's and counters.
    pub(super) fn describe_ps(&mut self, events: &Events) {
        let ps = events.iter().map(|event| event.record.p).chain((0..self.trace.meta.procs).map(|p| p as u8));
        let ps: BTreeSet<u8> = ps.filter(|&p| p != Record::NO_P).collect();
        let counter = |unit: &str| Some(TrackCounter { unit: Some(unit.into()) });
        let all = "P's and the queues of goroutines that can run";
        self.writer.track(Track {
            uuid: Some(ids::PROCS),
            name: Some("P's".into()),
            child_ordering: Some(BY_RANK),
            description: Some(all.into()),
            ..Track::default()
        });
        let mut rank = 0;
        let mut child = |uuid, name: String, counter, description: &str| {
            rank += 1;
            let (uuid, parent, rank, name) = (Some(uuid), Some(ids::PROCS), Some(rank), Some(name));
            let description = Some(description.to_string());
            Track { uuid, name, parent, counter, rank, description, ..Track::default() }
        };
        let mut tracks =
            vec![child(ids::GLOBAL, "global queue".into(), counter("goroutines"), "Goroutines in the global queue")];
        for p in ps {
            let holder = "The M that holds this P, and what befell its queue";
            tracks.push(child(ids::proc(p), format!("P {p}"), None, holder));
            let length = "Goroutines in its slot and ring";
            tracks.push(child(ids::queue(p), format!("P {p} queue"), counter("goroutines"), length));
        }
        tracks.push(child(ids::FRAMES, "free frames".into(), counter("frames"), "Free frames of memory, of 4 KiB"));
        tracks.into_iter().for_each(|track| self.writer.track(track));
        if events.is_cut_in_front {
            return;
        }
        self.machine.known.extend(0..=Record::NO_P);
    }

    /// Takes an event that is no goroutine's.
    pub(super) fn event_of_machine(&mut self, event: &Event) {
        let Some(kind) = event.kind() else { return };
        let Record { a, b, n, how, p, .. } = event.record;
        let (m, ns) = (event.m, event.ns);
        match kind {
            Kind::Hold => self.hold(p, m, ns, how),
            Kind::Release => self.release(p, ns, how),
            Kind::Procs => self.on_m(event, "number of P's").number("from", b).number("to", n.into()).write(),
            Kind::Tick => self.on_p(event, "61st dispatch: the global queue first").write(),
            Kind::Overflow => self.on_p(event, "overflow").number("to the global queue", u64::from(n) + 1).write(),
            Kind::Ripe => self.on_p(event, "ripe").number("goroutine", a).write(),
            Kind::ChainEnd => self.on_p(event, "chain ends").number("goroutine", a).write(),
            Kind::Steal => self.steal(event),
            Kind::Share => {
                let share = self.on_m(event, "takes from the global queue").number("goroutines", n.into());
                share.number("goroutine", a).number("put back", b).write();
            }
            Kind::Spin => self.begin_on_m(event, Slice::Spin, "looks for work").write(),
            Kind::SpinEnd => {
                if let Some(end) = self.end_on_m(event, Slice::Spin) {
                    end.word("found work", yes(how == 1)).write();
                }
            }
            Kind::Rest => self.rest(event),
            Kind::Rise => self.rise(event),
            Kind::Woken => self.on_m(event, "was woken").word("found work", yes(how == 1)).write(),
            Kind::Wake => self.wake(event),
            Kind::Defer => self.on_m(event, "wake-up put off").write(),
            Kind::IpiSent => {
                let arrow = self.arrow();
                self.machine.interrupts.entry(a as u32).or_default().push_back(arrow);
                self.on_m(event, "interrupt sent").number("to M", a).arrow(arrow).write();
            }
            Kind::IpiReceived => {
                let arrow = self.machine.interrupts.get_mut(&m).and_then(VecDeque::pop_front);
                let received = self.on_m(event, "interrupt received");
                match arrow {
                    Some(arrow) => received.arrow_ends(arrow).write(),
                    None => received.write(),
                }
            }
            Kind::Alarm => {
                let alarm = self.on_m(event, "alarm").word("timer due", yes(how & 1 != 0));
                alarm.word("slice over", yes(how & 2 != 0)).write();
            }
            Kind::Arm => self.on_m(event, "alarm set").number("for, ns", b).write(),
            Kind::TimerSet => self.timer(event, "timer set"),
            Kind::TimerFired => self.timer(event, "timer fires"),
            Kind::TimerCancel => self.timer(event, "timer cancelled"),
            Kind::Epoch => self.on_m(event, "epoch").number("frames given back", b).write(),
            Kind::Pressure => self.on_m(event, "heap asks for memory back").write(),
            Kind::Frames => self.writer.value(ids::FRAMES, ns, a),
            Kind::TaskBegin => self.task_begins(event),
            Kind::TaskEnd => {
                if let Some(track) = self.machine.tasks.remove(&a) {
                    self.writer.end(track, ns).write();
                }
            }
            Kind::Snapshot => {
                self.machine.known.insert(p);
            }
            _ => {}
        }
    }

    /// Writes the lengths of the queues that an event may have changed.
    pub(super) fn lengths(&mut self, event: &Event, queues: &Queues) {
        let Record { p, b, .. } = event.record;
        if self.machine.known.contains(&Record::NO_P) {
            self.length(ids::GLOBAL, event.ns, queues.global.len() as u64);
        }
        let victim = (event.kind() == Some(Kind::Steal)).then_some(b as u8);
        for p in [p].into_iter().chain(victim) {
            if let Some(queue) = queues.ps.get(&p).filter(|_| self.machine.known.contains(&p)) {
                let length = queue.ring.len() as u64 + u64::from(queue.slot != 0);
                self.length(ids::queue(p), event.ns, length);
            }
        }
    }

    fn length(&mut self, track: u64, ns: u64, length: u64) {
        if self.machine.lengths.insert(track, length) != Some(length) {
            self.writer.value(track, ns, length);
        }
    }

    fn hold(&mut self, p: u8, m: u32, ns: u64, how: u8) {
        if !self.machine.held.insert(p) {
            self.writer.end(ids::proc(p), ns).write();
        }
        let cause = ["start, or after a rest", "handed over", "back from block_in_place"];
        let hold = self.writer.begin(ids::proc(p), ns, "machine", &format!("M {m}"));
        hold.word("cause", cause.get(usize::from(how)).unwrap_or(&"?")).write();
    }

    fn release(&mut self, p: u8, ns: u64, how: u8) {
        if self.machine.held.remove(&p) {
            let cause = ["to rest", "block_in_place", "fewer P's", "handed over"];
            let end = self.writer.end(ids::proc(p), ns);
            end.word("end", cause.get(usize::from(how)).unwrap_or(&"?")).write();
        }
    }

    fn steal(&mut self, event: &Event) {
        let Record { a, b, n, p, .. } = event.record;
        let arrow = self.arrow();
        let robbed = self.writer.instant(ids::proc(b as u8), event.ns, "steal", "robbed");
        robbed.number("goroutines", n.into()).number("by P", p.into()).arrow(arrow).write();
        let steal = self.on_m(event, "steal").number("goroutines", n.into()).number("of P", b).number("goroutine", a);
        steal.word("from", event.place().as_str()).arrow_ends(arrow).write();
    }

    fn rest(&mut self, event: &Event) {
        let cpu = event.m as usize;
        if self.cores.thread(cpu) == Some(self.threads.m(event.m)) {
            self.cores.switch(&mut self.writer, cpu, event.ns, Leaves::Waits, IDLE);
        }
        let name = if event.record.how == 1 { "naps" } else { "rests" };
        let rest = self.begin_on_m(event, Slice::Rest, name);
        // At the end of time: no timer is set.
        match event.record.b {
            u64::MAX => rest.write(),
            until => rest.number("until, ns", until).write(),
        }
    }

    fn rise(&mut self, event: &Event) {
        let cpu = event.m as usize;
        if self.cores.thread(cpu) == Some(IDLE) {
            let thread = self.threads.m(event.m);
            self.cores.switch(&mut self.writer, cpu, event.ns, Leaves::Runnable, thread);
        }
        let by = if event.record.how == 1 { "an M" } else { "an interrupt" };
        if let Some(end) = self.end_on_m(event, Slice::Rest) {
            end.word("ended by", by).write();
        }
        let arrow = self.machine.wakes.remove(&event.m);
        let rises = self.on_m(event, "rises").word("by", by);
        match arrow {
            Some(arrow) => rises.arrow_ends(arrow).write(),
            None => rises.write(),
        }
    }

    fn wake(&mut self, event: &Event) {
        let target = event.record.a as u32;
        let arrow = self.arrow();
        self.machine.wakes.insert(target, arrow);
        let waker = Waker { thread: self.current(event.m), is_interrupt: event.record.how == 1 };
        if self.cores.thread(target as usize) == Some(IDLE) {
            let thread = self.threads.m(target);
            self.cores.wake(&mut self.writer, event.m as usize, event.ns, waker, thread);
        }
        self.on_m(event, "wakes an M").number("M", target.into()).arrow(arrow).write();
    }

    fn timer(&mut self, event: &Event, name: &str) {
        let Record { a, b, .. } = event.record;
        let mut timer = self.on_m(event, name).number("for, ns", b);
        if a != 0 {
            timer = timer.number("goroutine", a);
        }
        timer.write();
    }

    fn task_begins(&mut self, event: &Event) {
        let Record { a, b, .. } = event.record;
        let track = ids::task(self.machine.task_tracks);
        self.machine.task_tracks += 1;
        self.machine.tasks.insert(a, track);
        let name = event.text.as_deref().unwrap_or("task");
        if self.machine.task_tracks == 1 {
            let (name, description) = (Some("tasks".into()), Some("The program's tasks".into()));
            self.writer.track(Track { uuid: Some(ids::TASKS), name, description, ..Track::default() });
        }
        let (uuid, parent) = (Some(track), Some(ids::TASKS));
        self.writer.track(Track { uuid, parent, name: Some(name.into()), ..Track::default() });
        let g = self.threads.g(self.current(event.m));
        let task = self.writer.begin(track, event.ns, "task", name).number("task", a).number("parent", b);
        task.number("goroutine", g).write();
    }

    /// Writes an instant on the track of the event's P.
    fn on_p(&mut self, event: &Event, name: &str) -> Written<'_> {
        let track = event.record.p().map_or(ids::track(self.threads.m(event.m)), |_| ids::proc(event.record.p));
        self.writer.instant(track, event.ns, "queue", name)
    }

    /// Writes an instant on the track of the event's M.
    fn on_m(&mut self, event: &Event, name: &str) -> Written<'_> {
        let thread = self.threads.m(event.m);
        let at = self.cores.at(thread, event.ns);
        self.writer.instant(ids::track(thread), at, "machine", name)
    }

    fn begin_on_m(&mut self, event: &Event, slice: Slice, name: &str) -> Written<'_> {
        let thread = self.threads.m(event.m);
        let at = self.cores.at(thread, event.ns);
        self.slices.begin(&mut self.writer, slice, thread, at, name)
    }

    fn end_on_m(&mut self, event: &Event, slice: Slice) -> Option<Written<'_>> {
        let thread = self.threads.m(event.m);
        let at = self.cores.at(thread, event.ns);
        self.slices.end(&mut self.writer, slice, thread, at)
    }
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}
