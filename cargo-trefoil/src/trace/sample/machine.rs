//! The simulated scheduler. Its M with the earliest clock takes the next step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use trefoil_trace::{Kind, Place, Record, Row, Why};

use super::rng::Rng;
mod program;

use super::{PROGRAM, Sample, function, ns, place, runtime};

/// Goroutines that a ring holds.
const RING: usize = 256;
/// Buckets of the latencies.
const BUCKETS: usize = 64;
pub(super) const SLEEP: Why = Why(6);

struct G {
    site: usize,
    name: Option<String>,
    /// Why and for which object it waits; (0, 0): not.
    wait: (u8, u32),
    running: bool,
    /// Since when it could run.
    since: u64,
    regions: u32,
    task: u64,
    stack: u32,
}

#[derive(Default)]
struct P {
    slot: u64,
    ring: VecDeque<u64>,
    dispatches: u64,
}

struct M {
    now: u64,
    /// The goroutine; 0: g0.
    g: u64,
    /// The P; `None`: it rests.
    p: Option<usize>,
    woken: bool,
    /// The goroutine uses its slice up.
    long: bool,
    records: Vec<Record>,
    runs: u64,
}

pub(super) struct Machine {
    rng: Rng,
    events: usize,
    most: usize,
    stacks: bool,
    ms: Vec<M>,
    ps: Vec<P>,
    idle_ps: Vec<usize>,
    global: VecDeque<u64>,
    gs: BTreeMap<u64, G>,
    last_g: u64,
    last_task: u64,
    /// The goroutines that wait for an object, oldest first.
    waiters: VecDeque<u64>,
    timers: BinaryHeap<Reverse<(u64, u64)>>,
    latencies: [u64; BUCKETS],
}

impl Machine {
    pub(super) fn new(sample: &Sample) -> Self {
        let m = |_| M { now: 0, g: 0, p: None, woken: false, long: false, records: Vec::new(), runs: 0 };
        let mut machine = Self {
            rng: Rng(sample.seed),
            events: sample.events,
            most: sample.goroutines.max(2),
            stacks: sample.stacks,
            ms: (0..sample.cores.max(1)).map(m).collect(),
            ps: (0..sample.procs.clamp(1, sample.cores.max(1))).map(|_| P::default()).collect(),
            idle_ps: Vec::new(),
            global: VecDeque::new(),
            gs: BTreeMap::new(),
            last_g: 0,
            last_task: 0,
            waiters: VecDeque::new(),
            timers: BinaryHeap::new(),
            latencies: [0; BUCKETS],
        };
        machine.idle_ps = (1..machine.ps.len()).rev().collect();
        for m in 0..machine.ms.len() {
            machine.ms[m].now = 100 * m as u64;
            machine.record(m, Kind::Begin, 0, Place::Nowhere, 0, [0, 0]);
        }
        machine.ms[0].p = Some(0);
        machine.record(0, Kind::Hold, 0, Place::Nowhere, 0, [0, 0]);
        machine.create(0, 0);
        machine
    }

    pub(super) fn run(&mut self) {
        for m in 1..self.ms.len() {
            self.rest(m);
        }
        let mut clock = 0;
        while self.ms.iter().map(|m| m.records.len()).sum::<usize>() < self.events {
            let m = self.next_m();
            // One M at a time: the next one sees all changes of this step.
            self.ms[m].now = self.ms[m].now.max(clock);
            match (self.ms[m].p, self.ms[m].g) {
                (None, _) => self.rise(m),
                (Some(p), 0) => self.find(m, p),
                (Some(p), g) => self.go_on(m, p, g),
            }
            clock = self.ms[m].now;
            self.compute(m);
        }
    }

    pub(super) fn records(&self) -> Vec<&[Record]> {
        self.ms.iter().map(|m| &m.records[..]).collect()
    }

    pub(super) fn runs(&self, m: usize) -> u64 {
        self.ms[m].runs
    }

    pub(super) fn now(&self) -> u64 {
        self.ms.iter().map(|m| m.now).max().unwrap_or(0)
    }

