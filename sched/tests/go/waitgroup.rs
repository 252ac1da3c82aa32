//! `WaitGroup`.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{panic_of, until_parked};
use crate::api::*;
use chan::bounded;
use sync::WaitGroup;

cases! {
    wait_returns_when_all_are_done,
    wait_without_anything_to_wait_for_returns_at_once,
    done_without_add_panics,
    done_once_too_often_panics,
    a_group_is_used_again,
    several_wait_for_one_group,
    a_group_within_a_group,
    what_was_done_is_seen_after_wait,
    adding_while_others_are_not_done_prolongs_the_wait,
}

/// Go: waitgroup_test.go, TestWaitGroup: two groups, 16 G's.
fn wait_returns_when_all_are_done() {
    let (first, second) = (Arc::new(WaitGroup::new()), Arc::new(WaitGroup::new()));
    for _ in 0..8 {
        const N: usize = 16;
        first.add(N);
        second.add(N);
        let (exited, all) = bounded(N);
        for _ in 0..N {
            let (first, second, exited) = (first.clone(), second.clone(), exited.clone());
            drop(go(move || {
                first.done();
                second.wait();
                exited.send(()).unwrap();
            }));
        }
        first.wait();
        for _ in 0..N {
            assert!(all.try_recv().is_err(), "the second group let somebody go too soon");
            second.done();
        }
        drop(exited);
        assert_eq!(all.iter().count(), N);
    }
}

/// Go: the zero WaitGroup.
fn wait_without_anything_to_wait_for_returns_at_once() {
    WaitGroup::new().wait();
    WaitGroup::default().wait();
}

/// Go: waitgroup_test.go, TestWaitGroupMisuse: "negative WaitGroup counter".
fn done_without_add_panics() {
    let group = WaitGroup::new();
    assert!(panic_of(move || group.done()).contains("WaitGroup"));
}

/// Go: the same, after a right use.
fn done_once_too_often_panics() {
    let group = Arc::new(WaitGroup::new());
    group.add(1);
    group.done();
    let extra = group.clone();
    assert!(panic_of(move || extra.done()).contains("WaitGroup"));
    group.wait();
}

/// Go: "If a WaitGroup is reused to wait for several independent sets of events, new Add calls must
/// happen after all previous Wait calls".
fn a_group_is_used_again() {
    let group = Arc::new(WaitGroup::new());
    let done = Arc::new(AtomicUsize::new(0));
    for round in 1..=20 {
        group.add(10);
        for _ in 0..10 {
            let (group, done) = (group.clone(), done.clone());
            drop(go(move || {
                done.fetch_add(1, Relaxed);
                group.done();
            }));
        }
        group.wait();
        assert_eq!(done.load(Relaxed), 10 * round);
    }
}

/// Go: waitgroup_test.go, TestWaitGroupRace.
fn several_wait_for_one_group() {
    let group = Arc::new(WaitGroup::new());
    group.add(1);
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let group = group.clone();
            go(move || group.wait())
        })
        .collect();
    until_parked(10);
    assert!(waiting.iter().all(|g| !g.is_finished()));
    group.done();
    waiting.into_iter().for_each(|g| g.join().unwrap());
}

/// Go: a G that waits for its own children.
fn a_group_within_a_group() {
    let outer = Arc::new(WaitGroup::new());
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..5 {
        outer.add(1);
        let (outer, count) = (outer.clone(), count.clone());
        drop(go(move || {
            let inner = Arc::new(WaitGroup::new());
            inner.add(5);
            for _ in 0..5 {
                let (inner, count) = (inner.clone(), count.clone());
                drop(go(move || {
                    count.fetch_add(1, Relaxed);
                    inner.done();
                }));
            }
            inner.wait();
            outer.done();
        }));
    }
    outer.wait();
    assert_eq!(count.load(Relaxed), 25);
}

/// Go: the memory model: "a call to Done synchronizes before the return of any Wait call that it
/// unblocks".
fn what_was_done_is_seen_after_wait() {
    for i in 1..=100 {
        let group = Arc::new(WaitGroup::new());
        let data = Arc::new(AtomicUsize::new(0));
        group.add(1);
        let (theirs, written) = (group.clone(), data.clone());
        drop(go(move || {
            written.store(i, Relaxed);
            theirs.done();
        }));
        group.wait();
        assert_eq!(data.load(Relaxed), i);
    }
}

/// Go: "calls with a positive delta that start when the counter is greater than zero may happen at
/// any time".
fn adding_while_others_are_not_done_prolongs_the_wait() {
    let group = Arc::new(WaitGroup::new());
    let (tx, rx) = bounded(100);
    group.add(1);
    let (theirs, out) = (group.clone(), tx.clone());
    drop(go(move || {
        for i in 0..20 {
            theirs.add(1);
            let (theirs, out) = (theirs.clone(), out.clone());
            drop(go(move || {
                runtime::yield_now();
                out.send(i).unwrap();
                theirs.done();
            }));
        }
        theirs.done();
    }));
    group.wait();
    assert_eq!(rx.len(), 20);
    drop(tx);
}
