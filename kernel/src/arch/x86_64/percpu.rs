//! The per-core record, found through `gs`: the processor's part. Memory's part lies behind it
//! (`mm/record.rs`).
//!
//! Each core sets `gs` before anything else runs on it. So the preemption depth, the caches and the
//! report path work from the first instruction on. The boot core's record is static. The records of
//! the other cores are made before their core starts and live for ever.
//!
//! A field is either private to its core (a `Cell`) or an atomic that any core may read. A core
//! touches its `Cell`s with preemption off, or in its handlers where the field's comment says so.

use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use trefoil_sched::internals::g::{LIFE_OFFSET, OUTSIDE};
use trefoil_sched::{G, GRef, M, PreemptGuard};
use x86_64::VirtAddr;
use x86_64::instructions::interrupts;
use x86_64::registers::model_specific::GsBase;

use super::gdt::Tables;
use super::tlb::Beat;
use super::upcalls::upcalls;
use super::{reporter, stretch};

/// The most cores there can be.
pub const MAX_CORES: usize = 64;

/// The record of one core.
#[repr(C, align(64))]
pub struct PerCpu {
    /// The address of this record, for `gs:0`.
    me: Cell<*const PerCpu>,
    /// The preemption depth, plus [`CLEAR`] while nothing is pending for depth 0. Accessed by
    /// `gs`-relative instructions.
    depth: Cell<u32>,
    /// How many handlers are under way.
    handlers: Cell<u32>,
    /// The M of this core, once the core takes part.
    m: AtomicPtr<M>,
    /// The running G, or g0, for [`current_life`]. The M's `curg` says the same.
    g: Cell<*const G>,
    /// The M that the core will have; written before the core starts.
    prepared: Cell<Option<&'static M>>,
    index: usize,
    lapic_id: AtomicU32,
    /// Not zero: the core has arrived.
    arrived: AtomicU32,
    /// The state of the interrupted G, saved by the handler that preempts it, for `preempt_entry`:
    /// rip, cs, rflags, rsp, ss.
    pub interrupted: Cell<[u64; 5]>,
    /// g0's stack, for reports.
    g0: Cell<(u64, u64)>,

    /// GDT and TSS; written before the core loads them.
    pub tables: UnsafeCell<Tables>,

    /// When this core last armed the one-shot, and for when. By this core and its handlers.
    pub one_shot: Cell<(u64, u64)>,
    /// When this core flushes its TLB if a binary translator needs that.
    pub beat: Beat,
    /// Set while the core rests in a way that a store to its M's token ends.
    pub watches: AtomicBool,
    /// Interrupts taken, of any kind.
    pub interrupts: AtomicU64,
    /// Spurious vectors taken.
    pub spurious: AtomicU64,
    /// Unexpected vectors taken.
    pub unexpected: AtomicU64,
    /// Wake-up IPIs taken.
    pub wake_ipis: AtomicU64,
    /// Interrupts taken that asked the core to pass an epoch.
    pub flush_ipis: AtomicU64,
}

/// Set in `depth` while nothing is pending. So the decrement that reaches depth 0 gives the value 0
/// exactly if something is pending, and one conditional jump tells.
const CLEAR: u32 = 1 << 31;

/// Where `interrupted` and `depth` lie, for assembly.
pub(super) const INTERRUPTED: usize = offset_of!(PerCpu, interrupted);
pub(super) const DEPTH: usize = offset_of!(PerCpu, depth);

