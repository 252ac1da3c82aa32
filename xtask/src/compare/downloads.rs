//! Downloads for Go's side that a Debian does not have: Go itself, and a Linux kernel. Both are
//! downloaded once.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::output;
use crate::go;

pub use crate::go::GO;

/// The package whose dependency is Debian's newest kernel for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";

/// Finds Go's command: `GO` names one, or it is downloaded.
pub fn go() -> Result<PathBuf, String> {
    let go = match std::env::var_os("GO").filter(|go| !go.is_empty()) {
        Some(go) => go.into(),
        None => go::go(GO).map_err(|e| format!("{e}; GO=path names another Go"))?,
    };
    let said = output(Command::new(&go).arg("version").env("GOTOOLCHAIN", "local"))?;
    if said.split_whitespace().any(|word| word.strip_prefix("go") == Some(GO)) {
        Ok(go)
    } else {
        Err(format!("{}: wants Go {GO}, this is {}", go.display(), said.trim()))
    }
}

/// Finds a Linux kernel. Returns the file, and the kernel's version.
pub fn linux(folder: &Path) -> Result<(PathBuf, String), String> {
    let home = folder.join("linux");
    if !home.exists() {
        let partial = folder.join("linux-partial");
        let _ = std::fs::remove_dir_all(&partial);
        std::fs::create_dir_all(&partial).map_err(|e| format!("{}: {e}", partial.display()))?;
        if download_linux(&partial).is_err() {
            // Debian's lists are missing, or too old.
            update()?;
            download_linux(&partial)?;
        }
        std::fs::rename(&partial, &home).map_err(|e| format!("{}: {e}", home.display()))?;
    }
    let boot = home.join("boot");
    let kernel = files(&boot)?.into_iter().find_map(|file| {
        let version = file.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_string();
        Some((file, version))
    });
    kernel.ok_or_else(|| format!("{}: there is no kernel; remove {}", boot.display(), home.display()))
}

fn download_linux(folder: &Path) -> Result<(), String> {
    let package = kernel_package(&output(Command::new("apt-cache").args(["depends", KERNEL]))?)?;
    eprintln!("downloading Debian's {package} (25 MB)");
    // As root, apt downloads as a user that may not write here, and warns.
    let mut download = Command::new("apt-get");
    download.current_dir(folder).args(["download", "-qq", "-o", "APT::Sandbox::User=root", &package]);
    output(&mut download)?;
    for file in files(folder)?.iter().filter(|file| file.extension().is_some_and(|extension| extension == "deb")) {
        output(Command::new("dpkg-deb").arg("--extract").arg(file).arg(folder))?;
    }
    Ok(())
}

/// Finds the dependency of the kernel's package, in the output of `apt-cache depends`.
fn kernel_package(depends: &str) -> Result<String, String> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let mut kernels = names.filter(|name| name.starts_with("linux-image-"));
    kernels.next().map(String::from).ok_or_else(|| format!("{KERNEL} depends on no kernel"))
}

fn update() -> Result<(), String> {
    // SAFETY: it only asks.
    let mut command = if unsafe { libc::geteuid() } == 0 {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    };
    output(command.args(["update", "-qq"])).map(drop)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.map(|e| Ok(e?.path())).collect());
    entries.map_err(|e| format!("{}: {e}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_what_debian_depends_on() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-57-cloud-amd64\n";
        assert_eq!(kernel_package(depends).unwrap(), "linux-image-6.1.0-57-cloud-amd64");
        assert!(kernel_package("").unwrap_err().contains("linux-image-cloud-amd64"));
    }
}
