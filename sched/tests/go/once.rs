//! `Once`, `OnceLock`, `LazyLock`: Go's `sync.Once`, `OnceFunc` and `OnceValue`.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::{panic_of, until_parked};
use crate::api::*;
use chan::bounded;
use sync::{LazyLock, Once, OnceLock};

cases! {
    it_runs_once_and_everybody_has_seen_it_run,
    who_comes_while_it_runs_waits_for_its_end,
    a_panic_in_a_once_reaches_its_caller,
    a_panic_in_a_once_poisons_it,
    a_forced_call_follows_a_panic,
    a_once_value_is_made_once,
    a_once_lock_is_set_once,
    a_panic_leaves_a_once_lock_empty,
    a_lazy_value_is_made_on_first_use,
    a_panic_in_a_lazy_value_reaches_everybody,
    two_onces_are_two,
}

/// Go: once_test.go, TestOnce.
fn it_runs_once_and_everybody_has_seen_it_run() {
    let (once, count) = (Arc::new(Once::new()), Arc::new(AtomicUsize::new(0)));
    let gs: Vec<_> = (0..10)
        .map(|_| {
            let (once, count) = (once.clone(), count.clone());
            go(move || {
                once.call_once(|| drop(count.fetch_add(1, SeqCst).to_string()));
                assert_eq!(count.load(SeqCst), 1);
            })
        })
        .collect();
    gs.into_iter().for_each(|g| g.join().unwrap());
    assert!(once.is_completed());
}

/// Go: "no call to Do returns until the one call to f returns".
fn who_comes_while_it_runs_waits_for_its_end() {
    let once = Arc::new(Once::new());
    let (tx, rx) = bounded::<()>(0);
    let first = go({
        let once = once.clone();
        move || once.call_once(|| rx.recv().unwrap())
    });
    until_parked(1);
    let others: Vec<_> = (0..5)
        .map(|_| {
            let once = once.clone();
            go(move || once.call_once(|| panic!("it runs once")))
        })
        .collect();
    until_parked(6);
    assert!(others.iter().all(|g| !g.is_finished()) && !once.is_completed());
    tx.send(()).unwrap();
    first.join().unwrap();
    others.into_iter().for_each(|g| g.join().unwrap());
}

/// Go: once_test.go, TestOncePanic.
fn a_panic_in_a_once_reaches_its_caller() {
    let once = Once::new();
    assert_eq!(panic_of(move || once.call_once(|| panic!("failed"))), "failed");
}

/// Go: there a panicking Do counts as done; here it poisons, as in `std`.
fn a_panic_in_a_once_poisons_it() {
    let once = Arc::new(Once::new());
    let first = once.clone();
    panic_of(move || first.call_once(|| panic!("failed")));
    assert!(!once.is_completed());
    let second = once.clone();
    assert!(!panic_of(move || second.call_once(|| {})).is_empty(), "the second caller is told");
}

/// Go: has no such thing; as in `std`.
fn a_forced_call_follows_a_panic() {
    let once = Arc::new(Once::new());
    let first = once.clone();
    panic_of(move || first.call_once(|| panic!("failed")));
    once.call_once_force(|state| assert!(state.is_poisoned()));
    assert!(once.is_completed());
    once.call_once(|| panic!("not again"));
}

/// Go: oncefunc_test.go, TestOnceValue.
fn a_once_value_is_made_once() {
    let (value, made) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let gs: Vec<_> = (0..10)
        .map(|_| {
            let (value, made) = (value.clone(), made.clone());
            go(move || *value.get_or_init(|| made.fetch_add(1, SeqCst) + 1))
        })
        .collect();
    assert!(gs.into_iter().all(|g| g.join().unwrap() == 1));
    assert_eq!(made.load(SeqCst), 1);
}

/// Go: the same, set from outside.
fn a_once_lock_is_set_once() {
    let lock = Arc::new(OnceLock::new());
    assert_eq!(lock.get(), None);
    let gs: Vec<_> = (0..10)
        .map(|i| {
            let lock = lock.clone();
            go(move || lock.set(i).is_ok())
        })
        .collect();
    assert_eq!(gs.into_iter().filter(|_| true).map(|g| usize::from(g.join().unwrap())).sum::<usize>(), 1);
    assert!(lock.get().is_some_and(|i| *i < 10));
    assert_eq!(lock.set(99), Err(99));
}

/// Go: oncefunc_test.go, TestOnceFuncPanic: there every caller panics; a `OnceLock` stays empty, as
/// in `std`.
fn a_panic_leaves_a_once_lock_empty() {
    let lock = Arc::new(OnceLock::<u32>::new());
    let first = lock.clone();
    panic_of(move || *first.get_or_init(|| panic!("no value")));
    assert_eq!(lock.get(), None);
    assert_eq!(*lock.get_or_init(|| 6), 6);
}

/// Go: oncefunc_test.go, TestOnceFunc.
fn a_lazy_value_is_made_on_first_use() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let lazy = Arc::new(LazyLock::new(move || count.fetch_add(1, SeqCst) + 1));
    assert_eq!(made.load(SeqCst), 0);
    let gs: Vec<_> = (0..10)
        .map(|_| {
            let lazy = lazy.clone();
            go(move || **lazy)
        })
        .collect();
    assert!(gs.into_iter().all(|g| g.join().unwrap() == 1));
}

/// Go: oncefunc_test.go, TestOnceFuncPanic.
fn a_panic_in_a_lazy_value_reaches_everybody() {
    let lazy = Arc::new(LazyLock::<u32, fn() -> u32>::new(|| panic!("no value")));
    for _ in 0..2 {
        let lazy = lazy.clone();
        assert!(!panic_of(move || **lazy).is_empty());
    }
}

/// Go: `var a, b sync.Once`.
fn two_onces_are_two() {
    let (a, b, count) = (Once::new(), Once::new(), AtomicUsize::new(0));
    for once in [&a, &b, &a, &b] {
        once.call_once(|| {
            count.fetch_add(1, SeqCst);
        });
    }
    assert_eq!(count.load(SeqCst), 2);
}
