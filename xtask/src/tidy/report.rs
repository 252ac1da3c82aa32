//! The rules over all files, and the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::comments::{self, Comment, comments};
use super::invariants::{self, Names, Place};
use super::markdown::{self, Kind, Parsed};
use super::ratchet::Counts;
use super::{RATCHET, floors, links, prose, rules};
use crate::book;

/// The most findings of `subject` in 100 words of the whole.
const SUBJECTS_PER_100_WORDS: f64 = 0.2;
/// The largest share of `opening` among the sentences of the whole, in percent.
const OPENINGS_PERCENT: f64 = 3.0;
/// The share of `opening` that every file may have, in percent, rounded up.
const FREE_OPENINGS_PERCENT: usize = 5;

/// Where the exceptions of `invariant` stand.
const EXCEPTIONS: &str = "xtask/src/tidy/invariants.rs";

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A line is too wide.
    Width,
    /// A sentence is too long.
    Length,
    /// The subject has no name.
    Subject,
    /// A sentence opens with a pronoun.
    Opening,
    /// A link leads nowhere.
    Link,
    /// An invariant has not one definition and a test.
    Invariant,
    /// A folder names a folder above it.
    Arrow,
    /// A file is too large.
    Size,
    /// A comment on unsafe code names no fact.
    Safety,
}

impl Rule {
    const ALL: [Self; 9] = [
        Self::Width,
        Self::Length,
        Self::Subject,
        Self::Opening,
        Self::Link,
        Self::Invariant,
        Self::Arrow,
        Self::Size,
        Self::Safety,
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        ["width", "length", "subject", "opening", "link", "invariant", "arrow", "size", "safety"][self as usize]
    }

    /// Returns the rule of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// Returns true if older text may break it.
    pub fn has_ratchet(self) -> bool {
        !matches!(self, Self::Link | Self::Arrow)
    }
}

/// One finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    rule: Rule,
    path: String,
    line: usize,
    text: String,
}

/// All that a run has found.
#[derive(Debug, Default)]
pub struct Report {
    /// By file and line, after [`end`](Self::end).
    pub findings: Vec<Finding>,
    words: usize,
    /// By file, those that have an opening.
    sentences: BTreeMap<String, usize>,
    names: Names,
    markdown: BTreeMap<String, Parsed>,
    /// The pages of the book.
    pages: BTreeMap<String, String>,
}

impl Report {
    /// Checks a Rust file.
    pub fn rust(&mut self, path: &str, source: &str) {
        let comments = comments(source);
        let lines: Vec<&str> = source.lines().collect();
        let tests = if path.contains("tests/") { 0 } else { tests_begin(&lines).unwrap_or(usize::MAX) };
        for (line, text) in floors::arrows(path, source, &comments) {
            self.add(Rule::Arrow, path, line, text);
        }
        if let Some(lines) = floors::too_large(source) {
            self.add(Rule::Size, path, 1, format!("{lines} lines"));
        }
        for comment in comments.iter().filter(|comment| rules::names_no_fact(comment.text)) {
            self.add(Rule::Safety, path, comment.line, comment.text.to_string());
        }
        for comment in &comments {
            self.names(path, comment.line, comment.text, comment.line > tests);
        }
        let continues = |a: &Comment, b: &Comment| b.alone && (a.line + 1, a.kind) == (b.line, b.kind);
        for block in comments.chunk_by(continues) {
            let parsed = markdown::parse(block.iter().map(|c| (c.line, c.text)));
            self.prose(path, &lines, &parsed, block[0].kind == comments::Kind::Header);
        }
    }

    /// Checks a Markdown file, except for its links.
    pub fn markdown(&mut self, path: &str, text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in (1..).zip(&lines) {
            self.names(path, number, line, false);
        }
        let parsed = markdown::parse((1..).zip(lines.iter().copied()));
        self.prose(path, &lines, &parsed, true);
        self.markdown.insert(path.to_string(), parsed);
        if path.starts_with("docs/") {
            self.pages.insert(path.to_string(), text.to_string());
        }
    }

