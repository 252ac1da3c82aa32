//! Memory by use: of the whole machine, and of each G.

use alloc::string::String;
use alloc::vec::Vec;
use core::panic::Location;

use trefoil_sched::internals::state::State;
use trefoil_sched::{G, PreemptGuard, WaitReason};

use crate::mm::frames::{self, FRAME, FrameStats};
use crate::mm::heap::{self, HeapStats};
use crate::mm::stack::scavenge::{self, ScavengeStats};
use crate::mm::stack::{self, WindowStats};
use crate::mm::{kstack, paging};
use crate::report::death;
use crate::scheduler;

/// All frames by use. Exact when the other cores are quiet.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// let memory: runtime::MemoryStats = runtime::stats().memory;
/// println!("{} of {} frames are free; stacks have {} pages", memory.frames.free, memory.frames.total, memory.stacks.pages);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// All frames, and the free ones.
    pub frames: FrameStats,
    /// The G's stacks.
    pub stacks: WindowStats,
    /// The heap.
    pub heap: HeapStats,
    /// The scavenger's counts.
    pub scavenger: ScavengeStats,
    /// Bytes of G records: on the heap, reused for ever, never given back.
    pub records: u64,
    /// G's that ended where they stood; the heap memory of their frames is leaked.
    pub abandoned: u64,
    /// Frames of the kernel's own: stacks of cores, page tables other than the last level under
    /// stacks, fault reserves.
    pub kernel_frames: u64,
}

impl MemoryStats {
    pub(super) fn now() -> Self {
        let (frames, stacks, heap) = (frames::stats(), stack::stats(), heap::stats());
        let used = frames.total - frames.free;
        Self {
            frames,
            stacks,
            heap,
            scavenger: scavenge::stats(),
            records: scheduler::sched().records().1 as u64,
            abandoned: death::count(),
            kernel_frames: used.saturating_sub(stacks.pages + stacks.tables + heap.mapped_bytes / FRAME),
        }
    }

    /// Returns the bytes in use: every frame that is not free.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// println!("{} KiB are in use", runtime::stats().memory.used() >> 10);
    /// # }
    /// ```
    pub fn used(&self) -> u64 {
        (self.frames.total - self.frames.free) * FRAME
    }

    /// Returns the frames of the kernel's own that it can name.
    pub(crate) fn named_kernel_frames() -> u64 {
        kstack::pages() + paging::tables() + stack::upper_tables() + stack::reserve_frames() + stack::tree_frames()
    }
}

/// A description of one G.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// for g in runtime::goroutines() {
///     println!("{} {:?}: {}, {} bytes of stack", g.id, g.name, g.wait_reason.as_str(), g.stack_in_use);
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GInfo {
    /// The G's number.
    pub id: u64,
    /// The G's name, or "".
    pub name: String,
    /// The G's state.
    pub state: State,
    /// The reason for which the G waits, if it does.
    pub wait_reason: WaitReason,
    /// Bytes of memory behind the G's stack now; 0 while the stack is packed.
    pub stack_in_use: usize,
    /// How deep the G's stack has been, in whole pages.
    pub stack_high_water: usize,
    /// The place in the program that created the G: a call of `go` or its like. `None`: the G runs
    /// the program's `main`.
    pub created_at: Option<&'static Location<'static>>,
}

impl GInfo {
    fn of(g: &G) -> Self {
        let (stack_in_use, deepest) = stack::in_use(g);
        let wait_reason = if g.state().is_parked() { g.wait_reason() } else { WaitReason::None };
        Self {
            id: g.id(),
            name: g.name().as_str().into(),
            state: g.state(),
            wait_reason,
            stack_in_use,
            stack_high_water: deepest,
            created_at: g.created_at().filter(|_| !scheduler::is_main(g)),
        }
    }
}

/// Describes the G that calls.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let me = runtime::current();
/// println!("G {} {:?}: its stack has been {} bytes deep", me.id, me.name, me.stack_high_water);
/// # }
/// ```
pub fn current() -> GInfo {
    let g = {
        let guard = PreemptGuard::new();
        trefoil_sched::current_g(&guard)
    };
    GInfo::of(g)
}

/// Describes all live G's. A G that runs, starts or ends meanwhile is described as it was at some
/// moment, or not at all.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// for g in runtime::goroutines() {
///     println!("G {} {:?}: {:?}", g.id, g.name, g.state);
/// }
/// # }
/// ```
pub fn goroutines() -> Vec<GInfo> {
    let mut all = Vec::new();
    scheduler::sched().for_each_g(|g| {
        if !matches!(g.state(), State::Idle | State::Dead) {
            all.push(GInfo::of(g));
        }
    });
    all
}
