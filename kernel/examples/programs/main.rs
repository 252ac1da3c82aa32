//! Whole programs, as `compare/go` has them in Go: `make run APP=programs ARGS=pmutex SMP=2`. Each
//! checks its own result and prints one line, `RESULT name=pmutex procs=2 t_ms=812.44`. With `stat`
//! as a second word it also prints what the scheduler did meanwhile.
//!
//! `make compare-programs` runs all of them beside Go's: see docs/performance.md. A change of a
//! program here is made there, too.
#![no_std]
#![no_main]

mod allocation;
mod channels;
mod computation;
mod locks;
mod waiting;

use trefoil::prelude::*;

/// How long a program took, from its first goroutine to its result.
struct Took {
    whole: Duration,
    /// A part of it that is looked at by itself, and the part's name.
    part: Option<(&'static str, Duration)>,
}

impl Took {
    /// Returns the time since `begin`.
    fn since(begin: Instant) -> Self {
        Self { whole: begin.elapsed(), part: None }
    }
}

/// A name, and the program.
type Program = (&'static str, fn() -> Took);

const PROGRAMS: [Program; 18] = [
    ("pskynet", || channels::skynet(100_000)),
    ("pring", || channels::ring(1_000_000)),
    ("psieve", channels::sieve),
    ("pcons0", || channels::consumers(0, 1_000_000)),
    ("pcons128", || channels::consumers(128, 4_000_000)),
    ("pcham", || locks::chameneos(600_000)),
    ("pmsort", || computation::mergesort(1_000_000)),
    ("pmatmul", computation::matmul),
    ("ptrees", allocation::trees),
    ("pwords", computation::words),
    ("pmutex", || locks::mutex(2_000_000)),
    ("prwlock", || locks::rwlock(1_000_000)),
    ("pselect", || channels::select_of_8(1_000_000)),
    ("psleep", || waiting::sleepers(100_000)),
    ("pctx", waiting::contexts),
    ("ppipe16", || channels::pipe(16, 1_000_000)),
    ("ppipe0", || channels::pipe(0, 200_000)),
    ("pchurn", allocation::churn),
];

/// Makes a step of a generator of random numbers (Marsaglia's xorshift).
fn xorshift(mut x: u64) -> u64 {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    x
}

/// Where the generator starts, everywhere.
const SEED: u64 = 88_172_645_463_325_252;

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Prints the scheduler's counts since `before`, a line for each M.
fn show_difference(before: &runtime::Stats) {
    let after = runtime::stats();
    for (m, b) in after.ms.iter().zip(&before.ms) {
        println!(
            "M{}: {} runs, {} steals, {} parks, {} preemptions, {} wake-ups sent, {} received; idle {:?}",
            m.m,
            m.runs - b.runs,
            m.steals - b.steals,
            m.parks - b.parks,
            m.preemptions - b.preemptions,
            m.wakes_sent - b.wakes_sent,
            m.wakes_received - b.wakes_received,
            Duration::from_nanos(m.idle_ns - b.idle_ns),
        );
    }
    println!("from ready to running: {:?}", after.latency().ready.since(&before.latency().ready));
}

#[trefoil::main]
fn main() {
    // All cores are there before anything is measured.
    while runtime::cpus_started() < runtime::max_procs() {
        time::sleep(Duration::from_millis(1));
    }
    let words: Vec<_> = runtime::args().collect();
    let (name, stat) = match *words {
        [name] => (name, false),
        [name, "stat"] => (name, true),
        _ => ("", false),
    };
    let Some((_, program)) = PROGRAMS.iter().find(|(known, _)| *known == name) else {
        let names = PROGRAMS.map(|(known, _)| known).join(" ");
        println!("programs: wants a name, and perhaps stat after it; the names are: {names}");
        runtime::exit(1);
    };
    let before = runtime::stats();
    let took = program();
    let part = took.part.map_or_else(String::new, |(part, time)| format!(" {part}_ms={:.2}", milliseconds(time)));
    println!("RESULT name={name} procs={} t_ms={:.2}{part}", runtime::max_procs(), milliseconds(took.whole));
    if stat {
        show_difference(&before);
    }
}
