//! The tests' common part: a run that must leave nothing behind.
#![allow(dead_code, reason = "no test uses all of it")]

use std::time::{Duration, Instant};

use trefoil_hosted::{Config, account};
use trefoil_sched::time::sleep;
use trefoil_sched::yield_now;

/// Runs `main` on `procs` M's. Afterwards every G must have ended and every stack must be back.
pub fn tidy(procs: usize, main: impl FnOnce() + Send + 'static) {
    tidy_with(Config::with_procs(procs), main);
}

/// Runs `main` as [`tidy`] does, with delays at random points.
pub fn shaken(procs: usize, main: impl FnOnce() + Send + 'static) {
    tidy_with(Config::with_procs(procs).shaken(), main);
}

fn tidy_with(config: Config, main: impl FnOnce() + Send + 'static) {
    let (result, account) = account(config, main);
    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(!account.stuck, "an M still runs");
    assert!(account.unfinished.is_empty(), "seed {}: {:?}", config.seed, account.unfinished);
    assert_eq!(account.stacks, 0, "seed {}: stacks lost", config.seed);
    assert!(account.unjoined.is_empty(), "seed {}: {:?}", config.seed, account.unjoined);
}

/// Keeps the core busy without calling the scheduler.
pub fn spin_for(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Lets every other G of this P come to where it waits.
pub fn settle() {
    (0..20).for_each(|_| yield_now());
    sleep(Duration::from_millis(2));
}
