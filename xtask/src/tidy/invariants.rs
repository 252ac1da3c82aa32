//! Named invariants: each has one definition, a test that cites it, and a row in the book.
//!
//! A name begins with `INV-`. Where it stands alone in bold type it is defined; everywhere else it
//! is cited. [`PAGE`] has a row for each: its name, one line about it, the file that defines it,
//! and the tests that cite it. The line is written by hand. `cargo xtask tidy --invariants` writes
//! the rest.

use std::collections::{BTreeMap, BTreeSet};

const PREFIX: &str = "INV-";

/// The line above the list.
const LIST: usize = line!() as usize;
/// Invariants that no test cites yet. The list may only become shorter.
pub const UNTESTED: &[&str] = &["INV-LINE", "INV-NO-ORPHAN", "INV-OURS"];

/// A place where a name stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: String,
    /// The line in it.
    pub line: usize,
    /// Whether this is a definition.
    pub defines: bool,
    /// Whether this is in a test.
    pub in_test: bool,
}

/// All names with their places.
pub type Names = BTreeMap<String, Vec<Place>>;

/// Returns the names in a text, each with whether it is defined there.
pub fn names(text: &str) -> Vec<(&str, bool)> {
    let in_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-';
    let mut found = Vec::new();
    for (at, _) in text.match_indices(PREFIX) {
        let rest = &text[at..];
        let name = rest[..rest.find(|c: char| !in_name(c)).unwrap_or(rest.len())].trim_end_matches('-');
        if name.len() < PREFIX.len() || text[..at].ends_with(in_name) {
            continue;
        }
        let after = rest[name.len()..].trim_start_matches(['.', ':']);
        found.push((name, text[..at].ends_with("**") && after.starts_with("**")));
    }
    found
}

/// The page that lists all of them.
pub const PAGE: &str = "docs/invariants.md";
const BEGINS: &str = "| INV-";

/// The last two cells of an invariant's row: where it is defined, and which tests cite it.
fn cells(places: &[Place]) -> (String, String) {
    let quoted = |path: &str| format!("`{path}`");
    let defined = places.iter().find(|p| p.defines).map_or("–".into(), |p| quoted(&p.path));
    let tests: BTreeSet<&str> = places.iter().filter(|p| p.in_test).map(|p| p.path.as_str()).collect();
    let tests: Vec<String> = tests.into_iter().map(quoted).collect();
    (defined, if tests.is_empty() { "–".into() } else { tests.join(", ") })
}

/// The rows of the page, each with its line number, the invariant's name and its one line.
fn rows(page: &str) -> impl Iterator<Item = (usize, &str, &str, &str)> {
    let lines = (1..).zip(page.lines()).filter(|(_, line)| line.starts_with(BEGINS));
    lines.map(|(at, line)| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        (at, line, cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
    })
}

fn row(name: &str, says: &str, places: &[Place]) -> String {
    let (defined, tests) = cells(places);
    format!("| {name} | {says} | {defined} | {tests} |")
}

/// Returns what is wrong with the page.
pub fn check_page(names: &Names, page: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut at = |line: usize, text: String| found.push((PAGE.to_string(), line, text));
    let mut listed = BTreeSet::new();
    for (line, text, name, says) in rows(page) {
        let Some(places) = names.get(name).filter(|places| places.iter().any(|p| p.defines)) else {
            at(line, format!("{name} is defined nowhere"));
            continue;
        };
        if !listed.insert(name) {
            at(line, format!("{name} has a row already"));
        } else if says.is_empty() {
            at(line, format!("{name}: what does it say?"));
        } else if text != row(name, says, places) {
            at(line, format!("{name}: the places have changed; `cargo xtask tidy --invariants` writes them"));
        }
    }
    for (name, places) in names {
        if !listed.contains(name.as_str()) && places.iter().any(|p| p.defines) {
            at(1, format!("{name} has no row"));
        }
    }
    found
}

/// Returns the page with the places of all invariants as they are. An invariant without a row gets
/// one, whose line is still to be written.
pub fn rewrite(names: &Names, page: &str) -> String {
    let says: BTreeMap<&str, &str> = rows(page).map(|(_, _, name, says)| (name, says)).collect();
    let defined = names.iter().filter(|(_, places)| places.iter().any(|p| p.defines));
    let table = defined.map(|(name, places)| row(name, says.get(name.as_str()).unwrap_or(&""), places));
    let mut table = table.map(|row| row + "\n").collect::<String>();
    let mut out = String::new();
    for line in page.lines() {
        if line.starts_with(BEGINS) {
            out += &std::mem::take(&mut table);
        } else {
            out += line;
            out.push('\n');
        }
    }
    out
}

