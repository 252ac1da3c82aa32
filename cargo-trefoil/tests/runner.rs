//! Tests of the command as it is typed: input, words, signals, records.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use cargo_trefoil::new::{self, Source};
use cargo_trefoil::run;

#[path = "runner/typing.rs"]
mod typing;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cargo-trefoil lies in the checkout")
}

/// Builds an example.
fn example(name: &str) -> PathBuf {
    let target = checkout().join("target");
    let status = Command::new(env!("CARGO"))
        .current_dir(checkout())
        .args(["build", "--quiet", "--release", "--package", "trefoil", "--example", name, "--target-dir"])
        .arg(&target)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "{name} does not build");
    target.join("release/examples").join(name)
}

/// Makes a call of this command, without the variables that set a machine.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-trefoil"));
    for variable in
        ["SMP", "MEM", "MACHINE", "INPUT", "APPEND", "SEED", "TIMEOUT", "ICOUNT", "RECORD", "REPLAY", "QEMU_ARGS"]
    {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("trefoil-{name}-{}", std::process::id()))
}

/// Makes an app that prints its words and ends with the status that the first word says.
fn app() -> &'static Path {
    static APP: OnceLock<PathBuf> = OnceLock::new();
    APP.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("words-app");
        let _ = std::fs::remove_dir_all(&dir);
        new::new(&dir, false, &Source::Path(checkout().to_path_buf())).unwrap();
        let main = "#![no_std]\n#![no_main]\nextern crate trefoil_kernel as trefoil;\nuse trefoil::prelude::*;\n\
                    #[trefoil::main]\nfn main() {\n    \
                    runtime::args().for_each(|word| println!(\"{word:?}\"));\n    \
                    runtime::exit(runtime::args().next().and_then(|code| code.parse().ok()).unwrap_or(0));\n}\n";
        std::fs::write(dir.join("src/main.rs"), main).unwrap();
        dir
    })
}

/// Runs cargo on that app, booted by this command.
fn in_app(args: &[&str]) -> Output {
    command()
        .current_dir(app())
        .args(args)
        .env("CARGO_TARGET_DIR", checkout().join("target/app-test"))
        .env_remove("RUSTC_BOOTSTRAP")
        .output()
        .unwrap()
}

#[test]
fn words_keep_their_spaces_quotes_and_backslashes_on_the_way_to_the_machine() {
    let words = ["0", "a b", "", "it's \"so\"", "\\", "a\\ b\\\\", "--", "tab\tend", "é ü", "app.n=1"];
    let out = in_app(&[&["run", "--smp", "1", "--mem", "256M", "--"], &words[..]].concat());
    let seen = text(&out.stdout);
    assert!(out.status.success(), "{seen}\n{}", text(&out.stderr));
    assert_eq!(seen.lines().collect::<Vec<_>>(), words.map(|word| format!("{word:?}")));
}

#[test]
fn the_programs_status_is_the_shells() {
    for code in [1, 42, 127] {
        let out = in_app(&["run", "--smp", "1", "--", &code.to_string()]);
        assert_eq!(out.status.code(), Some(code), "{}", text(&out.stderr));
    }
}

