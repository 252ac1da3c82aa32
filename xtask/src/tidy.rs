//! Checks the prose in comments and Markdown files, and the order of the folders.
//!
//! | rule | what it finds |
//! |---|---|
//! | `width` | a line of prose with more than 100 columns, unless it is a single link |
//! | `length` | a sentence of more than 30 words, in Markdown or a module's header |
//! | `subject` | "who", "what" and their like as the subject of a clause |
//! | `opening` | a sentence that opens with a pronoun, where a file has too many of them |
//! | `link` | a relative link in Markdown to no file or to no heading; a picture that is missing; a page that the book does not list |
//! | `invariant` | a named invariant without a definition, with two, without a test, or without its row in the book |
//! | `arrow` | code in a folder of a crate that names a folder above it |
//! | `size` | a Rust file of more than 500 lines |
//! | `safety` | a comment on unsafe code that says "as above", or only the number of a rule |
//!
//! Code, pictures in fences and HTML comments are no prose. Tables have no width. A [`ratchet`]
//! holds older text, file by file. Two constants bound the whole.

pub mod comments;
pub mod floors;
pub mod invariants;
pub mod links;
pub mod markdown;
pub mod prose;
pub mod ratchet;
pub mod report;
pub mod rules;

use std::path::Path;

use report::Report;

/// Where the ratchet stands.
pub(crate) const RATCHET: &str = "xtask/tidy.txt";

/// The kinds of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Prints what the ratchet does not allow.
    Check,
    /// Prints all findings.
    All,
    /// Lowers the ratchet, then checks.
    Ratchet,
    /// Prints the paths in the pages' code that lead to no file.
    Paths,
    /// Writes where each invariant is defined and tested, then checks.
    Invariants,
}

/// Checks the checkout: prints findings, and returns the exit status.
///
/// # Errors
/// A file can't be read or written.
pub fn tidy(mode: Mode) -> Result<u8, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no checkout")?;
    if mode == Mode::Paths {
        return paths(root);
    }
    let mut report = read(root)?;
    if mode == Mode::Invariants
        && let Some(page) = report.invariants()
    {
        let path = root.join(invariants::PAGE);
        std::fs::write(&path, page).map_err(|e| format!("{}: {e}", path.display()))?;
        report = read(root)?;
    }
    let file = root.join(RATCHET);
    let text = file.exists().then(|| read_file(&file)).transpose()?;
    let mut allowed = text.map(|text| ratchet::parse(&text)).transpose().map_err(|e| format!("{RATCHET}: {e}"))?;
    if mode == Mode::Ratchet {
        let lowered = ratchet::lower(allowed.as_ref(), &report.counts(), |rule, path| report.free(rule, path));
        std::fs::write(&file, ratchet::render(&lowered)).map_err(|e| format!("{}: {e}", file.display()))?;
        allowed = Some(lowered);
    }
    if mode == Mode::All {
        report.findings.iter().for_each(|finding| println!("{finding}"));
    }
    let (wrong, lower) = report.judge(&allowed.unwrap_or_default());
    if mode != Mode::All {
        wrong.iter().chain(&lower).for_each(|line| println!("{line}"));
    }
    println!("{}", report.summary());
    Ok(u8::from(!wrong.is_empty()))
}

/// Prints the paths that lead to no file, after files have moved. No rule of every run: a page may
/// be ahead of a move.
fn paths(root: &Path) -> Result<u8, String> {
    let mut all = Vec::new();
    walk(root, "", &mut all)?;
    all.retain(|path| is_page(path));
    all.sort();
    let mut count = 0;
    for path in &all {
        for (line, missing) in links::missing_paths(root, &read_file(&root.join(path))?) {
            println!("{path}:{line}: path: {missing}");
            count += 1;
        }
    }
    println!("tidy: {count} paths lead to no file");
    Ok(u8::from(count > 0))
}

/// Returns true if `path` is a Markdown file of the checkout's top, or a page of the book.
fn is_page(path: &str) -> bool {
    path.ends_with(".md") && (path.starts_with("docs/") || !path.contains('/'))
}

/// Reads and checks all files below `root`.
fn read(root: &Path) -> Result<Report, String> {
    let mut paths = Vec::new();
    walk(root, "", &mut paths)?;
    paths.sort();
    let mut report = Report::default();
    for path in &paths {
        if path.ends_with(".rs") {
            report.rust(path, &read_file(&root.join(path))?);
        } else if is_page(path) {
            report.markdown(path, &read_file(&root.join(path))?);
        }
    }
    report.end(root, invariants::UNTESTED);
    Ok(report)
}

fn read_file(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))
}

/// Adds the files below `root`/`under` to `paths`, but for what is built or hidden.
fn walk(root: &Path, under: &str, paths: &mut Vec<String>) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", root.join(under).display());
    for entry in std::fs::read_dir(root.join(under)).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "target" || name.starts_with('.') {
            continue;
        }
        let path = if under.is_empty() { name } else { format!("{under}/{name}") };
        if entry.file_type().map_err(fail)?.is_dir() {
            walk(root, &path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}
