//! The manifest of the kernel against its source.

use std::fs;
use std::path::{Path, PathBuf};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
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
