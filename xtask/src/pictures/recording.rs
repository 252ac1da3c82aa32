//! A recording of the Game of Life, as an SVG that moves.
//!
//! The example boots on four cores with counted instructions and one seed, so its output repeats
//! exactly. Each frame begins with the sequence that moves the cursor home. The picture lays all
//! frames below each other and moves that strip behind a window, one frame at each step: CSS alone,
//! as an image in a README may. A line that occurs more than once is defined once.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use super::{SANS, escape};

/// The picture's name.
pub const FILE: &str = "life.svg";

/// The command that the picture shows.
const TYPED: &str = "make run APP=life";

/// The cursor goes to the upper left corner.
const HOME: &str = "\u{1b}[H";

/// The frames shown in a second. The machine itself is faster.
const RATE: usize = 6;

/// The width of a character, the height of a line, the margin, and the height of the title.
const CHARACTER: f64 = 7.2;
const LINE: usize = 16;
const MARGIN: usize = 16;
const TITLE: usize = 64;

/// Boots the example, and returns what it prints.
///
/// # Errors
/// The example does not build, or fails.
pub fn record(root: &Path) -> Result<String, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    for variable in ["INPUT", "TIMEOUT", "QEMU_ARGS", "RECORD", "REPLAY"] {
        command.env_remove(variable);
    }
    let out = command
        .current_dir(root)
        .args(["run", "--quiet", "--release", "--package", "trefoil", "--example", "life", "--target-dir", "target"])
        .envs([("ICOUNT", "1"), ("SMP", "4"), ("SEED", "1"), ("MACHINE", "q35"), ("MEM", "1G"), ("APPEND", "")])
        .output()
        .map_err(|e| format!("cargo: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if out.status.success() { Ok(text) } else { Err(format!("life has failed:\n{text}")) }
}

/// Returns the frames of an output, each as its lines.
pub fn frames(output: &str) -> Vec<Vec<&str>> {
    output.split(HOME).skip(1).map(|frame| frame.lines().map(str::trim_end).collect()).collect()
}

/// Returns the picture of an output.
///
/// # Errors
/// The output has no frames, or frames of different heights.
pub fn render(output: &str) -> Result<String, String> {
    let frames = frames(output);
    let rows = frames.first().map_or(0, Vec::len);
    if rows == 0 || frames.iter().any(|frame| frame.len() != rows) {
        return Err(format!("{} frames, the first of {rows} lines, and not all alike", frames.len()));
    }
    let columns = frames.iter().flatten().map(|line| line.chars().count()).max().unwrap_or(0);
    let inner = (columns as f64 * CHARACTER).ceil() as usize;
    let (width, high) = (inner + 2 * MARGIN, rows * LINE);
    let height = TITLE + high + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"A terminal: \
         {TYPED}\">\n<style>\n\
         text {{ font: 12px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1f2328; white-space: pre; }}\n\
         .title {{ font: 12px {SANS}; fill: #59636e; text-anchor: middle; }}\n\
         .page {{ fill: #ffffff; stroke: #d0d7de; }}\n.bar {{ fill: #f6f8fa; }}\n\
         .strip {{ animation: play {:.2}s steps({}) infinite; }}\n\
         @keyframes play {{ to {{ transform: translateY(-{}px); }} }}\n\
         @media (prefers-reduced-motion: reduce) {{ .strip {{ animation: none; }} }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         text {{ fill: #e6edf3; }}\n.title {{ fill: #9198a1; }}\n.page {{ fill: #0d1117; stroke: #3d444d; }}\n.bar {{ fill: #161b22; }}\n\
         }}\n</style>\n",
        frames.len() as f64 / RATE as f64,
        frames.len(),
        frames.len() * high,
    );
    let mut names = BTreeMap::new();
    svg += "<defs>\n";
    for line in frames.iter().flatten().filter(|line| !line.is_empty()) {
        let next = names.len();
        names.entry(*line).or_insert_with(|| {
            let length = line.chars().count() as f64 * CHARACTER;
            let _ = writeln!(
                svg,
                "<text id=\"l{next}\" xml:space=\"preserve\" textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\">{}</text>",
                escape(line)
            );
            next
        });
    }
    let _ = write!(
        svg,
        "</defs>\n<rect class=\"page\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n\
         <path class=\"bar\" d=\"M1 30V9Q1 1 9 1H{}Q{e} 1 {e} 9V30z\"/>\n\
         <circle cx=\"18\" cy=\"15\" r=\"5\" fill=\"#f85149\"/><circle cx=\"36\" cy=\"15\" r=\"5\" fill=\"#d29922\"/>\
         <circle cx=\"54\" cy=\"15\" r=\"5\" fill=\"#3fb950\"/>\n\
         <text class=\"title\" x=\"{}\" y=\"19\">a goroutine a cell, on four cores</text>\n\
         <text x=\"{MARGIN}\" y=\"{}\">$ {TYPED}</text>\n\
         <svg x=\"{MARGIN}\" y=\"{TITLE}\" width=\"{inner}\" height=\"{high}\">\n<g class=\"strip\">\n",
        width - 1,
        height - 1,
        width - 9,
        width / 2,
        TITLE - MARGIN,
        e = width - 1,
    );
    for (at, frame) in frames.iter().enumerate() {
        let _ = write!(svg, "<g transform=\"translate(0 {})\">", at * high);
        for (row, line) in frame.iter().enumerate() {
            if let Some(name) = names.get(line) {
                let _ = write!(svg, "<use href=\"#l{name}\" y=\"{}\"/>", row * LINE + LINE - 4);
            }
        }
        svg += "</g>\n";
    }
    svg += "</g>\n</svg>\n</svg>\n";
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_begins_where_the_cursor_goes_home() {
        let output = "cargo says something\n\u{1b}[H ##\n .\n\u{1b}[H .\r\n ##\r\n";
        assert_eq!(frames(output), [[" ##", " ."], [" .", " ##"]]);
        let svg = render(output).unwrap();
        assert_eq!(svg.matches("> ##</text>").count(), 1, "a line is defined once: {svg}");
        assert!(svg.contains("steps(2)") && svg.contains("translateY(-64px)"), "{svg}");
        assert!(
            svg.contains(
                "<g transform=\"translate(0 32)\"><use href=\"#l1\" y=\"12\"/><use href=\"#l0\" y=\"28\"/></g>"
            )
        );
    }

    #[test]
    fn an_output_without_frames_is_no_recording() {
        assert!(render("hello\n").unwrap_err().starts_with("0 frames"));
        assert!(render("\u{1b}[Ha\n\u{1b}[Ha\nb\n").is_err());
    }
}
