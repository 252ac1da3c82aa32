//! How cargo builds a program and hands it to this command.
//!
//! Cargo chooses the target, and complains of a choice that makes no sense. The environment names
//! this command as cargo's runner, and carries the machine's options to it. Each process becomes
//! the next one (`exec`), so a signal finds one process, and the exit status is the program's.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use crate::cli::Action;
use crate::options::MachineArgs;

/// The choice of a target and a profile. Cargo reads the values.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The build")]
pub struct BuildArgs {
    /// The package, if there are several
    #[arg(short, long, value_name = "NAME")]
    package: Option<OsString>,
    /// The binary, if there are several
    #[arg(long, value_name = "NAME", conflicts_with = "example")]
    bin: Option<OsString>,
    /// An example
    #[arg(long, value_name = "NAME")]
    example: Option<OsString>,
    /// Build as the program is shipped
    #[arg(short, long, conflicts_with = "profile")]
    release: bool,
    /// Build with this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<OsString>,
    /// Features of the package
    #[arg(short = 'F', long, value_name = "LIST")]
    features: Option<OsString>,
}

impl BuildArgs {
    /// Makes `--release` the default.
    pub fn default_to_release(&mut self) {
        self.release = self.profile.is_none();
    }

    fn give(&self, cargo: &mut Command) {
        let values = [
            ("--package", &self.package),
            ("--bin", &self.bin),
            ("--example", &self.example),
            ("--profile", &self.profile),
            ("--features", &self.features),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                cargo.arg(name).arg(value);
            }
        }
        if self.release {
            cargo.arg("--release");
        }
    }
}

/// Has cargo build a program and call this command to do `action`. Returns only if that fails.
pub fn run(action: Action, build: &BuildArgs, machine: &MachineArgs, words: &[OsString]) -> String {
    let action = match action {
        Action::Run => "run",
        Action::Debug => "debug",
        Action::Size => "size",
    };
    let mut cargo = match cargo(action) {
        Ok(cargo) => cargo,
        Err(error) => return error,
    };
    cargo.arg("run");
    build.give(&mut cargo);
    machine.give(&mut cargo);
    cargo.arg("--").args(words);
    format!("cargo: {}", cargo.exec())
}

/// Has cargo test. Returns only if that fails.
pub fn test(args: &[OsString]) -> String {
    match cargo("run") {
        Ok(mut cargo) => format!("cargo: {}", cargo.arg("test").args(args).exec()),
        Err(error) => error,
    }
}

/// Returns a cargo whose runner is this command.
fn cargo(action: &str) -> Result<Command, String> {
    let this = std::env::current_exe().map_err(|e| format!("this command has no path: {e}"))?;
    let this = this.to_str().filter(|path| !path.contains(char::is_whitespace)).ok_or_else(|| {
        // Cargo splits the variable at spaces.
        format!("{}: cargo can't call a runner whose path has a space: move it", this.display())
    })?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", format!("{this} runner --do {action}"));
    Ok(cargo)
}
