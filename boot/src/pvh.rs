//! The data that a PVH loader leaves in memory, read as bytes that may lie.
//!
// ANCHOR: info
//! ```text
//!   ebx ──► start info ─┬─► memory map    24 bytes an entry: start, length, type
//!                       ├─► module list   32 bytes an entry: start, length, its command line
//!                       ├─► command line  ends with a zero
//!                       └─► RSDP
//! ```
// ANCHOR_END: info
//!
//! Every pointer and count is input like any other. [`Memory`] reads the target and refuses
//! addresses out of reach, and an error names each defect. A pointer of 0 means that the part is
//! absent.

use core::fmt;

use bootloader_api::info::MemoryRegionKind;
use heapless::VecView;

use crate::acpi::Memory;

/// The start info's first four bytes.
pub const MAGIC: u32 = 0x336e_c578;

/// Bytes of a start info that has a memory map (version 1).
pub const START_INFO_BYTES: usize = 56;
/// Bytes of an entry of its memory map.
pub const MEMORY_ENTRY_BYTES: usize = 24;
/// Bytes of an entry of its module list.
pub const MODULE_ENTRY_BYTES: usize = 32;
/// More entries than this in a memory map are a lie.
pub const MEMORY_ENTRIES_MAX: u32 = 256;

/// The type of a memory map's entry that means RAM.
const RAM: u32 = 1;
/// One that means reserved.
const RESERVED: u32 = 2;

/// Why there is no going on with a start info.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The structure ends early, or lies where it can't be read.
    Truncated,
    /// The magic number is another.
    Magic(u32),
    /// Version 0 has no memory map.
    Version(u32),
    /// The memory map has no entries, or absurdly many.
    MemoryEntries(u32),
    /// The memory map lies where it can't be read.
    MemoryMap(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PVH start info: ")?;
        match self {
            Self::Truncated => f.write_str("truncated or out of reach"),
            Self::Magic(magic) => write!(f, "magic number {magic:#x} instead of {MAGIC:#x}"),
            Self::Version(version) => write!(f, "version {version} has no memory map"),
            Self::MemoryEntries(n) => write!(f, "a memory map of {n} entries (1 to {MEMORY_ENTRIES_MAX} are believed)"),
            Self::MemoryMap(at) => write!(f, "the memory map at {at:#x} is out of reach"),
        }
    }
}

/// A defect that boot can go on with. Addresses are physical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// An entry of the memory map wraps around the end of the address space.
    MemoryEntry {
        /// Which.
        index: usize,
        /// Where it starts.
        start: u64,
        /// How long it claims to be.
        len: u64,
    },
    /// The module list lies where it can't be read.
    ModuleList(u64),
    /// The module is not in RAM, or lies over the image.
    Module {
        /// Where it starts.
        start: u64,
        /// How long it claims to be.
        len: u64,
    },
    /// There are this many modules, and only the first is used.
    Modules(u32),
    /// The command line is longer than there is room for, or runs out of reach.
    CommandLine(usize),
    /// There is no sound RSDP where the loader says.
    Rsdp(u64),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemoryEntry { index, start, len } => {
                write!(
                    f,
                    "memory map: entry {index} wraps around ({start:#x}, {len:#x} bytes); ignored where it is RAM"
                )
            }
            Self::ModuleList(at) => write!(f, "module list at {at:#x} is out of reach; ignored"),
            Self::Module { start, len } => {
                write!(f, "module at {start:#x} ({len:#x} bytes) is not in free memory; ignored")
            }
            Self::Modules(n) => write!(f, "{n} modules; only the first is used"),
            Self::CommandLine(kept) => write!(f, "command line cut after {kept} bytes"),
            Self::Rsdp(at) => write!(f, "no ACPI RSDP at {at:#x}, where the loader puts it; searching"),
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

/// Where a module is and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// Physical address.
    pub start: u64,
    /// Bytes.
    pub len: u64,
}

