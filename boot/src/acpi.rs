//! ACPI's static tables, read as bytes that may lie.
//!
//! ```text
//!   RSDP ──► XSDT (8-byte pointers; revision 2) ──► MADT "APIC": which cores there are
//!       └──► RSDT (4-byte pointers; revision 0)  └─► FADT "FACP": where the PM timer is
//! ```
//!
//! The layouts come from the `acpi` crate. Its walk over the tables is not used, since the walk
//! follows addresses and lengths without bounds. An MADT entry of length 0 loops for ever. A table
//! whose length is below its header's wraps around. An RSDP with a wrong checksum is logged and
//! believed. The crate's `Handler` wants some 25 functions that no static table needs. Here every
//! access goes through [`Memory`], which refuses absent memory, so a malformed table ends in an
//! [`Error`] that names it.

use core::fmt;
use core::mem::{offset_of, size_of};

use acpi::rsdp::Rsdp;
use acpi::sdt::SdtHeader;
use acpi::sdt::fadt::Fadt;
use acpi::sdt::madt::{EntryHeader, InterruptSourceOverrideEntry, IoApicEntry, LocalApicEntry, LocalX2ApicEntry, Madt};
use heapless::Vec;

use crate::options::MAX_CORES;

/// No table of ours is longer; a length above this is a lie.
const TABLE_BYTES_MAX: usize = 64 << 10;

/// The bytes of the RSDP that both revisions have.
const RSDP_V1_BYTES: usize = offset_of!(Rsdp, length);

/// Physical memory, or a test's idea of it.
pub trait Memory {
    /// Returns the `len` bytes at `physical`, or `None` if some of them can't be read.
    fn bytes(&self, physical: u64, len: usize) -> Option<&[u8]>;
}

/// A defect of a table; each variant names the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The table lies where there is no memory.
    Unreadable(&'static str),
    /// The table does not begin with its signature.
    Signature(&'static str),
    /// The table's length is too small for its fixed part, or absurdly large.
    Length(&'static str),
    /// The table's bytes do not add up to zero.
    Checksum(&'static str),
    /// An entry in the table has an impossible length.
    Entry(&'static str),
    /// No pointer leads to the table.
    Missing(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(table) => write!(f, "{table} lies outside memory"),
            Self::Signature(table) => write!(f, "{table} has a wrong signature"),
            Self::Length(table) => write!(f, "{table} is truncated or has an impossible length"),
            Self::Checksum(table) => write!(f, "{table} has a bad checksum"),
            Self::Entry(table) => write!(f, "{table} has an entry of impossible length"),
            Self::Missing(table) => write!(f, "there is no {table}"),
        }
    }
}

/// The tables of a machine whose RSDP and RSDT or XSDT are sound.
pub struct Tables<'m, M> {
    memory: &'m M,
    pointers: &'m [u8],
    pointer_bytes: usize,
}

impl<M> fmt::Debug for Tables<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("count", &(self.pointers.len() / self.pointer_bytes)).finish_non_exhaustive()
    }
}

impl<'m, M: Memory> Tables<'m, M> {
    /// Follows the RSDP at `rsdp` to the RSDT or XSDT and checks both.
    ///
    /// # Errors
    /// The defect of the RSDP, or of the root table it points to.
    pub fn new(rsdp: u64, memory: &'m M) -> Result<Self, Error> {
        let v1 = memory.bytes(rsdp, RSDP_V1_BYTES).ok_or(Error::Unreadable("RSDP"))?;
        if !v1.starts_with(b"RSD PTR ") {
            return Err(Error::Signature("RSDP"));
        }
        if sum(v1) != 0 {
            return Err(Error::Checksum("RSDP"));
        }
        let xsdt = if v1[offset_of!(Rsdp, revision)] >= 2 { Self::xsdt_address(rsdp, memory)? } else { 0 };
        let (name, signature, address, pointer_bytes) = match xsdt {
            0 => ("RSDT", b"RSDT", u64::from(le32(v1, offset_of!(Rsdp, rsdt_address))), 4),
            _ => ("XSDT", b"XSDT", xsdt, 8),
        };
        let table = table(memory, address, signature, name)?;
        Ok(Self { memory, pointers: &table[size_of::<SdtHeader>()..], pointer_bytes })
    }

