//! `map`: the cores over time. A column is a piece of time; the letter is the goroutine, or the
//! spawn site, that had most of it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use trefoil_trace::{Kind, Record};

use super::super::Recording;
use super::super::lives::State;
use super::{cut, head, time, title};

/// The part of the run to draw, and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The begin, in nanoseconds from the recorder's.
    pub from: Option<u64>,
    /// The end, in nanoseconds from the recorder's begin.
    pub to: Option<u64>,
    /// Bands below each other.
    pub bands: u32,
    /// Columns of a band.
    pub columns: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { from: None, to: None, bands: 1, columns: 80 }
    }
}

/// The occupation of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Now {
    Before,
    Unknown,
    Resting,
    Spinning,
    G0,
    Running(u64),
}

/// The letters, for those that ran most first.
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The heights of a strip; the first is for nothing at all.
const HEIGHTS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Times by column, for equal pieces of a window.
struct Columns<T> {
    from: u64,
    to: u64,
    all: Vec<BTreeMap<T, u64>>,
}

impl<T: Ord + Copy> Columns<T> {
    fn new(from: u64, to: u64, columns: usize) -> Self {
        Self { from, to, all: vec![BTreeMap::new(); columns] }
    }

    /// Returns the begin of a column.
    fn begin(&self, column: usize) -> u64 {
        let length = u128::from(self.to - self.from);
        self.from + (length * column as u128 / self.all.len() as u128) as u64
    }

    /// Adds `times` what there is from `from` to `to`.
    fn add(&mut self, what: T, from: u64, to: u64, times: u64) {
        let (from, to) = (from.max(self.from), to.min(self.to));
        if from >= to {
            return;
        }
        let length = u128::from(self.to - self.from);
        let column = |ns: u64| (u128::from(ns - self.from) * self.all.len() as u128 / length) as usize;
        let (first, last) = (column(from).saturating_sub(1), (column(to - 1) + 1).min(self.all.len() - 1));
        for at in first..=last {
            let (begin, end) = (self.begin(at).max(from), self.begin(at + 1).min(to));
            if begin < end {
                *self.all[at].entry(what).or_default() += (end - begin) * times;
            }
        }
    }
}

/// Writes the map.
///
/// # Errors
/// `out` takes no more.
pub fn write(out: &mut dyn Write, name: &str, run: &Recording, window: &Window) -> io::Result<()> {
    let began = run.trace.meta.begin();
    let (first, last) = (run.events.begin, run.end());
    let from = window.from.map_or(first, |ns| began.saturating_add(ns)).clamp(first, last);
    let to = window.to.map_or(last, |ns| began.saturating_add(ns)).clamp(from, last);
    let (bands, columns) = (window.bands.clamp(1, 1000) as usize, window.columns.clamp(20, 1000) as usize);
    head(out, name, run)?;
    if from == to {
        let [first, last] = [first, last].map(|ns| time(ns.saturating_sub(began)));
        return writeln!(out, "the trace has no time between these two points: it goes from {first} to {last}");
    }
    let mut of_ms: BTreeMap<u32, Columns<Now>> = BTreeMap::new();
    let mut ready = Columns::new(from, to, bands * columns);
    segments(run, &mut |m, now, begin, end| {
        of_ms.entry(m).or_insert_with(|| Columns::new(from, to, bands * columns)).add(now, begin, end, 1);
    });
    for span in run.lives.values().flat_map(|life| &life.spans) {
        if matches!(span.state, State::Runnable(_)) {
            ready.add((), span.from, span.to, 1);
        }
    }
    let letters = Letters::of(run, of_ms.values());
    let most = ready.all.iter().filter_map(|column| column.get(&())).max().copied().unwrap_or(0);
    let piece = (to - from) / (bands * columns) as u64;
    writeln!(out, "a column is {}; the strip shows how many goroutines wait for a core", time(piece.max(1)))?;
    for band in 0..bands {
        let range = band * columns..(band + 1) * columns;
        writeln!(out, "\n{}", ruler(&ready, began, range.clone()))?;
        let strip = ready.all[range.clone()].iter().map(|column| height(column.get(&()).copied().unwrap_or(0), most));
        writeln!(out, "{:<7}{}", "ready", strip.collect::<String>().trim_end())?;
        for (m, of) in &of_ms {
            let row: String = of.all[range.clone()].iter().map(|column| letters.cell(run, column)).collect();
            writeln!(out, "{:<7}{}", format!("M {m}"), row.trim_end())?;
        }
    }
    letters.legend(out, run)
}

/// Calls `take` with each piece of time of each M.
fn segments(run: &Recording, take: &mut impl FnMut(u32, Now, u64, u64)) {
    let begin = run.events.begin;
    let mut nows: BTreeMap<u32, (Now, u64)> = BTreeMap::new();
    for event in run.events.iter() {
        let Record { a, b, .. } = event.record;
        let (now, since) = nows.entry(event.m).or_insert((Now::Unknown, begin));
        if event.kind() == Some(Kind::Begin) && *now == Now::Unknown {
            *now = Now::Before;
        }
        let next = match event.kind() {
            Some(Kind::Switch) => {
                if *now == Now::Unknown && a != 0 {
                    *now = Now::Running(a);
                }
                if b == 0 { Now::G0 } else { Now::Running(b) }
            }
            Some(Kind::Begin) if a != 0 => Now::Running(a),
            Some(Kind::Begin | Kind::Rise | Kind::SpinEnd) => Now::G0,
            Some(Kind::Rest) => Now::Resting,
            Some(Kind::Spin) => Now::Spinning,
            _ => continue,
        };
        take(event.m, *now, *since, event.ns);
        (*now, *since) = (next, event.ns);
    }
    for (m, (now, since)) in nows {
        take(m, now, since, run.end());
    }
}

