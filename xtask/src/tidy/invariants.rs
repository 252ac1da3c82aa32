//! Named invariants: each has one definition, and a test that cites it.
//!
//! A name begins with `INV-`. Where it stands alone in bold type it is defined; everywhere else it
//! is cited.

use std::collections::BTreeMap;

const PREFIX: &str = "INV-";

/// The line above the list.
const LIST: usize = line!() as usize;
/// Invariants that no test cites yet. The list may only become shorter.
pub const UNTESTED: &[&str] = &[
    "INV-DRAIN",
    "INV-FLOW",
    "INV-HEIR",
    "INV-INBOX",
    "INV-KNOWN",
    "INV-LENT",
    "INV-LINE",
    "INV-NO-ORPHAN",
    "INV-NODE",
    "INV-ONE-PLACE",
    "INV-ONE-SIDE",
    "INV-OURS",
    "INV-OWN",
    "INV-PARCEL",
    "INV-PUBLISH",
    "INV-QUEUED",
    "INV-RECHECK",
    "INV-ROOM",
    "INV-SLICE",
    "INV-STRAY",
    "INV-TICKET",
    "INV-TIMER-HOME",
    "INV-WATCHED",
];

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
}
