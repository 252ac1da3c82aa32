//! The examples in the documentation of crate `trefoil` need the machine. `cargo test --doc` only
//! compiles them (`no_run`), since rustdoc can't be told how an image is linked. Here each becomes
//! a program of an app elsewhere, is booted, and has to end with success.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cargo_trefoil::new::{self, Source};
use cargo_trefoil::qemu::{Settings, Stdin};
use cargo_trefoil::run;
use xtask::figures::TABLES;
use xtask::{figures, markers};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}

/// Returns every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("it can be read").map(|entry| entry.expect("it can be read").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Returns the examples that `text` marks with `no_run`, each with its line number.
fn examples(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut open) = (Vec::new(), None::<(usize, String)>);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("//!").or(line.strip_prefix("///"));
        let Some(doc) = doc.map(|d| d.strip_prefix(' ').unwrap_or(d)) else { continue };
        match &mut open {
            None if doc == "```no_run" => open = Some((number + 1, String::new())),
            Some(_) if doc == "```" => found.extend(open.take()),
            Some((_, code)) => {
                // rustdoc's hidden lines.
                code.push_str(if doc == "#" { "" } else { doc.strip_prefix("# ").unwrap_or(doc) });
                code.push('\n');
            }
            None => {}
        }
    }
    found
}

