//! From firmware to long mode in the higher half, with a `BootInfo` in hand.
//!
// ANCHOR: path
//! ```text
//!   loader (qemu -kernel)                                 paging off, 32 bits
//!     └─► pvh_stub.s   checks the CPU, first tables       long mode, low 4 GiB mapped to itself
//!           └─► entry.rs   trefoil_boot_rust              higher half, boot stack
//!                 ├─ pvh.rs      what the loader left: start info, memory map, module, command line
//!                 ├─ regions.rs  the memory map as the kernel gets it
//!                 ├─ rsdp.rs     where ACPI begins
//!                 ├─ tables.rs   the kernel's page tables
//!                 └─► __trefoil_kernel_main(Handover)     the kernel's tables are active, nothing is mapped to itself
//! ```
// ANCHOR_END: path
//!
//! Everything but the stub, `entry` and `say` is pure: the code reads bytes from its caller and
//! touches no machine. So tests on the host cover the tables of a broken firmware. `acpi`,
//! `options` and `rtc` are such readers too; the kernel calls them.
//!
//! Boot knows two kinds of trouble. If a necessary part is missing (a start info, a memory map,
//! enough memory), the machine ends with a `trefoil: fatal:` line and a failing exit. Any other
//! defect is named on a `trefoil: boot:` line, and boot goes on without that part.
#![cfg_attr(not(test), no_std)]

use core::ops::Range;

use x86_64::registers::control::{Cr0Flags, Cr4Flags, EferFlags};
use x86_64::structures::gdt::DescriptorFlags;

pub mod acpi;
#[cfg(not(test))]
mod entry;
pub mod options;
pub mod pvh;
pub mod regions;
pub mod rest;
pub mod rsdp;
pub mod rtc;
#[cfg(not(test))]
mod say;
pub mod tables;

/// Where all physical memory is mapped: at this address plus its own.
pub const PHYS_OFFSET: u64 = 0xffff_8000_0000_0000;

/// How much may be mapped there before the G's stack windows begin.
pub const PHYS_WINDOW: u64 = 32 << 40;

/// The image is linked here plus where it is loaded. `kernel/kernel.ld` has the same number.
pub const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;

/// The bits of CR0 that a core sets on its way to long mode: paging, read-only pages for the kernel
/// too, and exceptions of the x87.
pub const CR0: Cr0Flags =
    Cr0Flags::PAGING.union(Cr0Flags::WRITE_PROTECT).union(Cr0Flags::NUMERIC_ERROR).union(Cr0Flags::MONITOR_COPROCESSOR);

/// The bits of CR4: tables of long mode, SSE and its exceptions.
pub const CR4: Cr4Flags =
    Cr4Flags::PHYSICAL_ADDRESS_EXTENSION.union(Cr4Flags::OSFXSR).union(Cr4Flags::OSXMMEXCPT_ENABLE);

/// The bits of EFER: long mode, and pages that may not be executed.
pub const EFER: EferFlags = EferFlags::LONG_MODE_ENABLE.union(EferFlags::NO_EXECUTE_ENABLE);

/// Descriptors of the tables that a core has on its way to long mode: code, then data.
pub const DESCRIPTORS: [DescriptorFlags; 2] = [DescriptorFlags::KERNEL_CODE64, DescriptorFlags::KERNEL_DATA];

/// Which way the machine came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The Xen PVH entry point: `qemu -kernel` and other virtual-machine monitors.
    Pvh,
}

/// The data that boot hands to the kernel, which defines `fn __trefoil_kernel_main(Handover) -> !`
/// to take it.
///
/// When that function runs, interrupts are off, SSE is on, and there is no interrupt table yet. The
/// page tables are the final ones (sections with their own rights, physical memory at
/// [`PHYS_OFFSET`], nothing mapped to itself).
#[derive(Debug)]
pub struct Handover {
    /// Memory map, RSDP (physical), ramdisk (mapped), and where image and boot stack lie.
    pub info: &'static mut bootloader_api::BootInfo,
    /// The command line, not necessarily UTF-8. The kernel may rewrite it.
    pub command_line: &'static mut [u8],
    /// The loader that started the image.
    pub door: Door,
    /// The time-stamp counter at entry.
    pub entry_tsc: u64,
    /// The stack that runs now (an unmapped page lies below it).
    pub boot_stack: Range<u64>,
    /// Physical addresses from 0 up to here are mapped at [`PHYS_OFFSET`]; at least 4 GiB, and all
    /// of the memory map.
    pub mapped: u64,
}
