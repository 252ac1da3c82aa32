//! Traces for Go: Go's own tools read them.
//!
//! `make setup-go` installs the tools, of the oldest and of the newest Go that must read them.
//! Without the tools, the tests that need them say so and do nothing.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cargo_trefoil::go::{self, encode, encode::Encoder, encode::event};
use cargo_trefoil::trace::{Trace, events::Events, sample::Sample};
use trefoil_trace::{Kind, Record};

#[path = "trace_go/byhand.rs"]
mod byhand;
#[path = "trace_go/decode.rs"]
mod decode;
#[path = "trace_go/pages.rs"]
mod pages;
mod recorded;

const OLD: &str = "go-1.23.9";
const NEW: &str = "go-1.27.3";
/// Each, with its word for "print the events".
const VERSIONS: [(&str, &str); 2] = [(OLD, "-d=1"), (NEW, "-d=parsed")];

/// The tools of which a test has said that they are missing.
static SAID: Mutex<BTreeSet<[&str; 2]>> = Mutex::new(BTreeSet::new());

/// Returns a tool, or says once that it is missing.
fn tool(version: &'static str, name: &'static str) -> Option<PathBuf> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools").join(version).join(name);
    if tool.exists() {
        return Some(tool);
    }
    if SAID.lock().unwrap().insert([version, name]) {
        // Unlike `eprintln`, this is not held back in a test that passes.
        let text = format!("no {name} of {version} here: its tests are skipped (`make setup-go` installs it)\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    None
}

fn run(tool: &Path, words: &[&str], file: &Path) -> Output {
    let mut command = Command::new(tool);
    command.args(words).arg(file).stdin(Stdio::null());
    command.output().unwrap_or_else(|e| panic!("{}: {e}", tool.display()))
}

/// Returns the message with which Go's tool refuses a trace.
fn refusal(tool: &Path, print: &str, file: &Path) -> Option<String> {
    let mut command = Command::new(tool);
    // The events of hundreds of traces are gigabytes of text.
    command.arg(print).arg(file).stdin(Stdio::null()).stdout(Stdio::null());
    let out = command.output().unwrap_or_else(|e| panic!("{}: {e}", tool.display()));
    (!out.status.success()).then(|| String::from_utf8_lossy(&out.stderr).into_owned())
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trace-go").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn of(trace: &Trace) -> Vec<u8> {
    go::export(trace, &Events::of(trace))
}

fn exported(bytes: &[u8]) -> Vec<u8> {
    of(&Trace::parse(bytes).unwrap())
}

/// A random run: on few and many cores, whole and cut, with clocks that differ.
fn sample(seed: u64) -> Sample {
    let cores = 1 + (seed % 8) as usize;
    let flight = seed % 5 == 1;
    Sample {
        seed,
        cores,
        procs: if seed % 7 == 3 { cores.div_ceil(2) } else { cores },
        events: 500 + (seed % 13) as usize * 200,
        goroutines: 2 + (seed % 17) as usize * 20,
        capacity: if flight || seed % 5 == 2 { 50 + (seed % 11) as usize * 20 } else { usize::MAX },
        flight,
        skew: [0, 0, 40, 1000][seed as usize / 3 % 4],
        stacks: !seed.is_multiple_of(3),
    }
}

/// Panics if one of the tools refuses one of the files. Two run at a time.
fn all_are_accepted(files: &[PathBuf]) {
    for (version, print) in VERSIONS {
        let Some(tool) = tool(version, "trace") else { continue };
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Some(message) = refusal(&tool, print, file) {
                            panic!("{version} refuses {}: {message:.2000}", file.display());
                        }
                    }
                });
            }
        });
    }
}