    pub(super) fn latencies(&self) -> &[u64] {
        &self.latencies
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |(&id, g): (&u64, &G)| {
            let mut name = [0; 32];
            let text = g.name.as_deref().unwrap_or("");
            name[..text.len()].copy_from_slice(text.as_bytes());
            let state = if g.wait.0 != 0 { 4 } else { 1 + u8::from(g.running) };
            let (why, object) = g.wait;
            Row { id, state, why, object, entry: function(g.site), created_at: place(g.site), stack: g.stack, name }
        };
        self.gs.iter().map(row).collect()
    }

    /// The M with the earliest clock; one that rests is due when a timer is.
    fn next_m(&self) -> usize {
        let first = self.timers.peek().map(|Reverse((when, _))| *when);
        let due = |m: &M| match (m.p, first) {
            (Some(_), _) => m.now,
            (None, Some(when)) if !self.idle_ps.is_empty() => m.now.max(when),
            _ => u64::MAX,
        };
        (0..self.ms.len()).min_by_key(|&m| due(&self.ms[m])).expect("a machine has an M")
    }

    fn record(&mut self, m: usize, kind: Kind, how: u8, place: Place, n: u32, [a, b]: [u64; 2]) {
        let p = self.ms[m].p.map_or(Record::NO_P, |p| p as u8);
        self.ms[m].now += 20 + self.rng.below(60);
        let at = self.ms[m].now;
        self.ms[m].records.push(Record::from_words([at, Record::word(kind, p, how, place, n), a, b]));
    }

