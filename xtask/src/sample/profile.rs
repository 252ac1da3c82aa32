//! The table of samples.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

use super::Sample;

/// How many samples were taken where.
#[derive(Debug)]
pub struct Profile {
    /// Of each processor: samples at work, and at rest.
    cpus: Vec<(usize, usize)>,
    /// A function, and its samples on each processor. The function with the most comes first.
    functions: Vec<(String, Vec<usize>)>,
}

impl Profile {
    /// Counts `samples`; `name` names the function at an address.
    pub fn new(samples: &[Sample], mut name: impl FnMut(u64) -> String) -> Self {
        let processors = samples.iter().map(|sample| sample.cpu + 1).max().unwrap_or(0);
        let mut cpus = vec![(0, 0); processors];
        let mut functions = BTreeMap::new();
        for sample in samples {
            let (at_work, at_rest) = &mut cpus[sample.cpu];
            if sample.at_rest {
                *at_rest += 1;
            } else {
                *at_work += 1;
                functions.entry(name(sample.address)).or_insert_with(|| vec![0; processors])[sample.cpu] += 1;
            }
        }
        let mut functions: Vec<(String, Vec<usize>)> = functions.into_iter().collect();
        functions.sort_by_key(|(_, counts)| Reverse(counts.iter().sum::<usize>()));
        Self { cpus, functions }
    }

    /// Returns a line for each processor: its samples, and the share of them at rest.
    pub fn show_processors(&self) -> String {
        let lines = self.cpus.iter().enumerate().map(|(cpu, &(at_work, at_rest))| {
            let all = at_work + at_rest;
            format!("CPU {cpu}: {all} samples, {:.1} % of them at rest (hlt)\n", percent(at_rest, all))
        });
        lines.collect()
    }

    /// Returns the functions with the most samples, and how many percent of the samples at work are
    /// theirs.
    pub fn show_functions(&self, rows: usize) -> String {
        let mut text = format!("{:>7}", "all");
        for cpu in 0..self.cpus.len() {
            let _ = write!(text, " {:>7}", format!("CPU {cpu}"));
        }
        text += "  function\n";
        for (name, counts) in self.functions.iter().take(rows) {
            self.show_row(&mut text, name, counts);
        }
        let others = self.functions.get(rows..).unwrap_or_default();
        if !others.is_empty() {
            let counts: Vec<usize> =
                (0..self.cpus.len()).map(|cpu| others.iter().map(|(_, counts)| counts[cpu]).sum()).collect();
            self.show_row(&mut text, &format!("({} others)", others.len()), &counts);
        }
        text
    }

    fn show_row(&self, text: &mut String, name: &str, counts: &[usize]) {
        let at_work = self.cpus.iter().map(|(at_work, _)| at_work).sum();
        let _ = write!(text, "{:7.1}", percent(counts.iter().sum(), at_work));
        for (&count, &(at_work, _)) in counts.iter().zip(&self.cpus) {
            let _ = write!(text, " {:7.1}", percent(count, at_work));
        }
        let _ = writeln!(text, "  {name}");
    }
}

fn percent(part: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { part as f64 * 100.0 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(samples: &[(usize, u64, bool)]) -> Profile {
        let samples: Vec<_> = samples.iter().map(|&(cpu, address, at_rest)| Sample { cpu, address, at_rest }).collect();
        Profile::new(&samples, |address| format!("f{address}"))
    }

    #[test]
    fn shares_are_of_the_samples_at_work() {
        let profile = profile(&[
            (0, 1, false),
            (0, 1, false),
            (0, 2, false),
            (0, 3, true),
            (1, 2, false),
            (1, 9, true),
            (1, 9, true),
            (1, 9, true),
        ]);
        let expected =
            "CPU 0: 4 samples, 25.0 % of them at rest (hlt)\nCPU 1: 4 samples, 75.0 % of them at rest (hlt)\n";
        assert_eq!(profile.show_processors(), expected);
        let expected = "    all   CPU 0   CPU 1  function\n   \
                        50.0    66.7     0.0  f1\n   \
                        50.0    33.3   100.0  f2\n";
        assert_eq!(profile.show_functions(5), expected);
    }

    #[test]
    fn what_has_no_row_is_added_up() {
        let samples: Vec<_> = [1, 2, 2, 3, 3, 3, 4, 4, 4, 4].map(|address| (0, address, false)).into();
        let text = profile(&samples).show_functions(2);
        let rows: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
        assert_eq!(rows, ["40.0    40.0  f4", "30.0    30.0  f3", "30.0    30.0  (2 others)"]);
    }

    #[test]
    fn nothing_seen_is_an_empty_table() {
        let profile = profile(&[]);
        assert_eq!(
            (profile.show_processors().as_str(), profile.show_functions(5).as_str()),
            ("", "    all  function\n")
        );
        let resting = super::tests::profile(&[(0, 1, true)]);
        assert_eq!(resting.show_functions(5), "    all   CPU 0  function\n");
    }
}
