//! The memory map as the kernel gets it: sorted, page-aligned, without overlaps, with everything that is in use carved out.

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};

/// The most regions a map has here.
pub const MAX: usize = 128;

const PAGE: u64 = 4096;

/// A list of regions under construction.
#[derive(Debug)]
pub struct Regions {
    list: [MemoryRegion; MAX],
    len: usize,
    /// How many did not fit.
    pub dropped: usize,
}

impl Regions {
    /// Empty.
    pub const fn new() -> Self {
        Self {
            list: [MemoryRegion { start: 0, end: 0, kind: MemoryRegionKind::UnknownBios(0) }; MAX],
            len: 0,
            dropped: 0,
        }
    }

    /// The regions so far.
    pub fn as_slice(&self) -> &[MemoryRegion] {
        &self.list[..self.len]
    }

    /// The regions, for `BootInfo`.
    pub fn as_mut_slice(&mut self) -> &mut [MemoryRegion] {
        &mut self.list[..self.len]
    }

    fn push(&mut self, region: MemoryRegion) {
        if region.start >= region.end {
            return;
        }
        match self.list.get_mut(self.len) {
            Some(slot) => {
                *slot = region;
                self.len += 1;
            }
            None => self.dropped += 1,
        }
    }

    /// Adds usable memory, cut to whole pages and to what no usable region has yet.
    pub fn add_usable(&mut self, start: u64, end: u64) {
        let Some(start) = start.checked_next_multiple_of(PAGE) else { return };
        let region = MemoryRegion { start, end: end & !(PAGE - 1), kind: MemoryRegionKind::Usable };
        self.push(region);
        self.sort_and_merge();
    }

    fn sort_and_merge(&mut self) {
        let list = &mut self.list[..self.len];
        // A handful of entries: insertion sort is the smallest that is right.
        for i in 1..list.len() {
            let mut at = i;
            while at > 0 && list[at - 1].start > list[at].start {
                list.swap(at - 1, at);
                at -= 1;
            }
        }
        let mut kept = 0;
        for i in 1..list.len() {
            if list[i].start <= list[kept].end && list[i].kind == list[kept].kind {
                list[kept].end = list[kept].end.max(list[i].end);
            } else {
                kept += 1;
                list[kept] = list[i];
            }
        }
        self.len = if self.len == 0 { 0 } else { kept + 1 };
    }

    /// Marks `start..end` as `kind` wherever it is usable now.
    pub fn carve(&mut self, start: u64, end: u64, kind: MemoryRegionKind) {
        let (start, end) = (start & !(PAGE - 1), end.saturating_add(PAGE - 1) & !(PAGE - 1));
        for i in 0..self.len {
            let old = self.list[i];
            if old.kind != MemoryRegionKind::Usable || old.end <= start || end <= old.start {
                continue;
            }
            let (from, to) = (start.max(old.start), end.min(old.end));
            self.list[i] = MemoryRegion { start: from, end: to, kind };
            self.push(MemoryRegion { start: old.start, end: from, kind: old.kind });
            self.push(MemoryRegion { start: to, end: old.end, kind: old.kind });
        }
        self.sort();
    }

    fn sort(&mut self) {
        let list = &mut self.list[..self.len];
        for i in 1..list.len() {
            let mut at = i;
            while at > 0 && list[at - 1].start > list[at].start {
                list.swap(at - 1, at);
                at -= 1;
            }
        }
    }

    /// Bytes of usable memory.
    pub fn usable(&self) -> u64 {
        self.as_slice().iter().filter(|r| r.kind == MemoryRegionKind::Usable).map(|r| r.end - r.start).sum()
    }

    /// One past the highest address of any region.
    pub fn top(&self) -> u64 {
        self.as_slice().iter().map(|r| r.end).max().unwrap_or(0)
    }
}

impl Default for Regions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable(r: &Regions) -> Vec<(u64, u64)> {
        r.as_slice().iter().filter(|r| r.kind == MemoryRegionKind::Usable).map(|r| (r.start, r.end)).collect()
    }

    #[test]
    fn overlapping_and_unsorted_regions_are_merged() {
        let mut r = Regions::new();
        r.add_usable(0x10_0000, 0x20_0000);
        r.add_usable(0, 0x9_fc00);
        r.add_usable(0x18_0000, 0x30_0000);
        r.add_usable(0x11_0000, 0x12_0000);
        assert_eq!(usable(&r), [(0, 0x9_f000), (0x10_0000, 0x30_0000)]);
    }

    #[test]
    fn a_carved_range_is_not_usable_and_nothing_else_is_lost() {
        let mut r = Regions::new();
        r.add_usable(0, 0x10_0000);
        r.carve(0x1234, 0x2001, MemoryRegionKind::Bootloader);
        assert_eq!(usable(&r), [(0, 0x1000), (0x3000, 0x10_0000)]);
        assert_eq!(r.as_slice().iter().map(|r| r.end - r.start).sum::<u64>(), 0x10_0000);
        r.carve(0, 0x10_0000, MemoryRegionKind::Bootloader);
        assert_eq!(usable(&r), []);
        assert!(r.as_slice().is_sorted_by_key(|r| r.start));
    }

    #[test]
    fn more_regions_than_fit_are_counted_not_written_past_the_end() {
        let mut r = Regions::new();
        for i in 0..MAX as u64 + 5 {
            r.add_usable(i * 0x2000, i * 0x2000 + 0x1000);
        }
        assert_eq!(r.as_slice().len(), MAX);
        assert_eq!(r.dropped, 5);
    }
}
