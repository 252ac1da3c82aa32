//! How long preemption is off, at the longest, in every operation of the public API.
//!
//! Only in an image built for it: `make test-stretches` runs it, `make stretches` prints the table
//! of docs/preemption.md. Counted instructions of a release build, on one core: with several the
//! clock would count all of them. Where two are needed, the other one rests meanwhile.
#![no_std]
#![no_main]

#[path = "support/deep.rs"]
#[expect(dead_code, reason = "the other images use the rest")]
mod deep;
#[path = "cases/stretches/mod.rs"]
mod rows;
mod support;

use trefoil::arch::serial::OUTPUT;
use trefoil::arch::stretch::{self, Stretch};
use trefoil::prelude::*;

image! {
    channels: "smp 1 | icount | mem 1G | timeout 120";
    large_values: "smp 1 | icount | mem 1G | timeout 120";
    locks: "smp 1 | icount | mem 1G | timeout 120";
    goroutines: "smp 1 | icount | mem 1G | timeout 120";
    timers: "smp 1 | icount | mem 1G | timeout 120";
    panics: "smp 1 | icount | mem 1G | timeout 120";
    console: "smp 1 | icount | mem 1G | timeout 120 | append fault=paced-uart | stdin paced 640";
    typing: "smp 1 | icount | mem 1G | timeout 120 | append stdin=terminal fault=paced-uart | stdin paced 3200";
    memory: "smp 1 | icount | mem 2G | timeout 400";
    crowds: "smp 1 | icount | mem 2G | timeout 200";
    procs: "smp 2 | icount | mem 1G | timeout 120";
}

/// No stretch is longer than this, in instructions, but those that are named.
const USUAL: u64 = 5_000;

/// Operations with a longer one: how long it may be, and why.
const NAMED: &[(&str, u64, &str)] = &[
    ("an overflow on 16 MiB", 70_000, "the scavenger moves the 4,091 pages of the dead stack to limbo in one piece"),
    ("println! with a guard in hand", 13_000, "the program's own: 90 characters are formatted, one by one"),
    ("scavenge, 100,000 parked", 13_000, "a piece of the scavenger's work: two stacks are packed"),
    ("scavenge, after them", 13_000, "a piece of the scavenger's work"),
    ("100,000 parked G's get cold", 13_000, "a piece of the scavenger's work: two stacks are packed"),
    ("10,000 timers ring at once", 12_000, "16 timers that are due, each with a call"),
    ("10,000 sleepers at once", 11_000, "16 timers that are due, amid 10,000"),
    ("JoinSet dropped with 1,000 on their way", 8_000, "16 timers that are due, amid 1,000"),
    (
        "100,000 G's end",
        9_000,
        "a look for work, with a piece of the scavenger's work and half a ring from the global queue",
    ),
    ("RwLock, 1,000 readers wait", 8_000, "16 G records are made at once, and page tables for their stacks"),
    ("100,000 G's are started", 8_000, "16 G records are made at once, and page tables for their stacks"),
    ("go 10,000 at once", 7_000, "16 G records are made at once, and page tables for their stacks"),
    ("Select of 64 channels", 7_000, "64 nodes are put into their lists, and taken out"),
    ("one among 100,000", 6_000, "a timer goes down a heap of 100,000"),
    (
        "their channel is closed",
        9_000,
        "a look for work: some of a crowd of 100,000, half a ring, a piece of the scavenger's work",
    ),
    ("1,000 receivers of a channel that is closed", 6_000, "16 G records are made at once"),
    ("Barrier, WaitGroup", 6_000, "16 G records are made at once"),
];

struct Row {
    name: &'static str,
    longest: [Option<Stretch>; 3],
}

impl Row {
    fn ticks(&self) -> u64 {
        self.longest[0].map_or(0, |it| it.ticks)
    }

    fn named(&self) -> Option<&'static (&'static str, u64, &'static str)> {
        NAMED.iter().find(|(name, ..)| *name == self.name)
    }

    fn is_too_long(&self) -> bool {
        self.ticks() > self.named().map_or(USUAL, |(_, limit, _)| *limit)
    }
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    /// Runs `f`, and keeps the longest stretches.
    fn row(&mut self, name: &'static str, f: impl FnOnce()) {
        println!("running {name}");
        // Wait until the line has left, and G's that have ended are gone.
        while !OUTPUT.is_empty() {
            time::sleep(Duration::from_millis(1));
        }
        time::sleep(Duration::from_millis(1));
        stretch::reset();
        f();
        self.0.push(Row { name, longest: core::array::from_fn(stretch::nth) });
    }

    fn show(&self) {
        for row in &self.0 {
            println!("| {} | {} | {} |", row.name, row.ticks(), row.named().map_or("", |(_, _, why)| why));
        }
        for row in self.0.iter().filter(|row| row.is_too_long()) {
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
    panics: rows::panics, console: rows::console, typing: rows::typing, memory: rows::memory, crowds: rows::crowds, procs: rows::procs,
}

fn measure(rows: fn(&mut Table)) {
    let mut table = Table(Vec::with_capacity(40));
    rows(&mut table);
    table.show();
    let long: Vec<_> = table.0.iter().filter(|row| row.is_too_long()).map(|row| row.name).collect();
    assert!(long.is_empty(), "preemption is off for too long in: {long:?}");
}
