//! Two recorded runs as one HTML page, side by side: with and without a mechanism.
//!
//! ```text
//!   run A ──columns──▶ data-A ┐
//!   run B ──columns──▶ data-B ├─▶ the page: makePage(root of A), makePage(root of B), pair/*.js
//!   totals of both, options ──┘
//! ```
//!
//! The page has the scripts of the page of one trace once, as the body of a function `makePage`. It
//! calls the function for each run. So each run has its own variables. Each has its own elements,
//! too: a shadow root takes the views and their style sheet, and the elements keep their names.
//!
//! Rejected: a frame for each run. Frames would hold the data twice, as text of the outer page and
//! as document of the inner one. Each frame would have its own keyboard focus and its own address,
//! and every step would cross between documents as a message.
//!
//! | script | its idea |
//! |---|---|
//! | `pane.js` | a run's views, and the way from a position in both runs to a moment in one |
//! | `pair.js` | one clock, one window, one goroutine and one filter for both |
//! | `controls.js` | the toolbar, play, the table of totals |
//! | `open.js` | the keys and the address; the page as a whole |

use std::collections::BTreeSet;

use trefoil_trace::Kind;

use super::{BODY, FRAME, VIEWS, assemble, columns, escape, json, pack};
use crate::trace::Recording;
use crate::trace::events::Event;
use crate::trace::lives::State;
use crate::trace::text::counted;
use crate::trace::totals::Totals;

pub(super) const PAGE: &str = include_str!("pair/pair.html");

pub(super) const STYLE: &str = include_str!("pair/pair.css");

pub(super) const SCRIPTS: [&str; 4] = [
    include_str!("pair/pane.js"),
    include_str!("pair/pair.js"),
    include_str!("pair/controls.js"),
    include_str!("pair/open.js"),
];

/// The names of `makePage` that the scripts of both runs use, or tests.
const NAMES: &str = "VIEWS, TIMELINE_KEYS, app, replay, timeline, readData, nextStep, rowAt, gName";

/// A run with the name that the page gives it.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// The name, mostly that of the file.
    pub name: &'a str,
    /// The run.
    pub run: &'a Recording,
}

/// Makes the page of two runs.
///
/// ```
/// use cargo_trefoil::html::pair::{self, Named};
/// use cargo_trefoil::trace::{Recording, Trace, sample::Sample};
///
/// let run = |seed| {
///     let bytes = Sample { events: 100, seed, ..Sample::default() }.file();
///     Recording::new(Trace::parse(&bytes).unwrap())
/// };
/// let (a, b) = (run(1), run(2));
/// let page = pair::export(Named { name: "one", run: &a }, Named { name: "two", run: &b });
/// let page = String::from_utf8(page).unwrap();
/// assert!(page.contains("<title>one and two"));
/// ```
pub fn export(a: Named<'_>, b: Named<'_>) -> Vec<u8> {
    let style = [&super::STYLE.concat(), STYLE].concat();
    let make = format!("function makePage(root, host) {{\n{}return {{ {NAMES} }};\n}}\n", BODY.concat());
    let script = format!("'use strict';\n{}{make}{}", FRAME.concat(), SCRIPTS.concat());
    let data = [a, b].map(|run| pack(&columns::of(&run.run.trace, &run.run.events)));
    let [data_a, data_b] = &data;
    let title = escape(&format!("{} and {}", a.name, b.name));
    let views = VIEWS.to_string();
    let runs = runs(a, b);
    assemble(
        PAGE,
        &style,
        &script,
        &[("title", &title), ("views", &views), ("runs", &runs), ("data-A", data_a), ("data-B", data_b)],
    )
}

