//! `Condvar`, `Semaphore`, `WaitGroup`, `Barrier` and `Parker`, the production types: every
//! interleaving of a few G's. A wake-up that is lost is a deadlock that loom reports. A waiter that
//! is left behind with units free breaks INV-UNITS.
#![cfg(loom)]

mod baton;

use std::sync::Arc;
use std::time::Duration;

use baton::{die_and, die_with_the_objects, explore, explore_coarsely, explore_timed, survives};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};
use trefoil_sched::locks::{Barrier, Condvar, Mutex, Parker, Semaphore, WaitGroup};

type Body = Box<dyn FnOnce() + Send>;

/// Each of `bodies` gets what `make` makes.
fn share<S: Send + Sync + 'static>(make: fn() -> S, bodies: &'static [fn(&S)]) {
    explore(sharing(make, bodies));
}

/// Shares as above. The deadline of a body comes when its M has nothing else to do.
fn share_timed<S: Send + Sync + 'static>(make: fn() -> S, bodies: &'static [fn(&S)]) {
    explore_timed(sharing(make, bodies));
}

fn sharing<S: Send + Sync + 'static>(
    make: fn() -> S,
    bodies: &'static [fn(&S)],
) -> impl Fn() -> Vec<Body> + Send + Sync + 'static {
    move || {
        let shared = Arc::new(make());
        bodies
            .iter()
            .map(|body| {
                let shared = shared.clone();
                Box::new(move || body(&shared)) as Body
            })
            .collect()
    }
}

// --- Condvar

/// A number of things, and the condition on which G's wait for some.
type Things = (Mutex<u32>, Condvar);

fn none() -> Things {
    (Mutex::new(0), Condvar::new())
}

fn take(things: &Things) {
    let mut count = things.0.lock().unwrap();
    while *count == 0 {
        count = things.1.wait(count).unwrap();
    }
    *count -= 1;
}

fn put(things: &Things) {
    *things.0.lock().unwrap() += 1;
    things.1.notify_one();
}

#[test]
fn a_notification_is_not_lost_while_the_waiter_lies_down() {
    share(none, &[take, put]);
}

#[test]
fn of_two_waiters_each_gets_a_notification() {
    share(
        none,
        &[take, take, |things| {
            put(things);
            put(things);
        }],
    );
}

#[test]
fn a_call_to_all_reaches_all() {
    share(
        none,
        &[take, take, |things| {
            *things.0.lock().unwrap() = 2;
            things.1.notify_all();
        }],
    );
}

#[test]
fn a_notification_goes_to_the_other_if_ones_time_is_over() {
    share_timed(
        none,
        &[
            |things| {
                let timeout = Duration::from_millis(1);
                let (count, result) = things.1.wait_timeout(things.0.lock().unwrap(), timeout).unwrap();
                // A G that was told and takes nothing tells the next.
                if *count > 0 && !result.timed_out() {
                    things.1.notify_one();
                }
            },
            take,
            put,
        ],
    );
}

// --- Semaphore

struct Guarded {
    semaphore: Semaphore,
    value: UnsafeCell<u32>,
}

// SAFETY: for the model: loom reports two threads that use the value at the same time.
unsafe impl Sync for Guarded {}
// SAFETY: for the model: the value is a number, so any thread may have it; loom reports two that
// use it at the same time.
unsafe impl Send for Guarded {}

impl Guarded {
    fn with(permits: usize) -> Self {
        Self { semaphore: Semaphore::new(permits), value: UnsafeCell::new(0) }
    }

    fn change(&self) {
        // SAFETY: nobody else uses the value meanwhile; loom checks that.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }
}

#[test]
fn one_permit_is_a_mutex() {
    const BODY: fn(&Guarded) = |shared| {
        let _permit = shared.semaphore.acquire();
        shared.change();
    };
    share(|| Guarded::with(1), &[BODY, BODY, BODY]);
}

#[test]
fn a_request_for_two_gets_them_and_excludes_those_for_one() {
    share(
        || Guarded::with(2),
        &[
            |shared: &Guarded| drop(shared.semaphore.acquire()),
            |shared| {
                let _permits = shared.semaphore.acquire_many(2);
                shared.change();
            },
            |shared| {
                let _permits = shared.semaphore.acquire_many(2);
                shared.change();
            },
        ],
    );
}

#[test]
fn a_permit_is_not_lost_between_a_release_and_the_end_of_time() {
    share_timed(
        || Guarded::with(0),
        &[
            |shared: &Guarded| drop(shared.semaphore.acquire_timeout(Duration::from_millis(1))),
            |shared| {
                shared.semaphore.add_permits(1);
                drop(shared.semaphore.acquire());
            },
        ],
    );
}

#[test]
fn when_a_large_request_gives_up_those_behind_it_go_on() {
    share_timed(
        || Guarded::with(1),
        &[
            |shared: &Guarded| {
                assert!(shared.semaphore.acquire_many_timeout(2, Duration::from_millis(1)).is_none());
            },
            |shared| drop(shared.semaphore.acquire()),
        ],
    );
}

// --- WaitGroup

struct Todo {
    wg: WaitGroup,
    values: [UnsafeCell<u32>; 2],
}

// SAFETY: for the model: loom reports a reader beside a writer.
unsafe impl Sync for Todo {}
// SAFETY: for the model: the values are numbers, so any thread may have them; loom reports a reader
// beside a writer.
unsafe impl Send for Todo {}

impl Todo {
    fn of_two() -> Self {
        let wg = WaitGroup::new();
        wg.add(2);
        Self { wg, values: [UnsafeCell::new(0), UnsafeCell::new(0)] }
    }

