//! Boot's own voice: lines on the first serial port, before there is a console.
//!
//! QEMU's port talks without being set up, and so does one that firmware has used. A port that
//! isn't there reads as ready.

use core::arch::asm;
use core::fmt::{self, Write};

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
                let status: u8;
                // SAFETY: the line status register, or nothing; reading it clears error bits that
                // no code looks at.
                unsafe {
                    asm!("in al, dx", in("dx") PORT + 5, out("al") status, options(nomem, nostack, preserves_flags))
                };
                if status & 0x20 != 0 {
                    break;
                }
            }
            // SAFETY: the transmitter's register, or nothing.
            unsafe { asm!("out dx, al", in("dx") PORT, in("al") byte, options(nomem, nostack, preserves_flags)) };
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
    loop {
        // SAFETY: the debug-exit device or nothing; then this core stops, with interrupts off, for
        // good.
        unsafe {
            asm!("out dx, eax", "cli", "hlt", in("dx") EXIT_PORT, in("eax") EXIT_FAILURE, options(nomem, nostack))
        };
    }
}
