//! How long preemption is off, at the longest, in every operation of the public API.
//!
//! Only in an image built for it: `make stretches`, or `cargo test -p trefoil --features stretch --test stretches`. Counted instructions, so one core: with
//! several the clock would count all of them.
#![no_std]
#![no_main]

#[path = "cases/stretches.rs"]
mod rows;
#[path = "support/stack.rs"]
#[expect(dead_code, reason = "the other images use the rest")]
mod stack;
mod support;

use trefoil::arch::stretch::{self, Stretch};
use trefoil::prelude::*;

image! { "
    channels     | smp 1 | icount | mem 1G | timeout 120
    large_values | smp 1 | icount | mem 1G | timeout 120
    locks        | smp 1 | icount | mem 1G | timeout 120
    goroutines   | smp 1 | icount | mem 1G | timeout 120
    timers       | smp 1 | icount | mem 1G | timeout 120
    panics       | smp 1 | icount | mem 1G | timeout 120
    memory       | smp 1 | icount | mem 2G | timeout 120
    crowds       | smp 1 | icount | mem 2G | timeout 120
";
    channels, large_values, locks, goroutines, timers, panics, memory, crowds,
}

/// Nothing is longer.
const LIMIT: u64 = 20_000;
/// What is longer than this is named.
const USUAL: u64 = 5_000;

struct Row {
    name: &'static str,
    longest: [Option<Stretch>; 3],
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    /// Runs `f`, and keeps the longest stretches.
    fn row(&mut self, name: &'static str, f: impl FnOnce()) {
        println!("running {name}");
        // The line has left, and who has ended is gone.
        time::sleep(Duration::from_millis(1));
        stretch::reset();
        f();
        self.0.push(Row { name, longest: core::array::from_fn(stretch::nth) });
    }

    fn show(&self) {
        for row in &self.0 {
            println!("| {} | {} |", row.name, row.longest[0].map_or(0, |s| s.ticks));
        }
        for row in &self.0 {
            for it in row.longest.iter().flatten().filter(|it| it.ticks > USUAL) {
                println!(
                    "\n{}: {} instructions ({} times longer than {}), begun",
                    row.name,
                    it.ticks,
                    it.times,
                    stretch::FROM
                );
                println!("  #00 0x{:016x}", it.began);
                println!(" ended");
                for (i, at) in it.ended.iter().take_while(|at| **at != 0).enumerate().take(12) {
                    println!("  #{i:02} 0x{at:016x}");
                }
            }
        }
    }
}

/// The cases of the table: groups of operations.
macro_rules! groups {
    ($($case:ident: $rows:path),* $(,)?) => {
        $(fn $case() { measure($rows) })*
    };
}

groups! {
    channels: rows::channels, large_values: rows::large_values, locks: rows::locks, goroutines: rows::goroutines, timers: rows::timers,
    panics: rows::panics, memory: rows::memory, crowds: rows::crowds,
}

fn measure(rows: fn(&mut Table)) {
    let mut table = Table(Vec::with_capacity(40));
    rows(&mut table);
    table.show();
    let long = table.0.iter().filter(|row| row.longest[0].is_some_and(|it| it.ticks > LIMIT)).count();
    assert!(long == 0, "{long} operations have a stretch longer than {LIMIT}");
}
