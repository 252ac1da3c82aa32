//! Channels, the production types: every interleaving of a few G's that send, receive, wait and
//! drop. A receiver that waits beside a waiting sender breaks INV-ONE-SIDE.
#![cfg(loom)]

mod baton;

use baton::explore;
use trefoil_sched::chan::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError, bounded, unbounded};
use trefoil_sched::model::time_passes;
use trefoil_sched::time::Instant;

type Body = Box<dyn FnOnce() + Send>;

/// One G sends 0, 1, …; another receives as many.
fn in_order(capacity: usize, n: u32) {
    explore(move || {
        let (tx, rx) = bounded(capacity);
        let sender: Body = Box::new(move || (0..n).for_each(|i| tx.send(i).unwrap()));
        let receiver: Body = Box::new(move || (0..n).for_each(|i| assert_eq!(rx.recv(), Ok(i))));
        vec![sender, receiver]
    });
}

#[test]
fn a_rendezvous_hands_over() {
    in_order(0, 1);
}

#[test]
fn a_second_rendezvous_follows_the_first() {
    in_order(0, 2);
}

#[test]
fn a_ring_of_one_fills_and_empties_in_order() {
    in_order(1, 3);
}

#[test]
fn the_last_receivers_drop_wakes_a_sender_with_its_value() {
    explore(|| {
        let (tx, rx) = bounded(0);
        vec![
            Box::new(move || assert_eq!(tx.send(String::from("back")).unwrap_err().into_inner(), "back")),
            Box::new(move || drop(rx)) as Body,
        ]
    });
}

#[test]
fn a_try_send_meets_a_receiver_or_says_that_there_is_none() {
    explore(|| {
        let (tx, rx) = bounded(0);
        vec![
            Box::new(move || match tx.try_send(1) {
                Ok(()) => {}
                Err(TrySendError::Full(value)) => assert_eq!(tx.send(value), Ok(())),
                Err(error) => panic!("{error}"),
            }),
            Box::new(move || assert_eq!(rx.recv(), Ok(1))) as Body,
        ]
    });
}

#[test]
fn a_try_recv_meets_a_sender_or_says_that_there_is_none() {
    explore(|| {
        let (tx, rx) = bounded(0);
        vec![
            Box::new(move || assert_eq!(tx.send(1), Ok(()))),
            Box::new(move || match rx.try_recv() {
                Ok(value) => assert_eq!(value, 1),
                Err(TryRecvError::Empty) => assert_eq!(rx.recv(), Ok(1)),
                Err(error) => panic!("{error}"),
            }) as Body,
        ]
    });
}

#[test]
fn a_round_trip_parks_and_readies_both_ways() {
    explore(|| {
        let (to, ping) = bounded(0);
        let (back, pong) = bounded(0);
        vec![
            Box::new(move || {
                to.send(1).unwrap();
                assert_eq!(pong.recv(), Ok(2));
            }),
            Box::new(move || back.send(ping.recv().unwrap() + 1).unwrap()) as Body,
        ]
    });
}

/// A deadline that comes when the model says so.
const SOON: Instant = Instant::from_nanos(5);

#[test]
fn a_deadline_and_a_sender_compete_for_a_receiver() {
    explore(|| {
        let (tx, rx) = bounded(0);
        vec![
            Box::new(move || {
                let got = rx.recv_deadline(SOON).or_else(|error| {
                    assert_eq!(error, RecvTimeoutError::Timeout);
                    rx.recv().map_err(RecvTimeoutError::from)
                });
                assert_eq!(got, Ok(7));
            }),
            Box::new(time_passes),
            Box::new(move || tx.send(7).unwrap()) as Body,
        ]
    });
}

#[test]
fn a_deadline_and_a_receiver_compete_for_a_sender() {
    explore(|| {
        let (tx, rx) = bounded(0);
        vec![
            Box::new(move || match tx.send_deadline(7, SOON) {
                Ok(()) => {}
                Err(SendTimeoutError::Timeout(value)) => tx.send(value).unwrap(),
                Err(error) => panic!("{error}"),
            }),
            Box::new(time_passes),
            Box::new(move || assert_eq!(rx.recv(), Ok(7))) as Body,
        ]
    });
}

#[test]
fn a_deadline_and_a_close_compete_for_a_receiver() {
    explore(|| {
        let (tx, rx) = bounded::<u8>(0);
        vec![
            Box::new(move || {
                if rx.recv_deadline(SOON) == Err(RecvTimeoutError::Timeout) {
                    assert!(rx.recv().is_err());
                }
            }),
            Box::new(time_passes),
            Box::new(move || tx.close()) as Body,
        ]
    });
}

#[test]
fn an_unbounded_channel_fills_and_empties_in_order() {
    explore(|| {
        let (tx, rx) = unbounded();
        vec![
            Box::new(move || (0..2).for_each(|i| tx.send(i).unwrap())),
            Box::new(move || assert!(rx.iter().eq(0..2))) as Body,
        ]
    });
}

#[test]
fn two_senders_grow_an_unbounded_channel_at_once() {
    explore(|| {
        let (tx, rx) = unbounded();
        let other = tx.clone();
        vec![
            Box::new(move || other.send(1).unwrap()),
            Box::new(move || {
                tx.send(2).unwrap();
                drop(tx);
                assert_eq!(rx.iter().sum::<i32>(), 3);
            }) as Body,
        ]
    });
}

#[test]
fn a_close_and_a_send_on_an_unbounded_channel_compete() {
    explore(|| {
        let (tx, rx) = unbounded();
        let other = tx.clone();
        vec![
            Box::new(move || other.close()),
            Box::new(move || {
                let sent = tx.send(String::from("value")).is_ok();
                assert_eq!(rx.iter().count(), usize::from(sent));
            }) as Body,
        ]
    });
}

#[test]
fn a_close_and_a_sender_compete_for_a_receiver() {
    for capacity in [0, 1] {
        explore(move || {
            let (tx, rx) = bounded(capacity);
            vec![
                Box::new(move || {
                    tx.try_send("value").map_or_else(|error| assert_eq!(error.into_inner(), "value"), |()| ());
                    tx.close();
                }),
                Box::new(move || {
                    if let Ok(value) = rx.recv() {
                        assert_eq!((value, rx.recv().is_err()), ("value", true));
                    }
                }) as Body,
            ]
        });
    }
}
