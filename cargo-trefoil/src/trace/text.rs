//! The texts of `cargo trefoil trace`: times, tables, and the verbs that use them.

use std::fmt::Write as _;
use std::io;

use super::Recording;

pub mod csv;
pub mod decision;
pub mod diff;
pub mod map;
pub mod summary;
pub mod timehist;

/// Returns a time with its unit, to three figures.
///
/// ```
/// use cargo_trefoil::trace::text::time;
///
/// assert_eq!([0, 999, 1_234, 12_345, 999_999, 1_500_000_000].map(time), [
///     "0 ns", "999 ns", "1.23 µs", "12.3 µs", "1.00 ms", "1.50 s",
/// ]);
/// ```
pub fn time(ns: u64) -> String {
    if ns < 1_000 {
        return format!("{ns} ns");
    }
    let units = [(1_000u64, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")];
    for (unit, name) in units {
        for (decimals, parts) in [(2, 100), (1, 10), (0, 1)] {
            let rounded = (u128::from(ns) * parts + u128::from(unit) / 2) / u128::from(unit);
            if rounded < 1_000 || unit == 1_000_000_000 && decimals == 0 {
                return format!("{:.decimals$} {name}", rounded as f64 / parts as f64);
            }
        }
    }
    format!("{ns} ns")
}

/// Returns a number with a comma between thousands.
///
/// ```
/// assert_eq!(cargo_trefoil::trace::text::count(1234567), "1,234,567");
/// ```
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a part of a whole in per cent.
pub(crate) fn share(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Returns a number and its noun, with an `s` if it is not 1.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Cuts a text to so many columns; the end of a path says more than its begin.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let len = text.chars().count();
    // A control character would spoil the columns, or the terminal.
    let clean = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    if len <= columns {
        return clean.collect();
    }
    if columns == 0 {
        return String::new();
    }
    if text.contains("::") {
        let end: String = clean.skip(len + 1 - columns).collect();
        format!("…{}", end.trim_start_matches(':'))
    } else {
        clean.take(columns - 1).chain(['…']).collect()
    }
}

/// Cuts a path to so many columns, at its begin.
pub(crate) fn tail(text: &str, columns: usize) -> String {
    let len = text.chars().count();
    if len <= columns {
        text.into()
    } else {
        std::iter::once('…').chain(text.chars().skip(len + 1 - columns)).collect()
    }
}

/// Cuts a sentence to so many columns, at its end.
pub(crate) fn clip(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns { text.into() } else { text.chars().take(columns - 1).chain(['…']).collect() }
}

/// Returns a goroutine's title in so many columns; its number stays whole.
pub(crate) fn title(title: &str, columns: usize) -> String {
    match title.split_once(' ') {
        Some((number, name)) => format!("{number} {}", cut(name, columns.saturating_sub(number.len() + 1))),
        None => cut(title, columns),
    }
}

/// Rows of cells, aligned by column, below a head. The first column is on the left, the others are
/// on the right unless told otherwise. A row of one cell is a note across all columns.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    left: Vec<usize>,
}

impl Table {
    /// Makes a table with a head. Columns whose head begins with `<` are on the left.
    pub(crate) fn new(head: &[&str]) -> Self {
        let left = head.iter().enumerate().filter(|(at, text)| *at == 0 || text.starts_with('<'));
        let left = left.map(|(at, _)| at).collect();
        let head = head.iter().map(|text| text.trim_start_matches('<').to_string()).collect();
        Self { rows: vec![head], left }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Adds the rows of another table, without its head.
    pub(crate) fn append(&mut self, other: Self) {
        self.rows.extend(other.rows.into_iter().skip(1));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// Returns the lines, indented by two columns below the head.
    pub(crate) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            let rows = self.rows.iter().enumerate().filter(|(_, row)| row.len() > 1);
            let cells = rows.filter_map(|(n, row)| Some((n, row.get(at)?)));
            cells.map(|(n, cell)| cell.chars().count() + if n > 0 && at == 0 { 2 } else { 0 }).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (n, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            if let [note] = &row[..] {
                let _ = writeln!(text, "  {note}");
                continue;
            }
            for (at, cell) in row.iter().enumerate() {
                let (indent, gap) = (if n > 0 && at == 0 { "  " } else { "" }, if at > 0 { "  " } else { "" });
                let width = widths[at].saturating_sub(indent.len());
                let _ = if self.left.contains(&at) {
                    write!(line, "{gap}{indent}{cell:<width$}")
                } else {
                    write!(line, "{gap}{cell:>width$}")
                };
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

/// Returns a time in milliseconds, down to the nanosecond.
pub(crate) fn milliseconds(ns: u64) -> String {
    format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000)
}

/// Writes the lines that begin a text: the run and the limits of what is known of it.
pub(crate) fn head(out: &mut dyn io::Write, name: &str, run: &Recording) -> io::Result<()> {
    let meta = &run.trace.meta;
    let or = |text: &str, other: &str| if text.is_empty() { other.to_string() } else { text.into() };
    writeln!(
        out,
        "{name}: {}, {} P{}, seed {}, dumped at {} ({} recorder)",
        counted(meta.cores, "core"),
        count(meta.procs),
        if meta.procs == 1 { "" } else { "'s" },
        meta.seed,
        cut(&or(&meta.cause, "an unknown time"), 20),
        cut(&or(&meta.mode, "unknown"), 20),
    )
}

/// Returns the lines about records that are missing; none if all are there.
pub(crate) fn missing(run: &Recording) -> String {
    let (trace, events) = (&run.trace, &run.events);
    let mut text = String::new();
    for ring in &trace.rings {
        let (counted, dropped) = trace.dropped(ring.m);
        let front = ring.first.min(dropped);
        let rest = dropped - front;
        let mut parts = Vec::new();
        if front > 0 {
            parts.push(format!("the first {} were overwritten", count(front)));
        }
        if rest > 0 {
            parts.push(format!("{} had no room, or came during a dump", count(rest)));
        }
        if !parts.is_empty() {
            let _ = writeln!(text, "M {}: of {} records {}", ring.m, count(counted), parts.join(", "));
        }
    }
    if events.outside > 0 {
        let (outside, begin) = (counted(events.outside, "event"), trace.meta.begin());
        let from = time(events.begin.saturating_sub(begin));
        let to = time(events.end.saturating_sub(begin));
        let _ = writeln!(text, "shown is {from} to {to}, where no M lacks records, and not {outside} outside");
    }
    for (n, what) in [
        (events.orphans, "pieces of text, stack or queue belong to no record"),
        (events.uncaused, "events have no cause among the records"),
    ] {
        if n > 0 {
            let _ = writeln!(text, "{} {what}", count(n));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_figures() {
        let times = [1, 1_000, 9_994, 9_996, 99_960, 999_499, 999_500, 59_000_000_000, u64::MAX].map(time);
        let texts = ["1 ns", "1.00 µs", "9.99 µs", "10.0 µs", "100 µs", "999 µs", "1.00 ms", "59.0 s", "18446744074 s"];
        assert_eq!(times, texts);
    }

    #[test]
    fn a_long_text_is_cut_where_it_says_least() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!([cut("app::module::run", 6), cut("app::module::run", 8)], ["…run", "…le::run"]);
        assert_eq!((cut("abc", 3), cut("abc", 0)), ("abc".into(), String::new()));
        assert_eq!(cut("a\x1b[31m\n", 9), "a\u{fffd}[31m\u{fffd}");
    }

    #[test]
    fn a_table_is_aligned_by_column() {
        let mut table = Table::new(&["HEAD", "n", "<why"]);
        table.row(["a", "1,000", "x"]);
        table.row(["a note of any length"]);
        table.row(["longer", "1", "yz"]);
        let text = "HEAD          n  why\n  a       1,000  x\n  a note of any length\n  longer      1  yz\n";
        assert_eq!(table.text(), text);
    }
}
