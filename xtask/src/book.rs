//! The book: the pages of `docs/`, with the pictures of the source files in them.
//!
//! A page includes a picture by a line of its own, in a fence:
//!
//! ```text
//! {{#include ../sched/src/lib.rs:NAME}}
//! ```
//!
//! In the source file the picture stands in the fence of a comment, between two lines
//! `// ANCHOR: NAME` and `// ANCHOR_END: NAME`. mdBook would take the comment's slashes along. So
//! the pages are laid out in `target/book-src` first, and mdBook reads them there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGES: &str = "docs";
/// The page that lists all others.
pub const SUMMARY: &str = "docs/SUMMARY.md";
const STAGED: &str = "target/book-src";
const BOOK: &str = "target/book";
/// Where `make book` installs mdBook.
const TOOL: &str = "target/tools/bin/mdbook";

const OPEN: &str = "{{#include ";
const CLOSE: &str = "}}";

/// Returns the targets of the includes of a page, each with its line.
pub fn includes(page: &str) -> Vec<(usize, &str)> {
    let lines = (1..).zip(page.lines());
    lines.filter_map(|(at, line)| Some((at, line.trim().strip_prefix(OPEN)?.strip_suffix(CLOSE)?))).collect()
}

/// Returns the picture at `target`, as a page in `docs/` names it.
///
/// # Errors
/// The file can't be read, or has no such picture.
pub fn picture(root: &Path, target: &str) -> Result<String, String> {
    let (file, name) = target.split_once(':').ok_or_else(|| format!("{target}: names no picture"))?;
    let source = fs::read_to_string(root.join(PAGES).join(file)).map_err(|e| format!("{file}: {e}"))?;
    between(&source, name).ok_or_else(|| format!("{file} has no picture {name}"))
}

/// The lines of the picture `name`, without the comment's slashes and without its fence.
fn between(source: &str, name: &str) -> Option<String> {
    let (begin, end) = (format!("// ANCHOR: {name}"), format!("// ANCHOR_END: {name}"));
    let lines: Vec<&str> = source.lines().collect();
    let place = |marker: &str| lines.iter().position(|line| line.trim() == marker);
    let inside = lines.get(place(&begin)? + 1..place(&end)?)?;
    let text = |line: &&str| {
        let line = line.trim_start().trim_start_matches(['/', '!']);
        line.strip_prefix(' ').unwrap_or(line).to_string()
    };
    let text: Vec<String> = inside.iter().map(text).filter(|line| !line.starts_with("```")).collect();
    (!text.is_empty()).then(|| text.join("\n"))
}

/// Returns the page with its pictures in place of the includes.
fn resolve(root: &Path, page: &str) -> Result<String, String> {
    let mut out = String::new();
    let includes: BTreeMap<usize, &str> = includes(page).into_iter().collect();
    for (at, line) in (1..).zip(page.lines()) {
        match includes.get(&at) {
            Some(target) => out += &picture(root, target).map_err(|e| format!("line {at}: {e}"))?,
            None => out += line,
        }
        out.push('\n');
    }
    Ok(out)
}

/// Returns the pages that `summary` lists, as they are named there.
pub fn listed(summary: &str) -> BTreeSet<&str> {
    let links = summary.split("](").skip(1);
    links.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// Builds the book into `target/book`, and checks the links between its pages.
///
/// # Errors
/// There is no mdBook, a picture is missing, or a link leads nowhere.
pub fn book() -> Result<u8, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no checkout")?;
    let staged = root.join(STAGED);
    let _ = fs::remove_dir_all(&staged);
    fs::create_dir_all(&staged).map_err(|e| format!("{STAGED}: {e}"))?;
    for path in files(&root.join(PAGES)).map_err(|e| format!("{PAGES}: {e}"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            copy(&path, &staged.join(&name)).map_err(|e| format!("{PAGES}/{name}: {e}"))?;
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|e| format!("{PAGES}/{name}: {e}"))?;
        let text = resolve(root, &text).map_err(|e| format!("{PAGES}/{name}: {e}"))?;
        fs::write(staged.join(&name), text).map_err(|e| format!("{STAGED}/{name}: {e}"))?;
    }
    let tool = if root.join(TOOL).exists() { root.join(TOOL) } else { PathBuf::from("mdbook") };
    let status = Command::new(&tool).arg("build").arg(&staged).arg("--dest-dir").arg(root.join(BOOK)).status();
    let status = status.map_err(|e| format!("{}: {e}; `make book` installs it", tool.display()))?;
    if !status.success() {
        return Err("mdbook has failed".into());
    }
    let pages = rendered(&root.join(BOOK))?;
    let mut broken = broken(&pages);
    broken.extend(missing_pictures(&pages, |picture| root.join(BOOK).join(picture).exists()));
    broken.iter().for_each(|line| println!("{line}"));
    println!("the book is in {BOOK}/index.html");
    Ok(u8::from(!broken.is_empty()))
}

/// The files and folders in `dir`.
fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

