//! Test images: such an image carries a table of its boots, with the expected result of each.
//!
//! `kernel/tests/support` puts a text into the section `.trefoil.tests`, a line for each case:
//!
//! ```text
//!   steal_spreads  | smp 2,4 | timeout 30
//!   divide_error   | smp 1 | exit 1 | expect exception 0 #DE | expect end of report
//! ```
//!
//! Each case is one boot for each of its `smp`s, with the case's name as the program's word. `cargo
//! test` runs the image through the cargo runner, which finds the section and prints what libtest
//! would.
//!
//! `#[trefoil::test]` writes the same lines, with `@` and the test's whole path as the case. The
//! name that is shown is then libtest's: without the crate, and without `smp` if there is one boot.

use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::qemu::{Settings, Stdin};
use crate::selection::Selection;
use crate::{run, symbols};

/// One boot of a test image.
#[derive(Debug, Clone)]
pub struct Boot {
    /// `case` or `case::smpN`.
    pub name: String,
    case: String,
    settings: Settings,
    exit: u8,
    expect: Vec<String>,
    refuse: Vec<String>,
    /// The shape of every line, with each run of digits as `#`.
    shape: Option<String>,
    /// How many lines there are.
    lines: Option<usize>,
    /// How many goroutines report their panic or their overflow, each in one piece.
    reports: Option<usize>,
    /// The expected texts come in the order of the table.
    in_order: bool,
    /// Compares times: runs alone, and only where the host has so many free cores.
    free_cores: usize,
    /// Takes minutes or gigabytes: runs alone, and only when asked for (`--ignored`, as libtest has
    /// it).
    large: bool,
    /// Runs only when asked for.
    ignored: bool,
}

/// Cores of a case that does not say.
const SMP: &str = "1,2,4";
/// Limit of a case that does not say: 60 s.
const TIMEOUT: u64 = 60;

/// Parses the boots that the text of a section asks for.
///
/// # Errors
/// A line that can't be read is named.
pub fn parse(text: &str) -> Result<Vec<Boot>, String> {
    let mut boots = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let mut fields = line.split('|').map(str::trim);
        let case = fields.next().unwrap_or_default().to_string();
        let mut boot = Boot {
            name: String::new(),
            case: case.clone(),
            settings: Settings {
                timeout: Duration::from_secs(TIMEOUT),
                memory: "256M".into(),
                limited_by: "its boot's `timeout` says so",
                ..Settings::default()
            },
            exit: 0,
            expect: Vec::new(),
            refuse: Vec::new(),
            shape: None,
            lines: None,
            reports: None,
            in_order: false,
            free_cores: 0,
            large: false,
            ignored: false,
        };
        let path = case.strip_prefix('@').map(|path| path.to_string());
        if let Some(path) = &path {
            boot.case.clone_from(path);
        }
        let mut smp = SMP.to_string();
        for field in fields.filter(|f| !f.is_empty()) {
            let (key, value) = field.split_once(' ').unwrap_or((field, ""));
            let number = || value.parse::<u64>().map_err(|_| format!("{line}: {key} wants a number"));
            match key {
                "smp" => smp = value.into(),
                "exit" => boot.exit = number()? as u8,
                "expect" => boot.expect.push(value.into()),
                "refuse" => boot.refuse.push(value.into()),
                "shape" => boot.shape = Some(value.into()),
                "reports" => boot.reports = Some(number()? as usize),
                "lines" => boot.lines = Some(number()? as usize),
                "in-order" => boot.in_order = true,
                "machine" => boot.settings.machine = value.into(),
                "mem" => boot.settings.memory = value.into(),
                "append" => boot.settings.append = value.into(),
                "input" => boot.settings.input = Some(value.into()),
                "stdin" => boot.settings.stdin = stdin(value),
                "cpu" => boot.settings.cpu = value.into(),
                "qemu" => boot.settings.extra = value.split_whitespace().map(String::from).collect(),
                "timeout" => boot.settings.timeout = Duration::from_secs(number()?),
                "icount" => boot.settings.icount = true,
                "trace" => boot.settings.trace = Some("/dev/null".into()),
                "large" => (boot.large, boot.ignored) = (true, true),
                "ignored" => boot.ignored = true,
                "free-cores" => boot.free_cores = number()? as usize,
                _ => return Err(format!("{line}: no such field: {key}")),
            }
        }
        // A topology has commas of its own; several are separated by spaces.
        let several: Vec<&str> = if smp.contains('=') { smp.split(' ').collect() } else { smp.split(',').collect() };
        let one_only = several.len() == 1;
        for smp in several {
            let mut one = boot.clone();
            one.name = match &path {
                Some(path) if one_only => within_crate(path).to_string(),
                Some(path) => format!("{}::smp{smp}", within_crate(path)),
                None => format!("{case}::smp{smp}"),
            };
            one.settings.smp = smp.into();
            boots.push(one);
        }
    }
    Ok(boots)
}

