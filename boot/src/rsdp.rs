//! Where ACPI begins: the RSDP, checked where the loader says that it is, else searched for where
//! PCs keep it.

use crate::acpi::Memory;

/// The part that all revisions have, and that the first checksum covers.
const BYTES: usize = 20;

/// The RSDP starts on such a boundary.
const ALIGNMENT: usize = 16;

/// The BIOS area, and the word below 1 MiB that holds the segment of the extended BIOS data area
/// (EBDA).
const BIOS_AREA: (u64, usize) = (0xe_0000, 0x2_0000);
const EBDA_SEGMENT: u64 = 0x40e;
const EBDA_BYTES: usize = 1024;

/// Returns true if `bytes` begin with a sound RSDP.
pub fn is_sound(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RSD PTR ")
        && bytes.get(..BYTES).is_some_and(|all| all.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)) == 0)
}

/// Returns true if there is a sound RSDP at this physical address.
pub fn is_at(memory: &impl Memory, physical: u64) -> bool {
    memory.bytes(physical, BYTES).is_some_and(is_sound)
}

/// Looks through the first KiB of the EBDA, then the BIOS area: about 8,000 places in all.
pub fn search(memory: &impl Memory) -> Option<u64> {
    let segment = memory.bytes(EBDA_SEGMENT, 2).map_or(0, |word| u16::from_le_bytes([word[0], word[1]]));
    [(u64::from(segment) << 4, EBDA_BYTES), BIOS_AREA].into_iter().find_map(|(from, len)| {
        let bytes = memory.bytes(from, len)?;
        let places = (0..len).step_by(ALIGNMENT);
        places.into_iter().find(|&at| is_sound(&bytes[at..])).map(|at| from + at as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct FirstMebibyte(Vec<u8>);

    impl Memory for FirstMebibyte {
        fn bytes(&self, physical: u64, len: usize) -> Option<&[u8]> {
            self.0.get(physical as usize..)?.get(..len)
        }
    }

    fn empty() -> FirstMebibyte {
        FirstMebibyte(vec![0; 1 << 20])
    }

    fn put(memory: &mut FirstMebibyte, at: usize) {
        let rsdp = &mut memory.0[at..at + BYTES];
        rsdp[..8].copy_from_slice(b"RSD PTR ");
        rsdp[9..15].copy_from_slice(b"TREFOI");
        rsdp[8] = rsdp.iter().fold(0u8, |sum, &byte| sum.wrapping_sub(byte));
    }

    #[test]
    fn it_is_found_in_the_bios_area_up_to_its_last_place() {
        for at in [0xe_0000, 0xf_5a10, 0xf_ffe0] {
            let mut memory = empty();
            put(&mut memory, at);
            assert_eq!(search(&memory), Some(at as u64));
        }
    }

    #[test]
    fn it_is_found_in_the_ebda_first() {
        let mut memory = empty();
        memory.0[0x40e..0x410].copy_from_slice(&0x9fc0u16.to_le_bytes());
        put(&mut memory, 0xf_0000);
        put(&mut memory, 0x9_fc40);
        assert_eq!(search(&memory), Some(0x9_fc40));
    }

    #[test]
    fn a_wrong_checksum_or_place_is_passed_over() {
        let mut memory = empty();
        put(&mut memory, 0xe_0008);
        put(&mut memory, 0xe_1000);
        memory.0[0xe_1000 + 12] ^= 1;
        assert_eq!(search(&memory), None);
        put(&mut memory, 0xf_0000);
        assert_eq!(search(&memory), Some(0xf_0000));
    }

    #[test]
    fn one_cut_off_by_the_end_of_memory_is_not_read() {
        let mut memory = empty();
        let end = memory.0.len();
        memory.0[end - 16..end - 8].copy_from_slice(b"RSD PTR ");
        assert_eq!(search(&memory), None);
        for physical in [end as u64 - 16, end as u64, u64::MAX] {
            assert!(!is_at(&memory, physical));
        }
    }

    #[test]
    fn an_ebda_segment_that_points_nowhere_does_no_harm() {
        let mut memory = empty();
        memory.0[0x40e..0x410].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(search(&memory), None);
        assert_eq!(search(&FirstMebibyte(vec![0; 0x400])), None);
    }
}
