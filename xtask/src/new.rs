//! An app of one's own: a copy of `templates/app` that finds this checkout.

use std::path::Path;

const FILES: [&str; 5] = ["Cargo.toml", "build.rs", "rust-toolchain.toml", ".cargo/config.toml", "src/main.rs"];

/// The template's text for the path of the checkout, as seen from `templates/app`.
const HERE: &str = "../..";

/// Copies the template to `dir`, which must not exist yet.
///
/// # Errors
/// `dir` exists, or a file can't be copied.
pub fn new_app(dir: &Path) -> Result<(), String> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no checkout")?;
    let template = checkout.join("templates/app");
    let fail = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    if dir.exists() {
        return Err(format!("{} exists already", dir.display()));
    }
    let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or("app");
    for file in FILES {
        let (from, to) = (template.join(file), dir.join(file));
        let text = std::fs::read_to_string(&from).map_err(|e| fail(&from, e))?;
        let text =
            text.replace(HERE, &checkout.to_string_lossy()).replace("name = \"app\"", &format!("name = \"{name}\""));
        std::fs::create_dir_all(to.parent().unwrap_or(dir)).map_err(|e| fail(&to, e))?;
        std::fs::write(&to, text).map_err(|e| fail(&to, e))?;
    }
    println!("made {}: `cargo run` in it boots it", dir.display());
    Ok(())
}
