//! `diff`: the first decision that two runs take differently, and the totals that differ.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use trefoil_trace::{Kind, Record};

use super::super::Recording;
use super::super::events::Event;
use super::super::totals::{Figures, Site, Totals};
use super::{Table, clip, count, counted, cut, milliseconds, tail, time};

/// Events that are shown before the first difference, and after it.
const CONTEXT: usize = 4;

/// A run with its name.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// The name of the file.
    pub name: &'a str,
    /// The run.
    pub run: &'a Recording,
}

/// Writes the differences of two runs. Returns true if there is one.
///
/// # Errors
/// `out` takes no more.
pub fn write(out: &mut dyn Write, a: Named<'_>, b: Named<'_>) -> io::Result<bool> {
    if a.run.trace == b.run.trace {
        let events = counted(a.run.events.len() as u64, "event");
        writeln!(out, "the same: {events}, all decisions and all times")?;
        return Ok(false);
    }
    writeln!(out, "A  {}\nB  {}", a.name, b.name)?;
    let machines = machines(out, a.run, b.run)?;
    let decisions = decisions(out, a.run, b.run)?;
    let (of_a, of_b) = (Totals::of(a.run), Totals::of(b.run));
    let totals = totals(out, &of_a, &of_b)? | sites(out, &of_a, &of_b)?;
    if !(machines || decisions || totals) {
        writeln!(out, "\nall decisions, times and totals are the same; names or counters of the files differ")?;
    }
    Ok(true)
}

/// Compares what META says.
fn machines(out: &mut dyn Write, a: &Recording, b: &Recording) -> io::Result<bool> {
    let facts = |run: &Recording| {
        let meta = &run.trace.meta;
        let options = meta.options.join(" ");
        [
            ("cores", meta.cores.to_string()),
            ("P's", meta.procs.to_string()),
            ("seed", meta.seed.to_string()),
            ("recorder", meta.mode.clone()),
            ("dumped at", meta.cause.clone()),
            ("options", options),
            ("events", count(run.events.len() as u64)),
        ]
    };
    let mut table = Table::new(&["MACHINE", "<A", "<B"]);
    for ((name, of_a), (_, of_b)) in facts(a).into_iter().zip(facts(b)) {
        if of_a != of_b {
            table.row([name, &cut(&of_a, 40), &cut(&of_b, 40)]);
        }
    }
    if table.is_empty() {
        return Ok(false);
    }
    write!(out, "\n{}", table.text())?;
    Ok(true)
}

/// A decision as far as it can be compared: without times and without addresses.
#[derive(PartialEq, Eq)]
struct Decision<'a> {
    m: u32,
    kind: u8,
    p: u8,
    how: u8,
    place: u8,
    n: u32,
    a: u64,
    b: u64,
    text: Option<&'a str>,
    created: Option<(String, String)>,
}

impl<'a> Decision<'a> {
    fn of(run: &Recording, event: &'a Event) -> Self {
        let Record { kind, p, how, place, n, a, b, .. } = event.record;
        let known = event.kind();
        let is_timed = matches!(
            known,
            Some(Kind::Create | Kind::Rest | Kind::Arm | Kind::TimerSet | Kind::TimerFired | Kind::TimerCancel)
        );
        let created = (known == Some(Kind::Create)).then(|| {
            let place = run.trace.place((b >> 32) as u32).map(ToString::to_string);
            (run.trace.entry(b as u32), place.unwrap_or_default())
        });
        let n = if known == Some(Kind::Switch) { 0 } else { n };
        let b = if is_timed { 0 } else { b };
        Self { m: event.m, kind, p, how, place, n, a, b, text: event.text.as_deref(), created }
    }
}