fn write_all(folder: &Path, traces: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<PathBuf> {
    let write = |(name, bytes): (String, Vec<u8>)| {
        let file = folder.join(name);
        std::fs::write(&file, bytes).unwrap();
        file
    };
    traces.map(write).collect()
}

#[test]
fn the_traces_of_200_random_programs_are_legal() {
    let traces = (0..200).map(|seed| (format!("{seed}.go"), exported(&sample(seed).file())));
    all_are_accepted(&write_all(&folder("random"), traces));
}

#[test]
fn the_traces_of_real_boots_are_legal_and_name_functions() {
    let (Some(pprof), Some(tool)) = (tool(OLD, "pprof"), tool(NEW, "trace")) else { return };
    let cases = ["a_random_program", "everything_once"];
    let boots = cases.iter().flat_map(|case| (1..=4).map(move |seed| (*case, seed)));
    let traces = boots.map(|(case, seed)| {
        let smp = ["1", "2", "4"][seed % 3];
        (format!("{case}-{seed}.go"), of(&recorded::named(case, smp, &format!("trace=full seed={seed}"), false)))
    });
    let files = write_all(&folder("boots"), traces);
    all_are_accepted(&files);
    for (profile, function) in [("sched", "recorded::random_program"), ("sync", "recorded::")] {
        let text = top(&tool, &pprof, profile, &files[0]);
        assert!(text.contains(function), "{profile}: {text}");
    }
}

/// The trace of a random run, without one record in 16.
fn lossy(seed: u64) -> Trace {
    let mut trace = Trace::parse(&sample(seed).file()).unwrap();
    for ring in &mut trace.rings {
        let mut random = seed << 8 | u64::from(ring.m);
        ring.records.retain(|_| !next(&mut random).is_multiple_of(16));
    }
    trace
}

/// Go's reader knows no gap in a trace, so the export makes the lost events up.
#[test]
fn traces_with_lost_records_are_legal() {
    let traces = (0..40).map(|seed| (format!("{seed}.go"), of(&lossy(seed))));
    all_are_accepted(&write_all(&folder("lost"), traces));
}

#[test]
fn traces_of_nonsense_are_legal() {
    let traces = (0..40).map(|seed| (format!("{seed}.go"), of(&nonsense(seed))));
    all_are_accepted(&write_all(&folder("nonsense"), traces));
}

/// A trace without any sense.
fn nonsense(seed: u64) -> Trace {
    let mut trace = Trace::parse(&sample(seed).file()).unwrap();
    let mut random = seed;
    for record in trace.rings.iter_mut().flat_map(|ring| &mut ring.records) {
        *record = any_record(record.at, &mut random);
    }
    trace
}

/// A record of any kind about one of a few goroutines, P's and tasks.
fn any_record(at: u64, random: &mut u64) -> Record {
    let mut below = |bound: u64| next(random) % bound;
    let kind = Kind::ALL[below(Kind::ALL.len() as u64) as usize] as u8;
    // Decisions about goroutines come more often.
    let kind = if below(2) == 0 { 1 + below(9) as u8 } else { kind };
    let p = [0, 1, 2, Record::NO_P][below(4) as usize];
    let how = [0, 1, 2, 6, 128, 129, 130, 131][below(8) as usize];
    Record { at, kind, p, how, place: below(9) as u8, n: below(4) as u32, a: below(6), b: below(6) }
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn no_number_is_too_large() {
    for seed in 0..50 {
        let mut random = seed;
        let mut trace = Trace::parse(&sample(seed).file()).unwrap();
        let mut any = || next(&mut random) << 33 | next(&mut random);
        trace.meta.procs = u64::MAX - any() % 2;
        let mut events = Events::of(&trace);
        for event in &mut events.list {
            (event.ns, event.m) = (u64::MAX - any() % 3, u32::MAX - any() as u32 % 3);
            event.record = Record { kind: event.record.kind, ..Record::from_words([0, any(), any(), any()]) };
        }
        go::export(&trace, &events);
    }
}

#[test]
fn an_empty_trace_is_legal() {
    let trace = Trace::default();
    let traces = [("empty.go".to_string(), of(&trace))];
    all_are_accepted(&write_all(&folder("empty"), traces.into_iter()));
}

/// A trace of one goroutine on one P, which starts with the sequence number `sequence`.
fn tiny(sequence: u64) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let main = encoder.stack(&[encode::Frame { function: "app::main".into(), file: "src/main.rs".into(), line: 3 }]);
    encoder.event(0, 100, event::PROC_STATUS, &[0, 1]);
    encoder.event(0, 101, event::GO_STATUS_STACK, &[1, u64::MAX, 1, main.into()]);
    encoder.event(0, 110, event::GO_START, &[1, sequence]);
    encoder.event(0, 120, event::GO_DESTROY, &[]);
    encoder.finish()
}

#[test]
fn a_wrong_sequence_number_is_refused() {
    let folder = folder("wrong");
    let files = write_all(&folder, [("right".into(), tiny(1)), ("wrong".into(), tiny(2))].into_iter());
    let mut bytes = exported(&sample(4).file());
    decode::corrupt_a_start(&mut bytes, 20);
    let corrupt = write_all(&folder, [("corrupt".into(), bytes)].into_iter());
    all_are_accepted(&files[..1]);
    for (version, print) in VERSIONS {
        let Some(tool) = tool(version, "trace") else { continue };
        for file in [&files[1], &corrupt[0]] {
            let message = refusal(&tool, print, file).unwrap_or_else(|| panic!("{version} accepts {}", file.display()));
            assert!(message.contains("broken trace"), "{message}");
        }
    }
}

#[test]
fn each_run_of_a_goroutine_is_in_the_trace_once() {
    for seed in [4, 8, 1] {
        let trace = Trace::parse(&sample(seed).file()).unwrap();
        let events = Events::of(&trace);
        let starts = events.iter().filter(|event| event.kind() == Some(Kind::Switch) && event.record.b != 0);
        let leaves =
            |event: &&cargo_trefoil::trace::events::Event| event.kind() == Some(Kind::Switch) && event.record.a != 0;
        let bytes = go::export(&trace, &events);
        let counts = decode::counts(&bytes);
        let count = |kinds: &[u8]| kinds.iter().map(|&kind| counts[usize::from(kind)]).sum::<usize>();
        assert_eq!(count(&[event::GO_START]), starts.count(), "seed {seed}");
        let left = events.iter().filter(leaves).count();
        assert_eq!(count(&[event::GO_STOP, event::GO_BLOCK, event::GO_DESTROY]), left, "seed {seed}");
    }
}

/// Returns the functions of a profile that Go's tool makes of a trace.
fn top(tool: &Path, pprof: &Path, profile: &str, trace: &Path) -> String {
    let out = run(tool, &[&format!("-pprof={profile}")], trace);
    assert!(out.status.success(), "{} {profile}: {}", tool.display(), String::from_utf8_lossy(&out.stderr));
    let written = trace.with_extension(profile);
    std::fs::write(&written, &out.stdout).unwrap();
    let out = run(pprof, &["-top", "-nodecount=100", "-nodefraction=0"], &written);
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn profiles_name_rust_functions() {
    let (Some(pprof), folder) = (tool(OLD, "pprof"), folder("profiles")) else { return };
    let traces = [("stacks", true), ("plain", false)]
        .map(|(name, stacks)| (name.to_string(), exported(&Sample { stacks, ..Sample::default() }.file())));
    for file in write_all(&folder, traces.into_iter()) {
        for version in [OLD, NEW] {
            let Some(tool) = tool(version, "trace") else { continue };
            let functions = [("sched", "app::producer"), ("sched", "app::worker"), ("sync", "app::consumer")];
            for (profile, function) in functions {
                let text = top(&tool, &pprof, profile, &file);
                assert!(text.contains(function), "{version} {profile} of {}: {text}", file.display());
            }
        }
    }
}

#[test]
fn the_pages_name_functions_and_show_every_p() {
    let file = folder("pages").join("pages.go");
    let sample = Sample { cores: 3, procs: 3, ..Sample::default() };
    std::fs::write(&file, exported(&sample.file())).unwrap();
    for version in [OLD, NEW] {
        let Some(tool) = tool(version, "trace") else { continue };
        let pages = pages::Pages::serve(&tool, &file);
        let goroutines = pages.get("/goroutines");
        for function in ["app::main", "app::worker", "app::walk::{closure#0}"] {
            assert!(goroutines.contains(function), "{version}: {goroutines}");
        }
        let timeline = pages.get("/jsontrace");
        for row in ["\"Proc 0\"", "\"Proc 1\"", "\"Proc 2\"", "app::worker", "unblock (chan receive)"] {
            assert!(timeline.contains(row), "{version}: no {row}");
        }
        assert!(!timeline.contains("\"Proc 3\""), "{version}: a P more than the machine has");
    }
}

/// The pages are made from rules of their own. The server ends if a trace breaks them.
#[test]
fn the_pages_show_traces_with_lost_records_and_nonsense() {
    let traces = (0..6).flat_map(|seed| {
        [("lost", lossy(seed)), ("nonsense", nonsense(seed))]
            .map(|(name, trace)| (format!("{name}-{seed}.go"), of(&trace)))
    });
    let files = write_all(&folder("lost-pages"), traces);
    for version in [OLD, NEW] {
        let Some(tool) = tool(version, "trace") else { continue };
        for file in &files {
            let pages = pages::Pages::serve(&tool, file);
            for page in ["/jsontrace", "/jsontrace?view=thread", "/jsontrace?goid=3", "/userregions", "/usertasks"] {
                pages.get(page);
            }
        }
    }
}
