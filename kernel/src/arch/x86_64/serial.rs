//! The first serial port: a 16550 at 0x3f8, polled.
//!
//! Everybody who writes ends here: the console under its lock, and the report path under none. So there is no state but one flag.

use core::sync::atomic::{AtomicBool, Ordering};

use super::cpu::{inb, outb};

const PORT: u16 = 0x3f8;

/// How often a full transmitter is asked before a byte is given up.
const PATIENCE: u32 = 100_000;

static PRESENT: AtomicBool = AtomicBool::new(false);

/// Sets the port to 115200 8N1 with FIFOs, if it is there.
pub fn init() {
    // SAFETY: 0x3f8 to 0x3ff are the first serial port or nothing.
    unsafe {
        outb(PORT + 7, 0x5a);
        if inb(PORT + 7) != 0x5a {
            return;
        }
        outb(PORT + 1, 0);
        outb(PORT + 3, 0x80);
        outb(PORT, 1);
        outb(PORT + 1, 0);
        outb(PORT + 3, 3);
        outb(PORT + 2, 0xc7);
        outb(PORT + 4, 0x0b);
    }
    PRESENT.store(true, Ordering::Relaxed);
}

/// Sends one byte; gives it up if the transmitter stays full. Takes no lock.
pub fn put(byte: u8) {
    if !PRESENT.load(Ordering::Relaxed) {
        return;
    }
    for _ in 0..PATIENCE {
        // SAFETY: the line status register; reading it clears error bits that nobody looks at.
        if unsafe { inb(PORT + 5) } & 0x20 != 0 {
            break;
        }
        core::hint::spin_loop();
    }
    // SAFETY: the transmitter's register.
    unsafe { outb(PORT, byte) };
}

/// Sends text, with line ends as terminals want them.
pub fn put_str(s: &str) {
    for byte in s.bytes() {
        put(byte);
    }
}