/// Returns a path without its crate.
fn within_crate(path: &str) -> &str {
    path.split_once("::").map_or(path, |(_, rest)| rest)
}

/// Reads the input that a case types: `flood N`, so many bytes as fast as they are taken (see
/// [`flood`]); `paced N`, the same at 115,200 baud; `later TEXT`, half a second after the machine
/// asked; else the text itself. `\\n` stands for a line end.
fn stdin(value: &str) -> Stdin {
    let text = |text: &str| text.replace("\\n", "\n").into_bytes();
    match value.split_once(' ') {
        Some(("flood", n)) if n.parse::<usize>().is_ok() => Stdin::Bytes(flood(n.parse().unwrap_or(0)), Duration::ZERO),
        Some(("paced", n)) if n.parse::<usize>().is_ok() => Stdin::Paced(flood(n.parse().unwrap_or(0))),
        Some(("later", later)) => Stdin::Bytes(text(later), Duration::from_millis(500)),
        _ => Stdin::Bytes(text(value), Duration::ZERO),
    }
}

/// Returns `n` bytes of lines. Each begins with its number, in eight digits, so that a missing one
/// shows.
fn flood(n: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..n.div_ceil(64))
        .flat_map(|i| format!("{i:08} {:54}\n", "some more, as one pastes it").into_bytes())
        .collect();
    bytes.truncate(n);
    bytes
}

impl Boot {
    /// Boots `image` and checks what came of it: all it printed; on failure, why, with that.
    fn run(&self, image: &Path) -> Result<String, String> {
        let mut out: Vec<u8> = Vec::new();
        let code = run::run(image, std::slice::from_ref(&self.case), &self.settings, &mut out)?;
        let text = without_backspaces(&String::from_utf8_lossy(&out));
        let mut wrong = String::new();
        if code != self.exit {
            wrong += &format!("exit {code} instead of {}\n", self.exit);
        }
        for missing in self.expect.iter().filter(|e| !text.contains(e.as_str())) {
            wrong += &format!("did not print {missing:?}\n");
        }
        for found in self.refuse.iter().filter(|e| text.contains(e.as_str())) {
            wrong += &format!("printed {found:?}\n");
        }
        if let Some(shape) = &self.shape {
            for line in text.lines().filter(|l| !l.is_empty() && shape_of(l) != *shape) {
                wrong += &format!("the line {line:?} is not like {shape:?}\n");
            }
        }
        if let Some(lines) = self.lines
            && text.lines().count() != lines
        {
            wrong += &format!("{} lines instead of {lines}\n", text.lines().count());
        }
        if let Some(reports) = self.reports
            && whole_reports(&text) != Ok(reports)
        {
            wrong += &format!("{:?} instead of {reports} whole reports\n", whole_reports(&text));
        }
        let places: Vec<_> = self.expect.iter().map(|e| text.find(e.as_str())).collect();
        if self.in_order && !places.is_sorted() {
            wrong += "not in this order\n";
        }
        if wrong.is_empty() { Ok(text) } else { Err(format!("{wrong}--- output\n{text}")) }
    }
}

/// Returns what a terminal shows of `text`. A backspace goes one column back, and the next
/// character takes that column. An editor echoes so when it erases a character that it has shown.
/// It shows less if all is typed at once.
fn without_backspaces(text: &str) -> String {
    let mut shown = Vec::with_capacity(text.len());
    // The begin of the row, and the cursor.
    let (mut row, mut at) = (0usize, 0usize);
    for c in text.chars() {
        match c {
            '\x08' => at = at.saturating_sub(1).max(row),
            '\n' | '\r' => {
                shown.push(c);
                (row, at) = (shown.len(), shown.len());
            }
            _ => {
                if at < shown.len() {
                    shown[at] = c
                } else {
                    shown.push(c)
                }
                at += 1;
            }
        }
    }
    shown.into_iter().collect()
}

/// Counts the reports of goroutines that panicked or overflowed their stack.
///
/// # Errors
/// A report ends before its last line, or another line stands in it.
fn whole_reports(text: &str) -> Result<usize, &str> {
    let mut whole = 0;
    // How the last line of the report begins.
    let mut last: Option<&str> = None;
    for line in text.lines() {
        let head = if line.starts_with("trefoil: stack overflow: G ") {
            Some("trefoil: G ")
        } else {
            (line.starts_with("trefoil: G ") && line.contains(" panicked at ")).then_some("  created ")
        };
        match last {
            Some(end) if line.starts_with(end) && head.is_none() => {
                whole += 1;
                last = None;
            }
            Some(_) if !line.starts_with("  ") => return Err(line),
            Some(_) => {}
            None => last = head,
        }
    }
    if last.is_some() { Err("the end of the output") } else { Ok(whole) }
}

