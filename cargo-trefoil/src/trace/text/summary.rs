//! `summary`: the run on one page.

use std::io::{self, Write};

use trefoil_trace::{Kind, Place};

use super::super::totals::{DELAYS, Figures, Site, Totals, places};
use super::super::{Recording, queues};
use super::{Table, count, counted, cut, head, missing, share, tail, time};

/// Columns of a histogram's bar.
const BAR: u64 = 40;

/// Writes the page. Of the spawn sites, the first `sites`.
///
/// # Errors
/// `out` takes no more.
pub fn write(out: &mut dyn Write, name: &str, run: &Recording, sites: usize) -> io::Result<()> {
    let totals = Totals::of(run);
    head(out, name, run)?;
    told(out, run, &totals)?;
    cores(out, run, &totals)?;
    ps(out, run, &totals)?;
    delays(out, &totals)?;
    waits(out, &totals)?;
    spawned(out, &totals, sites)?;
    annotations(out, run, &totals)?;
    memory(out, &totals)
}

/// Tells of the run, its counts, and its gaps.
fn told(out: &mut dyn Write, run: &Recording, totals: &Totals) -> io::Result<()> {
    let length = run.end().saturating_sub(run.events.begin);
    let all = run.trace.rings.iter().map(|ring| run.trace.dropped(ring.m));
    let add = |(all, lost): (u64, u64), (counted, dropped)| (all.saturating_add(counted), lost.saturating_add(dropped));
    let (records, dropped) = all.fold((0, 0), add);
    let alive = run.lives.values().filter(|life| life.gone.is_none()).count() as u64;
    let created = run.lives.values().filter(|life| life.created.is_some()).count() as u64;
    let runs: u64 = totals.ms.values().map(|m| m.runs).sum();
    let counters: Option<Vec<u64>> = totals.ms.keys().map(|&m| run.trace.meta.counter(m, "runs")).collect();
    let kernel = counters.map(|all| all.into_iter().fold(0, u64::saturating_add));
    let (matched, mismatches) = queues::verify(&run.events);
    let mut table = Table::new(&["", "<"]);
    table.row(["time", &time(length)]);
    let events = counted(run.events.len() as u64, "event");
    table.row(["records", &format!("{}, {} dropped; they tell of {events}", count(records), count(dropped))]);
    for line in missing(run).lines() {
        table.row(["", &format!("! {line}")]);
    }
    let seen = if kernel == Some(runs) { ", as the kernel counted".into() } else { told_by(kernel, dropped) };
    table.row(["runs", &format!("{}{seen}", count(runs))]);
    table.row(["goroutines", &format!("{} created, {} alive at the end", count(created), count(alive))]);
    let snapshots = counted((matched + mismatches.len()) as u64, "snapshot");
    let agree = match (matched, mismatches.len()) {
        (0, 0) if run.events.is_cut_in_front => "no snapshot of a queue whose contents were known before".into(),
        (0, 0) => "the kernel has recorded no snapshot to compare the replay with".into(),
        (_, 0) => format!("{snapshots} of the kernel's: all agree with the replay of the records"),
        _ => format!("{snapshots} of the kernel's: {matched} agree with the replay of the records"),
    };
    table.row(["queues", &agree]);
    write!(out, "{}", table.text().trim_start_matches('\n'))
}

/// Tells of the kernel's own count. M's may run on while the trace is dumped.
fn told_by(kernel: Option<u64>, dropped: u64) -> String {
    let when = if dropped > 0 { "in all" } else { "until the end of the dump" };
    kernel.map_or(String::new(), |kernel| format!("; the kernel counted {} {when}", count(kernel)))
}

fn cores(out: &mut dyn Write, run: &Recording, totals: &Totals) -> io::Result<()> {
    let length = run.end().saturating_sub(run.events.begin);
    let mut table = Table::new(&[
        "CORES",
        "running",
        "<",
        "spinning",
        "resting",
        "runs",
        "preempted",
        "hauls",
        "stolen",
        "wakes",
        "woken",
        "in vain",
    ]);
    for (m, of) in &totals.ms {
        table.row([
            format!("M {m}"),
            share(of.running, length),
            bar(of.running, length, 10),
            share(of.spinning, length),
            share(of.resting, length),
            count(of.runs),
            count(of.preempted),
            count(of.hauls),
            count(of.stolen),
            count(of.wakes),
            count(of.useful + of.in_vain),
            count(of.in_vain),
        ]);
    }
    write!(out, "\n{}", table.text())
}

