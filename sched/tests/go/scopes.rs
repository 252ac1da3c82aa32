//! Goroutines that borrow, and end with their scope.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::until_parked;
use crate::api::*;
use chan::bounded;
use sync::Mutex;

cases! {
    goroutines_of_a_scope_borrow,
    a_scope_ends_after_its_goroutines,
    each_has_a_piece_of_a_slice_to_itself,
    the_values_of_a_scopes_goroutines,
    a_goroutine_of_a_scope_starts_another,
    a_scope_within_a_scope,
    a_joined_panic_is_not_the_scopes,
    a_panic_of_the_scope_waits_for_its_goroutines,
    channels_between_goroutines_of_a_scope,
}

/// Go: a closure that uses variables of the function around it, and a WaitGroup that waits for it.
fn goroutines_of_a_scope_borrow() {
    let text = "borrowed".to_string();
    let mut own = 0;
    scope(|s| {
        s.go(|| assert_eq!(text.len(), 8));
        s.go(|| own = text.len());
    });
    assert_eq!(own, 8);
}

/// Go: waitgroup_test.go, TestWaitGroupGo.
fn a_scope_ends_after_its_goroutines() {
    let ended = AtomicUsize::new(0);
    for round in 1..=10 {
        scope(|s| {
            for _ in 0..10 {
                s.go(|| {
                    runtime::yield_now();
                    ended.fetch_add(1, SeqCst);
                });
            }
        });
        assert_eq!(ended.load(SeqCst), 10 * round);
    }
}

/// Go: the parallel loop over a slice, of which each goroutine has a part.
fn each_has_a_piece_of_a_slice_to_itself() {
    let mut numbers: Vec<u64> = (0..1_000).collect();
    scope(|s| {
        for piece in numbers.chunks_mut(100) {
            s.go(|| piece.iter_mut().for_each(|n| *n *= 2));
        }
    });
    assert_eq!(numbers.iter().sum::<u64>(), 999_000);
}

/// Go: errgroup's "parallel" example: results in the order of the questions.
fn the_values_of_a_scopes_goroutines() {
    let squares: Vec<u32> = scope(|s| {
        let gs: Vec<_> = (0..10u32).map(|n| s.go(move || n * n)).collect();
        gs.into_iter().map(|g| g.join().unwrap()).collect()
    });
    assert_eq!(squares[9], 81);
}

/// Go: a group's goroutine that calls `wg.Go`.
fn a_goroutine_of_a_scope_starts_another() {
    let seen = Mutex::new(Vec::new());
    scope(|s| {
        s.go(|| {
            seen.lock().unwrap().push("first");
            s.go(|| seen.lock().unwrap().push("second"));
        });
    });
    assert_eq!(*seen.lock().unwrap(), ["first", "second"]);
}

/// Go: a WaitGroup in a function that a goroutine of another one calls.
fn a_scope_within_a_scope() {
    let count = AtomicUsize::new(0);
    scope(|outer| {
        for _ in 0..4 {
            outer.go(|| {
                scope(|inner| {
                    for _ in 0..4 {
                        inner.go(|| count.fetch_add(1, SeqCst));
                    }
                });
            });
        }
    });
    assert_eq!(count.load(SeqCst), 16);
}

/// Go: has no join.
fn a_joined_panic_is_not_the_scopes() {
    let joined = scope(|s| s.go(|| panic!("asked for")).join());
    assert_eq!(joined.unwrap_err().message(), Some("asked for"));
}

/// Go: a deferred `wg.Wait()`.
fn a_panic_of_the_scope_waits_for_its_goroutines() {
    let (tx, rx) = bounded::<()>(0);
    let ended = Arc::new(AtomicUsize::new(0));
    let theirs = ended.clone();
    let g = go(move || {
        scope(|s| {
            s.go(|| {
                rx.recv().unwrap();
                theirs.fetch_add(1, SeqCst);
            });
            panic!("in the middle");
        })
    });
    until_parked(2);
    assert!(!g.is_finished());
    tx.send(()).unwrap();
    assert_eq!(g.join().unwrap_err().message(), Some("in the middle"));
    assert_eq!(ended.load(SeqCst), 1);
}

/// Go: the pipeline of a function.
fn channels_between_goroutines_of_a_scope() {
    let words = ["a", "few", "words"];
    let lengths: usize = scope(|s| {
        let (tx, rx) = bounded(0);
        s.go(move || words.iter().for_each(|w| tx.send(*w).unwrap()));
        s.go(move || rx.iter().map(|w: &str| w.len()).sum()).join().unwrap()
    });
    assert_eq!(lengths, 9);
}
