//! The inbox, in the production scheduler: handlers on any core push G's, M's look for work with
//! the real `next_g`. A G that is lost leaves an M resting for ever, which loom reports as a
//! deadlock; one that is there twice runs twice. A second push of the same G breaks INV-INBOX.
#![cfg(loom)]

mod support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use support::{cores, g};
use trefoil_sched::{GRef, M, model, ready_from_interrupt};

fn machine(cores: usize) -> Vec<&'static M> {
    support::machine(cores, cores).1
}

fn parked() -> GRef {
    let g = g();
    model::make_parked(g);
    g
}

/// `m` looks for a G, and rests until there is one.
fn look(m: &'static M) -> GRef {
    cores::run_on(m);
    model::next_g(m)
}

#[test]
fn a_push_while_an_m_lies_down_is_seen_or_wakes_it() {
    cores::model(|| {
        let ms = machine(2);
        let (handler, rester) = (ms[0], ms[1]);
        let waits = parked();
        let found = thread::spawn(move || look(rester));
        cores::run_on(handler);
        ready_from_interrupt(handler, waits);
        assert!(std::ptr::eq(found.join().unwrap(), waits));
    });
}

#[test]
fn a_push_in_the_rest_of_the_same_core_ends_it() {
    cores::model(|| {
        let ms = machine(1);
        let waits = parked();
        // After the last look at the queues, before the core sleeps.
        cores::before_rest(Box::new(move |m| ready_from_interrupt(m, waits)));
        assert!(std::ptr::eq(look(ms[0]), waits));
    });
}

#[test]
fn two_handlers_push_and_nobody_is_lost_or_there_twice() {
    cores::model(|| {
        let ms = machine(3);
        let (one, two) = (parked(), parked());
        let rester = ms[2];
        let found = thread::spawn(move || [look(rester), look(rester)]);
        let second = {
            let m = ms[1];
            thread::spawn(move || {
                cores::run_on(m);
                ready_from_interrupt(m, two);
            })
        };
        cores::run_on(ms[0]);
        ready_from_interrupt(ms[0], one);
        second.join().unwrap();
        let [a, b] = found.join().unwrap();
        assert!(!std::ptr::eq(a, b), "one G ran twice");
        assert!([one, two].iter().all(|g| std::ptr::eq(*g, a) || std::ptr::eq(*g, b)));
    });
}

#[test]
fn two_takers_share_what_a_handler_pushed() {
    cores::model(|| {
        let ms = machine(2);
        let other = {
            let m = ms[1];
            thread::spawn(move || look(m))
        };
        let (one, two) = (parked(), parked());
        cores::run_on(ms[0]);
        ready_from_interrupt(ms[0], one);
        ready_from_interrupt(ms[0], two);
        let mine = model::next_g(ms[0]);
        let other = other.join().unwrap();
        assert!(!std::ptr::eq(mine, other), "one G ran twice");
    });
}

/// Two devices complete for the same park: the G is in the inbox once.
#[test]
fn a_g_that_is_pushed_twice_before_it_is_seen_is_there_once() {
    cores::model(|| {
        let ms = machine(2);
        let waits = parked();
        let other = {
            let m = ms[1];
            thread::spawn(move || {
                cores::run_on(m);
                ready_from_interrupt(m, waits);
            })
        };
        cores::run_on(ms[0]);
        ready_from_interrupt(ms[0], waits);
        other.join().unwrap();
        assert!(std::ptr::eq(model::next_g(ms[0]), waits));
        assert_eq!(model::inbox_len(ms[0]), 0);
    });
}

/// The first of two runs and parks again while the taker is still at work on the second, and is
/// pushed again: its link is read before it is written.
#[test]
fn a_g_that_parks_again_at_once_can_be_pushed_again() {
    cores::model(|| {
        let ms = machine(2);
        let (a, b) = (ms[0], ms[1]);
        let (one, two) = (parked(), parked());
        let turns = Arc::new(AtomicU32::new(0));
        cores::run_on(a);
        ready_from_interrupt(a, one);
        ready_from_interrupt(a, two);
        let run = move |m: &'static M, turns: &AtomicU32| {
            cores::run_on(m);
            let g = model::next_g(m);
            turns.fetch_add(1, Ordering::Relaxed);
            if std::ptr::eq(g, one) {
                model::park_again(g);
                ready_from_interrupt(m, g);
            }
        };
        let other = {
            let turns = turns.clone();
            thread::spawn(move || run(b, &turns))
        };
        run(a, &turns);
        other.join().unwrap();
        // Three turns in all; the third one is the second of `one`, or it went to `one` twice and
        // `two` is left.
        let last = model::next_g(a);
        assert!(std::ptr::eq(last, one) || std::ptr::eq(last, two));
        assert_eq!(turns.load(Ordering::Relaxed), 2);
        assert_eq!(model::inbox_len(a), 0);
    });
}