/// Shows the first decision that differs, or the first time.
fn decisions(out: &mut dyn Write, a: &Recording, b: &Recording) -> io::Result<bool> {
    let pairs = || a.events.iter().zip(b.events.iter()).enumerate();
    let same = |x: &Event, y: &Event| Decision::of(a, x) == Decision::of(b, y);
    let first = pairs().find(|(_, (x, y))| !same(x, y)).map(|(at, _)| at);
    let first = first.or((a.events.len() != b.events.len()).then(|| a.events.len().min(b.events.len())));
    let began = |run: &Recording, event: &Event| event.ns.saturating_sub(run.trace.meta.begin());
    let times = pairs().find(|(_, (x, y))| began(a, x) != began(b, y));
    if let Some((at, (x, y))) = times {
        let (of_a, of_b) = (time(began(a, x)), time(began(b, y)));
        writeln!(out, "\nTIMES     differ from event {} on: {of_a} in A, {of_b} in B", count(at as u64))?;
    }
    let Some(first) = first else {
        writeln!(out, "\nDECISIONS  {}: the same in both", counted(a.events.len() as u64, "event"))?;
        return Ok(times.is_some());
    };
    writeln!(out, "\nDECISIONS  the first {} are the same; then", counted(first as u64, "event"))?;
    let from = first.saturating_sub(CONTEXT);
    shown(out, "  ", a, from..first)?;
    shown(out, "A ", a, first..first + CONTEXT)?;
    shown(out, "B ", b, first..first + CONTEXT)?;
    by_m(out, a, b)?;
    Ok(true)
}

fn shown(out: &mut dyn Write, mark: &str, run: &Recording, range: std::ops::Range<usize>) -> io::Result<()> {
    for event in run.events.iter().take(range.end).skip(range.start) {
        let at = milliseconds(event.ns.saturating_sub(run.trace.meta.begin()));
        let words = super::decision::words(run, event);
        writeln!(out, "  {mark}{at:>11} ms  M {:<2} {}", event.m, clip(&words, 76))?;
    }
    let missing = range.start >= run.events.len() && range.end > range.start;
    if missing { writeln!(out, "  {mark}(its events end here)") } else { Ok(()) }
}

/// Says for each M how many of its decisions are the same.
fn by_m(out: &mut dyn Write, a: &Recording, b: &Recording) -> io::Result<()> {
    let of = |run: &'_ Recording| {
        let mut by: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        run.events.iter().enumerate().for_each(|(at, event)| by.entry(event.m).or_default().push(at));
        by
    };
    let (of_a, of_b) = (of(a), of(b));
    let mut table = Table::new(&["  M", "same at first", "all of A", "all of B"]);
    for m in of_a.keys().chain(of_b.keys()).collect::<BTreeSet<_>>() {
        let (x, y) = (of_a.get(m).map_or(&[][..], |v| v), of_b.get(m).map_or(&[][..], |v| v));
        let same =
            x.iter().zip(y).take_while(|&(&x, &y)| Decision::of(a, &a.events[x]) == Decision::of(b, &b.events[y]));
        let numbers = [same.count(), x.len(), y.len()].map(|n| count(n as u64));
        table.row([m.to_string()].into_iter().chain(numbers));
    }
    write!(out, "{}", table.text())
}

/// The change from one number to another.
fn change(a: u64, b: u64) -> String {
    match (a, b) {
        (0, _) => "new".into(),
        (_, 0) => "gone".into(),
        _ if b / 10 >= a => format!("× {:.0}", b as f64 / a as f64),
        _ => format!("{:+.1} %", 100.0 * (b as f64 / a as f64 - 1.0)),
    }
}

