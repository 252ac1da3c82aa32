//! Calls of `block_in_place`, and the program's own events.
//!
//! For Go, such a call is a system call. During the call the M has a P of its own, and its G may
//! create and wake others, and write to the trace. Go's calls can't do that. So the call is
//! interrupted for such an event: the M gets a P with a number above those of the machine.

use super::super::encode::{Stack, Text, event};
use super::{Place, Rules, State};

impl Rules {
    /// The goroutine begins a call of `block_in_place`.
    pub fn begin_call(&mut self, at: Place, goroutine: u64, stack: Stack) {
        if self.state(goroutine) == Some(State::Call) {
            return;
        }
        self.occupy(at, goroutine);
        self.push_call(at, goroutine, stack);
    }

    /// The call of the goroutine ends. The goroutine runs as soon as its M has a P.
    pub fn finish_call(&mut self, at: Place, goroutine: u64) {
        let is_new = self.state(goroutine).is_none();
        let thread = self.thread(at);
        if is_new && !thread.changed && thread.goroutine.is_none() && thread.proc.is_none() {
            self.meet_on(goroutine, State::Call, Some(at.thread));
            self.thread(at).goroutine = Some(goroutine);
        }
        if self.thread(at).goroutine == Some(goroutine) && self.state(goroutine) == Some(State::Call) {
            self.end_call(at);
            let thread = self.thread(at);
            match thread.proc {
                Some(_) if thread.goroutine.is_none() => self.run(at, goroutine),
                Some(_) => {}
                None => thread.resumes = Some(goroutine),
            }
        }
    }

    pub(super) fn push_call(&mut self, at: Place, goroutine: u64, stack: Stack) {
        let proc = self.thread(at).proc.expect("a running goroutine has a P");
        let known = self.procs.get_mut(&proc).expect("a held P is known");
        known.sequence += 1;
        known.in_call = true;
        let sequence = known.sequence;
        self.push(at, event::GO_SYSCALL_BEGIN, &[sequence, stack.into()]);
        let known = self.known(goroutine);
        (known.state, known.call) = (State::Call, stack);
        self.thread(at).changed = true;
    }

    /// Ends the call of the M's goroutine. It runs on if the M has kept its P, and else is
    /// runnable.
    pub(super) fn end_call(&mut self, at: Place) {
        let thread = self.thread(at);
        let (Some(goroutine), proc) = (thread.goroutine, thread.proc) else { return };
        let kept = proc.and_then(|proc| self.procs.get_mut(&proc)).filter(|proc| proc.in_call);
        if let Some(proc) = kept {
            proc.in_call = false;
            self.push(at, event::GO_SYSCALL_END, &[]);
            self.known(goroutine).state = State::Running;
        } else {
            self.push(at, event::GO_SYSCALL_END_BLOCKED, &[]);
            self.known(goroutine).state = State::Runnable;
            let thread = self.thread(at);
            (thread.goroutine, thread.changed) = (None, true);
        }
    }

    /// Makes the M's goroutine run, if it is in a call. Returns it.
    pub(super) fn interrupt_call(&mut self, at: Place) -> Option<u64> {
        let goroutine = self.thread(at).goroutine?;
        if self.state(goroutine) != Some(State::Call) {
            return None;
        }
        self.end_call(at);
        if self.thread(at).goroutine.is_none() {
            self.have_proc(Place { proc: None, ..at });
            self.run(at, goroutine);
        }
        Some(goroutine)
    }

    /// Goes on with a call that was interrupted.
    pub(super) fn resume_call(&mut self, at: Place, goroutine: Option<u64>) {
        if let Some(goroutine) = goroutine {
            let stack = self.known(goroutine).call;
            self.push_call(at, goroutine, stack);
        }
        self.drop_private(at);
    }

    // --- The program's own events.

    /// An event of the goroutine that runs on the M. Nothing is written on g0.
    pub fn annotate(&mut self, at: Place, kind: u8, arguments: &[u64]) {
        if self.thread(at).goroutine.is_none() {
            return;
        }
        let call = self.interrupt_call(at);
        self.push(at, kind, arguments);
        self.resume_call(at, call);
    }

    /// A number of the machine's, which needs a P but no goroutine.
    pub fn measure(&mut self, at: Place, kind: u8, value: u64) {
        if self.thread(at).proc.is_some() {
            self.push(at, kind, &[value]);
        }
    }

    /// A region of the M's goroutine begins.
    pub fn begin_region(&mut self, at: Place, task: u64, name: Text, stack: Stack) {
        if let Some(goroutine) = self.thread(at).goroutine {
            self.annotate(at, event::REGION_BEGIN, &[task, name.into(), stack.into()]);
            self.known(goroutine).regions.push((task, name));
        }
    }

    /// The innermost region of the M's goroutine ends.
    pub fn end_region(&mut self, at: Place, stack: Stack) {
        if let Some(goroutine) = self.thread(at).goroutine
            && let Some((task, name)) = self.known(goroutine).regions.pop()
        {
            self.annotate(at, event::REGION_END, &[task, name.into(), stack.into()]);
        }
    }
}
