//! Each mistake of a person who writes a program gives one clear message, with the remedy, and few
//! lines around it. The page `docs/when-it-does-not-build.md` quotes the message. `runner.rs` has
//! the mistakes with QEMU and the machine's options.

use std::path::Path;
use std::process::{Command, Output};

use programs::{app, cargo, checkout, shared, succeeds, text};

mod programs;

/// Most lines of cargo's, the compiler's and the linker's output.
const LINES: usize = 40;

/// Changes a file of a program: `from`, which is there, becomes `to`.
fn change(dir: &Path, file: &str, from: &str, to: &str) {
    let path = dir.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}\n{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// Asserts that `out` is a failure that says each of `messages` and little else, and that the page
/// has them.
fn fails_with(out: &Output, messages: &[&str]) -> String {
    let seen = text(out);
    assert!(!out.status.success(), "{seen}");
    assert!(seen.lines().count() <= LINES, "{} lines\n{seen}", seen.lines().count());
    let page = std::fs::read_to_string(checkout().join("docs/when-it-does-not-build.md")).unwrap();
    for message in messages {
        assert!(seen.contains(message), "{message}\n{seen}");
        assert!(page.contains(message), "the page has no: {message}");
    }
    seen
}

/// Builds the program in `dir`, which fails.
fn build_fails(dir: &Path, messages: &[&str]) -> String {
    fails_with(&shared(dir, &["build", "--quiet"]), messages)
}

#[test]
fn a_program_without_main() {
    let dir = app("no-attribute", false);
    change(&dir, "src/main.rs", "#[trefoil::main]\n", "");
    build_fails(&dir, &["trefoil: this program has no main: write #[trefoil::main] above `fn main`"]);
}

#[test]
fn a_program_that_keeps_the_compilers_main() {
    let dir = app("no-no-main", false);
    change(&dir, "src/main.rs", "#![no_main]\n", "");
    build_fails(&dir, &["using `fn main` requires the standard library", "use `#![no_main]`"]);
}

#[test]
fn a_program_that_keeps_std() {
    let dir = app("no-no-std", false);
    change(&dir, "src/main.rs", "#![no_std]\n", "");
    build_fails(&dir, &["duplicate lang item in crate `trefoil` (which `"]);
}

#[test]
fn a_program_that_does_not_name_its_kernel() {
    let dir = app("no-extern-crate", false);
    change(&dir, "src/main.rs", "extern crate trefoil_kernel as trefoil;\n", "");
    build_fails(&dir, &["cannot find module or crate `trefoil` in this scope"]);
}

#[test]
fn a_program_without_its_link_arguments() {
    let missing = "unable to find library -l[trefoil] build.rs is missing, or prints no link argument for this kind \
                   of program.";
    let dir = app("no-build-script", false);
    let build = std::fs::read_to_string(dir.join("build.rs")).unwrap();
    std::fs::remove_file(dir.join("build.rs")).unwrap();
    build_fails(&dir, &[missing]);
    std::fs::write(dir.join("build.rs"), "").unwrap();
    build_fails(&dir, &["`main` function not found in crate `build_script_build`"]);
    std::fs::write(dir.join("build.rs"), "fn main() {}\n").unwrap();
    build_fails(&dir, &[missing]);

    // The lines in build.rs are for the program and its tests, not for examples.
    std::fs::write(dir.join("build.rs"), build).unwrap();
    std::fs::create_dir(dir.join("examples")).unwrap();
    std::fs::copy(dir.join("src/main.rs"), dir.join("examples/more.rs")).unwrap();
    fails_with(&shared(&dir, &["build", "--quiet", "--example", "more"]), &[missing]);
    change(&dir, "build.rs", "bins={image}", "examples={image}");
    succeeds(&shared(&dir, &["build", "--quiet", "--example", "more"]));
}

#[test]
fn a_program_whose_manifest_lacks_the_kernel() {
    let dir = app("no-dependency", false);
    change(&dir, "Cargo.toml", "\ntrefoil-kernel", "\n[build-dependencies]\ntrefoil-kernel");
    build_fails(&dir, &["trefoil is a dependency"]);
}

#[test]
fn a_program_without_cargos_configuration() {
    let dir = app("no-configuration", false);
    std::fs::remove_dir_all(dir.join(".cargo")).unwrap();
    // A target of its own: the shared one would be built again.
    let target = checkout().join("target/app-test/no-configuration");
    let build = || cargo(&dir, &["build", "--quiet"]).env("CARGO_TARGET_DIR", &target).output().unwrap();
    // The message of the kernel's build script or the compiler's: whichever cargo comes to first.
    let kernels = "RUSTC_BOOTSTRAP is not set, so there is no .cargo/config.toml here.";
    let compilers = "`#![feature]` may not be used on the stable release channel";
    let out = build();
    let message = if text(&out).contains(kernels) { kernels } else { compilers };
    fails_with(&out, &[message]);

    for verb in ["run", "doctor"] {
        let seen = text(&trefoil_at(&target, &dir, &[verb]));
        let remedies = seen.trim().lines().rev().take(2).collect::<String>();
        for remedy in ["write env.RUSTC_BOOTSTRAP = \"1\"", "write target.x86_64-unknown-linux-gnu.runner"] {
            assert!(remedies.contains(remedy), "{remedy}\n{seen}");
        }
    }
}

#[test]
fn an_image_that_is_started_on_the_host() {
    let dir = app("on-the-host", false);
    std::fs::remove_dir_all(dir.join(".cargo")).unwrap();
    let target = checkout().join("target/app-test");
    let mut run = cargo(&dir, &["run", "--quiet"]);
    let out = run.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", &target).output().unwrap();
    fails_with(&out, &["(never executed)", "No such file or directory (os error 2)"]);

    let image = target.join("debug/on-the-host");
    let out = Command::new("bash").arg("-c").arg(&image).output().unwrap();
    assert_eq!(out.status.code(), Some(127), "{}", text(&out));
    let bytes = std::fs::read(image).unwrap();
    let hint = b"\0/this boots in QEMU: cargo trefoil run FILE\0";
    assert!(bytes.windows(hint.len()).any(|window| window == hint), "the interpreter's name");
}

#[test]
fn a_dependency_that_turns_std_on() {
    let dir = app("with-std", false);
    let noisy = dir.join("noisy");
    std::fs::create_dir_all(noisy.join("src")).unwrap();
    std::fs::write(
        noisy.join("Cargo.toml"),
        "[package]\nname = \"noisy\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [features]\ndefault = [\"std\"]\nstd = []\n",
    )
    .unwrap();
    let lib = "#![cfg_attr(not(feature = \"std\"), no_std)]\n\n/// Returns one.\npub fn one() -> u32 {\n    1\n}\n";
    std::fs::write(noisy.join("src/lib.rs"), lib).unwrap();
    change(&dir, "Cargo.toml", "[dependencies]\n", "[dependencies]\nnoisy = { path = \"noisy\" }\n");
    change(&dir, "src/main.rs", "fn main() {\n", "fn main() {\n    assert_eq!(noisy::one(), 1);\n");
    let seen = build_fails(&dir, &["conflicts with allocation error handler in: std"]);
    let doctor = text(&trefoil(&dir, &["doctor"]));
    assert!(doctor.contains("noisy has its feature std on") && doctor.trim().lines().count() == 1, "{doctor}");
    assert!(seen.contains("duplicate lang item in crate `std` (which `noisy` depends on): `panic_impl`"), "{seen}");
    change(&dir, "Cargo.toml", "path = \"noisy\" }", "path = \"noisy\", default-features = false }");
    succeeds(&shared(&dir, &["build", "--quiet"]));
}

#[test]
fn a_profile_that_aborts() {
    let dir = app("aborts", false);
    change(&dir, "Cargo.toml", "[profile.dev]\n", "[profile.dev]\npanic = \"abort\"\n");
    let unwinding = "Trefoil needs unwinding: a panic ends one goroutine, whose destructors run. Remove `panic = \
                     \"abort\"` from the profile in Cargo.toml";
    fails_with(&shared(&dir, &["check", "--quiet"]), &[unwinding]);
}

#[test]
fn a_unit_test_that_reaches_the_kernel() {
    let dir = app("unit-test", false);
    change(&dir, "src/lib.rs", "#[cfg(test)]\nextern crate trefoil_hosted as trefoil;\n#[cfg(not(test))]\n", "");
    fails_with(
        &shared(&dir, &["test", "--quiet", "--lib"]),
        &["the `#[alloc_error_handler]` in std conflicts with allocation error handler in: trefoil"],
    );
}

#[test]
fn a_machine_test_with_the_hosts_harness() {
    let dir = app("harness", false);
    change(&dir, "Cargo.toml", "harness = false\n", "");
    fails_with(&shared(&dir, &["test", "--quiet", "--test", "machine"]), &["(which `test` depends on): `panic_impl`"]);
}

#[test]
fn a_second_program_that_the_host_would_test() {
    let dir = app("two-programs", false);
    std::fs::create_dir(dir.join("src/bin")).unwrap();
    std::fs::copy(dir.join("src/main.rs"), dir.join("src/bin/two.rs")).unwrap();
    let test = || shared(&dir, &["test", "--quiet", "--no-run"]);
    fails_with(&test(), &["(which `test` depends on): `panic_impl`"]);
    let doctor = text(&trefoil(&dir, &["doctor"]));
    assert!(doctor.contains("Cargo.toml: write [[bin]], name = \"two\""), "{doctor}");
    change(&dir, "Cargo.toml", "[[bin]]\n", "[[bin]]\nname = \"two\"\ntest = false\nbench = false\n\n[[bin]]\n");
    succeeds(&test());
    assert!(succeeds(&trefoil(&dir, &["doctor"])).contains("no mistake found"));
}

#[test]
fn a_dev_dependency_that_turns_std_on_in_the_kernels_crates() {
    let dir = app("dev-std", false);
    let noisy = dir.join("noisy");
    std::fs::create_dir_all(noisy.join("src")).unwrap();
    let manifest = "[package]\nname = \"noisy\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[features]\n\
                    default = [\"log/std\"]\n\n[dependencies]\nlog = { version = \"0.4\", default-features = false }\n";
    std::fs::write(noisy.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(noisy.join("src/lib.rs"), "//! Empty.\n").unwrap();
    change(&dir, "Cargo.toml", "[dev-dependencies]\n", "[dev-dependencies]\nnoisy = { path = \"noisy\" }\n");
    let test = || shared(&dir, &["test", "--quiet", "--no-run", "--test", "machine"]);
    fails_with(&test(), &["duplicate lang item in crate `unwinding`", "eh_personality"]);
    let doctor = text(&trefoil(&dir, &["doctor"]));
    assert!(doctor.contains("the dev-dependency noisy turns the feature std of log on"), "{doctor}");
    change(&dir, "Cargo.toml", "path = \"noisy\" }", "path = \"noisy\", default-features = false }");
    succeeds(&test());
    assert!(succeeds(&trefoil(&dir, &["doctor"])).contains("no mistake found"));
}

/// Calls `cargo trefoil VERB` in `dir`.
fn trefoil(dir: &Path, verb: &[&str]) -> Output {
    trefoil_at(&checkout().join("target/app-test"), dir, verb)
}

fn trefoil_at(target: &Path, dir: &Path, verb: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-trefoil"));
    command.args(verb).current_dir(dir).env_remove("RUSTC_BOOTSTRAP").env("CARGO", env!("CARGO"));
    command.env("CARGO_TARGET_DIR", target).output().unwrap()
}

#[test]
fn the_doctor_finds_each_mistake_and_none_in_a_new_program() {
    let dir = app("ill", false);
    assert!(succeeds(&trefoil(&dir, &["doctor"])).contains("no mistake found"));
    let lib = app("well-lib", true);
    assert!(succeeds(&trefoil(&lib, &["doctor"])).contains("no mistake found"));

    change(&dir, "Cargo.toml", "harness = false\n", "");
    change(&dir, "Cargo.toml", "[profile.dev]\n", "[profile.dev]\npanic = \"abort\"\n");
    change(&dir, "tests/machine.rs", "#![no_std]\n", "");
    change(&dir, "tests/machine.rs", "extern crate trefoil_kernel as trefoil;\n", "");
    change(&dir, "src/main.rs", "#[trefoil::main]\n", "");
    change(&dir, "build.rs", "tests={image}", "bins={image}");
    std::fs::remove_dir_all(dir.join(".cargo")).unwrap();
    let out = trefoil(&dir, &["doctor"]);
    let seen = text(&out);
    assert_eq!(out.status.code(), Some(1), "{seen}");
    for mistake in [
        "Cargo.toml: remove panic = \"abort\" from [profile.dev]",
        "Cargo.toml: write [[test]], name = \"machine\", harness = false",
        "tests/machine.rs: write #![no_std] at the top",
        "tests/machine.rs: write extern crate trefoil_kernel as trefoil;",
        "src/main.rs: write #[trefoil::main] above `fn main`",
        "build.rs: print the link arguments of the images in tests",
        ".cargo/config.toml: write env.RUSTC_BOOTSTRAP = \"1\"",
        ".cargo/config.toml: write target.x86_64-unknown-linux-gnu.runner",
    ] {
        assert!(seen.contains(mistake), "{mistake}\n{seen}");
    }
    assert_eq!(seen.trim().lines().count(), 8, "{seen}");
}

#[test]
fn a_build_that_fails_under_cargo_trefoil_ends_with_the_remedy() {
    let dir = app("explained", false);
    std::fs::remove_file(dir.join("build.rs")).unwrap();
    for verb in [&["run"][..], &["test", "--test", "machine"]] {
        let out = trefoil(&dir, verb);
        let seen = text(&out);
        assert_eq!(out.status.code(), Some(101), "{seen}");
        let script = seen.split("cargo-trefoil: build.rs: it has no `fn main`").nth(1).expect(&seen);
        assert!(script.contains("println!(\"cargo::rustc-link-arg-bins={image}\");"), "{seen}");
        assert!(script.trim().ends_with('}'), "{seen}");
    }
}