// SAFETY: only this core touches the `Cell`s, with preemption off or in its handlers. Every other
// field is atomic, or its comment names its users.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    /// Creates the record of core number `index`.
    pub const fn new(index: usize) -> Self {
        Self {
            me: Cell::new(core::ptr::null()),
            depth: Cell::new(CLEAR),
            handlers: Cell::new(0),
            m: AtomicPtr::new(core::ptr::null_mut()),
            g: Cell::new((&raw const NOBODY).cast()),
            prepared: Cell::new(None),
            index,
            lapic_id: AtomicU32::new(u32::MAX),
            arrived: AtomicU32::new(0),
            interrupted: Cell::new([0; 5]),
            g0: Cell::new((0, 0)),
            tables: UnsafeCell::new(Tables::new()),
            one_shot: Cell::new((0, 0)),
            beat: Beat::new(),
            watches: AtomicBool::new(false),
            interrupts: AtomicU64::new(0),
            spurious: AtomicU64::new(0),
            unexpected: AtomicU64::new(0),
            wake_ipis: AtomicU64::new(0),
            flush_ipis: AtomicU64::new(0),
        }
    }

    /// Returns the core's number: 0 is the boot core, the others follow in the order of the MADT.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the id of the core's local APIC.
    pub fn lapic_id(&self) -> u32 {
        self.lapic_id.load(Ordering::Relaxed)
    }

    /// Sets the local APIC id of the core.
    pub fn set_lapic_id(&self, id: u32) {
        self.lapic_id.store(id, Ordering::Relaxed);
    }

    /// Returns true if the core runs.
    pub fn has_arrived(&self) -> bool {
        // Acquire: pairs with the Release in `arrive`.
        self.arrived.load(Ordering::Acquire) != 0
    }

    /// Marks the core as running. Its tables are loaded, so an NMI may reach the core from here on.
    pub fn arrive(&self) {
        // Release: pairs with the Acquire in `has_arrived`.
        self.arrived.store(1, Ordering::Release);
        reporter::core_arrives();
    }

    /// Returns the stack of g0.
    pub fn g0_stack(&self) -> Range<u64> {
        self.g0.get().0..self.g0.get().1
    }

    /// Sets the stack of g0, before the core starts.
    pub fn set_g0_stack(&self, stack: Range<u64>) {
        self.g0.set((stack.start, stack.end));
    }

    /// Returns the core's M, if the core has one yet.
    pub fn m(&self) -> Option<&'static M> {
        // SAFETY: `take_m` stores a `&'static M`.
        unsafe { self.m.load(Ordering::Acquire).as_ref() }
    }

    /// Prepares the core's M, before the core starts.
    pub fn prepare_m(&self, m: &'static M) {
        self.prepared.set(Some(m));
    }

    /// Installs the prepared M. Called once, on this core.
    pub fn take_m(&self) -> Option<&'static M> {
        let m = self.prepared.take()?;
        // Release: pairs with the Acquire in `m`.
        self.m.store(core::ptr::from_ref(m).cast_mut(), Ordering::Release);
        Some(m)
    }

    /// Records that a handler begins: no code that it reaches may park, allocate or be preempted.
    pub fn enter_handler(&self) {
        self.handlers.set(self.handlers.get() + 1);
    }

    /// Records that a handler ends.
    pub fn leave_handler(&self) {
        self.handlers.set(self.handlers.get() - 1);
        stretch::handler_ends();
    }
}

static CORES: [AtomicPtr<PerCpu>; MAX_CORES] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CORES];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Makes `core` the record of the calling core, which must not have a record yet.
///
/// # Safety
/// 1. As [`publish`].
pub(crate) unsafe fn install(core: *const PerCpu) {
    // SAFETY: 1. the caller passes the beginning of a record that lives for ever.
    let this = unsafe { publish(core) };
    this.me.set(core);
    // `gs` is nobody else's: there is no user code, and the compiler does not use it.
    GsBase::write(VirtAddr::new_truncate(core as u64));
}

/// Makes a record findable by number, before its core runs.
///
/// # Safety
/// 1. `core` is the beginning of a record of `mm/record.rs`, which lives for ever.
pub(crate) unsafe fn publish(core: *const PerCpu) -> &'static PerCpu {
    // SAFETY: the record lives for ever, and all that is not atomic in it is its core's (`Sync`).
    let this = unsafe { &*core };
    // Release: pairs with the Acquire in `pointer`.
    CORES[this.index].store(core.cast_mut(), Ordering::Release);
    COUNT.fetch_max(this.index + 1, Ordering::Relaxed);
    this
}

/// Returns the record of core `index`, or null.
pub(crate) fn pointer(index: usize) -> *const PerCpu {
    CORES.get(index).map_or(core::ptr::null(), |core| core.load(Ordering::Acquire))
}

/// Returns the record of core `index`, if there is one.
pub fn get(index: usize) -> Option<&'static PerCpu> {
    // SAFETY: null, or published: the record lives for ever.
    unsafe { pointer(index).as_ref() }
}

/// Iterates over all records.
pub fn all() -> impl Iterator<Item = &'static PerCpu> {
    (0..COUNT.load(Ordering::Relaxed)).filter_map(get)
}

