//! Goroutines that die of their stacks: their scopes, groups and locals.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use crate::api::*;
use crate::glut;

/// Counts of children that came to their end although their scope's G has died.
static NAMED: AtomicUsize = AtomicUsize::new(0);
static ENDED: AtomicUsize = AtomicUsize::new(0);

pub fn a_borrow_from_a_dead_scope_stays() {
    static STOP: AtomicBool = AtomicBool::new(false);
    /// Touches what it was lent, until it is told to stop.
    fn borrow(lent: &[u64; 8]) {
        while !STOP.load(SeqCst) {
            assert_eq!(black_box(lent)[3], 42, "somebody else's data");
            runtime::yield_now();
        }
    }
    for round in 1..=3 {
        STOP.store(false, SeqCst);
        let lender = Builder::new().name("lender").spawn(|| {
            let lent = black_box([42u64; 8]);
            scope(|s| {
                for _ in 0..4 {
                    s.go(|| borrow(&lent));
                    // This child does not touch it, and comes to its end.
                    s.go(|| {
                        (0..50).for_each(|_| runtime::yield_now());
                        ENDED.fetch_add(1, SeqCst);
                    });
                }
                runtime::yield_now();
                glut(lent[0])
            })
        });
        assert!(matches!(lender.unwrap().join(), Err(JoinError::StackOverflow)));
        until(|| ENDED.load(SeqCst) == 4 * round as usize);
        // Others come and go, and unneeded memory goes back.
        for _ in 0..5 {
            runtime::scavenge();
            (0..20).map(|i| go(move || black_box([i; 200])[7])).for_each(|h| assert!(h.join().unwrap() < 20));
        }
        let memory = runtime::stats().memory;
        assert_eq!((memory.abandoned, memory.stacks.kept, memory.stacks.retired), (round, 1, round - 1));
        STOP.store(true, SeqCst);
        until(|| runtime::num_goroutines() == 1 && runtime::stats().memory.stacks.kept == 0);
        assert_eq!(runtime::stats().memory.stacks.retired, round);
    }
}

pub fn a_dead_g_leaves_its_scope_after_its_own_children() {
    for _ in 0..5 {
        NAMED.store(0, SeqCst);
        let mine = black_box([7u64; 8]);
        let result = catch_unwind(|| {
            scope(|s| {
                let middle = Builder::new().name("middle").spawn_scoped(s, || {
                    scope(|inner| {
                        // The grandchild uses what only the outer scope lends.
                        inner.go(|| {
                            for _ in 0..300 {
                                assert_eq!(black_box(&mine)[5], 7);
                                runtime::yield_now();
                            }
                            NAMED.fetch_add(1, SeqCst);
                        });
                        scope(|innermost| {
                            innermost.go(|| {
                                (0..100).for_each(|_| runtime::yield_now());
                                assert_eq!(black_box(&mine)[5], 7);
                                NAMED.fetch_add(1, SeqCst);
                            });
                            glut(1)
                        })
                    })
                });
                assert!(matches!(middle.unwrap().join(), Err(JoinError::StackOverflow)));
            })
        });
        assert!(result.is_ok());
        assert_eq!(NAMED.load(SeqCst), 2, "the scope ended while others still used what it lends");
    }
}

pub fn a_child_that_overflows_makes_the_scope_panic() {
    let lent = [3u64; 4];
    let result = catch_unwind(|| {
        scope(|s| {
            Builder::new().name("glutton").spawn_scoped(s, || glut(lent[1])).unwrap();
        })
    });
    assert_eq!(panic_message(&*result.unwrap_err()), Some("a goroutine of the scope panicked"));
}

pub fn a_group_whose_member_dies_cancels_a_deep_context() {
    for _ in 0..5 {
        let (group, ctx) = ErrGroup::<()>::with_context(&Context::background());
        // Not on the dead one's g0: that would take long.
        let mut inner = ctx.clone();
        (0..2000).for_each(|_| inner = inner.with_cancel().0);
        group.go(|| {
            black_box(glut(1));
            Ok(())
        });
        assert!(inner.done().recv().is_err());
        assert_eq!(inner.err(), Some(ContextError::Canceled));
        let caught = catch_unwind(AssertUnwindSafe(|| group.wait()));
        assert_eq!(panic_message(&*caught.unwrap_err()), Some("ErrGroup: the goroutine's stack overflowed"));
    }
}

pub fn locals_of_main_are_dropped_before_the_machine_stops() {
    struct Word;
    impl Drop for Word {
        fn drop(&mut self) {
            println!("the last word");
        }
    }
    goroutine_local! { static WORD: Word = Word }
    // The kit looks at the heap before `main` ends, unless a goroutine has died of its stack.
    assert!(go(|| glut(1)).join().is_err());
    WORD.with(|_| ());
}

pub fn locals_of_a_dead_goroutine_do_not_live_on() {
    goroutine_local! { static MARK: core::cell::Cell<u64> = core::cell::Cell::new(0) }
    for i in 1..20 {
        let dead = go(move || {
            MARK.set(i);
            glut(i)
        });
        assert!(matches!(dead.join(), Err(JoinError::StackOverflow)));
        let marks: Vec<_> = (0..20).map(|_| go(|| MARK.get())).collect();
        assert!(marks.into_iter().all(|h| h.join().unwrap() == 0), "a local of a goroutine that has ended");
    }
}
