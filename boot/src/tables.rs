//! The page tables that the kernel runs on: every section with its own rights, all memory at one
//! offset, a guard page under the boot stack, and nothing else.
//!
//! ```text
//!   root ─┬─ 256…  PHYS_OFFSET    1 GiB pages, or 2 MiB where the CPU lacks them           RW-
//!         └─ 511   KERNEL_BASE    4 KiB pages: text R-X, rodata R--, data RW-, one hole
//! ```
//!
//! The tables come from a pool, in `.bss` at boot. An image needs a few. The physical map needs one
//! for each 512 GiB (1 GiB pages) or each GiB (2 MiB pages). So boot need not find memory before
//! there is a map of it, and clears no memory that the loader has cleared. [`reach`] tells in
//! advance how much memory a pool can map.
//!
//! The builder knows a pool and the physical address of its start, not the machine. So tests walk
//! its tables on the host.

use core::fmt;
use core::ops::Range;

use x86_64::structures::paging::page_table::PageTableLevel;
use x86_64::structures::paging::{PageTable, PageTableFlags, PhysFrame};
use x86_64::{PhysAddr, VirtAddr};

/// The pool's size at boot: memory up to 64 GiB and more without 1 GiB pages, and all that an
/// address space has with them.
pub const POOL: usize = 80;

const _: () = assert!(
    reach(POOL, 4 << 20, PageSize::Mib2) >= 64 << 30 && reach(POOL, 4 << 20, PageSize::Gib1) >= crate::PHYS_WINDOW
);

/// The flags of an entry that leads to a table.
const BRANCH: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE);

/// The access rights of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// R-X
    Code,
    /// R--
    Constants,
    /// RW-
    Data,
}

/// How much one entry maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageSize {
    /// 4 KiB
    Kib4,
    /// 2 MiB
    Mib2,
    /// 1 GiB
    Gib1,
}

impl PageSize {
    /// Returns the level of the table that holds such entries.
    const fn level(self) -> PageTableLevel {
        match self {
            Self::Kib4 => PageTableLevel::One,
            Self::Mib2 => PageTableLevel::Two,
            Self::Gib1 => PageTableLevel::Three,
        }
    }

    /// Returns the size in bytes.
    pub const fn bytes(self) -> u64 {
        self.level().entry_address_space_alignment()
    }
}

/// The pool is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more page tables are needed than there is room for")
    }
}

/// Returns how much physical memory a pool of `tables` can map in pages of `size`, next to an image
/// of `image` bytes.
pub const fn reach(tables: usize, image: u64, size: PageSize) -> u64 {
    // The root, two levels above the image's tables, and one more of these where it straddles 2
    // MiB.
    let taken = 3 + image.div_ceil(PageSize::Mib2.bytes()) + 1;
    let left = (tables as u64).saturating_sub(taken);
    match size {
        PageSize::Gib1 => left << 39,
        // One level more: 512 tables of 1 GiB each below every table of 512 GiB.
        _ => left.saturating_sub(left.div_ceil(513)) << 30,
    }
}

/// Builds tables in a pool. The first one is the root.
#[derive(Debug)]
pub struct Builder<'p> {
    pool: &'p mut [PageTable],
    /// Physical address of the pool.
    base: u64,
    used: usize,
}

impl<'p> Builder<'p> {
    /// Creates a builder with nothing mapped yet. The pool's tables must be empty; `base` is the
    /// pool's physical address.
    ///
    /// # Errors
    /// The pool has no table.
    pub fn new(pool: &'p mut [PageTable], base: u64) -> Result<Self, Full> {
        let mut builder = Self { pool, base, used: 0 };
        builder.take()?;
        Ok(builder)
    }

    /// Returns the frame of the root, for CR3.
    pub fn root(&self) -> PhysFrame {
        frame(self.base)
    }

    fn take(&mut self) -> Result<usize, Full> {
        if self.used == self.pool.len() {
            return Err(Full);
        }
        self.used += 1;
        Ok(self.used - 1)
    }

