//! The copy of Trefoil that a new program carries: the crates that build and boot programs, without
//! the tests, the examples and this repository's own tools.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The folder of the copy in the program's.
pub const FOLDER: &str = "trefoil";

/// The crates of the copy: the kernel with its parts, the host's scheduler, and this tool.
const CRATES: [&str; 9] = ["kernel", "macros", "trace", "sched", "boot", "context", "runs", "hosted", "cargo-trefoil"];

/// Files of the checkout's own folder.
const FILES: [&str; 7] = [
    ".cargo/config.toml",
    ".cargo/runner",
    "Cargo.lock",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "rust-toolchain.toml",
];

/// Copies the checkout into the new folder `to`.
///
/// # Errors
/// A file can't be read or written.
pub fn copy(checkout: &Path, to: &Path) -> Result<(), String> {
    for name in CRATES {
        folder(&checkout.join(name), &to.join(name))?;
        write(&to.join(name).join("Cargo.toml"), &without_targets(&read(&checkout.join(name).join("Cargo.toml"))?))?;
    }
    for name in FILES {
        file(&checkout.join(name), &to.join(name))?;
    }
    make_executable(&to.join(".cargo/runner"))?;
    let crates: Vec<String> = CRATES.iter().map(|name| format!("\"{name}\"")).collect();
    let manifest = read(&checkout.join("Cargo.toml"))?;
    let members = manifest.lines().find(|line| line.starts_with("members = ")).unwrap_or_default();
    write(&to.join("Cargo.toml"), &manifest.replace(members, &format!("members = [{}]", crates.join(", "))))
}

/// Lets everybody execute a file.
///
/// # Errors
/// The file system refuses.
pub fn make_executable(file: &Path) -> Result<(), String> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).map_err(|e| format!("{}: {e}", file.display()))
}

/// Copies a crate's folder, without its tests and examples, and without cargo's `target`.
fn folder(from: &Path, to: &Path) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", from.display());
    for entry in fs::read_dir(from).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let left_out = ["tests", "examples", "target"].iter().any(|out| name == *out);
        match entry.file_type().map_err(fail)?.is_dir() {
            true if left_out && !from.ends_with("src") => {}
            true => folder(&entry.path(), &to.join(&name))?,
            false => file(&entry.path(), &to.join(&name))?,
        }
    }
    Ok(())
}

/// Returns a manifest without the targets that the copy has not.
fn without_targets(manifest: &str) -> String {
    let (mut keeps, mut kept) = (true, String::new());
    for line in manifest.lines() {
        if line.starts_with('[') {
            keeps = !["[[test]]", "[[example]]", "[[bench]]"].contains(&line.trim());
        }
        if keeps {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

fn file(from: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(|e| format!("{}: {e}", to.display()))?;
    fs::copy(from, to).map(|_| ()).map_err(|e| format!("{}: {e}", from.display()))
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_loses_its_tests_and_nothing_else() {
        let manifest =
            "# x\n[package]\nname = \"a\"\n\n[[test]]\nname = \"t\"\nharness = false\n\n[lints]\nworkspace = true\n";
        assert_eq!(without_targets(manifest), "# x\n[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n");
    }
}
