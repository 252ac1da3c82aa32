//! The floors of a crate: each folder knows only the folders below it.
//!
//! ```text
//!   sched/src/wait/list.rs    use crate::core::park::ready;     down: fine
//!   sched/src/core/park.rs    use crate::wait::list::Waiter;    up: a finding
//!                             use crate::M;                     by way of lib.rs, so nobody sees where: a finding
//! ```
//!
//! Only code counts. A comment may point anywhere, and so may a macro's `$crate`.

use super::comments::Comment;

/// The folders of each crate, the highest first.
const CRATES: [(&str, &[&str]); 1] =
    [("sched/src", &["model", "api", "wait", "core", "queue", "g", "timers", "stack", "measure", "machine"])];

/// The most lines of a Rust file.
const LINES: usize = 500;

/// Returns the floor of the file at `path` among `floors`, the folder of its crate.
fn floor_of(path: &str, root: &str, floors: &[&str]) -> Option<usize> {
    let inside = path.strip_prefix(root)?.strip_prefix('/')?;
    let folder = inside.split('/').next()?;
    let name = folder.strip_suffix(".rs").unwrap_or(folder);
    floors.iter().position(|floor| *floor == name)
}

/// Yields the names that follow `crate::` in `code`: those of a group, too.
fn named(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c == '$' || c == '_' || c.is_alphanumeric()) {
            continue;
        }
        let rest = &code[at + found.len()..];
        let group = rest.strip_prefix('{').map(|group| group.split(','));
        let word = |text: &'_ str| text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len());
        match group {
            Some(group) => names.extend(group.map(str::trim).map(|text| &text[..word(text)])),
            // A macro has no place of its own.
            None if rest[word(rest)..].starts_with('!') => {}
            None => names.push(&rest[..word(rest)]),
        }
    }
    names
}

/// Returns the lines of the file at `path` that name a folder above its own, or none at all.
pub fn arrows(path: &str, source: &str, comments: &[Comment]) -> Vec<(usize, String)> {
    let Some((root, floors)) = CRATES.iter().find(|(root, _)| path.starts_with(root)) else { return Vec::new() };
    let Some(own) = floor_of(path, root, floors) else { return Vec::new() };
    let mut found = Vec::new();
    for (number, line) in (1..).zip(source.lines()) {
        let comment = comments.iter().find(|comment| comment.line == number);
        let code =
            comment.map_or(line, |comment| if comment.alone { "" } else { line.split("//").next().unwrap_or("") });
        for name in named(code).into_iter().filter(|name| !name.is_empty()) {
            match floors.iter().position(|floor| *floor == name) {
                Some(floor) if floor < own => found.push((number, format!("{} names {name}, above it", floors[own]))),
                None if own > 0 => found.push((number, format!("{name} by way of lib.rs"))),
                _ => {}
            }
        }
    }
    found
}

/// Returns the number of lines if a file has too many.
pub fn too_large(source: &str) -> Option<usize> {
    Some(source.lines().count()).filter(|lines| *lines > LINES)
}

#[cfg(test)]
mod tests {
    use super::super::comments::comments;
    use super::*;

    fn arrows_of(path: &str, source: &str) -> Vec<(usize, String)> {
        arrows(path, source, &comments(source))
    }

    #[test]
    fn an_arrow_up_is_found() {
        let up = "use crate::wait::list::Waiter;\nfn f() { crate::api::go() }\n";
        let found = arrows_of("sched/src/core/park.rs", up);
        assert_eq!(found, [(1, "core names wait, above it".into()), (2, "core names api, above it".into())]);
        assert_eq!(arrows_of("sched/src/core.rs", up).len(), 2);
        assert_eq!(arrows_of("sched/src/api/go.rs", up), []);
        assert_eq!(arrows_of("sched/src/lib.rs", up), []);
        assert_eq!(arrows_of("elsewhere/src/core/park.rs", up), []);
    }

    #[test]
    fn a_way_round_is_found() {
        assert_eq!(arrows_of("sched/src/g/state.rs", "use crate::M;"), [(1, "M by way of lib.rs".into())]);
        let group = "use crate::{machine::sync, core::m::M};";
        assert_eq!(arrows_of("sched/src/g/state.rs", group), [(1, "g names core, above it".into())]);
    }

    #[test]
    fn comments_and_macros_may_point_up() {
        let fine =
            "//! See [`M`](crate::M).\nf(); // crate::api\nconst_unless_loom! {}\ncrate::stop!();\n$crate::api::x;\n";
        assert_eq!(arrows_of("sched/src/g/state.rs", fine), []);
    }

    #[test]
    fn a_file_has_500_lines_at_most() {
        assert_eq!(too_large(&"\n".repeat(500)), None);
        assert_eq!(too_large(&"\n".repeat(501)), Some(501));
    }
}
