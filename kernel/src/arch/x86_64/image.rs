//! The image in memory, by the symbols of the linker script.

use core::hint::black_box;
use core::ops::Range;

unsafe extern "C" {
    static __executable_start: u8;
    static __etext: u8;
    static __logger_start: u8;
    static __logger_end: u8;
}

/// Returns the range of the image's code.
pub fn code() -> Range<u64> {
    (&raw const __executable_start) as u64..(&raw const __etext) as u64
}

/// Lies in a section of its own. The linker keeps it only in an image that contains
/// [`has_logger`].
#[unsafe(link_section = ".trefoil.logger")]
static LOGGER: u8 = 1;

/// Makes [`logs`] true in each image that contains this function.
pub fn has_logger() {
    black_box(&LOGGER);
}

/// Returns true if the program contains a logger.
pub fn logs() -> bool {
    // The compiler takes two statics for different ones.
    black_box(&raw const __logger_start) != &raw const __logger_end
}
