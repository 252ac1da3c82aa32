//! The sleep protocol, in the production scheduler: real M's look for work with the real `next_g`,
//! rest on a condition variable, and a submitter pushes through the real `enqueue`. A lost wake-up
//! leaves an M resting for ever, which loom reports as a deadlock. A second look that is left out
//! breaks INV-RECHECK.
#![cfg(loom)]

mod support;

use loom::sync::Arc;
use loom::thread;
use support::{cores, machine, runnable};
use trefoil_sched::internals::idle::IdleSets;
use trefoil_sched::model;

/// M 0 pushes `n` G's while M 1 goes to rest; M 1 must find one of them.
fn submit_against_rest(n: usize) {
    cores::model(move || {
        let (_, ms) = machine(2, 2);
        let (submitter, rester) = (ms[0], ms[1]);
        let found = thread::spawn(move || cores::look(rester));
        for _ in 0..n {
            model::submit(submitter, runnable());
        }
        found.join().unwrap();
    });
}

#[test]
fn a_push_while_an_m_lies_down_is_seen_or_wakes_it() {
    submit_against_rest(1);
}

#[test]
fn two_pushes_while_an_m_lies_down_are_seen_or_wake_it() {
    submit_against_rest(2);
}

#[test]
fn two_submitters_do_not_talk_each_other_out_of_waking() {
    cores::model(|| {
        let (_, ms) = machine(3, 3);
        let found = {
            let rester = ms[2];
            thread::spawn(move || cores::look(rester))
        };
        let second = {
            let m = ms[1];
            thread::spawn(move || model::submit(m, runnable()))
        };
        model::submit(ms[0], runnable());
        second.join().unwrap();
        found.join().unwrap();
    });
}

#[test]
fn the_one_that_found_work_wakes_the_next() {
    cores::model(|| {
        let (_, ms) = machine(3, 3);
        let resters: Vec<_> = ms[1..].iter().map(|&m| thread::spawn(move || cores::look(m))).collect();
        model::submit(ms[0], runnable());
        model::submit(ms[0], runnable());
        for rester in resters {
            rester.join().unwrap();
        }
    });
}

/// Two M's spin. One lies down while the other one stops in its own way. Returns whether the first
/// is watched, and the answer of the other.
fn lie_down_beside(stops: fn(&IdleSets) -> bool) -> (bool, bool) {
    let rest = Arc::new(IdleSets::new(3));
    rest.spin();
    rest.spin();
    let other = {
        let rest = rest.clone();
        thread::spawn(move || stops(&rest))
    };
    rest.lie_down(2, None, true);
    (rest.is_watched(), other.join().unwrap())
}

/// INV-WATCH: two thieves leave the same G where it is, each because the other one looks on. One of
/// them has to.
#[test]
fn of_two_that_lie_down_one_knows_that_nobody_looks_on() {
    cores::model(|| {
        let (watched, other) = lie_down_beside(|rest| {
            rest.lie_down(1, None, true);
            rest.is_watched()
        });
        assert!(!(watched && other), "nobody looks on");
    });
}

/// The same, and the other one has found work: then it is the one that looks whether there is more.
#[test]
fn the_last_that_spins_looks_for_the_one_that_lay_down() {
    cores::model(|| {
        let (watched, last) = lie_down_beside(IdleSets::stop_spinning);
        assert!(!watched || last, "nobody looks on");
    });
}
