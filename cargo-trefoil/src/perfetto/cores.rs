//! The threads on the cores, and the wakers of threads: the part of an export that Linux's ftrace
//! has.
//!
//! The times of one core, and those of one thread, always rise. Two records with the same time
//! would otherwise leave the order to the reader.

use std::collections::HashMap;

use super::proto::{Bundle, CompactSched, FtraceEvent, Packet, Waking};
use super::writer::Writer;

/// No thread: the core rests.
pub(super) const IDLE: i32 = 0;

/// A bundle has so many entries at most.
const MOST: usize = 4096;

/// A priority like any other: threads have none here.
const PRIORITY: i32 = 120;

/// The state of a thread that leaves a core, as Linux has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Able to run on: a yield.
    Runnable = 0,
    /// Waiting.
    Waits = 1,
    /// Gone.
    Dead = 0x10,
    /// Able to run on, but sent away.
    Preempted = 0x800,
}

/// The cores' threads so far.
#[derive(Debug, Default)]
pub(super) struct Cores {
    cores: Vec<Core>,
    /// The last time of each thread.
    threads: HashMap<i32, u64>,
}

#[derive(Debug, Default)]
struct Core {
    /// The thread that runs; `None`: it is not known yet.
    thread: Option<i32>,
    last: u64,
    /// The times of the last switch and the last wake-up in the bundle.
    switch_base: u64,
    waking_base: u64,
    compact: CompactSched,
    events: Vec<FtraceEvent>,
}

impl Cores {
    /// Returns the thread that runs on a core.
    pub(super) fn thread(&self, cpu: usize) -> Option<i32> {
        self.cores.get(cpu)?.thread
    }

    /// Returns true if a core runs the thread.
    pub(super) fn runs(&self, thread: i32) -> bool {
        self.cores.iter().any(|core| core.thread == Some(thread))
    }

    /// Returns `ns`, or if that is later the time of the thread's last change.
    pub(super) fn at(&self, thread: i32, ns: u64) -> u64 {
        self.threads.get(&thread).map_or(ns, |&last| ns.max(last))
    }

    /// Puts a thread on a core. Returns the time that the trace has.
    pub(super) fn switch(&mut self, writer: &mut Writer, cpu: usize, at: u64, leaves: Leaves, next: i32) -> u64 {
        let at = at.max(self.after(next)).max(self.thread(cpu).map_or(0, |thread| self.after(thread)));
        let core = self.core(cpu);
        let at = at.max(core.last + 1);
        let before = core.thread.replace(next);
        core.last = at;
        let compact = &mut core.compact;
        compact.switch_timestamp.push(at - core.switch_base);
        compact.switch_prev_state.push(leaves as i64);
        compact.switch_next_pid.push(next);
        compact.switch_next_prio.push(PRIORITY);
        compact.switch_next_comm.push(0);
        core.switch_base = at;
        for thread in before.into_iter().chain([next]) {
            self.threads.insert(thread, at);
        }
        self.flush_if(writer, cpu, MOST);
        at
    }

    /// Tells that `waker`, on this core, made `thread` able to run. The short form of that names no
    /// waker: it is the thread on the core.
    pub(super) fn wake(&mut self, writer: &mut Writer, cpu: usize, at: u64, waker: Waker, thread: i32) -> u64 {
        let at = at.max(self.after(thread));
        let core = self.core(cpu);
        let at = at.max(core.last + 1);
        core.last = at;
        if core.thread == Some(waker.thread) {
            let compact = &mut core.compact;
            compact.waking_timestamp.push(at - core.waking_base);
            compact.waking_pid.push(thread);
            compact.waking_target_cpu.push(cpu as i32);
            compact.waking_prio.push(PRIORITY);
            compact.waking_comm.push(0);
            compact.waking_flags.push(if waker.is_interrupt { CompactSched::HARD_IRQ } else { 0 });
            core.waking_base = at;
        } else {
            let waking = Waking {
                pid: Some(thread),
                prio: Some(PRIORITY),
                success: Some(1),
                target_cpu: Some(cpu as i32),
                ..Waking::default()
            };
            let pid = Some(waker.thread as u32);
            core.events.push(FtraceEvent { timestamp: Some(at), pid, waking: Some(waking) });
        }
        self.threads.insert(thread, at);
        self.flush_if(writer, cpu, MOST);
        at
    }

    /// Writes what is left.
    pub(super) fn finish(mut self, writer: &mut Writer) {
        for cpu in 0..self.cores.len() {
            self.flush_if(writer, cpu, 1);
        }
    }

    fn core(&mut self, cpu: usize) -> &mut Core {
        if self.cores.len() <= cpu {
            self.cores.resize_with(cpu + 1, Core::default);
        }
        &mut self.cores[cpu]
    }

    /// Returns the earliest time for the next change of a thread. The idle thread is on many cores.
    fn after(&self, thread: i32) -> u64 {
        if thread == IDLE { 0 } else { self.threads.get(&thread).map_or(0, |last| last + 1) }
    }

    fn flush_if(&mut self, writer: &mut Writer, cpu: usize, entries: usize) {
        let core = self.core(cpu);
        let compact = &core.compact;
        if compact.switch_timestamp.len() + compact.waking_timestamp.len() + core.events.len() < entries {
            return;
        }
        let mut compact = std::mem::take(&mut core.compact);
        // The names of threads come from elsewhere.
        compact.intern_table.push(String::new());
        let events = std::mem::take(&mut core.events);
        (core.switch_base, core.waking_base) = (0, 0);
        let bundle = Bundle { cpu: Some(cpu as u32), events, compact: Some(compact) };
        writer.push(&Packet { ftrace: Some(bundle), ..Packet::default() });
    }
}

/// The context that made a thread able to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waker {
    /// The thread.
    pub(super) thread: i32,
    /// An interrupt handler did it, on the thread's core.
    pub(super) is_interrupt: bool,
}