    /// Returns the table of `level` that covers `address`, made with all tables above it if
    /// missing.
    fn table(&mut self, address: u64, level: PageTableLevel) -> Result<usize, Full> {
        let (mut table, mut above) = (0, PageTableLevel::Four);
        while above > level {
            let slot = index(address, above);
            let entry = &self.pool[table][slot];
            table = if entry.is_unused() {
                let below = self.take()?;
                let at = self.base + below as u64 * PageSize::Kib4.bytes();
                self.pool[table][slot].set_frame(frame(at), BRANCH);
                below
            } else {
                (entry.addr().as_u64() - self.base) as usize / PageSize::Kib4.bytes() as usize
            };
            above = above.next_lower_level().unwrap_or(level);
        }
        Ok(table)
    }

    /// Maps `range` to physical memory from `to` on. All three are multiples of the page size, and
    /// no part is mapped yet.
    ///
    /// # Errors
    /// The pool is used up; a part of the range may be mapped.
    pub fn map(&mut self, range: Range<u64>, to: u64, rights: Rights, size: PageSize) -> Result<(), Full> {
        debug_assert!((range.start | range.end | to).is_multiple_of(size.bytes()));
        let mut flags = PageTableFlags::PRESENT;
        flags.set(PageTableFlags::HUGE_PAGE, size != PageSize::Kib4);
        flags.set(PageTableFlags::NO_EXECUTE, rights != Rights::Code);
        flags.set(PageTableFlags::WRITABLE, rights == Rights::Data);
        let (mut address, mut to) = (range.start, to);
        while address < range.end {
            let table = self.table(address, size.level())?;
            let first = index(address, size.level());
            let count = ((range.end - address) / size.bytes()).min(512 - first as u64);
            for slot in first..first + count as usize {
                self.pool[table][slot].set_addr(frame(to).start_address(), flags);
                to += size.bytes();
            }
            address += count * size.bytes();
        }
        Ok(())
    }
}

/// Returns the frame that `physical` is the address of.
fn frame(physical: u64) -> PhysFrame {
    PhysFrame::containing_address(PhysAddr::new_truncate(physical))
}

