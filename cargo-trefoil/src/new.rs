//! `cargo trefoil new`: a program of one's own.
//!
//! The templates are in this program. No absolute path gets into what they become, so the program
//! may be moved and given away. How it finds Trefoil is a [`Source`]:
//!
//! ```text
//!   Copy        path = "trefoil/kernel"      the program carries Trefoil; builds anywhere
//!   Path        path = "../main/kernel"      changes there are seen; moves with the checkout
//!   Git         git = "URL"
//!   Published   version = "0.1.0"            from the registry
//! ```
//!
//! The kernel's panic handler and std's exclude each other, so a library's unit test must not see
//! the kernel. The compiler loads a dependency named `trefoil` as soon as a path begins with that
//! word. So the kernel is `trefoil_kernel` in the manifest, and each crate root says which crate it
//! calls `trefoil`.

use std::path::{Component, Path, PathBuf};

mod copy;

/// Path and text of a template's file.
type File = (&'static str, &'static str);

const BOTH: [File; 7] = [
    (".cargo/config.toml", include_str!("../templates/both/config.toml")),
    (RUNNER, include_str!("../templates/both/runner")),
    (".github/workflows/test.yml", include_str!("../templates/both/workflow.yml")),
    (".gitignore", include_str!("../templates/both/gitignore")),
    ("rust-toolchain.toml", include_str!("../templates/both/rust-toolchain.toml")),
    ("src/lib.rs", include_str!("../templates/both/lib.rs")),
    ("tests/machine.rs", include_str!("../templates/both/machine.rs")),
];

const RUNNER: &str = ".cargo/runner";

const APP: [File; 3] = [
    ("Cargo.toml", include_str!("../templates/app/Cargo.toml.in")),
    ("build.rs", include_str!("../templates/app/build.rs")),
    ("src/main.rs", include_str!("../templates/app/main.rs")),
];

const LIB: [File; 3] = [
    ("Cargo.toml", include_str!("../templates/lib/Cargo.toml.in")),
    ("build.rs", include_str!("../templates/lib/build.rs")),
    ("examples/demo.rs", include_str!("../templates/lib/demo.rs")),
];

/// Where the new program gets Trefoil from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The program gets a copy of a checkout, in its folder `trefoil`.
    Copy(PathBuf),
    /// The program depends on a checkout by a relative path.
    Path(PathBuf),
    /// The program depends on a git repository.
    Git(String),
    /// The program depends on the published crates of this version.
    Published,
}

impl Source {
    /// Returns a copy of the checkout that this program was built in, or [`Published`] if that is
    /// no more.
    ///
    /// [`Published`]: Self::Published
    pub fn at_hand() -> Self {
        checkout().map_or(Self::Published, Self::Copy)
    }

    /// Returns what a program in the folder `dir` writes into its files.
    fn words(&self, dir: &Path) -> Result<Words, String> {
        let words = |at: &dyn Fn(&str) -> String, dir: &str, install: String| Words {
            trefoil: format!("{{ package = \"trefoil\", {} }}", at("kernel")),
            hosted: format!("{{ {} }}", at("hosted")),
            alias: alias(dir),
            dir: dir.to_string(),
            install,
        };
        let by_path = |dir: &str| {
            let at = |name: &str| format!("path = {}", toml(&format!("{dir}/{name}")));
            words(&at, dir, format!("cargo install --path {dir}/cargo-trefoil"))
        };
        Ok(match self {
            Self::Copy(checkout) => {
                is_checkout(checkout)?;
                by_path(copy::FOLDER)
            }
            Self::Path(checkout) => {
                is_checkout(checkout)?;
                let to = checkout.canonicalize().map_err(|e| format!("{}: {e}", checkout.display()))?;
                let from = std::path::absolute(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
                by_path(&between(&real(&from), &to).display().to_string())
            }
            Self::Git(url) => {
                words(&|_| format!("git = {}", toml(url)), "", format!("cargo install --git {url} cargo-trefoil"))
            }
            Self::Published => {
                let at = |_: &str| format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
                words(&at, "", "cargo install cargo-trefoil".to_string())
            }
        })
    }
}

/// The words of a [`Source`] in the templates.
struct Words {
    trefoil: String,
    hosted: String,
    alias: String,
    dir: String,
    install: String,
}

/// Returns the lines of cargo's configuration that make `cargo trefoil` the tool of the checkout in
/// `folder`; none without a folder. Cargo takes the path from the folder where it is called.
///
/// The value is a string, as in the checkout's own configuration: cargo merges the two where one
/// folder lies in the other, and refuses a string and an array. Cargo splits a string at spaces.
fn alias(folder: &str) -> String {
    if folder.is_empty() || folder.contains(char::is_whitespace) {
        return String::new();
    }
    let run = format!(
        "run --quiet --package cargo-trefoil --manifest-path {folder}/Cargo.toml --target-dir {folder}/target --"
    );
    format!("\n# In this folder `cargo trefoil` works without an installation.\n[alias]\ntrefoil = {}\n", toml(&run))
}

/// Makes a program, or a library, in the folder `dir`, which must not exist yet.
///
/// # Errors
/// `dir` exists, its last part is no name for a crate, the source is no checkout of Trefoil, or a
/// file can't be written.
pub fn new(dir: &Path, lib: bool, source: &Source) -> Result<(), String> {
    if dir.exists() {
        return Err(format!("{} exists already: choose another name, or remove it", dir.display()));
    }
    let name = dir.file_name().and_then(|name| name.to_str()).filter(|name| is_crate_name(name)).ok_or_else(|| {
        format!("{}: wants a name that begins with a letter and has letters, digits, - and _", dir.display())
    })?;
    if let Some(owner) = owner(name) {
        return Err(format!("{name} is {owner}: choose another name"));
    }
    let words = source.words(dir)?;
    let (kind, run): (&[File], _) = if lib {
        (&LIB, "      # The example boots, too.\n      - run: cargo run --example demo")
    } else {
        (&APP, "      - run: cargo run --release")
    };
    for (file, text) in kind.iter().chain(&BOTH) {
        let text = text
            .replace("{{name}}", name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{trefoil}}", &words.trefoil)
            .replace("{{hosted}}", &words.hosted)
            .replace("{{alias}}", &words.alias)
            .replace("{{dir}}", &words.dir)
            .replace("{{install}}", &words.install)
            .replace("{{run}}", run);
        let to = dir.join(file);
        let fail = |e: std::io::Error| format!("{}: {e}", to.display());
        std::fs::create_dir_all(to.parent().unwrap_or(dir)).map_err(fail)?;
        std::fs::write(&to, text).map_err(fail)?;
    }
    copy::make_executable(&dir.join(RUNNER))?;
    if let Source::Copy(checkout) = source {
        copy::copy(checkout, &dir.join(copy::FOLDER))?;
    }
    let run = if lib { "cargo run --example demo" } else { "cargo run" };
    println!("made {}: in it, `{run}` boots it and `cargo test` tests it", dir.display());
    match source {
        Source::Copy(_) => println!("it has a copy of Trefoil in {}/: it builds anywhere", copy::FOLDER),
        Source::Path(_) => println!("it depends on Trefoil in {}: that path is relative to it", words.dir),
        Source::Git(_) | Source::Published => println!("to boot it: {}", words.install),
    }
    Ok(())
}

/// Returns the checkout that this program was built in, if it is still there.
pub fn checkout() -> Option<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    is_checkout(checkout).is_ok().then(|| checkout.to_path_buf())
}

