//! Scopes: a borrowed value stays until the last goroutine that borrows it has ended.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use crate::api::*;

pub fn children_borrow_what_lives_outside() {
    let mut counts = [0usize; 40];
    let word = String::from("borrowed");
    let lengths: usize = scope(|s| {
        for (i, count) in counts.iter_mut().enumerate() {
            s.go(move || {
                yield_now();
                *count = i * i;
            });
        }
        let handles: Vec<_> = (0..10).map(|_| s.go(|| word.len())).collect();
        handles.into_iter().map(|h| h.join().unwrap()).sum()
    });
    assert_eq!(lengths, 80);
    assert!(counts.iter().enumerate().all(|(i, &count)| count == i * i), "a child had not ended");
}

pub fn a_scope_without_children_returns() {
    assert_eq!(scope(|_| 7), 7);
    assert_eq!(scope(|s| s.go(|| 7).join().unwrap()), 7);
}

pub fn children_start_siblings_after_the_closure_has_ended() {
    let begun = AtomicUsize::new(0);
    scope(|s| {
        s.go(|| {
            (0..20).for_each(|_| yield_now());
            for _ in 0..10 {
                s.go(|| {
                    yield_now();
                    s.go(|| _ = begun.fetch_add(1, SeqCst));
                    begun.fetch_add(1, SeqCst);
                });
            }
        });
    });
    assert_eq!(begun.load(SeqCst), 20);
}

pub fn a_panic_of_the_closure_waits_for_the_children() {
    let ended = AtomicUsize::new(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            for _ in 0..10 {
                s.go(|| {
                    (0..50).for_each(|_| yield_now());
                    ended.fetch_add(1, SeqCst);
                });
            }
            quiet_panic("the closure");
        })
    }));
    assert_eq!(ended.load(SeqCst), 10, "the borrow ended too soon");
    assert_eq!(panic_message(&*caught.unwrap_err()), Some("the closure"));
}

pub fn a_panic_that_nobody_joined_makes_the_scope_panic() {
    let alone = catch_unwind(|| {
        scope(|s| {
            s.go(|| quiet_panic("alone"));
        })
    });
    assert_eq!(panic_message(&*alone.unwrap_err()), Some("a goroutine of the scope panicked"));
    // The handle is dropped after the end: the same.
    let dropped = catch_unwind(|| {
        scope(|s| {
            let handle = s.go(|| quiet_panic("dropped"));
            until(|| handle.is_finished());
        })
    });
    assert!(dropped.is_err());
    let joined = scope(|s| {
        let error = s.go(|| quiet_panic("joined")).join().unwrap_err();
        error.message().map(ToOwned::to_owned)
    });
    assert_eq!(joined.as_deref(), Some("joined"));
    // `exit_g` is no panic.
    scope(|s| _ = s.go(|| exit_g()));
}

pub fn values_that_borrow_are_dropped_in_time() {
    struct Told<'a>(&'a AtomicUsize);
    impl Drop for Told<'_> {
        fn drop(&mut self) {
            (0..10).for_each(|_| yield_now());
            self.0.fetch_add(1, SeqCst);
        }
    }
    let drops = AtomicUsize::new(0);
    scope(|s| {
        // Four values: unclaimed, joined, dropped after the end, and captured by the closure.
        s.go(|| Told(&drops));
        drop(s.go(|| Told(&drops)).join().unwrap());
        let late = s.go(|| Told(&drops));
        until(|| late.is_finished());
        let captured = Told(&drops);
        s.go(move || {
            yield_now();
            let _captured = &captured;
        });
    });
    assert_eq!(drops.load(SeqCst), 4);
}

pub fn a_child_that_is_not_made_is_not_waited_for() {
    let text = String::from("mine");
    scope(|s| {
        let error = Builder::new().stack_max(0).spawn_scoped(s, || text.len()).unwrap_err();
        assert!(matches!(error, SpawnError::BadStackSize(_)));
        assert_eq!(error.into_inner()(), 4);
        let named = Builder::new().name("reader").spawn_scoped(s, || text.len()).unwrap();
        assert_eq!(named.join().unwrap(), 4);
    });
}

pub fn a_scope_waits_for_the_others_of_a_child_that_is_not_made() {
    let ended = AtomicBool::new(false);
    scope(|s| {
        assert!(Builder::new().stack_max(0).spawn_scoped(s, || ()).is_err());
        s.go(|| {
            for _ in 0..100 {
                yield_now();
            }
            ended.store(true, SeqCst);
        });
    });
    assert!(ended.load(SeqCst), "the scope ended before its child");
}

pub fn scopes_in_scopes_end_from_the_inside() {
    let depth = AtomicUsize::new(0);
    fn dig(depth: &AtomicUsize, left: usize) {
        let here = AtomicBool::new(false);
        scope(|s| {
            s.go(|| {
                if left > 0 {
                    dig(depth, left - 1);
                }
                depth.fetch_add(1, SeqCst);
                here.store(true, SeqCst);
            });
            s.go(yield_now);
        });
        assert!(here.load(SeqCst), "the scope ended before its child");
    }
    dig(&depth, 20);
    assert_eq!(depth.load(SeqCst), 21);
}

pub fn a_storm_of_scopes_loses_nobody() {
    let rounds = if cfg!(debug_assertions) { 300 } else { 2000 };
    let handles: Vec<_> = (0..4)
        .map(|_| {
            go(move || {
                for round in 0..rounds {
                    let sum = AtomicUsize::new(0);
                    scope(|s| {
                        for i in 0..round % 5 {
                            let sum = &sum;
                            s.go(move || sum.fetch_add(i + 1, SeqCst));
                        }
                    });
                    assert_eq!(sum.into_inner(), (1..=round % 5).sum());
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
}