/// Returns the index of the entry of a table of `level` that covers `address`.
fn index(address: u64, level: PageTableLevel) -> usize {
    VirtAddr::new_truncate(address).page_table_index(level).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use x86_64::structures::paging::page_table::PageTableEntry;

    use crate::{KERNEL_BASE, PHYS_OFFSET};

    const BASE: u64 = 0x24_0000;

    /// Translates as the processor does: to the physical address and the rights of a mapped
    /// address.
    fn translate(builder: &Builder<'_>, address: u64) -> Option<(u64, Rights)> {
        let (mut table, mut writable, mut executable) = (0, true, true);
        let mut next = Some(PageTableLevel::Four);
        while let Some(level) = next {
            let entry = &builder.pool[table][index(address, level)];
            let flags = entry.flags();
            if !flags.contains(PageTableFlags::PRESENT) {
                return None;
            }
            writable &= flags.contains(PageTableFlags::WRITABLE);
            executable &= !flags.contains(PageTableFlags::NO_EXECUTE);
            next = level.next_lower_level();
            if next.is_none() || flags.contains(PageTableFlags::HUGE_PAGE) {
                let within = address & (level.entry_address_space_alignment() - 1);
                let rights = match (writable, executable) {
                    (false, true) => Rights::Code,
                    (false, false) => Rights::Constants,
                    (true, false) => Rights::Data,
                    (true, true) => panic!("{address:#x} is writable and executable"),
                };
                return Some((entry.addr().as_u64() + within, rights));
            }
            table = (entry.addr().as_u64() - builder.base) as usize / 4096;
        }
        unreachable!()
    }

    fn image(builder: &mut Builder<'_>) {
        let at = |physical: u64| KERNEL_BASE + physical;
        builder.map(at(0x20_0000)..at(0x23_0000), 0x20_0000, Rights::Code, PageSize::Kib4).unwrap();
        builder.map(at(0x23_0000)..at(0x24_0000), 0x23_0000, Rights::Constants, PageSize::Kib4).unwrap();
        builder.map(at(0x24_0000)..at(0x3f_0000), 0x24_0000, Rights::Data, PageSize::Kib4).unwrap();
        builder.map(at(0x3f_1000)..at(0x50_0000), 0x3f_1000, Rights::Data, PageSize::Kib4).unwrap();
    }

    #[test]
    fn every_section_has_its_own_rights_and_the_guard_page_none() {
        let mut pool = vec![PageTable::new(); 8];
        let mut builder = Builder::new(&mut pool, BASE).unwrap();
        image(&mut builder);
        let at = |physical: u64| translate(&builder, KERNEL_BASE + physical);
        assert_eq!(at(0x20_0000), Some((0x20_0000, Rights::Code)));
        assert_eq!(at(0x22_ffff), Some((0x22_ffff, Rights::Code)));
        assert_eq!(at(0x23_0000), Some((0x23_0000, Rights::Constants)));
        assert_eq!(at(0x24_0000), Some((0x24_0000, Rights::Data)));
        assert_eq!(at(0x3e_ffff), Some((0x3e_ffff, Rights::Data)));
        assert_eq!((at(0x3f_0000), at(0x3f_0fff)), (None, None), "the guard page is mapped");
        assert_eq!(at(0x3f_1000), Some((0x3f_1000, Rights::Data)));
        assert_eq!(at(0x4f_ffff), Some((0x4f_ffff, Rights::Data)), "the second 2 MiB of the image");
        assert_eq!((at(0x1f_ffff), at(0x50_0000)), (None, None), "more than the image is mapped");
    }

    #[test]
    fn nothing_is_mapped_to_itself() {
        let mut pool = vec![PageTable::new(); 16];
        let mut builder = Builder::new(&mut pool, BASE).unwrap();
        image(&mut builder);
        builder.map(PHYS_OFFSET..PHYS_OFFSET + (4 << 30), 0, Rights::Data, PageSize::Gib1).unwrap();
        for address in [0, 0x1000, 0x10_0000, 0x20_0000, 1 << 30, 1 << 46] {
            assert_eq!(translate(&builder, address), None);
        }
        assert!(builder.pool[0].iter().take(256).all(PageTableEntry::is_unused));
    }

    #[test]
    fn memory_is_mapped_at_its_offset_and_no_further() {
        for (size, top, tables) in [(PageSize::Gib1, 600u64 << 30, 3), (PageSize::Mib2, 17 << 30, 19)] {
            let mut pool = vec![PageTable::new(); 64];
            let mut builder = Builder::new(&mut pool, BASE).unwrap();
            builder.map(PHYS_OFFSET..PHYS_OFFSET + top, 0, Rights::Data, size).unwrap();
            for physical in [0, 0xfee0_0030, (4 << 30) - 1, 4 << 30, 16 << 30, top - 1] {
                assert_eq!(translate(&builder, PHYS_OFFSET + physical), Some((physical, Rights::Data)));
            }
            assert_eq!(translate(&builder, PHYS_OFFSET + top), None);
            assert_eq!(builder.used, tables);
        }
    }

    #[test]
    fn a_pool_reaches_as_far_as_it_says_and_then_errs() {
        for (tables, size) in [(12, PageSize::Mib2), (80, PageSize::Mib2), (700, PageSize::Mib2), (9, PageSize::Gib1)] {
            let top = reach(tables, 3 << 20, size);
            let mut pool = vec![PageTable::new(); tables];
            let mut builder = Builder::new(&mut pool, BASE).unwrap();
            image(&mut builder);
            assert_eq!(builder.map(PHYS_OFFSET..PHYS_OFFSET + top, 0, Rights::Data, size), Ok(()));
            let more = PHYS_OFFSET + top..PHYS_OFFSET + top + (2 << 40);
            assert_eq!(builder.map(more, top, Rights::Data, size), Err(Full));
        }
        assert_eq!(reach(3, 3 << 20, PageSize::Gib1), 0);
        assert!(Builder::new(&mut [], BASE).is_err());
    }
}
