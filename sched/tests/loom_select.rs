//! Waiting for several channels, the production types: the ticket that partners, closers, deadlines and other selects compete for.
#![cfg(loom)]

mod baton;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton::{explore, explore_timed};
use trefoil_sched::chan::{RecvError, SendError, bounded};
use trefoil_sched::select::Select;
use trefoil_sched::select_biased;
use trefoil_sched::time::Duration;

type Body = Box<dyn FnOnce() + Send>;

// Two G's a model, so that every interleaving is tried: three take hours. And the arms in order: each random order would be a model of its own.

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
                // The sender is gone after both; what it sent stays, and no value comes twice.
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
                // The deadline comes while this one's M has nothing to do. Whoever wins, the value comes: with the select, or after it.
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
