//! Files that are almost traces.

use std::io;

use cargo_trefoil::trace::text::{csv, diff, map, summary, timehist};
use cargo_trefoil::trace::{Recording, Trace, sample::Sample};
use cargo_trefoil::{go, html, perfetto};

/// Inputs.
const INPUTS: u64 = 100_000;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    /// A value that is at a limit more often than not.
    fn value(&mut self) -> u64 {
        let any = self.0;
        [0, 1, 2, 255, 256, u64::from(u32::MAX), u64::MAX, i64::MAX as u64, any, any >> 32][self.below(10)]
    }
}

/// Changes a few places of the file, or cuts it.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len());
        match rng.below(8) {
            0 => bytes.truncate(at),
            1 | 2 => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (at % 8)),
            3 => bytes.get_mut(at).into_iter().for_each(|byte| *byte = b' '),
            4 => {
                let end = (at + rng.below(64)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            _ => {
                let (at, value) = (at & !7, rng.value().to_le_bytes());
                if let Some(word) = bytes.get_mut(at..at + 8) {
                    word.copy_from_slice(&value);
                }
            }
        }
    }
}

/// Writes all texts about a trace, and its translations, to nowhere.
fn show(run: &Recording, other: &Recording) {
    let out = &mut io::sink();
    summary::write(out, "a", run, 5).unwrap();
    timehist::write(out, "a", run, &timehist::Filter::default()).unwrap();
    map::write(out, "a", run, &map::Window::default()).unwrap();
    csv::write(out, run).unwrap();
    diff::write(out, diff::Named { name: "a", run }, diff::Named { name: "b", run: other }).unwrap();
    go::export(&run.trace, &run.events);
    perfetto::export(&run.trace, &run.events);
}

#[test]
fn no_mutant_of_a_trace_makes_a_verb_panic() {
    let whole = Sample { cores: 2, procs: 2, events: 60, goroutines: 6, ..Sample::default() }.file();
    let other = Recording::new(Trace::parse(&whole).unwrap());
    let mut accepted = 0;
    let mut rng = Rng(1);
    for n in 0..INPUTS {
        let mut bytes = whole.clone();
        mutate(&mut rng, &mut bytes);
        match Trace::parse(&bytes) {
            Ok(trace) => {
                accepted += 1;
                let run = Recording::new(trace);
                show(&run, &other);
                // Most of a page is the same for all.
                if n % 16 == 0 {
                    html::export(&run.trace, &run.events, "a");
                }
            }
            Err(error) => assert!(error.offset <= bytes.len() as u64 && error.to_string().len() < 400, "{n}: {error}"),
        }
    }
    // The rest shows the reader, these show what follows it.
    assert!((INPUTS / 5..INPUTS).contains(&accepted), "{accepted}");
}