/// Returns a sentence if two recordings are of different programs: none of their goroutines run the
/// same function. The function of `main` itself is that of every program.
///
/// ```
/// use cargo_trefoil::html::pair::{self, Named};
/// use cargo_trefoil::trace::{Recording, Trace, sample::Sample};
///
/// let run = Recording::new(Trace::parse(&Sample::default().file()).unwrap());
/// assert_eq!(pair::difference(Named { name: "a", run: &run }, Named { name: "b", run: &run }), None);
/// ```
pub fn difference(a: Named<'_>, b: Named<'_>) -> Option<String> {
    let functions = |run: &Recording| -> BTreeSet<String> {
        let entries: BTreeSet<u32> = run.lives.values().map(|life| life.entry).filter(|&entry| entry != 0).collect();
        let names = entries.into_iter().filter(|&low| !run.trace.code(low).is_empty()).map(|low| run.trace.entry(low));
        names.filter(|name| name != MAIN).collect()
    };
    let (of_a, of_b) = (functions(a.run), functions(b.run));
    let differ = !of_a.is_empty() && !of_b.is_empty() && of_a.is_disjoint(&of_b);
    differ.then(|| {
        let one = |functions: &BTreeSet<String>| functions.first().cloned().unwrap_or_default();
        format!(
            "{} and {} are recordings of different programs: no function runs as a goroutine in both, \
             only {} in the one and {} in the other",
            a.name,
            b.name,
            one(&of_a),
            one(&of_b)
        )
    })
}

/// The function that every program's first goroutine runs.
const MAIN: &str = "trefoil::start::run_main";

/// Writes the names, options and totals of both runs.
fn runs(a: Named<'_>, b: Named<'_>) -> String {
    let run = |this: Named<'_>, other: Named<'_>| {
        let options = options(this.run, other.run);
        json::object([
            ("name", json::text(this.name)),
            ("options", json::list(options.iter().map(|option| json::text(option)))),
            ("first", first(this.run).saturating_sub(columns::zero(&this.run.events)).to_string()),
        ])
    };
    let both = json::object([
        ("runs", json::list([run(a, b), run(b, a)])),
        ("totals", json::list(totals(a.run, b.run))),
        ("different", json::text(&difference(a, b).map_or(String::new(), |text| format!("{text}.")))),
    ]);
    // The text stands in an element.
    both.replace('<', "\\u003c")
}

/// Returns the options of a run that the other has not, and the parts of its machine that differ.
fn options(this: &Recording, other: &Recording) -> Vec<String> {
    let (meta, others) = (&this.trace.meta, &other.trace.meta);
    let mut all: Vec<_> = meta.options.iter().filter(|option| !others.options.contains(option)).cloned().collect();
    if meta.seed != others.seed && !all.iter().any(|option| option.starts_with("seed=")) {
        all.push(format!("seed {}", meta.seed));
    }
    if meta.cores != others.cores {
        all.push(counted(meta.cores, "core"));
    }
    if meta.procs != others.procs {
        all.push(format!("{} P{}", meta.procs, if meta.procs == 1 { "" } else { "’s" }));
    }
    all
}

/// Returns the time of the first program event: a goroutine begins to run.
fn first(run: &Recording) -> u64 {
    let runs = |event: &&Event| match event.kind() {
        Some(Kind::Switch) => event.record.b != 0,
        Some(Kind::Begin) => event.record.a != 0,
        _ => false,
    };
    run.events.iter().find(runs).map_or(run.events.begin, |event| event.ns)
}

/// A number of both runs.
struct Total {
    name: &'static str,
    meaning: &'static str,
    is_time: bool,
    values: [u64; 2],
    /// The value is known to be at least that.
    least: [bool; 2],
}

