//! How cargo builds a program for this command.
//!
//! Cargo chooses the target, and complains of a choice that makes no sense. The environment names
//! this command as cargo's runner, which prints the file that cargo would run. Then this process
//! boots the file, so a signal finds one process, and the exit status is the program's.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use clap::Args;

use crate::doctor::{self, Manifest};
use crate::trace_port::{TRACED, TRACED_BARE};

/// Makes the compiler keep frame pointers. (Cargo ignores it where RUSTFLAGS is set.)
const FRAME_POINTERS: &str = "target.x86_64-unknown-linux-gnu.rustflags=['-Cforce-frame-pointers=yes']";

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
    /// More words for cargo.
    #[arg(skip)]
    more: Vec<OsString>,
}

impl BuildArgs {
    /// Makes `--release` the default.
    pub fn default_to_release(&mut self) {
        self.release = self.profile.is_none();
    }

    /// Adds the recorder of decisions to the build, which gets a target folder of its own. With
    /// `stacks` the program keeps frame pointers, by which the recorder tells stacks.
    ///
    /// # Errors
    /// Cargo can't be asked about the workspace.
    pub fn add_recorder(&mut self, stacks: bool) -> Result<(), Failure> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
        let out = cargo.stderr(Stdio::inherit()).output().map_err(|e| Failure::Call(format!("cargo: {e}")))?;
        succeeded(out.status)?;
        let metadata = String::from_utf8_lossy(&out.stdout);
        let manifests: Vec<Manifest> = strings(&metadata, "manifest_path")
            .filter_map(|path| Manifest::parse(&std::fs::read_to_string(path).ok()?))
            .collect();
        let is_chosen = |it: &&Manifest| self.package.as_ref().is_none_or(|name| *name == *it.package);
        let feature = match manifests.iter().find(is_chosen) {
            Some(manifest) => format!("{}/trace", manifest.kernel),
            // The kernel's own examples.
            None => "trace".into(),
        };
        let target = strings(&metadata, "target_directory").next().unwrap_or_else(|| "target".into());
        let target = PathBuf::from(target).join(if stacks { TRACED } else { TRACED_BARE });
        self.more = vec!["--features".into(), feature.into(), "--target-dir".into(), target.into()];
        if stacks {
            self.more.extend(["--config".into(), FRAME_POINTERS.into()]);
        }
        Ok(())
    }

    fn give(&self, cargo: &mut Command) {
        cargo.args(&self.more);
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

/// Has cargo build a program, and returns its file.
///
/// # Errors
/// The exit status of a cargo that failed. Its messages were printed, and the mistakes that explain
/// them.
pub fn build(build: &BuildArgs) -> Result<PathBuf, Failure> {
    let mut cargo = cargo("locate")?;
    cargo.arg("run");
    build.give(&mut cargo);
    let out = start(cargo.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let out = out.wait_with_output().map_err(|e| format!("cargo: {e}"))?;
    succeeded(out.status)?;
    let path = out.stdout.strip_suffix(b"\n").unwrap_or(&out.stdout);
    Ok(PathBuf::from(OsString::from_vec(path.to_vec())))
}

/// Returns the strings that a JSON text has for `key`.
fn strings<'a>(json: &'a str, key: &str) -> impl Iterator<Item = String> + 'a {
    let key = format!("\"{key}\":\"");
    let mut rest = json;
    std::iter::from_fn(move || {
        rest = &rest[rest.find(&key)? + key.len()..];
        let (mut value, mut is_escaped) = (String::new(), false);
        for c in rest.chars() {
            match c {
                '"' if !is_escaped => break,
                '\\' if !is_escaped => is_escaped = true,
                _ => {
                    value.push(c);
                    is_escaped = false;
                }
            }
        }
        Some(value)
    })
}

/// Has cargo test.
///
/// # Errors
/// As [`build`] has it.
pub fn test(args: &[OsString]) -> Result<(), Failure> {
    let status = start(cargo("run")?.arg("test").args(args))?.wait();
    succeeded(status.map_err(|e| format!("cargo: {e}"))?)
}

/// A call of cargo that did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// Cargo could not be called.
    Call(String),
    /// Cargo has said why, and ended with this status.
    Status(u8),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Call(text)
    }
}

/// Starts cargo, which ends with this process.
fn start(cargo: &mut Command) -> Result<Child, Failure> {
    // SAFETY: `prctl` is async-signal-safe and touches only the child.
    unsafe {
        cargo.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        })
    };
    cargo.spawn().map_err(|e| Failure::Call(format!("cargo: {e}")))
}

/// The status of a cargo that could not build, or whose tests failed.
const FAILED: i32 = 101;

fn succeeded(status: ExitStatus) -> Result<(), Failure> {
    match status.code() {
        Some(0) => return Ok(()),
        Some(FAILED) => {
            for mistake in doctor::mistakes().unwrap_or_default() {
                eprintln!("cargo-trefoil: {mistake}");
            }
        }
        _ => {}
    }
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Err(Failure::Status(code.and_then(|code| code.try_into().ok()).unwrap_or(1)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strings_of_a_key_are_found_in_json() {
        let json = r#"{"a":"x","path":"/w/a \"b\"","n":[{"path":"C:\\d"}],"path":3}"#;
        assert_eq!(strings(json, "path").collect::<Vec<_>>(), ["/w/a \"b\"", "C:\\d"]);
        assert_eq!(strings("", "path").count(), 0);
    }
}
