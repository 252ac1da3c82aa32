//! Trefoil's host tool.
//!
//! `xtask run FILE [ARGS…]` is the cargo runner: a Trefoil image boots in QEMU, anything else is
//! executed as it is.
//! `xtask debug FILE` opens gdb on the booted image. `xtask size FILE` prints its stripped size.
//! `xtask new DIR` makes an app. `xtask tidy` checks the prose of comments and Markdown files.
//! `xtask sample FILE [WORDS…]` runs an image and shows which functions its processors were in.
//! `xtask figures [FILE]` writes the tables of counted figures in `docs/`. `xtask book` builds the
//! book. `xtask compare-programs` runs whole programs beside Go's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use xtask::qemu::{Settings, Stdin};
use xtask::tidy::Mode;
use xtask::{book, boots, compare, debug, elf, figures, new, run, sample, tidy};

const USAGE: &str = "usage: xtask run FILE [ARGS…] | debug FILE | size FILE | new DIR | sample FILE [WORDS…] | \
                     compare-programs | figures [FILE] | book | tidy [--all|--ratchet|--invariants|--paths]";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let verb = args.next().unwrap_or_default();
    let file = args.next().map(PathBuf::from);
    let rest: Vec<_> = args.collect();
    let done = match (verb.to_str(), &file) {
        (Some("run"), Some(file)) => run_file(file, &rest),
        (Some("debug"), Some(file)) => Settings::from_env().and_then(|settings| debug::debug(file, &settings)),
        (Some("size"), Some(file)) => elf::stripped_size(file).map(|size| {
            println!("{}: {size} bytes stripped", file.display());
            0
        }),
        (Some("new"), Some(dir)) => new::new_app(dir).map(|()| 0),
        (Some("sample"), Some(file)) => {
            terminal().and_then(|settings| sample::sample(file, &text_of(&rest), &settings))
        }
        (Some("compare-programs"), None) => {
            compare::options::Options::from_env().and_then(|options| compare::compare(&options))
        }
        (Some("figures"), file) => figures::figures(file.as_deref()),
        (Some("book"), None) => book::book(),
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

/// Returns the machine that the environment asks for. It reads this process's standard input.
fn terminal() -> Result<Settings, String> {
    Ok(Settings { stdin: Stdin::Inherit, ..Settings::from_env()? })
}

fn text_of(args: &[std::ffi::OsString]) -> Vec<String> {
    args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
}

fn run_file(file: &Path, args: &[std::ffi::OsString]) -> Result<u8, String> {
    if !elf::is_image(file)? {
        return Err(run::execute(file, args));
    }
    if let Some(tests) = elf::tests(file)? {
        let filters: Vec<String> = text_of(args).into_iter().filter(|a| !a.starts_with('-')).collect();
        let has = |flag: &str| args.iter().any(|a| a == flag);
        return boots::run_all(file, &tests, &filters, has("--ignored"), has("--nocapture"));
    }
    run::run(file, &text_of(args), &terminal()?, &mut run::Terminal)
}