/// Iterates over the addresses of all records.
pub(crate) fn pointers() -> impl Iterator<Item = *const PerCpu> {
    (0..COUNT.load(Ordering::Relaxed)).map(pointer).filter(|core| !core.is_null())
}

/// Adds `n` to the word that lies `OFFSET` bytes into this core's record, in one instruction.
///
/// # Safety
/// 1. The word lies in the record, and is an atomic that only this core writes.
#[inline(always)]
pub(crate) unsafe fn add<const OFFSET: usize>(n: u64) {
    // SAFETY: `gs` is the record (`install`), and the word in it is an atomic of this core's.
    unsafe { asm!("add gs:[{offset}], {n}", offset = const OFFSET, n = in(reg) n, options(nostack)) };
}

/// Returns the address of this core's record. Only meaningful while preemption is off, or in a
/// handler.
#[inline(always)]
pub(crate) fn this() -> *const PerCpu {
    let me: *const PerCpu;
    // SAFETY: `install` has set `gs`; field 0 points to the record.
    unsafe {
        asm!("mov {}, gs:[{me}]", out(reg) me, me = const offset_of!(PerCpu, me), options(nostack, preserves_flags, readonly));
    }
    me
}

/// Returns this core's record. Only meaningful while preemption is off, or in a handler.
#[inline(always)]
pub fn current() -> &'static PerCpu {
    // SAFETY: the record lives for ever.
    unsafe { &*this() }
}

/// A stand-in for the running G on a core that has no M yet: the part of a G that [`current_life`]
/// reads.
#[repr(C)]
struct Nobody {
    _before: [u8; LIFE_OFFSET],
    life: usize,
}

static NOBODY: Nobody = Nobody { _before: [0; LIFE_OFFSET], life: OUTSIDE };
const _: () = assert!(offset_of!(Nobody, life) == LIFE_OFFSET);

/// Returns the life of the calling G. Callable with preemption on: each of the two loads gives the
/// caller's value, on any core.
#[inline(always)]
pub fn current_life() -> usize {
    let life: usize;
    // SAFETY: `install` has set `gs`; the field names a record that lives for ever, or `NOBODY`.
    // Pure: the life does not change within one activation of a function.
    unsafe {
        asm!(
            "mov {life}, gs:[{g}]",
            "mov {life}, [{life} + {offset}]",
            life = out(reg) life,
            g = const offset_of!(PerCpu, g),
            offset = const LIFE_OFFSET,
            options(nostack, preserves_flags, pure, nomem)
        );
    }
    life
}

/// Makes `g` the running G of this core; `g` may be this core's g0. With preemption off.
///
/// # Safety
/// 1. `g` is the record of a G, and lives for ever.
#[inline(always)]
pub unsafe fn set_current(g: *const G) {
    // SAFETY: `install` has set `gs`; the field is this core's.
    unsafe {
        asm!("mov gs:[{field}], {g}", field = const offset_of!(PerCpu, g), g = in(reg) g, options(nostack, preserves_flags))
    };
}

/// Returns this core's M. Only meaningful while preemption is off.
#[inline(always)]
pub fn m() -> *const M {
    let m: *const M;
    // SAFETY: `install` has set `gs`.
    unsafe {
        asm!("mov {}, gs:[{m}]", out(reg) m, m = const offset_of!(PerCpu, m), options(nostack, preserves_flags, readonly))
    };
    m
}

/// Turns preemption off, one level deeper. One instruction, so that preemption can't tear it.
#[inline(always)]
pub fn preempt_off() {
    // SAFETY: `install` has set `gs`. Not `nomem`: later accesses must not be moved before it.
    unsafe { asm!("inc dword ptr gs:[{depth}]", depth = const offset_of!(PerCpu, depth), options(nostack)) };
    stretch::begins();
}

/// Turns preemption on, one level. At depth 0, handles the pending mark, if [`pend`] has set it.
#[inline(always)]
pub fn preempt_on() {
    stretch::ends();
    // SAFETY: `install` has set `gs`. Not `nomem`: earlier accesses must not be moved after it.
    unsafe {
        asm!("dec dword ptr gs:[{depth}]", "jz {pending}", depth = const offset_of!(PerCpu, depth), pending = label { preempt_pending() }, options(nostack))
    };
}