fn ps(out: &mut dyn Write, run: &Recording, totals: &Totals) -> io::Result<()> {
    let length = run.end().saturating_sub(run.events.begin);
    let used: Vec<Place> =
        places().filter(|place| totals.ps.values().any(|p| p.from.get(place).is_some_and(|&n| n > 0))).collect();
    let from: Vec<String> = used.iter().map(|place| format!("from {}", short(*place))).collect();
    let mut heads = vec!["QUEUES", "running"];
    heads.extend(from.iter().map(String::as_str));
    heads.extend(["mean length", "longest"]);
    let mut table = Table::new(&heads);
    for (p, of) in totals.ps.iter().filter(|(_, of)| of.running > 0 || of.longest > 0) {
        let name = if *p == u8::MAX { "without a P".into() } else { format!("P {p}") };
        let mut row = vec![name, share(of.running, length)];
        row.extend(used.iter().map(|place| count(of.from.get(place).copied().unwrap_or(0))));
        row.extend([thousandths(of.mean_queue(length)), count(of.longest as u64)]);
        table.row(row);
    }
    let mut row = vec!["global queue".to_string(), String::new()];
    row.extend(used.iter().map(|_| String::new()));
    row.extend([thousandths(totals.global.mean_queue(length)), count(totals.global.longest as u64)]);
    table.row(row);
    if run.events.is_cut_in_front {
        table.row(["! the lengths are too small until the first snapshot, as the trace begins in the middle"]);
    }
    write!(out, "\n{}", table.text())
}

fn short(place: Place) -> &'static str {
    match place {
        Place::Global => "global",
        place => place.as_str(),
    }
}

fn thousandths(n: u64) -> String {
    format!("{}.{:02}", count(n / 1000), n % 1000 / 10)
}

fn delays(out: &mut dyn Write, totals: &Totals) -> io::Result<()> {
    let mut table = Table::new(&["READY TO RUN", "count", "p50", "p90", "p99", "p99.9", "max"]);
    let rows = DELAYS.iter().filter_map(|&cause| Some((cause, totals.delays.get(cause)?)));
    for (cause, figures) in rows.chain([("all", &totals.all_delays)]) {
        let mut row = vec![cause.to_string(), count(figures.count())];
        row.extend([500, 900, 990, 999, 1000].map(|per_mille| time(figures.quantile(per_mille))));
        table.row(row);
    }
    write!(out, "\n{}", table.text())?;
    histogram(out, &totals.all_delays)
}

/// Draws the buckets from the first to the last that is not empty.
fn histogram(out: &mut dyn Write, figures: &Figures) -> io::Result<()> {
    let buckets = figures.buckets();
    let most = buckets.iter().copied().max().unwrap_or(0);
    for (bucket, &n) in buckets.iter().enumerate().skip_while(|&(_, &n)| n == 0) {
        let below = if bucket == 0 { 1 } else { 1u64.checked_shl(bucket as u32).unwrap_or(u64::MAX) };
        let bar = "█".repeat((n * BAR).div_ceil(most.max(1)) as usize);
        writeln!(out, "  below {:>7}  {bar:<width$}  {}", time(below), count(n), width = BAR as usize)?;
    }
    Ok(())
}

/// Draws a part of a whole in so many columns.
fn bar(part: u64, whole: u64, columns: u64) -> String {
    let eighths = u128::from(part) * u128::from(8 * columns) / u128::from(whole.max(1));
    let eighths = eighths.min(u128::from(8 * columns)) as usize;
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + rest
}

