//! Waiting for several channels, the production types: the ticket that partners, closers, deadlines
//! and other selects compete for. A ticket with two winners breaks INV-TICKET.
#![cfg(loom)]

mod baton;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton::{die, explore, explore_coarsely, explore_timed};
use trefoil_sched::chan::{Receiver, RecvError, SendError, bounded};
use trefoil_sched::select::Select;
use trefoil_sched::select_biased;
use trefoil_sched::time::Duration;

type Body = Box<dyn FnOnce() + Send>;

// Two G's a model, with two preemptions, or three with one: three with two take hours. And the arms
// in order: each random order would be a model of its own.

#[test]
fn a_sender_meets_a_select_on_both_arms() {
    explore(|| {
        let ((a, from_a), (b, from_b)) = (bounded(0), bounded(0));
        vec![
            Box::new(move || {
                b.send(2).unwrap();
                a.send(1).unwrap();
            }),
            Box::new(move || {
                let got = select_biased! { recv(from_a) -> v => v, recv(from_b) -> v => v };
                assert_eq!(got, Ok(2));
                assert_eq!(from_a.recv(), Ok(1));
            }) as Body,
        ]
    });
}

#[test]
fn values_that_come_to_both_arms_are_both_received() {
    explore(|| {
        let ((a, from_a), (b, from_b)) = (bounded(1), bounded(1));
        vec![
            Box::new(move || {
                b.send(2).unwrap();
                a.send(1).unwrap();
            }),
            Box::new(move || {
                // The sender is gone after both; the values that it sent stay, and no value comes
                // twice.
                let first = select_biased! { recv(from_a) -> v => v.unwrap(), recv(from_b) -> v => v.unwrap() };
                let rest = if first == 1 { from_b.recv() } else { from_a.recv() };
                assert_eq!(rest, Ok(3 - first));
            }) as Body,
        ]
    });
}

#[test]
fn a_close_meets_a_select() {
    explore(|| {
        let ((a, from_a), (b, from_b)) = (bounded::<u8>(0), bounded(1));
        vec![
            Box::new(move || {
                a.close();
                b.send(2).unwrap();
            }),
            Box::new(move || {
                select_biased! {
                    recv(from_b) -> v => assert_eq!(v, Ok(2)),
                    recv(from_a) -> v => {
                        assert_eq!(v, Err(RecvError));
                        assert_eq!(from_b.recv(), Ok(2));
                    }
                }
            }) as Body,
        ]
    });
}

#[test]
fn a_close_gives_a_select_its_value_back() {
    explore(|| {
        let (a, from_a) = bounded(0);
        vec![
            Box::new(move || drop(from_a)),
            Box::new(move || {
                let SendError(value) = select_biased! { send(a, String::from("back")) -> s => s.unwrap_err() };
                assert_eq!(value, "back");
            }) as Body,
        ]
    });
}

#[test]
fn a_deadline_and_a_sender_compete_for_a_select() {
    explore_timed(|| {
        let ((a, from_a), (b, from_b)) = (bounded(0), bounded::<u8>(0));
        vec![
            Box::new(move || a.send(1).unwrap()),
            Box::new(move || {
                // The deadline comes while this one's M has nothing to do. The value comes in any
                // case: with the select, or after it.
                let got = select_biased! {
                    recv(from_a) -> v => v,
                    recv(from_b) -> _ => unreachable!(),
                    default(Duration::from_nanos(5)) => from_a.recv(),
                };
                assert_eq!(got, Ok(1));
                drop(b);
            }) as Body,
        ]
    });
}

#[test]
fn a_select_meets_a_select() {
    explore(|| {
        let ((a, from_a), (b, from_b)) = (bounded(0), bounded(0));
        vec![
            Box::new(move || {
                select_biased! { send(a, 1) -> s => s.unwrap(), send(b, 2) -> s => s.unwrap() }
            }),
            Box::new(move || {
                let got =
                    select_biased! { recv(from_b) -> v => v.map(|v| v == 2), recv(from_a) -> v => v.map(|v| v == 1) };
                assert_eq!(got, Ok(true));
            }) as Body,
        ]
    });
}

