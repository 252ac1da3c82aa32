//! Backtraces as a person reads them: the program's frames first.
//!
//! The guest prints raw addresses: looking them up needs the image's debug information, which is on
//! the host. Then a trace is folded:
//!
//! ```text
//!   #05 0xffffffff8020151e overflow::recurse at kernel/examples/overflow.rs:41
//!   #06 0xffffffff8020151e overflow::recurse at kernel/examples/overflow.rs:41
//!   #07 0xffffffff8020151e overflow::recurse at kernel/examples/overflow.rs:41
//!   … 880 frames more of overflow::recurse                          a recursion: its ends
//!   #888 0xffffffff8020151e overflow::recurse at kernel/examples/overflow.rs:41
//!   … 2 frames of the runtime                                       between frames of the program
//!   #891 0xffffffff80201437 overflow::main::{closure#0} at kernel/examples/overflow.rs:52
//!   … 11 frames of the runtime; backtrace=full shows them           those before and behind
//!   created by overflow::main at kernel/examples/overflow.rs:52
//! ```
//!
//! The *runtime* is Trefoil, the unwinder, and Rust's own library. Every other crate is the
//! program. A frame without a symbol is shown: it may be what went wrong. A trace without any frame
//! of the program is shown whole. So are all with the kernel option `backtrace=full`.
//!
//! A trace is held back until its last line has come, a tenth of a second at most.

use std::fmt::Write;
use std::path::Path;

use crate::symbols::{Code, Symbols, behind_erased, short};

/// How the lines begin that belong to a trace, or have an address or a place.
const FRAME: &str = "  #";
const GAP: &str = "  … ";
const REGISTERS: &str = "  rip ";
const CREATED: &str = "  created at ";

/// The crates of the runtime.
const RUNTIME: [&str; 13] = [
    "trefoil",
    "trefoil_sched",
    "trefoil_context",
    "trefoil_boot",
    "trefoil_runs",
    "unwinding",
    "gimli",
    "core",
    "alloc",
    "std",
    "compiler_builtins",
    "panic_unwind",
    "__rustc",
];
/// How the names of its functions begin that stand in no crate.
const WITHOUT_A_CRATE: [&str; 8] = ["trefoil_", "__trefoil", "rust_", "__rust", "_Unwind", "mem", "bcmp", "strlen"];

/// Frames of a recursion that are shown at its inner end; at the outer end it is one.
const INNER: usize = 3;
/// A recursion of so many frames is shown whole.
const SHORT: usize = INNER + 2;

/// Explains and folds the traces in a machine's output.
#[derive(Debug)]
pub struct Traces {
    symbols: Symbols,
    /// Every frame is shown.
    full: bool,
    /// The trace that has not come to its end.
    held: Vec<Entry>,
    /// The option was named once.
    hinted: bool,
}

#[derive(Debug)]
enum Entry {
    /// The guest's line, and the functions at its address.
    Frame(String, Vec<Code>),
    /// A line in place of so many frames that the guest has left out.
    Gap(String, usize),
}

impl Traces {
    /// Creates an explainer for `image`. The line `options` is that of the kernel.
    pub fn new(image: &Path, options: &str) -> Self {
        let full = options.split_whitespace().take_while(|&word| word != "--").any(|word| word == "backtrace=full");
        Self { symbols: Symbols::new(image), full, held: Vec::new(), hinted: false }
    }

    /// Returns true if a line that begins so may be one to change.
    pub fn may_change(line: &[u8]) -> bool {
        let line = behind_erased(line);
        !line.is_empty()
            && [FRAME, GAP, REGISTERS, CREATED]
                .iter()
                .any(|p| line.starts_with(&p.as_bytes()[..p.len().min(line.len())]))
    }

