//! Names for the addresses in a report.
//!
//! The guest prints raw addresses: looking them up needs the image's debug information, which is on
//! the host.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use addr2line::Loader;

/// An image's debug information, read when the first address comes.
pub struct Symbols {
    image: PathBuf,
    loader: Option<Option<Loader>>,
}

impl std::fmt::Debug for Symbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Symbols").field("image", &self.image).finish_non_exhaustive()
    }
}

/// Erases the row of a terminal: the machine's lines come above one that is just typed.
pub(crate) const ERASE: &str = "\r\x1b[K";

/// How the lines begin whose addresses are explained: a backtrace's, and the registers' first.
const BACKTRACE: &[u8] = b"  #";
const REGISTERS: &[u8] = b"  rip ";

/// The name of an address that no symbol has.
const UNKNOWN: &str = "(no symbol: firmware)";

impl Symbols {
    /// Creates the symbols of `image`, which are read at the first use.
    pub fn new(image: &Path) -> Self {
        Self { image: image.into(), loader: None }
    }

    /// Returns true if a line that begins so may be one to explain.
    pub fn may_explain(line: &[u8]) -> bool {
        let line = behind_erased(line);
        !line.is_empty() && [BACKTRACE, REGISTERS].iter().any(|p| line.starts_with(&p[..p.len().min(line.len())]))
    }

    /// Returns the text to add to a line of the guest's: where the address in it lies.
    pub fn explain(&mut self, line: &[u8]) -> Vec<u8> {
        // The guest has taken one from each return address: it lies in its call.
        address(behind_erased(line)).map_or(Vec::new(), |address| self.locate(address).into_bytes())
    }

    /// Returns the function at `address`, by the image's symbols. Inlined code goes by the name of
    /// the function around it.
    pub fn function(&mut self, address: u64) -> String {
        let name = self.loader().and_then(|loader| loader.find_symbol(address));
        name.map_or(UNKNOWN.into(), |name| format!("{:#}", rustc_demangle::demangle(name)))
    }

    /// Returns the function that the code at `address` was written in, even if it is inlined
    /// elsewhere.
    pub fn innermost(&mut self, address: u64) -> String {
        let written = self.loader().and_then(|loader| {
            let function = loader.find_frames(address).ok()?.next().ok()??.function?;
            Some(format!("{:#}", rustc_demangle::demangle(&function.raw_name().ok()?)))
        });
        written.unwrap_or_else(|| self.function(address))
    }

    fn loader(&mut self) -> Option<&Loader> {
        let image = &self.image;
        self.loader.get_or_insert_with(|| Loader::new(image).ok()).as_ref()
    }

    fn locate(&mut self, address: u64) -> String {
        let mut text = String::new();
        let Some(loader) = self.loader() else { return text };
        let Ok(mut frames) = loader.find_frames(address) else { return text };
        while let Ok(Some(frame)) = frames.next() {
            if !text.is_empty() {
                text += "\n       inlined into";
            }
            let name = frame.function.as_ref().and_then(|f| f.raw_name().ok());
            match name {
                Some(name) => {
                    let _ = write!(text, " {:#}", rustc_demangle::demangle(&name));
                }
                None => text += " ?",
            }
            let at = frame.location.and_then(|at| Some((at.file?.to_owned(), at.line?)));
            // Code that the compiler has added to a function has no line, so a neighbour's is
            // shown. (Of inlined code, the call has one.)
            let at = at.or_else(|| if text.contains("inlined into") { None } else { place_before(loader, address) });
            if let Some((file, line)) = at {
                let _ = write!(text, " at {}:{line}", short(&file));
            }
        }
        if text.is_empty()
            && let Some(name) = loader.find_symbol(address)
        {
            let _ = write!(text, " {:#}", rustc_demangle::demangle(name));
        }
        text
    }
}

/// How far [`place_before`] looks, in bytes.
const BEFORE: u64 = 1024;

