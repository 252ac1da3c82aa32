//! A look at a command without running it: its target, example, test, verb and variables exist.

use std::path::Path;
use std::process::Command;

use clap::Parser;

use super::words::{assignment, simple};

/// The programs of a page that come with any system.
const COMMON: [&str; 7] = ["printf", "echo", "sleep", "cd", "addr2line", "ls", "rm"];

/// Cargo's own options: those with a value, and those without.
const WITH_VALUE: [&str; 8] = ["-p", "--package", "--test", "--example", "--features", "--profile", "--path", "--root"];
const ALONE: [&str; 7] = ["--doc", "--lib", "--release", "--workspace", "--quiet", "--no-run", "--check"];

/// Checks the command line `text` against the checkout `root`.
///
/// # Errors
/// Names what is not there.
pub fn check(root: &Path, text: &str) -> Result<(), String> {
    for command in simple(text)? {
        let variables: Vec<&str> = command.iter().map_while(|word| Some(assignment(word)?.0)).collect();
        let words: Vec<&str> = command.iter().skip(variables.len()).map(String::as_str).collect();
        variables.iter().try_for_each(|variable| known(root, variable))?;
        match words[..] {
            [] => {}
            ["make", ref words @ ..] => make(root, words)?,
            ["cargo", verb, ref words @ ..] => cargo(root, verb, words)?,
            [program, ..] if COMMON.contains(&program) => {}
            [program, ..] => return Err(format!("{program}: no page says where it comes from")),
        }
    }
    Ok(())
}

/// A variable that the makefile passes on, or its own.
fn known(root: &Path, variable: &str) -> Result<(), String> {
    let is_known = exported(root)?.iter().any(|word| word == variable);
    let makefile = read(root, "Makefile")?;
    let own = makefile.lines().filter_map(|line| line.split_once("?=")).any(|(name, _)| name.trim() == variable);
    if is_known || own { Ok(()) } else { Err(format!("{variable}: the makefile does not know this variable")) }
}

/// Returns the variables that the makefile of `root` passes on.
///
/// # Errors
/// It can't be read, or passes nothing on.
pub fn exported(root: &Path) -> Result<Vec<String>, String> {
    let makefile = read(root, "Makefile")?;
    let line = makefile.lines().find_map(|line| line.strip_prefix("export "));
    line.map(|line| line.split(' ').map(String::from).collect()).ok_or("the makefile exports nothing".into())
}

fn read(root: &Path, file: &str) -> Result<String, String> {
    std::fs::read_to_string(root.join(file)).map_err(|e| format!("{file}: {e}"))
}

/// Lets make itself say whether it would work. No recipe runs.
fn make(root: &Path, words: &[&str]) -> Result<(), String> {
    for word in words {
        match assignment(word) {
            Some(("APP", app)) => example(root, "trefoil", app)?,
            Some((variable, _)) => known(root, variable)?,
            None => {}
        }
    }
    let out = Command::new("make").current_dir(root).arg("-n").args(words).env_remove("MAKEFLAGS").output();
    let out = out.map_err(|e| format!("make: {e}"))?;
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).trim().into()) }
}

fn cargo(root: &Path, verb: &str, words: &[&str]) -> Result<(), String> {
    match verb {
        "xtask" => {
            let has = |word: &&&str| crate::USAGE.split([' ', '|', '[', ']']).any(|known| known == **word);
            let is_option = |word: &&&str| word.starts_with('-');
            let (verb, options) = words.split_first().ok_or("xtask wants a verb")?;
            match [verb].into_iter().chain(options.iter().filter(is_option)).find(|word| !has(word)) {
                Some(word) => Err(format!("xtask has no {word}")),
                None => Ok(()),
            }
        }
        "trefoil" => {
            let words = ["cargo-trefoil"].iter().chain(words);
            cargo_trefoil::cli::Cli::try_parse_from(words).map(drop).map_err(|e| e.to_string())
        }
        "run" | "test" | "build" | "doc" | "fmt" | "clippy" | "install" => built_in(root, words),
        // Cargo names the missing crate.
        "tree" => Ok(()),
        _ => Err(format!("cargo {verb}: no page says where it comes from")),
    }
}

