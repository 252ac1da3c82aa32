//! Waits for a time: how a timer is started, and the G or the call that it is for.
//!
//! `timers/` has the heap, and takes timers out of it. Here a timer is put in, on the P that the
//! caller's M holds, and the M's one-shot is armed for it.

#[cfg(loom)]
use alloc::boxed::Box;
use core::ptr::NonNull;

use crate::core::m::M;
use crate::core::trace;
use crate::g::GRef;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::timers::{Alarm, CHORE, Firing, LAST, TimerNode, What, cancel};
use trefoil_trace::Kind;

/// Turns preemption off, with room for one timer in the heap of the P that is held here. A start
/// under this guard does not allocate.
///
/// # Panics
/// When there is no memory.
#[inline(never)]
pub(crate) fn reserve() -> PreemptGuard {
    loop {
        let guard = PreemptGuard::new();
        let m = M::current(&guard);
        let wants = m.held(&guard).timers.wants_room(&guard);
        let Some(larger) = wants else { return guard };
        let timers = m.p().map(|p| &p.timers);
        drop(guard);
        // Meanwhile this G may have gone elsewhere. Then that P gets room in vain, and the loop
        // comes round again.
        if !timers.is_some_and(|timers| timers.grow(larger)) && !platform::reclaim() {
            no_memory();
        }
    }
}

#[cold]
#[inline(never)]
fn no_memory() -> ! {
    panic!("out of memory for a timer");
}

/// Ends the open wait of `g` at `when` unless it has ended, and readies `g`. In its `commit`, under
/// a guard of [`reserve`].
pub(crate) fn start_expiry(when: u64, g: GRef) {
    // SAFETY: 1. a switch runs `after` with one level of preemption off; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    start_g(&guard, g, when.min(LAST), What::Wait);
    guard.hand_over();
}

/// Cancels the deadline of a wait that has ended. By `g`, before it begins another wait and before
/// preemption is on again.
pub(crate) fn cancel_expiry(guard: &PreemptGuard, g: GRef) {
    if cancel(guard, &g.timer) && trace::BUILT {
        trace::note(M::current(guard), Kind::TimerCancel, g.id(), 0);
    }
}

/// Starts the timer as the `commit` of a sleeper does.
pub(crate) fn start_sleep(guard: &PreemptGuard, g: GRef, when: u64) {
    start_g(guard, g, when, What::Sleep);
}

/// Starts the timer in the record of `g`. In its `commit`, under a guard of [`reserve`].
fn start_g(guard: &PreemptGuard, g: GRef, when: u64, what: What) {
    // `Due::of` finds the G by its node.
    let _ = core::ptr::from_ref(g).expose_provenance();
    g.timer.set_what(what);
    if trace::BUILT {
        trace::note(M::current(guard), Kind::TimerSet, g.id(), when);
    }
    start(guard, when, &g.timer);
}

/// Puts a node into the heap of the P that is held here, where there is room, and sets the
/// one-shot.
fn start(guard: &PreemptGuard, when: u64, node: &'static TimerNode) {
    let m = M::current(guard);
    let p = m.held(guard);
    p.timers.insert(guard, when, node);
    if p.slice.is_unknown() {
        // The G that runs now has just begun, in place of the G that goes to sleep.
        p.slice.begin(platform::now());
    }
    m.arm(p.next_alarm());
}

/// Cancels as [`cancel`] does, then starts the timer anew on the P held here, where there is room.
#[inline(never)]
fn restart(guard: &PreemptGuard, node: &'static TimerNode, when: u64, what: What) -> bool {
    let m = M::current(guard);
    let p = m.held(guard);
    if p.timers.change(guard, node, when, what) {
        m.arm(p.next_alarm());
        return true;
    }
    let was = cancel(guard, node);
    node.set_what(what);
    start(guard, when, node);
    was
}

impl Alarm {
    /// Cancels the call. By its owner. Returns true if the call will not be made. Returns false if
    /// it has been made, is on its way, or was not started.
    pub(crate) fn cancel(&self, preempt: &PreemptGuard) -> bool {
        let cancelled = cancel(preempt, &self.node);
        if trace::BUILT && cancelled {
            trace::note(M::current(preempt), Kind::TimerCancel, 0, 0);
        }
        cancelled
    }

