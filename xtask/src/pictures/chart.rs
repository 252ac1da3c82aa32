//! The chart of costs beside Go's, drawn from the tables of the book.
//!
//! A bar shows how many times as fast as Go Trefoil is: Go's cost divided by Trefoil's, on an axis
//! on which each line doubles. A bar to the left of 1 is one where Go is faster. Every row of the
//! tables that has a figure of Go's has its row here.

use std::fmt::Write;
use std::path::Path;

use super::{SANS, escape};
use crate::markers;

/// The picture's name.
pub const FILE: &str = "chart.svg";

/// The tables of single operations.
const OPERATIONS: (&str, [&str; 2]) = ("docs/figures.md", ["operations", "stacks"]);
/// The table of whole programs.
const PROGRAMS: (&str, &str) = ("docs/performance.md", "programs");

/// The programs of the table in a reader's words.
const WORDS: [(&str, &str); 20] = [
    ("pskynet", "a tree of 100,000 goroutines"),
    ("pring", "a number through a ring of 503"),
    ("psieve", "primes, a goroutine each"),
    ("pcons0", "100 receivers, no buffer"),
    ("pcons128", "100 receivers, a buffer of 128"),
    ("pcham", "creatures that meet in pairs"),
    ("pmsort", "merge sort"),
    ("pmatmul", "a product of matrices"),
    ("pmatmul, warm", "the same product, the fifth time"),
    ("ptrees", "binary trees"),
    ("pwords", "the words of a text, counted"),
    ("pmutex", "eight at one mutex"),
    ("prwlock", "eight at one lock, mostly readers"),
    ("pselect", "a select among eight senders"),
    ("psleep", "100,000 sleepers"),
    ("pctx", "contexts in a tree"),
    ("pctx, cancel", "cancelling those contexts"),
    ("ppipe16", "eight in a row, buffers of 16"),
    ("ppipe0", "eight in a row, no buffers"),
    ("pchurn", "blocks allocated and dropped"),
];

const WIDTH: usize = 880;
/// Where the bar of a ratio of 1 begins, and the width of a doubling.
const ONE: f64 = 350.0;
const DOUBLING: f64 = 62.0;
/// The lines of the axis.
const AXIS: [(f64, &str); 8] =
    [(0.5, "½"), (1.0, "1"), (2.0, "2"), (4.0, "4"), (8.0, "8"), (16.0, "16"), (32.0, "32"), (64.0, "64")];

/// A row of single operations.
#[derive(Debug, PartialEq)]
struct Operation {
    label: String,
    trefoil: String,
    go: String,
    ratio: f64,
}

/// A row of whole programs: ratios on one core and on two.
#[derive(Debug, PartialEq)]
struct Program {
    name: String,
    ratios: [f64; 2],
    /// The same against Go without its garbage collector.
    without_gc: Option<[f64; 2]>,
}

/// The rows of a table: cells without blanks around them.
fn cells(table: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = table.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    rows.skip(1).map(|row| row.trim().trim_matches('|').split('|').map(str::trim).collect())
}

fn number(cell: &str) -> Option<f64> {
    cell.replace(',', "").parse().ok()
}

/// The rows that have a figure of Go's.
fn operations(table: &str) -> Result<Vec<Operation>, String> {
    let mut rows = Vec::new();
    for row in cells(table) {
        let [label, trefoil, go] = row[..] else { return Err(format!("{row:?}: not three cells")) };
        if go == "–" {
            continue;
        }
        let label = label.replace('`', "");
        let ratio = number(trefoil).zip(number(go)).map(|(trefoil, go)| go / trefoil);
        let ratio = ratio.ok_or_else(|| format!("{label}: {trefoil} and {go} are no numbers"))?;
        rows.push(Operation { label, trefoil: trefoil.into(), go: go.into(), ratio });
    }
    Ok(rows)
}

fn programs(table: &str) -> Result<Vec<Program>, String> {
    let (mut rows, mut without) = (Vec::new(), Vec::new());
    for row in cells(table) {
        let [name, _, _, one, _, _, two, _, _] = row[..] else { return Err(format!("{row:?}: not nine cells")) };
        let ratios = number(one).zip(number(two)).ok_or_else(|| format!("{name}: {one} and {two} are no ratios"))?;
        let ratios = [ratios.0, ratios.1];
        if name.contains(", GC off") {
            without.push((name.replace(", GC off", ""), ratios));
        } else {
            rows.push(Program { name: name.into(), ratios, without_gc: None });
        }
    }
    for (name, ratios) in without {
        let row = rows.iter_mut().find(|row| row.name == name).ok_or_else(|| format!("{name}: only without GC"))?;
        row.without_gc = Some(ratios);
    }
    // The greatest first. A part comes behind its program.
    let first = |row: &Program| row.name.split(',').next().unwrap_or_default().to_string();
    let ratios: Vec<_> = rows.iter().map(|row| (row.name.clone(), row.ratios[0])).collect();
    let key =
        |row: &Program| ratios.iter().find(|(name, _)| *name == first(row)).map_or(row.ratios[0], |found| found.1);
    rows.sort_by(|a, b| key(b).total_cmp(&key(a)).then(a.name.cmp(&b.name)));
    Ok(rows)
}

