//! Totals of a run: by M, by P, by the reason of a wait, by the place that created the goroutines.
//!
//! A *stretch* is one span of a life: one run, one delay, one wait. A delay or a wait that lasts
//! beyond the trace is no stretch: its length is not known. Neither is one that began before the
//! trace. Of a run, the part in the trace counts: a goroutine may never leave its core.

use std::collections::BTreeMap;

use trefoil_trace::{Kind, Place, Record, Why};

use super::Recording;
use super::lives::{Cause, Life, Span, State};
use super::text::cut;

mod cores;
mod figures;

pub use cores::{OfM, OfP};
pub use figures::Figures;

/// The totals of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// By number of the M.
    pub ms: BTreeMap<u32, OfM>,
    /// By number of the P.
    pub ps: BTreeMap<u8, OfP>,
    /// The global queue.
    pub global: OfP,
    /// The delays between ready and run, by their cause; see [`DELAYS`].
    pub delays: BTreeMap<&'static str, Figures>,
    /// All delays.
    pub all_delays: Figures,
    /// The waits, by reason.
    pub waits: BTreeMap<String, Waits>,
    /// The places that created goroutines; the most run time first.
    pub sites: Vec<Site>,
    /// The program's regions, by name.
    pub regions: BTreeMap<String, Figures>,
    /// The program's tasks, by name.
    pub tasks: BTreeMap<String, Figures>,
    /// Events, by kind.
    pub kinds: BTreeMap<u8, u64>,
}

/// The causes of a delay.
pub const DELAYS: [&str; 6] =
    ["readied by a goroutine", "by a timer", "by an interrupt or other", "created", "yielded", "preempted"];

/// The waits for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waits {
    /// Those that ended.
    pub ended: Figures,
    /// Goroutines that still wait when the trace ends.
    pub last: u64,
}

/// The goroutines of one place and function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// The function that they run.
    pub function: String,
    /// Their name, if all have the same.
    pub name: Option<String>,
    /// The place that created them, as `file:line`; empty if it is not known.
    pub place: String,
    /// Goroutines.
    pub goroutines: u64,
    /// Those that have not ended.
    pub alive: u64,
    /// Runs.
    pub run: Figures,
    /// Delays between ready and run.
    pub delay: Figures,
    /// Waits, without sleeps.
    pub wait: Figures,
    /// Sleeps.
    pub sleep: Figures,
}

impl Site {
    /// Returns the goroutines' name, if they share one, and their function, in so many columns.
    pub(super) fn title(&self, columns: usize) -> String {
        match &self.name {
            Some(name) if *name != self.function => {
                let name = cut(name, columns / 2);
                let room = columns.saturating_sub(name.chars().count() + 1);
                format!("{name} {}", cut(&self.function, room))
            }
            _ => cut(&self.function, columns),
        }
    }
}

impl Totals {
    /// Adds up a run.
    ///
    /// ```
    /// use cargo_trefoil::trace::{sample::Sample, totals::Totals, Recording, Trace};
    ///
    /// let trace = Trace::parse(&Sample::default().file()).unwrap();
    /// let totals = Totals::of(&Recording::new(trace));
    /// assert_eq!(totals.ms.len(), 4);
    /// assert!(totals.sites.iter().any(|site| site.function == "app::worker"));
    /// ```
    pub fn of(run: &Recording) -> Self {
        let mut totals = Self::default();
        let mut sites = BTreeMap::new();
        for life in run.lives.values() {
            totals.add(run, life, &mut sites);
        }
        totals.sites = sites.into_values().collect();
        for site in &mut totals.sites {
            [&mut site.run, &mut site.delay, &mut site.wait, &mut site.sleep].into_iter().for_each(Figures::sort);
        }
        totals.sites.sort_by(|a, b| b.run.total().cmp(&a.run.total()).then(a.function.cmp(&b.function)));
        totals.cores(run);
        totals.annotations(run);
        totals.all_delays.sort();
        totals.delays.values_mut().for_each(Figures::sort);
        totals.waits.values_mut().for_each(|waits| waits.ended.sort());
        for event in run.events.iter() {
            *totals.kinds.entry(event.record.kind).or_default() += 1;
        }
        totals
    }

    fn add(&mut self, run: &Recording, life: &Life, sites: &mut BTreeMap<(u32, u32), Site>) {
        let site = sites.entry((life.entry, life.created_at)).or_insert_with(|| site(run, life));
        if site.name != life.name {
            site.name = None;
        }
        site.goroutines += 1;
        site.alive += u64::from(life.gone.is_none());
        for (at, span) in life.spans.iter().enumerate() {
            let is_last = at + 1 == life.spans.len() && life.gone.is_none();
            let is_whole = span.event.is_some() && !is_last;
            match span.state {
                // The last event may begin a run.
                State::Running { .. } if is_last && span.ns() == 0 => {}
                State::Running { .. } => site.run.add(span.ns()),
                State::Runnable(cause) if is_whole => {
                    site.delay.add(span.ns());
                    self.all_delays.add(span.ns());
                    self.delays.entry(delay(cause)).or_default().add(span.ns());
                }
                State::Waiting { why, .. } => self.wait(run, site, why, span, is_whole, is_last),
                State::Runnable(_) => {}
            }
        }
    }

