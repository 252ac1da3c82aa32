//! The pictures of the README and of the book, in `docs/pictures`.
//!
//! | file | made of |
//! |---|---|
//! | `architecture.svg` | drawn by hand |
//! | `chart.svg` | the tables of `docs/figures.md` and `docs/performance.md`: [`chart`] |
//! | `life.svg` | the output of an example: [`recording`] |
//! | `trace-*.png` | the pages of traces in a browser: `cargo-trefoil/tests/trace_html.rs` |
//!
//! `cargo xtask pictures` makes all but the first. They are readable on light and on dark pages.
//! Each has a background of its own, since a page may be dark where the reader's system is light.

pub mod chart;
pub mod recording;

use std::path::Path;
use std::process::Command;

/// The folder of the pictures.
pub const FOLDER: &str = "docs/pictures";

/// The fonts of text.
const SANS: &str = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif";

/// Makes the pictures.
///
/// # Errors
/// A table lacks a figure, the example does not build or fails, or a file can't be written.
pub fn pictures() -> Result<u8, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no checkout")?;
    chart::write(root)?;
    write(root, recording::FILE, &recording::render(&recording::record(root)?)?)?;
    trace(root)?;
    Ok(0)
}

/// Records an example on four cores and on one, and lets the tests of traces' pages draw them.
fn trace(root: &Path) -> Result<(), String> {
    let cargo = |args: &[&str], variables: &[(&str, &std::ffi::OsStr)]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for variable in ["TIMEOUT", "QEMU_ARGS", "RECORD", "REPLAY"] {
            command.env_remove(variable);
        }
        let status = command.args(args).envs(variables.iter().copied()).current_dir(root).status();
        let status = status.map_err(|error| format!("cargo: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("cargo {}: {status}", args.join(" "))) }
    };
    let machine = [("ICOUNT", "1"), ("SEED", "1"), ("MACHINE", "q35"), ("MEM", "1G"), ("APPEND", "")];
    let input = [("INPUT", "/usr/share/common-licenses/GPL-3")];
    let file = root.join("target/trace/wordcount.trefoil");
    let other = file.with_file_name("one-core.trefoil");
    let record = |cores: &str| {
        let cores = [("SMP", cores)];
        let all = machine.iter().chain(&input).chain(&cores);
        let variables: Vec<_> = all.map(|&(name, value)| (name, value.as_ref())).collect();
        cargo(&["trefoil", "trace", "--package", "trefoil", "--example", "wordcount"], &variables)
    };
    record("1")?;
    std::fs::rename(&file, &other).map_err(|e| format!("{}: {e}", file.display()))?;
    record("4")?;
    let test = ["test", "--quiet", "--package", "cargo-trefoil", "--test", "trace_html", "--"];
    let only = ["--ignored", "--nocapture"];
    cargo(&[&test[..], &only].concat(), &[("TRACE", file.as_os_str()), ("OTHER", other.as_os_str())])
}

/// Writes `text` as the picture `name`.
fn write(root: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = format!("{FOLDER}/{name}");
    std::fs::write(root.join(&path), text).map_err(|e| format!("{path}: {e}"))?;
    println!("{path} is written");
    Ok(())
}

/// Returns `text` with the characters replaced that mean something in SVG.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