    /// Checks what takes all files; `untested` are the invariants that need no test.
    pub fn end(&mut self, root: &Path, untested: &[&str]) {
        for path in self.markdown.keys() {
            for (line, text) in links::broken(root, path, &self.markdown) {
                self.findings.push(Finding { rule: Rule::Link, path: path.clone(), line, text });
            }
        }
        for (path, line, text) in invariants::check(&self.names, untested, EXCEPTIONS) {
            self.add(Rule::Invariant, &path, line, text);
        }
        if let Some(page) = self.pages.get(invariants::PAGE) {
            for (path, line, text) in invariants::check_page(&self.names, page) {
                self.add(Rule::Invariant, &path, line, text);
            }
        }
        self.book(root);
        self.findings.sort_by(|a, b| (&a.path, a.line, a.rule).cmp(&(&b.path, b.line, b.rule)));
    }

    /// Checks that the book has all pages, and the pages their pictures.
    fn book(&mut self, root: &Path) {
        let mut found = Vec::new();
        let listed = self.pages.get(book::SUMMARY).map(|summary| book::listed(summary));
        for (path, text) in &self.pages {
            for (line, target) in book::includes(text) {
                found.extend(book::picture(root, target).err().map(|error| (path.clone(), line, error)));
            }
            let is_listed = |listed: &BTreeSet<&str>| listed.iter().any(|page| format!("docs/{page}") == *path);
            if path != book::SUMMARY && listed.as_ref().is_some_and(|listed| !is_listed(listed)) {
                found.push((path.clone(), 1, format!("{} does not list this page", book::SUMMARY)));
            }
        }
        found.into_iter().for_each(|(path, line, text)| self.add(Rule::Link, &path, line, text));
    }

    /// Returns the page of the invariants with their places as they are, if there is one.
    pub fn invariants(&self) -> Option<String> {
        self.pages.get(invariants::PAGE).map(|page| invariants::rewrite(&self.names, page))
    }

    fn add(&mut self, rule: Rule, path: &str, line: usize, text: String) {
        self.findings.push(Finding { rule, path: path.to_string(), line, text });
    }

    fn names(&mut self, path: &str, line: usize, text: &str, in_test: bool) {
        for (name, defines) in invariants::names(text) {
            let place = Place { path: path.to_string(), line, defines, in_test };
            self.names.entry(name.to_string()).or_default().push(place);
        }
    }

    fn prose(&mut self, path: &str, lines: &[&str], parsed: &Parsed, is_long_form: bool) {
        for block in &parsed.blocks {
            let has_width = !matches!(block.kind, Kind::Label | Kind::Cell);
            for (number, _) in block.lines.iter().filter(|_| has_width) {
                let line = lines[number - 1];
                if rules::too_wide(line) {
                    self.add(Rule::Width, path, *number, line.trim().to_string());
                }
            }
            for sentence in prose::sentences(block) {
                self.words += sentence.len();
                *self.sentences.entry(path.to_string()).or_default() += usize::from(rules::has_opening(&sentence));
                if is_long_form && rules::too_long(&sentence) {
                    let text = format!("{} words: {}", sentence.len(), sentence.excerpt(0, 12));
                    self.add(Rule::Length, path, sentence.line(), text);
                }
                for at in rules::subjects(&sentence) {
                    self.add(Rule::Subject, path, sentence.words[at].0, sentence.excerpt(at, 8));
                }
                if rules::opens_with_pronoun(&sentence) {
                    self.add(Rule::Opening, path, sentence.line(), sentence.excerpt(0, 8));
                }
            }
        }
    }

