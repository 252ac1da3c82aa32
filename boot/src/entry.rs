//! The PVH door's Rust side: from the loader's start info to [`Handover`].
//!
//! `trefoil_boot_rust` runs once, on one core, with interrupts off, on the boot stack. At its start
//! the stub's tables are active: the low 4 GiB mapped to themselves, and the image at
//! [`KERNEL_BASE`]. The function leaves the kernel's tables behind. The data kept for the kernel
//! (the map, the command line, the tables) lies in `.bss`, so boot takes no memory from the map.

use core::arch::global_asm;
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr::addr_of;

use bootloader_api::BootInfo;
use bootloader_api::info::{MemoryRegion, MemoryRegionKind, Optional};
use heapless::Vec;
use raw_cpuid::{CpuId, CpuIdReaderNative};
use x86_64::registers::control::{Cr0Flags, Cr3, Cr3Flags};
use x86_64::structures::paging::PageTable;

use crate::acpi::Memory;
use crate::pvh::{self, Flaw, START_INFO_BYTES, StartInfo};
use crate::regions::{self, Claims, REGIONS_MAX};
use crate::tables::{self, Builder, PageSize, Rights};
use crate::{CR0, CR4, DESCRIPTORS, Door, EFER, Handover, KERNEL_BASE, PHYS_OFFSET, PHYS_WINDOW, rsdp, say};

global_asm!(
    include_str!("pvh_stub.s"),
    cr0 = const CR0.bits(),
    cr0_keep = const !CR0_OFF.bits() as u32,
    cr4 = const CR4.bits(),
    efer = const EFER.bits(),
    code = const DESCRIPTORS[0].bits(),
    options(att_syntax),
);

/// The bits of CR0 that a loader may have left on: no caches, no SSE.
const CR0_OFF: Cr0Flags = Cr0Flags::CACHE_DISABLE
    .union(Cr0Flags::NOT_WRITE_THROUGH)
    .union(Cr0Flags::EMULATE_COPROCESSOR)
    .union(Cr0Flags::TASK_SWITCHED);

// By the linker script: the ends of the sections, at the addresses where the kernel runs.
unsafe extern "C" {
    static __image_start: u8;
    static __etext: u8;
    static __rodata_start: u8;
    static __data_start: u8;
    static __image_end: u8;
    static __boot_stack_guard: u8;
    static __boot_stack_bottom: u8;
    static __boot_stack_top: u8;
}

unsafe extern "Rust" {
    safe fn __trefoil_kernel_main(handover: Handover) -> !;
}

/// The command line is copied here, so that the loader's copy may be overwritten.
const COMMAND_LINE_MAX: usize = 2048;

/// Less free memory than this does not hold stacks, heap and a few G's. A machine of 48 MiB has it,
/// one of 32 has not.
const MEMORY_MIN: u64 = 40 << 20;

/// The end of the low memory that the stub's tables map.
const STUB_REACH: u64 = 4 << 30;

/// The data that outlives boot. All zeros, or it would take room in the image's file.
struct Kept {
    tables: [PageTable; tables::POOL],
    map: Vec<MemoryRegion, REGIONS_MAX>,
    command_line: Vec<u8, COMMAND_LINE_MAX>,
    info: MaybeUninit<BootInfo>,
}

static mut KEPT: Kept = Kept {
    tables: [const { PageTable::new() }; tables::POOL],
    map: Vec::new(),
    command_line: Vec::new(),
    info: MaybeUninit::uninit(),
};

/// Why the machine can't go on.
enum Error {
    StartInfo(pvh::Error),
    Claims(regions::Full),
    Tables(tables::Full),
    TooLittle { free: u64, module: u64 },
}

impl From<pvh::Error> for Error {
    fn from(error: pvh::Error) -> Self {
        Self::StartInfo(error)
    }
}

impl From<regions::Full> for Error {
    fn from(full: regions::Full) -> Self {
        Self::Claims(full)
    }
}

impl From<tables::Full> for Error {
    fn from(full: tables::Full) -> Self {
        Self::Tables(full)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartInfo(error) => error.fmt(f),
            Self::Claims(regions::Full) => f.write_str("memory map: more entries than there is room for"),
            Self::Tables(full) => full.fmt(f),
            Self::TooLittle { free, module } => {
                let (free, least) = (free >> 20, MEMORY_MIN >> 20);
                write!(f, "too little memory: {free} MiB are free, and Trefoil needs at least {least} MiB")?;
                if *module > 0 { write!(f, " next to a module of {module} bytes") } else { Ok(()) }
            }
        }
    }
}

/// Physical memory as the stub's tables show it. Address 0 counts as nowhere.
struct Low;

impl Memory for Low {
    fn bytes(&self, physical: u64, len: usize) -> Option<&[u8]> {
        if physical == 0 || physical.checked_add(len as u64)? > STUB_REACH {
            return None;
        }
        // SAFETY: the stub's tables map this range to itself. Callers ask only for data of the
        // loader or the firmware, which lies outside the image. No other core runs and no memory
        // has been handed out yet, so nothing writes there meanwhile.
        Some(unsafe { core::slice::from_raw_parts(physical as *const u8, len) })
    }
}

/// Names a flaw; boot goes on.
fn mention(flaw: Flaw) {
    say::warning(format_args!("{flaw}"));
}

/// Runs after the stub's jump. `start_info` is a physical address, `entry_tsc` the time-stamp
/// counter at entry.
#[unsafe(no_mangle)]
extern "C" fn trefoil_boot_rust(start_info: u64, entry_tsc: u64) -> ! {
    let kept = &raw mut KEPT;
    // SAFETY: this function runs once, on the only core that is up, and nothing else names KEPT.
    let kept = unsafe { &mut *kept };
    match prepare(kept, start_info, entry_tsc) {
        Ok(handover) => __trefoil_kernel_main(handover),
        Err(error) => say::fatal(format_args!("{error}")),
    }
}

