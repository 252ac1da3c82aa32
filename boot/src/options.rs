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

/// Most cores that the kernel handles, and the largest `maxprocs`.
pub const MAX_CORES: usize = 64;

/// Valid values of `slice` and `wakeup`, in microseconds.
pub const SLICES: core::ops::RangeInclusive<u64> = 5..=60_000_000;

/// Valid values of `schedtrace`, in milliseconds.
pub const TRACES: core::ops::RangeInclusive<u64> = 1..=3_600_000;

/// Valid values of `stack`, in bytes.
pub const STACKS: core::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;

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
        key: &'static str,
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
                write!(f, "{key}=\"{}\": wants {wants}; skipped", Bytes(value))
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
/// holds.
pub fn parse<'a>(line: &'a [u8], complain: &mut dyn FnMut(Complaint<'a>)) -> Options {
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
        match key {
            b"maxprocs" => match number(value).filter(|n| (1..=MAX_CORES as u64).contains(n)) {
                Some(n) => options.maxprocs = Some(n as usize),
                None => complain(Complaint::BadValue { key: "maxprocs", value, wants: "a number from 1 to 64" }),
            },
            b"seed" => match number(value) {
                Some(n) => options.seed = Some(n),
                None => complain(Complaint::BadValue { key: "seed", value, wants: "a number from 0 to 2^64-1" }),
            },
            b"slice" => match number(value).filter(|us| SLICES.contains(us)) {
                Some(us) => options.slice = Some(us),
                None => complain(Complaint::BadValue { key: "slice", value, wants: "5 to 60000000 microseconds" }),
            },
            b"wakeup" => match number(value).filter(|us| SLICES.contains(us)) {
                Some(us) => options.wakeup = Some(us),
                None => complain(Complaint::BadValue { key: "wakeup", value, wants: "5 to 60000000 microseconds" }),
            },
            b"schedtrace" => match number(value).filter(|ms| TRACES.contains(ms)) {
                Some(ms) => options.schedtrace = Some(ms),
                None => complain(Complaint::BadValue { key: "schedtrace", value, wants: "1 to 3600000 milliseconds" }),
            },
            b"stack" => match size(value).filter(|bytes| STACKS.contains(bytes)) {
                Some(bytes) => options.stack = Some(bytes as usize),
                None => complain(Complaint::BadValue { key: "stack", value, wants: "a size from 4K to 1G" }),
            },
            b"rest" => match value {
                b"hlt" => options.halt = true,
                _ => complain(Complaint::BadValue { key: "rest", value, wants: "hlt" }),
            },
            // `value_of` reads these keys, in a program that logs or reads.
            b"log" | b"stdin" => {}
            b"fault" => {
                for fault in value.split(|&b| b == b',') {
                    if options.faults.set(fault).is_none() {
                        complain(Complaint::BadValue { key: "fault", value: fault, wants: "the name of a fault" });
                    }
                }
            }
            _ if key.starts_with(b"app.") => {
                if core::str::from_utf8(word).is_err() {
                    complain(Complaint::NotUtf8(word));
                }
            }
            _ => complain(Complaint::UnknownKey(key)),
        }
    }
    options
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
mod tests {
    extern crate std;
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn unquoted(line: &[u8]) -> Vec<u8> {
        unquote(&mut line.to_vec()).to_vec()
    }

    fn read(line: &[u8]) -> (Options, Vec<String>) {
        let mut complaints = Vec::new();
        let options = parse(&unquoted(line), &mut |c| complaints.push(c.to_string()));
        (options, complaints)
    }

    #[test]
    fn known_keys_are_read() {
        let (options, complaints) = read(b" maxprocs=2\tseed=0x10 fault=deaf:2,late:63,no-acpi  fault=madt-checksum ");
        assert_eq!(complaints, [""; 0]);
        assert_eq!((options.maxprocs, options.seed), (Some(2), Some(16)));
        let faults = Faults { deaf: 4, late: 1 << 63, no_acpi: true, madt_checksum: true, ..Faults::default() };
        assert_eq!(options.faults, faults);
    }

    #[test]
    fn what_is_not_understood_is_named_and_the_rest_still_read() {
        let (options, complaints) =
            read(b"foo=1 bar \xff\xfe=3 maxprocs=0 maxprocs=65 maxprocs= maxprocs seed=-1 seed=99");
        assert_eq!(options, Options { seed: Some(99), ..Options::default() });
        assert_eq!(
            complaints,
            [
                r#"unknown key "foo"; skipped"#,
                r#"unknown key "bar"; skipped"#,
                r#"unknown key "\xff\xfe"; skipped"#,
                r#"maxprocs="0": wants a number from 1 to 64; skipped"#,
                r#"maxprocs="65": wants a number from 1 to 64; skipped"#,
                r#"maxprocs="": wants a number from 1 to 64; skipped"#,
                r#"maxprocs="": wants a number from 1 to 64; skipped"#,
                r#"seed="-1": wants a number from 0 to 2^64-1; skipped"#,
            ]
        );
    }