/// Returns `line`, as a terminal shows it in the end, with each run of digits as `#`.
fn shape_of(line: &str) -> String {
    let line = line.rsplit(symbols::ERASE).next().unwrap_or(line);
    let mut shape = String::new();
    for c in line.trim_end().chars() {
        match c.is_ascii_digit() {
            true if shape.ends_with('#') => {}
            true => shape.push('#'),
            false => shape.push(c),
        }
    }
    shape
}

/// Returns true if `n` threads of this host really run at the same time, measured for a moment.
fn has_free_cores(n: usize) -> bool {
    let spin = || {
        let (end, mut turns) = (Instant::now() + Duration::from_millis(60), 0u64);
        while Instant::now() < end {
            turns += 1;
        }
        turns
    };
    let alone = spin();
    let together: u64 = std::thread::scope(|s| {
        let threads: Vec<_> = (0..n).map(|_| s.spawn(spin)).collect();
        threads.into_iter().map(|t| t.join().unwrap_or(0)).sum()
    });
    together as f64 > 0.9 * n as f64 * alone as f64
}

/// Returns the number of boots at a time: a machine of four cores keeps two of the host's busy.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1))
}

/// Runs the boots that `selection` names, and reports as libtest does.
///
/// # Errors
/// The section's text is wrong.
pub fn run_all(image: &Path, text: &str, selection: &Selection) -> Result<u8, String> {
    let begin = Instant::now();
    let (boots, left): (Vec<_>, Vec<_>) =
        parse(text)?.into_iter().partition(|b| selection.names(b) && (b.ignored || !selection.ignored));
    if selection.list {
        return Ok(list(&boots, selection.is_terse()));
    }
    println!("\nrunning {} test{}", boots.len(), if boots.len() == 1 { "" } else { "s" });
    let (skipped, boots): (Vec<_>, Vec<_>) =
        boots.iter().partition(|b| b.ignored && !selection.ignored && !selection.include_ignored);
    let tell = |name: &str, outcome: &str| match outcome.chars().next() {
        Some(first) if selection.is_terse() => {
            print!("{}", if first == 'o' { '.' } else { first });
            let _ = std::io::stdout().flush();
        }
        _ => println!("test {name} ... {outcome}"),
    };
    for boot in &skipped {
        tell(&boot.name, if boot.large { "ignored, large" } else { "ignored" });
    }
    let mut ignored = skipped.len();
    let (alone, shared): (Vec<_>, Vec<_>) = boots.iter().copied().partition(|b| b.large || b.free_cores > 0);
    let failures = Mutex::new(Vec::new());
    let report = |boot: &Boot, result: Result<String, String>| {
        // Its lines stay together, although several boots end at the same time.
        let mut failures = failures.lock().unwrap_or_else(|e| e.into_inner());
        tell(&boot.name, if result.is_ok() { "ok" } else { "FAILED" });
        match result {
            Ok(text) if selection.nocapture => println!("{text}"),
            Ok(_) => {}
            Err(why) => failures.push((boot.name.clone(), why)),
        }
    };
    let next = Mutex::new(shared.iter());
    std::thread::scope(|s| {
        for _ in 0..selection.test_threads.map_or_else(at_once, usize::from) {
            s.spawn(|| {
                loop {
                    let boot = next.lock().unwrap_or_else(|e| e.into_inner()).next();
                    let Some(boot) = boot else { break };
                    report(boot, boot.run(image));
                }
            });
        }
    });
    for boot in &alone {
        // A case runs only if the cores are free. Its failure counts only if they are free
        // afterwards, too.
        let is_free = || boot.free_cores == 0 || has_free_cores(boot.free_cores);
        let result = is_free().then(|| boot.run(image));
        match result {
            Some(result) if result.is_ok() || is_free() => report(boot, result),
            _ => {
                tell(&boot.name, &format!("ignored, the host has no {} free cores now", boot.free_cores));
                ignored += 1;
            }
        }
    }
    let failures = failures.into_inner().unwrap_or_else(|e| e.into_inner());
    for (name, why) in &failures {
        println!("\n---- {name}\n{why}");
    }
    if !failures.is_empty() {
        println!("\nfailures:");
        failures.iter().for_each(|(name, _)| println!("    {name}"));
    }
    let passed = boots.len() + skipped.len() - failures.len() - ignored;
    println!(
        "\ntest result: {}. {passed} passed; {} failed; {ignored} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failures.is_empty() { "ok" } else { "FAILED" },
        failures.len(),
        left.len(),
        begin.elapsed().as_secs_f64()
    );
    Ok(u8::from(!failures.is_empty()))
}

