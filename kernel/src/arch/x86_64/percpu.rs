//! One record a core, found through `gs`.
//!
//! `gs` is set before anything else runs on a core, so that the preemption depth, the caches and
//! the report path work from the first instruction on. The boot core's record is static; the
//! others' are made before their core starts and live for ever.
//!
//! A field is either this core's alone (a `Cell`: touched with preemption off, or by this core's
//! handlers where its comment says so) or an atomic that anyone may read.

use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use trefoil_sched::g::{LIFE_OFFSET, OUTSIDE};
use trefoil_sched::{G, M, PreemptGuard};

use super::gdt::Tables;
use super::tlb::Beat;
use super::{cpu, stretch};
use crate::mm::frames::FrameCache;
use crate::mm::heap::Magazines;
use crate::mm::window::{Deferred, FaultReserve};
use crate::report;

/// The most cores there can be.
pub const MAX_CORES: usize = 64;

/// The MSR that holds the base of `gs`.
const IA32_GS_BASE: u32 = 0xc000_0101;

/// What belongs to one core.
#[repr(C, align(64))]
pub struct PerCpu {
    /// This record, for `gs:0`.
    me: Cell<*const PerCpu>,
    /// How deep preemption is off, plus [`CLEAR`] while nothing waits for it to be on again; by
    /// `gs`-relative instructions.
    depth: Cell<u32>,
    /// How many handlers are on their way.
    handlers: Cell<u32>,
    /// This core's M, once it takes part.
    m: AtomicPtr<M>,
    /// The G that runs here, or g0: what [`current_life`] reads. Its M's `curg` says the same.
    g: Cell<*const G>,
    /// The M that it will have; written before the core starts.
    prepared: Cell<Option<&'static M>>,
    index: usize,
    lapic_id: AtomicU32,
    /// Not zero: it has arrived.
    arrived: AtomicU32,
    /// What the handler that takes the core away from a G has interrupted, for `preempt_entry`:
    /// rip, cs, rflags, rsp, ss.
    pub interrupted: Cell<[u64; 5]>,
    /// g0's stack, for reports.
    g0: Cell<(u64, u64)>,

    /// Free frames; this core with preemption off.
    pub frames: FrameCache,
    /// Frames for growing stacks; this core's #PF handler, and this core at depth 0 with interrupts
    /// off.
    pub reserve: FaultReserve,
    /// This core uses the pool of frames, or is about to; for its #PF handler.
    pub in_pool: AtomicBool,
    /// This core packs stacks: the heap gives it what it has. With preemption off.
    pub packs: Cell<bool>,
    /// Free heap blocks; this core with preemption off.
    pub magazines: Magazines,
    /// GDT and TSS; written before the core loads them.
    pub tables: UnsafeCell<Tables>,

    /// When the one-shot was armed last, and for when. By this core and its handlers.
    pub one_shot: Cell<(u64, u64)>,
    /// When it flushes its TLB where a translator wants that.
    pub beat: Beat,
    /// It rests, and a store to its M's token ends that.
    pub watches: AtomicBool,
    /// Interrupts taken, of whatever kind.
    pub interrupts: AtomicU64,
    /// Spurious vectors taken.
    pub spurious: AtomicU64,
    /// Vectors that nobody expected.
    pub unexpected: AtomicU64,
    /// Wake-up IPIs taken.
    pub wake_ipis: AtomicU64,
    /// Interrupts taken that asked it to pass an epoch.
    pub flush_ipis: AtomicU64,
    /// What this core has done to stacks.
    pub stacks: Stacks,
    /// Heap blocks that its #PF handler could not free; that handler, and this core with preemption
    /// off.
    pub deferred: Deferred,
}

/// Counters of one core. A page that this core maps and another one frees counts +1 here and -1
/// there: only the sums over all cores mean something.
#[derive(Debug, Default)]
pub struct Stacks {
    /// Pages mapped in windows.
    pub pages: AtomicI64,
    /// Last-level tables under windows.
    pub tables: AtomicI64,
    /// Tables above those, which are never freed.
    pub upper_tables: AtomicI64,
    /// Packed stacks.
    pub packed: AtomicI64,
    /// Bytes in their blocks, and in those of packed tables.
    pub packed_bytes: AtomicI64,
    /// Pages mapped because their G touched them.
    pub grown: AtomicI64,
    /// Stacks that were unpacked.
    pub unpacked: AtomicI64,
}

