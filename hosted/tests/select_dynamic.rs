//! The dynamic `Select`, and selects of both kinds under load. (`select.rs` has the macro's cases.)

mod support;

use std::collections::HashMap;

use support::{settle, shaken, tidy};
use trefoil_hosted::prelude::*;
use trefoil_sched::chan::{RecvError, SendError, bounded};
use trefoil_sched::select::Select;
use trefoil_sched::yield_now;

const LONG: Duration = Duration::from_secs(100);

// --- dynamic

#[test]
fn a_dynamic_select_chooses_and_completes() {
    tidy(2, || {
        let ((a, from_a), (b, from_b)) = (bounded::<u32>(0), bounded::<String>(1));
        let mut select = Select::new();
        let (ra, sb) = (select.recv(&from_a), select.send(&b));
        let chosen = select.select();
        assert_eq!(chosen.index(), sb);
        chosen.send(&b, "room".into()).unwrap();
        assert!(select.try_select().is_err());
        let sender = go(move || a.send(7));
        let chosen = select.select();
        assert_eq!(chosen.index(), ra);
        assert_eq!(chosen.recv(&from_a), Ok(7));
        sender.join().unwrap().unwrap();
        select.remove(ra);
        assert!(select.select_timeout(Duration::from_millis(1)).is_err());
        assert_eq!(from_b.recv().as_deref(), Ok("room"));
        drop(from_b);
        let chosen = select.select();
        assert_eq!(chosen.send(&b, "closed".into()), Err(SendError("closed".into())));
    });
}

#[test]
fn a_dynamic_send_waits_for_a_receiver_and_for_room() {
    tidy(2, || {
        for capacity in [0, 1] {
            let (tx, rx) = bounded(capacity);
            (0..capacity).for_each(|_| tx.send(0).unwrap());
            let g = go(move || {
                let mut select = Select::new();
                let index = select.send(&tx);
                for i in 1..=50 {
                    let chosen = select.select();
                    assert_eq!(chosen.index(), index);
                    chosen.send(&tx, i).unwrap();
                }
            });
            settle();
            let from = if capacity == 0 { 1 } else { 0 };
            assert!(rx.iter().eq(from..=50));
            g.join().unwrap();
        }
    });
}

#[test]
fn what_was_promised_and_not_used_goes_to_others() {
    tidy(1, || {
        // A place in the ring.
        let (tx, rx) = bounded(1);
        let other = {
            let tx = tx.clone();
            let chosen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut select = Select::new();
                select.send(&tx);
                let chosen = select.select();
                assert!(tx.try_send(1).is_err(), "the place is taken");
                drop(chosen);
            }));
            assert!(chosen.is_err(), "dropping an operation panics");
            tx
        };
        assert!(other.try_send(2).is_ok());
        assert_eq!(rx.recv(), Ok(2));
        // A receiver that waits: it goes on waiting, and is not lost.
        let (tx, rx) = bounded(0);
        let g = go(move || rx.recv());
        settle();
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut select = Select::new();
            select.send(&tx);
            drop(select.select());
        }));
        assert!(dropped.is_err());
        settle();
        assert!(!g.is_finished());
        tx.send(3).unwrap();
        assert_eq!(g.join().unwrap(), Ok(3));
    });
}