    /// Returns the address of the XSDT in a revision 2 RSDP; 0 if there is none.
    fn xsdt_address(rsdp: u64, memory: &M) -> Result<u64, Error> {
        let v2 = memory.bytes(rsdp, size_of::<Rsdp>()).ok_or(Error::Unreadable("RSDP"))?;
        let length = le32(v2, offset_of!(Rsdp, length)) as usize;
        if !(size_of::<Rsdp>()..=256).contains(&length) {
            return Err(Error::Length("RSDP"));
        }
        let all = memory.bytes(rsdp, length).ok_or(Error::Unreadable("RSDP"))?;
        if sum(all) != 0 {
            return Err(Error::Checksum("RSDP"));
        }
        Ok(le64(all, offset_of!(Rsdp, xsdt_address)))
    }

    /// Returns the physical address of the first table with this signature. Passes over pointers to
    /// nowhere.
    pub fn find(&self, signature: &[u8; 4]) -> Option<u64> {
        self.pointers
            .chunks_exact(self.pointer_bytes)
            .map(|p| if p.len() == 4 { u64::from(le32(p, 0)) } else { le64(p, 0) })
            .find(|&address| self.memory.bytes(address, 4).is_some_and(|s| s == signature))
    }

    /// Returns the cores that the MADT calls usable.
    ///
    /// # Errors
    /// The defect of the MADT.
    pub fn cores(&self) -> Result<Cores, Error> {
        let mut cores = Cores::default();
        for entry in self.madt()? {
            let entry = entry?;
            let length = entry.len();
            let (id, flags) = match entry[0] {
                LOCAL_APIC if length >= size_of::<LocalApicEntry>() => (
                    match entry[offset_of!(LocalApicEntry, apic_id)] {
                        0xff => continue,
                        id => u32::from(id),
                    },
                    le32(entry, offset_of!(LocalApicEntry, flags)),
                ),
                LOCAL_X2APIC if length >= size_of::<LocalX2ApicEntry>() => (
                    match le32(entry, offset_of!(LocalX2ApicEntry, x2apic_id)) {
                        u32::MAX => continue,
                        id => id,
                    },
                    le32(entry, offset_of!(LocalX2ApicEntry, flags)),
                ),
                LOCAL_APIC | LOCAL_X2APIC => return Err(Error::Entry(MADT)),
                _ => continue,
            };
            if flags & ENABLED != 0 {
                cores.add(id);
            }
        }
        Ok(cores)
    }

    /// Returns the MADT's entries.
    fn madt(&self) -> Result<Entries<'m>, Error> {
        let address = self.find(b"APIC").ok_or(Error::Missing(MADT))?;
        let madt = table(self.memory, address, b"APIC", MADT)?;
        Ok(Entries(madt.get(size_of::<Madt>()..).ok_or(Error::Length(MADT))?))
    }

    /// Routes the line `irq` of the old PC's interrupt controllers: to the I/O APIC input of the
    /// same number, edge-triggered and active high, unless the MADT overrides that.
    ///
    /// # Errors
    /// The defect of the MADT; or no I/O APIC has that input.
    pub fn isa_route(&self, irq: u8) -> Result<Route, Error> {
        let (mut input, mut flags) = (u32::from(irq), 0);
        for entry in self.madt()? {
            let entry = entry?;
            match entry[0] {
                OVERRIDE if entry.len() < size_of::<InterruptSourceOverrideEntry>() => return Err(Error::Entry(MADT)),
                OVERRIDE
                    if entry[offset_of!(InterruptSourceOverrideEntry, bus)] == 0
                        && entry[offset_of!(InterruptSourceOverrideEntry, irq)] == irq =>
                {
                    input = le32(entry, offset_of!(InterruptSourceOverrideEntry, global_system_interrupt));
                    flags = entry[offset_of!(InterruptSourceOverrideEntry, flags)];
                }
                _ => {}
            }
        }
        // Take the I/O APIC with the highest first input that is not above the wanted one.
        let mut best: Option<(u32, u32)> = None;
        for entry in self.madt()? {
            let entry = entry?;
            match entry[0] {
                IO_APIC if entry.len() < size_of::<IoApicEntry>() => return Err(Error::Entry(MADT)),
                IO_APIC => {
                    let base = le32(entry, offset_of!(IoApicEntry, global_system_interrupt_base));
                    if base <= input && best.is_none_or(|(other, _)| other <= base) {
                        best = Some((base, le32(entry, offset_of!(IoApicEntry, io_apic_address))));
                    }
                }
                _ => {}
            }
        }
        let (base, io_apic) = best.ok_or(Error::Missing("I/O APIC"))?;
        Ok(Route { io_apic, pin: input - base, active_low: flags & 0b11 == 0b11, level: flags >> 2 & 0b11 == 0b11 })
    }

    /// Returns the I/O port of the PM timer, if the FADT names one.
    ///
    /// # Errors
    /// The defect of the FADT.
    pub fn pm_timer(&self) -> Result<Option<u16>, Error> {
        const AT: usize = offset_of!(Fadt, pm_timer_block);
        let fadt = self.fadt()?;
        if fadt.len() < AT + 4 {
            return Err(Error::Length(FADT));
        }
        Ok(u16::try_from(le32(fadt, AT)).ok().filter(|&port| port != 0))
    }

    /// Returns what the FADT tells of the real-time clock.
    ///
    /// # Errors
    /// The defect of the FADT.
    pub fn real_time_clock(&self) -> Result<RealTimeClock, Error> {
        const FLAGS: usize = offset_of!(Fadt, iapc_boot_arch);
        let fadt = self.fadt()?;
        // The first revision of the table ends before the flags.
        let flags = fadt.get(FLAGS..FLAGS + 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        let century = fadt.get(offset_of!(Fadt, century)).copied();
        Ok(RealTimeClock {
            is_absent: flags & NO_RTC != 0,
            century: century.filter(|index| (0x0e..0x80).contains(index)),
        })
    }

    fn fadt(&self) -> Result<&'m [u8], Error> {
        let address = self.find(b"FACP").ok_or(Error::Missing(FADT))?;
        table(self.memory, address, b"FACP", FADT)
    }
}

