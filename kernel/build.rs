//! Passes the linker script to every image this crate makes (examples, tests), and the same arguments on to apps: an app's own build
//! script is one line that repeats `DEP_TREFOIL_LINK_ARGS` (see `templates/app/build.rs`).

use std::path::Path;

fn main() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../linker/kernel.ld");
    let script = script.canonicalize().expect("the linker script is part of the checkout");
    let script = script.display();
    println!("cargo:rerun-if-changed={script}");
    let args = [
        "-nostartfiles".to_string(),
        "-nostdlib".to_string(),
        "-static".to_string(),
        "-no-pie".to_string(),
        format!("-Wl,-T{script},--no-dynamic-linker,-z,max-page-size=4096,--build-id=none,--eh-frame-hdr"),
    ];
    for arg in &args {
        println!("cargo:rustc-link-arg-examples={arg}");
        println!("cargo:rustc-link-arg-tests={arg}");
    }
    println!("cargo:link_args={}", args.join(" "));
}
