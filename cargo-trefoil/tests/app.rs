//! Tests of what `cargo trefoil new` makes, as its owner uses it: elsewhere, with plain cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cargo_trefoil::new::{self, Source};
use programs::{Scratch, app, cargo, checkout, shared, succeeds, text};

mod programs;

/// Returns every file below `dir`, without what was built.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let kept = entries.filter(|path| !path.ends_with("target") && !path.ends_with("trefoil"));
    kept.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Makes a call of cargo whose folder for what is built is new, and not used again: nothing is kept
/// for a next build.
fn cargo_once(dir: &Path, words: &[&str]) -> Command {
    let mut cargo = cargo(dir, words);
    cargo.env("CARGO_INCREMENTAL", "0");
    cargo
}

/// Asserts that `dir` passes all that an editor and a careful owner ask of it.
fn passes_everything(dir: &Path, run: &dyn Fn(&Path, &[&str]) -> Output) {
    succeeds(&run(dir, &["fmt", "--check"]));
    succeeds(&run(dir, &["check", "--quiet", "--all-targets"]));
    succeeds(&run(dir, &["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]));
    let tested = succeeds(&run(dir, &["test"]));
    for line in [
        "test tests::squares_are_added ... ok",
        "test squares_are_added_on_the_machine::smp1 ... ok",
        "test squares_are_added_on_the_machine::smp4 ... ok",
    ] {
        assert!(tested.contains(line), "{line}\n{tested}");
    }
}

#[test]
fn a_new_program_passes_everything_on_its_first_day_also_where_it_is_copied_to() {
    let made = Scratch::new("my-app");
    let out = Command::new(env!("CARGO_BIN_EXE_cargo-trefoil")).args(["trefoil", "new"]).arg(&*made).output().unwrap();
    succeeds(&out);
    for file in files(&made) {
        let text = std::fs::read_to_string(&file).unwrap();
        let home = checkout().display().to_string();
        assert!(!text.contains(&home) && !text.contains("{{"), "{}:\n{text}", file.display());
    }
    let copied = Scratch::new("other name");
    std::fs::rename(&*made, &*copied).unwrap();
    let run = |dir: &Path, words: &[&str]| cargo_once(dir, words).output().expect("cargo runs");
    passes_everything(&copied, &run);
    assert!(succeeds(&run(&copied, &["run", "--quiet"])).contains("the sum of the first five squares is 55"));
    let doctor = cargo(&copied, &["trefoil", "doctor"]).env_remove("CARGO_TREFOIL").output().expect("cargo runs");
    assert!(succeeds(&doctor).contains("no mistake found"));
}

#[test]
fn a_new_library_passes_everything_and_its_example_boots() {
    let dir = app("my-lib", true);
    passes_everything(&dir, &shared);
    assert!(succeeds(&shared(&dir, &["run", "--quiet", "--example", "demo"])).contains("five squares is 55"));
}

#[test]
fn a_program_may_depend_on_a_git_repository() {
    let carrier = Scratch::new("carrier");
    new::new(&carrier, false, &Source::Copy(checkout().to_path_buf())).unwrap();
    let repository = carrier.join("trefoil");
    let git = |words: &[&str]| Command::new("git").arg("-C").arg(&repository).args(words).output();
    if git(&["init", "--quiet"]).is_err() {
        println!("no git on this machine: not tested");
        return;
    }
    git(&["add", "."]).unwrap();
    let author = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
    succeeds(&git(&[&author[..], &["commit", "--quiet", "--message", "all"]].concat()).unwrap());
    let dir = Scratch::new("by-git");
    new::new(&dir, false, &Source::Git(format!("file://{}", repository.display()))).unwrap();
    let home = dir.join("home");
    let out = cargo_once(&dir, &["run", "--quiet"]).env("CARGO_TARGET_DIR", home).output().unwrap();
    assert!(succeeds(&out).contains("the sum of the first five squares is 55"));
}

/// The packages stand in for the registry's: a program that depends on them by version is built.
#[test]
fn every_crate_can_be_published_and_a_program_depends_on_the_versions() {
    let packed = Scratch::new("packages");
    std::fs::create_dir_all(&*packed).unwrap();
    let package = ["package", "--quiet", "--no-verify", "--allow-dirty", "--workspace", "--exclude", "xtask"];
    succeeds(&cargo(checkout(), &package).arg("--target-dir").arg(&*packed).output().unwrap());
    let mut patches = String::from("\n[patch.crates-io]\n");
    let made = std::fs::read_dir(packed.join("package")).unwrap().map(|entry| entry.unwrap().path());
    for file in made.filter(|file| file.extension().is_some_and(|e| e == "crate")) {
        succeeds(&Command::new("tar").arg("-C").arg(&*packed).arg("-xf").arg(&file).output().expect("there is a tar"));
        let folder = packed.join(file.file_stem().unwrap());
        let name = folder.file_name().unwrap().to_str().unwrap().rsplit_once('-').unwrap().0.to_string();
        if name != "cargo-trefoil" {
            patches += &format!("{name} = {{ path = {folder:?} }}\n");
        }
    }
    for (krate, file) in [("trefoil", "kernel.ld"), ("cargo-trefoil", "templates"), ("cargo-trefoil", "gdb")] {
        assert!(
            packed.join(format!("{krate}-{}", env!("CARGO_PKG_VERSION"))).join(file).exists(),
            "{krate} lacks {file}"
        );
    }
    let dir = Scratch::new("by-version");
    new::new(&dir, false, &Source::Published).unwrap();
    let configuration = dir.join(".cargo/config.toml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    std::fs::write(&configuration, text + &patches).unwrap();
    let run = |words: &[&str]| cargo_once(&dir, words).env("CARGO_TARGET_DIR", dir.join("target")).output().unwrap();
    assert!(succeeds(&run(&["run", "--quiet"])).contains("the sum of the first five squares is 55"));
    succeeds(&run(&["test", "--quiet"]));
}

/// Tests that pass, fail, panic and are ignored, with the options of the attribute.
const TESTS: &str = r#"//! Tests with all options.
#![no_std]
#![no_main]

extern crate trefoil_kernel as trefoil;

use trefoil::prelude::*;

#[trefoil::test(smp = 2, mem = "64M", timeout = 20)]
fn it_passes() {
    println!("said by it_passes");
    assert_eq!(runtime::max_procs(), 2);
}

#[trefoil::test(smp = 1)]
#[should_panic(expected = "out of patience")]
fn a_panic_is_right() {
    panic!("out of patience");
}

#[trefoil::test(smp = 1, should_panic)]
fn no_panic_is_wrong() {}

#[trefoil::test(smp = 1)]
fn an_error_is_wrong() -> Result<(), &'static str> {
    Err("no luck")
}

#[trefoil::test(smp = 1, append = "seed=7", expect = "typed: abc", stdin = "abc\n")]
fn what_is_typed_is_read() {
    println!("typed: {}", runtime::stdin().next().unwrap_or_default());
}

#[trefoil::test(smp = 1, icount)]
async fn a_future_is_a_test() -> Result<(), &'static str> {
    time::delay(Duration::from_millis(1)).await;
    Ok(())
}

mod inside {
    #[trefoil::test(smp = [1, 2])]
    #[ignore]
    fn it_is_left_out() {}
}
"#;

#[test]
fn machine_tests_report_as_libtest_does() {
    let dir = app("tested", false);
    std::fs::write(dir.join("tests/machine.rs"), TESTS).unwrap();
    let out = shared(&dir, &["test", "--test", "machine"]);
    let seen = text(&out);
    assert!(!out.status.success(), "{seen}");
    for line in [
        "running 8 tests",
        "test it_passes ... ok",
        "test a_panic_is_right ... ok",
        "test no_panic_is_wrong ... FAILED",
        "test an_error_is_wrong ... FAILED",
        "Error: \"no luck\"",
        "test what_is_typed_is_read ... ok",
        "test a_future_is_a_test ... ok",
        "test inside::it_is_left_out::smp1 ... ignored",
        "failures:\n    ",
        "test result: FAILED. 4 passed; 2 failed; 2 ignored",
    ] {
        assert!(seen.contains(line), "{line}\n{seen}");
    }
    assert!(!seen.contains("said by it_passes"), "{seen}");

    let some = |words: &[&str]| shared(&dir, &[&["test", "--test", "machine", "--"], words].concat());
    let one = succeeds(&some(&["--exact", "it_passes", "--nocapture"]));
    assert!(one.contains("running 1 test\n") && one.contains("said by it_passes"), "{one}");
    let ignored = succeeds(&some(&["--ignored"]));
    assert!(ignored.contains("test result: ok. 2 passed; 0 failed"), "{ignored}");
    let list = succeeds(&some(&["--list"]));
    assert!(list.contains("inside::it_is_left_out::smp2: test\n") && list.contains("8 tests, 0 benchmarks"), "{list}");
    let unknown = some(&["--nocaptur"]);
    assert!(!unknown.status.success() && text(&unknown).contains("--nocapture"), "{}", text(&unknown));
}

/// Returns the output of a program whose `main.rs` has `main` below the usual head.
fn run_main(name: &str, main: &str) -> Output {
    main_is(&app(name, false), main)
}

/// Returns the output of the program in `dir` with this `main`.
fn main_is(dir: &Path, main: &str) -> Output {
    let head = "#![no_std]\n#![no_main]\nextern crate trefoil_kernel as trefoil;\nuse trefoil::prelude::*;\n\n";
    std::fs::write(dir.join("src/main.rs"), format!("{head}{main}\n")).unwrap();
    shared(dir, &["run", "--quiet"])
}

#[test]
fn main_may_return_a_result_or_a_status_or_be_async_and_choose_its_stack() {
    let error = "#[trefoil::main]\nfn main() -> Result<(), core::num::ParseIntError> {\n    \
                 let n: u32 = \"four\".parse()?;\n    println!(\"{n}\");\n    Ok(())\n}";
    let out = run_main("returns-result", error);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert!(text(&out).contains("Error: ParseIntError { kind: InvalidDigit }"), "{}", text(&out));

    let status = "#[trefoil::main]\nasync fn main() -> runtime::ExitCode {\n    \
                  time::delay(Duration::from_millis(1)).await;\n    runtime::ExitCode::from(42)\n}";
    let out = run_main("returns-status", status);
    assert_eq!(out.status.code(), Some(42), "{}", text(&out));

    let deep = "#[trefoil::main(stack = 4 << 20)]\nfn main() {\n    let numbers = [1u8; 2 << 20];\n    \
                println!(\"{}\", core::hint::black_box(&numbers).iter().map(|&n| u64::from(n)).sum::<u64>());\n}";
    assert!(succeeds(&run_main("chooses-stack", deep)).contains("2097152"));
}

#[test]
fn an_attribute_says_what_it_wants() {
    let dir = app("attributes", false);
    for (main, says) in [
        ("#[trefoil::main]\nfn main(_: u32) {}", "the function must not have parameters"),
        ("#[trefoil::main(stak = 5)]\nfn main() {}", "has one option, `stack = BYTES`"),
        ("#[trefoil::main(stack = 2 << 30)]\nfn main() {}", "the stack of `main` must be 1 byte to 1 GiB"),
        ("#[trefoil::main]\nfn main() -> u32 { 5 }", "is nothing that `main` or a test can return"),
        ("#[trefoil::test(smp = 65)]\nfn case() {}", "a number of cores from 1 to 64"),
        ("#[trefoil::test(memory = \"1G\")]\nfn case() {}", "has no such option; there are smp, mem"),
    ] {
        let out = main_is(&dir, main);
        assert!(!out.status.success() && text(&out).contains(says), "{main}\n{}", text(&out));
    }
}