    /// Counts the findings by rule and file.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for finding in &self.findings {
            *counts.entry((finding.rule, finding.path.clone())).or_default() += 1;
        }
        counts
    }

    fn total(&self, rule: Rule) -> usize {
        self.findings.iter().filter(|f| f.rule == rule).count()
    }

    /// Returns how many findings a file may have without a line in the ratchet.
    pub fn free(&self, rule: Rule, path: &str) -> usize {
        match rule {
            Rule::Opening => (self.sentences.get(path).unwrap_or(&0) * FREE_OPENINGS_PERCENT).div_ceil(100),
            _ => 0,
        }
    }

    /// Returns what is wrong with the whole, then the findings of each file that has more than
    /// `allowed`; and the lines of `allowed` that may be lowered.
    pub fn judge(&self, allowed: &Counts) -> (Vec<String>, Vec<String>) {
        let (mut wrong, mut lower) = (self.whole(), Vec::new());
        let found = self.counts();
        for ((rule, path), count) in &found {
            let line = allowed.get(&(*rule, path.clone())).copied();
            let most = line.unwrap_or(0).max(self.free(*rule, path));
            if *count <= most {
                continue;
            }
            let findings = self.findings.iter().filter(|f| f.rule == *rule && f.path == *path);
            wrong.extend(findings.map(Finding::to_string));
            if most > 0 {
                wrong.push(format!("{path}: {}: {count} findings, at most {most} are allowed", rule.name()));
            }
        }
        for ((rule, path), line) in allowed {
            let count = found.get(&(*rule, path.clone())).copied().unwrap_or(0);
            if count <= self.free(*rule, path) {
                lower.push(format!("{RATCHET}: {} {path} {line}: remove it", rule.name()));
            } else if count < *line {
                lower.push(format!("{RATCHET}: {} {path} {line}: lower it to {count}", rule.name()));
            }
        }
        (wrong, lower)
    }

    /// Subjects in 100 words, and openings in 100 sentences.
    fn rates(&self) -> (f64, f64) {
        let rate = |rule, of: usize| 100.0 * self.total(rule) as f64 / of.max(1) as f64;
        (rate(Rule::Subject, self.words), rate(Rule::Opening, self.sentences.values().sum()))
    }

    fn whole(&self) -> Vec<String> {
        let (subjects, openings) = self.rates();
        let mut wrong = Vec::new();
        if subjects > SUBJECTS_PER_100_WORDS {
            wrong.push(format!("subject: {subjects:.3} in 100 words, at most {SUBJECTS_PER_100_WORDS}"));
        }
        if openings > OPENINGS_PERCENT {
            wrong.push(format!("opening: {openings:.2} % of the sentences, at most {OPENINGS_PERCENT}"));
        }
        wrong
    }

    /// Returns one line with the totals.
    pub fn summary(&self) -> String {
        let (subjects, openings) = self.rates();
        let sentences: usize = self.sentences.values().sum();
        let totals = Rule::ALL.map(|rule| format!("{} {}", rule.name(), self.total(rule))).join(", ");
        let rates = format!("{subjects:.3} subjects in 100 words, {openings:.2} % openings");
        format!("tidy: {} words, {sentences} sentences: {totals}; {rates}", self.words)
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule.name(), self.text)
    }
}

