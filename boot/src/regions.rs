//! The memory map as the kernel gets it: sorted, in whole pages, without overlaps. All memory in
//! use is kept out of the usable regions.
//!
//! Firmware's map may be anything: unsorted, overlapping, torn. So nothing is edited in place. Each
//! range with a known use is a *claim*, in any order, and a page gets the strongest of the claims
//! that cover it:
//!
// ANCHOR: claims
//! ```text
//!   firmware says RAM        ├──────────────────────┤      ├──────────┤        weakest
//!   boot uses it                  ├──────┤
//!   firmware says other                       ├────────┤                      strongest
//!   result                   │ us │ boot │ us │ reserved   │  us      │
//! ```
// ANCHOR_END: claims
//!
//! A claim to RAM is cut to the whole pages inside it; any other claim is widened to all pages it
//! touches. So a page in doubt is not used.

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use heapless::Vec;

/// How many claims there may be: those of the largest map that is believed, and boot's own.
pub const CLAIMS_MAX: usize = crate::pvh::MEMORY_ENTRIES_MAX as usize + 16;

/// Each claim has two ends, and between any two neighbouring ends lies at most one region.
pub const REGIONS_MAX: usize = 2 * CLAIMS_MAX;

const PAGE: u64 = 4096;

/// There is no room for another claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The claims to physical memory.
#[derive(Debug)]
pub struct Claims {
    list: Vec<MemoryRegion, CLAIMS_MAX>,
}

/// Returns the strength of a claim: the stronger claim wins.
fn strength(kind: MemoryRegionKind) -> u32 {
    match kind {
        MemoryRegionKind::Usable => 0,
        MemoryRegionKind::Bootloader => 1,
        MemoryRegionKind::UnknownUefi(of) | MemoryRegionKind::UnknownBios(of) => of.max(2),
        _ => u32::MAX,
    }
}

/// Returns true for RAM, though firmware may keep tables in it (types 3 and 4 of its map).
fn is_ram(kind: MemoryRegionKind) -> bool {
    matches!(kind, MemoryRegionKind::Usable | MemoryRegionKind::UnknownBios(3 | 4))
}

impl Claims {
    /// Creates an empty set of claims.
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Claims the bytes from `start` to `end`.
    ///
    /// # Errors
    /// There is no room.
    pub fn add(&mut self, start: u64, end: u64, kind: MemoryRegionKind) -> Result<(), Full> {
        const LAST: u64 = !(PAGE - 1);
        let up = |address: u64| address.checked_next_multiple_of(PAGE).unwrap_or(LAST);
        let down = |address: u64| address & !(PAGE - 1);
        let empty = start >= end;
        let (start, end) = match kind {
            MemoryRegionKind::Usable => (up(start), down(end)),
            _ => (down(start), up(end)),
        };
        if !empty && start < end {
            self.list.push(MemoryRegion { start, end, kind }).map_err(|_| Full)?;
        }
        Ok(())
    }

    /// Returns true if all bytes from `start` to `end` are claimed as usable. Ignores other claims.
    pub fn is_usable(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        while at < end {
            let covers =
                |claim: &&MemoryRegion| claim.kind == MemoryRegionKind::Usable && claim.start <= at && at < claim.end;
            match self.list.iter().find(covers) {
                Some(claim) => at = claim.end,
                None => return false,
            }
        }
        start <= end
    }

    /// Returns the address one past the highest address of RAM.
    pub fn ram_top(&self) -> u64 {
        self.list.iter().filter(|claim| is_ram(claim.kind)).map(|claim| claim.end).max().unwrap_or(0)
    }