impl Stacks {
    const fn new() -> Self {
        Self {
            pages: AtomicI64::new(0),
            tables: AtomicI64::new(0),
            upper_tables: AtomicI64::new(0),
            packed: AtomicI64::new(0),
            packed_bytes: AtomicI64::new(0),
            grown: AtomicI64::new(0),
            unpacked: AtomicI64::new(0),
        }
    }
}

/// Set in `depth` while nothing is pending: so the decrement that reaches depth 0 reaches the value
/// 0 exactly when something is, and one conditional jump tells.
const CLEAR: u32 = 1 << 31;

/// Where `interrupted` and `depth` lie, for assembly.
pub(super) const INTERRUPTED: usize = offset_of!(PerCpu, interrupted);
pub(super) const DEPTH: usize = offset_of!(PerCpu, depth);

// SAFETY: see the module: `Cell`s are this core's alone, the rest is atomic or says who may touch
// it.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    /// The record of core number `index`.
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
            frames: FrameCache::new(),
            reserve: FaultReserve::new(),
            in_pool: AtomicBool::new(false),
            packs: Cell::new(false),
            magazines: Magazines::new(),
            tables: UnsafeCell::new(Tables::new()),
            one_shot: Cell::new((0, 0)),
            beat: Beat::new(),
            watches: AtomicBool::new(false),
            interrupts: AtomicU64::new(0),
            spurious: AtomicU64::new(0),
            unexpected: AtomicU64::new(0),
            wake_ipis: AtomicU64::new(0),
            flush_ipis: AtomicU64::new(0),
            stacks: Stacks::new(),
            deferred: Deferred::new(),
        }
    }

    /// Its number: 0 is the boot core, the others in the order of the MADT.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its local APIC's id.
    pub fn lapic_id(&self) -> u32 {
        self.lapic_id.load(Ordering::Relaxed)
    }

    /// Sets what it will be found under.
    pub fn set_lapic_id(&self, id: u32) {
        self.lapic_id.store(id, Ordering::Relaxed);
    }

    /// Whether it runs.
    pub fn has_arrived(&self) -> bool {
        // Acquire: pairs with the Release in `arrive`.
        self.arrived.load(Ordering::Acquire) != 0
    }

    /// It runs: its tables are loaded, so that from here on an NMI may reach it.
    pub fn arrive(&self) {
        // Release: pairs with the Acquire in `has_arrived`.
        self.arrived.store(1, Ordering::Release);
        report::core_arrives();
    }

    /// Where g0 runs.
    pub fn g0_stack(&self) -> Range<u64> {
        self.g0.get().0..self.g0.get().1
    }

    /// Sets where g0 runs. Before the core does.
    pub fn set_g0_stack(&self, stack: Range<u64>) {
        self.g0.set((stack.start, stack.end));
    }

    /// Its M, if it has one yet.
    pub fn m(&self) -> Option<&'static M> {
        // SAFETY: `take_m` stores a `&'static M`.
        unsafe { self.m.load(Ordering::Acquire).as_ref() }
    }

    /// Prepares its M. Before the core starts.
    pub fn prepare_m(&self, m: &'static M) {
        self.prepared.set(Some(m));
    }

    /// It has its M from here on. Once, on this core.
    pub fn take_m(&self) -> Option<&'static M> {
        let m = self.prepared.take()?;
        // Release: pairs with the Acquire in `m`.
        self.m.store(core::ptr::from_ref(m).cast_mut(), Ordering::Release);
        Some(m)
    }

    /// A handler begins: nothing it reaches may park, allocate or be preempted.
    pub fn enter_handler(&self) {
        self.handlers.set(self.handlers.get() + 1);
    }

    /// It ends.
    pub fn leave_handler(&self) {
        self.handlers.set(self.handlers.get() - 1);
        stretch::handler_ends();
    }
}