    fn wait(&mut self, run: &Recording, site: &mut Site, why: Why, span: &Span, is_whole: bool, is_last: bool) {
        let reason = if why == Why::NONE { "not known".into() } else { run.trace.meta.why(why) };
        if is_whole && why != Why::NONE {
            let figures = if reason == "sleep" { &mut site.sleep } else { &mut site.wait };
            figures.add(span.ns());
        }
        if is_whole || is_last {
            let waits = self.waits.entry(reason).or_default();
            if is_last { waits.last += 1 } else { waits.ended.add(span.ns()) }
        }
    }

    /// Adds the program's own regions and tasks up.
    fn annotations(&mut self, run: &Recording) {
        let mut on: BTreeMap<u32, u64> = BTreeMap::new();
        let mut regions: BTreeMap<u64, Vec<(&str, u64)>> = BTreeMap::new();
        let mut tasks: BTreeMap<u64, (&str, u64)> = BTreeMap::new();
        for event in run.events.iter() {
            let Record { a, b, .. } = event.record;
            let text = event.text.as_deref().unwrap_or("");
            let g = on.get(&event.m).copied().unwrap_or(0);
            match event.kind() {
                Some(Kind::Switch) => _ = on.insert(event.m, b),
                Some(Kind::Begin) => _ = on.insert(event.m, a),
                Some(Kind::RegionBegin) => regions.entry(g).or_default().push((text, event.ns)),
                Some(Kind::RegionEnd) => {
                    if let Some((name, since)) = regions.get_mut(&g).and_then(Vec::pop) {
                        self.regions.entry(name.into()).or_default().add(event.ns - since);
                    }
                }
                Some(Kind::TaskBegin) => _ = tasks.insert(a, (text, event.ns)),
                Some(Kind::TaskEnd) => {
                    if let Some((name, since)) = tasks.remove(&a) {
                        self.tasks.entry(name.into()).or_default().add(event.ns - since);
                    }
                }
                _ => {}
            }
        }
        self.regions.values_mut().chain(self.tasks.values_mut()).for_each(Figures::sort);
    }
}

fn site(run: &Recording, life: &Life) -> Site {
    let place = run.trace.place(life.created_at).map(ToString::to_string).unwrap_or_default();
    Site { function: run.trace.entry(life.entry), name: life.name.clone(), place, ..Site::default() }
}

/// Returns the row of [`DELAYS`] for a cause.
fn delay(cause: Cause) -> &'static str {
    match cause {
        Cause::Readied { how: 0, .. } => DELAYS[0],
        Cause::Readied { how: 1, .. } => DELAYS[1],
        Cause::Readied { .. } | Cause::Unknown => DELAYS[2],
        Cause::Created { .. } => DELAYS[3],
        Cause::Left(Why::PREEMPT) => DELAYS[5],
        Cause::Left(_) => DELAYS[4],
    }
}

/// Returns the places in the order of their numbers, without `Nowhere`.
pub(super) fn places() -> impl Iterator<Item = Place> {
    Place::ALL.iter().copied().filter(|&place| place != Place::Nowhere)
}

#[cfg(test)]
mod tests {
    use super::super::file::Trace;
    use super::super::sample::Sample;
    use super::*;

    #[test]
    fn every_stretch_is_in_one_row_of_each_table() {
        let run = Recording::new(Trace::parse(&Sample::default().file()).unwrap());
        let totals = Totals::of(&run);
        let delays: u64 = totals.delays.values().map(Figures::count).sum();
        let by_site: u64 = totals.sites.iter().map(|site| site.delay.count()).sum();
        assert_eq!((delays, by_site), (totals.all_delays.count(), totals.all_delays.count()));
        let waits: u64 = totals.waits.values().map(|waits| waits.ended.count()).sum();
        let by_site: u64 = totals.sites.iter().map(|site| site.wait.count() + site.sleep.count()).sum();
        assert_eq!(waits, by_site);
        let runs: u64 = totals.ms.values().map(|m| m.runs).sum();
        let by_place: u64 = totals.ps.values().flat_map(|p| p.from.values()).sum();
        let by_site: u64 = totals.sites.iter().map(|site| site.run.count()).sum();
        let last = run.lives.values().filter_map(|life| life.spans.last());
        let begun = last.filter(|span| matches!(span.state, State::Running { .. }) && span.ns() == 0).count() as u64;
        assert_eq!((runs, by_site + begun), (by_place, by_place));
        let running: u64 = totals.ms.values().map(|m| m.running).sum();
        assert_eq!(running, totals.sites.iter().map(|site| site.run.total()).sum::<u64>());
        assert!(totals.regions["parse"].count() > 10 && totals.tasks["request"].count() > 10);
        assert_eq!(totals.kinds.values().sum::<u64>(), run.events.len() as u64);
    }
}