/// Sets the pending mark of this core. When preemption is on again, this core refills its fault
/// reserve, ends the running G if it is doomed, and makes way if the G's slice is over. With
/// preemption off, or in a handler that has interrupted such code.
pub fn pend() {
    // SAFETY: `install` has set `gs`, and one instruction changes the word, so no handler sees half
    // of it.
    unsafe {
        asm!("and dword ptr gs:[{depth}], {mask}", depth = const offset_of!(PerCpu, depth), mask = const !CLEAR as i32, options(nostack))
    };
}

/// Handles the pending mark once preemption is on again: ends the G if it is doomed, and makes way
/// if its slice is over.
///
/// A loop replaces recursion by the guards taken here. With recursion, a slice shorter than one
/// pass would lay one stack frame below the other. After one pass the G has had its turn.
#[cold]
#[inline(never)]
fn preempt_pending() {
    if in_handler() {
        // The handler interrupted a G that was about to act on the pending mark: after its last
        // look at the mark, or on its way into this function. The mark stays set for the next time
        // that preemption is turned on outside a handler.
        return;
    }
    loop {
        // SAFETY: `install` has set `gs`. One instruction clears the mark and turns preemption off,
        // so the G can't be moved in between.
        unsafe {
            asm!("or dword ptr gs:[{depth}], {set}", depth = const offset_of!(PerCpu, depth), set = const (CLEAR | 1) as i32, options(nostack))
        };
        stretch::begins();
        (upcalls().see_to_doom)();
        // Code that has interrupts off can't leave the core.
        if interrupts::are_enabled() {
            // SAFETY: 1. the level that was entered above.
            let guard = unsafe { PreemptGuard::adopt() };
            trefoil_sched::make_way(guard).hand_over();
        }
        let pending: u8;
        stretch::ends();
        // SAFETY: `install` has set `gs`. Not `nomem`: earlier accesses must not be moved after it.
        unsafe {
            asm!("dec dword ptr gs:[{depth}]", "setz {pending}", depth = const offset_of!(PerCpu, depth), pending = out(reg_byte) pending, options(nostack))
        };
        if pending == 0 {
            return;
        }
    }
}

/// Handles the pending mark on the way back into a preempted G: refills the fault reserve, and ends
/// the G if it is doomed. At depth 1, and stays there.
///
/// Unlike [`preempt_pending`], ignores the slice, since the G has just had its turn. An expired
/// slice stays marked in the P's attention word.
pub(super) fn see_to_pending() {
    // SAFETY: `install` has set `gs`, and at depth 1 this stays the same core's word.
    unsafe {
        asm!("or dword ptr gs:[{depth}], {clear}", depth = const offset_of!(PerCpu, depth), clear = const CLEAR as i32, options(nostack))
    };
    (upcalls().see_to_doom)();
}

/// Leaves the last level of preemption being off, with nothing pending, for a G that ends next. At
/// depth 1.
pub(crate) fn leave_for_good() {
    stretch::ends();
    // SAFETY: `install` has set `gs`. The mark is clear, so nothing has to be done at depth 0.
    unsafe { asm!("dec dword ptr gs:[{depth}]", depth = const offset_of!(PerCpu, depth), options(nostack)) };
}

/// Returns the preemption depth of this core. One instruction: a caller at depth 0 gets 0 on any
/// core, even if it moves meanwhile.
#[inline(always)]
pub fn depth() -> u32 {
    let depth: u32;
    // SAFETY: `install` has set `gs`.
    unsafe {
        asm!("mov {:e}, gs:[{depth}]", out(reg) depth, depth = const offset_of!(PerCpu, depth), options(nostack, preserves_flags, readonly))
    };
    depth & !CLEAR
}

/// Returns true if a handler is under way on this core. One instruction, as in [`depth`].
#[inline(always)]
pub fn in_handler() -> bool {
    let handlers: u32;
    // SAFETY: `install` has set `gs`.
    unsafe {
        asm!("mov {:e}, gs:[{handlers}]", out(reg) handlers, handlers = const offset_of!(PerCpu, handlers), options(nostack, preserves_flags, readonly))
    };
    handlers != 0
}

/// Returns the running G, if there is one.
pub fn current_g() -> Option<GRef> {
    if m().is_null() {
        return None;
    }
    let guard = PreemptGuard::new();
    M::current(&guard).running()
}

/// Returns true if the caller is a G that may park.
pub fn may_park() -> bool {
    depth() == 0 && !in_handler() && current_g().is_some()
}
