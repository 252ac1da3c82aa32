//! Arms of a select that are switched off: Go's nil channel, for both directions.

mod support;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{settle, shaken, tidy};
use trefoil_hosted::prelude::*;
use trefoil_hosted::{Config, Failure, run};
use trefoil_sched::chan::{bounded, unbounded};
use trefoil_sched::select::Select;

#[test]
fn an_arm_that_is_off_is_never_chosen() {
    tidy(1, || {
        let (tx, rx) = bounded(1);
        let (full, kept) = bounded(1);
        full.send(9).unwrap();
        for _ in 0..100 {
            tx.send(5).unwrap();
            // Both would be ready if they were on.
            let (off_rx, off_tx) = (None::<&Receiver<i32>>, None::<&Sender<i32>>);
            let got = select! {
                recv(off_rx) -> _ => unreachable!(),
                send(off_tx, 7) -> _ => unreachable!(),
                recv(Some(&rx)) -> value => value,
            };
            assert_eq!(got, Ok(5));
            let first = select_biased! {
                send(off_tx, 7) -> _ => unreachable!(),
                recv(off_rx) -> _ => unreachable!(),
                send(Some(&tx), 6) -> sent => sent,
                recv(kept) -> _ => unreachable!(),
            };
            assert_eq!(first, Ok(()));
            assert_eq!(rx.recv(), Ok(6));
        }
    });
}

#[test]
fn a_default_is_taken_if_all_arms_are_off() {
    tidy(1, || {
        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        let off = |on: bool| on.then_some(&rx);
        assert!(select! { recv(off(false)) -> _ => false, default => true });
        let begin = Instant::now();
        assert!(select! { recv(off(false)) -> _ => false, default(Duration::from_millis(2)) => true });
        assert!(begin.elapsed() >= Duration::from_millis(2));
        assert!(select! { recv(off(true)) -> value => value == Ok(1), default => false });
    });
}

#[test]
fn a_select_waits_for_the_arms_that_are_on() {
    shaken(2, || {
        for on in 0..4 {
            let channels: Vec<_> = (0..4).map(|_| bounded::<usize>(0)).collect();
            let side = |at: usize| (at == on).then_some(&channels[at].1);
            let tx = channels[on].0.clone();
            let sender = go(move || tx.send(on).unwrap());
            let got = select! {
                recv(side(0)) -> value => (0, value),
                recv(side(1)) -> value => (1, value),
                recv(side(2)) -> value => (2, value),
                recv(side(3)) -> value => (3, value),
                default(Duration::from_secs(100)) => unreachable!(),
            };
            assert_eq!(got, (on, Ok(on)));
            sender.join().unwrap();
            // The others' lists are empty: a sender would meet a node that stayed behind.
            channels.iter().for_each(|(tx, _)| assert!(tx.try_send(1).is_err()));
        }
    });
}

#[test]
fn the_channels_may_be_owned_and_go_off_one_by_one() {
    tidy(1, || {
        // Go's way to read two channels to their ends: `a = nil` when it is closed.
        let ((ta, a), (tb, b)) = (unbounded(), unbounded());
        (0..10).for_each(|n| ta.send(n).unwrap());
        (10..20).for_each(|n| tb.send(n).unwrap());
        drop((ta, tb));
        let (mut a, mut b, mut sum) = (Some(a), Some(b), 0);
        while a.is_some() || b.is_some() {
            select! {
                recv(a) -> value => match value {
                    Ok(n) => sum += n,
                    Err(_) => a = None,
                },
                recv(b) -> value => match value {
                    Ok(n) => sum += n,
                    Err(_) => b = None,
                },
            }
        }
        assert_eq!(sum, 190);
    });
}

#[test]
fn a_sender_may_be_owned_and_off() {
    tidy(1, || {
        let (tx, rx) = bounded(1);
        let mut out = Some(tx);
        select! { send(out, String::from("x")) -> sent => sent.unwrap() }
        assert_eq!(rx.recv().unwrap(), "x");
        out = None;
        assert!(select! { send(out, String::from("y")) -> _ => false, default => true });
    });
}

