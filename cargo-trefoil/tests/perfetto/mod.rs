//! Perfetto's own trace processor, asked about an exported trace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_trefoil::perfetto::export;
use cargo_trefoil::trace::Trace;
use cargo_trefoil::trace::events::{Event, Events};
use trefoil_trace::Kind;

pub mod made;

/// The rows of a query's result.
pub type Rows = Vec<Vec<String>>;

/// Perfetto's statistics that say that something is wrong with a trace.
pub const WRONG: &str = "select name, value from stats where severity in ('error', 'data_loss') and value > 0";

/// Dispatches of goroutines on each core. Thread 0 is a core's rest.
const DISPATCHES: &str = "select cpu, count(*) from sched join thread using (utid) join process using (upid) \
    where process.name != 'M''s' group by cpu order by cpu";

/// Goroutines that can run although nobody is known to have made them so, and they have not just
/// left a core.
const WAKERLESS: &str = "select utid, ts from (select *, lag(state) over (partition by utid order by ts) as before \
    from thread_state) where state in ('R', 'R+') and waker_utid is null and before is not 'Running'";

/// Waits for a core with a waker that ended with a run; the second column: those without a waker.
const WAITS: &str = "select dur, waker_utid is null from (select *, lead(state) over (partition by utid order by ts) as next \
    from thread_state) join thread using (utid) join process using (upid) \
    where state in ('R', 'R+') and next = 'Running' and process.name != 'M''s' order by dur";

/// Returns the folder with the trace processor, or says that there is none.
pub fn tool() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/perfetto");
    let folders = std::fs::read_dir(home).ok().into_iter().flatten().flatten().map(|entry| entry.path());
    let found = folders.into_iter().find(|folder| folder.join("engine_bundle.js").exists());
    let node = Command::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_none() || node.is_err() {
        println!("no Perfetto or no node here: skipped (`make setup-perfetto` installs them)");
        return None;
    }
    found
}

/// Asks about an exported trace.
pub fn ask(tool: &Path, name: &str, exported: &[u8], queries: &[&str]) -> Result<Vec<Rows>, String> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.perfetto"));
    std::fs::write(&file, exported).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/perfetto/query.mjs");
    let out = Command::new("node").arg(script).arg(tool).arg(&file).args(queries).output().unwrap();
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into());
    }
    let mut results = vec![Rows::new()];
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        match line {
            "" => results.push(Rows::new()),
            row => results.last_mut().unwrap().push(row.split('\t').map(Into::into).collect()),
        }
    }
    results.pop();
    assert_eq!(results.len(), queries.len());
    Ok(results)
}

/// The waits for a core that the kernel's histogram has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    /// All, also those behind a yield or a preemption.
    Everything,
    /// All of those that were created or readied: so it is under the option `trace_on_latency=`.
    Woken,
}

/// Checks what Perfetto understands of a trace. Returns how many dispatches there were.
pub fn check(tool: &Path, name: &str, trace: &Trace, timed: Option<Timed>) -> u64 {
    let events = Events::of(trace);
    let exported = export(trace, &events);
    let results = ask(tool, name, &exported, &[WRONG, DISPATCHES, WAKERLESS, WAITS]).unwrap();
    let [wrong, dispatches, wakerless, waits] = &results[..] else { unreachable!() };
    assert_eq!(wrong, &Rows::new(), "{name}: Perfetto's statistics of errors");

    // Slices of a core = its dispatches. One more if it ran a goroutine at the begin.
    let mut expected: Vec<(u32, u64)> = Vec::new();
    for ring in &trace.rings {
        let switches = || events.iter().filter(|event| event.m == ring.m && event.kind() == Some(Kind::Switch));
        let tells = |event: &&Event| matches!(event.kind(), Some(Kind::Begin | Kind::Switch));
        let mut of_m = events.iter().filter(|event| event.m == ring.m);
        let runs_before = of_m.find(tells).is_some_and(|event| event.record.a != 0);
        let count = switches().filter(|event| event.record.b != 0).count() as u64 + u64::from(runs_before);
        if let (false, (_, 0), Some(runs)) = (runs_before, trace.dropped(ring.m), trace.meta.counter(ring.m, "runs")) {
            // The recorder comes first, the counter then: a dump may come between them.
            let is_under_way = switches().next_back().is_some_and(|event| event.record.b != 0);
            let counted = count == runs || is_under_way && count == runs + 1;
            assert!(counted, "{name}: dispatches of M {}: {count}, and {runs} by the kernel's count", ring.m);
        }
        expected.extend((count > 0).then_some((ring.m, count)));
    }
    let found: Vec<(u32, u64)> = dispatches.iter().map(|row| (number(&row[0]) as u32, number(&row[1]))).collect();
    assert_eq!(found, expected, "{name}: slices of each core");

    assert_eq!(wakerless, &Rows::new(), "{name}: runnable without a waker");
    if !events.is_cut_in_front {
        let readied = events.iter().filter(|event| matches!(event.kind(), Some(Kind::Create | Kind::Ready))).count();
        let woken = waits.iter().filter(|row| row[1] == "0").count();
        // Some still wait at the end. One that is readied twice on its way waits once.
        assert!(woken <= readied && readied - woken <= events.len() / 20, "{name}: {woken} of {readied}");
    }
    if let Some(timed) = timed {
        let of_set = waits.iter().filter(|row| timed == Timed::Everything || row[1] == "0");
        let found = percentile(&buckets(of_set.map(|row| number(&row[0]))), 99);
        let kernel: Vec<u64> = (0..64).map(|bucket| trace.meta.ready.get(&bucket).copied().unwrap_or(0)).collect();
        assert_eq!(found, percentile(&kernel, 99), "{name}: the bucket of the 99th percentile: {kernel:?}");
    }
    found.iter().map(|(_, count)| count).sum()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("no number: {text:?}"))
}

/// Counts by magnitude, as the kernel does.
fn buckets(times: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut buckets = vec![0; 64];
    times.for_each(|ns| buckets[(u64::BITS - ns.leading_zeros()) as usize] += 1);
    buckets
}

/// Returns the bucket below whose end lie so many of a hundred.
fn percentile(buckets: &[u64], per_cent: u64) -> Option<usize> {
    let wanted = (buckets.iter().sum::<u64>() * per_cent).div_ceil(100).max(1);
    let mut seen = 0;
    buckets.iter().position(|count| {
        seen += count;
        seen >= wanted
    })
}
