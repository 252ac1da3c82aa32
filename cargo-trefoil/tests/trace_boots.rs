//! Traces of real boots. The programs are in `kernel/tests/recorded.rs`.
//!
//! INV-CAUSE: the records of all cores, in the order of their times, are a history that could have
//! happened. No goroutine is readied before it parks, or runs before it is readied.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cargo_trefoil::qemu::Settings;
use cargo_trefoil::run;
use cargo_trefoil::trace::events::{Event, Events};
use cargo_trefoil::trace::{Trace, queues};
use recorded::images::checkout;
use recorded::{boot, image, named};
use trefoil_trace::{Kind, MAGIC, Place, Why};

mod recorded;

/// The most instructions that a record adds to its operation, all in: 22 write the record, the
/// others are the way out of the hot path and back.
const MOST: [(&str, f64); 4] =
    [("two yields", 50.0), ("a round trip", 60.0), ("spawn and join", 76.0), ("a log line", 80.0)];

/// Checks a whole trace: counters, the order of causes, and the queues. Returns how many snapshots
/// of queues are as the replay has them.
fn check(trace: &Trace, what: &str) -> (Events, usize) {
    let events = Events::of(trace);
    let count = |m: u32, f: &dyn Fn(&Event) -> bool| events.iter().filter(|e| e.m == m && f(e)).count() as u64;
    for ring in &trace.rings {
        let m = ring.m;
        let counter = |name: &str| trace.meta.counter(m, name).unwrap();
        assert_eq!(ring.first + ring.records.len() as u64, counter("counted"), "{what}: M {m}");
        let is = |kind: Kind| move |e: &Event| e.kind() == Some(kind);
        assert_eq!(count(m, &|e| is(Kind::Switch)(e) && e.record.b != 0), counter("runs"), "{what}: M {m} runs");
        let stolen = |e: &Event| is(Kind::Steal)(e).then_some(u64::from(e.record.n));
        let stolen: u64 = events.iter().filter(|e| e.m == m).filter_map(stolen).sum();
        assert_eq!(stolen, counter("steals"), "{what}: M {m} steals");
        assert_eq!(count(m, &|e| is(Kind::Switch)(e) && e.why().waits()), counter("parks"), "{what}: M {m} parks");
        assert_eq!(count(m, &is(Kind::Wake)), counter("wakes_sent"), "{what}: M {m} wakes");
        // The end of the program may have stopped another core between the count and the record.
        let missing = counter("timer_interrupts") - count(m, &is(Kind::Alarm));
        assert!(missing <= u64::from(m != 0), "{what}: {missing} alarms of M {m} are missing");
    }
    assert_eq!(first_contradiction(&events), None, "{what}");
    let (matched, mismatches) = queues::verify(&events);
    assert!(mismatches.is_empty(), "{what}: {matched} snapshots match, but: {:?}", mismatches.first());
    (events, matched)
}

/// Returns the first record that tells of something impossible.
fn first_contradiction(events: &Events) -> Option<String> {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum State {
        Ready,
        Runs,
        Waits,
        Gone,
    }
    let (mut gs, mut running) = (BTreeMap::new(), BTreeMap::new());
    for event in events.iter() {
        let r = event.record;
        let state = gs.get(&r.a).copied();
        let wrong = match event.kind() {
            Some(Kind::Create) => gs.insert(r.a, State::Ready).is_some(),
            Some(Kind::Switch) => {
                let was = running.insert(event.m, r.b).unwrap_or(0);
                let next = match event.why() {
                    why if why.waits() => State::Waits,
                    why if why.ends() => State::Gone,
                    _ => State::Ready,
                };
                if r.a != 0 {
                    gs.insert(r.a, next);
                }
                let came = if r.b == 0 { Some(State::Ready) } else { gs.insert(r.b, State::Runs) };
                was != r.a || came != Some(State::Ready)
            }
            Some(Kind::Ready) => {
                gs.insert(r.a, State::Ready);
                state != Some(State::Waits)
            }
            // A goroutine that had no reason to wait any more is put back without a `Ready`.
            Some(Kind::Put) if state == Some(State::Waits) => {
                gs.insert(r.a, State::Ready);
                event.why() != Why::NONE
            }
            Some(Kind::Put) => state != Some(State::Ready),
            _ => false,
        };
        if wrong {
            return Some(format!("{event:?} of a goroutine that was {state:?}"));
        }
    }
    None
}

#[test]
fn random_programs_are_recorded_whole_and_in_order() {
    let mut snapshots = 0;
    for smp in ["1", "2", "4"] {
        for seed in 1..=6 {
            let what = format!("seed {seed}, {smp} cores");
            let bytes = boot("a_random_program", smp, &format!("trace=full seed={seed}"), false);
            let (events, matched) = check(&Trace::parse(&bytes).unwrap(), &what);
            assert!(events.iter().count() > 5_000, "{what}");
            snapshots += matched;
        }
    }
    assert!(snapshots >= 100, "only {snapshots} snapshots");
}

