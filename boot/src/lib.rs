//! From firmware to long mode in the higher half, with a `BootInfo` in hand.
#![cfg_attr(not(test), no_std)]

pub mod acpi;
#[cfg(not(test))]
pub mod entry;
pub mod options;
pub mod pvh;
pub mod regions;
#[cfg(not(test))]
mod tables;

/// Where all physical memory is mapped.
pub const PHYS_OFFSET: u64 = 0xffff_8000_0000_0000;

/// What boot hands to the kernel.
#[derive(Debug)]
pub struct Handover {
    /// Memory map, RSDP, ramdisk.
    pub info: &'static mut bootloader_api::BootInfo,
    /// The command line, not necessarily UTF-8.
    pub command_line: &'static [u8],
    /// The time-stamp counter at entry.
    pub entry_tsc: u64,
    /// The stack that runs now (an unmapped page lies below it).
    pub boot_stack: core::ops::Range<u64>,
}
