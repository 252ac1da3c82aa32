//! `timehist`: a line for each run, with the wait and the delay before it.

use std::io::{self, Write};

use super::super::Recording;
use super::super::lives::{Cause, Life, State};
use super::{cut, head, milliseconds, time, title};

/// The runs to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this goroutine only.
    pub goroutine: Option<u64>,
    /// On this M only.
    pub m: Option<u32>,
    /// With at least this delay before, in nanoseconds.
    pub delay: u64,
}

/// Columns of a goroutine's name.
const NAME: usize = 22;

/// Writes the lines, by the begin of the run.
///
/// # Errors
/// `out` takes no more.
pub fn write(out: &mut dyn Write, name: &str, run: &Recording, filter: &Filter) -> io::Result<()> {
    let lives = run.lives.values().filter(|life| filter.goroutine.is_none_or(|g| g == life.id));
    let mut runs: Vec<(u64, &Life, usize)> = Vec::new();
    for life in lives {
        let all = life.spans.iter().enumerate();
        let all =
            all.filter(|(_, span)| matches!(span.state, State::Running { m, .. } if filter.m.is_none_or(|on| on == m)));
        runs.extend(all.filter(|&(at, _)| delay(life, at) >= filter.delay).map(|(at, span)| (span.from, life, at)));
    }
    runs.sort_by_key(|&(from, life, at)| (from, life.spans[at].event, life.id));
    head(out, name, run)?;
    let head = ["time (ms)", "M", "P", "goroutine", "wait", "delay", "run", "from", "made ready by", "leaves for"];
    line(out, &head.map(String::from))?;
    for (_, life, at) in runs {
        line(out, &cells(run, life, at))?;
    }
    Ok(())
}

fn line(out: &mut dyn Write, cells: &[String; 10]) -> io::Result<()> {
    let [at, m, p, goroutine, wait, delay, length, from, by, then] = cells;
    let text =
        format!("{at:>11} {m:>2} {p:>2} {goroutine:<NAME$} {wait:>7} {delay:>7} {length:>7} {from:<6} {by:<12} {then}");
    writeln!(out, "{}", text.trim_end())
}

/// Returns how long the goroutine could run before run number `at`.
fn delay(life: &Life, at: usize) -> u64 {
    let before = at.checked_sub(1).map(|at| &life.spans[at]);
    before.filter(|span| matches!(span.state, State::Runnable(_))).map_or(0, |span| span.ns())
}

fn cells(run: &Recording, life: &Life, at: usize) -> [String; 10] {
    let span = &life.spans[at];
    let before = at.checked_sub(1).map(|at| &life.spans[at]);
    let wait = at.checked_sub(2).map(|at| &life.spans[at]);
    let wait = wait.filter(|span| span.event.is_some() && matches!(span.state, State::Waiting { .. }));
    let ready = before.filter(|span| span.event.is_some());
    let cause = match ready.map(|span| span.state) {
        Some(State::Runnable(cause)) => Some(cause),
        _ => None,
    };
    let State::Running { m, p, from } = span.state else { return Default::default() };
    let began = run.trace.meta.begin();
    let ms = span.from.saturating_sub(began);
    let then = match life.spans.get(at + 1).map(|span| span.state) {
        Some(State::Waiting { why, .. } | State::Runnable(Cause::Left(why))) => run.trace.meta.why(why),
        Some(_) => String::new(),
        None => life.gone.map_or("(runs on)".into(), |(_, why)| run.trace.meta.why(why)),
    };
    [
        milliseconds(ms),
        m.to_string(),
        p.map_or("-".into(), |p| p.to_string()),
        title(&life.title(&run.trace), NAME),
        wait.map_or("-".into(), |span| time(span.ns())),
        ready.map_or("-".into(), |span| time(span.ns())),
        time(span.ns()),
        if from == trefoil_trace::Place::Global { "global".into() } else { cut(from.as_str(), 6) },
        cut(&cause.map_or("-".into(), by), 12),
        cut(&then, 16),
    ]
}

/// Returns the cause of a delay in a few words.
fn by(cause: Cause) -> String {
    match cause {
        Cause::Created { by: 0 } => "start".into(),
        Cause::Created { by } => format!("G{by} go"),
        Cause::Readied { how: 0, by: 0, .. } => "g0".into(),
        Cause::Readied { how: 0, by, .. } => format!("G{by}"),
        Cause::Readied { how: 1, .. } => "timer".into(),
        Cause::Readied { how: 2, .. } => "interrupt".into(),
        Cause::Readied { how: 3, .. } => "stack look".into(),
        Cause::Readied { .. } => "g0".into(),
        Cause::Left(_) => "itself".into(),
        Cause::Unknown => "-".into(),
    }
}
