//! Random programs on std threads. `sched/tests/random` says what is checked. `TREFOIL_SEED`
//! repeats the choices of a run.

mod support;

use std::time::Duration;

use trefoil_hosted::{Config, account};

/// The API for the programs.
mod api {
    pub use trefoil_hosted::prelude::*;
}

#[path = "../../sched/tests/random/mod.rs"]
mod random;

/// Rounds of `one` on each number of M's, without and with delays at random points; then nothing
/// may be left.
fn rounds(one: fn(u64)) {
    for config in [Config::with_procs(1), Config::with_procs(2), Config::with_procs(4), Config::with_procs(4).shaken()]
    {
        let (result, left) = account(config, move || random::rounds(config.seed, Duration::from_millis(500), one));
        println!("seed {}: {:?} rounds on {} M's", config.seed, result.as_ref().ok(), config.maxprocs);
        assert!(result.is_ok(), "seed {}: {result:?}", config.seed);
        assert!(left.unfinished.is_empty() && left.stacks == 0, "seed {}: {left:?}", config.seed);
    }
}

#[test]
fn a_storm_loses_doubles_and_reorders_nothing() {
    rounds(random::storm::round);
}

#[test]
fn a_storm_of_selects_loses_doubles_and_reorders_nothing() {
    rounds(random::selects::round);
}

#[test]
fn channel_histories_have_an_order() {
    rounds(random::queue::round);
}

#[test]
fn mutex_histories_have_an_order() {
    rounds(random::locks::round);
}

#[test]
fn histories_of_readers_and_writers_have_an_order() {
    rounds(random::locks::round_of_readers_and_writers);
}

#[test]
fn the_search_for_an_order_finds_what_is_wrong() {
    random::history::the_search_finds_what_is_wrong();
}
