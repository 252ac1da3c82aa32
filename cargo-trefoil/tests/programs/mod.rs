//! Programs that `cargo trefoil new` makes in scratch folders, and calls of cargo there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cargo_trefoil::new::{self, Source};

pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cargo-trefoil lies in the checkout")
}

/// An unused folder outside the checkout, so that no configuration of the checkout's holds. It goes
/// with its owner.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Names the folder, which does not exist yet.
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("trefoil-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir.join(name))
    }
}

impl std::ops::Deref for Scratch {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.0.parent().map(std::fs::remove_dir_all);
    }
}

/// Makes a call of cargo in `dir`, as its owner types it.
pub fn cargo(dir: &Path, words: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(dir).args(words).env("CARGO_TREFOIL", env!("CARGO_BIN_EXE_cargo-trefoil"));
    for variable in ["RUSTC_BOOTSTRAP", "RUSTFLAGS", "SMP", "MEM", "MACHINE", "INPUT", "APPEND", "TIMEOUT", "ICOUNT"] {
        cargo.env_remove(variable);
    }
    cargo
}

/// Calls cargo on a program that depends on the checkout; these programs share what is built.
pub fn shared(dir: &Path, words: &[&str]) -> Output {
    cargo(dir, words).env("CARGO_TARGET_DIR", checkout().join("target/app-test")).output().expect("cargo runs")
}

pub fn text(out: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

pub fn succeeds(out: &Output) -> String {
    let text = text(out);
    assert!(out.status.success(), "{text}");
    text
}

/// Makes a program in a scratch folder, which depends on the checkout.
pub fn app(name: &str, lib: bool) -> Scratch {
    let dir = Scratch::new(name);
    new::new(&dir, lib, &Source::Path(checkout().to_path_buf())).unwrap();
    dir
}
