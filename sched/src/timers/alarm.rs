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

use core::ptr::NonNull;

use super::{LAST, TimerNode, Timers};
use crate::machine::guard::PreemptGuard;

/// A timer that makes a call.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Alarm {
    /// First: the heap leads to the node, and the node to its alarm.
    pub(crate) node: TimerNode,
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
    /// The timers of the P on which the call is made.
    here: &'a Timers,
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
            Self { node: TimerNode::new(), call }
        }
    }

    /// Returns the alarm of which `node` is the first field.
    pub(crate) fn of(node: &'static TimerNode) -> NonNull<Self> {
        NonNull::with_exposed_provenance(NonNull::from(node).addr())
    }

    /// Returns true if the alarm is in a heap. The answer is a guess, unless the owner's lock is
    /// held and says that the alarm was started.
    pub(crate) fn is_pending(&self) -> bool {
        self.node.is_pending()
    }

    /// Makes the call of an alarm that has just left its heap. There is room for an alarm `here`,
    /// in the heap of the P held here, which sets its one-shot next.
    ///
    /// # Safety
    /// 1. The alarm and its generation come from a [`Due::Call`](crate::core::due::Due), and are
    ///    called once.
    pub(crate) unsafe fn ring(alarm: NonNull<Self>, generation: u32, preempt: &PreemptGuard, here: &Timers, now: u64) {
        // SAFETY: the owner of a started alarm keeps it in memory until it was called.
        let call = unsafe { (*alarm.as_ptr()).call };
        // SAFETY: the owner has chosen a call that fits the alarm.
        unsafe { call(alarm, Firing { now, generation, alarm, preempt, here }) };
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
        // SAFETY: the owner of a started alarm keeps it in memory, and goes on to do so for the
        // next call.
        let node = unsafe { &(*self.alarm.as_ptr()).node };
        self.here.insert(self.preempt, when.min(LAST), node);
    }
}
