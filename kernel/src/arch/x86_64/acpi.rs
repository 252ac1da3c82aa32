//! ACPI on this machine: the tables through the physical map, and the faults that tests inject into
//! them.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use trefoil_boot::acpi::{Cores, Error, Memory, RealTimeClock, Route, Tables};
use trefoil_boot::options::Faults;

use super::cpu;
use super::phys::phys_to_virt;

/// The firmware's description of the machine.
#[derive(Debug)]
pub struct Machine {
    /// The cores; the first is this one.
    pub cores: Cores,
    /// Port of the PM timer.
    pub pm_timer: Option<u16>,
}

/// Physical memory through the physical map.
struct Physical {
    /// One past the highest address that is mapped.
    top: u64,
    faults: Faults,
    /// Damaged copies, kept so that references into them stay good.
    damaged: RefCell<Vec<&'static [u8]>>,
}

impl Memory for Physical {
    #[optimize(size)]
    fn bytes(&self, physical: u64, len: usize) -> Option<&[u8]> {
        if physical.checked_add(len as u64)? > self.top {
            return None;
        }
        // SAFETY: the physical map covers everything below `top`, and nobody writes to the
        // firmware's tables.
        let bytes: &[u8] = unsafe { core::slice::from_raw_parts(phys_to_virt(physical), len) };
        Some(self.damage(bytes).unwrap_or(bytes))
    }
}

impl Physical {
    fn tables(&self) -> Result<Tables<'_, Self>, Error> {
        Tables::new(FIRMWARE.0.load(Ordering::Relaxed), self)
    }

    /// Copies a whole table, with the fault that the command line asks for.
    #[optimize(size)]
    fn damage(&self, bytes: &[u8]) -> Option<&'static [u8]> {
        let rsdp = self.faults.rsdp_checksum && bytes.len() >= 20 && bytes.starts_with(b"RSD PTR ");
        let madt = bytes.len() > 44 && bytes.starts_with(b"APIC");
        if !(rsdp || madt && (self.faults.madt_checksum || self.faults.madt_truncated)) {
            return None;
        }
        let mut copy = bytes.to_vec();
        if madt && self.faults.madt_truncated {
            // Ends inside its last entry, with a checksum that is right.
            let len = copy.len();
            copy.truncate(len - 1);
            let sum = copy.iter().fold(0u8, |s, &b| s.wrapping_add(b));
            copy[9] = copy[9].wrapping_sub(sum);
        } else {
            copy[9] ^= 0xff;
        }
        let copy: &'static [u8] = copy.leak();
        self.damaged.borrow_mut().push(copy);
        Some(copy)
    }
}

/// Where the tables begin (0: they are not looked for), and one past the highest address that is
/// mapped: for those who look again later.
static FIRMWARE: (AtomicU64, AtomicU64) = (AtomicU64::new(0), AtomicU64::new(0));

/// Routes the line `irq` of the old PC's interrupt controllers. Reads the tables anew: only
/// programs that need a device call this.
///
/// # Errors
/// The defect of the tables, or the entry missing in them.
pub fn isa_route(irq: u8) -> Result<Route, Error> {
    let memory = again()?;
    let route = memory.tables()?.isa_route(irq)?;
    // The registers must be mapped.
    if u64::from(route.io_apic) + 0x1000 > memory.top { Err(Error::Missing("I/O APIC")) } else { Ok(route) }
}

/// Returns what the firmware tells of the real-time clock. Reads the tables anew, as [`isa_route`].
///
/// # Errors
/// The defect of the tables.
pub fn real_time_clock() -> Result<RealTimeClock, Error> {
    again()?.tables()?.real_time_clock()
}

/// Returns the memory in which the tables lie, if they were found at boot.
fn again() -> Result<Physical, Error> {
    match FIRMWARE.0.load(Ordering::Relaxed) {
        0 => Err(Error::Missing("RSDP")),
        _ => Ok(Physical {
            top: FIRMWARE.1.load(Ordering::Relaxed),
            faults: Faults::default(),
            damaged: RefCell::new(Vec::new()),
        }),
    }
}

/// Reads the tables. Reports a defect by `say`, and the machine goes on with the known part: at
/// least this core.
pub fn read(rsdp: Option<u64>, memory_top: u64, faults: Faults, say: fn(fmt::Arguments<'_>)) -> Machine {
    let alone = || Machine { cores: Cores::only(cpu::initial_apic_id()), pm_timer: None };
    let Some(rsdp) = rsdp.filter(|_| !faults.no_acpi) else {
        say(format_args!("trefoil: acpi: no tables found; running on the boot core alone"));
        return alone();
    };
    let top = memory_top.max(4 << 30);
    FIRMWARE.0.store(rsdp, Ordering::Relaxed);
    FIRMWARE.1.store(top, Ordering::Relaxed);
    let memory = Physical { top, faults, damaged: RefCell::new(Vec::new()) };
    let tables = match Tables::new(rsdp, &memory) {
        Ok(tables) => tables,
        Err(error) => {
            say(format_args!("trefoil: acpi: {error}; running on the boot core alone"));
            return alone();
        }
    };
    let mut machine = alone();
    match tables.cores() {
        Ok(mut cores) => {
            cores.put_first(cpu::initial_apic_id());
            machine.cores = cores;
        }
        Err(error) => say(format_args!("trefoil: acpi: {error}; running on the boot core alone")),
    }
    if machine.cores.beyond > 0 {
        say(format_args!("trefoil: acpi: {} cores beyond the 64th are left out", machine.cores.beyond));
    }
    // Hardware-reduced machines have no PM timer, and some no FADT: the PIT serves.
    machine.pm_timer = match tables.pm_timer() {
        Ok(port) => port,
        Err(Error::Missing(_)) => None,
        Err(error) => {
            say(format_args!("trefoil: acpi: {error}; doing without the PM timer"));
            None
        }
    };
    machine
}