/// The FADT's words about the real-time clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RealTimeClock {
    /// The machine has none.
    pub is_absent: bool,
    /// The index of the register with the century.
    pub century: Option<u8>,
}

/// The route of an interrupt line: an I/O APIC and one of its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Physical address of the I/O APIC's registers.
    pub io_apic: u32,
    /// The input of the I/O APIC.
    pub pin: u32,
    /// The line is active when it is low.
    pub active_low: bool,
    /// The line is level-triggered: active as long as the device wants something, instead of once.
    pub level: bool,
}

/// The entries behind the MADT's header. Each begins with its kind and length, and is checked to
/// lie within the table.
struct Entries<'m>(&'m [u8]);

impl<'m> Iterator for Entries<'m> {
    type Item = Result<&'m [u8], Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let length = self.0.get(offset_of!(EntryHeader, length)).map_or(0, |&length| usize::from(length));
        if length < size_of::<EntryHeader>() || length > self.0.len() {
            self.0 = &[];
            return Some(Err(Error::Entry(MADT)));
        }
        let (entry, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(Ok(entry))
    }
}

const MADT: &str = "MADT";
const FADT: &str = "FADT";
/// Bit of the FADT's flags: there is no real-time clock.
const NO_RTC: u16 = 1 << 5;
const IO_APIC: u8 = 1;
const OVERRIDE: u8 = 2;
const LOCAL_APIC: u8 = 0;
const LOCAL_X2APIC: u8 = 9;
const ENABLED: u32 = 1;

/// APIC ids of the usable cores, in the MADT's order, each once.
#[derive(Debug, Clone, Default)]
pub struct Cores {
    ids: Vec<u32, MAX_CORES>,
    /// How many usable cores found no room.
    pub beyond: usize,
}

impl Cores {
    /// Makes a list of just the core with this id.
    pub fn only(id: u32) -> Self {
        let mut cores = Self::default();
        cores.add(id);
        cores
    }

    /// Returns the ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Makes `id` the first, adding it if need be.
    pub fn put_first(&mut self, id: u32) {
        if !self.ids.contains(&id) {
            if self.ids.is_full() {
                self.ids.pop();
                self.beyond += 1;
            }
            self.add(id);
        }
        if let Some(at) = self.ids.iter().position(|&other| other == id) {
            self.ids[..=at].rotate_right(1);
        }
    }

    fn add(&mut self, id: u32) {
        if !self.ids.contains(&id) && self.ids.push(id).is_err() {
            self.beyond += 1;
        }
    }
}

/// Returns the whole table at `address`, after a check of its signature, length and checksum.
fn table<'m>(
    memory: &'m impl Memory,
    address: u64,
    signature: &[u8; 4],
    name: &'static str,
) -> Result<&'m [u8], Error> {
    let header = memory.bytes(address, size_of::<SdtHeader>()).ok_or(Error::Unreadable(name))?;
    if !header.starts_with(signature) {
        return Err(Error::Signature(name));
    }
    let length = le32(header, offset_of!(SdtHeader, length)) as usize;
    if !(size_of::<SdtHeader>()..=TABLE_BYTES_MAX).contains(&length) {
        return Err(Error::Length(name));
    }
    let all = memory.bytes(address, length).ok_or(Error::Unreadable(name))?;
    if sum(all) != 0 {
        return Err(Error::Checksum(name));
    }
    Ok(all)
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(core::array::from_fn(|i| bytes[at + i]))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
#[path = "acpi/tests.rs"]
mod tests;