/// The place of a ratio on the axis.
fn place(ratio: f64) -> f64 {
    ONE + DOUBLING * ratio.log2().clamp(-1.0, 6.5)
}

/// A bar from 1 to `ratio`.
fn bar(svg: &mut String, class: &str, ratio: f64, y: usize, height: usize) {
    let (from, to) = (place(ratio).min(ONE), place(ratio).max(ONE));
    let class = if ratio < 1.0 { "go" } else { class };
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{height}\"/>",
        (to - from).max(1.0)
    );
}

/// The lines of the axis from `top` to `bottom`, with their numbers above.
fn axis(svg: &mut String, top: usize, bottom: usize) {
    for (ratio, text) in AXIS {
        let (class, x) = (if text == "1" { "one" } else { "grid" }, place(ratio));
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"M{x:.1} {top}V{bottom}\"/>");
        let _ = writeln!(svg, "<text class=\"dim mid\" x=\"{x:.1}\" y=\"{}\">{text}</text>", top - 5);
    }
}

/// Returns the chart of the book below `root`.
///
/// # Errors
/// A page can't be read, or a table lacks a figure.
pub fn render(root: &Path) -> Result<String, String> {
    let part = |page: &str, name: &str| {
        let text = std::fs::read_to_string(root.join(page)).map_err(|e| format!("{page}: {e}"))?;
        markers::part(&text, name).map(String::from).map_err(|e| format!("{page}: {e}"))
    };
    let (page, names) = OPERATIONS;
    let mut single = Vec::new();
    for name in names {
        single.extend(operations(&part(page, name)?)?);
    }
    draw(&single, &programs(&part(PROGRAMS.0, PROGRAMS.1)?)?)
}

