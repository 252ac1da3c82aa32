//! Names of addresses: the section SYMS, which the host adds to a trace.
//!
//! ```text
//!   hex<TAB>function<TAB>file<TAB>line               code; of inlined code a line a function,
//!                                                    the innermost first, all with the same address
//!   @hex<TAB>file<TAB>line<TAB>column<TAB>function   a place in the source: a `core::panic::Location`
//! ```
//!
//! Addresses are whole. A line is 0 and a file empty if they are not known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use trefoil_trace::{Kind, MAGIC, head, tag};

use super::file::{At, Error, Trace, sections};
use crate::elf;
use crate::symbols::{Symbols, short};

/// A function at an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Code {
    /// Its name, as a Rust path.
    pub function: String,
    /// The source file, by its path from the workspace.
    pub file: String,
    /// The line.
    pub line: u32,
}

/// A place in the source, which created a goroutine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The source file, by its path from the workspace.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// The function around it.
    pub function: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The names of a trace's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    code: BTreeMap<u64, Vec<Code>>,
    places: BTreeMap<u64, Place>,
}

impl Names {
    pub(super) fn parse(&mut self, payload: &[u8], at: &At) -> Result<(), Error> {
        let text =
            std::str::from_utf8(payload).map_err(|error| at.error(error.valid_up_to(), "text that is no UTF-8"))?;
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            if self.line(line.trim_end_matches('\n')).is_none() {
                let shown: String = line.trim_end().chars().take(80).collect();
                return Err(at.error(offset, format!("no name of an address: {shown:?}")));
            }
            offset += line.len();
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Option<()> {
        if line.is_empty() {
            return Some(());
        }
        let address = |hex| u64::from_str_radix(hex, 16).ok();
        if let Some(place) = line.strip_prefix('@') {
            let [hex, file, line, column, function] = parts(place)?;
            let place = Place {
                file: file.into(),
                line: line.parse().ok()?,
                column: column.parse().ok()?,
                function: function.into(),
            };
            self.places.insert(address(hex)?, place);
        } else {
            let [hex, function, file, line] = parts(line)?;
            let code = Code { function: function.into(), file: file.into(), line: line.parse().ok()? };
            self.code.entry(address(hex)?).or_default().push(code);
        }
        Some(())
    }

    /// Returns the functions at the whole `address`, the innermost first. Empty if it has no name.
    pub fn code(&self, address: u64) -> &[Code] {
        self.code.get(&address).map_or(&[], |code| code)
    }

    /// Returns the place whose `core::panic::Location` lies at the whole `address`.
    pub fn place(&self, address: u64) -> Option<&Place> {
        self.places.get(&address)
    }
}

fn parts<const N: usize>(line: &str) -> Option<[&str; N]> {
    line.split('\t').collect::<Vec<_>>().try_into().ok()
}

impl Trace {
    /// Returns the functions at an address of which `low` is the lower half, the innermost first.
    pub fn code(&self, low: u32) -> &[Code] {
        self.names.code(self.meta.address(low))
    }

    /// Returns the place in the source whose address has the lower half `low`.
    pub fn place(&self, low: u32) -> Option<&Place> {
        self.names.place(self.meta.address(low)).filter(|_| low != 0)
    }