impl Module {
    /// Returns the address one past its last byte, unless that wraps around.
    pub fn end(&self) -> Option<u64> {
        self.start.checked_add(self.len)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

impl StartInfo {
    /// Reads the structure from its bytes.
    ///
    /// # Errors
    /// The defect of the structure.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let number = |at| u32_at(bytes, at).ok_or(Error::Truncated);
        let address = |at| u64_at(bytes, at).ok_or(Error::Truncated);
        let magic = number(0)?;
        if magic != MAGIC {
            return Err(Error::Magic(magic));
        }
        let version = number(4)?;
        if version == 0 {
            return Err(Error::Version(version));
        }
        let it = Self {
            modules: number(12)?,
            module_list: address(16)?,
            command_line: address(24)?,
            rsdp: address(32)?,
            memory_map: address(40)?,
            memory_entries: number(48)?,
        };
        if it.memory_entries == 0 || it.memory_entries > MEMORY_ENTRIES_MAX {
            return Err(Error::MemoryEntries(it.memory_entries));
        }
        Ok(it)
    }

    /// Calls `take` with each entry of the memory map that is not empty. One that wraps around
    /// still reserves what lies up to the end of the address space, but is no RAM.
    ///
    /// # Errors
    /// The map is out of reach.
    pub fn memory_map(
        &self,
        memory: &impl Memory,
        flaw: &mut dyn FnMut(Flaw),
        take: &mut dyn FnMut(u64, u64, MemoryRegionKind),
    ) -> Result<(), Error> {
        let len = self.memory_entries as usize * MEMORY_ENTRY_BYTES;
        let map = memory.bytes(self.memory_map, len).ok_or(Error::MemoryMap(self.memory_map))?;
        for (index, entry) in map.chunks_exact(MEMORY_ENTRY_BYTES).enumerate() {
            let (Some(start), Some(len), Some(kind)) = (u64_at(entry, 0), u64_at(entry, 8), u32_at(entry, 16)) else {
                return Err(Error::MemoryMap(self.memory_map));
            };
            let end = start.checked_add(len);
            if end.is_none() {
                flaw(Flaw::MemoryEntry { index, start, len });
            }
            match (kind, end) {
                (_, Some(end)) if end == start => {}
                (RAM, Some(end)) => take(start, end, MemoryRegionKind::Usable),
                (RAM, None) => {}
                // Type 0 means nothing; it is not left to look like RAM.
                (kind, end) => take(start, end.unwrap_or(u64::MAX), MemoryRegionKind::UnknownBios(kind.max(RESERVED))),
            }
        }
        Ok(())
    }

    /// Returns the first module, at the address in the module list.
    pub fn module(&self, memory: &impl Memory, flaw: &mut dyn FnMut(Flaw)) -> Option<Module> {
        if self.modules == 0 {
            return None;
        }
        if self.modules > 1 {
            flaw(Flaw::Modules(self.modules));
        }
        let entry = memory.bytes(self.module_list, MODULE_ENTRY_BYTES);
        let module = entry.and_then(|entry| Some(Module { start: u64_at(entry, 0)?, len: u64_at(entry, 8)? }));
        if module.is_none() {
            flaw(Flaw::ModuleList(self.module_list));
        }
        module
    }

    /// Copies the command line to the empty `room`, without its zero.
    pub fn command_line(&self, memory: &impl Memory, flaw: &mut dyn FnMut(Flaw), room: &mut VecView<u8>) {
        if self.command_line == 0 {
            return;
        }
        // Byte by byte: how much may be read is known only when the zero has been seen.
        let byte =
            |at: usize| self.command_line.checked_add(at as u64).and_then(|at| memory.bytes(at, 1)).map(|b| b[0]);
        loop {
            match byte(room.len()) {
                Some(0) => return,
                Some(byte) if room.push(byte).is_ok() => {}
                _ => return flaw(Flaw::CommandLine(room.len())),
            }
        }
    }
}

#[cfg(test)]
mod tests;