    /// Returns true if a trace is held back.
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes a line of the guest's, and returns the text to show for now.
    pub fn line(&mut self, line: &[u8]) -> Vec<u8> {
        let (erased, line) = line.split_at(line.len() - behind_erased(line).len());
        if !erased.is_empty() {
            // The lines of a report follow, above one that is just typed.
            let before = self.end();
            return [&before, erased, &self.line(line)].concat();
        }
        let text = std::str::from_utf8(line).unwrap_or("").trim_end_matches('\r');
        if let Some(address) = address(text, FRAME) {
            let code = self.symbols.at(address);
            self.held.push(Entry::Frame(text.into(), code));
            return if self.full { self.end() } else { Vec::new() };
        }
        if self.is_held() && text.starts_with(GAP) {
            let count = text[GAP.len()..].split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            self.held.push(Entry::Gap(text.into(), count));
            return Vec::new();
        }
        let mut shown = self.end();
        if let Some(address) = address(text, REGISTERS) {
            // The guest has taken one from each return address: it lies in its call.
            shown.extend(format!("{text}{}\n", explain(&self.symbols.at(address))).into_bytes());
        } else if let Some(creator) = self.creator(text) {
            shown.extend(creator.into_bytes());
        } else {
            shown.extend(line);
            shown.push(b'\n');
        }
        shown
    }

    /// Returns the line that names the function which created a goroutine, if `line` has its place.
    fn creator(&mut self, line: &str) -> Option<String> {
        let (file, number) = line.strip_prefix(CREATED)?.rsplit_once(':')?;
        let function = self.symbols.at_line(file, number.parse().ok()?)?;
        Some(format!("  created by {function} at {}:{number}\n", short(file)))
    }

    /// Returns the trace that is held back: no more of it comes.
    pub fn end(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let mut shown = String::new();
        if self.full || !held.iter().any(is_the_programs) {
            held.iter().for_each(|entry| show(&mut shown, entry, true));
        } else {
            self.fold(&mut shown, &held);
        }
        shown.into_bytes()
    }

    fn fold(&mut self, shown: &mut String, all: &[Entry]) {
        let is_frame = |entry: &&Entry| matches!(entry, Entry::Frame(..));
        let is_shown = |entry: &Entry| is_the_programs(entry) || !is_frame(&entry);
        let first = all.iter().position(is_shown).unwrap_or(0);
        let behind = all.iter().rposition(is_shown).map_or(all.len(), |last| last + 1);
        let (before, inside, after) = (&all[..first], &all[first..behind], &all[behind..]);
        let mut rest = inside;
        while let Some(entry) = rest.first() {
            let name = symbol(entry);
            let same = rest.iter().take_while(|next| name.is_some() && symbol(next) == name || !is_frame(next)).count();
            let runtime = rest.iter().take_while(|next| is_frame(next) && !is_the_programs(next)).count();
            if runtime > 0 {
                let _ = writeln!(shown, "{GAP}{}", frames(runtime));
                rest = &rest[runtime..];
            } else if let Some(name) = name.filter(|_| same > SHORT) {
                rest[..INNER].iter().for_each(|entry| show(shown, entry, false));
                // A gap may stand at the end.
                let last = rest[..same].iter().rposition(|entry| is_frame(&entry)).unwrap_or(INNER);
                let more: usize = rest[INNER..last].iter().map(size).sum();
                let _ = writeln!(shown, "{GAP}{more} frames more of {name}");
                rest = &rest[last..];
                show(shown, &rest[0], false);
                rest = &rest[1..];
            } else {
                show(shown, entry, false);
                rest = &rest[1..];
            }
        }
        let folded = before.len() + after.len();
        if folded > 0 {
            let hint = if self.hinted { "" } else { "; backtrace=full shows them" };
            self.hinted = true;
            let _ = writeln!(shown, "{GAP}{}{hint}", frames(folded));
        }
    }
}

/// Returns how many frames an entry stands for.
fn size(entry: &Entry) -> usize {
    match entry {
        Entry::Frame(..) => 1,
        Entry::Gap(_, count) => *count,
    }
}

fn frames(count: usize) -> String {
    format!("{count} {} of the runtime", if count == 1 { "frame" } else { "frames" })
}

/// Returns the name of the function that a frame belongs to, if it is one of the program.
fn symbol(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::Frame(_, code) if is_the_programs(entry) => code.last().map(|code| &code.name[..]),
        _ => None,
    }
}

/// Returns true if an entry is a frame of the program, or of unknown code.
fn is_the_programs(entry: &Entry) -> bool {
    match entry {
        Entry::Frame(_, code) => code.is_empty() || code.iter().any(|code| !is_runtime(code)),
        Entry::Gap(..) => false,
    }
}

/// Shows an entry: of a frame, all functions or those of the program.
fn show(shown: &mut String, entry: &Entry, all: bool) {
    let _ = match entry {
        Entry::Gap(line, _) => writeln!(shown, "{line}"),
        Entry::Frame(line, code) => {
            let some: Vec<_> = code.iter().filter(|code| all || !is_runtime(code)).cloned().collect();
            writeln!(shown, "{line}{}", explain(&some))
        }
    };
}

