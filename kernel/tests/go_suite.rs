//! Go's behaviour suite on the machine. The cases and their sources in Go's suite stand in
//! `sched/tests/go`. A boot runs a group, and says each case's name. After each case the account
//! must be as before.
#![no_std]
#![no_main]

extern crate alloc;

mod support;

use trefoil::testing::account::Account;

/// The API for the cases.
mod api {
    pub use trefoil::prelude::*;
    pub use trefoil::{JoinError, context, joinset, panic};

    /// Returns the number of parked G's, without `main`, which waits for the case.
    pub fn parked() -> usize {
        runtime::goroutines().iter().filter(|g| g.state.is_parked() && g.name != "main").count()
    }

    /// Takes parked G's the memory of their stacks.
    pub fn take_stacks() {
        runtime::scavenge();
    }
}

/// A group's cases, by name.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        /// Name and function of each.
        pub const CASES: &[(&str, fn())] = &[$((stringify!($case), $case)),*];
    };
}

#[path = "../../sched/tests/go/mod.rs"]
mod go;

image! {
    channels: "expect all passed | timeout 120";
    closing: "expect all passed | timeout 120";
    programs: "expect all passed | timeout 120";
    goroutines: "expect all passed | timeout 120";
    mutex: "expect all passed | timeout 120";
    waitgroup: "expect all passed | timeout 120";
    contexts: "expect all passed | timeout 120";
    groups: "expect all passed | timeout 120";
    select: "expect all passed | timeout 120";
    select_races: "expect all passed | timeout 120";
    timers: "expect all passed | timeout 120";
    condvar: "expect all passed | timeout 120";
    rwmutex: "expect all passed | timeout 120";
    once: "expect all passed | timeout 120";
    semaphore: "expect all passed | timeout 120";
    panics: "expect all passed | timeout 120";
    scopes: "expect all passed | timeout 120";
}

/// A function for each group, which runs its cases.
macro_rules! groups {
    ($($group:ident),* $(,)?) => {$(
        fn $group() {
            run(go::$group::CASES);
        }
    )*};
}
groups!(
    channels,
    closing,
    programs,
    goroutines,
    mutex,
    waitgroup,
    contexts,
    groups,
    select,
    select_races,
    timers,
    condvar,
    rwmutex,
    once,
    semaphore,
    panics,
    scopes
);

fn run(cases: &'static [(&'static str, fn())]) {
    let mut failed = 0;
    for &(name, case) in cases {
        let account = Account::open();
        trefoil::println!("case {name}");
        let case = trefoil::Builder::new().name(name).spawn(case);
        let result = case.unwrap_or_else(|e| panic!("{name}: {e}")).join();
        let wrong = match (result, account.close()) {
            (Err(error), _) => alloc::format!("{error}"),
            (Ok(()), Err(left)) => alloc::format!("left behind:\n{left}"),
            (Ok(()), Ok(())) => continue,
        };
        failed += 1;
        // By a G of its own, whose line is off the heap when it ends: the next account is to be
        // right.
        trefoil::go(move || trefoil::println!("FAILED {name}: {wrong}")).join().unwrap();
    }
    assert_eq!(failed, 0, "of {} cases", cases.len());
    trefoil::println!("all passed");
}
