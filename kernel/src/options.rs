//! The command line, parsed once; complaints are printed and boot goes on.

use spin::Once;
pub use trefoil_boot::options::Options;
use trefoil_boot::options::{AppWords, app_words as words, parse};

use crate::println;

static LINE: Once<&'static [u8]> = Once::new();

/// Parses the line and says what was not understood. Once, at boot.
pub fn init(line: &'static [u8]) -> Options {
    LINE.call_once(|| line);
    parse(line, &mut |complaint| println!("trefoil: command line: {complaint}"))
}

/// The program's own words.
pub fn app_words() -> AppWords<'static> {
    words(LINE.get().copied().unwrap_or(&[]))
}
