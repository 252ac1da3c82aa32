//! The command lines of the README, of HACKING and of the book. `make test-walk` runs all of them.

use std::fs;
use std::path::Path;

use xtask::walk::{self, check, plan};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}

#[test]
fn every_command_names_what_is_there() {
    let commands = walk::all(checkout()).expect("the pages can be read");
    assert!(commands.len() > 80, "{} commands", commands.len());
    let lines = commands.iter().flat_map(|command| [(command, command.text.as_str()), (command, walk::line(command))]);
    let wrong: Vec<String> = lines
        .filter_map(|(command, line)| {
            let why = check::check(checkout(), line).err()?;
            Some(format!("{}:{}: {line}: {why}", command.page, command.line))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn quick_commands_work_in_a_fresh_copy() {
    let commands = walk::all(checkout()).expect("the pages can be read");
    let failures = walk::run(checkout(), &commands, |text| plan::QUICK.contains(&text)).expect("there is a copy");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn each_exception_has_its_command_and_its_reason() {
    let commands = walk::all(checkout()).expect("the pages can be read");
    let is_there = |text: &str| commands.iter().any(|command| command.text == text);
    for exception in &plan::EXCEPTIONS {
        assert!(is_there(exception.text), "no page has {}", exception.text);
        assert!(exception.runs != exception.text && !exception.why.is_empty(), "{exception:?}");
    }
    for text in plan::QUICK {
        assert!(is_there(text), "no page has {text}");
    }
}

/// The README's table has every example, and no other.
#[test]
fn the_readme_lists_every_example() {
    let readme = fs::read_to_string(checkout().join("README.md")).expect("it can be read");
    let table = readme.split("\n## Examples\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let mut listed: Vec<String> = cells
        .flat_map(|cell| cell.split("`, `"))
        .filter_map(|name| Some(name.trim_matches('`').split(' ').next()?.to_string()))
        .collect();
    listed.sort();
    let entries = fs::read_dir(checkout().join("kernel/examples")).expect("it can be read");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let mut there: Vec<String> =
        paths.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    there.sort();
    assert_eq!(listed, there, "the README's table, and kernel/examples");
}
