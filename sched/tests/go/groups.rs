//! Groups of goroutines: Go's `golang.org/x/sync/errgroup`, and `JoinSet`.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::{panic_of, until};
use crate::api::*;
use context::{Context, ContextError};
use joinset::{ErrGroup, JoinSet};

cases! {
    a_group_of_nothing,
    the_first_error_is_the_groups,
    an_error_cancels_the_groups_context,
    a_group_without_an_error_lets_its_context_be_while_it_runs,
    a_panic_in_a_group_comes_out_of_wait,
    a_limit_is_kept,
    a_try_go_over_the_limit_says_no,
    a_group_makes_a_pipeline,
    a_sets_results_come_as_they_are_ready,
    a_set_joins_all,
    a_sets_panics_are_results,
}

/// Go: errgroup_test.go, TestZeroGroup.
fn a_group_of_nothing() {
    assert_eq!(ErrGroup::<String>::new().wait(), Ok(()));
}

/// Go: errgroup_test.go, TestZeroGroup: the first error that is not nil.
fn the_first_error_is_the_groups() {
    let (group, ctx) = ErrGroup::with_context(&Context::background());
    group.go(|| Err("first"));
    group.go(move || {
        let _ = ctx.done().recv(); // the first has failed
        Err("second")
    });
    group.go(|| Ok(()));
    assert_eq!(group.wait(), Err("first"));
}

/// Go: errgroup_test.go, TestWithContext.
fn an_error_cancels_the_groups_context() {
    let (group, ctx) = ErrGroup::with_context(&Context::background());
    for i in 0..5 {
        let ctx = ctx.clone();
        group.go(move || {
            if i == 3 {
                Err("number three")
            } else {
                let _ = ctx.done().recv();
                Ok(())
            }
        });
    }
    assert_eq!(group.wait(), Err("number three"));
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
}

/// Go: errgroup_test.go, TestWithContext, without an error.
fn a_group_without_an_error_lets_its_context_be_while_it_runs() {
    let (group, ctx) = ErrGroup::<()>::with_context(&Context::background());
    let seen = Arc::new(AtomicUsize::new(0));
    for _ in 0..5 {
        let (ctx, seen) = (ctx.clone(), seen.clone());
        group.go(move || {
            runtime::yield_now();
            seen.fetch_add(usize::from(ctx.err().is_none()), SeqCst);
            Ok(())
        });
    }
    assert_eq!(group.wait(), Ok(()));
    assert_eq!(seen.load(SeqCst), 5);
}

/// Go: errgroup_test.go, TestPanic: "Wait propagates".
fn a_panic_in_a_group_comes_out_of_wait() {
    let text = panic_of(|| {
        let group = ErrGroup::<()>::new();
        group.go(|| panic!("one of the group"));
        group.wait()
    });
    assert!(text.contains("one of the group"), "{text}");
}

/// Go: errgroup_test.go, TestGoLimit.
fn a_limit_is_kept() {
    let group = ErrGroup::<()>::new();
    group.set_limit(2);
    let running = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        let running = running.clone();
        group.go(move || {
            assert!(running.fetch_add(1, SeqCst) < 2, "more than two");
            runtime::yield_now();
            running.fetch_sub(1, SeqCst);
            Ok(())
        });
    }
    assert_eq!(group.wait(), Ok(()));
}

/// Go: errgroup_test.go, TestTryGo.
fn a_try_go_over_the_limit_says_no() {
    let group = ErrGroup::<()>::new();
    group.set_limit(1);
    let (tx, rx) = chan::bounded::<()>(0);
    assert!(group.try_go(move || {
        let _ = rx.recv();
        Ok(())
    }));
    assert!(!group.try_go(|| Ok(())));
    drop(tx);
    until(|| group.try_go(|| Ok(())));
    assert_eq!(group.wait(), Ok(()));
}

/// Go: errgroup's "pipeline" example.
fn a_group_makes_a_pipeline() {
    let (group, ctx) = ErrGroup::<String>::with_context(&Context::background());
    let (tx, words) = chan::bounded(0);
    let (lengths, rx) = chan::bounded(10);
    let source = ctx.clone();
    group.go(move || {
        for word in ["one", "three", "seven", ""] {
            select! {
                send(tx, word) -> r => r.map_err(|e| e.to_string())?,
                recv(source.done()) -> _ => return Err("cancelled".to_string()),
            }
        }
        Ok(())
    });
    for _ in 0..2 {
        let (words, lengths) = (words.clone(), lengths.clone());
        group.go(move || {
            words.iter().try_for_each(|word: &str| match word.len() {
                0 => Err("an empty word".to_string()),
                n => lengths.send(n).map_err(|e| e.to_string()),
            })
        });
    }
    drop((words, lengths));
    assert_eq!(group.wait(), Err("an empty word".to_string()));
    assert!(ctx.err().is_some());
    assert_eq!(rx.iter().sum::<usize>(), 13);
}

/// Go: has no such thing; tokio has.
fn a_sets_results_come_as_they_are_ready() {
    let mut set = JoinSet::new();
    let (tx, rx) = chan::bounded::<()>(0);
    set.go(move || {
        let _ = rx.recv();
        "late"
    });
    set.go(|| "early");
    assert_eq!(set.len(), 2);
    assert_eq!(set.join_next().unwrap().unwrap(), "early");
    drop(tx);
    assert_eq!(set.join_next().unwrap().unwrap(), "late");
    assert!(set.join_next().is_none() && set.is_empty());
}

/// Go: a WaitGroup and a slice of results.
fn a_set_joins_all() {
    let mut set = JoinSet::new();
    for i in 0..50u32 {
        set.go(move || i * i);
    }
    let mut all: Vec<u32> = set.join_all().into_iter().map(|r| r.unwrap()).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq((0..50).map(|i| i * i)));
}

/// Go: such a panic ends the program.
fn a_sets_panics_are_results() {
    let mut set = JoinSet::new();
    for i in 0..10 {
        set.go(move || assert!(i != 4, "the fourth"));
    }
    let mut failed = 0;
    while let Some(result) = set.join_next() {
        failed += usize::from(result.is_err());
    }
    assert_eq!(failed, 1);
}
