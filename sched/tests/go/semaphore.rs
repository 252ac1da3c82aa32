//! `Semaphore`: Go's `golang.org/x/sync/semaphore`, and `Barrier`.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::{a_moment, until_parked};
use crate::api::*;
use sync::{Barrier, Semaphore};

cases! {
    no_more_are_inside_than_permits,
    a_try_acquire_never_waits,
    a_large_request_is_not_starved_by_small_ones,
    permits_of_different_weight_add_up,
    waiting_ones_are_served_in_the_order_they_came,
    a_permit_comes_back_when_its_holder_panics,
    a_wait_for_a_permit_gives_up_after_its_time,
    permits_can_be_added,
    a_barrier_lets_all_go_together_and_has_one_leader,
}

/// Go: semaphore_test.go, TestWeighted, HammerWeighted.
fn no_more_are_inside_than_permits() {
    let (semaphore, inside) = (Arc::new(Semaphore::new(3)), Arc::new(AtomicUsize::new(0)));
    let gs: Vec<_> = (0..12)
        .map(|_| {
            let (semaphore, inside) = (semaphore.clone(), inside.clone());
            go(move || {
                for _ in 0..30 {
                    let _permit = semaphore.acquire();
                    assert!(inside.fetch_add(1, SeqCst) < 3, "too many");
                    runtime::yield_now();
                    inside.fetch_sub(1, SeqCst);
                }
            })
        })
        .collect();
    gs.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(semaphore.available_permits(), 3);
}

/// Go: semaphore_test.go, TestWeightedTryAcquire.
fn a_try_acquire_never_waits() {
    let semaphore = Semaphore::new(2);
    let one = semaphore.try_acquire();
    let two = semaphore.try_acquire();
    assert!(one.is_some() && two.is_some() && semaphore.try_acquire().is_none());
    drop(one);
    assert!(semaphore.try_acquire_many(2).is_none());
    assert!(semaphore.try_acquire().is_some());
}

/// Go: semaphore_test.go, TestLargeAcquireDoesntStarve.
fn a_large_request_is_not_starved_by_small_ones() {
    const N: usize = 6;
    let (semaphore, running) = (Arc::new(Semaphore::new(N)), Arc::new(AtomicUsize::new(1)));
    let small: Vec<_> = (0..N)
        .map(|_| {
            let (semaphore, running) = (semaphore.clone(), running.clone());
            go(move || {
                while running.load(SeqCst) == 1 {
                    let _permit = semaphore.acquire();
                    time::sleep(Duration::from_micros(100));
                }
            })
        })
        .collect();
    a_moment();
    drop(semaphore.acquire_many(N));
    running.store(0, SeqCst);
    small.into_iter().for_each(|g| g.join().unwrap());
}

/// Go: semaphore_test.go, TestWeightedAcquire.
fn permits_of_different_weight_add_up() {
    let semaphore = Semaphore::new(5);
    let (two, three) = (semaphore.acquire_many(2), semaphore.acquire_many(3));
    assert_eq!((two.num_permits(), three.num_permits(), semaphore.available_permits()), (2, 3, 0));
    drop(three);
    assert_eq!(semaphore.available_permits(), 3);
    assert!(semaphore.try_acquire_many(4).is_none() && semaphore.try_acquire_many(3).is_some());
    drop(two);
    assert_eq!(semaphore.available_permits(), 5);
}

/// Go: semaphore.go's list of waiters.
fn waiting_ones_are_served_in_the_order_they_came() {
    let semaphore = Arc::new(Semaphore::new(0));
    let (tx, rx) = chan::bounded(10);
    for n in 0..5 {
        let (semaphore, tx) = (semaphore.clone(), tx.clone());
        drop(go(move || {
            semaphore.acquire().forget();
            tx.send(n).unwrap();
        }));
        until_parked(n + 1);
    }
    for n in 0..5 {
        semaphore.add_permits(1);
        assert_eq!(rx.recv(), Ok(n));
    }
}

/// Go: `defer sem.Release(1)`.
fn a_permit_comes_back_when_its_holder_panics() {
    let semaphore = Arc::new(Semaphore::new(1));
    let holder = semaphore.clone();
    let g = go(move || {
        let _permit = holder.acquire();
        panic!("with a permit");
    });
    assert!(g.join().is_err());
    assert!(semaphore.try_acquire().is_some());
}

/// Go: semaphore_test.go: Acquire with a context that is done.
fn a_wait_for_a_permit_gives_up_after_its_time() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.acquire();
    let begin = Instant::now();
    assert!(semaphore.acquire_timeout(Duration::from_millis(3)).is_none());
    assert!(begin.elapsed() >= Duration::from_millis(3));
    drop(held);
    assert!(semaphore.acquire_timeout(Duration::from_secs(100)).is_some());
}

/// Go: Release of more than was acquired panics; here it is how a semaphore grows.
fn permits_can_be_added() {
    let semaphore = Arc::new(Semaphore::new(0));
    let waits = go({
        let semaphore = semaphore.clone();
        move || semaphore.acquire_many(3).num_permits()
    });
    until_parked(1);
    semaphore.add_permits(2);
    a_moment();
    assert!(!waits.is_finished());
    semaphore.add_permits(1);
    assert_eq!(waits.join().unwrap(), 3);
    assert_eq!(semaphore.available_permits(), 3);
}

/// Go: has no such thing; as in `std`.
fn a_barrier_lets_all_go_together_and_has_one_leader() {
    let (barrier, count) = (Arc::new(Barrier::new(8)), Arc::new(AtomicUsize::new(0)));
    let gs: Vec<_> = (0..8)
        .map(|_| {
            let (barrier, count) = (barrier.clone(), count.clone());
            go(move || {
                let mut led = 0;
                for round in 1..=10 {
                    count.fetch_add(1, SeqCst);
                    led += usize::from(barrier.wait().is_leader());
                    assert!(count.load(SeqCst) >= 8 * round, "somebody went too soon");
                    barrier.wait();
                }
                led
            })
        })
        .collect();
    assert_eq!(gs.into_iter().map(|g| g.join().unwrap()).sum::<usize>(), 10);
}