/// Copies the files of a folder: pictures, which hold no includes.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for file in files(from)? {
        fs::copy(&file, to.join(file.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// The rendered pages, by name.
fn rendered(dir: &Path) -> Result<BTreeMap<String, String>, String> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(|e| format!("{BOOK}: {e}"))? {
        let path = entry.map_err(|e| format!("{BOOK}: {e}"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".html") && name != "print.html" && name != "404.html" {
            pages.insert(name, fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?);
        }
    }
    Ok(pages)
}

/// Returns the links of the rendered pages that lead to no page or to no heading.
fn broken(pages: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, page) in pages {
        for target in attributes(page, "href") {
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { name } else { file };
            // A link out of the book leads nowhere once the book is elsewhere.
            let is_page = file.ends_with(".html") || file.ends_with(".md") || file.starts_with("../");
            let leads = match pages.get(file) {
                Some(page) => heading.is_empty() || attributes(page, "id").any(|id| id == heading),
                None => !is_page || file == "print.html",
            };
            if !leads {
                found.push(format!("{name}: no {target}"));
            }
        }
        if page.contains(OPEN.trim_end()) {
            found.push(format!("{name}: an include is left"));
        }
    }
    found
}

/// Returns the pictures of the rendered pages that are not there.
fn missing_pictures(pages: &BTreeMap<String, String>, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let pictures = pages.iter().flat_map(|(name, page)| attributes(page, "src").map(move |picture| (name, picture)));
    let pictures = pictures.filter(|(_, picture)| picture.ends_with(".svg") && !is_there(picture));
    pictures.map(|(name, picture)| format!("{name}: no {picture}")).collect()
}

/// The values of an attribute in a page.
fn attributes<'a>(page: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!(" {name}=\"");
    let mut rest = page;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(begin.as_str())?;
        let (value, after) = after.split_once('"')?;
        rest = after;
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str =
        "//! A ring.\n//!\n// ANCHOR: ring\n//! ```text\n//!   a ──▶ b\n//!\n//! c\n//! ```\n// ANCHOR_END: ring\n";

    #[test]
    fn a_picture_comes_without_slashes_and_without_its_fence() {
        assert_eq!(between(SOURCE, "ring").unwrap(), "  a ──▶ b\n\nc");
        assert_eq!(between("    // ANCHOR: x\n    /// a\n    // ANCHOR_END: x\n", "x").unwrap(), "a");
    }

    #[test]
    fn a_picture_that_is_not_there_is_none() {
        for (source, name) in [
            (SOURCE, "rin"),
            ("// ANCHOR: x\n//! a\n", "x"),
            ("// ANCHOR_END: x\n// ANCHOR: x\n", "x"),
            ("// ANCHOR: x\n//! ```\n//! ```\n// ANCHOR_END: x\n", "x"),
        ] {
            assert_eq!(between(source, name), None, "{source}");
        }
    }

    #[test]
    fn only_a_line_of_its_own_includes() {
        let page = "a {{#include b:c}}\n{{#include ../x.rs:y}}\n";
        assert_eq!(includes(page), [(2, "../x.rs:y")]);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert!(resolve(root, page).unwrap_err().starts_with("line 2: ../x.rs: "));
        assert_eq!(resolve(root, "a\nb").unwrap(), "a\nb\n");
        assert!(picture(root, "../sched/src/lib.rs:no-such").unwrap_err().contains("no picture no-such"));
    }

    #[test]
    fn a_picture_that_was_not_copied_is_named() {
        let page = r#"<img src="pictures/a.svg" alt="a"><img src="pictures/b.svg"><script src="x.js">"#;
        let pages = BTreeMap::from([("a.html".to_string(), page.to_string())]);
        assert_eq!(missing_pictures(&pages, |picture| picture == "pictures/a.svg"), ["a.html: no pictures/b.svg"]);
    }

    #[test]
    fn the_summary_lists_its_pages() {
        let found = listed("# S\n\n[A](a.md)\n- [B c](b.md)\n    - [D](d.md)\n");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a.md", "b.md", "d.md"]);
    }

    #[test]
    fn rendered_links_lead_to_a_page_and_a_heading() {
        let a = r##"<h1 id="top">A</h1><a href="b.html#here">b</a><a href="#top">t</a><link href="x.css">"##;
        let b = r#"<h1 id="here">B</h1><a href="https://go.dev/#x">go</a><a href="print.html">p</a>"#;
        let pages = |a: &str, b: &str| BTreeMap::from([("a.html".into(), a.into()), ("b.html".into(), b.into())]);
        assert_eq!(broken(&pages(a, b)), [""; 0]);
        assert_eq!(broken(&pages(a, "")), ["a.html: no b.html#here"]);
        assert_eq!(broken(&pages("", r#"<a href="c.html">c</a>"#)), ["b.html: no c.html"]);
        assert_eq!(broken(&pages("", r#"<a href="../README.md">r</a>"#)), ["b.html: no ../README.md"]);
        assert_eq!(broken(&pages("", r#"<a href="../src/x.rs">x</a>"#)), ["b.html: no ../src/x.rs"]);
        assert_eq!(broken(&pages("{{#include x:y}}", "")), ["a.html: an include is left"]);
    }
}
