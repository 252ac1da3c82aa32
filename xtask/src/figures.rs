//! Figures: tables in `docs/` that are written from the output of the programs that count.
//!
//! `cargo xtask figures` boots each of these programs, with instructions counted on one core, and
//! writes its tables between their [markers]. `cargo xtask figures FILE` reads the
//! output from a file instead, and leaves tables without a figure there as they are. `make
//! stretches` does so: the longest stretches need a kernel of their own. The [`chart`] shows these
//! tables, so it is drawn again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::process::Command;

use cargo_trefoil::elf;

use crate::markers;
use crate::pictures::chart;

/// A table.
pub struct Table {
    /// The page that has it.
    pub page: &'static str,
    /// The name of its markers.
    pub name: &'static str,
    /// The program whose output it shows.
    pub program: Program,
    render: fn(&Output) -> Result<String, String>,
}

/// A source of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// An example that counts.
    Example(&'static str),
    /// The sizes of an image, and of a boot of `microvm`.
    Image,
    /// The test of the longest stretches. Only by `make stretches`.
    Stretches,
}

/// Every table.
pub const TABLES: [Table; 12] = [
    table("docs/figures.md", "operations", Program::Example("bench"), operations),
    table("docs/figures.md", "stacks", Program::Example("bench"), stacks),
    table("docs/figures.md", "blocks", Program::Example("bench"), blocks),
    table("docs/figures.md", "lateness", Program::Example("timers"), lateness),
    table("docs/figures.md", "image", Program::Image, image),
    table("docs/time.md", "timers", Program::Example("timers"), timers),
    table("docs/time.md", "queues", Program::Example("timer_queues"), queues),
    table("docs/preemption.md", "slices", Program::Example("slices"), slices),
    table("docs/preemption.md", "stretches", Program::Stretches, stretches),
    table("docs/channels.md", "contend", Program::Example("contend"), contend),
    table("docs/channels.md", "sizes", Program::Example("sizes"), sizes),
    table("docs/channels.md", "consumers", Program::Example("consumers"), consumers),
];

const fn table(
    page: &'static str,
    name: &'static str,
    program: Program,
    render: fn(&Output) -> Result<String, String>,
) -> Table {
    Table { page, name, program, render }
}

impl Table {
    /// Returns the table that shows `output`.
    ///
    /// # Errors
    /// Names the first figure that is not there.
    pub fn render(&self, output: &str) -> Result<String, String> {
        (self.render)(&Output(output))
    }
}

/// The text that a program has printed.
pub struct Output<'a>(pub &'a str);

impl Output<'_> {
    /// The number after `name: `.
    ///
    /// # Errors
    /// The program has not printed it.
    pub fn figure(&self, name: &str) -> Result<f64, String> {
        let begin = format!("{name}: ");
        let line = self.0.lines().find_map(|line| line.strip_prefix(&begin));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).ok_or_else(|| format!("no {name}"))
    }

    /// The same, as it stands in a table.
    fn shown(&self, name: &str) -> Result<String, String> {
        self.figure(name).map(show)
    }

    /// The words of the line that begins with `begin`, without it; an error if there is none.
    pub fn words(&self, begin: &str) -> Result<Vec<&str>, String> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(begin));
        line.map(|rest| rest.split_whitespace().collect()).ok_or_else(|| format!("no {begin}"))
    }
}