#[test]
fn ready_does_nothing_but_say_so() {
    tidy(2, || {
        let ((a, from_a), (_b, from_b)) = (bounded(0), bounded::<u8>(0));
        let mut select = Select::new();
        let (ra, _) = (select.recv(&from_a), select.recv(&from_b));
        assert!(select.try_ready().is_err());
        assert!(select.ready_timeout(Duration::from_millis(1)).is_err());
        let g = go(move || a.send(5));
        assert_eq!(select.ready(), ra);
        assert_eq!(from_a.recv(), Ok(5));
        g.join().unwrap().unwrap();
        assert_eq!(select.ready(), ra, "closed");
        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        let g = go(move || {
            let mut select = Select::new();
            select.send(&tx);
            select.ready();
            tx.try_send(2)
        });
        settle();
        assert_eq!(rx.recv(), Ok(1));
        assert_eq!(g.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_dynamic_select_without_operations() {
    tidy(1, || {
        let mut select = Select::new();
        assert!(select.try_select().is_err() && select.try_ready().is_err());
        assert!(select.select_timeout(Duration::from_millis(1)).is_err());
        assert!(std::panic::catch_unwind(|| Select::new().select()).is_err());
    });
}

// --- under load

#[test]
fn every_value_arrives_once_whatever_selects_closes_and_deadlines_do() {
    for procs in [1, 2, 4] {
        shaken(procs, || {
            let channels: Vec<_> = (0..3).map(bounded::<u32>).collect();
            let senders: Vec<_> = (0..4u32)
                .map(|me| {
                    let to: Vec<_> = channels.iter().map(|c| c.0.clone()).collect();
                    go(move || {
                        let mut sent = 0;
                        while sent < 300 {
                            let value = me * 1000 + sent;
                            select! {
                                send(to[0], value) -> s => s.unwrap(),
                                send(to[1], value) -> s => s.unwrap(),
                                send(to[2], value) -> s => s.unwrap(),
                                default(Duration::from_micros(u64::from(value % 5) * 20 + 1)) => { yield_now(); continue }
                            }
                            sent += 1;
                        }
                    })
                })
                .collect();
            let receivers: Vec<_> = (0..4u64)
                .map(|me| {
                    let from: Vec<_> = channels.iter().map(|c| c.1.clone()).collect();
                    go(move || {
                        let mut got: Vec<u32> = Vec::new();
                        let mut open = [true; 3];
                        let mut take = |i: usize, value: Result<u32, RecvError>, open: &mut [bool; 3]| match value {
                            Ok(value) => got.push(value),
                            Err(_) => open[i] = false,
                        };
                        while open.contains(&true) {
                            if me % 2 == 0 {
                                select! {
                                    recv(from[0]) -> v => take(0, v, &mut open),
                                    recv(from[1]) -> v => take(1, v, &mut open),
                                    recv(from[2]) -> v => take(2, v, &mut open),
                                    default(Duration::from_micros(me * 30)) => yield_now(),
                                }
                            } else {
                                let mut select = Select::new();
                                from.iter().for_each(|from| _ = select.recv(from));
                                let chosen = select.select();
                                let i = chosen.index();
                                take(i, chosen.recv(&from[i]), &mut open);
                            }
                        }
                        got
                    })
                })
                .collect();
            senders.into_iter().for_each(|g| g.join().unwrap());
            drop(channels);
            let all = receivers.into_iter().flat_map(|g| g.join().unwrap());
            let mut count = HashMap::new();
            all.for_each(|v| *count.entry(v).or_insert(0) += 1);
            assert_eq!(count.len(), 1200);
            assert!(count.values().all(|&n| n == 1));
        });
    }
}

#[test]
fn closing_races_with_selects() {
    shaken(3, || {
        for round in 0..200 {
            let ((a, from_a), (b, from_b)) = (bounded(round % 2), bounded::<u32>(0));
            let g = go(move || {
                let mut n = 0;
                loop {
                    select! {
                        recv(from_a) -> v => match v { Ok(v) => n += v, Err(_) => return n },
                        recv(from_b) -> v => if let Ok(v) = v { n += v } else { return n },
                    }
                }
            });
            let h = go(move || {
                (0..3)
                    .map(|_| select! { send(b, 1) -> s => s.is_ok(), default(LONG) => false })
                    .filter(|&ok| ok)
                    .count()
            });
            for _ in 0..round % 3 {
                _ = a.send(10);
            }
            a.close();
            let (got, sent) = (g.join().unwrap(), h.join().unwrap());
            assert!(got as usize >= sent, "{got} {sent}");
            assert_eq!(got as usize % 10, sent, "what was sent was received");
        }
    });
}