/// Returns a line with the time at every twentieth column.
fn ruler(columns: &Columns<()>, began: u64, range: std::ops::Range<usize>) -> String {
    let mut line = format!("{:<7}", "");
    for at in range.clone().step_by(20) {
        let room = 20.min(range.end - at);
        let text = format!("│{}", time(columns.begin(at).saturating_sub(began)));
        line += &format!("{:<room$}", cut(&text, room));
    }
    line.trim_end().into()
}

fn height(n: u64, most: u64) -> char {
    let at = (u128::from(n) * 8).div_ceil(u128::from(most.max(1))) as usize;
    HEIGHTS[at.min(8)]
}

/// The letters of goroutines, or of spawn sites if there are more goroutines than letters.
struct Letters {
    /// By number of the goroutine, or by the function and the place of its site.
    of: BTreeMap<(u64, u32), (char, u64)>,
    by_site: bool,
}

impl Letters {
    fn of<'a>(run: &Recording, ms: impl Iterator<Item = &'a Columns<Now>>) -> Self {
        let mut ran: BTreeMap<u64, u64> = BTreeMap::new();
        for (now, ns) in ms.flat_map(|of| &of.all).flatten() {
            if let Now::Running(g) = now {
                *ran.entry(*g).or_default() += ns;
            }
        }
        let by_site = ran.len() > LETTERS.len();
        let mut keys: BTreeMap<(u64, u32), u64> = BTreeMap::new();
        for (g, ns) in ran {
            *keys.entry(key(run, g, by_site)).or_default() += ns;
        }
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_by_key(|&(key, ns)| (std::cmp::Reverse(ns), key));
        let of = LETTERS.chars().zip(keys).map(|(letter, (key, ns))| (key, (letter, ns))).collect();
        Self { of, by_site }
    }

    /// Returns the letter of the one that had most of a column.
    fn cell(&self, run: &Recording, column: &BTreeMap<Now, u64>) -> char {
        let mut by_letter: BTreeMap<char, u64> = BTreeMap::new();
        for (&now, ns) in column {
            let letter = match now {
                Now::Before => ' ',
                Now::Unknown => '?',
                Now::Resting => '·',
                Now::Spinning => '~',
                Now::G0 => '-',
                Now::Running(g) => self.of.get(&key(run, g, self.by_site)).map_or('#', |&(letter, _)| letter),
            };
            *by_letter.entry(letter).or_default() += ns;
        }
        by_letter
            .into_iter()
            .max_by_key(|&(letter, ns)| (ns, std::cmp::Reverse(letter)))
            .map_or(' ', |(letter, _)| letter)
    }

    fn legend(&self, out: &mut dyn Write, run: &Recording) -> io::Result<()> {
        let mut all: Vec<_> = self.of.iter().collect();
        all.sort_by_key(|(_, (letter, _))| LETTERS.find(*letter));
        writeln!(out)?;
        for pair in all.chunks(2) {
            let cells = pair.iter().map(|&(&key, &(letter, ns))| {
                let name = if self.by_site { site(run, key) } else { run.title(key.0) };
                format!("{letter} {:<34} {:>7}", if self.by_site { cut(&name, 34) } else { title(&name, 34) }, time(ns))
            });
            writeln!(out, "  {}", cells.collect::<Vec<_>>().join("   ").trim_end())?;
        }
        writeln!(out, "  - the scheduler   ~ looks for other P's work   · rests   # another   ? not known")
    }
}

fn key(run: &Recording, g: u64, by_site: bool) -> (u64, u32) {
    match run.lives.get(&g) {
        Some(life) if by_site => (u64::from(life.entry), life.created_at),
        _ if by_site => (0, 0),
        _ => (g, 0),
    }
}

fn site(run: &Recording, (entry, created_at): (u64, u32)) -> String {
    let function = run.trace.entry(entry as u32);
    match run.trace.place(created_at) {
        Some(place) => {
            let place = place.to_string();
            let file = cut(place.rsplit('/').next().unwrap_or(""), 20);
            format!("{} {file}", cut(&function, 33 - file.chars().count()))
        }
        None => function,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shared_out_over_its_columns() {
        let mut columns = Columns::new(100, 200, 7);
        for (from, to) in [(0, 115), (115, 116), (116, 190), (190, 300)] {
            columns.add((), from, to, 1);
        }
        let times: Vec<u64> = columns.all.iter().map(|column| column[&()]).collect();
        assert_eq!((times.iter().sum::<u64>(), times.len()), (100, 7));
        assert!(times.iter().all(|&ns| ns == 14 || ns == 15), "{times:?}");
    }

    #[test]
    fn a_strip_shows_one_of_many() {
        assert_eq!([0, 1, 50, 100].map(|n| height(n, 100)), [' ', '▁', '▄', '█']);
        assert_eq!(height(0, 0), ' ');
    }
}