fn waits(out: &mut dyn Write, totals: &Totals) -> io::Result<()> {
    let mut table = Table::new(&["WAITS", "count", "total", "p50", "p90", "p99", "max", "at the end"]);
    let mut rows: Vec<_> = totals.waits.iter().collect();
    rows.sort_by_key(|(_, waits)| std::cmp::Reverse(waits.ended.total()));
    for (reason, waits) in rows {
        let ended = &waits.ended;
        let mut row = vec![cut(reason, 24), count(ended.count()), time(ended.total())];
        row.extend([500, 900, 990, 1000].map(|per_mille| time(ended.quantile(per_mille))));
        row.push(count(waits.last));
        table.row(row);
    }
    if table.is_empty() { Ok(()) } else { write!(out, "\n{}", table.text()) }
}

fn spawned(out: &mut dyn Write, totals: &Totals, most: usize) -> io::Result<()> {
    if totals.sites.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["SPAWN SITES", "count", "total", "min", "avg", "p99", "max"]);
    for site in totals.sites.iter().take(most) {
        let gs = format!("{}, {} alive", counted(site.goroutines, "goroutine"), count(site.alive));
        let place = if site.place.is_empty() { String::new() } else { format!(" at {}", tail(&site.place, 36)) };
        let room = 92usize.saturating_sub(place.chars().count() + gs.chars().count());
        table.row([format!("{}{place}: {gs}", site.title(room))]);
        stretches(&mut table, site);
    }
    write!(out, "\n{}", table.text())?;
    if totals.sites.len() > most {
        let more = counted((totals.sites.len() - most) as u64, "site");
        writeln!(out, "  … {more} more, which ran for less time; --sites shows more")?;
    }
    Ok(())
}

fn stretches(table: &mut Table, site: &Site) {
    let rows = [("run", &site.run), ("ready to run", &site.delay), ("wait", &site.wait), ("sleep", &site.sleep)];
    for (name, figures) in rows.into_iter().filter(|(_, figures)| figures.count() > 0) {
        let mut row = vec![format!("  {name}"), count(figures.count())];
        row.extend(five(figures));
        table.row(row);
    }
}

/// Returns the sum, the shortest, the mean, p99 and the longest.
fn five(figures: &Figures) -> [String; 5] {
    [figures.total(), figures.min(), figures.mean(), figures.quantile(990), figures.max()].map(time)
}

fn annotations(out: &mut dyn Write, run: &Recording, totals: &Totals) -> io::Result<()> {
    let mut table = Table::new(&["THE PROGRAM'S OWN", "count", "total", "min", "avg", "p99", "max"]);
    let regions = totals.regions.iter().map(|(name, figures)| ("region", name, figures));
    let tasks = totals.tasks.iter().map(|(name, figures)| ("task", name, figures));
    for (kind, name, figures) in regions.chain(tasks) {
        let mut row = vec![format!("{kind} {}", cut(name, 30)), count(figures.count())];
        row.extend(five(figures));
        table.row(row);
    }
    let logs = run.events.iter().filter(|event| event.kind() == Some(Kind::Log)).count() as u64;
    if logs > 0 {
        table.row(["log lines".to_string(), count(logs)]);
    }
    if table.is_empty() { Ok(()) } else { write!(out, "\n{}", table.text()) }
}

fn memory(out: &mut dyn Write, totals: &Totals) -> io::Result<()> {
    let kinds = [(Kind::Grow, "grown"), (Kind::Shrink, "shrunk"), (Kind::Pack, "packed"), (Kind::Unpack, "unpacked")];
    let of = |kind: Kind| totals.kinds.get(&(kind as u8)).copied().unwrap_or(0);
    let stacks: Vec<String> = kinds
        .iter()
        .filter(|(kind, _)| of(*kind) > 0)
        .map(|&(kind, word)| format!("{} {word}", count(of(kind))))
        .collect();
    let mut parts = Vec::new();
    if !stacks.is_empty() {
        parts.push(format!("stacks {}", stacks.join(", ")));
    }
    for (kind, noun) in [(Kind::Epoch, "epoch"), (Kind::Pressure, "time")] {
        if of(kind) > 0 {
            let what = if kind == Kind::Pressure { " of heap pressure" } else { "" };
            parts.push(counted(of(kind), noun) + what);
        }
    }
    if parts.is_empty() { Ok(()) } else { writeln!(out, "\nMEMORY  {}", parts.join("; ")) }
}
