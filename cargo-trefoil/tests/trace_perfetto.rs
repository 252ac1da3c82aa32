//! Exported traces, read by Perfetto's own trace processor.

use std::collections::BTreeMap;
use std::path::Path;

use cargo_trefoil::perfetto::export;
use cargo_trefoil::trace::Trace;
use cargo_trefoil::trace::events::Events;
use cargo_trefoil::trace::lives::{self, Cause, State};
use cargo_trefoil::trace::queues::Replay;
use cargo_trefoil::trace::sample::Sample;
use trefoil_trace::{Kind, Place, Why};

mod perfetto;
mod recorded;

use perfetto::made::Made;
use perfetto::{Rows, Timed, WRONG, ask, check, tool};

fn trace(sample: &Sample) -> Trace {
    Trace::parse(&sample.file()).unwrap()
}

#[test]
fn perfetto_finds_no_error_each_dispatch_each_waker_and_the_latency() {
    let Some(tool) = tool() else { return };
    for seed in 1..=3 {
        let sample = Sample { seed, cores: [4, 1, 8][seed as usize - 1], events: 20_000, ..Sample::default() };
        let dispatches = check(&tool, &format!("sample-{seed}"), &trace(&sample), Some(Timed::Everything));
        assert!(dispatches > 2_000, "{dispatches}");
    }
}

#[test]
fn a_flight_and_clocks_that_differ_are_as_good() {
    let Some(tool) = tool() else { return };
    let flight = Sample { seed: 6, flight: true, capacity: 2_000, events: 20_000, ..Sample::default() };
    assert!(check(&tool, "flight", &woken(trace(&flight)), Some(Timed::Woken)) > 500);
    let skewed = Sample { seed: 7, skew: 200, events: 20_000, ..Sample::default() };
    assert!(check(&tool, "skewed", &woken(trace(&skewed)), Some(Timed::Woken)) > 2_000);
    let full = Sample { seed: 8, capacity: 3_000, events: 30_000, ..Sample::default() };
    assert!(check(&tool, "full", &trace(&full), None) > 500);
}

/// With a limit for slow wake-ups, the kernel times every goroutine that is created or readied.
#[test]
fn real_boots_are_as_good() {
    let Some(tool) = tool() else { return };
    for (case, smp, seed) in [("a_random_program", "1", 1), ("a_random_program", "1", 2), ("everything_once", "2", 3)] {
        let append = format!("trace=full trace_on_latency=60000000 seed={seed}");
        let trace = recorded::named(case, smp, &append, smp == "1");
        let timed = (smp == "1").then_some(Timed::Woken);
        let dispatches = check(&tool, &format!("boot-{case}-{seed}"), &trace, timed);
        assert!(dispatches > 500, "{dispatches}");
    }
}

/// Gives a trace the histogram of a kernel that times all goroutines that were created or readied.
fn woken(mut trace: Trace) -> Trace {
    trace.meta.ready.clear();
    for life in lives::of(&trace, &Events::of(&trace)).values() {
        for pair in life.spans.windows(2) {
            let is_woken = matches!(pair[0].state, State::Runnable(Cause::Created { .. } | Cause::Readied { .. }));
            if is_woken && matches!(pair[1].state, State::Running { .. }) {
                *trace.meta.ready.entry(u64::BITS - pair[0].ns().leading_zeros()).or_default() += 1;
            }
        }
    }
    trace
}

/// Asks about a trace, and returns each row as a line.
fn lines(tool: &Path, name: &str, trace: &Trace, queries: &[&str]) -> Vec<Vec<String>> {
    let results = ask(tool, name, &export(trace, &Events::of(trace)), queries).unwrap();
    results.into_iter().map(|rows| rows.iter().map(|row| row.join(" | ")).collect()).collect()
}

const RECEIVE: Why = Why(2);
/// The states of the threads, and the wakers.
const STATES: &str = "select thread.name, ts, state, waker.name, irq_context \
    from thread_state join thread using (utid) left join thread as waker on waker_utid = waker.utid \
    where thread.name is not null and thread.tid > 0 order by ts, thread.name";
/// Arrows: the slices' names, and the threads or tracks of both.
const ARROWS: &str = "select a.name, coalesce(ta.name, pa.name), b.name, coalesce(tb.name, pb.name) from flow \
    join slice a on slice_out = a.id left join thread_track on a.track_id = thread_track.id \
    left join thread ta using (utid) left join track pa on a.track_id = pa.id \
    join slice b on slice_in = b.id left join thread_track rb on b.track_id = rb.id \
    left join thread tb on rb.utid = tb.utid left join track pb on b.track_id = pb.id order by a.ts";

