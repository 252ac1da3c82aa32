//! A death at every instruction: a goroutine that is ended anywhere inside any public operation
//! takes nobody along.
//!
//! A victim performs an operation and is ended at the n-th of its instructions, for n = 1, 2, 3…
//! until the operation has fewer (`arch/x86_64/step.rs`). Each time a checker then uses the
//! victim's objects. The checker gets the object, or panics with the victim's name, or its attempt
//! says that the object is held. A checker never hangs. A fresh goroutine, a timer and an
//! allocation show that the machine goes on.
//!
//! `app.deaths=N` spreads N deaths over each operation's instructions. `make test-large` takes
//! nearly all of them.
#![no_std]
#![no_main]

#[path = "dying/channels.rs"]
mod channels;
#[path = "dying/crowds.rs"]
mod crowds;
#[path = "dying/goroutines.rs"]
mod goroutines;
#[path = "dying/locks.rs"]
mod locks;
#[path = "dying/machine.rs"]
mod machine;
#[path = "dying/stdin.rs"]
mod stdin;
mod support;

use channels::*;
use crowds::*;
use goroutines::*;
use locks::*;
use machine::*;
use stdin::*;
use trefoil::JoinError;
use trefoil::prelude::*;
use trefoil::testing::step;

image! {
    in_scheduling:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_channels:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_selects:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_locks:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_once:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_counting:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_timers:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_groups:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_contexts:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_memory:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_the_runtime:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_panics:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_crowds:
        "smp 1,2 | append app.deaths=12",
        "large | smp 1,2 | append app.deaths=1500 | timeout 900";
    in_set_max_procs:
        "smp 2,4 | append app.deaths=12",
        "large | smp 2,4 | append app.deaths=1500 | timeout 900";
    in_stdin:
        "smp 1,2 | append app.deaths=40 | stdin flood 200000 | timeout 100",
        "smp 1,2 | append app.deaths=12 | stdin paced 200000 | timeout 100",
        "smp 1,2 | append app.deaths=40 stdin=terminal | stdin flood 600000 | timeout 100",
        "large | smp 1,2 | append app.deaths=1500 | stdin flood 2000000 | timeout 900";
}

/// How long anybody waits for a checker, or for somebody who is told to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns how many deaths each operation sees, evenly spread.
fn deaths() -> u64 {
    runtime::args().find_map(|word| word.strip_prefix("deaths=")?.parse().ok()).unwrap_or(u64::MAX)
}

/// Ends a victim at `deaths()` instructions of `op`, on fresh objects from `make`, and lets `check`
/// use these.
fn sweep<S: Send + Sync + 'static>(what: &str, make: impl Fn() -> S, op: fn(&S), check: fn(&S)) {
    const ALL: u64 = u64::MAX;
    step::quiet_deaths(true);
    // Nobody dies at first: memory becomes warm, and the boundaries are counted.
    let count = || {
        let shared = Arc::new(make());
        let theirs = shared.clone();
        assert!(!go(move || step::die(ALL, || op(&theirs))).join().unwrap());
        judge(what, 0, go(move || check(&shared)));
        step::counted(ALL)
    };
    let length = count().min(count());
    assert!(length >= 20, "{what}: only {length} boundaries");
    let step = (length / deaths()).max(1);
    let (mut n, mut deaths, mut missed) = (1, 0, 0);
    while missed < 3 {
        let shared = Arc::new(make());
        let theirs = shared.clone();
        let victim = Builder::new().name("victim").spawn(move || step::die(n, || op(&theirs))).unwrap();
        let victim = victim.join_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}, {n}: the victim hangs"));
        match victim {
            Err(JoinError::StackOverflow) => (deaths, missed) = (deaths + 1, 0),
            Ok(false) => missed += 1,
            other => panic!("{what}, {n}: the victim ended with {other:?}"),
        }
        judge(what, n, Builder::new().name("checker").spawn(move || check(&shared)).unwrap());
        let fresh = go(|| {
            time::sleep(Duration::from_micros(1));
            Box::new(7)
        });
        assert_eq!(*fresh.join().unwrap(), 7);
        n += step;
    }
    println!("{what}: {deaths} deaths in {length} boundaries");
    step::quiet_deaths(false);
}

/// Asserts that the checker comes to its end, or to a panic that names the victim.
fn judge(what: &str, n: u64, checker: JoinHandle<()>) {
    match checker.join_timeout(PATIENCE) {
        Ok(Ok(())) => {}
        Ok(Err(JoinError::Panicked(payload))) => {
            let text = payload.downcast_ref::<String>().map_or("?", String::as_str);
            assert!(text.contains("\"victim\""), "{what}, {n}: {text}");
        }
        Ok(Err(other)) => panic!("{what}, {n}: the checker ended with {other}"),
        Err(_) => panic!("{what}, {n}: the checker hangs"),
    }
}

fn nothing<S>(_: &S) {}
