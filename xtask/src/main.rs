//! The tool for this repository alone. `cargo trefoil` is the one for every Trefoil program.
//!
//! `xtask tidy` checks the prose of comments and Markdown files. `xtask sample FILE [WORDS…]` runs
//! an image and shows which functions its processors were in. `xtask figures [FILE]` writes the
//! tables of counted figures in `docs/`. `xtask pictures` draws the chart and records an example.
//! `xtask book` builds the book. `xtask walk [TEXT]` runs the command lines of the pages. `xtask
//! compare-programs` runs whole programs beside Go's. `xtask setup-go` installs Go's tools that
//! check traces.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cargo_trefoil::qemu::{Settings, Stdin};
use xtask::tidy::Mode;
use xtask::{USAGE, book, compare, figures, go, pictures, sample, tidy, walk};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let verb = args.next().unwrap_or_default();
    let file = args.next().map(PathBuf::from);
    let rest: Vec<_> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let done = match (verb.to_str(), &file) {
        (Some("sample"), Some(file)) => terminal().and_then(|settings| sample::sample(file, &rest, &settings)),
        (Some("compare-programs"), None) => {
            compare::options::Options::from_env().and_then(|options| compare::compare(&options))
        }
        (Some("figures"), file) => figures::figures(file.as_deref()),
        (Some("pictures"), None) => pictures::pictures(),
        (Some("walk"), filter) => walk::walk(&filter.as_deref().unwrap_or(Path::new("")).to_string_lossy()),
        (Some("book"), None) => book::book(),
        (Some("setup-go"), None) => go::setup(),
        (Some("tidy"), None) => tidy::tidy(Mode::Check),
        (Some("tidy"), Some(flag)) if flag.as_os_str() == "--all" => tidy::tidy(Mode::All),
        (Some("tidy"), Some(flag)) if flag.as_os_str() == "--ratchet" => tidy::tidy(Mode::Ratchet),
        (Some("tidy"), Some(flag)) if flag.as_os_str() == "--paths" => tidy::tidy(Mode::Paths),
        (Some("tidy"), Some(flag)) if flag.as_os_str() == "--invariants" => tidy::tidy(Mode::Invariants),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns the machine that the environment asks for, with this process's standard input.
fn terminal() -> Result<Settings, String> {
    Ok(Settings { stdin: Stdin::Inherit, ..Settings::from_env()? })
}