/// Returns the text to add to an address.
fn explain(code: &[Code]) -> String {
    let texts = code.iter().map(|Code { name, at }| match at {
        Some((file, line)) => format!(" {name} at {}:{line}", short(file)),
        None => format!(" {name}"),
    });
    texts.collect::<Vec<_>>().join("\n       inlined into")
}

/// Returns true if a function is not the program's.
pub(crate) fn is_runtime(code: &Code) -> bool {
    let is_rusts = |(file, _): &(String, u32)| file.contains("/library/core/") || file.contains("/library/alloc/");
    if code.at.as_ref().is_some_and(is_rusts) {
        return true;
    }
    let (own, of_trait) = match code.name.split_once(" as ") {
        Some((own, of_trait)) if code.name.starts_with('<') => (crate_of(own), Some(crate_of(of_trait))),
        _ => (crate_of(&code.name), None),
    };
    let is_runtimes = |name: Option<&str>| name.is_none_or(|name| RUNTIME.contains(&name));
    match (own, of_trait) {
        // Only Rust's own library adds functions to a primitive type.
        (None, None) if code.name.starts_with('<') => true,
        (None, None) => code.at.is_none() || WITHOUT_A_CRATE.iter().any(|start| code.name.starts_with(start)),
        (own, of_trait) => is_runtimes(own) && of_trait.is_none_or(is_runtimes),
    }
}

/// Returns the crate in which a path begins: `hello` of `<&hello::Type`. A primitive type has none.
fn crate_of(path: &str) -> Option<&str> {
    let mut path = path;
    while let Some(rest) =
        ["<", "&", "[", "(", "mut ", "*const ", "*mut ", "dyn "].iter().find_map(|start| path.strip_prefix(start))
    {
        path = rest;
    }
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    path[end..].starts_with("::").then(|| &path[..end])
}