/// Returns the line at which a module of unit tests begins.
fn tests_begin(lines: &[&str]) -> Option<usize> {
    let is_module = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(is_module).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::super::ratchet;
    use super::*;

    fn report(files: &[(&str, &str)]) -> Report {
        let mut report = Report::default();
        for (path, text) in files {
            if path.ends_with(".rs") { report.rust(path, text) } else { report.markdown(path, text) }
        }
        report.end(Path::new("/"), &[]);
        report
    }

    fn wrong(files: &[(&str, &str)], allowed: &str) -> Vec<String> {
        report(files).judge(&ratchet::parse(allowed).unwrap()).0
    }

    const WIDE: &str =
        "A line with words, and words, and words, and with more and more and more words than that, is a wide line.";

    #[test]
    fn prose_is_found_where_it_stands() {
        let source = format!("//! Head.\n\nfn f() {{\n    // {WIDE}\n    let s = \"// {WIDE}\";\n}}\n");
        assert_eq!(wrong(&[("a.rs", &source)], ""), [format!("a.rs:4: width: // {WIDE}")]);
        let code = format!("/// Adds.\n///\n/// ```\n/// // {WIDE}\n/// ```\nfn f() {{}}\n");
        assert_eq!(wrong(&[("a.rs", &code)], ""), [""; 0]);
        let table = format!("| a |\n|---|\n| {WIDE} |\n");
        assert_eq!(wrong(&[("a.md", &table)], ""), [""; 0]);
    }

    #[test]
    fn unsafe_code_has_a_fact() {
        let source = "// SAFETY: as above.\nf();\n// SAFETY: the lock is held.\nf();\n";
        assert_eq!(wrong(&[("a.rs", source)], ""), ["a.rs:1: safety: SAFETY: as above."]);
    }

    #[test]
    fn long_sentences_are_found_in_headers_and_markdown() {
        let long = "word ".repeat(15) + "\n//" + &" word".repeat(16);
        assert_eq!(report(&[("a.rs", &format!("// {long}"))]).total(Rule::Length), 0);
        let long = long.replace("//", "//!");
        assert_eq!(report(&[("a.rs", &format!("//! {long}"))]).total(Rule::Length), 1);
        assert_eq!(report(&[("a.md", &long.replace("//!", ""))]).total(Rule::Length), 1);
    }

    #[test]
    fn a_file_may_have_as_many_as_its_line_says() {
        let text = format!("{WIDE}\n{WIDE}\n");
        assert_eq!(wrong(&[("a.md", &text)], "width a.md 2"), [""; 0]);
        let more = wrong(&[("a.md", &text)], "width a.md 1\nwidth b.md 1");
        assert_eq!(more.len(), 3);
        assert_eq!(more[2], "a.md: width: 2 findings, at most 1 are allowed");
    }

    #[test]
    fn a_line_that_says_too_much_is_to_be_lowered() {
        let (wrong, lower) = report(&[("a.md", WIDE)]).judge(&ratchet::parse("width a.md 2\nwidth b.md 1").unwrap());
        assert_eq!(wrong, [""; 0]);
        let expect = ["xtask/tidy.txt: width a.md 2: lower it to 1", "xtask/tidy.txt: width b.md 1: remove it"];
        assert_eq!(lower, expect);
    }

    #[test]
    fn openings_and_subjects_are_limited_in_the_whole() {
        let many = "It runs now.\n".repeat(10) + "Who runs it is done.";
        let found = wrong(&[("a.md", &many)], "opening a.md 10\nsubject a.md 1");
        assert!(found[0].starts_with("subject: 2."), "{found:?}");
        assert!(found[1].starts_with("opening: 90.9"), "{found:?}");
        assert_eq!(found.len(), 2);
        let few = "It runs now.\n".to_string() + &"The G runs now.\n".repeat(39);
        assert_eq!(wrong(&[("a.md", &few)], ""), [""; 0]);
    }

    #[test]
    fn names_and_links_take_all_files() {
        let cites = ("tests/a.rs", "// See INV-FOO.");
        let defines = ("b.rs", "//! **INV-FOO**: a G is there.\n");
        let links = ("c.md", "See [this](#no) and [that](#here).\n\n# Here\n");
        assert_eq!(report(&[cites, defines]).total(Rule::Invariant), 0);
        let expect = ["c.md:1: link: #no", "tests/a.rs:1: invariant: INV-FOO is cited and defined nowhere"];
        assert_eq!(wrong(&[cites, links], ""), expect);
    }

    #[test]
    fn the_book_has_all_pages_and_pictures() {
        let summary = ("docs/SUMMARY.md", "[A](a.md)\n");
        let a = ("docs/a.md", "```text\n{{#include ../no.rs:x}}\n```\n");
        let found = wrong(&[summary, a, ("docs/b.md", "B.\n"), ("c.md", "C.\n")], "");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("docs/a.md:2: link: ../no.rs: "), "{found:?}");
        assert_eq!(found[1], "docs/b.md:1: link: docs/SUMMARY.md does not list this page");
    }

    #[test]
    fn unit_tests_are_tests() {
        let unit = "//! **INV-FOO**: a G is there.\n#[cfg(test)]\nmod tests {\n    // INV-FOO\n}\n";
        assert_eq!(report(&[("b.rs", unit)]).total(Rule::Invariant), 0);
        assert_eq!(report(&[("b.rs", &unit.replace("#[cfg(test)]", ""))]).total(Rule::Invariant), 1);
    }
}
