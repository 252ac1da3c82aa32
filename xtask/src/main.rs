//! Trefoil's host tool.
//!
//! `xtask run FILE [ARGS…]` is the cargo runner: a Trefoil image boots in QEMU, anything else is executed as it is.
//! `xtask debug FILE` opens gdb on the booted image; `xtask size FILE` prints its stripped size; `xtask new DIR` makes an app.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use xtask::qemu::{Settings, Stdin};
use xtask::{boots, debug, elf, new, run};

const USAGE: &str = "usage: xtask run FILE [ARGS…] | debug FILE | size FILE | new DIR";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let verb = args.next().unwrap_or_default();
    let Some(file) = args.next().map(PathBuf::from) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let rest: Vec<_> = args.collect();
    let done = match verb.to_str() {
        Some("run") => run_file(&file, &rest),
        Some("debug") => Settings::from_env().and_then(|settings| debug::debug(&file, &settings)),
        Some("size") => elf::stripped_size(&file).map(|size| {
            println!("{}: {size} bytes stripped", file.display());
            0
        }),
        Some("new") => new::new_app(&file).map(|()| 0),
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

fn run_file(file: &Path, args: &[std::ffi::OsString]) -> Result<u8, String> {
    if !elf::is_image(file)? {
        return Err(run::execute(file, args));
    }
    if let Some(tests) = elf::tests(file)? {
        let filters: Vec<String> =
            args.iter().map(|a| a.to_string_lossy().into_owned()).filter(|a| !a.starts_with('-')).collect();
        let has = |flag: &str| args.iter().any(|a| a == flag);
        return boots::run_all(file, &tests, &filters, has("--ignored"), has("--nocapture"));
    }
    let words: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let settings = Settings { stdin: Stdin::Inherit, ..Settings::from_env()? };
    run::run(file, &words, &settings, &mut run::Terminal)
}