#[test]
fn the_waker_is_the_goroutine_the_timer_or_the_interrupted_one() {
    let Some(tool) = tool() else { return };
    let large = 5_000_000_000;
    let made = Made::default()
        .m()
        .create(10, 1, "main")
        .switch(20, Why::NONE, 0, 1)
        .create(30, large, "large")
        .note(40, Kind::Wake, 0, 1)
        // Another M readies it while it is on its way off this core.
        .switch(200, RECEIVE, 1, 0)
        .add(210, Kind::Put, RECEIVE.0, Place::Slot, 0, [1, 0])
        .switch(220, Why::NONE, 0, 1)
        // An interrupt readies another one.
        .add(300, Kind::Ready, 2, Place::Inbox, 0, [large, 0])
        .switch(310, Why::END, 1, 0)
        .switch(320, Why::NONE, 0, large)
        .switch(330, Why::YIELD, large, 0)
        .switch(340, Why::NONE, 0, large)
        // It waits, and finds that it need not.
        .switch(342, RECEIVE, large, 0)
        .add(344, Kind::Put, RECEIVE.0, Place::Ring, 0, [large, 0])
        .switch(346, Why::NONE, 0, large)
        .switch(350, RECEIVE, large, 0)
        .add(400, Kind::Ready, 1, Place::Hand, 0, [large, 0])
        .m()
        .note(5, Kind::Rest, 0, 0)
        .note(60, Kind::Rise, 1, 0)
        .add(70, Kind::Steal, 0, Place::Ring, 1, [large, 0])
        .switch(80, Why::NONE, 0, large)
        .add(190, Kind::Ready, 0, Place::Marked, 0, [1, 0])
        .switch(250, RECEIVE, large, 0)
        .trace();
    let all = lines(&tool, "made", &made, &[STATES, ARROWS]);
    let expected = [
        "M 0 | 2 | Running |  | ",
        "M 1 | 2 | Running |  | ",
        "M 1 | 5 | S |  | ",
        "main | 10 | R | M 0 | 0",
        "M 0 | 20 | S |  | ",
        "main | 20 | Running |  | ",
        "large | 30 | R | main | 0",
        "M 1 | 40 | R | main | 0",
        "M 1 | 60 | Running |  | ",
        "M 1 | 80 | S |  | ",
        "large | 80 | Running |  | ",
        "M 0 | 200 | Running |  | ",
        "main | 200 | S |  | ",
        "main | 210 | R | large | 0",
        "M 0 | 220 | S |  | ",
        "main | 220 | Running |  | ",
        "M 1 | 250 | Running |  | ",
        "large | 250 | S |  | ",
        "large | 300 | R | main | 1",
        "M 0 | 310 | Running |  | ",
        "main | 310 | X |  | ",
        "M 0 | 320 | S |  | ",
        "large | 320 | Running |  | ",
        "M 0 | 330 | Running |  | ",
        "large | 330 | R |  | ",
        "M 0 | 340 | S |  | ",
        "large | 340 | Running |  | ",
        "M 0 | 342 | Running |  | ",
        "large | 342 | S |  | ",
        "large | 344 | R | large | ",
        "M 0 | 346 | S |  | ",
        "large | 346 | Running |  | ",
        "M 0 | 350 | Running |  | ",
        "large | 350 | S |  | ",
        "large | 400 | R | M 0 | 0",
    ];
    assert_eq!(all[0], expected, "{:#?}", all[0]);
    let expected = [
        "go | M 0 | runnable | main",
        "go | main | runnable | large",
        "wakes an M | M 0 | rises | M 1",
        "robbed | P 0 | steal | M 1",
        "ready | large | runnable | main",
        "ready | M 0 | runnable | large",
        "ready | M 0 | runnable | large",
    ];
    assert_eq!(all[1], expected, "{:#?}", all[1]);
}

