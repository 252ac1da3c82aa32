//! The page tables that the kernel runs on: every section with its own rights, all memory at one offset, a guard page under the
//! boot stack, and nothing else.
//!
//! The frames of the tables come from a pool in `.bss`: their number is known (the image is small, and the physical map takes
//! one page a 512 GiB with 1 GiB pages, one page a GiB without), so no memory has to be found before there is a map of it.

use core::ptr::addr_of;

use crate::PHYS_OFFSET;

const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const HUGE: u64 = 1 << 7;
const NX: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;

/// Enough for 4 GiB of image-less 2 MiB pages and 64 GiB of RAM; asserted at run time by [`Pool::page`].
const POOL_PAGES: usize = 80;

#[repr(C, align(4096))]
struct Table([u64; 512]);

struct Pool {
    pages: [Table; POOL_PAGES],
}

static mut POOL: Pool = Pool { pages: [const { Table([0; 512]) }; POOL_PAGES] };

/// Hands out pool pages.
struct Builder {
    used: usize,
}

fn physical<T>(p: *const T) -> u64 {
    p as u64 - KERNEL_BASE
}

impl Builder {
    fn page(&mut self) -> Option<*mut Table> {
        if self.used == POOL_PAGES {
            return None;
        }
        self.used += 1;
        // SAFETY: each index is handed out once, on the only core that runs; `.bss` is zero.
        Some(unsafe { &raw mut POOL.pages[self.used - 1] })
    }

    /// The table below `entry` of `table`, made if missing.
    fn below(&mut self, table: *mut Table, entry: usize) -> Option<*mut Table> {
        // SAFETY: `table` is a pool page.
        let slot = unsafe { &mut (*table).0[entry] };
        if *slot & PRESENT == 0 {
            *slot = physical(self.page()?) | PRESENT | WRITE;
        }
        Some(((*slot & ADDRESS) + KERNEL_BASE) as *mut Table)
    }

    /// Maps one page of 4 KiB (`level` 0), 2 MiB (1) or 1 GiB (2).
    fn map(&mut self, root: *mut Table, virt: u64, phys: u64, flags: u64, level: u32) -> Option<()> {
        let index = |l: u32| (virt >> (12 + 9 * l)) as usize & 511;
        let mut table = root;
        for l in (level + 1..4).rev() {
            table = self.below(table, index(l))?;
        }
        let huge = if level > 0 { HUGE } else { 0 };
        // SAFETY: `table` is a pool page.
        unsafe { (*table).0[index(level)] = phys | flags | huge | PRESENT };
        Some(())
    }
}

unsafe extern "C" {
    static __image_start: u8;
    static __rodata_start: u8;
    static __data_start: u8;
    static __image_end: u8;
    static __boot_stack_guard: u8;
}

/// Builds the tables for memory up to `top` and switches to them. None: the pool is too small for that much memory.
pub fn activate(top: u64, gigabyte_pages: bool) -> Option<()> {
    let mut b = Builder { used: 0 };
    let root = b.page()?;
    let (text, rodata) = (addr_of!(__image_start) as u64, addr_of!(__rodata_start) as u64);
    let (data, end) = (addr_of!(__data_start) as u64, addr_of!(__image_end) as u64);
    let guard = addr_of!(__boot_stack_guard) as u64;
    for (from, to, flags) in [(text, rodata, 0), (rodata, data, NX), (data, end, NX | WRITE)] {
        for page in (from..to).step_by(4096).filter(|&p| p != guard) {
            b.map(root, page, page - KERNEL_BASE, flags, 0)?;
        }
    }
    let (size, level) = if gigabyte_pages { (1 << 30, 2) } else { (2 << 20, 1) };
    for phys in (0..top.max(4 << 30)).step_by(size) {
        b.map(root, PHYS_OFFSET + phys, phys, NX | WRITE, level)?;
    }
    // SAFETY: the new tables map the code, data and stack that run now at the same addresses.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) physical(root), options(nostack, preserves_flags)) };
    Some(())
}
