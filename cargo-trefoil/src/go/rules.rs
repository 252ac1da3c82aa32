//! The scheduler as Go's reader of traces imagines it: only legal events leave here.
//!
//! ```text
//!   P    idle ──start──▶ running ──stop──▶ idle           an M holds one P at most
//!
//!   G    ──create──▶ runnable ◀──unblock── waiting
//!                    │  ▲ ▲                  ▲
//!                start  │ └─end, blocked──┐  │ block
//!                    ▼  │ stop            │  │
//!                   running ──call──▶ in a call           an M with a P runs one G at most
//!                      └──destroy──▶ gone
//! ```
//!
//! Go's reader refuses a trace in which one arrow starts at the wrong state. So each function here
//! first brings G, M and P into the state from which its event may come. In a whole trace that
//! writes nothing. Where records were dropped, it writes the events that are missing.
//!
//! *The begin.* The state of a G or P at the begin of the trace follows from its first event: a G
//! that is woken has waited. [`Rules::finish`] writes these states in front of all events.
//!
//! `calls` has the events of `block_in_place`.

mod calls;

use std::collections::{BTreeMap, HashMap};

use super::encode::{Encoder, Stack, Text, event};

/// The state of a goroutine; the numbers are Go's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Queued: the G waits for a P.
    Runnable = 1,
    /// On an M.
    Running = 2,
    /// In a call that may block the M.
    Call = 3,
    /// Waiting for another goroutine, or for time.
    Waiting = 4,
    /// Ended.
    Gone = 0,
}

const PROC_RUNNING: u64 = 1;
const PROC_IDLE: u64 = 2;

/// Where an event happens: on an M, at a time, and with a P, if that is known.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The M's number.
    pub thread: u64,
    /// The time in nanoseconds.
    pub time: u64,
    /// The P's number.
    pub proc: Option<u64>,
}

/// The states of all M's, P's and G's, and the events so far.
#[derive(Debug)]
pub struct Rules {
    events: Vec<Event>,
    first: Vec<First>,
    threads: BTreeMap<u64, Thread>,
    procs: HashMap<u64, Proc>,
    goroutines: HashMap<u64, Goroutine>,
    /// The number of the P that M number 0 has for itself.
    private: u64,
}

#[derive(Debug)]
struct Event {
    thread: u64,
    time: u64,
    kind: u8,
    count: u8,
    arguments: [u64; 4],
}

/// A state at the begin of the trace.
#[derive(Debug, Clone, Copy)]
enum First {
    Proc { proc: u64, thread: Option<u64> },
    Goroutine { goroutine: u64, state: State, thread: Option<u64> },
}

#[derive(Debug, Default)]
struct Thread {
    proc: Option<u64>,
    goroutine: Option<u64>,
    /// An event has changed its P or its G, so neither is from the begin.
    changed: bool,
    /// Its call has ended, and the goroutine goes on when the M has a P.
    resumes: Option<u64>,
}

#[derive(Debug, Default)]
struct Proc {
    holder: Option<u64>,
    sequence: u64,
    in_call: bool,
}

#[derive(Debug)]
struct Goroutine {
    state: State,
    sequence: u64,
    /// The M that runs it, or is in its call.
    thread: u64,
    /// This M woke the G before the G had left its core.
    woken: Option<(u64, Stack)>,
    /// The stack of its call.
    call: Stack,
    /// The regions that it is in, with their tasks, the outermost first.
    regions: Vec<(u64, Text)>,
}

impl Rules {
    /// Creates the rules for a machine with so many P's.
    pub fn new(procs: u64) -> Self {
        Self {
            events: Vec::new(),
            first: Vec::new(),
            threads: BTreeMap::new(),
            procs: HashMap::new(),
            goroutines: HashMap::new(),
            private: procs,
        }
    }

    // --- P's.

    /// The M takes the P.
    pub fn hold(&mut self, at: Place, proc: u64) {
        if self.thread(at).proc == Some(proc) {
            return;
        }
        self.drop_proc(at);
        self.meet_proc(proc, None);
        self.take_away(at.time, proc);
        let sequence = &mut self.procs.get_mut(&proc).expect("met").sequence;
        *sequence += 1;
        let sequence = *sequence;
        self.push(at, event::PROC_START, &[proc, sequence]);
        self.procs.get_mut(&proc).expect("met").holder = Some(at.thread);
        let thread = self.thread(at);
        (thread.proc, thread.changed) = (Some(proc), true);
        if let Some(goroutine) = thread.resumes.take() {
            self.run(at, goroutine);
        }
    }

