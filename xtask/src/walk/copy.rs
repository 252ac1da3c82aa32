//! A fresh copy of the checkout, and commands that run in it as in a shell of the reader's.
//!
//! The copy lies outside the checkout, so that nothing of the checkout helps: no configuration, no
//! file that git does not know. Its path is the same each time, and files and folders keep their
//! times, so cargo builds what has changed. The results of building stay in the checkout's
//! `target/walk`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::check::exported;

/// A copy, for this process alone.
#[derive(Debug)]
pub struct Copy {
    /// The top of the copy.
    pub root: PathBuf,
    target: PathBuf,
    variables: Vec<String>,
    _lock: File,
}

/// The end of a command.
#[derive(Debug)]
pub struct End {
    /// The exit status; `None` after a signal.
    pub status: Option<i32>,
    /// Both outputs, as they came.
    pub output: String,
    /// The folder in which the command left its shell.
    pub folder: Option<PathBuf>,
}

impl Copy {
    /// Copies the checkout.
    ///
    /// # Errors
    /// A file can't be read or written.
    pub fn new(checkout: &Path) -> Result<Self, String> {
        let target = checkout.join("target/walk");
        let fail = |e: io::Error| format!("a copy of {}: {e}", checkout.display());
        fs::create_dir_all(&target).map_err(fail)?;
        let lock = File::create(target.join("lock")).map_err(fail)?;
        lock.lock().map_err(fail)?;
        let place: String =
            checkout.to_string_lossy().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let above = std::env::temp_dir().join(format!("trefoil-walk{place}"));
        let root = above.join("trefoil");
        let _ = fs::remove_dir_all(&above);
        fs::create_dir_all(&root).map_err(fail)?;
        let files = files(checkout).map_err(fail)?;
        for file in &files {
            copy(&checkout.join(file), &root.join(file)).map_err(|e| format!("{}: {e}", file.display()))?;
        }
        symlink(&target, root.join("target")).map_err(fail)?;
        // A build script may watch a folder.
        let folders: BTreeSet<&Path> = files.iter().flat_map(|file| file.ancestors().skip(1)).collect();
        for folder in folders {
            keep_time(&checkout.join(folder), &root.join(folder)).map_err(fail)?;
        }
        let variables = exported(checkout)?;
        Ok(Self { root, target, variables, _lock: lock })
    }

    /// Runs a command line in `folder`, for at most half an hour. Its input is empty.
    ///
    /// # Errors
    /// There is no shell, or its output can't be kept.
    pub fn run(&self, line: &str, folder: &Path) -> Result<End, String> {
        let (log, place) = (self.target.join("output"), self.target.join("folder"));
        let fail = |e: io::Error| format!("{line}: {e}");
        let out = File::create(&log).map_err(fail)?;
        fs::write(&place, "").map_err(fail)?;
        let mut command = Command::new("timeout");
        command.args(["1800", "sh", "-c", &format!("{line}\nstatus=$?; pwd >'{}'; exit $status", place.display())]);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let of_cargo = ["CARGO", "RUST", "MAKE", "MFLAGS"].iter().any(|begin| name.starts_with(begin));
            let of_reader =
                ["CARGO_HOME", "RUSTUP_HOME", "CARGO_HTTP", "CARGO_NET", "CARGO_REGISTR", "CARGO_BUILD_JOBS"];
            if of_cargo && !of_reader.iter().any(|begin| name.starts_with(begin)) || name == "LD_LIBRARY_PATH" {
                command.env_remove(&name);
            }
        }
        for variable in &self.variables {
            command.env_remove(variable);
        }
        // The place of what `plan` installs.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.target.join("installed/bin").display()));
        let both = out.try_clone().map_err(fail)?;
        let status =
            command.current_dir(folder).stdin(Stdio::null()).stdout(out).stderr(both).status().map_err(fail)?;
        let output = String::from_utf8_lossy(&fs::read(&log).map_err(fail)?).into_owned();
        let next = fs::read_to_string(&place).map_err(fail)?;
        Ok(End {
            status: status.code(),
            output,
            folder: Some(next.trim().into()).filter(|next: &PathBuf| next.is_dir()),
        })
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Some(above) = self.root.parent() {
            let _ = fs::remove_dir_all(above);
        }
    }
}

/// The files of the checkout that git knows or would add; without git, all that is not built.
fn files(checkout: &Path) -> io::Result<Vec<PathBuf>> {
    let git = Command::new("git")
        .current_dir(checkout)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .stderr(Stdio::null())
        .output();
    let mut files = Vec::new();
    match git.ok().filter(|out| out.status.success() && !out.stdout.is_empty()) {
        Some(out) => {
            let names = String::from_utf8_lossy(&out.stdout).into_owned();
            files.extend(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from));
            files.retain(|file| checkout.join(file).exists());
        }
        None => walk(checkout, Path::new(""), &mut files)?,
    }
    Ok(files)
}

fn walk(root: &Path, under: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(under))? {
        let entry = entry?;
        let path = under.join(entry.file_name());
        if [Path::new("target"), Path::new(".git")].contains(&path.as_path()) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => walk(root, &path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to)?;
    keep_time(from, to)
}

fn keep_time(from: &Path, to: &Path) -> io::Result<()> {
    File::open(to)?.set_modified(fs::metadata(from)?.modified()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_git_all_is_copied_that_is_not_built() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut found = Vec::new();
        walk(checkout, Path::new(""), &mut found).unwrap();
        for file in ["README.md", ".cargo/config.toml", "xtask/src/walk/copy.rs"] {
            assert!(found.contains(&file.into()), "{file}");
        }
        assert!(!found.iter().any(|file| file.starts_with("target") || file.starts_with(".git/")));
        // Git adds nothing to that.
        assert!(files(checkout).unwrap().iter().all(|file| found.contains(file)));
    }
}
