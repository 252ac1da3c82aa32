//! Writes the linker arguments of an image, for this crate's images (examples, tests) and for apps.
//!
//! The arguments stand in a file that the linker driver reads by `@file`, so that an app's whole
//! build script is one line:
//!
//! ```ignore
//! fn main() { println!("cargo::rustc-link-arg-bins={}", std::env::var("DEP_TREFOIL_IMAGE").unwrap()) }
//! ```
//!
//! The script also makes the messages for two mistakes, since later errors would not name them:
//!
//! - A program is linked without these arguments. Then the linker does not find a library whose
//!   name is the message: the library is empty, and only the arguments say where it lies. The
//!   linker looks for libraries before it complains of anything else.
//! - `RUSTC_BOOTSTRAP` is not set, so the compiler would refuse crates `unwinding` and `acpi`. They
//!   do not wait for this script, so the message may be the compiler's own (E0554).

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// The name of an empty library, which the linker prints if it does not get an image's arguments. A
/// colon or an equals sign in a name would have a meaning for the compiler.
const MISSING: &str = "[trefoil] build.rs is missing, or prints no link argument for this kind of program. \
                       The page `When it does not build` has the lines";

/// The message if no configuration sets `RUSTC_BOOTSTRAP`.
const NO_CONFIG: &str = "\
RUSTC_BOOTSTRAP is not set, so there is no .cargo/config.toml here. Make it, with these lines:
    env.RUSTC_BOOTSTRAP = \"1\"
    target.x86_64-unknown-linux-gnu.runner = \"cargo-trefoil runner\"
`cargo install --path trefoil/cargo-trefoil` installs that runner, where trefoil is the folder of Trefoil.
The page `When it does not build` says why.";

fn main() {
    require_bootstrap();
    tell_of_frame_pointers();
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let script = Path::new(&here).join("kernel.ld");
    println!("cargo::rerun-if-changed={}", script.display());

    // No C library, no dynamic linker, and nothing of the host's but the compiler's own libcore.
    // Sections keep the rights that the script gives them: `norelro`, since nothing is relocated at
    // run time. Nor is the file mapped: a loader copies it, so that what starts a page in memory
    // need not start one in the file (the script says what does), and there are no gaps.
    // A release image has equal functions only once; in a backtrace one then goes by the other's
    // name. Other builds keep them apart.
    let fold = if env::var("PROFILE").is_ok_and(|profile| profile == "release") { ",--icf=all" } else { "" };
    let arguments = format!(
        "-nostartfiles -nostdlib -static -no-pie -T \"{}\"\n\
         -Wl,--no-dynamic-linker,-z,max-page-size=64,-z,norelro,--build-id=none,--eh-frame-hdr{fold}\n",
        quoted(&script)
    );
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let library = Path::new(&out).join("lib");
    fs::create_dir_all(&library).expect("OUT_DIR can be written");
    fs::write(library.join(format!("lib{MISSING}.a")), "!<arch>\n").expect("OUT_DIR can be written");
    println!("cargo::rustc-link-lib=dylib={MISSING}");
    let arguments = format!("{arguments}-L\"{}\"\n", quoted(&library));

    let file = Path::new(&out).join("image.link");
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

/// Returns a path as an argument file has it between quotation marks.
fn quoted(path: &Path) -> String {
    let path = path.to_str().expect("a path that can be printed");
    path.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Sets the cfg `frame_pointers` where the compiler was told to keep frame pointers. With them the
/// recorder can tell the stack of a goroutine that waits.
fn tell_of_frame_pointers() {
    println!("cargo::rustc-check-cfg=cfg(frame_pointers)");
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if flags.contains("force-frame-pointers=y") {
        println!("cargo::rustc-cfg=frame_pointers");
    }
}

/// Stops the build with a message where the compiler would refuse gates.
fn require_bootstrap() {
    println!("cargo::rerun-if-env-changed=RUSTC_BOOTSTRAP");
    if env::var_os("RUSTC_BOOTSTRAP").is_some() {
        return;
    }
    let version = Command::new(env::var_os("RUSTC").expect("cargo sets it")).arg("--version").output();
    if version.is_ok_and(|out| !String::from_utf8_lossy(&out.stdout).contains("nightly")) {
        for line in NO_CONFIG.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(0);
    }
}