#[test]
fn what_is_piped_in_reaches_the_machine() {
    let mut runner = command()
        .arg("runner")
        .arg(example("fair"))
        .env("SMP", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    runner.stdin.take().unwrap().write_all(b"through the runner\n").unwrap();
    let out = runner.wait_with_output().unwrap();
    let seen = text(&out.stdout);
    assert!(out.status.success() && seen.contains("> through the runner") && seen.contains("1 lines;"), "{seen}");
}

#[test]
fn a_machine_that_does_not_end_is_killed_and_said_so() {
    let out = command().args(["run", "--timeout", "2"]).arg(example("prime_sieve")).args(["--", "1000000"]).output();
    let out = out.unwrap();
    assert_eq!(out.status.code(), Some(run::EXIT_TIMEOUT.into()));
    assert!(text(&out.stdout).contains("no end after 2 s: machine killed (--timeout SECONDS"), "{}", text(&out.stdout));
}

/// Starts a program that runs for long, sends `signal` when it has printed something, and returns
/// how the command ended, with all that it then said.
fn interrupted(signal: libc::c_int) -> (ExitStatus, String) {
    let mut runner = command()
        .args(["run", "--smp", "1"])
        .arg(example("fair"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = runner.stdout.take().unwrap();
    let mut byte = [0];
    while byte[0] != b'\n' {
        out.read_exact(&mut byte).unwrap();
    }
    // SAFETY: the process is a child that has not been waited for.
    unsafe { libc::kill(runner.id() as libc::pid_t, signal) };
    let mut said = String::new();
    out.read_to_string(&mut said).unwrap();
    runner.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (runner.wait().unwrap(), said)
}

#[test]
fn a_signal_ends_the_machine_quietly_and_the_shell_is_told_which() {
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let (status, said) = interrupted(signal);
        assert_eq!((status.code(), said.as_str()), (Some(code), ""));
    }
}

#[test]
fn a_replay_repeats_the_recorded_run_exactly() {
    let image = example("fair");
    for icount in [&[][..], &["--icount"]] {
        let file = scratch("recording");
        let run = |args: &[&str], input: &[u8], words: &[&str]| {
            let mut runner = command();
            let runner = runner.arg("run").args(icount).args(args).arg(&file).arg(&image).arg("--").args(words);
            let mut runner =
                runner.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            // A replay does not read it.
            let _ = runner.stdin.take().unwrap().write_all(input);
            runner.wait_with_output().unwrap()
        };
        // The number of turns of a loop, the clock and the input all differ from run to run.
        let first = run(&["--seed", "7", "--record"], b"one\ntwo words\n", &["w"]);
        assert!(first.status.success(), "{}{}", text(&first.stdout), text(&first.stderr));
        assert!(text(&first.stdout).contains("> two words"), "{}", text(&first.stdout));
        for _ in 0..2 {
            let again = run(&["--seed", "7", "--replay"], b"something else\n", &["w"]);
            assert!(again.status.success(), "{}", text(&again.stderr));
            assert_eq!(text(&again.stdout), text(&first.stdout));
        }
        let other = run(&["--seed", "8", "--replay"], b"", &["w"]);
        let said = text(&other.stderr);
        assert_eq!(other.status.code(), Some(2), "{said}");
        assert!(said.contains("recorded with `-append seed=7  -- w`, but this is `-append seed=8  -- w`"), "{said}");
        let _ = std::fs::remove_file(&file);
        let _ = std::fs::remove_file(file.with_extension("machine"));
    }
    let missing = command().args(["run", "--replay", "/no/such/file"]).arg(&image).output().unwrap();
    assert!(text(&missing.stderr).contains("--record /no/such/file makes a recording"), "{}", text(&missing.stderr));
}

#[test]
fn a_bench_counts_the_same_each_time() {
    let image = example("boot");
    let count = || {
        let out = command().args(["bench", "--machine", "microvm", "--seed", "1"]).arg(&image).output().unwrap();
        assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
        text(&out.stdout)
    };
    let first = count();
    assert!(first.contains("instructions from reset to main: ") && first == count(), "{first}");
}

#[test]
fn words_are_completed_by_the_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let out = command().args(["completions", shell]).output().unwrap();
        assert!(out.status.success() && text(&out.stdout).contains("completions"), "{shell}");
    }
}

#[test]
fn a_size_is_that_of_the_stripped_image() {
    let out = command().arg("size").arg(example("hello")).output().unwrap();
    let seen = text(&out.stdout);
    let size = seen.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    assert!(size.is_some_and(|size: u64| (100_000..400_000).contains(&size)), "{seen}");
}

/// How long a command that has nothing to wait for may take on a busy host.
const SOON: Duration = Duration::from_secs(20);

/// A folder with a `qemu-system-x86_64` that is this script.
fn with_qemu(name: &str, script: Option<&str>) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let dir = scratch(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    if let Some(script) = script {
        let file = dir.join("qemu-system-x86_64");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

#[test]
fn each_mistake_has_one_clear_error() {
    let image = example("hello");
    let old = with_qemu("old", Some("echo QEMU emulator version 4.2.1"));
    let none = with_qemu("none", None);
    let error = |args: &[&str], path: Option<&Path>| {
        let begin = std::time::Instant::now();
        let mut runner = command();
        runner.arg("run").args(args).arg(&image);
        if let Some(path) = path {
            runner.env("PATH", path);
        }
        let out = runner.output().unwrap();
        assert_eq!((out.status.code(), text(&out.stdout)), (Some(2), String::new()), "{}", text(&out.stderr));
        assert!(begin.elapsed() < SOON);
        text(&out.stderr)
    };
    let lines = |said: &str| said.lines().count();
    for (args, path, expect) in [
        (&[][..], Some(&none), "qemu-system-x86_64 is not here: install QEMU (Debian, Ubuntu: apt-get install"),
        (&[], Some(&old), "qemu-system-x86_64 is version 4.2; Trefoil needs 6.0 at least"),
        (&["--machine", "vax"], None, "--machine vax: wants q35 (a PC), pc (an older one) or microvm"),
        (&["--smp", "0"], None, "--smp 0: wants 1 to 64 cores"),
        (&["--smp", "300"], None, "--smp 300: wants 1 to 64 cores"),
        (&["--mem", "lots"], None, "--mem lots: wants a size, as 512M or 2G"),
        (&["--input", "/no/such/file"], None, "--input /no/such/file: No such file"),
    ] {
        let said = error(args, path.map(PathBuf::as_path));
        assert!(said.starts_with(&format!("cargo-trefoil: {expect}")) && lines(&said) == 1, "{args:?}:\n{said}");
    }
    for arguments in ["-cpu no-such-model", "-bios /dev/null"] {
        let said = error(&["--qemu-args", arguments], None);
        let of_qemu = arguments.split_whitespace().last().unwrap();
        assert!(said.contains(of_qemu) && said.contains("QEMU refused this machine") && lines(&said) == 2, "{said}");
    }
    // The machine is checked before anything is built.
    let out = command().args(["run", "--smp", "0", "--example", "no-such-example"]).output().unwrap();
    assert!(text(&out.stderr).contains("--smp 0: wants") && !text(&out.stderr).contains("example"));
    let _ = (std::fs::remove_dir_all(old), std::fs::remove_dir_all(none));
}
