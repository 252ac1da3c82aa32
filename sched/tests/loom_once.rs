//! `Once`, `OnceLock` and `LazyLock`, the production types: every interleaving of a few G's.
#![cfg(loom)]

mod baton;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use baton::{die, explore, explore_coarsely, survives};
use loom::cell::UnsafeCell;
// Its values are dropped by the last of them: an `Arc` that loom sees through.
use loom::sync::Arc as LoomArc;
use trefoil_sched::locks::{LazyLock, Once, OnceLock};

type Body = Box<dyn FnOnce() + Send>;

/// A `Once`, and the value that it guards.
struct Guarded {
    once: Once,
    value: UnsafeCell<u32>,
}

// SAFETY: for the model: loom reports a second closure, and a reader before the end of the first.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn add(&self) {
        // SAFETY: no other closure runs meanwhile; loom checks that.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: the closure has ended before anybody reads; loom checks that.
        self.value.with(|value| unsafe { *value })
    }
}

fn share(bodies: &'static [fn(&Guarded)]) {
    explore(sharing(bodies));
}

fn sharing(bodies: &'static [fn(&Guarded)]) -> impl Fn() -> Vec<Body> + Send + Sync + 'static {
    move || {
        let shared = Arc::new(Guarded { once: Once::new(), value: UnsafeCell::new(0) });
        bodies
            .iter()
            .map(|body| {
                let shared = shared.clone();
                Box::new(move || body(&shared)) as Body
            })
            .collect()
    }
}

#[test]
fn of_three_gs_one_does_it_and_the_others_see_it() {
    const BODY: fn(&Guarded) = |shared| {
        shared.once.call_once(|| shared.add());
        assert_eq!(shared.get(), 1);
    };
    share(&[BODY, BODY, BODY]);
}

#[test]
fn who_only_asks_or_waits_sees_what_was_done() {
    share(&[
        |shared| shared.once.call_once(|| shared.add()),
        |shared| {
            shared.once.wait();
            assert_eq!(shared.get(), 1);
        },
        |shared| {
            if shared.once.is_completed() {
                assert_eq!(shared.get(), 1);
            }
        },
    ]);
}

#[test]
fn after_a_panic_one_of_those_who_force_it_does_it() {
    const FORCES: fn(&Guarded) = |shared| {
        shared.once.call_once_force(|_| shared.add());
        assert!(shared.get() >= 1);
    };
    share(&[
        |shared| {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                shared.once.call_once_force(|_| {
                    shared.add();
                    resume_unwind(Box::new(()));
                });
            }));
        },
        FORCES,
        FORCES,
    ]);
}

/// Comes after the one that dies, or before it.
const COMES: fn(&Guarded) = |shared| {
    if survives(|| shared.once.call_once_force(|_| shared.add())) {
        assert_eq!(shared.get(), 1);
    } else {
        assert!(!shared.once.is_completed());
    }
};

/// Comes to run it, and dies then.
const DIES: fn(&Guarded) = |shared| {
    if trefoil_sched::model::begin_once(&shared.once) {
        die();
    }
};

#[test]
fn who_waits_for_a_g_that_dies_is_told() {
    share(&[DIES, COMES]);
}

#[test]
fn two_who_wait_for_a_g_that_dies_are_both_told() {
    explore_coarsely(sharing(&[DIES, COMES, COMES]));
}

#[test]
fn a_value_is_made_once_and_seen_whole() {
    cells(|cell| assert_eq!(*cell.get_or_init(|| vec![1; 3]), [1; 3]), |cell| assert_eq!(*cell.wait(), [1; 3]));
}

#[test]
fn of_two_values_one_comes_back() {
    const SETS: fn(&OnceLock<Vec<u8>>) = |cell| {
        if let Err(value) = cell.set(vec![1; 3]) {
            assert_eq!(value, [1; 3]);
        }
        assert_eq!(cell.get().map(Vec::len), Some(3));
    };
    cells(SETS, SETS);
}

fn cells(first: fn(&OnceLock<Vec<u8>>), second: fn(&OnceLock<Vec<u8>>)) {
    explore(move || {
        let cell = LoomArc::new(OnceLock::new());
        [first, second]
            .into_iter()
            .map(|body| {
                let cell = cell.clone();
                Box::new(move || body(&cell)) as Body
            })
            .collect()
    });
}

#[test]
fn a_lazy_value_is_made_by_the_first() {
    explore(|| {
        let lazy = LoomArc::new(LazyLock::new(|| vec![2; 2]));
        (0..2)
            .map(|_| {
                let lazy = lazy.clone();
                Box::new(move || assert_eq!(**lazy, [2; 2])) as Body
            })
            .collect()
    });
}
