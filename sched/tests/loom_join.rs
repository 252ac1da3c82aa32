//! The join cell, on its production type: completion against join, against an abandoning handle.
#![cfg(loom)]

mod support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use support::g;
use trefoil_sched::join::{Completed, JoinCell};

/// Completes a cell, as the G's side does.
fn complete<T>(cell: &JoinCell<T>, value: T) -> Completed {
    // SAFETY: 1. this is the one completer, and it puts before it completes.
    unsafe {
        cell.put(value);
        cell.word().complete()
    }
}

#[test]
fn a_joiner_is_woken_or_finds_the_result() {
    support::cores::model(|| {
        let joiner = g();
        let cell = Arc::new(JoinCell::new());
        let woken = Arc::new(AtomicBool::new(false));
        let completer = {
            let (cell, woken) = (cell.clone(), woken.clone());
            thread::spawn(move || match complete(&cell, 7) {
                Completed::Wake(g) => {
                    assert!(std::ptr::eq(g, joiner));
                    woken.store(true, Ordering::Release);
                }
                Completed::Kept => {}
                Completed::Unclaimed => panic!("the handle still exists"),
            })
        };
        if cell.word().is_done() || !cell.word().register(joiner) {
            // SAFETY: 1. this is the handle, and the word is DONE. 2. once.
            assert_eq!(unsafe { cell.take() }, 7);
            completer.join().unwrap();
            assert!(!woken.load(Ordering::Relaxed), "woken although it did not wait");
        } else {
            completer.join().unwrap();
            assert!(woken.load(Ordering::Acquire), "a registered joiner was not woken");
            // SAFETY: 1. this is the handle, and the completer, which has ended, has set the word
            // to DONE. 2. once.
            assert_eq!(unsafe { cell.take() }, 7);
        }
    });
}

#[test]
fn an_abandoned_result_has_exactly_one_owner() {
    support::cores::model(|| {
        let cell = Arc::new(JoinCell::new());
        let completer = {
            let cell = cell.clone();
            thread::spawn(move || match complete(&cell, Box::new(7)) {
                // SAFETY: 1. this is the completer. 2. once.
                Completed::Unclaimed => Some(unsafe { cell.take() }),
                Completed::Kept => None,
                Completed::Wake(_) => panic!("nobody joined"),
            })
        };
        // SAFETY: 1. this is the handle, and the word is DONE. 2. once.
        let mine = if cell.word().abandon() { None } else { Some(unsafe { cell.take() }) };
        let theirs = completer.join().unwrap();
        assert!(mine.is_some() != theirs.is_some(), "the result has no owner, or two");
    });
}
