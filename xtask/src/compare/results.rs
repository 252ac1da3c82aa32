//! The results that the programs of both sides printed.

use std::collections::BTreeMap;
use std::fmt;

/// The sides of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Go on Linux.
    Go,
    /// Trefoil.
    Trefoil,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Go => "Go",
            Self::Trefoil => "Trefoil",
        })
    }
}

/// One program's line: `RESULT name=pctx gc=off procs=2 t_ms=960.12 cancel_ms=321.00`.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// The program, as Go's guest is told of it: `pctx:nogc`.
    pub word: String,
    /// Cores that it used.
    pub cores: u32,
    /// Its measurements, in milliseconds: `t`, and perhaps a part.
    pub figures: Vec<(String, f64)>,
}

impl Line {
    /// Reads a line of a machine's output; none if it is no result, or only half of one.
    pub fn parse(line: &str) -> Option<Self> {
        let fields = line.split_once("RESULT ")?.1.split_whitespace().map(|field| field.split_once('='));
        let (mut word, mut cores, mut figures) = (None, None, Vec::new());
        for field in fields {
            match field? {
                ("name", name) => word = Some(name.to_string()),
                ("gc", "off") => word.as_mut()?.push_str(":nogc"),
                ("procs", n) => cores = Some(n.parse().ok()?),
                (name, value) => {
                    if let Some(figure) = name.strip_suffix("_ms") {
                        figures.push((figure.to_string(), value.parse().ok()?));
                    }
                }
            }
        }
        let has_whole = figures.iter().any(|(figure, _)| figure == "t");
        has_whole.then_some(Self { word: word?, cores: cores?, figures })
    }
}

/// A program on one side on so many cores.
pub type Run = (Side, u32, String);

/// Why a program came to no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The program was stopped at its limit.
    TooLong,
    /// The program or its machine ended otherwise, with this output at last.
    Ended(String),
}

/// The contents of a cell of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell {
    /// Milliseconds.
    Median(f64),
    /// In some round there was no result, because of the limit.
    TooLong,
    /// In some round there was no result.
    Failed,
    /// The program was not run.
    Missing,
}

/// Everything measured so far.
#[derive(Debug, Default)]
pub struct Results {
    times: BTreeMap<(Run, String), Vec<f64>>,
    failures: BTreeMap<Run, Failure>,
}

impl Results {
    /// Adds what a program measured on a machine of `cores` cores.
    pub fn add(&mut self, side: Side, cores: u32, line: Line) {
        let run = (side, cores, line.word);
        if line.cores != cores {
            self.fail(run, Failure::Ended(format!("it used {} cores", line.cores)));
            return;
        }
        for (figure, ms) in line.figures {
            self.times.entry((run.clone(), figure)).or_default().push(ms);
        }
    }

    /// Notes that a program came to no result.
    pub fn fail(&mut self, run: Run, why: Failure) {
        self.failures.insert(run, why);
    }

    /// Returns the median of one figure.
    pub fn cell(&self, side: Side, cores: u32, word: &str, figure: &str) -> Cell {
        let run = (side, cores, word.to_string());
        match self.failures.get(&run) {
            Some(Failure::TooLong) => Cell::TooLong,
            Some(Failure::Ended(_)) => Cell::Failed,
            None => {
                self.times.get(&(run, figure.to_string())).map_or(Cell::Missing, |times| Cell::Median(median(times)))
            }
        }
    }

    /// Returns a sentence for each program that failed.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.failures.iter().map(|((side, cores, word), why)| match why {
            Failure::TooLong => format!("{side}, {cores} core(s), {word}: no result in time (TIMEOUT=seconds)"),
            Failure::Ended(last) => format!("{side}, {cores} core(s), {word}: {last}"),
        })
    }
}

/// Returns the value in the middle, or the mean of the two there.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ms: &str) -> Line {
        Line::parse(&format!("RESULT name=pring procs=2 t_ms={ms}")).unwrap()
    }

    #[test]
    fn a_result_is_read_with_its_part_and_without_the_collector() {
        let line = Line::parse("[x] RESULT name=pctx gc=off procs=2 t_ms=960.12 cancel_ms=321.00 sum=1\r").unwrap();
        assert_eq!((line.word.as_str(), line.cores), ("pctx:nogc", 2));
        assert_eq!(line.figures, [("t".to_string(), 960.12), ("cancel".to_string(), 321.0)]);
        assert_eq!(Line::parse("RESULT name=pring gc=on procs=1 t_ms=5").unwrap().word, "pring");
    }

    #[test]
    fn half_a_result_is_none() {
        let whole = "RESULT name=pring procs=2 t_ms=12.5";
        assert!(Line::parse(whole).is_some());
        for cut in 0..whole.len() - 4 {
            assert_eq!(Line::parse(&whole[..cut]), None, "{}", &whole[..cut]);
        }
        assert_eq!(Line::parse("FAILED pring ended with signal: killed"), None);
        assert_eq!(Line::parse("RESULT name=pring procs=2 t_ms=soon"), None);
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        let mut results = Results::default();
        let cell = |results: &Results| results.cell(Side::Go, 2, "pring", "t");
        assert_eq!(cell(&results), Cell::Missing);
        for (ms, expected) in [("30", 30.0), ("10", 20.0), ("11.5", 11.5), ("900", 20.75)] {
            results.add(Side::Go, 2, line(ms));
            assert_eq!(cell(&results), Cell::Median(expected));
        }
        assert_eq!(results.cell(Side::Trefoil, 2, "pring", "t"), Cell::Missing);
        assert_eq!(results.cell(Side::Go, 2, "pring", "warm"), Cell::Missing);
    }

    #[test]
    fn a_failure_in_one_round_shows_although_others_went_well() {
        let mut results = Results::default();
        results.add(Side::Go, 2, line("30"));
        results.fail((Side::Go, 2, "pring".into()), Failure::TooLong);
        assert_eq!(results.cell(Side::Go, 2, "pring", "t"), Cell::TooLong);
        results.add(Side::Trefoil, 1, line("30"));
        assert_eq!(results.cell(Side::Trefoil, 1, "pring", "t"), Cell::Failed);
        let said: Vec<String> = results.failures().collect();
        assert_eq!(said[0], "Go, 2 core(s), pring: no result in time (TIMEOUT=seconds)");
        assert_eq!(said[1], "Trefoil, 1 core(s), pring: it used 2 cores");
    }
}