/// Returns file and line of the nearest code of the same function that has them: before `address`,
/// or failing that, after it.
fn place_before(loader: &Loader, address: u64) -> Option<(String, u32)> {
    let innermost = |address: u64| {
        let frame = loader.find_frames(address).ok()?.next().ok()??;
        let name = frame.function?.raw_name().ok()?.into_owned();
        Some((name, frame.location.and_then(|at| Some((at.file?.to_owned(), at.line?)))))
    };
    let (function, _) = innermost(address)?;
    let place_at = |address: u64| innermost(address).filter(|(name, _)| *name == function)?.1;
    let before = (1..=BEFORE).map_while(|back| address.checked_sub(back)).find_map(place_at);
    before.or_else(|| (1..=BEFORE).find_map(|on| place_at(address + on)))
}

/// Returns a path as seen from the workspace, or from the crate that it belongs to.
fn short(file: &str) -> &str {
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let workspace = workspace.trim_end_matches("cargo-trefoil/");
    if let Some(inside) = file.strip_prefix(workspace) {
        return inside;
    }
    // A crate of the registry without the registry's own folder; the standard library from its
    // root.
    if let Some((_, rest)) = file.split_once("/registry/src/") {
        return rest.split_once('/').map_or(rest, |(_, inside)| inside);
    }
    file.split_once("/library/").map_or(file, |(_, inside)| inside)
}

/// Returns the part of a line that a terminal shows in the end.
fn behind_erased(line: &[u8]) -> &[u8] {
    let erased = line.windows(ERASE.len()).rposition(|part| part == ERASE.as_bytes());
    erased.map_or(line, |at| &line[at + ERASE.len()..])
}

/// Returns the address in a line, if the line is one to explain.
fn address(line: &[u8]) -> Option<u64> {
    if !(line.starts_with(BACKTRACE) || line.starts_with(REGISTERS)) {
        return None;
    }
    let line = std::str::from_utf8(line).ok()?;
    let digits = line.split_once("0x")?.1.get(..16)?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_report_lines_have_addresses() {
        assert_eq!(address(b"  #03 0xffffffff80201234"), Some(0xffff_ffff_8020_1234));
        assert_eq!(address(b"  rip 0xffffffff80201234  rflags 0x2"), Some(0xffff_ffff_8020_1234));
        assert_eq!(address(behind_erased(b"half\r\x1b[K  #03 0xffffffff80201234")), Some(0xffff_ffff_8020_1234));
        assert_eq!(address(b"a 0xffffffff80201234"), None);
        assert_eq!(address(b"  #03 0xfff"), None);
        assert_eq!(address(b"  #\xff 0xffffffff80201234"), None);
    }

    #[test]
    fn code_without_a_line_has_that_of_the_code_before_it() {
        let image = std::env::current_exe().unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let base = usize::from_str_radix(maps.split('-').next().unwrap(), 16).unwrap();
        let here = (Symbols::locate as *const () as usize - base) as u64;
        let loader = Loader::new(&image).unwrap();
        let has_no_line = |&address: &u64| {
            let at = loader.find_location(address).ok().flatten();
            at.is_some_and(|at| at.file.is_some() && at.line.is_none())
        };
        let mut symbols = Symbols::new(&image);
        let found = (here..here + 0x4_0000).filter(has_no_line).step_by(16).take(20);
        let texts: Vec<_> = found.map(|address| symbols.locate(address)).collect();
        assert!(!texts.is_empty(), "all code has lines: this test shows nothing");
        for text in texts {
            // Of what was inlined, the call at the least.
            let has_one = |line: &str| line.rsplit_once(':').is_some_and(|(_, line)| line.parse::<u32>().is_ok());
            assert!(text.lines().any(has_one), "{text}");
        }
    }

    #[test]
    fn a_growing_line_is_held_back_only_if_it_may_be_a_report() {
        assert!(Symbols::may_explain(b" ") && Symbols::may_explain(b"  #0"));
        assert!(!Symbols::may_explain(b"hello"));
        assert!(Symbols::may_explain(b"\r\x1b[K  #0") && Symbols::may_explain(b"half\r\x1b[K "));
        assert!(!Symbols::may_explain(b"  #\r\x1b[K") && !Symbols::may_explain(b"half\r\x1b"));
    }
}
