//! GDT and TSS of a core, and the seven IST stacks that its vectors run on.
//!
//! Interrupted code owns the 128 bytes below its `rsp` (this target has a red zone). So no vector
//! may push on the stack it finds: every gate names one of these stacks. A vector that can hit
//! while another one's handler runs has a stack of its own.

use core::ops::Range;

use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::{DescriptorTablePointer, lgdt, load_tss};
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;
use x86_64::{PrivilegeLevel, VirtAddr};

use super::percpu::PerCpu;

/// Kernel code.
pub const CODE: SegmentSelector = SegmentSelector::new(1, PrivilegeLevel::Ring0);
/// Kernel data.
pub const DATA: SegmentSelector = SegmentSelector::new(2, PrivilegeLevel::Ring0);

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

/// A core's descriptor tables.
pub struct Tables {
    gdt: GlobalDescriptorTable<5>,
    tss: TaskStateSegment,
}

impl Tables {
    /// Creates the tables, with no IST stacks yet.
    pub const fn new() -> Self {
        Self { gdt: GlobalDescriptorTable::empty(), tss: TaskStateSegment::new() }
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
    unsafe { (*core.tables.get()).tss.interrupt_stack_table = [VirtAddr::new_truncate(top & !15); 7] };
}

/// Gives `core` its stacks: the tops of those for the vectors, in the order of the IST, and g0's.
/// Before the core takes interrupts.
pub fn set_stacks(core: &PerCpu, tops: [VirtAddr; 7], g0: Range<u64>) {
    core.set_g0_stack(g0);
    // SAFETY: the core does not take interrupts now (it has not started, or runs `start` with
    // interrupts off).
    unsafe { (*core.tables.get()).tss.interrupt_stack_table = tops };
}

/// Loads `core`'s tables on the core that calls, which it is.
pub fn load(core: &'static PerCpu) {
    // SAFETY: the tables are this core's, live for ever, and are not being used yet; the selectors
    // match the descriptors. `gs` keeps its base: only its selector is left alone.
    unsafe {
        let tables = &mut *core.tables.get();
        let mut gdt = GlobalDescriptorTable::empty();
        gdt.append(Descriptor::kernel_code_segment());
        gdt.append(Descriptor::kernel_data_segment());
        let tss = gdt.append(Descriptor::tss_segment_unchecked(&raw const tables.tss));
        tables.gdt = gdt;
        let base = VirtAddr::new_truncate(tables.gdt.entries().as_ptr() as u64);
        lgdt(&DescriptorTablePointer { limit: tables.gdt.limit(), base });
        CS::set_reg(CODE);
        DS::set_reg(DATA);
        ES::set_reg(DATA);
        SS::set_reg(DATA);
        load_tss(tss);
    }
}

/// Returns an IST stack of `core`.
pub fn ist_stack(core: &PerCpu, ist: u8) -> Range<u64> {
    // SAFETY: a copy of a word that does not change once the core runs.
    let top = unsafe {
        (&raw const (*core.tables.get()).tss.interrupt_stack_table).cast::<u64>().add(ist as usize - 1).read_unaligned()
    };
    top.saturating_sub(IST_PAGES * 4096)..top
}
