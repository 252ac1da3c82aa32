//! Go's behaviour suite on std threads. The cases and their sources in Go's suite stand in
//! `sched/tests/go`.

mod support;

/// The API for the cases.
mod api {
    pub use trefoil_hosted::parked;
    pub use trefoil_hosted::prelude::*;
    pub use trefoil_sched::joinset;

    /// Takes parked G's the memory of their stacks, where there is a scavenger.
    pub fn take_stacks() {}
}

/// A group's cases, by name, and each as a test of its own.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        /// Name and function of each.
        pub const CASES: &[(&str, fn())] = &[$((stringify!($case), $case)),*];

        mod on_threads {
            $(#[test]
            fn $case() {
                $crate::run(super::$case);
            })*
        }
    };
}

#[path = "../../sched/tests/go/mod.rs"]
mod go;

fn run(case: fn()) {
    for procs in [1, 2, 4] {
        support::tidy(procs, case);
    }
    support::shaken(4, case);
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let groups = [
        go::channels::CASES,
        go::closing::CASES,
        go::programs::CASES,
        go::goroutines::CASES,
        go::mutex::CASES,
        go::waitgroup::CASES,
        go::contexts::CASES,
        go::groups::CASES,
        go::select::CASES,
        go::select_races::CASES,
        go::timers::CASES,
        go::condvar::CASES,
        go::rwmutex::CASES,
        go::once::CASES,
        go::semaphore::CASES,
        go::panics::CASES,
        go::scopes::CASES,
    ];
    let mut names: Vec<_> = groups.iter().flat_map(|cases| cases.iter().map(|(name, _)| name)).collect();
    let cases = names.len();
    println!("{cases} cases in {} groups", groups.len());
    assert!(cases >= 200);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases);
}