/// A finding: the file, the line, the text.
pub type Finding = (String, usize, String);

/// Returns what is wrong with the names; `list` is the file with the list `untested`.
pub fn check(names: &Names, untested: &[&str], list: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, places) in names {
        let mut at = |place: &Place, text: String| found.push((place.path.clone(), place.line, text));
        let mut definitions = places.iter().filter(|p| p.defines);
        let Some(first) = definitions.next() else {
            at(&places[0], format!("{name} is cited and defined nowhere"));
            continue;
        };
        for place in definitions {
            at(place, format!("{name} is defined in {}:{} already", first.path, first.line));
        }
        let is_tested = places.iter().any(|p| p.in_test);
        if !is_tested && !untested.contains(&name.as_str()) {
            at(first, format!("{name}: no test cites it"));
        }
    }
    for name in untested {
        let places = names.get(*name).map_or(&[][..], |places| places);
        if places.is_empty() || places.iter().any(|p| p.in_test) {
            found.push((list.to_string(), LIST + 2, format!("{name} is no exception any more")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, defines: bool) -> Place {
        Place { path: path.into(), line: 1, defines, in_test: path.contains("tests/") }
    }

    fn texts(places: &[Place], untested: &[&str]) -> Vec<String> {
        let names = if places.is_empty() { [].into() } else { [("INV-FOO".into(), places.to_vec())].into() };
        check(&names, untested, "list").into_iter().map(|f| format!("{}: {}", f.0, f.2)).collect()
    }

    #[test]
    fn a_name_in_bold_type_is_defined() {
        let found = names("**INV-FOO**: a; **INV-FOO-BAR.** b (INV-BAZ), **not INV-QUX**, INV-, XINV-A");
        assert_eq!(found, [("INV-FOO", true), ("INV-FOO-BAR", true), ("INV-BAZ", false), ("INV-QUX", false)]);
    }

    #[test]
    fn one_definition_and_a_test_pass() {
        assert_eq!(texts(&[place("a", true), place("b", false), place("tests/c", false)], &[]), [""; 0]);
        assert_eq!(texts(&[place("a", true)], &["INV-FOO"]), [""; 0]);
    }

    #[test]
    fn none_two_and_no_test_are_named() {
        assert_eq!(texts(&[place("a", false)], &[]), ["a: INV-FOO is cited and defined nowhere"]);
        let two = texts(&[place("tests/a", true), place("b", true)], &[]);
        assert_eq!(two, ["b: INV-FOO is defined in tests/a:1 already"]);
        assert_eq!(texts(&[place("a", true)], &[]), ["a: INV-FOO: no test cites it"]);
    }

    #[test]
    fn a_needless_exception_is_named() {
        let needless = ["list: INV-FOO is no exception any more"];
        assert_eq!(texts(&[], &["INV-FOO"]), needless);
        assert_eq!(texts(&[place("a", true), place("tests/b", false)], &["INV-FOO"]), needless);
    }

    fn listed(page: &str) -> Vec<String> {
        let names = [("INV-FOO".to_string(), vec![place("a.rs", true), place("tests/b.rs", false)])].into();
        check_page(&names, page).into_iter().map(|f| format!("{}: {}", f.1, f.2)).collect()
    }

    #[test]
    fn each_invariant_has_one_row_that_is_up_to_date() {
        let row = "| INV-FOO | a G is there | `a.rs` | `tests/b.rs` |";
        assert_eq!(listed(row), [""; 0]);
        assert_eq!(listed(""), ["1: INV-FOO has no row"]);
        assert_eq!(listed(&format!("{row}\n{row}")), ["2: INV-FOO has a row already"]);
        assert_eq!(listed(&row.replace("a G is there", "")), ["1: INV-FOO: what does it say?"]);
        assert_eq!(listed(&format!("{row}\n| INV-BAR | x | y | z |")), ["2: INV-BAR is defined nowhere"]);
        let moved = listed(&row.replace("a.rs", "c.rs"));
        assert_eq!(moved, ["1: INV-FOO: the places have changed; `cargo xtask tidy --invariants` writes them"]);
    }

    #[test]
    fn the_places_are_written_and_the_lines_are_kept() {
        let place = |path| vec![place(path, true)];
        let names = [("INV-FOO".to_string(), place("a.rs")), ("INV-NEW".to_string(), place("b.rs"))].into();
        let page = "# P\n\n| INV-OLD | gone | x | y |\n| INV-FOO | a G | x | y |\n\nrest\n";
        let expect = "# P\n\n| INV-FOO | a G | `a.rs` | – |\n| INV-NEW |  | `b.rs` | – |\n\nrest\n";
        assert_eq!(rewrite(&names, page), expect);
    }
}