#[test]
fn selects_on_both_ends_meet_each_other_and_not_themselves() {
    explore(|| {
        let (tx, rx) = bounded(0);
        let met = Arc::new(AtomicUsize::new(0));
        (0..2)
            .map(|me| {
                let (tx, rx, met) = (tx.clone(), rx.clone(), met.clone());
                Box::new(move || {
                    select_biased! {
                        send(tx, me) -> s => s.unwrap(),
                        recv(rx) -> v => {
                            assert_eq!(v, Ok(1 - me));
                            met.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }) as Body
            })
            .collect()
    });
}

#[test]
fn a_dynamic_send_is_promised_a_receiver() {
    explore(|| {
        let ((a, from_a), (b, from_b)) = (bounded(0), bounded::<u8>(0));
        vec![
            Box::new(move || assert_eq!(from_a.recv(), Ok(5))),
            Box::new(move || {
                let mut select = Select::new_biased();
                select.recv(&from_b);
                let index = select.send(&a);
                let chosen = select.select();
                assert_eq!(chosen.index(), index);
                chosen.send(&a, 5).unwrap();
                drop(b);
            }) as Body,
        ]
    });
}

/// The G that was promised a receiver or a place dies. The others meet, however much they see of
/// that.
fn a_promised_one_dies(capacity: usize) {
    explore_coarsely(move || {
        let (tx, rx) = bounded(capacity);
        let sends = tx.clone();
        vec![
            Box::new(move || {
                let mut select = Select::new_biased();
                select.send(&tx);
                if let Ok(chosen) = select.try_select() {
                    std::mem::forget(chosen);
                    die();
                }
            }),
            Box::new(move || assert_eq!(rx.recv(), Ok(5))),
            Box::new(move || sends.send(5).unwrap()) as Body,
        ]
    });
}

#[test]
fn a_receiver_that_a_dead_g_was_promised_goes_on_waiting() {
    a_promised_one_dies(0);
}

#[test]
fn a_place_that_a_dead_g_was_promised_is_free_again() {
    a_promised_one_dies(1);
}

#[test]
fn two_senders_meet_a_select_of_two_arms() {
    for capacity in [0, 1] {
        explore_coarsely(move || {
            let ((a, from_a), (b, from_b)) = (bounded(capacity), bounded(capacity));
            vec![
                Box::new(move || a.send(1).unwrap()),
                Box::new(move || b.send(2).unwrap()),
                Box::new(move || {
                    // One arm is done, the other sender's value stays where it is: on its channel,
                    // once.
                    let first = select_biased! { recv(from_a) -> v => v.unwrap(), recv(from_b) -> v => v.unwrap() };
                    let (other, done) = if first == 1 { (from_b, from_a) } else { (from_a, from_b) };
                    assert_eq!(other.recv(), Ok(3 - first));
                    assert!(done.recv().is_err() && other.recv().is_err(), "a value came twice");
                }) as Body,
            ]
        });
    }
}

#[test]
fn a_close_and_a_sender_meet_a_select_of_two_arms() {
    explore_coarsely(|| {
        let ((a, from_a), (b, from_b)) = (bounded::<u8>(0), bounded(0));
        vec![
            Box::new(move || a.close()),
            Box::new(move || b.send(2).unwrap()),
            Box::new(move || {
                select_biased! {
                    recv(from_b) -> v => assert_eq!(v, Ok(2)),
                    recv(from_a) -> v => {
                        assert_eq!(v, Err(RecvError));
                        assert_eq!(from_b.recv(), Ok(2), "the sender's value went with the arm that lost");
                    }
                }
                assert!(from_b.recv().is_err());
            }) as Body,
        ]
    });
}

#[test]
fn a_value_that_two_selects_want_goes_to_one() {
    explore_coarsely(|| {
        let ((a, from_a), (stop, stopped)) = (bounded(0), bounded::<u8>(0));
        let got = Arc::new(AtomicUsize::new(0));
        let select = |from_a: Receiver<u32>, stopped: Receiver<u8>| {
            let (a, stop, got) = (a.clone(), stop.clone(), got.clone());
            Box::new(move || {
                // The channel stays open.
                let _a = a;
                select_biased! {
                    recv(from_a) -> v => {
                        assert_eq!(v, Ok(1));
                        assert_eq!(got.fetch_add(1, Ordering::Relaxed), 0, "both have it");
                        stop.close();
                    }
                    recv(stopped) -> v => assert_eq!(v, Err(RecvError)),
                }
            }) as Body
        };
        vec![
            select(from_a.clone(), stopped.clone()),
            select(from_a.clone(), stopped.clone()),
            Box::new(move || a.send(1).unwrap()) as Body,
        ]
    });
}
