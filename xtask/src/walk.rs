//! The command lines of the README, of HACKING and of the book: they are there, and they work.
//!
//! | rung | commands | treatment |
//! |---|---|---|
//! | `cargo test`, in a second | all | [`check`]: are targets, tests, examples, verbs, options and variables there? |
//! | `cargo test`, in a minute | [`plan::QUICK`] | a run in a fresh [`copy`] |
//! | `make test-walk` | all | the same; [`plan::EXCEPTIONS`] run in a shorter form |
//!
//! A command works if its status is 0, and if the output that the page shows below it is the run's
//! but for the numbers ([`shape`]). A `cargo test` must have run a test.

pub mod check;
pub mod commands;
pub mod copy;
pub mod plan;
pub mod shape;
pub mod words;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use commands::Command;
use copy::{Copy, End};

/// The pages besides those in `docs`.
const PAGES: [&str; 3] = ["README.md", "HACKING.md", "cargo-trefoil/README.md"];

/// Names of programs, not calls.
const NAMES: [&str; 2] = ["cargo trefoil", "cargo xtask"];

/// Returns the command lines of all pages, with their placeholders filled in.
///
/// # Errors
/// A page can't be read.
pub fn all(checkout: &Path) -> Result<Vec<Command>, String> {
    let mut pages: Vec<String> = PAGES.map(String::from).to_vec();
    let docs = std::fs::read_dir(checkout.join("docs")).map_err(|e| format!("docs: {e}"))?;
    let names = docs.filter_map(|entry| Some(format!("docs/{}", entry.ok()?.file_name().to_string_lossy())));
    let mut docs: Vec<String> = names.filter(|name| name.ends_with(".md")).collect();
    docs.sort();
    pages.extend(docs);
    let mut found = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(checkout.join(&page)).map_err(|e| format!("{page}: {e}"))?;
        found.extend(commands::commands(&page, &text));
    }
    found.retain(|command| !NAMES.contains(&command.text.as_str()));
    for command in &mut found {
        for (word, case) in plan::PLACEHOLDERS {
            command.text = command.text.replace(word, case);
        }
    }
    Ok(found)
}

/// Returns the line that runs for `command`.
pub fn line(command: &Command) -> &str {
    let exception = plan::EXCEPTIONS.iter().find(|exception| exception.text == command.text);
    exception.map_or(&command.text, |exception| exception.runs)
}

/// Returns the reason why a run of `command` is no success.
fn complaint(command: &Command, end: &End) -> Option<String> {
    if end.status != Some(0) {
        return Some(match end.status {
            Some(124) => "it has not ended".into(),
            Some(status) => format!("status {status}"),
            None => "it was killed".into(),
        });
    }
    let passed = end.output.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    let passed: Vec<&str> = passed.collect();
    if line(command).contains("cargo test") && passed.iter().all(|line| line.starts_with("0 passed")) {
        return Some("no test has run".into());
    }
    shape::missing(&command.shown, &end.output).map(|line| format!("the page shows a line that did not come: {line}"))
}

/// Runs those of `commands` that `wanted` picks, each line once, in a fresh copy of `checkout`.
/// Returns the failures. A fence begins in the copy's top folder.
///
/// # Errors
/// There is no copy, or no shell.
pub fn run(checkout: &Path, commands: &[Command], wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, String> {
    let copy = Copy::new(checkout)?;
    let (mut failures, mut seen) = (Vec::new(), BTreeSet::new());
    let (mut folder, mut count) = (copy.root.clone(), 0);
    for (at, command) in commands.iter().enumerate() {
        if !command.continues {
            folder.clone_from(&copy.root);
        }
        let is_new = seen.insert((line(command), &command.shown, folder.clone()));
        let mut below = commands[at + 1..].iter().take_while(|below| below.continues);
        // A wanted command may stand in the folder to which this one goes.
        let leads = command.text.contains("cd ") && below.any(|below| wanted(&below.text));
        if !is_new || !wanted(&command.text) && !leads {
            continue;
        }
        count += 1;
        let begin = Instant::now();
        let end = copy.run(line(command), &folder)?;
        let complaint = complaint(command, &end);
        println!(
            "{:6.1} s  {}  {}:{}: {}",
            begin.elapsed().as_secs_f64(),
            if complaint.is_none() { "works" } else { "FAILS" },
            command.page,
            command.line,
            line(command)
        );
        if let Some(why) = complaint {
            let lines: Vec<&str> = end.output.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            let failure = format!("{}:{}: {}: {why}\n{last}\n", command.page, command.line, line(command));
            println!("\n{failure}");
            failures.push(failure);
        }
        folder.clone_from(end.folder.as_ref().unwrap_or(&copy.root));
    }
    println!("{count} command lines have run, {} do not work", failures.len());
    Ok(failures)
}

/// Runs every command line of the pages, or those that contain `filter`. Returns the exit status.
///
/// # Errors
/// As [`run`].
pub fn walk(filter: &str) -> Result<u8, String> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no checkout")?;
    let failures = run(checkout, &all(checkout)?, |text| text.contains(filter))?;
    Ok(u8::from(!failures.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_no_success_by_its_status_alone() {
        let command = |text: &str, shown: &[&str]| Command {
            page: "README.md".into(),
            line: 1,
            text: text.into(),
            shown: shown.iter().map(|line| line.to_string()).collect(),
            continues: false,
        };
        let end = |status, output: &str| End { status, output: output.into(), folder: None };
        let said = |command: &Command, status, output| complaint(command, &end(status, output)).unwrap_or_default();
        let make = command("make run", &["3 words"]);
        assert_eq!(said(&make, Some(0), "77 words\n"), "");
        assert_eq!(said(&make, Some(2), "77 words\n"), "status 2");
        assert!(said(&make, Some(0), "no words\n").ends_with("did not come: 3 words"));
        let test = command("cargo test -p a", &[]);
        assert_eq!(said(&test, Some(0), "test result: ok. 0 passed; 1 filtered\n"), "no test has run");
        assert_eq!(said(&test, Some(0), "test result: ok. 0 passed; 1\ntest result: ok. 2 passed\n"), "");
    }
}
