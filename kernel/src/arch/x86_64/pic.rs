//! The two PICs: moved out of the exceptions' way and masked for good.

use x86_64::instructions::port::PortWriteOnly;

use super::exceptions::VECTOR_PIC;

/// Masks every line. The vectors are moved first, since a PIC can still raise a spurious one.
pub fn mask_all() {
    // SAFETY: the PICs' ports, or nothing where a machine has none.
    unsafe {
        for (port, value) in [
            (0x20, 0x11),
            (0xa0, 0x11),
            (0x21, VECTOR_PIC),
            (0xa1, VECTOR_PIC + 8),
            (0x21, 4),
            (0xa1, 2),
            (0x21, 1),
            (0xa1, 1),
            (0x21, 0xff),
            (0xa1, 0xff),
        ] {
            PortWriteOnly::new(port).write(value);
        }
    }
}