    #[test]
    fn a_time_is_taken_within_its_range_and_named_outside() {
        let (options, complaints) =
            read(b"schedtrace=1 schedtrace=3600000 schedtrace=0 schedtrace=3600001 schedtrace=often");
        assert_eq!(options.schedtrace, Some(3_600_000));
        assert_eq!(
            complaints,
            ["0", "3600001", "often"]
                .map(|v| std::format!("schedtrace=\"{v}\": wants 1 to 3600000 milliseconds; skipped"))
        );
    }

    #[test]
    fn a_size_is_told_in_bytes_or_by_a_letter() {
        let size = |line: &str| read(line.as_bytes()).0.stack;
        assert_eq!(size("stack=4096"), Some(4096));
        assert_eq!((size("stack=64K"), size("stack=0x10k")), (Some(64 << 10), Some(16 << 10)));
        assert_eq!(
            (size("stack=1M"), size("stack=1m"), size("stack=1G")),
            (Some(1 << 20), Some(1 << 20), Some(1 << 30))
        );
        for bad in ["", "K", "0", "4095", "3K", "1025M", "2G", "-1", "1T", "1MB", "1.5M", "0x", "17179869184G"] {
            let line = std::format!("stack={bad} seed=3");
            let (options, complaints) = read(line.as_bytes());
            assert_eq!((options.stack, options.seed), (None, Some(3)), "{bad}");
            assert_eq!(complaints, [std::format!("stack=\"{bad}\": wants a size from 4K to 1G; skipped")]);
        }
    }

    #[test]
    fn how_cores_rest_is_told_by_one_word() {
        assert!(read(b"rest=hlt").0.halt && !read(b"seed=1").0.halt);
        let (options, complaints) = read(b"rest=mwait");
        assert_eq!((options.halt, &complaints[0][..]), (false, r#"rest="mwait": wants hlt; skipped"#));
    }

    #[test]
    fn the_last_value_of_a_key_is_found() {
        assert_eq!(read(b"log=loud stdin=loud").1, [""; 0], "their readers complain");
        let value = |line: &[u8]| value_of(&unquoted(line), b"log").map(<[u8]>::to_vec);
        assert_eq!(value(b"seed=1 log=debug  log=info app.log=x -- log=trace").as_deref(), Some(&b"info"[..]));
        assert_eq!(value(b"log= logs=1").as_deref(), Some(&b""[..]));
        assert_eq!(value(b"log").as_deref(), Some(&b""[..]));
        assert_eq!(value(b"logs=1 -- log=trace"), None);
    }

    #[test]
    fn numbers_do_not_wrap() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"18446744073709551616"), None);
        assert_eq!(number(b"0xffffffffffffffff"), Some(u64::MAX));
        assert_eq!(number(b"0x10000000000000000"), None);
        assert_eq!((number(b""), number(b"0x"), number(b"+1"), number(b"1 ")), (None, None, None, None));
    }

    #[test]
    fn unknown_faults_and_cores_out_of_range_are_named() {
        let (options, complaints) = read(b"fault=deaf:64,deaf:,nonsense,no-reference");
        assert_eq!(options.faults, Faults { no_reference: true, ..Faults::default() });
        assert_eq!(complaints.len(), 3);
    }

    #[test]
    fn the_app_gets_its_words_and_the_kernel_leaves_them_alone() {
        let line = b"seed=1 app.n=5 bad -- maxprocs=x -- \xff last app.q";
        let (options, complaints) = read(line);
        assert_eq!(options.maxprocs, None);
        assert_eq!(complaints, [r#"unknown key "bad"; skipped"#, r#""\xff" is not UTF-8; skipped"#]);
        assert_eq!(app_words(&unquoted(line)).collect::<Vec<_>>(), ["n=5", "maxprocs=x", "--", "last", "app.q"]);
    }

    #[test]
    fn quotes_and_backslashes_keep_a_word_together() {
        for (line, expected) in [
            (&br#"-- "a b" c"#[..], &["a b", "c"][..]),
            (br#"-- a\ b a" "b"" c"#, &["a b", "a b", "c"]),
            (br#"-- "" x """#, &["", "x", ""]),
            (br#"-- \" \\ "\"\\ ""#, &["\"", "\\", "\"\\ "]),
            (b"--\t 'a\tb'\n", &["'a", "b'"]),
            (br#"app.n="1 2" -- "no end"#, &["n=1 2", "no end"]),
            (br#"-- last\"#, &["last\\"]),
            (br#"-- x "--" \-- "#, &["x", "--", "--"]),
            (b"--", &[]),
            (b" \t", &[]),
            (b"", &[]),
        ] {
            let line = unquoted(line);
            assert_eq!(app_words(&line).collect::<Vec<_>>(), expected, "{}", Bytes(&line));
        }
        assert_eq!(
            read(br#""maxprocs=2" seed="7""#).0,
            Options { maxprocs: Some(2), seed: Some(7), ..Options::default() }
        );
    }

    #[test]
    fn no_line_of_random_bytes_panics() {
        const ALPHABET: &[u8] = b"maxprocs=0x9 --app.seed,fault:deaf\xff\0\t\"\\";
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let line: Vec<u8> = (0..24)
                .map(|_| {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    ALPHABET[x as usize % ALPHABET.len()]
                })
                .collect();
            let _ = (read(&line), app_words(&unquoted(&line)).count());
        }
    }
}