fn is_checkout(dir: &Path) -> Result<(), String> {
    if dir.join("kernel/kernel.ld").exists() && dir.join("cargo-trefoil/Cargo.toml").exists() {
        return Ok(());
    }
    Err(format!("{} is no checkout of Trefoil: it has no kernel/kernel.ld", dir.display()))
}

/// Returns an absolute path with the links of its existing part resolved.
fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_path_buf(),
    }
}

/// Returns the relative path from the folder `from` to `to`. Both are absolute.
fn between(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

fn is_crate_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// The words that Rust keeps for itself, also those without a use so far.
const KEYWORDS: &str = "Self abstract as async await become box break const continue crate do dyn else enum extern \
                        false final fn for gen if impl in let loop macro match mod move mut override priv pub ref \
                        return self static struct super trait true try type typeof unsafe unsized use virtual where \
                        while yield";

/// Says what has this name already, so that no program can.
fn owner(name: &str) -> Option<&'static str> {
    match name.replace('-', "_").as_str() {
        "alloc" | "core" | "proc_macro" | "std" | "test" => Some("a crate of Rust's"),
        "trefoil" | "trefoil_hosted" | "trefoil_kernel" => Some("a crate of Trefoil's"),
        "build" | "deps" | "examples" | "incremental" => Some("a folder that cargo makes for what it builds"),
        word => KEYWORDS.split(' ').any(|keyword| keyword == word).then_some("a word of Rust's"),
    }
}

/// Returns a text as a TOML string.
fn toml(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_goes_up_and_down() {
        let path = |from: &str, to: &str| between(Path::new(from), Path::new(to)).display().to_string();
        assert_eq!(path("/a/app", "/a/main"), "../main");
        assert_eq!(path("/a/b/app", "/main"), "../../../main");
        assert_eq!(path("/main/app", "/main"), "..");
    }

    #[test]
    fn a_folder_that_exists_or_has_no_crates_name_is_refused() {
        let new = |dir: &Path| new(dir, false, &Source::Published).unwrap_err();
        assert!(new(&std::env::temp_dir()).contains("exists already"));
        for name in ["1st", "a b", "-x", "a.b", "é"] {
            assert!(new(&Path::new("/no/such/folder").join(name)).contains("wants a name"), "{name}");
        }
        for name in ["std", "core", "alloc", "test", "trefoil", "trefoil-kernel", "fn", "async", "yield", "deps"] {
            assert!(new(&Path::new("/no/such/folder").join(name)).ends_with("choose another name"), "{name}");
        }
    }

    #[test]
    fn a_folder_that_is_no_checkout_is_refused() {
        for source in [Source::Path(std::env::temp_dir()), Source::Copy(std::env::temp_dir())] {
            let error = new(Path::new("/no/such/folder/app"), false, &source).unwrap_err();
            assert!(error.contains("is no checkout of Trefoil"), "{error}");
        }
    }
}
