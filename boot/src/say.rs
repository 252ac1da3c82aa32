//! Boot's own voice: lines on the first serial port, before there is a console.
//!
//! QEMU's port talks without being set up, and so does one that firmware has used. A port that
//! isn't there reads as ready.

use core::fmt::{self, Write};

use uart_16550::spec::registers::{LSR, offsets};
use x86_64::instructions::port::{PortReadOnly, PortWriteOnly};
use x86_64::instructions::{hlt, interrupts};

const PORT: u16 = 0x3f8;

/// How often boot polls a full transmitter before it gives a byte up.
const PATIENCE: u32 = 100_000;

/// QEMU's `isa-debug-exit` device, and the value that makes QEMU end with status 35.
const EXIT_PORT: u16 = 0xf4;
const EXIT_FAILURE: u32 = 0x11;

struct Serial;

impl Write for Serial {
    #[inline(never)]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            for _ in 0..PATIENCE {
                // SAFETY: the line status register, or nothing; reading it clears error bits that
                // no code looks at.
                let status = LSR::from_bits_retain(unsafe { PortReadOnly::new(PORT + offsets::LSR as u16).read() });
                if status.contains(LSR::THR_EMPTY) {
                    break;
                }
            }
            // SAFETY: the transmitter's register, or nothing.
            unsafe { PortWriteOnly::new(PORT).write(byte) };
        }
        Ok(())
    }
}

/// Names a defect; boot goes on.
pub fn warning(what: fmt::Arguments<'_>) {
    let _ = writeln!(Serial, "trefoil: boot: {what}");
}

/// Names a defect and ends the machine.
pub fn fatal(what: fmt::Arguments<'_>) -> ! {
    let _ = writeln!(Serial, "\ntrefoil: fatal: {what}\ntrefoil: end of report");
    // SAFETY: the debug-exit device or nothing.
    unsafe { PortWriteOnly::new(EXIT_PORT).write(EXIT_FAILURE) };
    interrupts::disable();
    loop {
        hlt();
    }
}