#[test]
fn every_example_of_the_documentation_runs_on_the_machine() {
    let source = checkout().join("kernel/src");
    let dir = checkout().join("target/doc-examples");
    let _ = fs::remove_dir_all(&dir);
    new::new(&dir, false, &Source::Path(checkout().to_path_buf())).unwrap();
    fs::create_dir(dir.join("src/bin")).unwrap();
    let mut names = Vec::new();
    for file in files(&source) {
        let place = file.strip_prefix(&source).unwrap().with_extension("");
        let place = place.to_string_lossy().replace('/', "_");
        for (line, code) in examples(&fs::read_to_string(&file).unwrap()) {
            let name = format!("{place}_line_{line}");
            let code = code.replacen("#![no_main]", "#![no_main]\nextern crate trefoil_kernel as trefoil;", 1);
            fs::write(dir.join("src/bin").join(&name).with_extension("rs"), code).unwrap();
            names.push(name);
        }
    }
    assert!(names.len() > 10, "the examples are not where they were: {names:?}");
    let target = checkout().join("target/app-test");
    let out = Command::new(env!("CARGO"))
        .current_dir(&dir)
        .args(["build", "--quiet", "--bins"])
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("RUSTC_BOOTSTRAP")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let settings = Settings {
        timeout: Duration::from_secs(20),
        memory: "128M".into(),
        stdin: Stdin::Bytes(b"a line\nand another\n".to_vec(), Duration::ZERO),
        ..Settings::default()
    };
    for name in &names {
        let mut text: Vec<u8> = Vec::new();
        let code = run::run(&target.join("debug").join(name), &[], &settings, &mut text).expect("QEMU starts");
        assert_eq!(code, 0, "{name}:\n{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn hidden_lines_are_part_of_an_example_and_other_blocks_are_not() {
    let text = "/// ```text\n/// no\n/// ```\n/// ```no_run\n/// # fn main() {\n/// #\n/// yes();\n/// # }\n/// ```\nfn x() {}";
    assert_eq!(examples(text), [(4, "fn main() {\n\nyes();\n}\n".to_string())]);
}

/// The API: files and folders, and names in them that no program sees although they are `pub` (the
/// kernel or a model uses them).
const LIBRARY: [(&str, &[&str]); 28] = [
    ("kernel/src/api/runtime.rs", &[]),
    ("kernel/src/api/runtime", &[]),
    ("kernel/src/arch/x86_64/guard.rs", &[]),
    ("kernel/src/api/collections", &[]),
    ("kernel/src/api/log.rs", &[]),
    ("kernel/src/api/panic.rs", &[]),
    ("kernel/src/api/panic", &[]),
    ("kernel/src/api/num.rs", &[]),
    ("sched/src/api/rand.rs", &["draw", "draw_within"]),
    ("kernel/src/api/time.rs", &[]),
    ("kernel/src/api/time", &[]),
    ("sched/src/api/spawn/end.rs", &["is_exit", "abandon", "came_to_panic"]),
    ("sched/src/api/chan.rs", &[]),
    ("sched/src/api/chan", &["Watch", "run"]),
    ("sched/src/api/select.rs", &[]),
    ("sched/src/api/select", &[]),
    ("sched/src/api/locks", &["holder", "Holder"]),
    ("sched/src/api/context.rs", &[]),
    ("sched/src/api/joinset.rs", &[]),
    ("sched/src/api/joinset", &[]),
    (
        "sched/src/api/join.rs",
        &[
            "JoinWord",
            "JoinCell",
            "Completed",
            "complete",
            "register_token",
            "unregister_token",
            "register",
            "is_done",
            "abandon",
            "new",
            "word",
            "put",
            "take",
        ],
    ),
    ("sched/src/api/scope.rs", &[]),
    ("sched/src/api/par.rs", &[]),
    ("sched/src/api/local.rs", &["end_current"]),
    ("sched/src/api/local", &[]),
    ("sched/src/api/task.rs", &[]),
    ("sched/src/api/time", &[]),
    ("sched/src/api/spawn.rs", &[]),
];

/// Returns the public items of `text` that have no example, each with its line number.
fn without_example(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut doc) = (Vec::new(), String::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line == "#[cfg(loom)]" {
            doc += "```";
        }
        if line.starts_with("pub mod model") {
            // Models' own, to the end of the file.
            break;
        }
        if line.starts_with("///") || line.starts_with("#[") {
            doc += line;
            continue;
        }
        let words =
            line.strip_prefix("pub ").map(|rest| rest.trim_start_matches("const ").trim_start_matches("unsafe "));
        let name = words.and_then(|rest| {
            let kinds = ["fn ", "struct ", "enum ", "trait ", "type "];
            let rest = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
            rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
        });
        if let Some(name) = name.filter(|_| !doc.contains("```") && !doc.contains("doc(hidden)")) {
            found.push((number + 1, name.to_string()));
        }
        doc.clear();
    }
    found
}

#[test]
fn every_item_of_the_library_has_an_example() {
    let source = checkout();
    let mut missing = Vec::new();
    for (place, internal) in LIBRARY {
        let place = source.join(place);
        for file in if place.is_dir() { files(&place) } else { vec![place] } {
            // The arms of a select are the macro's, and a turn is stdin's.
            if ["chan/arms.rs", "chan/sides.rs", "locks/turn.rs"].iter().any(|end| file.ends_with(end)) {
                continue;
            }
            let items = without_example(&fs::read_to_string(&file).unwrap());
            let items = items.into_iter().filter(|(_, name)| !internal.contains(&name.as_str()));
            missing.extend(items.map(|(line, name)| format!("{}:{line}: {name}", file.display())));
        }
    }
    assert!(missing.is_empty(), "without an example:\n{}", missing.join("\n"));
}

/// Loom is called, and a scheduler is made, only where the end of the model is checked.
#[test]
fn every_model_ends_with_the_invariants() {
    let tests = checkout().join("sched/tests");
    let is_model = |path: &PathBuf| {
        let name = path.strip_prefix(&tests).expect("below it").to_string_lossy().into_owned();
        name.starts_with("loom_") || name.starts_with("baton") || name.starts_with("support")
    };
    for path in files(&tests).into_iter().filter(is_model) {
        let text = fs::read_to_string(&path).expect("it can be read");
        assert!(!text.contains("loom::model("), "{} explores past `ending::run`", path.display());
        assert!(!text.contains("builder.check("), "{} explores past `ending::run`", path.display());
        let count = |what: &str| text.matches(what).count();
        assert!(count("Sched::new(") <= count("ending::enroll("), "{}: nobody looks at a scheduler", path.display());
    }
}

/// The API's first page links each module of its own, and its links into the book lead somewhere.
#[test]
fn the_front_page_leads_to_every_module_and_guide() {
    let source = fs::read_to_string(checkout().join("kernel/src/lib.rs")).unwrap();
    let (header, code) = source.split_at(source.find("\n#![no_std]").expect("the header ends there"));
    let mut modules = Vec::new();
    let mut is_hidden = false;
    for line in code.lines() {
        let named = match (line.strip_prefix("pub mod "), line.strip_prefix("pub use api::")) {
            (Some(module), _) => vec![module.trim_end_matches([' ', '{', ';'])],
            (None, Some(names)) => names.trim_matches(['{', '}', ';']).split(", ").collect(),
            (None, None) => Vec::new(),
        };
        modules.extend(named.into_iter().filter(|_| !is_hidden));
        is_hidden = line.contains("doc(hidden)");
    }
    assert!(modules.len() > 12 && modules.contains(&"chan") && modules.contains(&"rand"), "{modules:?}");
    // `ffi` is one of the modules that only re-export `std`'s.
    for module in modules.into_iter().filter(|module| *module != "ffi") {
        let links = [format!("[`{module}`]"), format!("[`mod@{module}`]")];
        assert!(links.iter().any(|link| header.contains(link)), "the page does not lead to {module}");
    }
    let pages: Vec<_> = header.split("../../book/").skip(1).map(|rest| rest.split(".html").next().unwrap()).collect();
    assert!(pages.contains(&"from-go") && pages.contains(&"from-std"), "{pages:?}");
    for page in pages {
        assert!(checkout().join(format!("docs/{page}.md")).exists(), "the book has no page {page}");
    }
}

/// Returns the names that the file's `pub use` lines bring.
fn names(file: &str) -> Vec<String> {
    let text = fs::read_to_string(checkout().join(file)).unwrap();
    let uses = text.split("pub use ").skip(1).map(|rest| rest.split(';').next().unwrap());
    let words = uses.flat_map(|list| list.split(['{', '}', ',']).map(str::trim).collect::<Vec<_>>());
    words.map(|word| word.rsplit("::").next().unwrap().to_string()).filter(|name| !name.is_empty()).collect()
}

/// A library that is tested on the host sees the same names there.
#[test]
fn the_hosts_prelude_has_the_names_of_the_kernels() {
    let hosted = names("hosted/src/prelude.rs");
    let missing: Vec<_> = names("kernel/src/prelude.rs")
        .into_iter()
        // Floats have these functions of their own on the host.
        .filter(|name| !hosted.contains(name) && name != "Float as _")
        .collect();
    assert!(hosted.len() > 40 && missing.is_empty(), "{missing:?} are not in hosted/src/prelude.rs");
}

#[test]
fn an_item_without_an_example_is_found() {
    let text = "/// Says no.\npub fn bare() {}\n/// ```\n/// x\n/// ```\n#[inline]\npub fn shown() {}\n#[doc(hidden)]\npub struct Hidden;\n\
                pub(crate) fn ours() {}\npub const fn also() {}";
    assert_eq!(without_example(text), [(2, "bare".to_string()), (11, "also".to_string())]);
}

/// A figure that a tool writes into a table stands there only. Elsewhere it would stay when the
/// table changes.
#[test]
fn no_counted_figure_is_typed_by_hand() {
    let read = |path: &str| fs::read_to_string(checkout().join(path)).unwrap();
    let tables: Vec<String> =
        TABLES.iter().map(|table| markers::part(&read(table.page), table.name).unwrap().to_string()).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    let pages = files(&checkout().join("docs")).into_iter().chain([checkout().join("README.md")]);
    let mut found = Vec::new();
    for page in pages.filter(|page| page.extension().is_some_and(|end| end == "md")) {
        let lines = figures::repeats(&fs::read_to_string(&page).unwrap(), &tables);
        found.extend(lines.into_iter().map(|(line, text)| format!("{}:{line}: {text}", page.display())));
    }
    assert!(found.is_empty(), "a link to the table would stay true:\n{}", found.join("\n"));
}
