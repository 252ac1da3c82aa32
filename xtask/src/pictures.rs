//! The pictures of the README and of the book, in `docs/pictures`.
//!
//! | file | made of |
//! |---|---|
//! | `architecture.svg` | drawn by hand |
//! | `chart.svg` | the tables of `docs/figures.md` and `docs/performance.md`: [`chart`] |
//! | `life.svg` | the output of an example: [`recording`] |
//! | `trace-*.png` | a trace's page in a browser: `cargo-trefoil/tests/trace_html.rs` |
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

/// Lets the test of a trace's page draw its pictures.
fn trace(root: &Path) -> Result<(), String> {
    let test = ["test", "--quiet", "--package", "cargo-trefoil", "--test", "trace_html", "--"];
    let only = ["--ignored", "--exact", "the_pictures_of_the_book", "--nocapture"];
    let status = Command::new("cargo").args(test).args(only).current_dir(root).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the pictures of a trace's page: {status}")),
        Err(error) => Err(format!("cargo: {error}")),
    }
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
