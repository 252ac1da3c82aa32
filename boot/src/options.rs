//! The command line: `key=value` words for the kernel, everything else for the app.
//!
// ANCHOR: line
//! ```text
//!   maxprocs=2 seed=7 app.input=x -- 1000 --fast
//!   └─ kernel ───────┘ └─ app ─┘     └─ app ────┘
//! ```
// ANCHOR_END: line
//!
//! Words are separated by ASCII white space. Double quotes keep white space in a word, and a
//! backslash takes the special meaning from the byte after it: `"two words"`, `two\ words`, `\"`.
//! GRUB writes its command lines so, too. `app.NAME=VALUE` reaches the app as the word
//! `NAME=VALUE`, and every word after a lone `--` reaches it unchanged. The line is input from
//! outside the machine, so it is bytes, not text, and nothing in it stops the boot. A [`Complaint`]
//! names each word that the parser does not know, and the parser skips the word.
//!
//! The parser copies nothing. [`unquote`] rewrites the line in place, so that a zero byte stands
//! between two words. Options are numbers and flags, and [`app_words`] finds the app's words in the
//! line on demand.

use core::fmt::{self, Write};

#[cfg_attr(not(feature = "trace"), path = "options/trace_off.rs")]
pub mod trace;

use trace::Trace;

/// Most cores that the kernel handles, and the largest `maxprocs`.
pub const MAX_CORES: usize = 64;

/// Valid values of `slice` and `wakeup`, in microseconds.
pub const SLICES: core::ops::RangeInclusive<u64> = 5..=60_000_000;

/// Valid values of `schedtrace`, in milliseconds.
pub const TRACES: core::ops::RangeInclusive<u64> = 1..=3_600_000;

/// Valid values of `stack`, in bytes.
pub const STACKS: core::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;

/// The text to expect of `log`, whose reader is only in programs that log.
pub const LEVELS: &str = "off, error, warn, info, debug or trace, in a program that calls trefoil::log::init()";

/// The kernel's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// `maxprocs=N`: how many G's may run at the same time, 1 to 64; one for each core unless told.
    pub maxprocs: Option<usize>,
    /// `seed=N`: the start of random choices; the clock unless told.
    pub seed: Option<u64>,
    /// `slice=US`: how long a G may run while others wait, 5 µs to a minute; 10,000 unless told.
    pub slice: Option<u64>,
    /// `wakeup=US`: how long a G may run while a sleeper is due, or an interrupt has readied a G,
    /// 5 µs to a minute; 100 unless told.
    pub wakeup: Option<u64>,
    /// `schedtrace=MS`: how often the scheduler's line is printed, 1 ms to an hour; never unless
    /// told.
    pub schedtrace: Option<u64>,
    /// `stack=SIZE`: how far the stack of the program's `main` may grow, in bytes: 4K to 1G; as the
    /// program says unless told.
    pub stack: Option<usize>,
    /// `rest=hlt`: cores without work rest by `hlt` and interrupts wake them, for any CPUID. CPUID
    /// decides unless told.
    pub halt: bool,
    /// `fault=…`: the faults to inject.
    pub faults: Faults,
    /// `trace=…` and its like: the recorder, in an image that has one.
    pub trace: Trace,
}

/// Faults that tests inject: `fault=deaf:2,madt-checksum`. All off unless told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// `deaf:N`: core number N is never started (bit N).
    pub deaf: u64,
    /// `late:N`: core number N misses its first start-up IPI (bit N).
    pub late: u64,
    /// `no-acpi`: the kernel does not look for the firmware's tables.
    pub no_acpi: bool,
    /// `rsdp-checksum`: one byte of the RSDP is changed before it is read.
    pub rsdp_checksum: bool,
    /// `madt-checksum`: one byte of the MADT is changed before it is read.
    pub madt_checksum: bool,
    /// `madt-truncated`: the MADT's length is cut to lie inside its last entry (its checksum is
    /// made right again).
    pub madt_truncated: bool,
    /// `no-reference`: neither CPUID nor a timer tells how fast the TSC runs.
    pub no_reference: bool,
    /// The serial port takes bytes at 115,200 baud only, where QEMU's port takes them at once.
    pub paced_uart: bool,
}

