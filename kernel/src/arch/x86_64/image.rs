//! The image in memory, by the symbols of the linker script.

use core::ops::Range;

unsafe extern "C" {
    static __executable_start: u8;
    static __etext: u8;
}

/// Returns the range of the image's code.
pub fn code() -> Range<u64> {
    (&raw const __executable_start) as u64..(&raw const __etext) as u64
}