/// A number with commas; with one digit after the point if it is small and has one.
fn show(number: f64) -> String {
    let tenths = (number * 10.0).round() as u64;
    if tenths < 300 && !tenths.is_multiple_of(10) {
        return format!("{}.{}", tenths / 10, tenths % 10);
    }
    grouped((tenths + 5) / 10)
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A table of labelled rows.
fn rows(head: &str, rows: impl IntoIterator<Item = Result<Vec<String>, String>>) -> Result<String, String> {
    let columns = head.matches('|').count() - 1;
    let mut out = format!("{head}\n|---|{}\n", "--:|".repeat(columns - 1));
    for row in rows {
        out += &format!("| {} |\n", row?.join(" | "));
    }
    Ok(out)
}

/// A name that `bench` prints, the label, and Go's count of the same on Linux (1.27, in the same
/// QEMU).
const OPERATIONS: [(&str, &str, &str); 11] = [
    ("yield", "yield between two G's", "796"),
    ("rendezvous round trip", "rendezvous round trip (two channels)", "2,770"),
    ("buffered send+recv", "buffered send + recv, one G", "410"),
    ("select, two ready arms", "`select!`, two ready arms", "586"),
    ("spawn+join", "spawn + join, one at a time", "3,106"),
    ("spawn 10000, wait, each", "spawn 10,000, wait, each", "1,820"),
    ("mutex lock+unlock", "mutex lock + unlock, loop subtracted", "20.5"),
    ("rwlock read+unlock", "rwlock read + unlock", "–"),
    ("rwlock write+unlock", "rwlock write + unlock", "–"),
    ("once done", "`Once`: is it done", "–"),
    ("semaphore acquire+release", "semaphore acquire + release", "–"),
];

const STACKS: [(&str, &str, &str); 6] = [
    ("growth by a page", "one growth fault", "–"),
    ("growth to 64 KiB", "growing a stack to 64 KiB, beyond the recursion itself", "164,000"),
    ("create+park, each of 20000", "create and park one of 20,000", "3,755"),
    ("shrink by 6 pages", "shrink a stack by six pages", "–"),
    ("pack", "pack a parked stack", "–"),
    ("unpack", "unpack a parked stack", "–"),
];

fn beside_go(output: &Output, list: &[(&str, &str, &str)]) -> Result<String, String> {
    rows(
        "| per operation | instructions | Go on Linux |",
        list.iter().map(|(name, label, go)| {
            Ok(vec![label.to_string(), output.shown(&format!("bench {name}"))?, go.to_string()])
        }),
    )
}

fn operations(output: &Output) -> Result<String, String> {
    beside_go(output, &OPERATIONS)
}

fn stacks(output: &Output) -> Result<String, String> {
    beside_go(output, &STACKS)
}

fn blocks(output: &Output) -> Result<String, String> {
    rows(
        "| bytes, amid 20,000 holes | alloc | free |",
        [3_000, 5_000, 65_536, 8_388_608].map(|bytes| {
            let of = |what: &str| output.shown(&format!("bench {what} {bytes} bytes amid holes"));
            Ok(vec![grouped(bytes), of("alloc")?, of("free")?])
        }),
    )
}

fn lateness(output: &Output) -> Result<String, String> {
    rows(
        "| a sleep of 1 ms ends late by, ns | p50 | p99 | at most |",
        [("on an idle core", "on an idle core"), ("beside a spinning goroutine", "beside a spinning G")].map(
            |(name, label)| {
                let of = |what: &str| output.shown(&format!("lateness {name}, {what}"));
                Ok(vec![label.to_string(), of("p50")?, of("p99")?, of("max")?])
            },
        ),
    )
}

fn image(output: &Output) -> Result<String, String> {
    let reset = output.figure("boot: instructions from reset to main")?;
    let kilobytes = output.figure("image")? / 1000.0;
    rows(
        "| | Trefoil | Go on Linux |",
        [
            Ok(vec!["reset to `main`, `microvm`, instructions".into(), show(reset), "1,598,000,000".into()]),
            Ok(vec!["image `hello`, stripped, KB".into(), show(kilobytes), "14,200 + 800".into()]),
        ],
    )
}

fn timers(output: &Output) -> Result<String, String> {
    rows(
        "| others that are pending | start | reset | stop | a sleeper's expiry | a call on a goroutine of its own |",
        [10, 1_000, 100_000].map(|pending| {
            let of = |what: &str| output.shown(&format!("{what}, {pending} pending"));
            Ok(vec![
                grouped(pending),
                of("timer insert")?,
                of("timer reset")?,
                of("timer cancel")?,
                of("sleeper's expiry")?,
                of("timer expiry with a goroutine")?,
            ])
        }),
    )
}

fn queues(output: &Output) -> Result<String, String> {
    let counts = [10, 1_000, 100_000];
    let places = counts.into_iter().flat_map(|n| ["4-ary heap", "binary heap", "wheel"].map(|queue| (n, queue)));
    rows(
        "| timers | queue | insert | cancel | expiry | insert, at most | cancel, at most | expiry, at most | late by, ns | looks | bytes a timer |",
        places.map(|(count, queue)| {
            let numbers = output.words(&format!("{queue:12} {count:6} "))?;
            let numbers = numbers.iter().map(|n| n.parse().map(grouped).map_err(|_| format!("{n} is no number")));
            let first = if queue == "4-ary heap" { grouped(count) } else { String::new() };
            let queue = if queue == "4-ary heap" { "**4-ary heap**" } else { queue };
            [Ok(first), Ok(queue.to_string())].into_iter().chain(numbers).collect()
        }),
    )
    .map(|table| table.replacen("|---|--:|", "|--:|---|", 1).replace("|  |", "| |"))
}

fn slices(output: &Output) -> Result<String, String> {
    rows(
        "| slice, µs | preemptions in 20 ms | instructions for each, interrupt to interrupt | overhead, % |",
        [5, 20, 50, 100, 1_000].map(|us| {
            let words = output.words(&format!("{us:8} "))?;
            let [count, each, overhead, "%"] = words[..] else { return Err(format!("no slice of {us}")) };
            let number = |n: &str| n.parse().map(grouped).map_err(|_| format!("{n} is no number"));
            Ok(vec![grouped(us), number(count)?, number(each)?, overhead.to_string()])
        }),
    )
}

/// The longest that `kernel/tests/stretches.rs` allows without a name.
const USUAL_STRETCH: u64 = 5_000;

/// The operations with a longer stretch, each with its reason: the longest first.
fn stretches(output: &Output) -> Result<String, String> {
    let row = |line: &str| -> Option<(u64, String)> {
        let [_, name, ticks, why, _] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else { return None };
        let ticks = ticks.parse().ok().filter(|ticks| *ticks > USUAL_STRETCH)?;
        Some((ticks, format!("| {name} | {} | {why} |\n", grouped(ticks))))
    };
    let mut rows: Vec<_> = output.0.lines().filter_map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.0));
    if rows.is_empty() {
        return Err("no stretch".into());
    }
    let rows: String = rows.into_iter().map(|(_, row)| row).collect();
    Ok(format!("| operation | instructions | why |\n|---|--:|---|\n{rows}"))
}