    fn finish(&self, i: usize) {
        // SAFETY: nobody else uses the value meanwhile; loom checks that.
        self.values[i].with_mut(|value| unsafe { *value = 1 });
        self.wg.done();
    }
}

#[test]
fn who_waits_sees_what_was_done() {
    share(
        Todo::of_two,
        &[
            |todo| todo.finish(0),
            |todo| todo.finish(1),
            |todo| {
                todo.wg.wait();
                // SAFETY: nobody writes the value meanwhile; loom checks that.
                let sum: u32 = todo.values.iter().map(|value| value.with(|value| unsafe { *value })).sum();
                assert_eq!(sum, 2);
            },
        ],
    );
}

#[test]
fn all_who_wait_are_released() {
    share(
        || {
            let wg = WaitGroup::new();
            wg.add(1);
            wg
        },
        &[|wg: &WaitGroup| wg.wait(), |wg| wg.wait(), |wg| wg.done()],
    );
}

// --- Barrier

#[test]
fn both_pass_when_the_other_has_come_again_and_again() {
    const BODY: fn(&Barrier) = |barrier| {
        barrier.wait();
        barrier.wait();
    };
    share(|| Barrier::new(2), &[BODY, BODY]);
}

// --- Objects on the stack of a G that dies: G's that wait, or come to wait, are told.

#[test]
fn who_waits_for_a_semaphore_on_a_dead_stack_is_told() {
    share(|| Semaphore::new(0), &[|_| die_with_the_objects(), |s: &Semaphore| _ = survives(|| drop(s.acquire()))]);
}

#[test]
fn two_who_wait_for_a_barrier_on_a_dead_stack_are_told() {
    const WAITS: fn(&Barrier) = |barrier| _ = survives(|| _ = barrier.wait());
    explore_coarsely(sharing(|| Barrier::new(3), &[|_| die_with_the_objects(), WAITS, WAITS]));
}

#[test]
fn who_waits_for_a_condition_on_a_dead_stack_is_told_and_does_not_unlock_for_another() {
    share(
        none,
        &[
            |_| die_with_the_objects(),
            |things: &Things| _ = survives(|| drop(things.1.wait(things.0.lock().unwrap()))),
            |things: &Things| *things.0.lock().unwrap() += 1,
        ],
    );
}

#[test]
fn who_waits_with_a_deadline_on_a_dead_stack_leaves_the_list() {
    share_timed(
        || Semaphore::new(0),
        &[
            |_| die_with_the_objects(),
            |s: &Semaphore| _ = survives(|| assert!(s.acquire_timeout(Duration::from_millis(1)).is_none())),
        ],
    );
}

#[test]
fn who_waits_for_a_group_whose_member_dies_is_told() {
    share(
        || {
            let group = WaitGroup::new();
            group.add(1);
            group
        },
        &[
            |group: &WaitGroup| die_and(|| trefoil_sched::model::member_dies(group)),
            |group: &WaitGroup| assert!(!survives(|| group.wait())),
        ],
    );
}

// --- Parker

/// Returns `n` bodies that each set a flag and leave a token, and one that parks, as `park` says,
/// until it has seen all flags. The flags are seen by the tokens only: a token that was there
/// already counts for both.
fn tokens(n: usize, park: fn(&Parker)) -> impl Fn() -> Vec<Body> + Send + Sync + 'static {
    move || {
        let parker = Parker::new();
        let flags: Vec<_> = (0..n).map(|_| Arc::new(AtomicBool::new(false))).collect();
        let mut bodies: Vec<Body> = Vec::new();
        for flag in &flags {
            let (unparker, flag) = (parker.unparker().clone(), flag.clone());
            bodies.push(Box::new(move || {
                flag.store(true, Ordering::Relaxed);
                unparker.unpark();
            }));
        }
        bodies.push(Box::new(move || {
            while !flags.iter().all(|flag| flag.load(Ordering::Relaxed)) {
                park(&parker);
            }
        }));
        bodies
    }
}

#[test]
fn a_token_is_not_lost_while_the_parker_lies_down() {
    explore(tokens(1, Parker::park));
}

#[test]
fn a_token_that_was_there_already_shows_what_was_before_it() {
    explore_coarsely(tokens(2, Parker::park));
}

#[test]
fn a_token_is_not_lost_at_the_end_of_time() {
    explore_timed(tokens(1, |parker| {
        if !parker.park_timeout(Duration::from_millis(1)) {
            parker.park();
        }
    }));
}