fn totals(out: &mut dyn Write, of_a: &Totals, of_b: &Totals) -> io::Result<bool> {
    let mut table = Table::new(&["TOTALS", "A", "B", "change"]);
    let mut number = |name: String, a: u64, b: u64| {
        if a != b {
            table.row([name, count(a), count(b), change(a, b)]);
        }
    };
    for kind in of_a.kinds.keys().chain(of_b.kinds.keys()).collect::<BTreeSet<_>>() {
        let name = Kind::from_u8(*kind).map_or(format!("kind {kind}"), |kind| kind.as_str().into());
        let of = |totals: &Totals| totals.kinds.get(kind).copied().unwrap_or(0);
        number(format!("events: {name}"), of(of_a), of(of_b));
    }
    let empty = Default::default();
    for m in of_a.ms.keys().chain(of_b.ms.keys()).collect::<BTreeSet<_>>() {
        let (x, y) = (of_a.ms.get(m).unwrap_or(&empty), of_b.ms.get(m).unwrap_or(&empty));
        number(format!("M {m}: runs"), x.runs, y.runs);
    }
    let mut times = |name: String, a: u64, b: u64| {
        if a != b {
            table.row([name, time(a), time(b), change(a, b)]);
        }
    };
    let length = |totals: &Totals| totals.ms.values().map(|m| m.running).sum::<u64>();
    times("running, all M's".into(), length(of_a), length(of_b));
    for (name, per_mille) in [("p50", 500), ("p99", 990), ("max", 1000)] {
        let of = |totals: &Totals| totals.all_delays.quantile(per_mille);
        times(format!("ready to run: {name}"), of(of_a), of(of_b));
    }
    for reason in of_a.waits.keys().chain(of_b.waits.keys()).collect::<BTreeSet<_>>() {
        let of = |totals: &Totals| totals.waits.get(reason).map_or(0, |waits| waits.ended.total());
        times(format!("waits: {}", cut(reason, 24)), of(of_a), of(of_b));
    }
    if table.is_empty() {
        return Ok(false);
    }
    write!(out, "\n{}", table.text())?;
    Ok(true)
}

fn sites(out: &mut dyn Write, of_a: &Totals, of_b: &Totals) -> io::Result<bool> {
    let by_name = |totals: &'_ Totals| -> BTreeMap<(String, String), Site> {
        totals.sites.iter().map(|site| ((site.function.clone(), site.place.clone()), site.clone())).collect()
    };
    let (a, b) = (by_name(of_a), by_name(of_b));
    let empty = Site::default();
    let mut table = Table::new(&["SPAWN SITES", "A", "B", "change"]);
    for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
        let (x, y) = (a.get(key).unwrap_or(&empty), b.get(key).unwrap_or(&empty));
        let place = if key.1.is_empty() { String::new() } else { format!(" at {}", tail(&key.1, 40)) };
        let site = if x.goroutines > 0 { x } else { y };
        let name = format!("{}{place}", site.title(50));
        let mut of_site = Table::new(&[""]);
        if x.goroutines != y.goroutines {
            let change = change(x.goroutines, y.goroutines);
            of_site.row(["  goroutines", &count(x.goroutines), &count(y.goroutines), &change]);
        }
        for (name, x, y) in [
            ("run", &x.run, &y.run),
            ("ready to run", &x.delay, &y.delay),
            ("wait", &x.wait, &y.wait),
            ("sleep", &x.sleep, &y.sleep),
        ] {
            figures(&mut of_site, name, x, y);
        }
        if !of_site.is_empty() {
            table.row([name]);
            table.append(of_site);
        }
    }
    if table.is_empty() {
        return Ok(false);
    }
    write!(out, "\n{}", table.text())?;
    Ok(true)
}

fn figures(table: &mut Table, name: &str, a: &Figures, b: &Figures) {
    if a.count() != b.count() {
        let change = change(a.count(), b.count());
        table.row([format!("  {name}: count"), count(a.count()), count(b.count()), change]);
    }
    let of = |figures: &Figures| [figures.mean(), figures.quantile(990), figures.max()];
    for (what, (a, b)) in ["avg", "p99", "max"].into_iter().zip(of(a).into_iter().zip(of(b))) {
        if a != b {
            table.row([format!("  {name}: {what}"), time(a), time(b), change(a, b)]);
        }
    }
}
