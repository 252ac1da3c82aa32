//! The join cell, on its production type: completion against join, against an abandoning handle.
#![cfg(loom)]

mod support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use support::g;
use trefoil_sched::join::{Completed, JoinCell};

#[test]
fn a_joiner_is_woken_or_finds_the_result() {
    loom::model(|| {
        let joiner = g();
        let cell = Arc::new(JoinCell::new());
        let woken = Arc::new(AtomicBool::new(false));
        let completer = {
            let (cell, woken) = (cell.clone(), woken.clone());
            thread::spawn(move || match cell.complete(7) {
                Completed::Wake(g) => {
                    assert!(std::ptr::eq(g, joiner));
                    woken.store(true, Ordering::Release);
                }
                Completed::Kept => {}
                Completed::Unclaimed(_) => panic!("the handle still exists"),
            })
        };
        if cell.is_done() || !cell.register(joiner) {
            assert_eq!(cell.take(), 7);
            completer.join().unwrap();
            assert!(!woken.load(Ordering::Relaxed), "woken although it did not wait");
        } else {
            completer.join().unwrap();
            assert!(woken.load(Ordering::Acquire), "a registered joiner was not woken");
            assert_eq!(cell.take(), 7);
        }
    });
}

#[test]
fn an_abandoned_result_has_exactly_one_owner() {
    loom::model(|| {
        let cell = Arc::new(JoinCell::new());
        let completer = {
            let cell = cell.clone();
            thread::spawn(move || match cell.complete(Box::new(7)) {
                Completed::Unclaimed(value) => Some(value),
                Completed::Kept => None,
                Completed::Wake(_) => panic!("nobody joined"),
            })
        };
        let mine = if cell.abandon() { None } else { Some(cell.take()) };
        let theirs = completer.join().unwrap();
        assert!(mine.is_some() != theirs.is_some(), "the result has no owner, or two");
    });
}