#[test]
fn every_kind_of_decision_is_recorded() {
    let (events, _) = check(&named("everything_once", "2", "trace=full seed=1", false), "everything");
    let seen: BTreeSet<Kind> = events.iter().filter_map(Event::kind).collect();
    let wanted = [
        Kind::Create,
        Kind::Switch,
        Kind::Ready,
        Kind::Put,
        Kind::Overflow,
        Kind::Share,
        Kind::Block,
        Kind::BlockEnd,
        Kind::Pin,
        Kind::Unpin,
        Kind::Hold,
        Kind::Release,
        Kind::Procs,
        Kind::Tick,
        Kind::Spin,
        Kind::SpinEnd,
        Kind::Rest,
        Kind::Rise,
        Kind::Woken,
        Kind::Wake,
        Kind::IpiReceived,
        Kind::IpiSent,
        Kind::Alarm,
        Kind::SliceEnd,
        Kind::Arm,
        Kind::TimerSet,
        Kind::TimerFired,
        Kind::TimerCancel,
        Kind::Grow,
        Kind::Shrink,
        Kind::Pack,
        Kind::Unpack,
        Kind::Epoch,
        Kind::Pressure,
        Kind::Frames,
        Kind::Log,
        Kind::RegionBegin,
        Kind::RegionEnd,
        Kind::TaskBegin,
        Kind::TaskEnd,
        Kind::Begin,
    ];
    let missing: Vec<Kind> = wanted.into_iter().filter(|kind| !seen.contains(kind)).collect();
    assert!(missing.is_empty(), "never recorded: {missing:?}");
    let text = |kind: Kind| events.iter().find(|e| e.kind() == Some(kind)).and_then(|e| e.text.clone()).unwrap();
    assert_eq!(&*text(Kind::Log), "categorya message that takes more than one record");
    assert_eq!((&*text(Kind::RegionBegin), &*text(Kind::TaskBegin)), ("a region", "request"));
    let named = events.iter().filter(|e| e.kind() == Some(Kind::Create)).filter_map(|e| e.text.clone());
    assert!(named.into_iter().any(|name| &*name == "a name of twenty-six letters"));
    let places: BTreeSet<Place> = events.iter().filter(|e| e.kind() == Some(Kind::Switch)).map(Event::place).collect();
    for place in [Place::Slot, Place::Ring, Place::Global, Place::Hand] {
        assert!(places.contains(&place), "{place:?}");
    }
}

#[test]
fn counted_instructions_repeat_a_trace_byte_by_byte() {
    for append in ["trace=full seed=7", "trace=flight trace_size=64K seed=7"] {
        let [one, two] = [0; 2].map(|_| boot("a_random_program", "1", append, true));
        assert!(one == two, "{append}: two runs differ");
        let other = boot("a_random_program", "1", &append.replace('7', "8"), true);
        assert!(one != other, "{append}: another seed gives another run");
    }
}

/// Returns the traces of a stream that has several.
fn traces(stream: &[u8]) -> Vec<Trace> {
    let begins = |at: &usize| stream[*at..].starts_with(&MAGIC);
    let at: Vec<usize> = (0..stream.len()).filter(begins).chain([stream.len()]).collect();
    at.windows(2).map(|pair| Trace::parse(&stream[pair[0]..pair[1]]).unwrap()).collect()
}

#[test]
fn snapshots_on_a_running_machine_are_whole_and_the_recorder_goes_on() {
    let traces = traces(&boot("snapshots_follow_each_other", "2", "trace=flight trace_size=16K seed=5", false));
    let causes: Vec<&str> = traces.iter().map(|trace| &*trace.meta.cause).collect();
    assert_eq!(causes, ["snapshot", "snapshot", "snapshot", "snapshot", "snapshot", "exit"]);
    for (n, trace) in traces.iter().enumerate() {
        let events = Events::of(trace);
        assert!(events.len() > 100, "trace {n}: {} events", events.len());
        let (_, mismatches) = queues::verify(&events);
        assert!(mismatches.is_empty(), "trace {n}: {mismatches:?}");
    }
    let counted = |trace: &Trace| (0..2).filter_map(|m| trace.meta.counter(m, "counted")).sum::<u64>();
    assert!(traces.windows(2).all(|pair| counted(&pair[0]) < counted(&pair[1])));
}