/// The options of cargo's own verbs, up to the program's words.
fn built_in(root: &Path, words: &[&str]) -> Result<(), String> {
    let mut words = words.iter().copied().take_while(|word| *word != "--");
    let (mut packages, mut targets) = (Vec::new(), Vec::new());
    while let Some(word) = words.next() {
        if WITH_VALUE.contains(&word) {
            let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
            match word {
                "-p" | "--package" => packages.push(value),
                "--test" | "--example" => targets.push((word, value)),
                "--path" if !root.join(value).join("Cargo.toml").exists() => {
                    return Err(format!("{value}: no package"));
                }
                _ => {}
            }
        } else if word.starts_with('-') && !ALONE.contains(&word) {
            return Err(format!("cargo has no {word}"));
        }
    }
    packages.iter().try_for_each(|package| folder(root, package).map(drop))?;
    if packages.is_empty() {
        packages.push("trefoil");
    }
    for (kind, name) in targets {
        let found = packages.iter().map(|package| match kind {
            "--test" => test(root, package, name),
            _ => example(root, package, name),
        });
        found.reduce(Result::or).unwrap_or(Ok(()))?;
    }
    Ok(())
}

/// Returns the folder of a package of the workspace.
fn folder(root: &Path, package: &str) -> Result<String, String> {
    let members = read(root, "Cargo.toml")?;
    let members = members.lines().find_map(|line| line.strip_prefix("members = ")).ok_or("a workspace has members")?;
    let is_it = |member: &&str| {
        let manifest = read(root, &format!("{member}/Cargo.toml"));
        manifest.is_ok_and(|text| text.lines().any(|line| line == format!("name = \"{package}\"")))
    };
    let found = members.split('"').skip(1).step_by(2).find(is_it);
    found.map(String::from).ok_or_else(|| format!("there is no package {package}"))
}

fn example(root: &Path, package: &str, name: &str) -> Result<(), String> {
    target(root, package, "examples", name)
}

fn test(root: &Path, package: &str, name: &str) -> Result<(), String> {
    target(root, package, "tests", name)
}

fn target(root: &Path, package: &str, kind: &str, name: &str) -> Result<(), String> {
    let folder = root.join(folder(root, package)?).join(kind);
    let is_there = folder.join(format!("{name}.rs")).exists() || folder.join(name).join("main.rs").exists();
    // A manifest may name a target that lies elsewhere.
    let named = read(&folder, "../Cargo.toml").is_ok_and(|text| text.contains(&format!("\nname = \"{name}\"\n")));
    if is_there || named { Ok(()) } else { Err(format!("{package} has no {name} in {kind}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (text, missing) in [
            ("make rum", "rum"),
            ("make run APP=hallo", "hallo"),
            ("make run SMB=2", "SMB"),
            ("SMB=2 cargo run --example hello", "SMB"),
            ("cargo run --example hallo", "hallo"),
            ("cargo test -p trefoil --test no", "no"),
            ("cargo test -p trefoil-no", "trefoil-no"),
            ("cargo test --docs", "--docs"),
            ("cargo xtask tidi", "tidi"),
            ("cargo xtask tidy --al", "--al"),
            ("cargo trefoil run --cores 2", "--cores"),
            ("cargo frobnicate x", "frobnicate"),
            ("frobnicate x", "frobnicate"),
        ] {
            let said = check(root, text).expect_err(text);
            assert!(said.contains(missing), "{text}: {said}");
        }
    }

    #[test]
    fn what_is_there_passes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for text in [
            "printf 'a\\n' | SMP=2 make run APP=programs ARGS='pmutex stat'",
            "cargo test -p trefoil-sched -p trefoil --test sched -- storm --no-such",
            "cargo xtask tidy --all && cd x",
            "cargo trefoil run --smp 2 --example skynet -- 5",
            "cargo test -p trefoil-hosted --test locks",
        ] {
            assert_eq!(check(root, text), Ok(()), "{text}");
        }
    }
}