fn contend(output: &Output) -> Result<String, String> {
    rows(
        "| | channel | bare | watched |",
        [
            ("pairs x 1", "a goroutine that sends and receives in turn"),
            ("pairs x 16", "16 of them"),
            ("producers, consumers x 1", "a sender, a receiver"),
            ("producers, consumers x 16", "16 senders, 16 receivers"),
        ]
        .map(|(name, label)| {
            let words = output.words(&format!("{name}: "))?;
            let ["channel", channel, _, "bare", bare, _, "watched", watched, _] = words[..] else {
                return Err(format!("no {name}"));
            };
            Ok([label, channel, bare, watched].map(String::from).to_vec())
        }),
    )
}

fn sizes(output: &Output) -> Result<String, String> {
    rows(
        "| bytes | through a buffer | handed over to one that waits | one copy, for comparison |",
        [8, 64, 128, 256, 300, 1_024, 4_096, 65_536].map(|bytes| {
            let line = output.words(&format!("{bytes} bytes: "))?.join(" ");
            let number = |name: &str| {
                let (_, rest) = line.split_once(name).ok_or_else(|| format!("no{name}of {bytes} bytes"))?;
                let digits = rest.split([',', ';']).next().unwrap_or(rest).trim();
                digits.parse().map(grouped).map_err(|_| format!("{digits} is no number"))
            };
            Ok(vec![grouped(bytes), number("a buffer ")?, number("handed over ")?, number("a copy ")?])
        }),
    )
    .map(|table| table.replacen("|---|", "|--:|", 1))
}

fn consumers(output: &Output) -> Result<String, String> {
    let rooms = ["bounded(0)", "bounded(128)", "unbounded"];
    let ways = ["slice 10000", "slice 1000", "slice 100", "turns of 1", "turns of 16"];
    rows(
        "| channel, consumers | most | median | least | instructions a value |",
        rooms.into_iter().flat_map(|room| ways.map(|way| (room, way))).map(|(room, way)| {
            let words = output.words(&format!("{room}, {way}: "))?;
            let numbers = words.iter().filter_map(|word| word.trim_end_matches(',').parse().ok()).map(grouped);
            Ok([format!("`{room}`, {way}")].into_iter().chain(numbers).collect())
        }),
    )
}

