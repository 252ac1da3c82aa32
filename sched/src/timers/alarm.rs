//! Alarms: timers that call a function on a g0.
//!
//! ```text
//!   owner { lock { generation, … }, Alarm { node, call } }
//!     start:   under the lock, generation += 1, alarm.start(when, generation)
//!     stop:    under the lock, generation += 1, alarm.cancel()
//!     call:    with the generation that it was started with; under the lock: is it still the owner's? then it happens
//! ```
//!
//! The call runs on the g0 of any M that runs the timers, with preemption off. The call may ready
//! G's and start some, takes only locks that are held for a few instructions, and is short. The
//! alarm has left its heap before the call. So the owner that has started it must keep its own
//! memory until the call has been made. A count of references does that: start takes one, and
//! cancel, or the call, gives it back.
//!
//! A call may start its own alarm again ([`Firing::again`]), and no other. A chore that repeats
//! does so, and a goroutine for which there was no memory. There is room for the alarm, since only
//! the holder of a P adds to its heap. The alarm has just left that heap. If it left another P's
//! heap, there was room here before.

#[cfg(loom)]
use alloc::boxed::Box;
use core::ptr::NonNull;

use super::{LAST, Node, What, cancel, restart, start};
use crate::api::time::Instant;
use crate::core::m::M;
use crate::machine::guard::PreemptGuard;

/// The generation of chores: they belong to the platform and are never cancelled.
pub(super) const CHORE: u32 = u32::MAX;

/// A timer that makes a call.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Alarm {
    /// First: the heap leads to the node, and the node to its alarm.
    node: Node,
    call: Call,
}

/// The function that an alarm calls, with the alarm, which is part of its owner, and the facts of
/// the call.
pub(crate) type Call = unsafe fn(NonNull<Alarm>, Firing<'_>);

/// A call under way.
#[derive(Debug)]
pub(crate) struct Firing<'a> {
    now: u64,
    generation: u32,
    alarm: NonNull<Alarm>,
    preempt: &'a PreemptGuard,
}

// SAFETY: the node's cells are guarded by the lock of the heap that it stands in. Outside a heap
// they are its owner's, and only the owner starts and cancels.
unsafe impl Sync for Alarm {}
// SAFETY: nothing in it belongs to one core.
unsafe impl Send for Alarm {}

impl Alarm {
    crate::const_unless_loom! {
        /// An alarm that is not started.
        pub(crate) fn new(call: Call) -> Self {
            Self { node: Node::new(), call }
        }
    }

    /// Returns the alarm of which `node` is the first field.
    pub(super) fn of(node: &'static Node) -> NonNull<Self> {
        NonNull::with_exposed_provenance(NonNull::from(node).addr())
    }

    /// Starts the alarm, anew if it runs: at `when` or a little later it is called with
    /// `generation`. Under a guard from [`reserve`](super::reserve), by its owner. Returns true if
    /// the alarm ran: the earlier call will not be made.
    ///
    /// # Safety
    /// 1. `alarm` and all data that its call needs stay until the alarm was cancelled with success,
    ///    or called.
    pub(crate) unsafe fn start(alarm: NonNull<Self>, preempt: &PreemptGuard, when: Instant, generation: u32) -> bool {
        alarm.expose_provenance();
        // SAFETY: 1. so its node is good for as long as a heap has it.
        let node = unsafe { &(*alarm.as_ptr()).node };
        // Not before the present: see `sleep_until`.
        restart(preempt, node, when.max(Instant::now()).min(LAST).as_nanos(), What::Call(generation))
    }

    /// Cancels the call. By its owner. Returns true if the call will not be made. Returns false if
    /// it has been made, is on its way, or was not started.
    pub(crate) fn cancel(&self, preempt: &PreemptGuard) -> bool {
        cancel(preempt, &self.node)
    }

    /// Returns true if the alarm is in a heap. The answer is a guess, unless the owner's lock is
    /// held and says that the alarm was started.
    pub(crate) fn is_pending(&self) -> bool {
        self.node.is_pending()
    }

    /// Makes the call of an alarm that has just left its heap. There is room for an alarm in the
    /// heap of the P held here, which sets its one-shot next.
    ///
    /// # Safety
    /// 1. The alarm and its generation come from a [`Due::Call`](super::Due), and are called once.
    pub(crate) unsafe fn ring(alarm: NonNull<Self>, generation: u32, preempt: &PreemptGuard, now: u64) {
        // SAFETY: 1. of `start`: it is there until it was called.
        let call = unsafe { (*alarm.as_ptr()).call };
        // SAFETY: the owner has chosen a call that fits the alarm.
        unsafe { call(alarm, Firing { now, generation, alarm, preempt }) };
    }
}

impl<'a> Firing<'a> {
    /// Returns the present.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Returns the generation with which the alarm was started.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Returns the evidence that preemption is off.
    pub(crate) fn preempt(&self) -> &'a PreemptGuard {
        self.preempt
    }

    /// Starts the alarm again, with the same generation; its memory has to stay. In the call, while
    /// its owner does not start it.
    pub(crate) fn again(self, when: u64) {
        // SAFETY: 1. of `start`, which the caller goes on to keep.
        let node = unsafe { &(*self.alarm.as_ptr()).node };
        M::current(self.preempt).held(self.preempt).timers.insert(self.preempt, when.min(LAST.as_nanos()), node);
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
        self.alarm.node.what.set(What::Call(CHORE));
        start(&super::reserve(), when.min(LAST.as_nanos()), &self.alarm.node);
    }
}

unsafe fn chore(alarm: NonNull<Alarm>, firing: Firing<'_>) {
    // SAFETY: `Chore::new` made it part of a `Chore`, its first field.
    let f = unsafe { alarm.cast::<Chore>().as_ref() }.f;
    if let Some(when) = f(firing.now) {
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
            let guard = super::super::reserve();
            let mut state = self.state.lock(&guard);
            state.generation += 1;
            let was = core::mem::replace(&mut state.armed, true);
            // SAFETY: 1. leaked.
            let pending = unsafe {
                Alarm::start(NonNull::from(self).cast(), &guard, Instant::from_nanos(when), state.generation)
            };
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