/// Returns the address in a line that begins with `start`.
fn address(line: &str, start: &str) -> Option<u64> {
    let digits = line.strip_prefix(start)?.split_once("0x")?.1.get(..16)?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: usize, names: &[&str]) -> Entry {
        let code = |name: &&str| Code { name: name.to_string(), at: Some((format!("/w/src/{number}.rs"), 5)) };
        Entry::Frame(format!("  #{number:02} 0x1"), names.iter().map(code).collect())
    }

    fn folded(entries: Vec<Entry>) -> String {
        let mut traces = Traces::new(Path::new("/"), "");
        traces.held = entries;
        String::from_utf8(traces.end()).unwrap()
    }

    #[test]
    fn only_report_lines_have_addresses() {
        assert_eq!(address("  #03 0xffffffff80201234", FRAME), Some(0xffff_ffff_8020_1234));
        assert_eq!(address("  rip 0xffffffff80201234  rflags 0x2", REGISTERS), Some(0xffff_ffff_8020_1234));
        assert_eq!(address("a 0xffffffff80201234", FRAME), None);
        assert_eq!(address("  #03 0xfff", FRAME), None);
    }

    #[test]
    fn a_growing_line_is_held_back_only_if_it_may_be_a_report() {
        assert!(Traces::may_change(b" ") && Traces::may_change(b"  #0") && Traces::may_change("  …".as_bytes()));
        assert!(!Traces::may_change(b"hello"));
        assert!(Traces::may_change(b"\r\x1b[K  #0") && Traces::may_change(b"half\r\x1b[K "));
        assert!(!Traces::may_change(b"  #\r\x1b[K") && !Traces::may_change(b"half\r\x1b"));
    }

    #[test]
    fn crates_are_told_by_the_beginning_of_a_path() {
        let runtime = |name: &str| is_runtime(&Code { name: name.into(), at: Some(("/w/a.rs".into(), 1)) });
        for name in [
            "trefoil_sched::api::spawn::start::run::<hello::main::{closure#0}, ()>",
            "<trefoil::api::console::LineOf as core::fmt::Write>::write_str",
            "<u64 as core::fmt::Display>::fmt",
            "<[u8]>::copy_from_slice",
            "__rustc::rust_begin_unwind",
            "memcpy",
        ] {
            assert!(runtime(name), "{name}");
        }
        for name in [
            "hello::main",
            "<hello::Grenade as core::ops::drop::Drop>::drop",
            "<&mut hello::Grenade as core::fmt::Debug>::fmt",
            "<u64 as hello::Sum>::sum",
            "futures_util::future::poll_fn::<hello::main::{closure#0}>",
            "a_c_function",
        ] {
            assert!(!runtime(name), "{name}");
        }
        let in_library = Code { name: "<hello::f as core::ops::FnOnce<()>>::call_once".into(), at: None };
        assert!(!is_runtime(&in_library));
        assert!(is_runtime(&Code { at: Some(("/rustc/1/library/core/src/ops/function.rs".into(), 1)), ..in_library }));
    }

    #[test]
    fn the_programs_frames_come_first_and_the_runtimes_are_counted() {
        let text = folded(vec![
            frame(0, &["__rustc::rust_begin_unwind"]),
            frame(1, &["core::panicking::panic_fmt"]),
            frame(2, &["core::hint::black_box::<u64>", "app::job"]),
            frame(3, &["trefoil::api::panic::catch"]),
            frame(4, &["trefoil_sched::api::panic::catch"]),
            frame(5, &["app::main::{closure#0}", "trefoil_sched::api::spawn::start::run"]),
            frame(6, &["trefoil_sched::api::spawn::end::g_main"]),
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "  #02 0x1 app::job at /w/src/2.rs:5",
                "  … 2 frames of the runtime",
                "  #05 0x1 app::main::{closure#0} at /w/src/5.rs:5",
                "  … 3 frames of the runtime; backtrace=full shows them",
            ]
        );
    }

    #[test]
    fn a_recursion_shows_its_ends() {
        let mut entries: Vec<_> = (0..16).map(|n| frame(n, &["app::recurse"])).collect();
        entries.push(Entry::Gap("  … 859 more …".into(), 859));
        entries.extend((875..889).map(|n| frame(n, &["app::recurse"])));
        entries.push(frame(889, &["app::main"]));
        let text = folded(entries);
        let lines: Vec<_> = text.lines().map(|line| line.split(" at ").next().unwrap()).collect();
        let recurse = |n: usize| format!("  #{n:02} 0x1 app::recurse");
        let more = "  … 885 frames more of app::recurse";
        assert_eq!(lines, [&recurse(0), &recurse(1), &recurse(2), more, &recurse(888), "  #889 0x1 app::main"]);
        let short = folded((0..SHORT).map(|n| frame(n, &["app::recurse"])).collect());
        assert_eq!(short.lines().count(), SHORT);
    }

    #[test]
    fn a_gap_between_different_functions_stays() {
        let gap = || Entry::Gap("  … 12 more …".into(), 12);
        let text = folded(vec![frame(0, &["app::a"]), gap(), frame(13, &["app::b"]), gap(), frame(26, &["core::c"])]);
        let lines: Vec<_> = text.lines().map(|line| line.split(" at ").next().unwrap()).collect();
        let runtime = "  … 1 frame of the runtime; backtrace=full shows them";
        assert_eq!(lines, ["  #00 0x1 app::a", "  … 12 more …", "  #13 0x1 app::b", "  … 12 more …", runtime]);
    }

    #[test]
    fn a_trace_without_a_frame_of_the_program_is_whole_and_so_is_one_by_option() {
        let text = folded(vec![frame(0, &["core::a"]), frame(1, &["trefoil::b"])]);
        assert_eq!(text, "  #00 0x1 core::a at /w/src/0.rs:5\n  #01 0x1 trefoil::b at /w/src/1.rs:5\n");
        assert!(Traces::new(Path::new("/"), "seed=1 backtrace=full").full);
        assert!(!Traces::new(Path::new("/"), "seed=1 -- backtrace=full").full);
        // A frame without a symbol may be what went wrong.
        assert!(folded(vec![frame(0, &[]), frame(1, &["core::a"])]).starts_with("  #00 0x1\n  … 1 frame of"));
    }

    #[test]
    fn lines_between_traces_come_in_their_place() {
        let mut traces = Traces::new(Path::new("/no/image"), "");
        assert!(traces.line(b"  #00 0xffffffff80201234").is_empty() && traces.is_held());
        assert_eq!(traces.line(b"after"), b"  #00 0xffffffff80201234\nafter\n");
        assert_eq!(traces.line(b"  created at a.rs:5"), b"  created at a.rs:5\n");
    }
}