#[test]
fn a_slow_wake_up_dumps_the_moment_before_it() {
    let append = "trace=flight trace_on_latency=20000 seed=1";
    let traces = traces(&boot("a_slow_wake_up", "1", append, true));
    let causes: Vec<&str> = traces.iter().map(|trace| &*trace.meta.cause).collect();
    assert_eq!(causes, ["latency", "exit"]);
    let events = Events::of(&traces[0]);
    let ready = |event: &&Event| event.kind() == Some(Kind::Ready);
    let waited = events.iter().filter(ready).filter_map(|ready| {
        let runs = |event: &&Event| event.kind() == Some(Kind::Switch) && event.record.b == ready.record.a;
        Some(events.iter().filter(runs).find(|event| event.ns >= ready.ns)?.ns - ready.ns)
    });
    let longest = waited.max().unwrap();
    assert!((20_000_000..100_000_000).contains(&longest), "the longest wait took {longest} ns");
}

#[test]
fn a_small_ring_drops_and_counts_exactly() {
    let bytes = boot("a_random_program", "1", "trace=full trace_size=64K seed=3", true);
    let small = Trace::parse(&bytes).unwrap();
    let whole = Trace::parse(&boot("a_random_program", "1", "trace=full trace_size=8M seed=3", true)).unwrap();
    let (kept, counted) = (small.rings[0].records.len() as u64, small.meta.counter(0, "counted").unwrap());
    assert_eq!(Some(kept), small.meta.counter(0, "capacity"));
    assert_eq!(small.dropped(0), (counted, counted - kept));
    assert!(counted > kept && whole.rings[0].records.len() as u64 > kept);
}

/// Returns the cost of each operation: instructions and records, of a thousand.
fn costs(append: &str) -> BTreeMap<String, (u64, u64)> {
    let trace =
        (!append.is_empty()).then(|| std::env::temp_dir().join(format!("trefoil-costs-{}", std::process::id())));
    let settings = Settings {
        memory: "512M".into(),
        smp: "1".into(),
        append: append.into(),
        icount: true,
        trace: trace.clone(),
        ..Settings::default()
    };
    let mut out = Vec::new();
    let status = run::run(image(), &["what_a_record_costs".into()], &settings, &mut out).unwrap();
    trace.map(std::fs::remove_file);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(status, 0, "{text}");
    let number = |text: &str| text.split(' ').next().unwrap().parse().unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("cost of ")?.split_once(": "));
    lines.map(|(name, rest)| (name.into(), (number(rest), number(rest.split_once(", ").unwrap().1)))).collect()
}

#[test]
fn a_record_costs_few_instructions() {
    let (off, on) = (costs(""), costs("trace=full trace_size=16M"));
    assert_eq!(off.len(), 4, "{off:?}");
    for (name, (with, records)) in on {
        let (without, none) = off[&name];
        assert_eq!(none, 0, "{name}: the recorder is off");
        let each = (with - without) as f64 / records as f64;
        println!("{name}: {without} → {with} instructions for {records} records, of 1000: {each:.1} each");
        let (_, most) = MOST.into_iter().find(|(of, _)| *of == name).unwrap_or_else(|| panic!("no bound for {name}"));
        assert!(each <= most, "{name}: {each:.1} instructions a record");
    }
}

/// Counts `bench` on one core, in an image that was built with these words of cargo's.
fn bench(words: &[&str], target: &str) -> BTreeMap<String, f64> {
    let target = checkout().join(target);
    let built = Command::new(env!("CARGO"))
        .current_dir(checkout())
        .args(["build", "--quiet", "--release", "--package", "trefoil", "--example", "bench", "--target-dir"])
        .arg(&target)
        .args(words)
        .status()
        .expect("cargo runs");
    assert!(built.success(), "bench does not build");
    let settings = Settings { smp: "1".into(), append: "seed=1".into(), icount: true, ..Settings::default() };
    let mut out = Vec::new();
    assert_eq!(run::run(&target.join("release/examples/bench"), &[], &settings, &mut out).unwrap(), 0);
    let text = String::from_utf8(out).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("bench ")?.split_once(": "));
    rows.filter_map(|(name, count)| Some((name.into(), count.parse().ok()?))).collect()
}

#[test]
fn a_recorder_that_is_off_costs_an_instruction_a_switch_at_most() {
    let without = bench(&[], "target");
    let with = bench(&["--features", "trace"], "target/traced-bare");
    // Switches of each operation. (A goroutine that is made, waits and ends leaves its core twice.)
    let rows = [
        ("yield", 1.0),
        ("rendezvous round trip", 2.0),
        ("buffered send+recv", 0.0),
        ("select, two ready arms", 0.0),
        ("spawn+join", 2.0),
        ("spawn 10000, wait, each", 1.0),
        ("mutex lock+unlock", 0.0),
        ("rwlock write+unlock", 0.0),
        ("rwlock read+unlock", 0.0),
        ("semaphore acquire+release", 0.0),
        ("create+park, each of 20000", 2.0),
    ];
    for (name, switches) in rows {
        let more = with[name] - without[name];
        println!("{name}: {} → {}", without[name], with[name]);
        // Counts have one decimal.
        assert!(more <= switches + 0.11, "{name}: {more:.1} instructions more with a recorder that is off");
    }
}