    /// Returns the name of a goroutine's function, by the lower half of its address. The program's
    /// function, if the address is that of a shell around it: `run::<app::main::{closure#0}, …>`.
    pub fn entry(&self, low: u32) -> String {
        match self.code(low).last() {
            Some(code) => program(&code.function).into(),
            None if low == 0 => "?".into(),
            None => format!("{:#x}", self.meta.address(low)),
        }
    }
}

/// Returns the first type argument of a function of Trefoil's, which is the program's function.
fn program(function: &str) -> &str {
    let Some((path, arguments)) = function.split_once("::<") else { return function };
    if !path.starts_with("trefoil") {
        return function;
    }
    let (mut depth, mut before) = (0, ' ');
    let end = arguments.find(|c| {
        let closes = ")}]".contains(c) || c == '>' && before != '-';
        depth += i32::from("<({[".contains(c)) - i32::from(closes);
        before = c;
        depth < 0 || c == ',' && depth == 0
    });
    end.map_or(function, |end| &arguments[..end])
}

/// Adds to a trace file the names of all addresses that its records and rows mention, by the
/// symbols of the image that wrote it. Names that are there already are replaced.
///
/// # Errors
/// The bytes are no whole trace, or the image can't be read.
pub fn add(bytes: &[u8], image: &Path) -> Result<Vec<u8>, String> {
    let trace = Trace::parse(bytes).map_err(|error| error.to_string())?;
    let elf = std::fs::read(image).map_err(|error| format!("{}: {error}", image.display()))?;
    with_section(bytes, &section(&trace, image, &elf)).map_err(|error| error.to_string())
}

/// Returns the file with `text` as its section SYMS.
pub(super) fn with_section(bytes: &[u8], text: &str) -> Result<Vec<u8>, Error> {
    let mut file = MAGIC.to_vec();
    for section in sections(bytes)?.iter().filter(|section| section.tag != tag::SYMS) {
        file.extend(head(section.tag, section.index, section.payload.len() as u64));
        file.extend(section.payload);
    }
    file.extend(head(tag::SYMS, 0, text.len() as u64));
    file.extend(text.as_bytes());
    let end = file.len() as u64;
    file.extend(head(tag::TEND, 0, 8));
    file.extend(end.to_le_bytes());
    Ok(file)
}

/// The addresses that a trace mentions, their lower halves.
#[derive(Debug, Default)]
struct Mentioned {
    /// Where functions begin.
    entries: BTreeSet<u32>,
    /// Where calls return to.
    returns: BTreeSet<u32>,
    places: BTreeSet<u32>,
}

impl Mentioned {
    fn by(trace: &Trace) -> Self {
        let mut all = Self::default();
        for row in &trace.rows {
            all.entries.insert(row.entry);
            all.places.insert(row.created_at);
        }
        for record in trace.rings.iter().flat_map(|ring| &ring.records) {
            match record.kind() {
                Some(Kind::Create) => {
                    all.entries.insert(record.b as u32);
                    all.places.insert((record.b >> 32) as u32);
                }
                Some(Kind::Stack) => all.returns.extend(record.addresses()),
                _ => {}
            }
        }
        all
    }
}

fn section(trace: &Trace, image: &Path, elf: &[u8]) -> String {
    let all = Mentioned::by(trace);
    let mut symbols = Symbols::new(image);
    let mut text = String::new();
    // A call returns behind itself; its line is that of the byte before.
    let returns = all.returns.difference(&all.entries).map(|&low| (low, 1));
    for (low, back) in all.entries.iter().map(|&low| (low, 0)).chain(returns).filter(|&(low, _)| low != 0) {
        let address = trace.meta.address(low);
        for code in symbols.at(address - back) {
            let (file, line) = code.at.as_ref().map_or(("", 0), |(file, line)| (short(file), *line));
            let _ = writeln!(text, "{address:x}\t{}\t{}\t{line}", clean(&code.name), clean(file));
        }
    }
    for &low in all.places.iter().filter(|&&low| low != 0) {
        let address = trace.meta.address(low);
        if let Some((file, line, column)) = location(elf, address) {
            let function = symbols.at_line(&file, line).unwrap_or_default();
            let _ = writeln!(text, "@{address:x}\t{}\t{line}\t{column}\t{}", clean(short(&file)), clean(&function));
        }
    }
    text
}

/// Replaces the characters that separate.
fn clean(text: &str) -> String {
    text.replace(['\t', '\n'], " ")
}

/// The longest path that is taken for one.
const LONGEST_PATH: usize = 4096;

/// Reads a `core::panic::Location` from the image: the address and the length of the file's name,
/// the line, the column.
fn location(elf: &[u8], address: u64) -> Option<(String, u32, u32)> {
    let bytes: &[u8; 24] = elf::loaded(elf, address, 24)?.try_into().ok()?;
    let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i]));
    let len = usize::try_from(word(8)).ok().filter(|&len| len <= LONGEST_PATH)?;
    let file = std::str::from_utf8(elf::loaded(elf, word(0), len)?).ok()?;
    let both = word(16);
    Some((file.trim_end_matches('\0').into(), both as u32, (both >> 32) as u32))
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        let bytes = Sample { events: 50, ..Sample::default() }.file();
        let text = "ffffffff80200010\tapp::inner\tsrc/a.rs\t3\nffffffff80200010\tapp::outer\tsrc/a.rs\t9\n\
                    @ffffffff80300000\tsrc/a.rs\t7\t5\tapp::main\n";
        let trace = Trace::parse(&with_section(&bytes, text).unwrap()).unwrap();
        let names: Vec<_> = trace.code(0x8020_0010).iter().map(|code| (&code.function[..], code.line)).collect();
        assert_eq!(names, [("app::inner", 3), ("app::outer", 9)]);
        assert_eq!(trace.place(0x8030_0000).unwrap().to_string(), "src/a.rs:7");
        assert_eq!((trace.code(1).len(), trace.place(1)), (0, None));
        for text in ["zz\tf\ta\t1\n", "10\tf\ta\n", "@10\ta\t1\tf\n", "10\tf\ta\t-1\n"] {
            assert!(Trace::parse(&with_section(&bytes, text).unwrap()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_shell_goes_by_the_name_of_the_programs_function() {
        assert_eq!(
            program("trefoil_sched::api::spawn::start::run::<app::main::{closure#0}, ()>"),
            "app::main::{closure#0}"
        );
        assert_eq!(program("trefoil_sched::run::<app::f::<u8, (u8, u8)>, ()>"), "app::f::<u8, (u8, u8)>");
        assert_eq!(program("app::f::<u8>"), "app::f::<u8>");
        assert_eq!(program("trefoil::main"), "trefoil::main");
        assert_eq!(program("trefoil::f::<fn() -> u8, u8>"), "fn() -> u8");
    }

    /// An image with one segment: a `Location` at its begin, and the path that it names.
    fn image(len: u64) -> Vec<u8> {
        const BASE: u64 = 0x8030_0000;
        let mut elf = vec![0; 64 + 56 + 24];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let mut put =
            |at: usize, value: u64, bytes: usize| elf[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
        for (at, value, bytes) in [(32, 64, 8), (54, 56, 2), (56, 1, 2), (64, 1, 4), (72, 120, 8), (80, BASE, 8)] {
            put(at, value, bytes);
        }
        put(96, 24 + 9, 8);
        for (at, value, bytes) in [(120, BASE + 24, 8), (128, len, 8), (136, 7, 4), (140, 5, 4)] {
            put(at, value, bytes);
        }
        elf.extend(b"src/a.rs\0");
        elf
    }

    #[test]
    fn a_location_is_read_from_the_images_data() {
        let elf = image(9);
        assert_eq!(location(&elf, 0x8030_0000), Some(("src/a.rs".into(), 7, 5)));
        assert_eq!(location(&elf, 0x8030_0010), None, "it reaches beyond the segment");
        assert_eq!(location(&elf, 0x802f_ffff), None);
        assert_eq!(location(&image(10), 0x8030_0000), None, "the path reaches beyond the segment");
        assert_eq!(location(&image(u64::MAX), 0x8030_0000), None);
        for len in 0..elf.len() {
            location(&elf[..len], 0x8030_0000);
        }
    }

    #[test]
    fn the_compiler_lays_a_location_out_as_it_is_read() {
        let here = std::panic::Location::caller();
        assert_eq!(size_of_val(here), 24);
        // SAFETY: a `Location` has 24 bytes, by the assertion, of which two words and two halves
        // are fields: none is padding.
        let words = unsafe { *core::ptr::from_ref(here).cast::<[u64; 3]>() };
        assert_eq!(words[0], here.file().as_ptr() as u64);
        assert!([0, 1].contains(&(words[1] - here.file().len() as u64)));
        assert_eq!((words[2] as u32, (words[2] >> 32) as u32), (here.line(), here.column()));
    }
}
