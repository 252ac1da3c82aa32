//! The deeds of the simulated goroutines.

use std::cmp::Reverse;

use trefoil_trace::{Kind, Place, Why};

use super::super::{PROGRAM, ns};
use super::{Machine, SLEEP};

/// A slice: 1 ms.
const SLICE: u64 = 2_500_000;
const CHAN_RECEIVE: Why = Why(2);

impl Machine {
    /// The goroutine computes until it does the next thing.
    pub(super) fn compute(&mut self, m: usize) {
        if let Some(site) = self.gs.get(&self.ms[m].g).map(|g| g.site) {
            let long = site == 1 && self.rng.once_in(60);
            self.ms[m].long = long;
            self.ms[m].now += if long { SLICE } else { 500 + self.rng.below([4_000, 40_000][usize::from(site == 1)]) };
        }
    }

    /// The goroutine does something.
    pub(super) fn go_on(&mut self, m: usize, p: usize, g: u64) {
        let site = self.gs[&g].site;
        if std::mem::take(&mut self.ms[m].long) {
            self.record(m, Kind::Alarm, 2, Place::Nowhere, 0, [0, 0]);
            self.record(m, Kind::SliceEnd, 0, Place::Nowhere, 0, [g, 0]);
            self.switch(m, Why::PREEMPT, 0, None);
            self.record(m, Kind::Put, Why::PREEMPT.0, Place::Global, 0, [g, 0]);
            self.global.push_back(g);
            return self.wake(m);
        }
        if self.gs.len() < self.most && (site == 0 || self.rng.once_in(20)) {
            let new = 1 + self.rng.below(PROGRAM.len() as u64 - 1) as usize;
            self.create(m, new);
            if site > 0 || !self.rng.once_in(8) {
                return;
            }
        }
        match (site, self.rng.below(12)) {
            (_, 0) => self.say(m, g),
            (1, 1) => {
                self.record(m, Kind::Grow, 0, Place::Nowhere, 0, [g, 8192]);
                self.gs.get_mut(&g).expect("it runs").stack = 8192;
            }
            (0 | 4, _) => {
                let when = self.ms[m].now + 10_000 + self.rng.below(500_000);
                self.record(m, Kind::TimerSet, 0, Place::Timers, 0, [g, ns(when)]);
                self.timers.push(Reverse((when, g)));
                self.leave(m, p, SLEEP, 0);
            }
            (2, _) if !self.waiters.is_empty() => {
                let waiter = self.waiters.pop_front().expect("one waits");
                self.ready(m, waiter, 0, Place::Slot);
                self.put_slot(m, waiter);
            }
            (3, 1) => self.wait_in_vain(m, p, g),
            (3, 2..) => {
                self.waiters.push_back(g);
                self.leave(m, p, CHAN_RECEIVE, 0x9000_0000 + 64 * (g % 5) as u32);
            }
            (_, 9) => self.leave(m, p, Why::END, 0),
            _ => {
                if let Some(next) = self.next_local(p) {
                    self.switch(m, Why::YIELD, 0, Some(next));
                    self.gs.get_mut(&g).expect("it lives").since = self.ms[m].now;
                    self.put_ring(m, p, g);
                } else {
                    self.ms[m].now += 5_000;
                }
            }
        }
    }

    /// Leaves for the next at hand. Every eighth time something needs attention: then for g0.
    fn leave(&mut self, m: usize, p: usize, why: Why, object: u32) {
        let next = if self.rng.once_in(8) { None } else { self.next_local(p) };
        self.switch(m, why, object, next);
    }

    /// Waits, and is readied by another M before the registers are saved.
    fn wait_in_vain(&mut self, m: usize, p: usize, g: u64) {
        self.leave(m, p, CHAN_RECEIVE, 0x9000_0000);
        if let Some(other) = (0..self.ms.len()).find(|&other| other != m && self.ms[other].g != 0) {
            self.ms[other].now = self.ms[other].now.max(self.ms[m].now);
            self.record(other, Kind::Ready, 0, Place::Marked, 0, [g, 0]);
            self.ms[m].now = self.ms[other].now;
        }
        self.record(m, Kind::Put, 0, Place::Slot, 0, [g, 0]);
        let now = self.ms[m].now;
        let g_now = self.gs.get_mut(&g).expect("it lives");
        (g_now.wait, g_now.since) = ((0, 0), now);
        self.put_slot(m, g);
    }

    /// The program says something about itself.
    fn say(&mut self, m: usize, g: u64) {
        let (regions, task) = (self.gs[&g].regions, self.gs[&g].task);
        if regions > 0 {
            self.record(m, Kind::RegionEnd, 0, Place::Nowhere, 0, [task, 0]);
            self.gs.get_mut(&g).expect("it runs").regions -= 1;
        } else if task != 0 {
            self.record(m, Kind::TaskEnd, 0, Place::Nowhere, 0, [task, 0]);
            self.gs.get_mut(&g).expect("it runs").task = 0;
        } else if self.rng.once_in(3) {
            self.record(m, Kind::Log, 0, Place::Nowhere, 4, [task, 0]);
            self.text(m, "workone more thing is done");
        } else if self.rng.once_in(2) {
            self.record(m, Kind::RegionBegin, 0, Place::Nowhere, 5, [task, 0]);
            self.text(m, "parse");
            self.gs.get_mut(&g).expect("it runs").regions += 1;
        } else {
            self.last_task += 1;
            let task = self.last_task;
            self.record(m, Kind::TaskBegin, 0, Place::Nowhere, 7, [task, 0]);
            self.text(m, "request");
            self.gs.get_mut(&g).expect("it runs").task = task;
        }
    }
}