    /// Starts the alarm, anew if it runs: at `when` or a little later it is called with
    /// `generation`. Under a guard from [`reserve`], by its owner. Returns true if
    /// the alarm ran: the earlier call will not be made.
    ///
    /// # Safety
    /// 1. `alarm` and all data that its call needs stay until the alarm was cancelled with success,
    ///    or called.
    pub(crate) unsafe fn start(alarm: NonNull<Self>, preempt: &PreemptGuard, when: u64, generation: u32) -> bool {
        alarm.expose_provenance();
        // SAFETY: 1. the alarm is in memory now, and stays as long as a heap has its node.
        let node = unsafe { &(*alarm.as_ptr()).node };
        // Not before the present: see `sleep_until`.
        let when = when.max(platform::now()).min(LAST);
        if trace::BUILT {
            trace::note(M::current(preempt), Kind::TimerSet, 0, when);
        }
        restart(preempt, node, when, What::Call(generation))
    }
}

/// A chore of the platform's: a function that is called on a g0 at some time. If the function
/// returns a time, it is called again then. A chore is never cancelled.
#[derive(Debug)]
#[repr(C)]
pub struct Chore {
    /// First: the call finds the rest by it.
    alarm: Alarm,
    f: fn(u64) -> Option<u64>,
}

impl Chore {
    crate::const_unless_loom! {
        /// Makes a chore that calls `f(now)`, once it is started.
        pub fn new(f: fn(u64) -> Option<u64>) -> Self {
            Self { alarm: Alarm::new(chore), f }
        }
    }

    /// Starts the chore, for the first time or after its last call: it is called at or after
    /// `when`.
    pub fn start(&'static self, when: u64) {
        let _ = core::ptr::from_ref(self).expose_provenance();
        self.alarm.node.set_what(What::Call(CHORE));
        start(&reserve(), when.min(LAST), &self.alarm.node);
    }
}

unsafe fn chore(alarm: NonNull<Alarm>, firing: Firing<'_>) {
    // SAFETY: `Chore::new` made it part of a `Chore`, its first field.
    let f = unsafe { alarm.cast::<Chore>().as_ref() }.f;
    if let Some(when) = f(firing.now()) {
        firing.again(when);
    }
}

#[cfg(loom)]
pub use bell::Bell;

#[cfg(loom)]
mod bell {
    //! An owner of an alarm for models: as a `Timer`, but it counts instead of starting goroutines.

    use super::*;
    use crate::machine::spin::SpinLock;

    /// A timer that counts.
    #[derive(Debug)]
    #[repr(C)]
    pub struct Bell {
        alarm: Alarm,
        state: SpinLock<State>,
    }

    #[derive(Debug)]
    struct State {
        generation: u32,
        armed: bool,
        rung: u32,
    }

    impl Bell {
        /// Makes a bell that is not started.
        pub fn new() -> &'static Self {
            let state = SpinLock::new(State { generation: 0, armed: false, rung: 0 });
            Box::leak(Box::new(Self { alarm: Alarm::new(ring), state }))
        }

        /// Starts the bell, anew if it runs. Returns true if it ran.
        pub fn start(&'static self, when: u64) -> bool {
            let guard = reserve();
            let mut state = self.state.lock(&guard);
            state.generation += 1;
            let was = core::mem::replace(&mut state.armed, true);
            // SAFETY: 1. a `Bell` is leaked, so it stays for ever.
            let pending = unsafe { Alarm::start(NonNull::from(self).cast(), &guard, when, state.generation) };
            assert!(was || !pending, "in a heap, although its call was made");
            was
        }

        /// Stops the bell. Returns true if it ran.
        pub fn stop(&self) -> bool {
            let guard = PreemptGuard::new();
            let mut state = self.state.lock(&guard);
            state.generation += 1;
            let was = core::mem::replace(&mut state.armed, false);
            let pending = self.alarm.cancel(&guard);
            assert!(was || !pending, "in a heap, although its call was made");
            was
        }

        /// Returns how often the call has come in time.
        pub fn rung(&self) -> u32 {
            self.state.lock(&PreemptGuard::new()).rung
        }
    }

    unsafe fn ring(alarm: NonNull<Alarm>, firing: Firing<'_>) {
        // SAFETY: it is the first field of a leaked `Bell`.
        let bell = unsafe { alarm.cast::<Bell>().as_ref() };
        let mut state = bell.state.lock(firing.preempt());
        if state.armed && state.generation == firing.generation() {
            state.armed = false;
            state.rung += 1;
        }
    }
}
