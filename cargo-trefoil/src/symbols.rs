//! Names for the addresses in an image, from its debug information.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use addr2line::Loader;

/// An image's debug information, read when the first address comes.
pub struct Symbols {
    image: PathBuf,
    loader: Option<Option<Loader>>,
    /// The functions of all lines, raw, when the first is asked for.
    lines: Option<HashMap<(String, u32), String>>,
}

impl std::fmt::Debug for Symbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Symbols").field("image", &self.image).finish_non_exhaustive()
    }
}

/// Erases the row of a terminal: the machine's lines come above one that is just typed.
pub(crate) const ERASE: &str = "\r\x1b[K";

/// A function at an address: the one whose code is there, or one that it was inlined into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Its name; `?` if that is not known.
    pub name: String,
    /// The source file, as the compiler names it, and the line.
    pub at: Option<(String, u32)>,
}

/// The name of an address that no symbol has.
const UNKNOWN: &str = "(no symbol: firmware)";

impl Symbols {
    /// Creates the symbols of `image`, which are read at the first use.
    pub fn new(image: &Path) -> Self {
        Self { image: image.into(), loader: None, lines: None }
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

    /// Returns the functions at `address`, the innermost first: each was inlined into the next.
    pub fn at(&mut self, address: u64) -> Vec<Code> {
        let mut all = Vec::new();
        let Some(loader) = self.loader() else { return all };
        // Functions that the linker has left out lie around address 0, as the debug information
        // has it.
        let code = [&b".text"[..], b".boot"].into_iter().filter_map(|name| loader.get_section_range(name));
        if !code.into_iter().any(|section| (section.begin..section.end).contains(&address)) {
            return all;
        }
        let Ok(mut frames) = loader.find_frames(address) else { return all };
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|f| f.raw_name().ok());
            let name = name.map_or("?".into(), |name| format!("{:#}", rustc_demangle::demangle(&name)));
            let at = frame.location.and_then(|at| Some((at.file?.to_owned(), at.line?)));
            // Code that the compiler has added to a function has no line, so a neighbour's is
            // shown. (Of inlined code, the call has one.)
            let at = at.or_else(|| if all.is_empty() { place_before(loader, address) } else { None });
            all.push(Code { name, at });
        }
        if all.is_empty()
            && let Some(name) = loader.find_symbol(address)
        {
            all.push(Code { name: format!("{:#}", rustc_demangle::demangle(name)), at: None });
        }
        all
    }

    /// Returns the function that the code of this line was written in: the outermost if a closure
    /// lies in the line. The file is named as `core::panic::Location` names it: by its path from
    /// the workspace, or from the root.
    pub fn at_line(&mut self, file: &str, line: u32) -> Option<String> {
        if self.lines.is_none() {
            self.lines = Some(self.index());
        }
        let all = self.lines.iter().flatten().filter(|((path, at), _)| *at == line && is_file(path, file));
        let shortest = all.map(|(_, name)| name).min_by_key(|name| name.len());
        shortest.map(|name| format!("{:#}", rustc_demangle::demangle(name)))
    }

    /// Finds the functions of all lines. Code that was inlined belongs to the line of its call as
    /// well.
    fn index(&mut self) -> HashMap<(String, u32), String> {
        let mut lines = HashMap::new();
        let Some(loader) = self.loader() else { return lines };
        let Some(text) = loader.get_section_range(b".text") else { return lines };
        let Ok(code) = loader.find_location_range(text.begin, text.end) else { return lines };
        for (address, ..) in code {
            let Ok(mut frames) = loader.find_frames(address) else { continue };
            while let Ok(Some(frame)) = frames.next() {
                let (Some(at), Some(function)) = (frame.location, frame.function) else { continue };
                let (Some(file), Some(line), Ok(name)) = (at.file, at.line, function.raw_name()) else { continue };
                // A closure's name begins with that of the function around it.
                let known = lines.entry((file.to_owned(), line)).or_insert_with(|| name.to_string());
                if name.len() < known.len() {
                    *known = name.into();
                }
            }
        }
        lines
    }
}

/// Returns true if `path`, absolute, is that of `file`.
fn is_file(path: &str, file: &str) -> bool {
    path.strip_suffix(file).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
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
pub fn short(file: &str) -> &str {
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
pub(crate) fn behind_erased(line: &[u8]) -> &[u8] {
    let erased = line.windows(ERASE.len()).rposition(|part| part == ERASE.as_bytes());
    erased.map_or(line, |at| &line[at + ERASE.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_without_a_line_has_that_of_the_code_before_it() {
        let image = std::env::current_exe().unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let base = usize::from_str_radix(maps.split('-').next().unwrap(), 16).unwrap();
        let here = (Symbols::at as *const () as usize - base) as u64;
        let loader = Loader::new(&image).unwrap();
        let has_no_line = |&address: &u64| {
            let at = loader.find_location(address).ok().flatten();
            at.is_some_and(|at| at.file.is_some() && at.line.is_none())
        };
        let mut symbols = Symbols::new(&image);
        let found = (here..here + 0x4_0000).filter(has_no_line).step_by(16).take(20);
        let found: Vec<_> = found.map(|address| symbols.at(address)).collect();
        assert!(!found.is_empty(), "all code has lines: this test shows nothing");
        for code in found {
            // Of what was inlined, the call at the least.
            assert!(code.iter().any(|code| code.at.is_some()), "{code:?}");
        }
    }

    #[test]
    fn a_line_tells_its_function() {
        let image = std::env::current_exe().unwrap();
        #[inline(never)]
        fn call(f: impl Fn(usize) -> usize) -> usize {
            f(std::hint::black_box(1))
        }
        let mut symbols = Symbols::new(&image);
        let (line, made) = (line!(), call(|n| std::hint::black_box(n) + 1));
        assert_eq!(made, 2);
        let found = symbols.at_line(file!(), line);
        assert!(found.as_ref().is_some_and(|name| name.ends_with("a_line_tells_its_function")), "{found:?}");
        assert_eq!(symbols.at_line(file!(), 1), None);
        assert_eq!(symbols.at(0x10), [], "no code lies there");
    }

    #[test]
    fn a_file_is_known_by_the_end_of_its_path() {
        assert!(is_file("/home/me/app/src/main.rs", "src/main.rs") && is_file("/a/b.rs", "/a/b.rs"));
        assert!(!is_file("/home/me/app/not_src/main.rs", "src/main.rs"));
    }
}