static BOOT_CORE: PerCpu = PerCpu::new(0);
static CORES: [AtomicPtr<PerCpu>; MAX_CORES] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CORES];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Makes `core` the record of the core that calls, which must not have one yet.
pub fn install(core: &'static PerCpu) {
    core.me.set(core);
    publish(core);
    // SAFETY: 1. `gs` is nobody else's: there is no user code, and the compiler does not use it.
    unsafe { cpu::write_msr(IA32_GS_BASE, core::ptr::from_ref(core) as u64) };
}

/// The boot core's first instruction of Rust.
pub fn install_boot_core() -> &'static PerCpu {
    install(&BOOT_CORE);
    &BOOT_CORE
}

/// Makes a record findable by number, before its core runs.
pub fn publish(core: &'static PerCpu) {
    // Release: pairs with the Acquire in `get`.
    CORES[core.index].store(core::ptr::from_ref(core).cast_mut(), Ordering::Release);
    COUNT.fetch_max(core.index + 1, Ordering::Relaxed);
}

/// The record of core `index`, if there is one.
pub fn get(index: usize) -> Option<&'static PerCpu> {
    // SAFETY: `publish` stored a `&'static PerCpu`.
    unsafe { CORES.get(index)?.load(Ordering::Acquire).as_ref() }
}

/// All records.
pub fn all() -> impl Iterator<Item = &'static PerCpu> {
    (0..COUNT.load(Ordering::Relaxed)).filter_map(get)
}

/// Adds `n` to the count that lies `OFFSET` bytes into this core's record: an `AtomicU64` that only
/// this core writes. It is one instruction, so it may be preempted before and after.
#[inline(always)]
pub fn add<const OFFSET: usize>(n: u64) {
    const { assert!(OFFSET.is_multiple_of(8) && OFFSET + 8 <= size_of::<PerCpu>()) };
    // SAFETY: `gs` is the record (`install`), and no reference to what is inside an atomic is
    // alive.
    unsafe { asm!("add gs:[{offset}], {n}", offset = const OFFSET, n = in(reg) n, options(nostack)) };
}

/// This core's record. Only meaningful while preemption is off, or in a handler.
#[inline(always)]
pub fn current() -> &'static PerCpu {
    let me: *const PerCpu;
    // SAFETY: `install` has set `gs`; field 0 points to the record, which lives for ever.
    unsafe {
        asm!("mov {}, gs:[{me}]", out(reg) me, me = const offset_of!(PerCpu, me), options(nostack, preserves_flags, readonly));
        &*me
    }
}

/// What a core that has no M yet runs: as much of a G as [`current_life`] looks at.
#[repr(C)]
struct Nobody {
    _before: [u8; LIFE_OFFSET],
    life: usize,
}

static NOBODY: Nobody = Nobody { _before: [0; LIFE_OFFSET], life: OUTSIDE };
const _: () = assert!(offset_of!(Nobody, life) == LIFE_OFFSET);

