//! The real-time clock: a battery's date and time, to the second.
//!
//! The clock counts by itself, and its registers change while they are read. Register A announces a
//! change 244 µs ahead, so a reader that sees no announcement has that time for a dozen reads. The
//! hard race is an interrupt, or a hypervisor, that delays the reader for longer. Therefore it
//! reads twice, and believes two equal readings only.
//!
//! An index port and a data port serve all registers: one core at a time reads them, and with
//! preemption off. Nobody waits under the lock for the change to be over.

use trefoil_boot::rtc::{
    DAY, HOUR, MINUTE, MONTH, Registers, SECOND, STATUS_A, STATUS_B, STATUS_D, UPDATES, VALID, YEAR,
};
use x86_64::instructions::port::{Port, PortWriteOnly};

use super::lock::Lock;
use super::{acpi, clock, percpu};

/// How long a clock may say that it changes: a change takes 2.2 ms at most.
const PATIENCE: u64 = 20_000_000;

/// Why the time of day is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// There is no clock.
    Absent,
    /// The clock was without power since it was set.
    Unset,
    /// The registers never stand still.
    Restless,
    /// The registers mean no moment.
    Nonsense,
}

/// A reading: the second since 1970, and the machine's clock at that moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Seconds since 1970.
    pub seconds: u64,
    /// Nanoseconds since boot.
    pub at: u64,
}

/// The index port and the data port.
struct Ports(PortWriteOnly<u8>, Port<u8>);

static PORTS: Lock<Ports> = Lock::new(Ports(PortWriteOnly::new(0x70), Port::new(0x71)));

impl Ports {
    /// Reads the register `index`. Bit 7 of the index would mask NMIs, by which a report stops the
    /// other cores: it is 0.
    fn register(&mut self, index: u8) -> u8 {
        // SAFETY: the ports of a PC's real-time clock, or nothing; the time registers and A to D
        // are read without an effect.
        unsafe {
            self.0.write(index & 0x7f);
            self.1.read()
        }
    }

    fn registers(&mut self, century: Option<u8>) -> Registers {
        Registers {
            second: self.register(SECOND),
            minute: self.register(MINUTE),
            hour: self.register(HOUR),
            day: self.register(DAY),
            month: self.register(MONTH),
            year: self.register(YEAR),
            century: century.map(|index| self.register(index)),
            status_b: self.register(STATUS_B),
        }
    }

    /// Reads all registers, if they stand still, with the machine's clock at that moment.
    fn at_rest(&mut self, century: Option<u8>) -> Option<(Registers, u64)> {
        if self.register(STATUS_A) & UPDATES != 0 {
            return None;
        }
        let first = self.registers(century);
        let at = clock::now();
        (self.registers(century) == first).then_some((first, at))
    }
}

/// Reads the clock. May yield while the registers change.
///
/// # Errors
/// There is no clock, or it does not know the time.
pub fn read() -> Result<Reading, Error> {
    // Without tables the machine is taken for a PC: ports without a device read as ones.
    let told = acpi::real_time_clock().unwrap_or_default();
    if told.is_absent {
        return Err(Error::Absent);
    }
    let status_d = PORTS.lock().register(STATUS_D);
    if status_d == 0xff {
        return Err(Error::Absent);
    }
    if status_d & VALID == 0 {
        return Err(Error::Unset);
    }
    let until = clock::now() + PATIENCE;
    loop {
        let rested = PORTS.lock().at_rest(told.century);
        if let Some((registers, at)) = rested {
            let seconds = registers.unix_seconds().ok_or(Error::Nonsense)?;
            return Ok(Reading { seconds, at });
        }
        if clock::now() > until {
            return Err(Error::Restless);
        }
        match percpu::may_park() {
            true => trefoil_sched::yield_now(),
            false => core::hint::spin_loop(),
        }
    }
}
