//! What a PVH loader leaves in memory: `hvm_start_info`, its memory map and its modules, read as bytes.
//!
//! The loader's structures are input like any other: every read is bounds-checked against the bytes that the caller could
//! reach, and what is wrong is named.

use core::fmt;

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};

/// `hvm_start_info.magic`.
pub const MAGIC: u32 = 0x336e_c578;

/// Bytes of a version 1 `hvm_start_info`.
pub const START_INFO_BYTES: usize = 56;
/// Bytes of an entry of its memory map.
pub const MEMORY_ENTRY_BYTES: usize = 24;
/// Bytes of a module entry.
pub const MODULE_ENTRY_BYTES: usize = 32;
/// More entries than this in a memory map are a lie.
pub const MEMORY_ENTRIES_MAX: u32 = 512;

/// Why the start info can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The structure ends early.
    Truncated,
    /// The magic number is another.
    Magic(u32),
    /// Version 0 has no memory map.
    Version(u32),
    /// The memory map has no entries, or absurdly many.
    MemoryEntries(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("PVH start info: truncated"),
            Self::Magic(magic) => write!(f, "PVH start info: magic {magic:#x} instead of {MAGIC:#x}"),
            Self::Version(version) => write!(f, "PVH start info: version {version} has no memory map"),
            Self::MemoryEntries(n) => write!(f, "PVH start info: a memory map of {n} entries"),
        }
    }
}

/// The start info's fields that matter here; addresses are physical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartInfo {
    /// How many modules.
    pub modules: u32,
    /// Where their entries are.
    pub module_list: u64,
    /// The command line, a zero-terminated string; 0: none.
    pub command_line: u64,
    /// The ACPI RSDP; 0: not told.
    pub rsdp: u64,
    /// Where the memory map is.
    pub memory_map: u64,
    /// Its entries.
    pub memory_entries: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Error> {
    let field = bytes.get(at..at + 4).ok_or(Error::Truncated)?;
    Ok(u32::from_le_bytes([field[0], field[1], field[2], field[3]]))
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Error> {
    Ok(u64::from(u32_at(bytes, at)?) | u64::from(u32_at(bytes, at + 4)?) << 32)
}

impl StartInfo {
    /// Reads the structure.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let magic = u32_at(bytes, 0)?;
        if magic != MAGIC {
            return Err(Error::Magic(magic));
        }
        let version = u32_at(bytes, 4)?;
        if version == 0 {
            return Err(Error::Version(version));
        }
        let it = Self {
            modules: u32_at(bytes, 12)?,
            module_list: u64_at(bytes, 16)?,
            command_line: u64_at(bytes, 24)?,
            rsdp: u64_at(bytes, 32)?,
            memory_map: u64_at(bytes, 40)?,
            memory_entries: u32_at(bytes, 48)?,
        };
        if it.memory_entries == 0 || it.memory_entries > MEMORY_ENTRIES_MAX {
            return Err(Error::MemoryEntries(it.memory_entries));
        }
        Ok(it)
    }
}

/// The entries of a memory map; type 1 is RAM. Entries that are empty or wrap around the address space are left out.
pub fn memory_map(bytes: &[u8]) -> impl Iterator<Item = MemoryRegion> {
    bytes.chunks_exact(MEMORY_ENTRY_BYTES).filter_map(|entry| {
        let start = u64_at(entry, 0).ok()?;
        let end = start.checked_add(u64_at(entry, 8).ok()?)?;
        let kind = match u32_at(entry, 16).ok()? {
            1 => MemoryRegionKind::Usable,
            other => MemoryRegionKind::UnknownBios(other),
        };
        (start < end).then_some(MemoryRegion { start, end, kind })
    })
}

/// A module entry: where it is and how long.
///
/// # Errors
/// Truncated.
pub fn module(bytes: &[u8]) -> Result<(u64, u64), Error> {
    Ok((u64_at(bytes, 0)?, u64_at(bytes, 8)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_info() -> Vec<u8> {
        let mut bytes = vec![0u8; START_INFO_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4] = 1;
        bytes[12] = 2;
        bytes[16..24].copy_from_slice(&0x1234u64.to_le_bytes());
        bytes[32..40].copy_from_slice(&0xf_0000u64.to_le_bytes());
        bytes[48] = 7;
        bytes
    }

    #[test]
    fn a_good_start_info_is_read() {
        let it = StartInfo::parse(&start_info()).unwrap();
        assert_eq!((it.modules, it.module_list, it.rsdp, it.memory_entries), (2, 0x1234, 0xf_0000, 7));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = start_info();
        for n in 0..52 {
            assert!(StartInfo::parse(&bytes[..n]).is_err(), "{n} bytes were enough");
        }
    }

    #[test]
    fn a_wrong_magic_version_or_count_is_named() {
        let mut bytes = start_info();
        bytes[0] ^= 1;
        assert!(matches!(StartInfo::parse(&bytes), Err(Error::Magic(_))));
        let mut bytes = start_info();
        bytes[4] = 0;
        assert_eq!(StartInfo::parse(&bytes), Err(Error::Version(0)));
        let mut bytes = start_info();
        bytes[48..52].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(StartInfo::parse(&bytes), Err(Error::MemoryEntries(u32::MAX)));
        assert!(Error::MemoryEntries(u32::MAX).to_string().contains("4294967295"));
    }

    #[test]
    fn empty_and_wrapping_regions_are_left_out() {
        let mut bytes = Vec::new();
        for (start, len, kind) in [(0u64, 0x9_fc00u64, 1u32), (5, 0, 1), (u64::MAX, 2, 1), (0x10_0000, 0x1000, 2)] {
            bytes.extend(start.to_le_bytes());
            bytes.extend(len.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 4]);
        }
        bytes.extend([1; 10]); // a torn last entry
        let map: Vec<_> = memory_map(&bytes).collect();
        assert_eq!(map.len(), 2);
        assert_eq!((map[0].start, map[0].end, map[0].kind), (0, 0x9_fc00, MemoryRegionKind::Usable));
        assert_eq!(map[1].kind, MemoryRegionKind::UnknownBios(2));
    }
}