/// The reason why a word was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint<'a> {
    /// No such key (or a bare word before `--`).
    UnknownKey(&'a [u8]),
    /// A known key with a value it can't use.
    BadValue {
        /// The key.
        key: &'a [u8],
        /// The text after the `=`.
        value: &'a [u8],
        /// The expected text.
        wants: &'static str,
    },
    /// A word for the app that is not UTF-8.
    NotUtf8(&'a [u8]),
}

impl fmt::Display for Complaint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(key) => write!(f, "unknown key \"{}\"; skipped", Bytes(key)),
            Self::BadValue { key, value, wants } => {
                write!(f, "{}=\"{}\": wants {wants}; skipped", Bytes(key), Bytes(value))
            }
            Self::NotUtf8(word) => write!(f, "\"{}\" is not UTF-8; skipped", Bytes(word)),
        }
    }
}

/// Prints bytes as text, and bytes that are not text as `\xNN`. (`escape_ascii` does the same in
/// five times as much code.)
struct Bytes<'a>(&'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| match byte {
            b' '..=b'~' => f.write_char(byte.into()),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}

/// Rewrites `line` for the other functions of this module, and returns the part that is left: the
/// words without quotes and escapes, a zero byte between two of them.
pub fn unquote(line: &mut [u8]) -> &mut [u8] {
    let (mut from, mut to) = (0, 0);
    let (mut in_word, mut in_quotes) = (false, false);
    while let Some(&(mut byte)) = line.get(from) {
        from += 1;
        if !in_quotes && (byte.is_ascii_whitespace() || byte == 0) {
            in_word = false;
            continue;
        }
        if !in_word && to > 0 {
            line[to] = 0; // white space or a quote stood here
            to += 1;
        }
        in_word = true;
        if byte == b'"' {
            in_quotes = !in_quotes;
            continue;
        }
        if byte == b'\\' && from < line.len() {
            byte = line[from];
            from += 1;
        }
        line[to] = byte;
        to += 1;
    }
    &mut line[..to]
}

/// Parses the whole line, which [`unquote`] has returned. If a key is given twice, the last value
/// holds. The flag `logs` tells that the program has a reader of the key `log`.
pub fn parse<'a>(line: &'a [u8], logs: bool, complain: &mut dyn FnMut(Complaint<'a>)) -> Options {
    let mut options = Options::default();
    let mut for_app = false;
    for word in words(line) {
        if for_app || word == b"--" {
            if for_app && core::str::from_utf8(word).is_err() {
                complain(Complaint::NotUtf8(word));
            }
            for_app = true;
            continue;
        }
        let (key, value) = match word.iter().position(|&b| b == b'=') {
            Some(at) => (&word[..at], &word[at + 1..]),
            None => (word, &b""[..]),
        };
        let refused = match key {
            b"maxprocs" => {
                let n = number_in(value, 1..=MAX_CORES as u64);
                take(&mut options.maxprocs, n.map(|n| n as usize), "a number from 1 to 64")
            }
            b"seed" => take(&mut options.seed, number(value), "a number from 0 to 2^64-1"),
            b"slice" => take(&mut options.slice, number_in(value, SLICES), "5 to 60000000 microseconds"),
            b"wakeup" => take(&mut options.wakeup, number_in(value, SLICES), "5 to 60000000 microseconds"),
            b"schedtrace" => take(&mut options.schedtrace, number_in(value, TRACES), "1 to 3600000 milliseconds"),
            b"stack" => {
                let bytes = size(value).filter(|bytes| STACKS.contains(bytes));
                take(&mut options.stack, bytes.map(|bytes| bytes as usize), "a size from 4K to 1G")
            }
            b"rest" => {
                options.halt |= value == b"hlt";
                (value != b"hlt").then_some("hlt")
            }
            // `value_of` reads this key, in a program that logs.
            b"log" => (!logs).then_some(LEVELS),
            // `value_of` reads this key, in a program that reads.
            b"stdin" => None,
            // The runner reads this key: it folds the traces.
            b"backtrace" => (value != b"full").then_some("full"),
            b"fault" => {
                for fault in value.split(|&b| b == b',') {
                    if options.faults.set(fault).is_none() {
                        complain(Complaint::BadValue { key, value: fault, wants: "the name of a fault" });
                    }
                }
                None
            }
            _ if let Some(refused) = options.trace.set(key, value) => refused,
            _ if key.starts_with(b"app.") => {
                if core::str::from_utf8(word).is_err() {
                    complain(Complaint::NotUtf8(word));
                }
                None
            }
            _ => {
                complain(Complaint::UnknownKey(key));
                None
            }
        };
        if let Some(wants) = refused {
            complain(Complaint::BadValue { key, value, wants });
        }
    }
    options
}

