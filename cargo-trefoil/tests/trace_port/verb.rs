//! Programs are recorded as their owner does it: `cargo trefoil trace`, and the option `trace=`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use cargo_trefoil::new::{self, Source};
use cargo_trefoil::trace::Trace;

use super::{Place, SERIAL, checkout};

fn text(out: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// The first word says how the machine ends.
const PROGRAM: &str = r#"
#![no_std]
#![no_main]
extern crate trefoil_kernel as trefoil;
use trefoil::prelude::*;

#[trefoil::main]
fn main() {
    let word = runtime::args().next().unwrap_or("");
    println!("the word is {word:?}");
    (0..20).map(|i| go(move || i)).collect::<Vec<_>>().into_iter().for_each(|h| drop(h.join()));
    match word {
        "snapshots" => {
            print!("half a line, ");
            assert!(trefoil::trace::snapshot() && trefoil::trace::snapshot());
            println!("and its end");
        }
        "panic" => panic!("as it was told"),
        "fatal" => {
            let _guard = trefoil::PreemptGuard::new();
            panic!("as it was told");
        }
        "deadlock" => drop(chan::bounded::<()>(0).1.recv()),
        "exit" => runtime::exit(7),
        "endless" => loop {
            time::sleep(Duration::from_millis(10));
        },
        _ => {}
    }
}
"#;

/// Makes a call of this command in `dir`, without the variables that set a machine.
fn command(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-trefoil"));
    command.current_dir(dir).args(words).env("CARGO_TREFOIL", env!("CARGO_BIN_EXE_cargo-trefoil"));
    for variable in ["RUSTC_BOOTSTRAP", "RUSTFLAGS", "SMP", "MEM", "MACHINE", "INPUT", "APPEND", "TIMEOUT", "ICOUNT"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).env("CARGO_TARGET_DIR", checkout().join("target/app-test"));
    command
}

/// The program's folder, and its recorder's image.
struct Program {
    dir: PathBuf,
    image: PathBuf,
}

/// Builds the program by the verb.
fn program() -> &'static Program {
    static PROGRAM_DIR: OnceLock<Program> = OnceLock::new();
    PROGRAM_DIR.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("endings");
        let _ = std::fs::remove_dir_all(&dir);
        new::new(&dir, false, &Source::Path(checkout().to_path_buf())).unwrap();
        std::fs::write(dir.join("src/main.rs"), PROGRAM).unwrap();
        let out = command(&dir, &["trace", "--mem", "256M", "--", "exit"]).output().unwrap();
        assert_eq!(out.status.code(), Some(7), "{}", text(&out));
        let target = checkout().join("target/app-test");
        let file = target.join("trace/endings.trefoil");
        assert!(text(&out).contains(&file.display().to_string()), "{}", text(&out));
        for ending in ["trefoil", "perfetto", "go", "html"] {
            assert!(file.with_extension(ending).is_file(), "{ending}");
        }
        let trace = Trace::read(&file).unwrap();
        assert_eq!((trace.meta.cause.as_str(), trace.meta.mode.as_str()), ("exit", "full"));
        Program { dir, image: target.join("traced/release/endings") }
    })
}

/// Records the program, in a folder of its own. Returns all that was printed, and the traces.
fn record(name: &str, options: &[&str], word: &str) -> (Output, Vec<(String, Trace)>) {
    let place = Place::new(name, &program().image);
    let image = place.image().display().to_string();
    let words = [&["trace", "--mem", "256M"], options, &[&image, "--", word]].concat();
    let out = command(&program().dir, &words).output().unwrap();
    let mut traces = Vec::new();
    for entry in std::fs::read_dir(place.file("")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!name.ends_with(".stream"), "{name}");
        if name.ends_with(".trefoil") {
            traces.push((name, Trace::read(&file).unwrap_or_else(|error| panic!("{error}\n{}", text(&out)))));
        }
    }
    traces.sort_by(|a, b| a.0.cmp(&b.0));
    (out, traces)
}

const OVER_SERIAL: [&str; 4] = ["--append", SERIAL, "--smp", "1"];

/// Records a run that ends by `word`: the trace is there, and a person sees nothing of it.
fn ends(word: &str, cause: &str, status: i32, options: &[&str]) {
    let (out, traces) = record("ends", options, word);
    let what = format!("{word} {options:?}: {}", text(&out));
    assert_eq!(out.status.code(), Some(status), "{what}");
    let [(name, trace)] = &traces[..] else { panic!("{} traces: {what}", traces.len()) };
    assert_eq!((name.as_str(), trace.meta.cause.as_str()), ("sender.trefoil", cause), "{what}");
    assert!(trace.rings.iter().any(|ring| !ring.records.is_empty()), "{what}");
    let seen = String::from_utf8_lossy(&out.stdout);
    assert!(seen.starts_with(&format!("the word is {word:?}\n")), "{what}");
    assert!(!seen.contains("trefoil-trace") && !seen.contains("no virtio console"), "{what}");
}