/// The life of the G that calls. Callable with preemption on: each of the two loads gives what is
/// the caller's, on whatever core it is.
#[inline(always)]
pub fn current_life() -> usize {
    let life: usize;
    // SAFETY: `install` has set `gs`; the field names a record that lives for ever, or `NOBODY`.
    // Pure: what runs in one function's activation has one life.
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

/// From now on `g` runs here, or is this core's g0. With preemption off.
#[inline(always)]
pub fn set_current(g: &G) {
    // SAFETY: `install` has set `gs`; the field is this core's.
    unsafe {
        asm!("mov gs:[{field}], {g}", field = const offset_of!(PerCpu, g), g = in(reg) core::ptr::from_ref(g), options(nostack, preserves_flags))
    };
}

/// This core's M. Only meaningful while preemption is off.
#[inline(always)]
pub fn m() -> *const M {
    let m: *const M;
    // SAFETY: `install` has set `gs`.
    unsafe {
        asm!("mov {}, gs:[{m}]", out(reg) m, m = const offset_of!(PerCpu, m), options(nostack, preserves_flags, readonly))
    };
    m
}

/// One level deeper without preemption: one instruction, so that it can't be torn by the preemption
/// it forbids.
#[inline(always)]
pub fn preempt_off() {
    // SAFETY: `install` has set `gs`. Not `nomem`: what follows must not be moved before it.
    unsafe { asm!("inc dword ptr gs:[{depth}]", depth = const offset_of!(PerCpu, depth), options(nostack)) };
    stretch::begins();
}

/// One level up. If that was the last one and something waits for it, that happens now: see
/// [`pend`].
#[inline(always)]
pub fn preempt_on() {
    stretch::ends();
    // SAFETY: as above; what came before must not be moved after it.
    unsafe {
        asm!("dec dword ptr gs:[{depth}]", "jz {pending}", depth = const offset_of!(PerCpu, depth), pending = label { preempt_pending() }, options(nostack))
    };
}

/// Sets the pending mark of this core. When preemption is on again, this core refills its fault
/// reserve, ends the running G if it is doomed, and makes way if the G's slice is over. With
/// preemption off, or in a handler that has interrupted such code.
pub fn pend() {
    // SAFETY: as above: one instruction.
    unsafe {
        asm!("and dword ptr gs:[{depth}], {mask}", depth = const offset_of!(PerCpu, depth), mask = const !CLEAR as i32, options(nostack))
    };
}

/// Preemption is on again, and something has waited for that: whether the G is to end, or its slice
/// is over.
///
/// A loop, and no recursion by the guards that it takes: a slice that ends sooner than this gets
/// through would otherwise lay one frame below the other. Once round, the G has had its turn.
#[cold]
#[inline(never)]
fn preempt_pending() {
    if in_handler() {
        // It has interrupted code at depth 0 that something waits for: an interrupt came between
        // that G's last look and the end that it takes, or it is on its way here itself. What waits
        // stays marked, for the next time that preemption is turned on outside a handler.
        return;
    }
    loop {
        // SAFETY: as above. Here the G may be moved no more: preemption is off again before the
        // mark goes.
        unsafe {
            asm!("or dword ptr gs:[{depth}], {set}", depth = const offset_of!(PerCpu, depth), set = const (CLEAR | 1) as i32, options(nostack))
        };
        stretch::begins();
        see_to_doom();
        // Who has interrupts off can't leave.
        if cpu::interrupts_are_on() {
            // SAFETY: 1. the level that was entered above.
            let guard = unsafe { PreemptGuard::adopt() };
            trefoil_sched::make_way(guard).release();
        }
        let pending: u8;
        stretch::ends();
        // SAFETY: as in `preempt_on`.
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
    // SAFETY: as above.
    unsafe {
        asm!("or dword ptr gs:[{depth}], {clear}", depth = const offset_of!(PerCpu, depth), clear = const CLEAR as i32, options(nostack))
    };
    see_to_doom();
}

/// At depth 1: fills the reserve, and ends the G if it is doomed. (On its deathbed it ends anyway.)
fn see_to_doom() {
    let core = current();
    if core.reserve.is_low() {
        crate::mm::window::fill_reserve();
    }
    let g = core.m().and_then(|m| m.running());
    if let Some(g) = g
        && g.doomed().is_some()
        && crate::mm::window::deathbed::is_up(g, (&raw const core).addr() as u64)
    {
        stretch::ends();
        // SAFETY: as in `preempt_on`; nothing is pending now.
        unsafe { asm!("dec dword ptr gs:[{depth}]", depth = const offset_of!(PerCpu, depth), options(nostack)) };
        crate::abandon::end_here(g);
    }
}

/// How deep preemption is off on this core. One instruction: whoever is at depth 0 gets 0, wherever
/// it moves meanwhile.
#[inline(always)]
pub fn depth() -> u32 {
    let depth: u32;
    // SAFETY: `install` has set `gs`.
    unsafe {
        asm!("mov {:e}, gs:[{depth}]", out(reg) depth, depth = const offset_of!(PerCpu, depth), options(nostack, preserves_flags, readonly))
    };
    depth & !CLEAR
}

/// Whether a handler is on its way on this core. One instruction, as in [`depth`].
#[inline(always)]
pub fn in_handler() -> bool {
    let handlers: u32;
    // SAFETY: `install` has set `gs`.
    unsafe {
        asm!("mov {:e}, gs:[{handlers}]", out(reg) handlers, handlers = const offset_of!(PerCpu, handlers), options(nostack, preserves_flags, readonly))
    };
    handlers != 0
}
