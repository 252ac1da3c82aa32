//! Looks for the mistakes of a program's folder: `cargo trefoil doctor`, and after a failed build.
//! The page `docs/when-it-does-not-build.md` says more about each.
//!
//! The files are read as text, line by line. A mistake is told only if the text leaves no doubt, so
//! that a build that failed for another reason gets no wrong advice.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dependencies::dependencies;
pub(crate) use manifest::Manifest;

mod dependencies;
mod manifest;

/// Returns the mistakes in the folder of this process, each with its remedy.
///
/// # Errors
/// The folder is in no package.
pub fn mistakes() -> Result<Vec<String>, String> {
    let out = cargo().args(["locate-project", "--message-format", "plain"]).output();
    let out = out.map_err(|e| format!("cargo: {e}"))?;
    let file = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
    let dir = file.parent().filter(|_| out.status.success());
    let dir = dir.ok_or("there is no Cargo.toml here, nor in a folder above: call this in a program's folder")?;
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut found = Vec::new();
    if let Some(manifest) = Manifest::parse(&text) {
        found.extend(manifest.mistakes());
        found.extend(sources(dir, &manifest));
        found.extend(build_script(dir, &manifest));
        found.extend(configuration(dir));
        found.extend(dependencies());
    }
    Ok(found)
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.stdin(Stdio::null()).stderr(Stdio::null());
    cargo
}

/// The crate roots in `dir` that are images: kind, as build.rs names it; path from `dir`; text.
fn roots(dir: &Path) -> Vec<(&'static str, String, String)> {
    let mut roots = Vec::new();
    for (kind, folder) in [("bins", "src/bin"), ("examples", "examples"), ("tests", "tests")] {
        let files = std::fs::read_dir(dir.join(folder)).into_iter().flatten().flatten();
        let names = files.map(|file| format!("{folder}/{}", file.file_name().to_string_lossy()));
        roots.extend(names.filter(|name| name.ends_with(".rs")).map(|name| (kind, name)));
    }
    roots.push(("bins", "src/main.rs".into()));
    roots.sort();
    let read = |(kind, name): (_, String)| Some((kind, std::fs::read_to_string(dir.join(&name)).ok()?, name));
    let roots = roots.into_iter().filter_map(read);
    let roots = roots.filter(|(_, text, _)| text.contains("trefoil::main") || text.contains("trefoil::test"));
    roots.map(|(kind, text, name)| (kind, name, text)).collect()
}

fn sources(dir: &Path, manifest: &Manifest) -> Vec<String> {
    let mut found = Vec::new();
    for (_, name, text) in roots(dir) {
        for head in ["#![no_std]", "#![no_main]"] {
            if !text.contains(head) {
                found.push(format!("{name}: write {head} at the top"));
            }
        }
        let crate_line = format!("extern crate {} as trefoil;", manifest.kernel.replace('-', "_"));
        if manifest.kernel != "trefoil" && !text.contains(&crate_line) {
            found.push(format!("{name}: write {crate_line} below the attributes at the top"));
        }
        let test = name.strip_prefix("tests/").and_then(|name| name.strip_suffix(".rs"));
        if let Some(test) = test.filter(|test| !manifest.own_harness.iter().any(|own| own == test)) {
            found.push(format!(
                "Cargo.toml: write [[test]], name = \"{test}\", harness = false: {name} boots the machine"
            ));
        }
        if let Some(bin) = manifest.tested_bin(&name) {
            found.push(format!(
                "Cargo.toml: write [[bin]], name = \"{bin}\", path = \"{name}\", test = false, bench = false: \
                 `cargo test` can't test {name}, which boots the machine"
            ));
        }
    }
    let main = std::fs::read_to_string(dir.join("src/main.rs"));
    if main.is_ok_and(|text| text.contains("trefoil::prelude") && !text.contains("trefoil::main")) {
        found.push("src/main.rs: write #[trefoil::main] above `fn main`".into());
    }
    found
}

fn build_script(dir: &Path, manifest: &Manifest) -> Vec<String> {
    let file = manifest.build.as_deref().unwrap_or("build.rs");
    let script = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
    let mut kinds: Vec<&str> = roots(dir).iter().map(|(kind, ..)| *kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if !script.contains("fn main") {
        let lines = kinds.iter().map(|kind| format!("    println!(\"cargo::rustc-link-arg-{kind}={{image}}\");\n"));
        return vec![format!(
            "{file}: it has no `fn main`, or is not there: write\nfn main() {{\n    \
             let image = std::env::var(\"DEP_TREFOIL_IMAGE\").expect(\"trefoil is a dependency\");\n{}}}",
            lines.collect::<String>()
        )];
    }
    kinds.retain(|kind| !script.contains(&format!("rustc-link-arg-{kind}")) && !script.contains("rustc-link-arg="));
    let line = |kind| {
        format!(
            "{file}: print the link arguments of the images in {kind}: \
             println!(\"cargo::rustc-link-arg-{kind}={{}}\", std::env::var(\"DEP_TREFOIL_IMAGE\").unwrap());"
        )
    };
    kinds.into_iter().map(line).collect()
}

fn configuration(dir: &Path) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let folders = dir.ancestors().map(|dir| dir.join(".cargo")).chain(home);
    let files = folders.flat_map(|dir| [dir.join("config.toml"), dir.join("config")]);
    let text: String = files.filter_map(|file| std::fs::read_to_string(file).ok()).collect();
    let mut found = Vec::new();
    if !text.contains("RUSTC_BOOTSTRAP") && std::env::var_os("RUSTC_BOOTSTRAP").is_none() {
        found.push(".cargo/config.toml: write env.RUSTC_BOOTSTRAP = \"1\"".into());
    }
    if !text.contains("runner") {
        found.push(
            ".cargo/config.toml: write target.x86_64-unknown-linux-gnu.runner = \"cargo-trefoil runner\", \
             or `cargo run` starts images on the host; `cargo install --path trefoil/cargo-trefoil` installs it"
                .into(),
        );
    }
    found
}