/// Stores `value`. Without one, returns what the option `wants`.
fn take<T>(option: &mut Option<T>, value: Option<T>, wants: &'static str) -> Option<&'static str> {
    match value {
        Some(value) => *option = Some(value),
        None => return Some(wants),
    }
    None
}

impl Faults {
    fn set(&mut self, fault: &[u8]) -> Option<()> {
        match fault {
            b"no-acpi" => self.no_acpi = true,
            b"rsdp-checksum" => self.rsdp_checksum = true,
            b"madt-checksum" => self.madt_checksum = true,
            b"madt-truncated" => self.madt_truncated = true,
            b"no-reference" => self.no_reference = true,
            b"paced-uart" => self.paced_uart = true,
            _ => {
                let (cores, index) = match fault.strip_prefix(b"deaf:") {
                    Some(index) => (&mut self.deaf, index),
                    None => (&mut self.late, fault.strip_prefix(b"late:")?),
                };
                *cores |= 1 << number(index).filter(|&n| n < MAX_CORES as u64)?;
            }
        }
        Some(())
    }
}

/// Parses a decimal number, or `0x` and a hexadecimal one. No sign, no blanks, no overflow.
fn number(digits: &[u8]) -> Option<u64> {
    let (digits, radix) = match digits.strip_prefix(b"0x") {
        Some(hex) => (hex, 16),
        None => (digits, 10),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, &digit| {
        n.checked_mul(u64::from(radix))?.checked_add(u64::from(char::from(digit).to_digit(radix)?))
    })
}

/// Parses a number in `range`.
fn number_in(digits: &[u8], range: core::ops::RangeInclusive<u64>) -> Option<u64> {
    number(digits).filter(|n| range.contains(n))
}

/// Parses a number of bytes, or of `K`, `M` or `G` bytes (1024 each of the one before), in either
/// case.
fn size(text: &[u8]) -> Option<u64> {
    let (digits, shift) = match text.split_last()? {
        (b'K' | b'k', digits) => (digits, 10),
        (b'M' | b'm', digits) => (digits, 20),
        (b'G' | b'g', digits) => (digits, 30),
        _ => (text, 0),
    };
    number(digits)?.checked_mul(1 << shift)
}

/// Returns the value of the kernel's `key` in `line`, the last if there are several. For keys whose
/// reader is not in every program. [`unquote`] has returned the line.
pub fn value_of<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let ours = words(line).take_while(|&word| word != b"--");
    ours.filter_map(|word| word.strip_prefix(key))
        .filter_map(|rest| rest.strip_prefix(b"=").or(rest.is_empty().then_some(rest)))
        .last()
}

fn words(line: &[u8]) -> Words<'_> {
    Words((!line.is_empty()).then_some(line))
}

/// The words of a line. Each but the last ends at a zero byte.
#[derive(Debug, Clone)]
struct Words<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let Some(end) = rest.iter().position(|&byte| byte == 0) else { return self.0.take() };
        self.0 = Some(&rest[end + 1..]);
        Some(&rest[..end])
    }
}

/// The app's words, in the order of the line. Made by [`app_words`].
#[derive(Debug, Clone)]
pub struct AppWords<'a> {
    words: Words<'a>,
    after_dashes: bool,
}

/// Returns the words of `line` that belong to the app, without those that are not UTF-8.
/// [`unquote`] has returned the line.
pub fn app_words(line: &[u8]) -> AppWords<'_> {
    AppWords { words: words(line), after_dashes: false }
}

impl<'a> Iterator for AppWords<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let word = self.words.next()?;
            if word == b"--" && !self.after_dashes {
                self.after_dashes = true;
                continue;
            }
            let Ok(text) = core::str::from_utf8(word) else { continue };
            if self.after_dashes {
                return Some(text);
            }
            if let Some(text) = text.strip_prefix("app.") {
                return Some(text);
            }
        }
    }
}

#[cfg(test)]
mod tests;
