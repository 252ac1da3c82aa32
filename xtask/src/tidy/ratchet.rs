//! The ratchet: how many findings of before the rules each file may keep.
//!
//! `xtask/tidy.txt` has a line `rule path count` for each. A file without a line may have none, so
//! new text is clean. Nothing raises a count but an editor: `--ratchet` only lowers them.

use std::collections::BTreeMap;

use super::report::Rule;

/// Findings by rule and file.
pub type Counts = BTreeMap<(Rule, String), usize>;

const HEAD: &str = "# rule path count: what `cargo xtask tidy` still allows; `cargo xtask tidy --ratchet` lowers it.";

/// Reads the lines of `text`.
///
/// # Errors
/// Names the first line that is none.
pub fn parse(text: &str) -> Result<Counts, String> {
    let lines = text.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
    lines.map(|(at, line)| entry(line).ok_or(format!("line {}: wants `rule path count`", at + 1))).collect()
}

fn entry(line: &str) -> Option<((Rule, String), usize)> {
    let mut words = line.split(' ');
    let rule = Rule::named(words.next()?).filter(|rule| rule.has_ratchet())?;
    let entry = ((rule, words.next()?.to_string()), words.next()?.parse().ok()?);
    words.next().is_none().then_some(entry)
}

/// Writes the lines of `counts`.
pub fn render(counts: &Counts) -> String {
    let lines = counts.iter().map(|((rule, path), count)| format!("{} {path} {count}\n", rule.name()));
    format!("{HEAD}\n{}", lines.collect::<String>())
}

/// Lowers `old` to what was found. A count that is free anyway is dropped; without `old` all counts
/// are new.
pub fn lower(old: Option<&Counts>, found: &Counts, free: impl Fn(Rule, &str) -> usize) -> Counts {
    let most = |key: &(Rule, String)| old.map_or(usize::MAX, |old| old.get(key).copied().unwrap_or(0));
    let counts = found.iter().filter(|(key, _)| key.0.has_ratchet());
    let lowered = counts.map(|(key, count)| (key.clone(), most(key).min(*count)));
    lowered.filter(|((rule, path), count)| *count > free(*rule, path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Counts {
        parse(text).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let some = counts("length a.md 2\nwidth b.rs 10");
        assert_eq!(counts(&render(&some)), some);
        for wrong in ["width a.md", "width a.md x", "width a.md 1 2", "depth a.md 1", "link a.md 1"] {
            let text = format!("# head\n{wrong}\n");
            assert_eq!(parse(&text).unwrap_err(), "line 2: wants `rule path count`", "{wrong}");
        }
    }

    #[test]
    fn counts_are_lowered_and_never_raised() {
        let old = counts("width a 3\nwidth b 3\nwidth gone 3\nlength a 1\nopening a 9");
        let found = counts("width a 5\nwidth b 2\nwidth new 7\nopening a 4");
        let free = |rule, _: &str| if rule == Rule::Opening { 4 } else { 0 };
        assert_eq!(lower(Some(&old), &found, free), counts("width a 3\nwidth b 2"));
        assert_eq!(lower(None, &found, free), counts("width a 5\nwidth b 2\nwidth new 7"));
    }
}
