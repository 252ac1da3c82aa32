//! The I/O APIC: routes an interrupt line of a device to a core and a vector.
//!
//! Two registers in memory: one selects, the other is the selected one. Only the owner of a device
//! changes its line, once, at its first use.

use bitflags::bitflags;
use trefoil_boot::acpi::Route;

use super::lock::Lock;
use super::phys::phys_to_virt;

const VERSION: u32 = 1;
const REDIRECTION: u32 = 0x10;

bitflags! {
    /// The first half of a redirection entry, beside the vector.
    struct Line: u32 {
        const ACTIVE_LOW = 1 << 13;
        const LEVEL = 1 << 15;
    }
}

/// Selecting and reading take two accesses.
static WINDOW: Lock<()> = Lock::new(());

struct Registers(*mut u8);

impl Registers {
    fn select(&self, register: u32) -> *mut u32 {
        // SAFETY: an I/O APIC has its two registers here, and the physical map covers them
        // (`acpi::isa_route` has checked).
        unsafe {
            self.0.cast::<u32>().write_volatile(register);
            self.0.add(0x10).cast()
        }
    }

    fn read(&self, register: u32) -> u32 {
        // SAFETY: `select` returns the data register of an I/O APIC, which the physical map covers.
        // The callers hold `WINDOW`, so it shows `register`.
        unsafe { self.select(register).read_volatile() }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: `select` returns the data register of an I/O APIC, which the physical map covers.
        // The callers hold `WINDOW`, so it shows `register`.
        unsafe { self.select(register).write_volatile(value) };
    }
}

/// Connects the line of `route` to the core with this APIC id, on `vector`. Returns false if there
/// is no such line.
#[must_use]
pub fn connect(route: Route, vector: u8, lapic_id: u32) -> bool {
    let _window = WINDOW.lock();
    let io_apic = Registers(phys_to_virt(u64::from(route.io_apic)));
    // All ones where nothing answers.
    let last = io_apic.read(VERSION) >> 16 & 0xff;
    if last == 0xff || route.pin > last || lapic_id > 0xff {
        return false;
    }
    let mut line = Line::empty();
    line.set(Line::ACTIVE_LOW, route.active_low);
    line.set(Line::LEVEL, route.level);
    // The second half first: the first one unmasks it.
    io_apic.write(REDIRECTION + 2 * route.pin + 1, lapic_id << 24);
    io_apic.write(REDIRECTION + 2 * route.pin, u32::from(vector) | line.bits());
    true
}