    /// Writes the map of memory below `limit` into the empty `map`, and returns it. Memory without
    /// a claim is in no region.
    pub fn resolve<'m>(&self, limit: u64, map: &'m mut Vec<MemoryRegion, REGIONS_MAX>) -> &'m mut [MemoryRegion] {
        // There is room for all pushes, as `REGIONS_MAX` says.
        let mut ends = Vec::<u64, REGIONS_MAX>::new();
        for end in self.list.iter().flat_map(|claim| [claim.start, claim.end]) {
            let _ = ends.push(end.min(limit));
        }
        sort(&mut ends);
        for pair in ends.windows(2).filter(|pair| pair[0] < pair[1]) {
            let covering = self.list.iter().filter(|claim| claim.start <= pair[0] && pair[1] <= claim.end);
            let Some(claim) = covering.max_by_key(|claim| strength(claim.kind)) else { continue };
            let piece = MemoryRegion { start: pair[0], end: pair[1], kind: claim.kind };
            match map.last_mut() {
                Some(last) if last.end == piece.start && last.kind == piece.kind => last.end = piece.end,
                _ => _ = map.push(piece),
            }
        }
        map
    }
}

impl Default for Claims {
    fn default() -> Self {
        Self::new()
    }
}

/// Sorts a few dozen numbers that are nearly in order: insertion is fast, and a hundredth of the
/// library's sort in size.
fn sort(numbers: &mut [u64]) {
    for i in 1..numbers.len() {
        let mut at = i;
        while at > 0 && numbers[at - 1] > numbers[at] {
            numbers.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// Bytes of usable memory in a map.
pub fn usable(map: &[MemoryRegion]) -> u64 {
    map.iter().filter(|region| region.kind == MemoryRegionKind::Usable).map(|region| region.end - region.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use MemoryRegionKind::{Bootloader, UnknownBios, Usable};

    type Claim = (u64, u64, MemoryRegionKind);

    fn claims(list: &[Claim]) -> Claims {
        let mut claims = Claims::new();
        for &(start, end, kind) in list {
            claims.add(start, end, kind).unwrap();
        }
        claims
    }

    fn resolve_below(limit: u64, list: &[Claim]) -> std::vec::Vec<Claim> {
        let mut map = Vec::new();
        claims(list).resolve(limit, &mut map).iter().map(|region| (region.start, region.end, region.kind)).collect()
    }

    fn resolve(list: &[Claim]) -> std::vec::Vec<Claim> {
        resolve_below(u64::MAX, list)
    }

    #[test]
    fn unsorted_and_overlapping_memory_becomes_sorted_and_merged() {
        let map = resolve(&[
            (0x10_0000, 0x20_0000, Usable),
            (0, 0x9_fc00, Usable),
            (0x18_0000, 0x30_0000, Usable),
            (0x11_0000, 0x12_0000, Usable),
        ]);
        assert_eq!(map, [(0, 0x9_f000, Usable), (0x10_0000, 0x30_0000, Usable)]);
    }

    #[test]
    fn a_page_goes_to_its_strongest_claim_in_whatever_order_they_come() {
        let list = [
            (0, 0x10_0000, Usable),
            (0x1234, 0x2001, Bootloader),
            (0x2000, 0x3000, UnknownBios(2)),
            (0xf_f000, 0x20_0000, UnknownBios(5)),
            (0x10_0000, 0x11_0000, UnknownBios(2)),
        ];
        let wanted = [
            (0, 0x1000, Usable),
            (0x1000, 0x2000, Bootloader),
            (0x2000, 0x3000, UnknownBios(2)),
            (0x3000, 0xf_f000, Usable),
            (0xf_f000, 0x20_0000, UnknownBios(5)),
        ];
        for turn in 0..list.len() {
            let mut turned = list;
            turned.rotate_left(turn);
            assert_eq!(resolve(&turned), wanted);
        }
    }

    #[test]
    fn half_a_page_of_memory_is_no_page_and_half_a_page_reserved_is_one() {
        assert_eq!(resolve(&[(0x1001, 0x2fff, Usable)]), []);
        assert_eq!(resolve(&[(0x1001, 0x3fff, Usable)]), [(0x2000, 0x3000, Usable)]);
        assert_eq!(resolve(&[(0x1fff, 0x2001, UnknownBios(2))]), [(0x1000, 0x3000, UnknownBios(2))]);
    }

    #[test]
    fn empty_and_inverted_claims_are_nothing() {
        assert_eq!(resolve(&[]), []);
        assert_eq!(resolve(&[(0x1000, 0x1000, Usable), (0x5000, 0x4000, Usable), (0x5000, 0x4000, Bootloader)]), []);
    }

    #[test]
    fn claims_up_to_the_last_address_do_not_wrap() {
        let last = !0xfff;
        assert_eq!(resolve(&[(u64::MAX - 1, u64::MAX, UnknownBios(2))]), []);
        assert_eq!(
            resolve(&[(0x1000, u64::MAX, Usable), (0x2000, u64::MAX, UnknownBios(2))]),
            [(0x1000, 0x2000, Usable), (0x2000, last, UnknownBios(2))]
        );
    }

    #[test]
    fn nothing_is_told_of_what_lies_beyond_the_limit() {
        let list = [(0, 0x8000, Usable), (0x4000, 0x6000, Bootloader), (0x7000, 0x9000, UnknownBios(2))];
        assert_eq!(resolve_below(0x5000, &list), [(0, 0x4000, Usable), (0x4000, 0x5000, Bootloader)]);
        assert_eq!(resolve_below(0, &list), []);
    }

    #[test]
    fn the_top_of_memory_counts_what_firmware_keeps_in_it_but_not_devices() {
        let list =
            [(0, 0x8000, Usable), (0x8000, 0xa000, UnknownBios(3)), (0xfd_0000_0000, 0xff_0000_0000, UnknownBios(2))];
        assert_eq!(claims(&list).ram_top(), 0xa000);
        assert_eq!(Claims::new().ram_top(), 0);
    }

    #[test]
    fn a_range_is_usable_when_regions_that_touch_cover_it() {
        let claims = claims(&[(0x4000, 0x8000, Usable), (0x1000, 0x4000, Usable), (0x9000, 0xa000, UnknownBios(3))]);
        assert!(
            claims.is_usable(0x1000, 0x8000) && claims.is_usable(0x3fff, 0x4001) && claims.is_usable(0x1000, 0x1000)
        );
        assert!(
            !claims.is_usable(0xfff, 0x2000) && !claims.is_usable(0x7000, 0x8001) && !claims.is_usable(0x9000, 0xa000)
        );
        assert!(!claims.is_usable(0x4000, 0x3000) && !claims.is_usable(0x1000, u64::MAX));
    }

    #[test]
    fn more_claims_than_fit_are_an_error_and_the_most_that_fit_are_resolved() {
        let mut claims = Claims::new();
        for i in 0..CLAIMS_MAX as u64 {
            claims.add(i * 0x2000, i * 0x2000 + 0x1000, Usable).unwrap();
        }
        assert_eq!(claims.add(0, 0x1000, Bootloader), Err(Full));
        let mut map = Vec::new();
        assert_eq!(claims.resolve(u64::MAX, &mut map).len(), CLAIMS_MAX);
        assert_eq!(usable(&map), CLAIMS_MAX as u64 * 0x1000);
    }

    #[test]
    fn every_map_of_a_small_machine_is_what_a_page_by_page_count_says() {
        // A small generator: the same maps on every run.
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..2000 {
            let kinds = [Usable, Usable, Usable, Bootloader, UnknownBios(2), UnknownBios(3)];
            let list: std::vec::Vec<Claim> =
                (0..random(9)).map(|_| (random(64 * 0x1000), random(64 * 0x1000), kinds[random(6) as usize])).collect();
            let map = resolve(&list);
            assert!(map.windows(2).all(|two| two[0].1 <= two[1].0), "{map:x?} overlaps");
            for page in (0..64 * 0x1000).step_by(0x1000) {
                let touches = |claim: &&Claim| claim.0 < claim.1 && claim.0 < page + 0x1000 && page < claim.1;
                let fills = |claim: &&Claim| claim.0 <= page && page + 0x1000 <= claim.1;
                let want = list
                    .iter()
                    .filter(|claim| if claim.2 == Usable { fills(claim) } else { touches(claim) })
                    .map(|claim| claim.2)
                    .max_by_key(|&kind| strength(kind));
                let got = map.iter().find(|region| region.0 <= page && page < region.1).map(|region| region.2);
                assert_eq!(got, want, "page {page:#x} of {list:x?}");
            }
        }
    }
}
