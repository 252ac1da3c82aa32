//! Passes the linker script to every image this crate makes (examples, tests), and the same arguments on to apps, whose own
//! build script is one line: `println!("cargo:rustc-link-arg-bins={}", env::var("DEP_TREFOIL_…"))`.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../linker/kernel.ld");
    println!("cargo:rerun-if-changed={script}");
    let args = [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        &format!("-Wl,-T{script},--no-dynamic-linker,-z,max-page-size=4096,--build-id=none,--eh-frame-hdr"),
    ];
    for arg in args {
        println!("cargo:rustc-link-arg-examples={arg}");
    }
}