/// Writes the totals of both runs.
fn totals(a: &Recording, b: &Recording) -> Vec<String> {
    let runs = [a, b];
    let all = runs.map(Totals::of);
    let longest = [0, 1].map(|at| longest(runs[at]));
    let total = |name, meaning, is_time, of: &dyn Fn(usize) -> u64| Total {
        name,
        meaning,
        is_time,
        values: [of(0), of(1)],
        least: [false; 2],
    };
    let of_ms = |of: fn(&crate::trace::totals::OfM) -> u64| {
        let all = &all;
        move |at: usize| all[at].ms.values().map(of).sum()
    };
    let switches = |at: usize| all[at].kinds.get(&(Kind::Switch as u8)).copied().unwrap_or(0);
    let run_time = |at: usize| runs[at].end().saturating_sub(first(runs[at]));
    let mut rows = vec![
        total("run time", "From the first program event to the end of the trace", true, &run_time),
        total("switches", "Times a core went to another goroutine, or to g0", false, &switches),
        total("steals", "Hauls from other P’s", false, &of_ms(|m| m.hauls)),
        total("G’s stolen", "Goroutines in these hauls", false, &of_ms(|m| m.stolen)),
        total("wake-ups sent", "Times an M woke another", false, &of_ms(|m| m.wakes)),
        total("in vain", "Times a woken M found no work", false, &of_ms(|m| m.in_vain)),
        total("preemptions", "Times a goroutine lost its core", false, &of_ms(|m| m.preempted)),
        total("ready to run: p50", "Half of the waits for a core took no longer", true, &|at| {
            all[at].all_delays.quantile(500)
        }),
        total("p99", "99 % of the waits for a core took no longer", true, &|at| all[at].all_delays.quantile(990)),
    ];
    rows.push(Total {
        name: "longest wait",
        meaning: "The longest wait for a core, since the first program event; ≥: the end of the trace cuts it off",
        is_time: true,
        values: longest.map(|(ns, _)| ns),
        least: longest.map(|(_, is_cut)| is_cut),
    });
    rows.iter().map(Total::json).collect()
}

/// Returns the longest wait for a core, and whether the end of the trace cuts it off. `main` waits
/// for the end of the boot: that does not count.
fn longest(run: &Recording) -> (u64, bool) {
    let (first, end) = (first(run), run.end());
    let spans = run.lives.values().flat_map(|life| {
        let last = life.spans.len().wrapping_sub(usize::from(life.gone.is_none()));
        life.spans.iter().enumerate().map(move |(at, span)| (span, at == last))
    });
    let waits = spans.filter(|(span, _)| matches!(span.state, State::Runnable(_)) && span.from >= first);
    waits.map(|(span, is_last)| (span.ns(), is_last && span.to >= end)).max().unwrap_or_default()
}

impl Total {
    fn json(&self) -> String {
        let [a, b] = self.values.map(|value| value.to_string());
        json::object([
            ("name", json::text(self.name)),
            ("meaning", json::text(self.meaning)),
            ("unit", json::text(if self.is_time { "ns" } else { "" })),
            ("a", a),
            ("b", b),
            ("least", json::list(self.least.map(|least| least.to_string()))),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;
    use crate::trace::sample::Sample;

    fn run(sample: &Sample) -> Recording {
        Recording::new(Trace::parse(&sample.file()).unwrap())
    }

    #[test]
    fn a_wait_that_lasts_until_the_trace_ends_may_be_the_longest() {
        let whole = |run: &Recording| Totals::of(run).all_delays.max();
        let long = (1..40).map(|n| run(&Sample { capacity: n * 20, ..Sample::default() }));
        let mut cut = 0;
        for run in long {
            let (ns, is_cut) = longest(&run);
            assert!(ns <= run.end() - first(&run));
            assert!(!is_cut || ns > whole(&run), "a whole one is as long");
            cut += u32::from(is_cut);
        }
        assert!(cut > 5, "{cut}");
    }

    #[test]
    fn each_run_has_the_options_that_the_other_has_not() {
        let [mut a, mut b] = [1, 2].map(|seed| run(&Sample { events: 200, seed, ..Sample::default() }));
        assert_eq!(options(&a, &b), ["seed=1"]);
        a.trace.meta.options = vec!["slice=5".into(), "trace=full".into()];
        b.trace.meta.options = vec!["trace=full".into(), "without=steal".into()];
        b.trace.meta.cores = 1;
        assert_eq!(options(&a, &b), ["slice=5", "seed 1", "4 cores"]);
        assert_eq!(options(&b, &a), ["without=steal", "seed 2", "1 core"]);
        assert_eq!(options(&a, &a), [""; 0]);
    }

    #[test]
    fn a_name_is_text_and_not_markup() {
        let a = run(&Sample { events: 200, ..Sample::default() });
        let named = Named { name: "</script><b>&\"", run: &a };
        let page = String::from_utf8(export(named, named)).unwrap();
        assert!(page.contains("<title>&lt;/script&gt;&lt;b&gt;&amp;&quot; and "));
        assert!(!page.contains("</script><b>"));
    }
}