    fn text(&mut self, m: usize, text: &str) {
        for (n, piece) in text.as_bytes().chunks(16).enumerate() {
            let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| piece.get(at + i).copied().unwrap_or(0)));
            self.record(m, Kind::Text, piece.len() as u8, Place::Nowhere, n as u32, [word(0), word(8)]);
        }
    }

    fn stack(&mut self, m: usize, frames: &[u32]) {
        if !self.stacks {
            return;
        }
        for (n, piece) in frames.chunks(4).enumerate() {
            let word = |at: usize| [at, at + 1].map(|i| u64::from(piece.get(i).copied().unwrap_or(0)));
            let [a, b] = [word(0), word(2)].map(|[low, high]| low | high << 32);
            self.record(m, Kind::Stack, piece.len() as u8, Place::Nowhere, n as u32, [a, b]);
        }
    }

    /// Makes a goroutine of a site, by the goroutine on `m`.
    fn create(&mut self, m: usize, site: usize) {
        self.last_g += 1;
        let g = self.last_g;
        let name = (site == 0 || self.rng.once_in(2)).then(|| {
            let word = PROGRAM[site].0.split("::").nth(1).unwrap_or("");
            if site == 0 { "main".into() } else { format!("{word} number {g}") }
        });
        let created = u64::from(function(site)) | u64::from(place(site)) << 32;
        self.record(m, Kind::Create, 0, Place::Slot, 0, [g, created]);
        let since = self.ms[m].now;
        let new = G { site, name, wait: (0, 0), running: false, since, regions: 0, task: 0, stack: 4096 };
        if let Some(name) = &new.name {
            let name = name.clone();
            self.text(m, &name);
        }
        if site > 0 {
            self.stack(m, &[runtime(4), function(0) + 0x20]);
        }
        self.gs.insert(g, new);
        self.put_slot(m, g);
    }

    fn put_slot(&mut self, m: usize, g: u64) {
        let p = self.ms[m].p.expect("a readier has a P");
        let old = std::mem::replace(&mut self.ps[p].slot, g);
        if old != 0 {
            self.put_ring(m, p, old);
            self.wake(m);
        }
    }

    fn put_ring(&mut self, m: usize, p: usize, g: u64) {
        if self.ps[p].ring.len() < RING {
            return self.ps[p].ring.push_back(g);
        }
        let half: Vec<u64> = self.ps[p].ring.drain(..RING / 2).collect();
        let oldest = half[0];
        self.global.extend(half);
        self.global.push_back(g);
        self.record(m, Kind::Overflow, 0, Place::Global, RING as u32 / 2, [g, oldest]);
    }

    /// Wakes an M that rests, if a P is free.
    fn wake(&mut self, m: usize) {
        let sleeper = self.ms.iter().position(|m| m.p.is_none());
        if let (Some(other), Some(p)) = (sleeper, self.idle_ps.pop()) {
            self.record(m, Kind::Wake, 0, Place::Nowhere, 0, [other as u64, 0]);
            self.record(m, Kind::IpiSent, 0, Place::Nowhere, 0, [other as u64, 0]);
            self.ms[other].now = self.ms[other].now.max(self.ms[m].now) + 2_000;
            self.record(other, Kind::IpiReceived, 0, Place::Nowhere, 0, [0, 0]);
            self.record(other, Kind::Rise, 1, Place::Nowhere, 0, [0, 0]);
            self.hold(other, p);
            self.ms[other].woken = true;
        }
    }

    fn hold(&mut self, m: usize, p: usize) {
        self.ms[m].p = Some(p);
        self.record(m, Kind::Hold, 0, Place::Nowhere, 0, [0, 0]);
    }

    /// A timer ends the rest.
    fn rise(&mut self, m: usize) {
        let Some(&Reverse((when, _))) = self.timers.peek() else { return };
        let Some(p) = self.idle_ps.pop() else { return };
        self.ms[m].now = self.ms[m].now.max(when);
        self.record(m, Kind::Alarm, 1, Place::Nowhere, 0, [0, 0]);
        self.record(m, Kind::Rise, 0, Place::Nowhere, 0, [0, 0]);
        self.hold(m, p);
    }

    fn rest(&mut self, m: usize) {
        if let Some(p) = self.ms[m].p {
            self.record(m, Kind::Release, 0, Place::Nowhere, 0, [0, 0]);
            self.ms[m].p = None;
            self.idle_ps.push(p);
        }
        let until = self.timers.peek().map_or(u64::MAX, |Reverse((when, _))| ns(*when));
        self.record(m, Kind::Rest, 0, Place::Nowhere, 0, [0, until]);
    }

    /// Takes the next goroutine of the P without a look at anything else.
    fn next_local(&mut self, p: usize) -> Option<(u64, Place)> {
        match std::mem::take(&mut self.ps[p].slot) {
            0 => self.ps[p].ring.pop_front().map(|g| (g, Place::Ring)),
            g => Some((g, Place::Slot)),
        }
    }

    /// Leaves the context of the M for the next at hand, or for g0.
    fn switch(&mut self, m: usize, why: Why, object: u32, next: Option<(u64, Place)>) {
        let left = std::mem::take(&mut self.ms[m].g);
        let (to, from) = next.unwrap_or((0, Place::Nowhere));
        self.record(m, Kind::Switch, why.0, from, object, [left, to]);
        let at = self.ms[m].now;
        if let Some(g) = self.gs.get_mut(&left) {
            g.running = false;
            g.since = at;
            let site = g.site;
            if why.waits() {
                g.wait = (why.0, object);
                let which = if why == SLEEP { 2 } else { 0 };
                self.stack(m, &[runtime(which), function(site) + 0x20]);
            }
        }
        if why.ends() {
            self.gs.remove(&left);
        }
        if self.rng.once_in(30)
            && let Some(p) = self.ms[m].p
        {
            self.snapshot(m, p);
        }
        if let Some(g) = self.gs.get_mut(&to) {
            g.running = true;
            let waited = ns(at).saturating_sub(ns(g.since));
            self.latencies[(u64::BITS - waited.leading_zeros()) as usize % BUCKETS] += 1;
            self.ms[m].g = to;
            self.ms[m].runs += 1;
            if let Some(p) = self.ms[m].p {
                self.ps[p].dispatches += 1;
            }
        }
    }

    /// A goroutine can run again.
    fn ready(&mut self, m: usize, g: u64, how: u8, at: Place) {
        self.record(m, Kind::Ready, how, at, 0, [g, 0]);
        let now = self.ms[m].now;
        let ready = self.gs.get_mut(&g).expect("a goroutine that waits lives");
        (ready.wait, ready.since) = ((0, 0), now);
    }

    /// On g0: looks for a goroutine, or rests.
    fn find(&mut self, m: usize, p: usize) {
        let mut first = None;
        for _ in 0..4 {
            let due = self.timers.peek().filter(|Reverse((when, _))| *when <= self.ms[m].now);
            let Some(&Reverse((when, g))) = due else { break };
            self.timers.pop();
            self.record(m, Kind::TimerFired, 0, Place::Nowhere, 0, [g, ns(when)]);
            if first.is_none() {
                self.ready(m, g, 1, Place::Hand);
                first = Some((g, Place::Hand));
            } else {
                self.ready(m, g, 1, Place::Ring);
                self.put_ring(m, p, g);
            }
        }
        if first.is_none() && self.ps[p].dispatches % 61 == 60 && !self.global.is_empty() {
            self.record(m, Kind::Tick, 0, Place::Nowhere, 0, [0, 0]);
            first = self.global.pop_front().map(|g| (g, Place::Global));
        }
        let next = first.or_else(|| self.next_local(p)).or_else(|| self.share(m, p)).or_else(|| self.steal(m, p));
        if std::mem::take(&mut self.ms[m].woken) {
            let g = next.map_or(0, |(g, _)| g);
            self.record(m, Kind::Woken, u8::from(g != 0), Place::Nowhere, 0, [g, 0]);
        }
        match next {
            Some(next) => self.switch(m, Why::NONE, 0, Some(next)),
            None => self.rest(m),
        }
    }

    fn share(&mut self, m: usize, p: usize) -> Option<(u64, Place)> {
        let n = (self.global.len() / self.ps.len() + 1).min(RING / 2).min(self.global.len());
        let mut taken = self.global.drain(..n);
        let first = taken.next()?;
        self.ps[p].ring.extend(taken);
        self.record(m, Kind::Share, 0, Place::Global, n as u32, [first, 0]);
        Some((first, Place::Hand))
    }

    fn steal(&mut self, m: usize, p: usize) -> Option<(u64, Place)> {
        self.record(m, Kind::Spin, 0, Place::Nowhere, 0, [0, 0]);
        let start = self.rng.below(self.ps.len() as u64) as usize;
        let victims = (0..self.ps.len()).map(|i| (start + i) % self.ps.len());
        let victim = victims.filter(|&victim| victim != p).find(|&victim| !self.ps[victim].ring.is_empty());
        let found = victim.map(|victim| {
            let n = self.ps[victim].ring.len().div_ceil(2).min(RING / 2);
            let mut taken: Vec<u64> = self.ps[victim].ring.drain(..n).collect();
            let last = taken.pop().expect("a ring that is not empty gives one");
            self.ps[p].ring.extend(taken);
            self.record(m, Kind::Steal, 0, Place::Ring, n as u32, [last, victim as u64]);
            (last, Place::Hand)
        });
        self.record(m, Kind::SpinEnd, u8::from(found.is_some()), Place::Nowhere, 0, [0, 0]);
        found
    }

    /// Writes the queues of the P, or the global one, as they are.
    fn snapshot(&mut self, m: usize, p: usize) {
        let of_global = self.rng.once_in(3);
        let (slot, queue): (u64, Vec<u64>) = if of_global {
            (0, self.global.iter().copied().collect())
        } else {
            (self.ps[p].slot, self.ps[p].ring.iter().copied().collect())
        };
        self.record(m, Kind::Snapshot, u8::from(slot != 0), Place::Nowhere, queue.len() as u32, [slot, 0]);
        if of_global && let Some(record) = self.ms[m].records.last_mut() {
            record.p = Record::NO_P;
        }
        // A void one shows too few.
        let is_void = self.rng.once_in(50);
        for (n, two) in queue.chunks(2).skip(usize::from(is_void)).enumerate() {
            self.record(m, Kind::Queued, 0, Place::Nowhere, n as u32, [two[0], two.get(1).copied().unwrap_or(0)]);
        }
        if is_void {
            self.record(m, Kind::Snapshot, 0, Place::Nowhere, u32::MAX, [0, 0]);
        }
    }
}
