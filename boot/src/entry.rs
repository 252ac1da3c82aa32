//! The PVH door's Rust side: from the loader's start info to [`Handover`].

use core::arch::x86_64::__cpuid;
use core::arch::{asm, global_asm};
use core::ops::Range;
use core::ptr::addr_of;

use bootloader_api::BootInfo;
use bootloader_api::info::{MemoryRegionKind, Optional};

use crate::pvh::{self, StartInfo};
use crate::regions::Regions;
use crate::{Handover, PHYS_OFFSET, tables};

global_asm!(include_str!("pvh_stub.s"), options(att_syntax));
global_asm!(
    "
    .section .bss.boot_stack, \"aw\", @nobits
    .balign 4096
    .globl __boot_stack_guard
__boot_stack_guard: .skip 4096
    .skip 65536
    .globl __boot_stack_top
__boot_stack_top:
    .text
    "
);

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
    static __boot_stack_guard: u8;
    static __boot_stack_top: u8;
}

unsafe extern "Rust" {
    safe fn __trefoil_kernel_main(handover: Handover) -> !;
}

/// The command line is copied here, so that the loader's copy may be overwritten.
const COMMAND_LINE_MAX: usize = 2048;

/// What must outlive the boot stack.
struct Kept {
    regions: Regions,
    command_line: [u8; COMMAND_LINE_MAX],
    info: Option<BootInfo>,
}

static mut KEPT: Kept = Kept { regions: Regions::new(), command_line: [0; COMMAND_LINE_MAX], info: None };

/// Less usable memory than this is not enough for page tables, stacks and a heap.
const MEMORY_MIN: u64 = 40 << 20;

/// Says `parts` on the serial line and ends the machine.
fn refuse(parts: core::fmt::Arguments<'_>) -> ! {
    struct Serial;
    impl core::fmt::Write for Serial {
        fn write_str(&mut self, s: &str) -> core::fmt::Result {
            for b in s.bytes() {
                // SAFETY: port 0x3f8 is the first serial port or nothing.
                unsafe { asm!("out dx, al", in("dx") 0x3f8u16, in("al") b, options(nomem, nostack, preserves_flags)) };
            }
            Ok(())
        }
    }
    let _ = core::fmt::Write::write_fmt(&mut Serial, format_args!("trefoil: fatal: {parts}\n"));
    loop {
        // SAFETY: isa-debug-exit or nothing; then the core stops for good.
        unsafe { asm!("out dx, eax", "cli", "hlt", in("dx") 0xf4u16, in("eax") 0x11u32, options(nomem, nostack)) };
    }
}

/// Physical bytes, through the first tables' map of the low 4 GiB.
///
/// # Safety
/// 1. Nobody writes there for `'static`, or the caller reads before anyone does.
unsafe fn low(physical: u64, len: usize) -> &'static [u8] {
    if physical == 0 || physical.saturating_add(len as u64) > 4 << 30 {
        return &[];
    }
    // SAFETY: 1., and the first tables map this address to itself.
    unsafe { core::slice::from_raw_parts(physical as *const u8, len) }
}

#[unsafe(no_mangle)]
extern "C" fn trefoil_boot_rust(start_info: u64, tsc: u64) -> ! {
    // SAFETY: the only core, called once: nobody else touches KEPT.
    let kept = unsafe { &mut *core::ptr::addr_of_mut!(KEPT) };
    // SAFETY: 1. the loader's data lies outside the image, and nothing is allocated yet.
    let bytes = unsafe { low(start_info, pvh::START_INFO_BYTES) };
    let info = match StartInfo::parse(bytes) {
        Ok(info) => info,
        Err(error) => refuse(format_args!("{error}")),
    };
    let regions = &mut kept.regions;
    // SAFETY: as above.
    let map = unsafe { low(info.memory_map, info.memory_entries as usize * pvh::MEMORY_ENTRY_BYTES) };
    for region in pvh::memory_map(map).filter(|r| r.kind == MemoryRegionKind::Usable) {
        regions.add_usable(region.start, region.end);
    }
    let top = regions.top();
    let image = physical(addr_of!(__image_start))..physical(addr_of!(__image_end));
    regions.carve(0, 1 << 20, MemoryRegionKind::UnknownBios(1));
    regions.carve(1 << 20, image.end, MemoryRegionKind::Bootloader);
    let mut ramdisk = (0, 0);
    if info.modules > 0
        // SAFETY: as above.
        && let Ok((start, len)) = pvh::module(unsafe { low(info.module_list, pvh::MODULE_ENTRY_BYTES) })
        && start.checked_add(len).is_some_and(|end| end <= top)
    {
        ramdisk = (start, len);
        regions.carve(start, start + len, MemoryRegionKind::Bootloader);
    }
    if regions.usable() < MEMORY_MIN {
        refuse(format_args!(
            "{} MiB of free memory, {} MiB needed (start with 64 MiB or more)",
            regions.usable() >> 20,
            MEMORY_MIN >> 20
        ));
    }
    let mut len = 0;
    // SAFETY: as above; the string ends within the loader's page or is cut at COMMAND_LINE_MAX.
    for &byte in unsafe { low(info.command_line, COMMAND_LINE_MAX) } {
        if byte == 0 {
            break;
        }
        kept.command_line[len] = byte;
        len += 1;
    }
    // SAFETY: as above: the EBDA's segment, the EBDA and the BIOS area.
    let rsdp = if info.rsdp != 0 { Some(info.rsdp) } else { find_rsdp() };

    let gigabyte_pages = __cpuid(0x8000_0001).edx >> 26 & 1 == 1;
    if tables::activate(top, gigabyte_pages).is_none() {
        refuse(format_args!("{} GiB of memory are more than this processor's page size can map at boot", top >> 30));
    }
    let boot_info = kept.info.insert(BootInfo::new(kept.regions.as_mut_slice().into()));
    boot_info.physical_memory_offset = Optional::Some(PHYS_OFFSET);
    boot_info.rsdp_addr = rsdp.into();
    boot_info.kernel_addr = image.start;
    boot_info.kernel_len = image.end - image.start;
    boot_info.kernel_image_offset = addr_of!(__image_start) as u64;
    if ramdisk.1 > 0 {
        boot_info.ramdisk_addr = Optional::Some(PHYS_OFFSET + ramdisk.0);
        boot_info.ramdisk_len = ramdisk.1;
    }
    __trefoil_kernel_main(Handover {
        info: boot_info,
        command_line: &kept.command_line[..len],
        entry_tsc: tsc,
        boot_stack: stack(),
    })
}

fn stack() -> Range<u64> {
    addr_of!(__boot_stack_guard) as u64 + 4096..addr_of!(__boot_stack_top) as u64
}

fn physical(p: *const u8) -> u64 {
    p as u64 - 0xffff_ffff_8000_0000
}

/// The RSDP, where firmware for PCs leaves it: in the first KiB of the EBDA or in the BIOS area.
fn find_rsdp() -> Option<u64> {
    // SAFETY: 1. firmware's memory; nobody writes it.
    let segment = unsafe { low(0x40e, 2) };
    let ebda = u64::from(u16::from_le_bytes([segment[0], segment[1]])) << 4;
    [(ebda, 1024), (0xe_0000, 0x2_0000)].into_iter().find_map(|(from, len)| {
        // SAFETY: 1. as above.
        let bytes = unsafe { low(from, len) };
        bytes.chunks_exact(16).position(|c| &c[..8] == b"RSD PTR ").map(|i| from + 16 * i as u64)
    })
}
