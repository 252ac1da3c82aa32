//! The shape of the source: which floor imports which, how long a file may be, and the manifest's
//! lists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}

/// Every Rust file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("it can be read").map(|entry| entry.expect("it can be read").path());
    let all = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    all.filter(|path| path.extension().is_some_and(|e| e == "rs")).collect()
}

/// The code of `text`, without its comments.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The floors of the kernel, from the bottom up. A file may import from its own floor and from
/// lower ones.
const FLOORS: [&[&str]; 7] = [
    &["scheduler"],
    &["arch"],
    &["mm"],
    &["report"],
    &["api"],
    &["testing"],
    &["start", "platform", "upcalls", "abandon", "prelude", "lib"],
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The modules below the crate's root that `code` names after `crate::`. `again` has the floors of
/// the names that `lib.rs` exports again.
fn imports(code: &str, again: &BTreeMap<&str, &str>) -> Vec<String> {
    let macros = ["print!", "println!"].iter().filter(|name| code.contains(**name)).map(|_| "api".to_owned());
    let mut found: Vec<String> = macros.collect();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with('$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let group = rest.strip_prefix('{').map(|rest| {
            let mut depth = 1;
            let end = rest.find(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth == 0
            });
            &rest[..end.expect("the group ends")]
        });
        let mut depth = 0;
        let parts = group.unwrap_or(rest).split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            group.is_some() && c == ',' && depth == 0
        });
        for part in parts.take(if group.is_some() { usize::MAX } else { 1 }) {
            let name: String = part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push(again.get(name.as_str()).map_or(name, |floor| (*floor).to_owned()));
        }
    }
    found
}

#[test]
fn arrows_between_the_kernels_floors_point_down() {
    let source = checkout().join("kernel/src");
    let again = BTreeMap::from([
        ("console", "api"),
        ("log", "api"),
        ("panic", "api"),
        ("runtime", "api"),
        ("time", "api"),
        ("println", "api"),
        ("print", "api"),
    ]);
    let mut wrong = Vec::new();
    for file in files(&source) {
        let place = file.strip_prefix(&source).expect("it lies there").with_extension("");
        let module = place.iter().next().and_then(|part| part.to_str()).expect("it has a name");
        let own = floor(module).unwrap_or_else(|| panic!("{module} stands on no floor"));
        let text = fs::read_to_string(&file).expect("it can be read");
        for import in imports(&code(&text), &again) {
            if floor(&import).is_some_and(|floor| floor > own) {
                wrong.push(format!("{}: imports {import}", place.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "an import of a higher floor:\n{}", wrong.join("\n"));
}

#[test]
fn the_finder_of_imports_sees_each_form() {
    let again = BTreeMap::from([("console", "api")]);
    let code =
        "use crate::arch::{x, y};\nuse crate::{console, mm::{heap, frames}, report};\ncrate::start::f(); $crate::go();";
    assert_eq!(imports(code, &again), ["arch", "api", "mm", "report", "start"]);
    assert_eq!(imports("println!()", &again), ["api"]);
}

/// A file of more lines holds two ideas.
const LINES: usize = 500;

#[test]
fn no_file_of_the_kernel_is_long() {
    let long: Vec<_> = files(&checkout().join("kernel/src"))
        .into_iter()
        .map(|file| (fs::read_to_string(&file).expect("it can be read").lines().count(), file))
        .filter(|&(lines, _)| lines > LINES)
        .collect();
    assert!(long.is_empty(), "longer than {LINES} lines: {long:?}");
}

#[test]
fn each_test_image_stands_in_the_manifest_in_order() {
    let kernel = checkout().join("kernel");
    let manifest = fs::read_to_string(kernel.join("Cargo.toml")).expect("it can be read");
    let listed: Vec<&str> = manifest
        .split("[[test]]")
        .skip(1)
        .map(|table| {
            let line = |key: &str| table.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
            assert_eq!(line("harness ="), Some("false"), "an image has a `main` of its own:{table}");
            line("name =").expect("it has a name").trim_matches('"')
        })
        .collect();
    let entries =
        fs::read_dir(kernel.join("tests")).expect("it can be read").map(|e| e.expect("it can be read").path());
    let is_image = |path: &PathBuf| path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").exists();
    let mut images: Vec<String> = entries
        .filter(is_image)
        .map(|path| path.file_stem().and_then(|s| s.to_str()).expect("it has a name").to_owned())
        .collect();
    images.sort();
    assert_eq!(listed, images, "`[[test]]` of kernel/Cargo.toml, and kernel/tests");
}
