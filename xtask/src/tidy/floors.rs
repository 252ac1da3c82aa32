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

/// A crate and its floors, the highest first. A floor is one folder, or several beside each other.
struct Floors {
    root: &'static str,
    floors: &'static [&'static [&'static str]],
    /// Names that `lib.rs` exports once more, with their folders. Code may use them by either way.
    again: &'static [(&'static str, &'static str)],
}

const CRATES: [Floors; 2] = [
    Floors {
        root: "sched/src",
        floors: &[
            &["model"],
            &["api"],
            &["wait"],
            &["core"],
            &["queue"],
            &["g"],
            &["timers"],
            &["stack", "measure"],
            &["machine"],
        ],
        again: &[],
    },
    Floors {
        root: "kernel/src",
        floors: &[
            &["start", "platform", "upcalls", "abandon", "prelude"],
            &["testing"],
            &["api"],
            &["report"],
            &["recorder"],
            &["mm"],
            &["arch"],
            &["scheduler"],
        ],
        again: &[
            ("collections", "api"),
            ("console", "api"),
            ("log", "api"),
            ("panic", "api"),
            ("rand", "api"),
            ("runtime", "api"),
            ("time", "api"),
            ("trace", "api"),
            ("print", "api"),
            ("println", "api"),
            ("PreemptGuard", "arch"),
        ],
    },
];

/// The most lines of a Rust file.
const LINES: usize = 500;

impl Floors {
    /// Returns the floor of the folder, or of the name that is exported once more.
    fn of(&self, name: &str) -> Option<usize> {
        let again = self.again.iter().find(|(exported, _)| *exported == name);
        let folder = again.map_or(name, |(_, folder)| *folder);
        self.floors.iter().position(|floor| floor.contains(&folder))
    }

    /// Returns the floor of the file at `path`, with the folder's name.
    fn of_file<'a>(&self, path: &'a str) -> Option<(usize, &'a str)> {
        let inside = path.strip_prefix(self.root)?.strip_prefix('/')?;
        let folder = inside.split('/').next()?;
        let name = folder.strip_suffix(".rs").unwrap_or(folder);
        self.of(name).map(|floor| (floor, name))
    }
}

/// Returns the names that follow `crate::` in `code`, those of a group, too. True: the name is a
/// macro's.
fn named(code: &str) -> Vec<(&str, bool)> {
    let mut names = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c == '$' || c == '_' || c.is_alphanumeric()) {
            continue;
        }
        let rest = &code[at + found.len()..];
        let mut depth = 0;
        let parts = rest.split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 1 && matches!(c, ',' | '{')
        });
        let most = if rest.starts_with('{') { usize::MAX } else { 1 };
        for part in parts.map(str::trim).filter(|part| !part.is_empty()).take(most) {
            let end = part.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(part.len());
            if end > 0 {
                names.push((&part[..end], part[end..].starts_with('!')));
            }
        }
    }
    names
}

/// Returns the lines of the file at `path` that name a folder above its own, or a name by way of
/// `lib.rs`.
pub fn arrows(path: &str, source: &str, comments: &[Comment]) -> Vec<(usize, String)> {
    let Some((floors, (own, folder))) = CRATES.iter().find_map(|floors| Some((floors, floors.of_file(path)?))) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (number, line) in (1..).zip(source.lines()) {
        let comment = comments.iter().find(|comment| comment.line == number);
        let code =
            comment.map_or(line, |comment| if comment.alone { "" } else { line.split("//").next().unwrap_or("") });
        for (name, is_macro) in named(code) {
            match floors.of(name) {
                Some(floor) if floor < own => found.push((number, format!("{folder} names {name}, above it"))),
                None if own > 0 && !is_macro => found.push((number, format!("{name} by way of lib.rs"))),
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
        let group = "use crate::{machine::sync::{a, b}, core::m::{M, N}, timers};";
        assert_eq!(arrows_of("sched/src/g/state.rs", group), [(1, "g names core, above it".into())]);
        assert_eq!(
            arrows_of("kernel/src/mm/heap.rs", "use crate::runtime;"),
            [(1, "mm names runtime, above it".into())]
        );
        assert_eq!(arrows_of("kernel/src/api/time.rs", "use crate::runtime;"), []);
    }

    #[test]
    fn a_macro_of_a_higher_floor_is_found() {
        let found = arrows_of("kernel/src/mm/heap.rs", "crate::println!();");
        assert_eq!(found, [(1, "mm names println, above it".into())]);
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