    /// The M gives the P up.
    pub fn release(&mut self, at: Place, proc: u64) {
        let thread = self.thread(at);
        if thread.proc.is_none() && !thread.changed {
            self.meet_proc(proc, Some(at.thread));
        }
        if self.thread(at).proc == Some(proc) {
            self.drop_proc(at);
        }
    }

    /// Makes sure that the M has a P: that of the event, or one of its own.
    fn have_proc(&mut self, at: Place) {
        let thread = self.thread(at);
        let (has, changed) = (thread.proc, thread.changed);
        match at.proc {
            Some(proc) if has == Some(proc) => {}
            Some(proc) => {
                if !changed && has.is_none() {
                    self.meet_proc(proc, Some(at.thread));
                }
                self.hold(at, proc);
            }
            None if has.is_some() => {}
            None => self.hold(at, self.private + at.thread),
        }
    }

    /// A P that was not seen before was held by `holder` at the begin.
    fn meet_proc(&mut self, proc: u64, holder: Option<u64>) {
        if self.procs.contains_key(&proc) {
            return;
        }
        self.procs.insert(proc, Proc { holder, ..Proc::default() });
        self.first.push(First::Proc { proc, thread: holder });
        if let Some(holder) = holder {
            self.threads.entry(holder).or_default().proc = Some(proc);
        }
    }

    /// Makes the M that holds the P give it up.
    fn take_away(&mut self, time: u64, proc: u64) {
        if let Some(thread) = self.procs.get(&proc).and_then(|proc| proc.holder) {
            self.drop_proc(Place { thread, time, proc: None });
        }
    }

    /// The M gives up its P, if it has one. A goroutine that runs there stops; a call goes on.
    fn drop_proc(&mut self, at: Place) {
        let Some(proc) = self.thread(at).proc else { return };
        if self.thread(at).goroutine.is_some_and(|goroutine| self.is_running(goroutine)) {
            self.push_stop(at, Text::default(), Stack::default());
        }
        self.push(at, event::PROC_STOP, &[]);
        let known = self.procs.get_mut(&proc).expect("a held P is known");
        (known.holder, known.in_call) = (None, false);
        let thread = self.thread(at);
        (thread.proc, thread.changed) = (None, true);
    }

    /// Gives the M's own P up, which it had for one event.
    fn drop_private(&mut self, at: Place) {
        let private = self.private + at.thread;
        if self.thread(at).proc == Some(private) {
            self.drop_proc(at);
        }
    }

    // --- Goroutines.

    /// Returns the goroutine's state, if it was seen.
    pub fn state(&self, goroutine: u64) -> Option<State> {
        self.goroutines.get(&goroutine).map(|goroutine| goroutine.state)
    }

    /// Returns the goroutine that the M runs, or in whose call it is.
    pub fn goroutine(&self, thread: u64) -> Option<u64> {
        self.threads.get(&thread)?.goroutine
    }

    fn is_running(&self, goroutine: u64) -> bool {
        self.state(goroutine) == Some(State::Running)
    }

    /// A goroutine that was not seen before was in this state at the begin.
    pub fn meet(&mut self, goroutine: u64, state: State) {
        self.meet_on(goroutine, state, None);
    }

    fn meet_on(&mut self, goroutine: u64, state: State, thread: Option<u64>) {
        if !self.goroutines.contains_key(&goroutine) {
            self.first.push(First::Goroutine { goroutine, state, thread });
            self.insert(goroutine, state, thread.unwrap_or(0));
        }
    }

    fn insert(&mut self, goroutine: u64, state: State, thread: u64) {
        let new = Goroutine { state, sequence: 0, thread, woken: None, call: Stack::default(), regions: Vec::new() };
        self.goroutines.insert(goroutine, new);
    }

    /// The goroutine is made, by the one that runs on the M if one does. `entry` is the stack with
    /// which the new one begins; it gives the goroutine its name.
    pub fn create(&mut self, at: Place, goroutine: u64, entry: Stack, stack: Stack) {
        if self.state(goroutine).is_some_and(|state| state != State::Gone) {
            return;
        }
        let call = self.interrupt_call(at);
        if self.thread(at).goroutine.is_none() {
            self.have_proc(at);
        }
        self.push(at, event::GO_CREATE, &[goroutine, entry.into(), stack.into()]);
        self.insert(goroutine, State::Runnable, 0);
        self.resume_call(at, call);
    }

