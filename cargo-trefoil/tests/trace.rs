//! The texts of `cargo trefoil trace`, and its answers to files that are no traces.
//!
//! `tests/trace/` has the texts as they were read and found good. `RENEW=1` writes them anew: look
//! at the changes before they are kept.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cargo_trefoil::trace::sample::Sample;

#[path = "trace/mutants.rs"]
mod mutants;

/// A run that fits on a page.
fn small() -> Sample {
    Sample { cores: 2, procs: 2, events: 500, goroutines: 14, ..Sample::default() }
}

/// The folder of the traces. The texts name files as the command line does: without it.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("traces");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes a sample's file.
fn file(name: &str, sample: &Sample) -> PathBuf {
    std::fs::write(folder().join(name), sample.file()).unwrap();
    name.into()
}

fn trace(words: &[&str], files: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cargo-trefoil"))
        .current_dir(folder())
        .arg("trace")
        .args(words)
        .args(files)
        .output()
        .unwrap()
}

/// Compares a text with the one that was kept.
fn compare(kept: &str, words: &[&str], files: &[&Path], status: i32) {
    let output = trace(words, files);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(status), ""));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trace").join(kept);
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    for (n, (line, before)) in text.lines().zip(before.lines()).enumerate() {
        assert_eq!(line, before, "{kept}, line {}: RENEW=1 keeps the new text", n + 1);
    }
    assert_eq!(text.lines().count(), before.lines().count(), "{kept} has another number of lines");
    if !words.contains(&"csv") {
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{kept} has a line of {widest:?} columns");
    }
}

#[test]
fn a_run_is_told_on_one_page() {
    compare("summary.txt", &["summary"], &[&file("summary.trefoil", &small())], 0);
}

#[test]
fn records_that_were_dropped_are_told() {
    let flight = Sample { flight: true, capacity: 100, ..small() };
    let full = Sample { capacity: 100, ..small() };
    let files = [file("flight.trefoil", &flight), file("full.trefoil", &full)];
    compare("dropped.txt", &["summary", "--sites", "1"], &[&files[0], &files[1]], 0);
}

#[test]
fn every_run_has_its_wait_and_its_delay() {
    let file = file("timehist.trefoil", &small());
    compare("timehist.txt", &["timehist"], &[&file], 0);
    let one = trace(&["timehist", "--goroutine", "1", "--delay", "0"], &[&file]);
    let text = String::from_utf8(one.stdout).unwrap();
    assert!(text.lines().count() > 2 && text.lines().skip(2).all(|line| line.contains(" G1 main ")), "{text}");
}

#[test]
fn the_cores_are_drawn_over_time() {
    let small = file("map.trefoil", &small());
    compare("map.txt", &["map", "--bands", "2"], &[&small], 0);
    let many = file("many.trefoil", &Sample { events: 20_000, ..Sample::default() });
    compare("map-sites.txt", &["map", "--from", "1", "--to", "3.5"], &[&many], 0);
}

#[test]
fn the_table_for_programs_keeps_its_columns() {
    compare("events.csv", &["csv"], &[&file("csv.trefoil", &Sample { events: 150, ..small() })], 0);
}

#[test]
fn two_runs_differ_where_the_first_decision_does() {
    let (a, b) = (file("a.trefoil", &small()), file("b.trefoil", &Sample { seed: 2, ..small() }));
    compare("diff.txt", &["diff"], &[&a, &b], 1);
    compare("same.txt", &["diff"], &[&a, &a], 0);
}

#[test]
fn a_file_that_is_no_trace_is_refused_with_its_name_and_its_mistake() {
    let good = file("good.trefoil", &small());
    let bytes = small().file();
    let cut = PathBuf::from("cut.trefoil");
    std::fs::write(folder().join(&cut), &bytes[..bytes.len() / 2]).unwrap();
    for words in [&["summary"][..], &["timehist"], &["map"], &["csv"]] {
        let output = trace(words, &[&cut]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{words:?}");
        assert!(
            error.contains("cut.trefoil: no valid trace: RING 1 at byte ") && error.contains("the file is cut"),
            "{error}"
        );
    }
    let output = trace(&["diff"], &[&good, &cut]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = trace(&["summary"], &[&good.with_file_name("none.trefoil")]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("none.trefoil: No such file"));
}

#[test]
fn a_reader_that_has_enough_ends_the_text() {
    let file = file("long.trefoil", &Sample { events: 20_000, ..Sample::default() });
    let shell = format!("{} trace csv {} | head -n 1", env!("CARGO_BIN_EXE_cargo-trefoil"), file.display());
    let output = Command::new("sh").current_dir(folder()).args(["-c", &shell]).output().unwrap();
    assert!(output.stdout.starts_with(b"number,ns,m,p,") && output.stderr.is_empty(), "{output:?}");
}
