//! `cargo trefoil new`: a program of one's own.
//!
//! The templates are in this program. If it was built in a checkout, the new program depends on
//! that checkout's kernel, and that checkout's runner boots it. Else the new program depends on the
//! published version, and the installed `cargo-trefoil` boots it.

use std::path::{Path, PathBuf};

/// Path and text of a template's file.
type File = (&'static str, &'static str);

const BOTH: [File; 2] = [
    (".cargo/config.toml", include_str!("../templates/config.toml.in")),
    ("rust-toolchain.toml", include_str!("../templates/rust-toolchain.toml")),
];

const APP: [File; 3] = [
    ("Cargo.toml", include_str!("../templates/app/Cargo.toml.in")),
    ("build.rs", include_str!("../templates/app/build.rs")),
    ("src/main.rs", include_str!("../templates/app/main.rs")),
];

const LIB: [File; 4] = [
    ("Cargo.toml", include_str!("../templates/lib/Cargo.toml.in")),
    ("build.rs", include_str!("../templates/lib/build.rs")),
    ("src/lib.rs", include_str!("../templates/lib/lib.rs")),
    ("examples/demo.rs", include_str!("../templates/lib/demo.rs")),
];

/// Makes a program, or a library, in the folder `dir`, which must not exist yet.
///
/// # Errors
/// `dir` exists, its last part is no name for a crate, or a file can't be written.
pub fn new(dir: &Path, lib: bool) -> Result<(), String> {
    if dir.exists() {
        return Err(format!("{} exists already: choose another name, or remove it", dir.display()));
    }
    let name = dir.file_name().and_then(|name| name.to_str()).filter(|name| is_crate_name(name)).ok_or_else(|| {
        format!("{}: wants a name that begins with a letter and has letters, digits, - and _", dir.display())
    })?;
    let (trefoil, runner) = match checkout() {
        Some(checkout) => {
            (format!("{{ path = {} }}", toml(&checkout.join("kernel"))), runner(&checkout.join(".cargo/runner")))
        }
        None => (format!("\"{}\"", env!("CARGO_PKG_VERSION")), "\"cargo-trefoil runner\"".into()),
    };
    let kind: &[File] = if lib { &LIB } else { &APP };
    for (file, text) in kind.iter().chain(&BOTH) {
        let text = text
            .replace("{{name}}", name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{trefoil}}", &trefoil)
            .replace("{{runner}}", &runner);
        let to = dir.join(file);
        let fail = |e: std::io::Error| format!("{}: {e}", to.display());
        std::fs::create_dir_all(to.parent().unwrap_or(dir)).map_err(fail)?;
        std::fs::write(&to, text).map_err(fail)?;
    }
    let run = if lib { "cargo run --example demo" } else { "cargo run" };
    println!("made {}: `{run}` in it boots it", dir.display());
    Ok(())
}

/// Returns the checkout that this program was built in, if there is one.
fn checkout() -> Option<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    checkout.join("kernel/Cargo.toml").exists().then(|| checkout.to_path_buf())
}

/// Returns cargo's setting for a runner. Cargo splits a string at spaces, but does not merge an
/// array with the string that a folder above has.
fn runner(path: &Path) -> String {
    let text = toml(path);
    if text.contains(char::is_whitespace) { format!("[{text}]") } else { text }
}

fn is_crate_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Returns a path as a TOML string.
fn toml(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_is_one_path() {
        assert_eq!(runner(Path::new("/a/runner")), "\"/a/runner\"");
        assert_eq!(runner(Path::new("/a b/runner")), "[\"/a b/runner\"]");
    }

    #[test]
    fn a_folder_that_exists_or_has_no_crates_name_is_refused() {
        assert!(new(&std::env::temp_dir(), false).unwrap_err().contains("exists already"));
        for name in ["1st", "a b", "-x", "a.b", "é"] {
            assert!(
                new(&Path::new("/no/such/folder").join(name), false).unwrap_err().contains("wants a name"),
                "{name}"
            );
        }
    }
}
