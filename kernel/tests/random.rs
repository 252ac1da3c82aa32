//! Random programs on the machine. `sched/tests/random` says what is checked. Each boot prints its
//! seed, which `APPEND="app.seed=N"` repeats. `app.ms=N` sets how long it goes on, of the machine's
//! time.
#![no_std]
#![no_main]

mod support;

/// The API for the programs.
mod api {
    pub use trefoil::prelude::*;
}

#[path = "../../sched/tests/random/mod.rs"]
mod random;

use trefoil::prelude::*;

image! {
    a_storm_loses_doubles_and_reorders_nothing: "smp 1,2,4 | append app.ms=1500 | expect rounds";
    a_storm_of_selects_loses_doubles_and_reorders_nothing: "smp 1,2,4 | append app.ms=1500 | expect rounds";
    channel_histories_have_an_order: "smp 2,4 | append app.ms=1500 | expect rounds";
    mutex_histories_have_an_order: "smp 2,4 | append app.ms=1000 | expect rounds";
    histories_of_readers_and_writers_have_an_order: "smp 2,4 | append app.ms=1000 | expect rounds";
    the_search_for_an_order_finds_what_is_wrong: "smp 1";
    a_storm_of_a_minute: "smp 4 | large | timeout 300 | append app.ms=60000 | expect rounds";
    a_storm_of_selects_of_a_minute: "smp 4 | large | timeout 300 | append app.ms=60000 | expect rounds";
    histories_of_a_minute: "smp 4 | large | timeout 300 | append app.ms=30000 | expect rounds";
}

/// Returns the number behind `name=` in the words.
fn number(name: &str) -> Option<u64> {
    runtime::args().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

fn rounds(one: fn(u64)) {
    let seed = number("seed").unwrap_or_else(time::ticks);
    println!("seed {seed}");
    let n = random::rounds(seed, Duration::from_millis(number("ms").unwrap_or(1_000)), one);
    println!("{n} rounds");
}

fn a_storm_loses_doubles_and_reorders_nothing() {
    rounds(random::storm::round);
}

fn a_storm_of_selects_loses_doubles_and_reorders_nothing() {
    rounds(random::selects::round);
}

fn a_storm_of_selects_of_a_minute() {
    rounds(random::selects::round);
}

fn channel_histories_have_an_order() {
    rounds(random::queue::round);
}

fn mutex_histories_have_an_order() {
    rounds(random::locks::round);
}

fn histories_of_readers_and_writers_have_an_order() {
    rounds(random::locks::round_of_readers_and_writers);
}

fn the_search_for_an_order_finds_what_is_wrong() {
    random::history::the_search_finds_what_is_wrong();
}

fn a_storm_of_a_minute() {
    rounds(random::storm::round);
}

fn histories_of_a_minute() {
    rounds(random::queue::round);
    rounds(random::locks::round);
    rounds(random::locks::round_of_readers_and_writers);
}
