//! Relative links of Markdown files: the file is there, and so is the heading.

use std::collections::BTreeMap;
use std::path::Path;

use super::markdown::{Block, Kind, Parsed};
use super::prose::targets;

/// Returns GitHub's anchors of the headings among `blocks`.
///
/// Small letters, blanks as hyphens, and no punctuation; a second heading of the same name ends
/// with `-1`.
pub fn anchors(blocks: &[Block]) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = blocks.iter().filter(|b| b.kind == Kind::Heading);
    let anchor = |heading: &Block| {
        let anchor = anchor(&heading.lines.iter().map(|l| l.1.as_str()).collect::<Vec<_>>().join(" "));
        let times = seen.entry(anchor.clone()).or_default();
        *times += 1;
        if *times == 1 { anchor } else { format!("{anchor}-{}", *times - 1) }
    };
    headings.map(anchor).collect()
}

fn anchor(heading: &str) -> String {
    let mut text = heading.to_string();
    // The target of a link is not shown.
    while let Some((start, length)) = text.find("](").and_then(|s| Some((s, text[s..].find(')')?))) {
        text.replace_range(start..=start + length, "");
    }
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Returns the links of the Markdown file `path` that lead nowhere, each with its line.
///
/// `files` has all Markdown files by their path; other files are looked up under `root`.
pub fn broken(root: &Path, path: &str, files: &BTreeMap<String, Parsed>) -> Vec<(usize, String)> {
    let Some(parsed) = files.get(path) else { return Vec::new() };
    let mut links: Vec<_> = parsed.blocks.iter().flat_map(targets).collect();
    links.extend(parsed.definitions.iter().cloned());
    links.retain(|(_, target)| !leads(root, path, target.trim_matches(['<', '>']), files));
    links.sort();
    links
}

/// Returns true if `target` leads somewhere; an absolute link always does.
fn leads(root: &Path, path: &str, target: &str, files: &BTreeMap<String, Parsed>) -> bool {
    if target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(f, h)| (f, Some(h)));
    let resolved = if file.is_empty() { Some(path.to_string()) } else { resolve(path, file) };
    let Some(resolved) = resolved else { return false };
    match (files.get(&resolved), heading) {
        (Some(parsed), Some(heading)) => anchors(&parsed.blocks).iter().any(|a| a == heading),
        (Some(_), None) => true,
        (None, _) => root.join(&resolved).exists(),
    }
}

/// Returns the path from the root to `file`, as seen from `path`; `None` if that is outside.
fn resolve(path: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    if file.starts_with('/') {
        parts.clear();
    }
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The folders in which a path begins that a page names in code.
const TOPS: [&str; 8] = ["boot/", "compare/", "docs/", "hosted/", "kernel/", "macros/", "sched/", "xtask/"];

/// Returns the paths that `text` names in code and that lead to no file, each with its line.
///
/// A path is one from the top of the checkout, without a pattern in it. Fences are left out.
pub fn missing_paths(root: &Path, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_fence = false;
    for (number, line) in (1..).zip(text.lines()) {
        in_fence ^= line.trim_start().starts_with("```");
        if in_fence {
            continue;
        }
        let spans = line.split('`').skip(1).step_by(2);
        let paths =
            spans.filter(|span| TOPS.iter().any(|top| span.starts_with(top)) && !span.contains(['{', '*', ' ']));
        found.extend(paths.filter(|path| !root.join(path).exists()).map(|path| (number, path.to_string())));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::markdown::parse;
    use super::*;

    fn broken_in(text: &str) -> Vec<String> {
        let read = |text: &str| parse((1..).zip(text.lines()));
        let other = "# A & `b` – c_d\n## Same\n## Same\n```\n# no heading\n```";
        let files = [("docs/a.md", text), ("README.md", other)];
        let files = BTreeMap::from(files.map(|(path, text)| (path.to_string(), read(text))));
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        broken(root, "docs/a.md", &files).into_iter().map(|l| l.1).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        for text in [
            "[a](../README.md) [b](/README.md) [c](../src/tidy/links.rs) [d](../src)",
            "[a](../README.md#a--b--c_d) [b](../README.md#same) [c](../README.md#same-1)",
            "# Here\n[a](#here) [b](https://go.dev/no#such) [c](mailto:a@b.c)",
            "`[a](no.md)`\n\n```\n[a](no.md)\n```\n[ref]: ../README.md",
        ] {
            assert_eq!(broken_in(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        for target in [
            "no.md",
            "README.md",
            "../../README.md",
            "#no",
            "../README.md#Same",
            "../README.md#same-2",
            "../README.md#no-heading",
            "../src/no.rs",
        ] {
            assert_eq!(broken_in(&format!("# Here\na [b]({target})")), [target]);
            assert_eq!(broken_in(&format!("[ref]: {target}")), [target]);
        }
    }

    #[test]
    fn paths_in_code_lead_to_files() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = "In `xtask/src/tidy.rs`, `xtask/src/`, `xtask/no.rs`, `tidy/no.rs`, `xtask/src/{a,b}.rs`,\n\
                    `kernel/no/*.rs` and `cargo test -p xtask/no`.\n```\n`xtask/fence.rs`\n```\n`kernel/no`";
        let expect = [(1, "xtask/no.rs".to_string()), (6, "kernel/no".to_string())];
        assert_eq!(missing_paths(root, text), expect);
    }
}