    /// The goroutine begins to run.
    pub fn start(&mut self, at: Place, goroutine: u64) {
        if self.goroutine(at.thread) == Some(goroutine) && self.is_running(goroutine) {
            return;
        }
        self.have_proc(at);
        self.vacate(at);
        self.run(at, goroutine);
    }

    /// The goroutine leaves its core and can run.
    pub fn stop(&mut self, at: Place, goroutine: u64, reason: Text, stack: Stack) {
        // At the end of a call, no P may be free.
        if self.goroutine(at.thread) == Some(goroutine) && self.state(goroutine) == Some(State::Call) {
            self.end_call(at);
        }
        // Its core may have been taken away already.
        if self.state(goroutine) == Some(State::Runnable) {
            return;
        }
        self.occupy(at, goroutine);
        self.push_stop(at, reason, stack);
        self.drop_private(at);
    }

    /// The goroutine leaves its core and waits.
    pub fn block(&mut self, at: Place, goroutine: u64, reason: Text, stack: Stack) {
        self.occupy(at, goroutine);
        self.push(at, event::GO_BLOCK, &[reason.into(), stack.into()]);
        let known = self.known(goroutine);
        known.state = State::Waiting;
        let woken = known.woken.take();
        self.thread(at).goroutine = None;
        self.drop_private(at);
        if let Some((thread, stack)) = woken {
            self.wake(Place { thread, ..at }, goroutine, stack);
        }
    }

    /// The goroutine ends.
    pub fn destroy(&mut self, at: Place, goroutine: u64) {
        self.occupy(at, goroutine);
        self.push(at, event::GO_DESTROY, &[]);
        self.known(goroutine).state = State::Gone;
        self.thread(at).goroutine = None;
        self.drop_private(at);
    }

    /// The goroutine, which waited, can run. `stack` is that of the one who wakes it.
    pub fn wake(&mut self, at: Place, goroutine: u64, stack: Stack) {
        self.meet(goroutine, State::Waiting);
        let known = self.known(goroutine);
        match known.state {
            State::Waiting => {
                known.state = State::Runnable;
                let sequence = self.next(goroutine);
                self.push(at, event::GO_UNBLOCK, &[goroutine, sequence, stack.into()]);
            }
            State::Running | State::Call => known.woken = Some((at.thread, stack)),
            State::Runnable | State::Gone => {}
        }
    }

    /// Makes sure that the M runs the goroutine, which is about to leave.
    fn occupy(&mut self, at: Place, goroutine: u64) {
        if self.thread(at).goroutine == Some(goroutine) {
            self.interrupt_call(at);
            return;
        }
        self.have_proc(at);
        let thread = self.thread(at);
        let from_the_begin = !thread.changed && thread.goroutine.is_none();
        if from_the_begin && self.state(goroutine).is_none() {
            self.meet_on(goroutine, State::Running, Some(at.thread));
            self.thread(at).goroutine = Some(goroutine);
            return;
        }
        self.vacate(at);
        self.run(at, goroutine);
    }

    /// Starts a goroutine on an M that has a P and no goroutine.
    fn run(&mut self, at: Place, goroutine: u64) {
        self.meet(goroutine, State::Runnable);
        match self.known(goroutine).state {
            State::Runnable => {}
            State::Waiting => self.wake(at, goroutine, Stack::default()),
            State::Running | State::Call => {
                let thread = self.known(goroutine).thread;
                self.vacate(Place { thread, ..at });
            }
            State::Gone => {
                self.push(at, event::GO_CREATE, &[goroutine, 0, 0]);
                self.insert(goroutine, State::Runnable, 0);
            }
        }
        let sequence = self.next(goroutine);
        self.push(at, event::GO_START, &[goroutine, sequence]);
        let known = self.known(goroutine);
        (known.state, known.thread, known.woken) = (State::Running, at.thread, None);
        let thread = self.thread(at);
        (thread.goroutine, thread.changed, thread.resumes) = (Some(goroutine), true, None);
    }

