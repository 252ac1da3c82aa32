//! The table, and its place in the page.

use std::fmt::Write;

use super::options::Program;
use super::results::{Cell, Results, Side};

/// The part of the page that has the table.
pub const PART: &str = "programs";

const HEAD: &str = "\
| program | Go 1 | Trefoil 1 | ratio | Go 2 | Trefoil 2 | ratio | Go 1→2 | Trefoil 1→2 |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
";

impl Cell {
    fn show(self) -> String {
        match self {
            Self::Median(ms) => format!("{ms:.0}"),
            Self::TooLong => "too long".into(),
            Self::Failed => "failed".into(),
            Self::Missing => "–".into(),
        }
    }

    /// Returns how many times as long as `other` this took.
    fn over(self, other: Self) -> String {
        match (self, other) {
            (Self::Median(this), Self::Median(other)) if other > 0.0 => format!("{:.2}", this / other),
            _ => "–".into(),
        }
    }
}

/// Renders the table of these programs: a row each, one more without Go's garbage collector, and
/// one more for a part.
pub fn render(results: &Results, programs: &[&Program]) -> String {
    let mut table = HEAD.to_string();
    for program in programs {
        for word in program.go_words() {
            let title = word.replace(":nogc", ", GC off");
            for figure in ["t"].into_iter().chain(program.part) {
                let title = if figure == "t" { title.clone() } else { format!("{title}, {figure}") };
                let go = |cores| results.cell(Side::Go, cores, &word, figure);
                let trefoil = |cores| results.cell(Side::Trefoil, cores, program.name, figure);
                let _ = writeln!(
                    table,
                    "| {title} | {} | {} | {} | {} | {} | {} | {} | {} |",
                    go(1).show(),
                    trefoil(1).show(),
                    go(1).over(trefoil(1)),
                    go(2).show(),
                    trefoil(2).show(),
                    go(2).over(trefoil(2)),
                    go(1).over(go(2)),
                    trefoil(1).over(trefoil(2)),
                );
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::options::PROGRAMS;
    use super::super::results::{Failure, Line};
    use super::*;

    fn program(name: &str) -> &'static Program {
        PROGRAMS.iter().find(|program| program.name == name).unwrap()
    }

    fn results(lines: &[(Side, u32, &str)]) -> Results {
        let mut results = Results::default();
        for (side, cores, line) in lines {
            let line = Line::parse(&format!("RESULT procs={cores} {line}")).unwrap();
            results.add(*side, *cores, line);
        }
        results
    }

    fn rows(results: &Results, names: &[&str]) -> Vec<String> {
        let programs: Vec<_> = names.iter().map(|name| program(name)).collect();
        render(results, &programs).lines().skip(2).map(String::from).collect()
    }

    #[test]
    fn a_ratio_above_one_means_that_go_took_longer() {
        let results = results(&[
            (Side::Go, 1, "name=pring t_ms=300"),
            (Side::Go, 2, "name=pring t_ms=150.4"),
            (Side::Trefoil, 1, "name=pring t_ms=100"),
            (Side::Trefoil, 2, "name=pring t_ms=200"),
        ]);
        assert_eq!(rows(&results, &["pring"]), ["| pring | 300 | 100 | 3.00 | 150 | 200 | 0.75 | 1.99 | 0.50 |"]);
    }

    #[test]
    fn parts_and_runs_without_the_collector_have_rows_of_their_own() {
        let results = results(&[
            (Side::Go, 1, "name=pctx gc=off t_ms=20 cancel_ms=4"),
            (Side::Go, 1, "name=pctx gc=on t_ms=40 cancel_ms=8"),
            (Side::Trefoil, 1, "name=pctx t_ms=10 cancel_ms=2"),
        ]);
        assert_eq!(
            rows(&results, &["pctx"]),
            [
                "| pctx, GC off | 20 | 10 | 2.00 | – | – | – | – | – |",
                "| pctx, GC off, cancel | 4 | 2 | 2.00 | – | – | – | – | – |",
                "| pctx | 40 | 10 | 4.00 | – | – | – | – | – |",
                "| pctx, cancel | 8 | 2 | 4.00 | – | – | – | – | – |",
            ]
        );
    }

    #[test]
    fn what_failed_has_a_row_that_says_so_and_no_ratio() {
        let mut results = results(&[(Side::Go, 1, "name=pring t_ms=300"), (Side::Go, 2, "name=pring t_ms=200")]);
        results.fail((Side::Trefoil, 1, "pring".into()), Failure::TooLong);
        results.fail((Side::Trefoil, 2, "pring".into()), Failure::Ended("a panic".into()));
        let expected = "| pring | 300 | too long | – | 200 | failed | – | 1.50 | – |";
        assert_eq!(rows(&results, &["pring", "pmutex"]), [expected, "| pmutex | – | – | – | – | – | – | – | – |"]);
    }
}
