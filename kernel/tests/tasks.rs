//! Structure, locals, panics and futures. The cases that need no machine are in `cases/`, and run on the host as well.
#![no_std]
#![no_main]

mod support;

use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use trefoil::JoinError;
use trefoil::prelude::*;

image! { "
    children_borrow_what_lives_outside
    a_scope_without_children_returns
    children_start_siblings_after_the_closure_has_ended
    a_panic_of_the_closure_waits_for_the_children
    a_panic_that_nobody_joined_makes_the_scope_panic | expect alone | expect dropped
    values_that_borrow_are_dropped_in_time
    a_child_that_is_not_made_is_not_waited_for
    scopes_in_scopes_end_from_the_inside
    a_storm_of_scopes_loses_nobody                   | append slice=50
    a_borrow_from_a_dead_scope_is_named              | expect \"lender\" has used up its window | expect the stack of G | expect \"lender\", which has ended
    a_dead_g_leaves_its_scope_after_its_own_children | append slice=50 | expect \"middle\" has used up its window
    a_child_that_overflows_makes_the_scope_panic     | expect \"glutton\" has used up its window
";
    children_borrow_what_lives_outside, a_scope_without_children_returns, children_start_siblings_after_the_closure_has_ended,
    a_panic_of_the_closure_waits_for_the_children, a_panic_that_nobody_joined_makes_the_scope_panic,
    values_that_borrow_are_dropped_in_time, a_child_that_is_not_made_is_not_waited_for, scopes_in_scopes_end_from_the_inside,
    a_storm_of_scopes_loses_nobody, a_borrow_from_a_dead_scope_is_named, a_dead_g_leaves_its_scope_after_its_own_children,
    a_child_that_overflows_makes_the_scope_panic,
}

mod api {
    pub use trefoil::SpawnError;
    pub use trefoil::panic::{AssertUnwindSafe, catch_unwind, panic_message};
    pub use trefoil::prelude::*;
    pub use trefoil::runtime::{exit_g, yield_now};

    /// A panic without a word from the hook.
    pub fn quiet_panic(message: &'static str) -> ! {
        trefoil::panic::resume_unwind(Box::new(message))
    }

    /// Waits until `done()`, letting others run.
    pub fn until(done: impl Fn() -> bool) {
        while !done() {
            yield_now();
        }
    }
}

#[path = "cases/scope.rs"]
mod scope_cases;

use api::*;
use scope_cases::*;

/// Recursion without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

/// What the children of a scope whose G has died came to.
static NAMED: AtomicUsize = AtomicUsize::new(0);
static ENDED: AtomicUsize = AtomicUsize::new(0);

fn a_borrow_from_a_dead_scope_is_named() {
    /// Touches what it was lent, for ever.
    fn borrow(lent: &[u64; 8]) -> ! {
        loop {
            assert_eq!(black_box(lent)[3], 42, "somebody else's data");
            runtime::yield_now();
        }
    }
    for round in 1..=3 {
        let lender = Builder::new().name("lender").spawn(|| {
            let lent = black_box([42u64; 8]);
            scope(|s| {
                for _ in 0..4 {
                    s.go(|| borrow(&lent));
                    // This one does not touch it, and comes to its end.
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
        // Its memory goes back, and others live in the frames.
        until(|| {
            runtime::scavenge();
            (0..20).map(|i| go(move || black_box([i; 200])[7])).for_each(|h| assert!(h.join().unwrap() < 20));
            runtime::stats().memory.abandoned == 5 * round
        });
        until(|| ENDED.load(SeqCst) == 4 * round as usize);
    }
    until(|| runtime::num_goroutines() == 1);
}

fn a_dead_g_leaves_its_scope_after_its_own_children() {
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

fn a_child_that_overflows_makes_the_scope_panic() {
    let lent = [3u64; 4];
    let result = catch_unwind(|| {
        scope(|s| {
            Builder::new().name("glutton").spawn_scoped(s, || glut(lent[1])).unwrap();
        })
    });
    assert_eq!(panic_message(&*result.unwrap_err()), Some("a goroutine of the scope panicked"));
}