/// Writes the tables, from `file` or from programs that it boots.
///
/// # Errors
/// A program does not build or fails, a figure is missing, or a page has no place for a table.
pub fn figures(file: Option<&Path>) -> Result<u8, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no checkout")?;
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let given = file.map(read).transpose()?;
    let mut outputs: BTreeMap<Program, String> = BTreeMap::new();
    let mut written = 0;
    for table in &TABLES {
        if given.is_none() && table.program == Program::Stretches {
            println!("{}: `make stretches` writes {}", table.page, table.name);
            continue;
        }
        let text = match &given {
            Some(text) => text,
            None => match outputs.entry(table.program) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(run(root, table.program)?),
            },
        };
        let rendered = match table.render(text) {
            Ok(rendered) => rendered,
            Err(_) if given.is_some() => continue,
            Err(missing) => return Err(format!("{}: {missing}", table.name)),
        };
        let path = root.join(table.page);
        let page = markers::replace(&read(&path)?, table.name, &rendered);
        std::fs::write(&path, page.map_err(|e| format!("{}: {e}", table.page))?)
            .map_err(|e| format!("{}: {e}", table.page))?;
        println!("{}: {} is written", table.page, table.name);
        written += 1;
    }
    if written == 0 {
        return Err("no table has all its figures there".into());
    }
    chart::write(root)?;
    Ok(0)
}

/// Boots `program` with counted instructions, and returns its output.
fn run(root: &Path, program: Program) -> Result<String, String> {
    let example = |name: &str, machine: &str| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let out = Command::new(cargo)
            .current_dir(root)
            .args(["run", "--quiet", "--release", "--package", "trefoil", "--example", name])
            .envs([("ICOUNT", "1"), ("MACHINE", machine)])
            .output()
            .map_err(|e| format!("cargo: {e}"))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if out.status.success() { Ok(text) } else { Err(format!("{name} has failed:\n{text}")) }
    };
    match program {
        Program::Example(name) => example(name, "q35"),
        Program::Image => {
            let boot = example("boot", "microvm")?;
            example("hello", "q35")?;
            let size = elf::stripped_size(&root.join("target/release/examples/hello"))?;
            Ok(format!("{boot}image: {size}\n"))
        }
        Program::Stretches => Err("`make stretches` runs it".into()),
    }
}

/// Returns the cells of two tables of the same form that differ by more than a tenth, and by more
/// than two: figures that are to be written anew.
pub fn drift(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.trim().lines().collect(), new.trim().lines().collect());
    if old.len() != new.len() {
        return vec![format!("{} rows, and {} are new", old.len(), new.len())];
    }
    let differ = |a: &str, b: &str| match (number(a), number(b)) {
        (Some(a), Some(b)) => (a - b).abs() > 2.0 && (a - b).abs() > 0.1 * a.max(b),
        _ => a.trim() != b.trim(),
    };
    let pairs = old.into_iter().zip(new);
    pairs.filter(|(a, b)| !same_cells(a, b, differ)).map(|(a, b)| format!("{a} is {b} now")).collect()
}

fn same_cells(a: &str, b: &str, differ: impl Fn(&str, &str) -> bool) -> bool {
    a.matches('|').count() == b.matches('|').count() && !a.split('|').zip(b.split('|')).any(|(a, b)| differ(a, b))
}

fn number(cell: &str) -> Option<f64> {
    cell.trim().replace(',', "").parse().ok()
}