/// Lists the boots. Returns the exit status.
fn list(boots: &[Boot], terse: bool) -> u8 {
    boots.iter().for_each(|boot| println!("{}: test", boot.name));
    if !terse {
        println!("\n{} tests, 0 benchmarks", boots.len());
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backspace_takes_back_what_is_shown() {
        for (text, shown) in [
            ("helo\x08 \x08lo\n", "hello\n"),
            ("one\näö\x08 \x08x\nend", "one\näx\nend"),
            ("a\x08\x08\x08b\x08\nc", "b\nc"),
        ] {
            assert_eq!(without_backspaces(text), shown);
        }
    }

    #[test]
    fn a_case_is_a_boot_for_each_smp() {
        let boots = parse("a | smp 1,2 | exit 1 | expect x y\n\n b | smp 4,sockets=2,cores=2 8 | mem 64M").unwrap();
        let names: Vec<_> = boots.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(names, ["a::smp1", "a::smp2", "b::smp4,sockets=2,cores=2", "b::smp8"]);
        assert_eq!((boots[0].exit, boots[0].expect[0].as_str()), (1, "x y"));
        assert_eq!(boots[2].settings.memory, "64M");
        assert_eq!(
            parse("a | smp 1 | qemu -rtc base=2026-01-02").unwrap()[0].settings.extra,
            ["-rtc", "base=2026-01-02"]
        );
    }

    #[test]
    fn a_shape_is_a_line_without_its_numbers() {
        assert_eq!(shape_of("[1 22 1]\r"), "[# # #]");
        assert_ne!(shape_of("[1[2 3 1]"), "[# # #]");
        assert_eq!(shape_of("half a li\r\x1b[K[1 22 1]"), "[# # #]", "the rest was erased");
    }

    #[test]
    fn a_report_with_a_line_of_another_in_it_is_found() {
        let (panics, overflows) = ("trefoil: G 7 panicked at a.rs:1:2: no\n", "trefoil: stack overflow: G 8 has\n");
        let (frame, created, ended) = ("  #00 0x1\n", "  created at a.rs:1\n", "trefoil: G 8 has ended;\n");
        let all = [panics, frame, created, "a line\n", overflows, frame, created, ended].concat();
        assert_eq!(whole_reports(&all), Ok(2));
        assert_eq!(whole_reports(&[panics, frame, "a line\n", created].concat()), Err("a line"));
        assert_eq!(whole_reports(&[overflows, panics, created, ended].concat()), Err(panics.trim_end()));
        assert!(whole_reports(&[panics, frame].concat()).is_err());
    }

    #[test]
    fn lines_can_be_counted_and_wanted_in_order() {
        let boot = &parse("a | smp 1 | lines 400 | expect x | expect y | in-order").unwrap()[0];
        assert_eq!((boot.lines, boot.in_order, boot.expect.len()), (Some(400), true, 2));
    }

    #[test]
    fn a_case_can_type() {
        let bytes = |line: &str| match &parse(line).unwrap()[0].settings.stdin {
            Stdin::Bytes(bytes, after) => (String::from_utf8(bytes.clone()).unwrap(), after.as_millis()),
            other => panic!("{other:?}"),
        };
        assert_eq!(bytes("a | smp 1 | stdin one\\ntwo"), ("one\ntwo".into(), 0));
        assert_eq!(bytes("a | smp 1 | stdin later x\\n"), ("x\n".into(), 500));
        let (flood, _) = bytes("a | smp 1 | stdin flood 130");
        assert_eq!(flood.len(), 130);
        assert!(flood.starts_with("00000000 some") && flood.ends_with("\n00") && flood[64..].starts_with("00000001 "));
        let paced = &parse("a | smp 1 | stdin paced 130").unwrap()[0].settings.stdin;
        assert!(matches!(paced, Stdin::Paced(bytes) if *bytes == flood.as_bytes()));
    }

    #[test]
    fn a_test_of_the_attribute_has_libtests_name() {
        let boots = parse("@machine::waits::wakes | smp 4\n@machine::joins | smp 1,2 | ignored").unwrap();
        let names: Vec<_> = boots.iter().map(|b| (b.name.as_str(), b.case.as_str(), b.ignored)).collect();
        let wakes = ("waits::wakes", "machine::waits::wakes", false);
        assert_eq!(names, [wakes, ("joins::smp1", "machine::joins", true), ("joins::smp2", "machine::joins", true)]);
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        assert!(parse("a | exitt 1").unwrap_err().contains("exitt"));
        assert!(parse("a | exit x").unwrap_err().contains("number"));
    }
}
