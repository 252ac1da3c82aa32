//! Writes the linker arguments of an image, for this crate's images (examples, tests) and for apps.
//!
//! The arguments stand in a file that the linker driver reads by `@file`, so that an app's whole
//! build script is one line:
//!
//! ```ignore
//! fn main() { println!("cargo::rustc-link-arg-bins={}", std::env::var("DEP_TREFOIL_IMAGE").unwrap()) }
//! ```

use std::path::Path;
use std::{env, fs};

fn main() {
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let script = Path::new(&here).join("kernel.ld");
    let script = script.to_str().expect("a path that can be printed");
    println!("cargo::rerun-if-changed={script}");

    // No C library, no dynamic linker, and nothing of the host's but the compiler's own libcore.
    // Sections keep the rights that the script gives them: `norelro`, since nothing is relocated at
    // run time. Nor is the file mapped: a loader copies it, so that what starts a page in memory
    // need not start one in the file (the script says what does), and there are no gaps.
    let quoted = script.replace('\\', "\\\\").replace('"', "\\\"");
    // A release image has equal functions only once; in a backtrace one then goes by the other's
    // name. Other builds keep them apart.
    let fold = if env::var("PROFILE").is_ok_and(|profile| profile == "release") { ",--icf=all" } else { "" };
    let arguments = format!(
        "-nostartfiles -nostdlib -static -no-pie -T \"{quoted}\"\n\
         -Wl,--no-dynamic-linker,-z,max-page-size=64,-z,norelro,--build-id=none,--eh-frame-hdr{fold}\n"
    );
    let file = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("image.link");
    fs::write(&file, arguments).expect("OUT_DIR can be written");

    let image = format!("@{}", file.display());
    println!("cargo::metadata=IMAGE={image}");
    // Cargo refuses arguments for targets that a package does not have: a published one has none.
    for folder in ["examples", "tests"] {
        let Ok(mut entries) = fs::read_dir(Path::new(&here).join(folder)) else { continue };
        println!("cargo::rerun-if-changed={folder}");
        let is_target = |path: &Path| path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").exists();
        if entries.any(|entry| entry.is_ok_and(|entry| is_target(&entry.path()))) {
            println!("cargo::rustc-link-arg-{folder}={image}");
        }
    }
}