/// Returns the lines of `page`, outside its generated tables, that repeat a figure of `tables`:
/// "3,158 instructions".
pub fn repeats(page: &str, tables: &[&str]) -> Vec<(usize, String)> {
    // The first cell is a label.
    let cells = tables.iter().flat_map(|table| table.lines()).flat_map(|row| row.split('|').skip(2).map(str::trim));
    let figures: Vec<String> = cells
        .filter(|cell| number(cell).is_some_and(|n| n >= 100.0))
        .map(|cell| format!(" {cell} instructions"))
        .collect();
    let lines = (1..).zip(page.lines());
    let repeat = |line: &str| figures.iter().any(|figure| format!(" {line}").contains(figure.as_str()));
    lines.filter(|(_, line)| repeat(line)).map(|(at, line)| (at, line.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        let shown = [3.0, 20.5, 118.9, 224.5, 3154.8, 1_000_000.0, 0.04].map(show);
        assert_eq!(shown, ["3", "20.5", "119", "225", "3,155", "1,000,000", "0"]);
    }

    #[test]
    fn a_table_shows_each_figure_beside_its_label() {
        let mut output = "cargo says something\n".to_string();
        for (at, (name, ..)) in OPERATIONS.iter().enumerate() {
            output += &format!("bench {name}: {}.4\n", 100 + at);
        }
        let text = operations(&Output(&output)).unwrap();
        assert!(text.starts_with("| per operation | instructions | Go on Linux |\n|---|--:|--:|\n"), "{text}");
        assert!(text.contains("| yield between two G's | 100 | 796 |\n"), "{text}");
        assert!(text.ends_with("| semaphore acquire + release | 110 | – |\n"), "{text}");
        let missing = operations(&Output("bench yield: 5\n")).unwrap_err();
        assert_eq!(missing, "no bench rendezvous round trip");
    }

    #[test]
    fn tables_of_other_forms_are_read() {
        let sizes_of = |n: u64| format!("{n} bytes: through a buffer {}, handed over 317; a copy 7\n", n + 5000);
        let text = sizes(&Output(&[8, 64, 128, 256, 300, 1_024, 4_096, 65_536].map(sizes_of).concat())).unwrap();
        assert!(text.contains("| 1,024 | 6,024 | 317 | 7 |"), "{text}");
        let line =
            |queue: &str| [10, 1_000, 100_000].map(|n| format!("{queue:12} {n:6}     71 68 35203459\n")).concat();
        let text = queues(&Output(&["4-ary heap", "binary heap", "wheel"].map(line).concat())).unwrap();
        assert!(text.contains("| 1,000 | **4-ary heap** | 71 | 68 | 35,203,459 |\n| | binary heap | 71"), "{text}");
        let line = |us: u64| format!("{us:8}          3234                 935       15.1 %\n");
        let text = slices(&Output(&[5, 20, 50, 100, 1_000].map(line).concat())).unwrap();
        assert!(text.contains("| 1,000 | 3,234 | 935 | 15.1 |"), "{text}");
        let line = |name: &str| format!("{name}: channel 79 (1.00) bare 71 (0.89) watched 107 (1.35)\n");
        let names = ["pairs x 1", "pairs x 16", "producers, consumers x 1", "producers, consumers x 16"];
        let text = contend(&Output(&names.map(line).concat())).unwrap();
        assert!(text.contains("| 16 of them | 79 | 71 | 107 |"), "{text}");
    }

    #[test]
    fn the_longest_stretch_comes_first() {
        let text =
            stretches(&Output("test x ... ok\n| a | 4999 | b |\n| b | 5431 | c |\n| d | 11227 | e, f |\n")).unwrap();
        assert!(text.ends_with("|---|\n| d | 11,227 | e, f |\n| b | 5,431 | c |\n"), "{text}");
        assert!(stretches(&Output("| a | 4999 |  |\n")).is_err());
    }

    #[test]
    fn a_figure_that_has_moved_by_more_than_a_tenth_is_named() {
        let old = "| a | n |\n|---|--:|\n| x | 1,000 |\n| y | 3 |\n";
        assert_eq!(drift(old, &old.replace("1,000", "1,090").replace("| 3", "| 5")), [""; 0]);
        let expect = ["| x | 1,000 | is | x | 1,200 | now"];
        assert_eq!(drift(old, &old.replace("1,000", "1,200")), expect);
        assert_eq!(drift(old, &old.replace("| y |", "| z |")), ["| y | 3 | is | z | 3 | now"]);
        assert_eq!(drift(old, "| a | n |\n"), ["4 rows, and 1 are new"]);
    }

    #[test]
    fn a_figure_typed_by_hand_is_found() {
        let table = "| x | 3,155 | 164,000 | 12 |";
        let page =
            "It takes 3,155 instructions.\nA 3,155 µs, 12 instructions, 13,155 instructions.\n3,155 instructions\n";
        assert_eq!(repeats(page, &[table]).iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn every_table_has_its_place() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for table in &TABLES {
            let page = std::fs::read_to_string(root.join(table.page)).unwrap();
            markers::part(&page, table.name).unwrap();
        }
    }
}