#[test]
fn a_trace_comes_however_the_program_ends() {
    for (word, cause, status) in [
        ("", "exit", 0),
        ("exit", "exit", 7),
        ("panic", "panic", 1),
        ("fatal", "panic", 1),
        ("deadlock", "deadlock", 1),
    ] {
        ends(word, cause, status, &["--smp", "4"]);
        ends(word, cause, status, &OVER_SERIAL);
    }
    for machine in ["pc", "microvm"] {
        ends("exit", "exit", 7, &["--machine", machine, "--smp", "1"]);
        ends("fatal", "panic", 1, &["--machine", machine, "--smp", "4"]);
    }
}

#[test]
fn snapshots_are_numbered_and_the_last_trace_is_the_programs() {
    for options in [&["--smp", "2"][..], &OVER_SERIAL] {
        let (out, traces) = record("snapshots", options, "snapshots");
        let found: Vec<_> = traces.iter().map(|(name, trace)| (name.as_str(), trace.meta.cause.as_str())).collect();
        assert_eq!(
            found,
            [("sender.1.trefoil", "snapshot"), ("sender.2.trefoil", "snapshot"), ("sender.trefoil", "exit")],
            "{}",
            text(&out)
        );
        let seen = String::from_utf8_lossy(&out.stdout);
        let rest = seen.strip_prefix("the word is \"snapshots\"\nhalf a line, and its end\n");
        assert!(rest.is_some_and(|rest| rest.starts_with("sender.trefoil: ")), "{options:?}: {seen}");
    }
}

#[test]
fn counted_runs_with_one_seed_and_replays_give_the_same_traces() {
    for (machine, smp) in [("q35", "1"), ("microvm", "1"), ("q35", "2")] {
        let options = ["--icount", "--seed", "7", "--smp", smp, "--machine", machine];
        let (first, again) = (record("counted", &options, "snapshots").1, record("again", &options, "snapshots").1);
        assert!(first.len() == 3 && first == again, "{options:?}");
    }
    let place = Place::new("replayed", &program().image);
    let file = place.0.join("recording").display().to_string();
    let image = place.image().display().to_string();
    let [first, again] = ["--record", "--replay"].map(|verb| {
        let words = ["trace", "--mem", "256M", verb, &file, &image, "--", "snapshots"];
        let out = command(&program().dir, &words).output().unwrap();
        assert!(out.status.success(), "{}", text(&out));
        std::fs::read(place.file("sender.trefoil")).unwrap()
    });
    assert!(first == again, "the replay differs");
}

#[test]
fn a_snapshot_is_translated_later_and_a_cut_one_refused() {
    let place = Place::new("export", &program().image);
    let image = place.image().display().to_string();
    let words = ["trace", "--mem", "256M", &image, "--", "snapshots"];
    let out = command(&program().dir, &words).output().unwrap();
    assert!(out.status.success(), "{}", text(&out));
    let file = place.file("sender.1.trefoil");
    let export = || command(&program().dir, &["trace", "export"]).arg(&file).output().unwrap();
    let out = export();
    assert!(out.status.success(), "{}", text(&out));
    for ending in ["perfetto", "go", "html"] {
        assert!(std::fs::read(file.with_extension(ending)).unwrap().len() > 100, "{ending}");
    }
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let said = text(&export());
    assert!(said.contains("sender.1.trefoil: no valid trace: ") && said.contains("is cut"), "{said}");
}

#[test]
fn the_options_reach_the_recorder() {
    let (out, traces) = record("options", &["--mode", "flight", "--size", "4K", "--smp", "1"], "");
    let trace = &traces[0].1;
    assert_eq!(trace.meta.mode, "flight", "{}", text(&out));
    assert!(trace.rings.iter().all(|ring| ring.records.len() <= 4096 / 32), "{}", text(&out));
    let (out, _) = record("bad", &["--size", "4", "--smp", "1"], "");
    assert!(text(&out).contains(r#"trace_size="4": wants a size from 4K to 1G; skipped"#), "{}", text(&out));
}

#[test]
fn a_machine_that_is_ended_from_outside_says_that_no_trace_came() {
    let (out, traces) = record("late", &["--timeout", "4", "--smp", "1"], "endless");
    assert_eq!((out.status.code(), traces.len()), (Some(124), 0), "{}", text(&out));
    assert!(text(&out).contains("no trace came: the machine ended before it sent one"), "{}", text(&out));

    let image = program().image.display().to_string();
    let words = ["run", "--append", "trace=full", "--smp", "1", &image, "--", "endless"];
    let mut runner = command(&program().dir, &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    runner.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    // SAFETY: the process is a child that has not been waited for.
    unsafe { libc::kill(runner.id() as libc::pid_t, libc::SIGINT) };
    let mut said = String::new();
    runner.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(runner.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("no trace came"), "{said}");
}

#[test]
fn an_image_without_a_recorder_says_how_to_get_one() {
    let out = command(&program().dir, &["run", "--mem", "256M", "--append", "trace=full"]).output().unwrap();
    let said = text(&out);
    assert!(out.status.success(), "{said}");
    assert!(said.contains("has no recorder, so trace= records nothing: `cargo trefoil trace` builds one in"), "{said}");
    assert!(said.contains(r#"command line: unknown key "trace"; skipped"#), "{said}");
}