    /// Takes the goroutine off the M, if one is there.
    fn vacate(&mut self, at: Place) {
        let Some(goroutine) = self.thread(at).goroutine else { return };
        match self.known(goroutine).state {
            State::Call => self.end_call(at),
            _ => self.push_stop(at, Text::default(), Stack::default()),
        }
        // The call may have ended without having blocked.
        if self.goroutine(at.thread).is_some() {
            self.push_stop(at, Text::default(), Stack::default());
        }
    }

    /// The goroutine of the M stops.
    fn push_stop(&mut self, at: Place, reason: Text, stack: Stack) {
        self.push(at, event::GO_STOP, &[reason.into(), stack.into()]);
        let thread = self.thread(at);
        thread.changed = true;
        if let Some(goroutine) = thread.goroutine.take() {
            let known = self.known(goroutine);
            (known.state, known.woken) = (State::Runnable, None);
        }
    }

    // --- The file.

    /// Returns the trace: the states at its begin, and then the events. `stack_of` gives the stack
    /// of a goroutine that lived at the begin, from which it gets its name.
    pub fn finish(self, mut encoder: Encoder, mut stack_of: impl FnMut(&mut Encoder, u64) -> Stack) -> Vec<u8> {
        let tracer = self.threads.keys().next().copied().unwrap_or(0);
        // A goroutine and a P that are bound to their M come last: the M of the others has none.
        let (bound, free): (Vec<&First>, Vec<&First>) = self.first.iter().partition(|first| match first {
            First::Proc { thread, .. } | First::Goroutine { thread, .. } => thread.is_some(),
        });
        let statuses = free.into_iter().chain(bound);
        if self.first.is_empty() {
            // Go's reader wants one event at least.
            encoder.event(tracer, 1, event::PROC_STATUS, &[0, PROC_IDLE]);
        }
        let begin = self.events.first().map_or(1, |event| event.time).saturating_sub(self.first.len() as u64).max(1);
        for first in statuses {
            match *first {
                First::Proc { proc, thread } => {
                    let state = if thread.is_some() { PROC_RUNNING } else { PROC_IDLE };
                    encoder.event(thread.unwrap_or(tracer), begin, event::PROC_STATUS, &[proc, state]);
                }
                First::Goroutine { goroutine, state, thread } => {
                    let stack = stack_of(&mut encoder, goroutine);
                    let bound = thread.unwrap_or(u64::MAX);
                    let arguments = [goroutine, bound, state as u64, stack.into()];
                    encoder.event(thread.unwrap_or(tracer), begin, event::GO_STATUS_STACK, &arguments);
                }
            }
        }
        for event in &self.events {
            encoder.event(event.thread, event.time, event.kind, &event.arguments[..usize::from(event.count)]);
        }
        encoder.finish()
    }

    fn push(&mut self, at: Place, kind: u8, all: &[u64]) {
        debug_assert!(self.is_legal(at.thread, kind), "an event of type {kind} on M {}", at.thread);
        let mut arguments = [0; 4];
        arguments[..all.len()].copy_from_slice(all);
        self.events.push(Event { thread: at.thread, time: at.time, kind, count: all.len() as u8, arguments });
    }

    /// Returns true if the M has the P and the goroutine that the event needs.
    fn is_legal(&self, thread: u64, kind: u8) -> bool {
        let Some(thread) = self.threads.get(&thread) else { return kind == event::GO_UNBLOCK };
        let state = thread.goroutine.and_then(|goroutine| self.state(goroutine));
        let (has_proc, runs) = (thread.proc.is_some(), state == Some(State::Running));
        match kind {
            event::PROC_START => !has_proc,
            event::GO_UNBLOCK => true,
            event::PROC_STOP | event::HEAP_ALLOC => has_proc,
            event::GO_CREATE => has_proc && (state.is_none() || runs),
            event::GO_START => has_proc && thread.goroutine.is_none(),
            event::GO_SYSCALL_END => has_proc && state == Some(State::Call),
            event::GO_SYSCALL_END_BLOCKED => state == Some(State::Call),
            _ => has_proc && runs,
        }
    }

    /// Counts one event of the goroutine, by which Go's reader orders them across M's.
    fn next(&mut self, goroutine: u64) -> u64 {
        let known = self.known(goroutine);
        known.sequence += 1;
        known.sequence
    }

    fn known(&mut self, goroutine: u64) -> &mut Goroutine {
        self.goroutines.get_mut(&goroutine).expect("the goroutine was seen")
    }

    fn thread(&mut self, at: Place) -> &mut Thread {
        self.threads.entry(at.thread).or_default()
    }
}
