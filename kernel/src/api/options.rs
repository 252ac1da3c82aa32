//! The command line, parsed once; complaints are printed and boot goes on.

use spin::Once;
pub use trefoil_boot::options::Options;
use trefoil_boot::options::{AppWords, Complaint, app_words as words, parse, unquote, value_of};

use crate::arch::image;
use crate::println;

static LINE: Once<&'static [u8]> = Once::new();

/// Parses the line and says what was not understood. Once, at boot.
pub fn init(line: &'static mut [u8]) -> Options {
    let line: &[u8] = unquote(line);
    LINE.call_once(|| line);
    parse(line, image::logs(), &mut complain)
}

fn complain(complaint: Complaint<'_>) {
    println!("trefoil: command line: {complaint}");
}

/// Parses the value of `key`, which boot does not read, by `read`. `None`: the key is absent, or
/// the value is not the one that the key `wants`, which is reported.
pub fn late<T>(key: &'static str, wants: &'static str, read: impl FnOnce(&'static [u8]) -> Option<T>) -> Option<T> {
    let value = value_of(LINE.get()?, key.as_bytes())?;
    let read = read(value);
    if read.is_none() {
        complain(Complaint::BadValue { key: key.as_bytes(), value, wants });
    }
    read
}

/// Returns the line: its words, a zero byte between two of them.
pub fn line() -> &'static [u8] {
    LINE.get().copied().unwrap_or(&[])
}

/// Returns the program's own words.
pub fn app_words() -> AppWords<'static> {
    words(line())
}
