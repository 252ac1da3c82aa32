//! `RwLock`, the production type: every interleaving of a few readers and writers. The value is a
//! loom cell: a reader beside a writer shows.
#![cfg(loom)]

mod baton;

use std::sync::Arc;

use baton::{die, explore, explore_coarsely, explore_hurried, survives};
use trefoil_sched::locks::{RwLock, RwLockWriteGuard};

type Body = Box<dyn FnOnce() + Send>;
type Lock = Arc<RwLock<[u32; 2]>>;

fn look(lock: &RwLock<[u32; 2]>) {
    let value = lock.read().unwrap();
    assert_eq!(value[0], value[1], "a writer was inside");
}

fn change(lock: &RwLock<[u32; 2]>) {
    let mut value = lock.write().unwrap();
    value[0] += 1;
    value[1] += 1;
}

/// Each of `bodies` gets the lock.
fn share(bodies: &'static [fn(Lock)]) {
    explore(sharing(bodies));
}

fn sharing(bodies: &'static [fn(Lock)]) -> impl Fn() -> Vec<Body> + Send + Sync + 'static {
    move || {
        let lock: Lock = Arc::new(RwLock::new([0; 2]));
        bodies
            .iter()
            .map(|body| {
                let lock = lock.clone();
                Box::new(move || body(lock)) as Body
            })
            .collect()
    }
}

#[test]
fn a_reader_and_a_writer_exclude_each_other() {
    share(&[
        |lock| {
            look(&lock);
            look(&lock);
        },
        |lock| {
            change(&lock);
            change(&lock);
        },
    ]);
}

#[test]
fn the_last_of_two_readers_lets_the_writer_in() {
    share(&[|lock| look(&lock), |lock| look(&lock), |lock| change(&lock)]);
}

#[test]
fn two_writers_and_a_reader_all_get_it() {
    share(&[|lock| change(&lock), |lock| change(&lock), |lock| look(&lock)]);
}

#[test]
fn attempts_do_not_disturb_those_who_wait() {
    share(&[
        |lock| {
            if let Ok(value) = lock.try_read() {
                assert_eq!(value[0], value[1]);
            }
        },
        |lock| {
            if let Ok(mut value) = lock.try_write() {
                *value = [7, 7];
            }
        },
        |lock| change(&lock),
    ]);
}

#[test]
fn a_writer_that_becomes_a_reader_lets_readers_in_and_no_writer() {
    share(&[
        |lock| {
            let mut value = lock.write().unwrap();
            *value = [5, 5];
            let value = RwLockWriteGuard::downgrade(value);
            assert_eq!(*value, [5, 5], "a writer came in between");
        },
        |lock| look(&lock),
        |lock| *lock.write().unwrap() = [6, 6],
    ]);
}

const WRITES_AND_DIES: fn(Lock) = |lock| {
    let mut value = lock.write().unwrap();
    value[0] = 1;
    std::mem::forget(value);
    die();
    assert!(!lock.is_poisoned());
};

const READS_AND_DIES: fn(Lock) = |lock| {
    std::mem::forget(lock.read().unwrap());
    die();
};

#[test]
fn who_waits_to_write_for_a_reader_that_dies_is_told() {
    share(&[READS_AND_DIES, |lock| {
        // Before it or never.
        if !survives(|| change(&lock)) {
            assert!(lock.try_write().is_err());
        }
    }]);
}

#[test]
fn who_waits_to_read_for_a_writer_that_dies_is_told() {
    share(&[WRITES_AND_DIES, |lock| {
        if !survives(|| assert_eq!(*lock.read().unwrap(), [0, 0], "what a dead writer has locked was granted")) {
            assert!(lock.try_read().is_err());
        }
    }]);
}

#[test]
fn those_who_wait_for_a_writer_that_dies_are_told() {
    explore_coarsely(sharing(&[
        WRITES_AND_DIES,
        |lock| {
            if !survives(|| assert_eq!(*lock.read().unwrap(), [0, 0], "what a dead writer has locked was granted")) {
                assert!(lock.try_read().is_err());
            }
        },
        |lock| {
            if !survives(|| assert_eq!(*lock.write().unwrap(), [0, 0], "what a dead writer has locked was granted")) {
                assert!(lock.try_write().is_err());
            }
        },
    ]));
}

#[test]
fn a_reader_that_dies_keeps_writers_out_and_readers_in() {
    explore_coarsely(sharing(&[
        READS_AND_DIES,
        |lock| look(&lock),
        |lock| {
            // Before it or never.
            if !survives(|| change(&lock)) {
                assert!(lock.try_write().is_err());
            }
        },
    ]));
}

#[test]
fn of_two_readers_one_dies_and_the_other_tells_the_writer_when_it_leaves() {
    explore_coarsely(sharing(&[
        READS_AND_DIES,
        |lock| {
            look(&lock);
            look(&lock);
        },
        |lock| _ = survives(|| change(&lock)),
    ]));
}

/// The loser has waited for long: the lock passes from hand to hand.
#[test]
fn writers_that_starve_are_given_the_lock_and_readers_between_them() {
    explore_hurried(sharing(&[|lock| change(&lock), |lock| change(&lock), |lock| look(&lock)]));
}

#[test]
fn of_three_writers_each_one_that_starves_is_given_the_lock() {
    explore_hurried(sharing(&[|lock| change(&lock), |lock| change(&lock), |lock| change(&lock)]));
}

#[test]
fn of_two_that_write_again_the_one_that_starves_is_given_the_lock() {
    let twice: fn(Lock) = |lock| {
        change(&lock);
        change(&lock);
    };
    explore_hurried(move || {
        let lock: Lock = Arc::new(RwLock::new([0; 2]));
        (0..2)
            .map(|_| {
                let lock = lock.clone();
                Box::new(move || twice(lock)) as Body
            })
            .collect()
    });
}

#[test]
fn attempts_take_nothing_from_a_writer_that_starves() {
    explore_hurried(sharing(&[|lock| drop(lock.try_read()), |lock| drop(lock.try_write()), |lock| change(&lock)]));
}

/// A writer is on its way when the last reader that lives leaves: the other writer has only that
/// one to learn it from.
#[test]
fn two_writers_are_told_that_only_a_dead_reader_is_left() {
    explore_coarsely(sharing(&[
        READS_AND_DIES,
        |lock| _ = survives(|| change(&lock)),
        |lock| _ = survives(|| change(&lock)),
    ]));
}