#[test]
fn the_value_of_an_arm_that_is_off_is_made_and_dropped_once() {
    tidy(1, || {
        struct Noted(Arc<AtomicUsize>);
        impl Drop for Noted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (drops, made) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let make = || {
            made.fetch_add(1, Ordering::Relaxed);
            Noted(drops.clone())
        };
        let (_tx, rx) = bounded::<()>(1);
        select! {
            send(None::<&Sender<Noted>>, make()) -> _ => unreachable!(),
            recv(rx) -> _ => unreachable!(),
            default => assert_eq!((made.load(Ordering::Relaxed), drops.load(Ordering::Relaxed)), (1, 1)),
        }
        // As large as one that travels in a block.
        let (_tx, rx) = bounded::<()>(1);
        select! {
            send(None::<Sender<(Noted, [u8; 500])>>, (make(), [0; 500])) -> _ => unreachable!(),
            recv(rx) -> _ => unreachable!(),
            default(Duration::from_millis(1)) => {}
        }
        assert_eq!((made.load(Ordering::Relaxed), drops.load(Ordering::Relaxed)), (2, 2));
    });
}

#[test]
fn with_all_arms_off_a_select_waits_for_ever() {
    let failed = run(Config::with_procs(1), || {
        let off = None::<&Receiver<u8>>;
        select! { recv(off) -> _ => unreachable!() }
    });
    match failed {
        Err(Failure::Deadlock(waiting)) => assert_eq!(waiting[0].state, "select (no cases)"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn whatever_derefs_to_a_channel_is_accepted_as_before() {
    tidy(1, || {
        let (tx, rx) = bounded::<Box<dyn Fn() -> i32 + Send>>(4);
        let (tx, rx) = (Rc::new(tx), Arc::new(Box::new(rx)));
        let by_reference = &&rx;
        // The value is coerced to the channel's type.
        select! { send(tx, Box::new(|| 1)) -> sent => assert!(sent.is_ok()) }
        select! { send(&tx, Box::new(|| 2)) -> sent => assert!(sent.is_ok()) }
        select! { send(Some(&*tx), Box::new(|| 3)) -> sent => assert!(sent.is_ok()) }
        assert_eq!(select! { recv(by_reference) -> f => f.unwrap()() }, 1);
        assert_eq!(select! { recv(rx) -> f => f.unwrap()() }, 2);
        assert_eq!(select! { recv(Some(&**rx)) -> f => f.unwrap()() }, 3);
    });
}

#[test]
fn a_list_has_operations_that_are_off() {
    tidy(2, || {
        let (tx, rx) = bounded(1);
        for order in [Select::new(), Select::new_biased()] {
            let mut list = order;
            let off = (list.send_if(None::<&Sender<u8>>), list.recv_if(None::<&Receiver<u8>>));
            assert_eq!(off, (0, 1));
            assert!(list.try_select().is_err() && list.try_ready().is_err());
            assert!(list.ready_timeout(Duration::from_millis(1)).is_err());
            let on = list.recv_if(Some(&rx));
            let theirs = tx.clone();
            let sender = go(move || {
                settle();
                theirs.send(4).unwrap();
            });
            let chosen = list.select();
            assert_eq!(chosen.index(), on);
            assert_eq!(chosen.recv(&rx), Ok(4));
            sender.join().unwrap();
            list.remove(0);
            list.remove(1);
            assert!(list.clone().try_select().is_err());
        }
    });
}

#[test]
fn a_list_with_all_operations_off_waits_for_ever() {
    let failed = run(Config::with_procs(1), || {
        let mut list = Select::new();
        list.recv_if(None::<&Receiver<u8>>);
        let _ = list.ready();
    });
    match failed {
        Err(Failure::Deadlock(waiting)) => assert_eq!(waiting[0].state, "select (no cases)"),
        other => panic!("{other:?}"),
    }
}
