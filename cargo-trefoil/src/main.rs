//! `cargo trefoil`: see `cargo trefoil --help`.

use std::ffi::OsString;
use std::process::ExitCode;

use cargo_trefoil::cli;

fn main() -> ExitCode {
    // `cargo trefoil …` calls `cargo-trefoil trefoil …`.
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "trefoil") {
        args.remove(1);
    }
    match cli::main(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("cargo-trefoil: {error}");
            ExitCode::from(2)
        }
    }
}
