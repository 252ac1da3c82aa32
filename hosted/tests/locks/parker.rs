//! `Parker`: one token.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use trefoil_hosted::prelude::*;
use trefoil_hosted::{Config, Failure, run};
use trefoil_sched::locks::Parker;

use super::let_others_run;
use super::support::{shaken, tidy};

#[test]
fn a_token_that_comes_first_counts_once() {
    tidy(1, || {
        let parker = Parker::new();
        (0..3).for_each(|_| parker.unparker().unpark());
        parker.park();
        assert!(!parker.park_timeout(Duration::ZERO), "tokens add up");
        assert!(!parker.park_timeout(Duration::from_millis(1)), "tokens add up");
    });
}

#[test]
fn a_parked_goroutine_is_woken() {
    tidy(1, || {
        let (tx, rx) = chan::bounded(1);
        let waiter = go(move || {
            let parker = Parker::default();
            tx.send(parker.unparker().clone()).unwrap();
            parker.park();
        });
        let unparker = rx.recv().unwrap();
        let_others_run();
        assert!(!waiter.is_finished(), "nothing has come");
        unparker.unpark();
        waiter.join().unwrap();
        // Nobody is left to take it.
        unparker.unpark();
    });
}

#[test]
fn a_deadline_ends_it_and_a_token_beats_a_deadline_that_has_passed() {
    tidy(2, || {
        let parker = Parker::new();
        let begin = Instant::now();
        assert!(!parker.park_timeout(Duration::from_millis(3)));
        assert!(begin.elapsed() >= Duration::from_millis(3));
        assert!(!parker.park_deadline(begin));
        parker.unparker().unpark();
        assert!(parker.park_deadline(begin));
        parker.unparker().unpark();
        assert!(parker.park_deadline(Instant::NEVER));
        assert!(!parker.park_timeout(Duration::ZERO));
    });
}

#[test]
fn no_token_is_lost_between_many_and_one() {
    for procs in [1, 2, 4] {
        shaken(procs, || {
            const ROUNDS: usize = 500;
            let (parker, sum) = (Parker::new(), Arc::new(AtomicUsize::new(0)));
            let others: Vec<_> = (0..4)
                .map(|_| {
                    let (unparker, sum) = (parker.unparker().clone(), sum.clone());
                    go(move || {
                        for _ in 0..ROUNDS {
                            sum.fetch_add(1, Ordering::Relaxed);
                            unparker.unpark();
                        }
                    })
                })
                .collect();
            while sum.load(Ordering::Relaxed) < 4 * ROUNDS {
                parker.park();
            }
            others.into_iter().for_each(|g| g.join().unwrap());
        });
    }
}

#[test]
fn two_goroutines_take_turns() {
    shaken(2, || {
        let (here, there) = (Parker::new(), Parker::new());
        let (to_here, to_there) = (here.unparker().clone(), there.unparker().clone());
        let other = go(move || {
            for _ in 0..1_000 {
                there.park();
                to_here.unpark();
            }
        });
        for _ in 0..1_000 {
            to_there.unpark();
            here.park();
        }
        other.join().unwrap();
    });
}

#[test]
fn a_parker_that_nobody_unparks_is_a_deadlock() {
    let failed = run(Config::with_procs(1), || Parker::new().park());
    match failed {
        Err(Failure::Deadlock(waiting)) => assert_eq!(waiting[0].state, "semaphore acquire"),
        other => panic!("{other:?}"),
    }
}