const HEAD: &str = "\
.name { font-weight: 600; font-size: 15px; }
.dim { fill: #59636e; font-size: 11px; }
.fig { fill: #59636e; font-size: 11px; paint-order: stroke; stroke: #ffffff; stroke-width: 4px; }
.mid { text-anchor: middle; }
.end { text-anchor: end; }
.page { fill: #ffffff; }
.grid { stroke: #d8dee4; }
.one { stroke: #59636e; stroke-width: 1.5; }
.a { fill: #1a7f37; }
.b { fill: #6fc382; }
.go { fill: #bf3989; }
.gc { fill: #1f2328; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.dim { fill: #9198a1; }
.fig { fill: #9198a1; stroke: #0d1117; }
.page { fill: #0d1117; }
.grid { stroke: #2a313c; }
.one { stroke: #9198a1; }
.a { fill: #3fb950; }
.b { fill: #1f6f34; }
.go { fill: #db61a2; }
.gc { fill: #e6edf3; }
}
";

fn draw(single: &[Operation], programs: &[Program]) -> Result<String, String> {
    const ROW: usize = 20;
    let first = 96;
    let second = first + single.len() * ROW + 68;
    let end = second + programs.len() * ROW;
    let height = end + 20;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Go's cost divided by Trefoil's, for single operations and whole programs\">\n<style>\n\
         text {{ font: 12px {SANS}; fill: #1f2328; }}\n{HEAD}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>\n\
         <text class=\"name\" x=\"16\" y=\"28\">How many times as fast as Go on Linux</text>\n\
         <text class=\"dim\" x=\"16\" y=\"46\">Go's cost divided by Trefoil's, both in the same QEMU; each line doubles. \
         Left of 1, Go is faster.</text>\n\
         <text class=\"name\" x=\"16\" y=\"{}\">Single operations</text>\n\
         <text class=\"dim\" x=\"16\" y=\"{}\">instructions, one core</text>\n",
        first - 22,
        first - 5,
    );
    axis(&mut svg, first, first + single.len() * ROW);
    for (at, row) in single.iter().enumerate() {
        let y = first + at * ROW;
        let _ = writeln!(svg, "<text class=\"end\" x=\"276\" y=\"{}\">{}</text>", y + 14, escape(&short(&row.label)));
        bar(&mut svg, "a", row.ratio, y + 4, 12);
        let _ = writeln!(
            svg,
            "<text class=\"fig\" x=\"{:.1}\" y=\"{}\">{:.1} ({} to {})</text>",
            place(row.ratio).max(ONE) + 6.0,
            y + 14,
            row.ratio,
            row.go,
            row.trefoil
        );
    }
    let legend = second - 30;
    let _ = writeln!(
        svg,
        "<text class=\"name\" x=\"16\" y=\"{}\">Whole programs</text>\n\
         <text class=\"dim\" x=\"16\" y=\"{}\">time</text>\n\
         <rect class=\"a\" x=\"350\" y=\"{legend}\" width=\"18\" height=\"8\"/><text class=\"dim\" x=\"374\" y=\"{t}\">one core</text>\n\
         <rect class=\"b\" x=\"440\" y=\"{legend}\" width=\"18\" height=\"8\"/><text class=\"dim\" x=\"464\" y=\"{t}\">two cores</text>\n\
         <rect class=\"go\" x=\"536\" y=\"{legend}\" width=\"18\" height=\"8\"/><text class=\"dim\" x=\"560\" y=\"{t}\">Go is faster</text>\n\
         <circle class=\"gc\" cx=\"650\" cy=\"{}\" r=\"3\"/><text class=\"dim\" x=\"660\" y=\"{t}\">Go without its collector</text>",
        second - 22,
        second - 5,
        legend + 4,
        t = legend + 8,
    );
    axis(&mut svg, second, end);
    for (at, row) in programs.iter().enumerate() {
        let words = WORDS.iter().find(|(name, _)| *name == row.name);
        let (_, words) = words.ok_or_else(|| format!("{}: the chart has no words for it", row.name))?;
        let y = second + at * ROW;
        let _ = writeln!(svg, "<text class=\"end\" x=\"276\" y=\"{}\">{words}</text>", y + 14);
        let mut edge = ONE;
        for (core, class) in ["a", "b"].into_iter().enumerate() {
            let y = y + 3 + core * 7;
            bar(&mut svg, class, row.ratios[core], y, 7);
            edge = edge.max(place(row.ratios[core]));
            if let Some(ratios) = row.without_gc {
                edge = edge.max(place(ratios[core]) + 2.0);
                let _ = writeln!(
                    svg,
                    "<circle class=\"gc\" cx=\"{:.1}\" cy=\"{}.5\" r=\"3\"/>",
                    place(ratios[core]),
                    y + 3
                );
            }
        }
        let _ = writeln!(
            svg,
            "<text class=\"fig\" x=\"{:.1}\" y=\"{}\">{:.2}, {:.2}</text>",
            edge + 6.0,
            y + 14,
            row.ratios[0],
            row.ratios[1]
        );
    }
    svg += "</svg>\n";
    Ok(svg)
}

/// A label up to what explains it.
fn short(label: &str) -> String {
    label
        .split(" (")
        .next()
        .unwrap_or(label)
        .replace(", beyond the recursion itself", "")
        .replace(", loop subtracted", "")
}

/// Draws the chart of the book below `root`.
///
/// # Errors
/// As [`render`]; or the file can't be written.
pub fn write(root: &Path) -> Result<(), String> {
    super::write(root, FILE, &render(root)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_gos_figure_has_no_bar() {
        let table =
            "| per operation | instructions | Go on Linux |\n|---|--:|--:|\n| `a` b | 1,000 | 2,500 |\n| c | 3 | – |\n";
        let expect = Operation { label: "a b".into(), trefoil: "1,000".into(), go: "2,500".into(), ratio: 2.5 };
        assert_eq!(operations(table).unwrap(), [expect]);
        assert!(operations(&table.replace("1,000", "none")).unwrap_err().starts_with("a b: none and"));
    }

    #[test]
    fn go_without_its_collector_is_a_mark_in_the_same_row() {
        let row = |name: &str, one: &str| format!("| {name} | 1 | 1 | {one} | 1 | 1 | 2.00 | 1 | 1 |\n");
        let head = "| program | | | | | | | | |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        let table = [head, &row("pring", "0.91"), &row("pctx, GC off", "2.5"), &row("pctx", "3.00")].concat();
        let found = programs(&table).unwrap();
        assert_eq!(found[0], Program { name: "pctx".into(), ratios: [3.0, 2.0], without_gc: Some([2.5, 2.0]) });
        assert_eq!(found[1], Program { name: "pring".into(), ratios: [0.91, 2.0], without_gc: None });
        assert_eq!(programs(&table.replace("0.91", "–")).unwrap_err(), "pring: – and 2.00 are no ratios");
        assert!(draw(&[], &found).unwrap().contains("class=\"go\" x=\"341.6\""), "Go wins to the left of 1");
    }

    #[test]
    fn a_program_without_words_is_an_error() {
        let row = Program { name: "pnew".into(), ratios: [1.0, 1.0], without_gc: None };
        assert!(draw(&[], &[row]).unwrap_err().contains("pnew"));
    }
}