#[test]
fn slices_have_places_in_the_source_and_counters_the_queues_lengths() {
    let Some(tool) = tool() else { return };
    let sample = Sample { seed: 9, goroutines: 3_000, events: 30_000, ..Sample::default() };
    let trace = trace(&sample);
    let args = "select distinct slice.name, replace(key, 'debug.', ''), args.display_value from slice join args \
        using (arg_set_id) where category = 'wait' and key in ('debug.at', 'debug.stack 0') order by 1, 2, 3";
    let life = "select distinct a.display_value, b.display_value, c.display_value from slice \
        join args a using (arg_set_id) join args b using (arg_set_id) join args c using (arg_set_id) \
        where a.key = 'debug.function' and b.key = 'debug.created at' and c.key = 'debug.created in' order by 1";
    let processes =
        "select process.name, count(*) > 1 from thread join process using (upid) where pid > 0 group by 1 order by 1";
    let queues = "select name, max(value), (select value from counter c where c.track_id = track.id order by ts desc limit 1) \
        from counter join track on track_id = track.id group by name order by name";
    let said = "select category, name, count(*) from slice where category in ('log', 'region', 'task') group by 1, 2 order by 1";
    let all = lines(&tool, "args", &trace, &[args, life, processes, queues, said]);
    let runtime = |function: &str, line| format!("trefoil_sched::api::{function} at sched/src/api.rs:{line}");
    let expected = [
        "chan receive | at | app::consumer at src/main.rs:62".to_string(),
        format!("chan receive | stack 0 | {}", runtime("chan::recv", 100)),
        "sleep | at | app::main at src/main.rs:14".into(),
        "sleep | at | app::sleeper at src/main.rs:77".into(),
        format!("sleep | stack 0 | {}", runtime("time::sleep", 102)),
    ];
    assert_eq!(all[0], expected);
    assert_eq!(all[1].len(), 5, "{:#?}", all[1]);
    assert_eq!(all[1][0], "app::consumer | src/main.rs:14 | app::main");
    let expected = ["M's", "app::consumer", "app::main", "app::producer", "app::sleeper", "app::walk::{closure#0}"];
    assert_eq!(all[2].iter().map(|row| row.split(" | ").next().unwrap()).take(6).collect::<Vec<_>>(), expected);

    let events = Events::of(&trace);
    let mut replay = Replay::new(&events);
    let mut most = BTreeMap::new();
    while replay.step().is_some() {
        let queues = &replay.queues;
        let of_ps = queues.ps.iter().map(|(p, q)| (format!("P {p} queue"), q.ring.len() + usize::from(q.slot != 0)));
        for (name, length) in of_ps.chain([("global queue".into(), queues.global.len())]) {
            let entry = most.entry(name).or_insert((0, 0));
            *entry = (length.max(entry.0), length);
        }
    }
    assert!(most.values().any(|&(most, _)| most > 50), "{most:?}");
    let expected: Vec<_> = most.into_iter().map(|(name, (most, last))| format!("{name} | {most} | {last}")).collect();
    assert_eq!(all[3], expected);

    let count = |kind| events.iter().filter(|event| event.kind() == Some(kind)).count();
    let expected = [
        format!("log | one more thing is done | {}", count(Kind::Log)),
        format!("region | parse | {}", count(Kind::RegionBegin)),
        format!("task | request | {}", count(Kind::TaskBegin)),
    ];
    assert_eq!(all[4], expected);
}

#[test]
fn the_queries_of_the_readme_have_answers() {
    let Some(tool) = tool() else { return };
    let readme = include_str!("../README.md");
    let queries = readme.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let queries: Vec<_> = queries.split_inclusive(';').filter(|query| query.contains("select")).collect();
    let all = lines(&tool, "readme", &trace(&Sample { seed: 10, ..Sample::default() }), &queries);
    assert_eq!(all.len(), 3);
    assert!(all[0].iter().any(|row| row.starts_with("app::worker | ")), "{:#?}", all[0]);
    assert!(
        all[1].iter().any(|row| row.starts_with("chan receive | app::consumer at src/main.rs:62 | ")),
        "{:#?}",
        all[1]
    );
    assert!(all[2].iter().any(|row| row.starts_with("main | ")), "{:#?}", all[2]);
}

/// Records in no sensible order.
fn strange(seed: u64, records: usize) -> Trace {
    let mut state = seed;
    let mut random = |below: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) % below
    };
    let mut made = Made::default().m().m().m();
    let mut at = 0;
    for _ in 0..records {
        at += random(3);
        let kind = Kind::ALL[random(Kind::ALL.len() as u64) as usize];
        let place = Place::ALL[random(Place::ALL.len() as u64) as usize];
        let how = [0, 1, 2, 3, 128, 129, 130, 255][random(8) as usize];
        let g = |n| [n % 4, u64::MAX - n, n][n as usize % 3];
        made = made.on(random(3) as usize).add(at, kind, how, place, random(5) as u32, [g(random(9)), g(random(9))]);
    }
    made.trace()
}

#[test]
fn no_order_of_records_is_too_strange() {
    for seed in 0..5_000 {
        let trace = strange(seed, 60);
        assert!(!export(&trace, &Events::of(&trace)).is_empty());
    }
    let Some(tool) = tool() else { return };
    let trace = strange(1, 20_000);
    let exported = export(&trace, &Events::of(&trace));
    assert_eq!(ask(&tool, "strange", &exported, &[WRONG]).unwrap(), [Rows::new()]);
    // The check can fail: of two switches of a core, the second has a time and nothing else.
    let switches = b"\x0a\x02\x01\x02\x12\x01\x01\x1a\x01\x01\x22\x01\x01\x2a\x00\x32\x01\x00";
    let wrong = [&exported[..], b"\x0a\x18\x0a\x16\x08\x00\x22\x12", switches].concat();
    let found = ask(&tool, "wrong", &wrong, &[WRONG]).unwrap();
    assert_eq!(found, [[["compact_sched_has_parse_errors", "1"]]]);
}

/// Checks a recorded boot: TRACE=file TIMED=woken cargo test --test trace_perfetto -- --ignored
#[test]
#[ignore = "wants a recorded trace, in TRACE"]
fn a_recorded_run_is_as_good() {
    let Some(tool) = tool() else { return };
    for file in std::env::var("TRACE").expect("TRACE names files").split(' ') {
        let trace = Trace::read(Path::new(file)).unwrap();
        let timed = (std::env::var("TIMED").as_deref() == Ok("woken")).then_some(Timed::Woken);
        println!("{file}: {} dispatches", check(&tool, "recorded", &trace, timed));
    }
}
