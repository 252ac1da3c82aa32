//! GDT and TSS of a core, and the seven IST stacks that its vectors run on.
//!
//! Interrupted code owns the 128 bytes below its `rsp` (this target has a red zone). So no vector
//! may push on the stack it finds: every gate names one of these stacks. A vector that can hit
//! while another one's handler runs has a stack of its own.

use core::arch::asm;
use core::ops::Range;

use super::percpu::PerCpu;

/// Kernel code.
pub const CODE: u16 = 0x08;
/// Kernel data.
pub const DATA: u16 = 0x10;
const TSS: u16 = 0x18;

/// IST entries, as the gates name them (1 to 7).
pub const IST_DOUBLE_FAULT: u8 = 1;
/// Page faults.
pub const IST_PAGE_FAULT: u8 = 2;
/// NMI.
pub const IST_NMI: u8 = 3;
/// Machine checks.
pub const IST_MACHINE_CHECK: u8 = 4;
/// Debug exceptions.
pub const IST_DEBUG: u8 = 5;
/// Other exceptions.
pub const IST_EXCEPTIONS: u8 = 6;
/// Vectors from 32 on.
pub const IST_INTERRUPTS: u8 = 7;

/// Pages of an IST stack: reports walk the unwind tables on it.
pub(crate) const IST_PAGES: u64 = 8;

#[repr(C, packed(4))]
struct TaskState {
    reserved0: u32,
    rsp: [u64; 3],
    reserved1: u64,
    ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_map: u16,
}

/// A core's descriptor tables.
pub struct Tables {
    gdt: [u64; 5],
    tss: TaskState,
}

impl Tables {
    /// Creates the tables, with no IST stacks yet.
    pub const fn new() -> Self {
        Self {
            gdt: [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0],
            tss: TaskState {
                reserved0: 0,
                rsp: [0; 3],
                reserved1: 0,
                ist: [0; 7],
                reserved2: 0,
                reserved3: 0,
                io_map: size_of::<TaskState>() as u16,
            },
        }
    }
}

impl Default for Tables {
    fn default() -> Self {
        Self::new()
    }
}

/// The boot core's IST stack until there is memory for real ones: an early fault is still reported.
static mut EARLY_STACK: [u8; 32 << 10] = [0; 32 << 10];

/// Points all IST entries of the boot core at the early stack. Before the first `load`.
pub fn use_early_stacks(core: &'static PerCpu) {
    let top = (&raw const EARLY_STACK) as u64 + (32 << 10);
    // SAFETY: this core's tables, before they are loaded.
    unsafe { (*core.tables.get()).tss.ist = [top & !15; 7] };
}

/// Gives `core` its stacks: the tops of those for the vectors, in the order of the IST, and g0's.
/// Before the core takes interrupts.
pub fn set_stacks(core: &PerCpu, tops: [u64; 7], g0: Range<u64>) {
    core.set_g0_stack(g0);
    // SAFETY: the core does not take interrupts now (it has not started, or runs `start` with
    // interrupts off).
    unsafe { (*core.tables.get()).tss.ist = tops };
}

/// Loads `core`'s tables on the core that calls, which it is.
pub fn load(core: &'static PerCpu) {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let tables = core.tables.get();
    // SAFETY: the tables are this core's, live for ever, and are not being used yet; the selectors
    // match the descriptors. `gs` keeps its base: only its selector is left alone.
    unsafe {
        let tss = (&raw const (*tables).tss) as u64;
        let limit = size_of::<TaskState>() as u64 - 1;
        (*tables).gdt[3] = limit | (tss & 0xff_ffff) << 16 | 0x89 << 40 | (tss >> 24 & 0xff) << 56;
        (*tables).gdt[4] = tss >> 32;
        let pointer = Pointer { limit: 5 * 8 - 1, base: (&raw const (*tables).gdt) as u64 };
        asm!(
            "lgdt [{pointer}]",
            "push {code}",
            "lea {tmp}, [rip + 2f]",
            "push {tmp}",
            "retfq",
            "2:",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "ltr {tss:x}",
            pointer = in(reg) &pointer,
            code = in(reg) u64::from(CODE),
            data = in(reg) u32::from(DATA),
            tss = in(reg) TSS,
            tmp = out(reg) _,
        );
    }
}

/// Returns an IST stack of `core`.
pub fn ist_stack(core: &PerCpu, ist: u8) -> Range<u64> {
    // SAFETY: a copy of a word that does not change once the core runs.
    let top = unsafe { (&raw const (*core.tables.get()).tss.ist).cast::<u64>().add(ist as usize - 1).read_unaligned() };
    top.saturating_sub(IST_PAGES * 4096)..top
}
