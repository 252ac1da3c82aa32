//! Test images of the kernel that have a recorder, built once for each test of this crate.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the checkout.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cargo-trefoil lies in the checkout")
}

/// Builds the kernel's test image `test`, with the recorder.
pub fn build(test: &str) -> PathBuf {
    let out = Command::new(env!("CARGO"))
        .current_dir(checkout())
        .args(["test", "--quiet", "--release", "--package", "trefoil", "--features", "trace"])
        .args(["--test", test, "--no-run", "--message-format", "json", "--target-dir"])
        .arg(checkout().join("target/traced-bare"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "the image does not build");
    let text = String::from_utf8_lossy(&out.stdout);
    let file = text.lines().find_map(|line| line.split_once(r#""executable":""#)?.1.split('"').next());
    file.expect("cargo names the image").into()
}