/// Fills `kept` from what the loader left, and goes over to the kernel's tables.
fn prepare(kept: &'static mut Kept, start_info: u64, entry_tsc: u64) -> Result<Handover, Error> {
    let start_info = Low.bytes(start_info, START_INFO_BYTES).ok_or(pvh::Error::Truncated)?;
    let start_info = StartInfo::parse(start_info)?;
    let image = physical(addr_of!(__image_start))..physical(addr_of!(__image_end));

    let mut claims = Claims::new();
    let mut room = Ok(());
    start_info.memory_map(&Low, &mut mention, &mut |start, end, kind| room = room.and(claims.add(start, end, kind)))?;
    room?;
    let module = start_info.module(&Low, &mut mention).filter(|module| {
        let free = module.start >= image.end && module.end().is_some_and(|end| claims.is_usable(module.start, end));
        if !free {
            mention(Flaw::Module { start: module.start, len: module.len });
        }
        free
    });
    // All below the image: the first MiB, which is the BIOS's and the other cores' (they start
    // there), and the stub.
    claims.add(0, image.end, MemoryRegionKind::Bootloader)?;
    if let Some(module) = module {
        claims.add(module.start, module.start + module.len, MemoryRegionKind::Bootloader)?;
    }

    let cpu = CpuId::new();
    let page = largest_page(&cpu);
    let limit = tables::reach(tables::POOL, image.end - image.start, page).min(PHYS_WINDOW).min(address_space(&cpu));
    let top = claims.ram_top();
    if top > limit {
        say::warning(format_args!("memory beyond {} GiB is left out: the map goes up to {top:#x}", limit >> 30));
    }
    let mapped = top.min(limit).next_multiple_of(PageSize::Gib1.bytes()).max(STUB_REACH);
    let map = claims.resolve(mapped, &mut kept.map);
    let free = regions::usable(map);
    if free < MEMORY_MIN {
        return Err(Error::TooLittle { free, module: module.map_or(0, |module| module.len) });
    }

    start_info.command_line(&Low, &mut mention, &mut kept.command_line);
    let rsdp = find_rsdp(&start_info);
    activate(&mut kept.tables, mapped, page)?;

    let info = kept.info.write(BootInfo::new(map.into()));
    info.physical_memory_offset = Optional::Some(PHYS_OFFSET);
    info.rsdp_addr = rsdp.into();
    if let Some(module) = module {
        info.ramdisk_addr = Optional::Some(PHYS_OFFSET + module.start);
        info.ramdisk_len = module.len;
    }
    info.kernel_addr = image.start;
    info.kernel_len = image.end - image.start;
    info.kernel_image_offset = addr_of!(__image_start) as u64;
    let boot_stack = addr_of!(__boot_stack_bottom) as u64..addr_of!(__boot_stack_top) as u64;
    info.kernel_stack_bottom = boot_stack.start;
    info.kernel_stack_len = boot_stack.end - boot_stack.start;
    Ok(Handover { info, command_line: &mut kept.command_line, door: Door::Pvh, entry_tsc, boot_stack, mapped })
}

/// Finds the RSDP: at the loader's address, if there is one there; else by a search.
fn find_rsdp(start_info: &StartInfo) -> Option<u64> {
    if start_info.rsdp != 0 {
        if rsdp::is_at(&Low, start_info.rsdp) {
            return Some(start_info.rsdp);
        }
        mention(Flaw::Rsdp(start_info.rsdp));
    }
    rsdp::search(&Low)
}

/// Returns the largest pages that this CPU has.
fn largest_page(cpu: &CpuId<CpuIdReaderNative>) -> PageSize {
    let features = cpu.get_extended_processor_and_feature_identifiers();
    if features.is_some_and(|features| features.has_1gib_pages()) { PageSize::Gib1 } else { PageSize::Mib2 }
}

/// Returns how much physical memory this CPU can address at all.
fn address_space(cpu: &CpuId<CpuIdReaderNative>) -> u64 {
    let bits = cpu.get_processor_capacity_feature_info().map_or(36, |told| told.physical_address_bits());
    1 << bits.clamp(32, 52)
}

/// Builds the kernel's tables in `pool` and goes over to them.
fn activate(pool: &'static mut [PageTable], mapped: u64, page: PageSize) -> Result<(), tables::Full> {
    let pool_at = physical(pool.as_ptr().cast());
    let mut tables = Builder::new(pool, pool_at)?;
    let sections: [(Range<*const u8>, Rights); 4] = [
        (addr_of!(__image_start)..addr_of!(__etext), Rights::Code),
        (addr_of!(__rodata_start)..addr_of!(__data_start), Rights::Constants),
        (addr_of!(__data_start)..addr_of!(__boot_stack_guard), Rights::Data),
        (addr_of!(__boot_stack_bottom)..addr_of!(__image_end), Rights::Data),
    ];
    for (section, rights) in sections {
        let range = section.start as u64..(section.end as u64).next_multiple_of(PageSize::Kib4.bytes());
        tables.map(range, physical(section.start), rights, PageSize::Kib4)?;
    }
    tables.map(PHYS_OFFSET..PHYS_OFFSET + mapped, 0, Rights::Data, page)?;
    // SAFETY: the new tables map the code, constants, data and stack that are in use at the
    // addresses where they are now, with rights that allow what is done with them. `Low` is not
    // used any more.
    unsafe { Cr3::write(tables.root(), Cr3Flags::empty()) };
    Ok(())
}

/// Returns the physical address of a part of the image.
fn physical(address: *const u8) -> u64 {
    address as u64 - KERNEL_BASE
}
