//! Waiting for several channels. Many cases are situations of Go's select tests and of crossbeam's
//! suite, in new words and code.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{settle, shaken, tidy};
use trefoil_hosted::prelude::*;
use trefoil_hosted::{Config, Failure, run};
use trefoil_sched::chan::{Receiver, RecvError, SendError, TryRecvError, after, at, bounded, never, tick, unbounded};
use trefoil_sched::select::Select;
use trefoil_sched::yield_now;

const LONG: Duration = Duration::from_secs(100);

// --- what is chosen

#[test]
fn the_arm_that_is_ready_is_chosen() {
    tidy(1, || {
        let (tx, rx) = bounded(1);
        let off = never::<u8>();
        tx.send(5).unwrap();
        let got = select! {
            recv(off) -> _ => unreachable!(),
            recv(rx) -> value => value,
        };
        assert_eq!(got, Ok(5));
        select! {
            recv(off) -> _ => unreachable!(),
            send(tx, 6) -> sent => assert_eq!(sent, Ok(())),
        }
        assert_eq!(rx.try_recv(), Ok(6));
    });
}

#[test]
fn a_default_is_taken_only_if_nothing_is_ready() {
    tidy(1, || {
        let (tx, rx) = bounded(1);
        for _ in 0..20 {
            assert!(select! { recv(rx) -> _ => false, default => true });
            assert!(select! { send(tx, 1) -> sent => sent.is_ok(), default => false });
            assert!(select! { send(tx, 2) -> _ => false, default => true });
            assert_eq!(select! { recv(rx) -> value => value, default => Err(RecvError) }, Ok(1));
        }
        assert_eq!(select! { default => 3 }, 3);
    });
}

#[test]
fn a_closed_channel_is_ready_on_both_ends() {
    tidy(1, || {
        let (tx, rx) = bounded::<u8>(0);
        tx.close();
        assert_eq!(select! { recv(rx) -> value => value }, Err(RecvError));
        assert_eq!(select! { send(tx, 9) -> sent => sent }, Err(SendError(9)));
        assert!(select! { recv(rx) -> value => value.is_err(), default => false });
    });
}

#[test]
fn a_timeout_comes_after_its_time_and_leaves_nothing_behind() {
    tidy(2, || {
        let (tx, rx) = bounded(0);
        let (full, _keep) = bounded(1);
        full.send(String::new()).unwrap();
        let begin = Instant::now();
        select! {
            recv(rx) -> _ => unreachable!(),
            send(full, String::from("back")) -> _ => unreachable!(),
            default(Duration::from_millis(3)) => {}
        }
        assert!(begin.elapsed() >= Duration::from_millis(3));
        // Were its nodes still in the lists, these would meet them.
        assert!(tx.try_send(1).is_err());
        assert_eq!(full.len(), 1);
        select! { default(Duration::from_millis(1)) => {} }
        assert!(begin.elapsed() >= Duration::from_millis(4));
    });
}

#[test]
fn values_and_channels_are_evaluated_once_in_order() {
    tidy(1, || {
        let order = std::cell::RefCell::new(Vec::new());
        let note = |n: u32| order.borrow_mut().push(n);
        let (tx, rx) = bounded::<u32>(0);
        select! {
            recv({ note(1); &rx }) -> _ => unreachable!(),
            send({ note(2); &tx }, { note(3); 7 }) -> _ => unreachable!(),
            default({ note(4); Duration::from_micros(1) }) => note(5),
        }
        assert_eq!(*order.borrow(), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn the_body_may_return_break_and_use_the_channels() {
    fn first(rx: Receiver<u32>) -> Result<u32, RecvError> {
        for left in (0..2).rev() {
            select! {
                recv(rx) -> value => {
                    // No arm is left: the receiver may go.
                    drop(rx);
                    return Ok(value? + left);
                }
                default => if left == 0 { break } else { continue },
            }
        }
        Err(RecvError)
    }
    tidy(1, || {
        let (tx, rx) = bounded(1);
        assert_eq!(first(rx.clone()), Err(RecvError));
        tx.send(4).unwrap();
        assert_eq!(first(rx), Ok(5));
        'outer: for _ in 0..2 {
            select! { recv(never::<u8>()) -> _ => {}, default => continue 'outer }
            unreachable!();
        }
    });
}

#[test]
fn values_that_are_not_sent_are_dropped_before_the_body_runs() {
    struct Noted(Arc<AtomicUsize>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    tidy(1, || {
        let drops = Arc::new(AtomicUsize::new(0));
        let (tx, _rx) = bounded(0);
        let ready = after(Duration::from_millis(1));
        select! {
            send(tx, Noted(drops.clone())) -> _ => unreachable!(),
            recv(ready) -> _ => assert_eq!(drops.load(Ordering::Relaxed), 1),
        }
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

// --- waiting

#[test]
fn a_waiting_select_is_served_by_each_kind_of_partner() {
    tidy(2, || {
        for capacity in [0, 1] {
            let ((a, from_a), (b, from_b)) = (bounded::<u64>(capacity), bounded::<[u64; 20]>(capacity));
            let g = go(move || {
                (0..4)
                    .map(|_| select! { recv(from_a) -> v => v.unwrap(), recv(from_b) -> v => v.unwrap()[19] })
                    .sum::<u64>()
            });
            settle();
            a.send(1).unwrap();
            b.send([10; 20]).unwrap();
            settle();
            select! { send(a, 100) -> sent => sent.unwrap() }
            settle();
            assert!(b.send_timeout([1000; 20], LONG).is_ok());
            assert_eq!(g.join().unwrap(), 1111);

            let ((to_a, a), (to_b, b)) = (bounded(0), bounded(0));
            let g = go(move || {
                for i in 0..4u32 {
                    select! { send(to_a, i) -> sent => sent.unwrap(), send(to_b, [i; 40]) -> sent => sent.unwrap() }
                }
            });
            settle();
            assert_eq!(a.recv(), Ok(0));
            assert_eq!(b.recv(), Ok([1; 40]));
            settle();
            assert_eq!(a.try_recv(), Ok(2), "a waiting select is a partner for a try");
            settle();
            assert_eq!(select! { recv(b) -> v => v }, Ok([3; 40]));
            g.join().unwrap();
        }
    });
}

#[test]
fn a_full_channel_takes_the_value_of_a_waiting_select() {
    tidy(1, || {
        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        let g = go(move || select! { send(tx, 2) -> sent => sent });
        settle();
        assert_eq!((rx.len(), rx.recv(), rx.len(), rx.recv()), (1, Ok(1), 1, Ok(2)));
        assert_eq!(g.join().unwrap(), Ok(()));
    });
}

#[test]
fn close_wakes_a_select_on_either_end() {
    tidy(2, || {
        let (tx, rx) = bounded(0);
        let other = never::<u8>();
        let g = {
            let (tx, other) = (tx.clone(), other.clone());
            go(move || select! { recv(other) -> _ => unreachable!(), send(tx, "mine") -> sent => sent })
        };
        let h = go(
            move || select! { recv(other) -> _ => unreachable!(), recv(never::<u8>()) -> v => v.ok() , default(Duration::from_millis(5)) => None },
        );
        settle();
        tx.close();
        assert_eq!(g.join().unwrap(), Err(SendError("mine")));
        assert_eq!(h.join().unwrap(), None);
        let (tx, rx2) = bounded::<u8>(3);
        let g = go(move || select! { recv(rx2) -> v => v });
        settle();
        drop(tx);
        assert_eq!(g.join().unwrap(), Err(RecvError));
        drop(rx);
    });
}

#[test]
fn the_same_channel_twice_gives_one_value_once() {
    tidy(2, || {
        for _ in 0..50 {
            let (tx, rx) = bounded(0);
            let g = go(move || {
                let first = select! { recv(rx) -> v => v, recv(rx) -> v => v, recv(rx) -> v => v };
                (first, rx.try_recv())
            });
            yield_now();
            tx.send(1).unwrap();
            let (first, rest) = g.join().unwrap();
            assert_eq!((first, rest), (Ok(1), Err(TryRecvError::Empty)));
            drop(tx);
        }
    });
}

#[test]
fn a_select_on_both_ends_does_not_meet_itself() {
    tidy(2, || {
        let (tx, rx) = bounded(0);
        for _ in 0..5 {
            select! {
                send(tx, 1) -> _ => unreachable!("it met itself"),
                recv(rx) -> _ => unreachable!("it met itself"),
                default(Duration::from_micros(200)) => {}
            }
            assert!(select! { recv(rx) -> _ => false, send(tx, 1) -> _ => false, default => true });
        }
    });
}

#[test]
fn two_selects_on_both_ends_meet_each_other() {
    shaken(2, || {
        let (tx, rx) = bounded(0);
        let gs: Vec<_> = (0..2u32)
            .map(|me| {
                let (tx, rx) = (tx.clone(), rx.clone());
                go(move || {
                    let mut got = 0;
                    for _ in 0..300 {
                        select! {
                            send(tx, me) -> sent => sent.unwrap(),
                            recv(rx) -> other => {
                                assert_eq!(other, Ok(1 - me));
                                got += 1;
                            }
                        }
                    }
                    got
                })
            })
            .collect();
        assert_eq!(gs.into_iter().map(|g| g.join().unwrap()).sum::<u32>(), 300);
    });
}

#[test]
fn plain_and_selecting_waiters_are_served_in_their_order() {
    tidy(1, || {
        let (tx, rx) = bounded(0);
        let gs: Vec<_> = (0..9)
            .map(|i| {
                let rx = rx.clone();
                let g = go(move || match i % 3 {
                    0 => rx.recv(),
                    1 => select! { recv(rx) -> v => v, recv(never::<u32>()) -> v => v },
                    _ => rx.recv_timeout(LONG).map_err(|_| RecvError),
                });
                settle();
                g
            })
            .collect();
        (0..9).for_each(|i| tx.send(i).unwrap());
        assert!(gs.into_iter().map(|g| g.join().unwrap().unwrap()).eq(0..9));
    });
}

#[test]
fn without_arms_it_waits_for_ever_and_the_report_says_so() {
    let result = run(Config::with_procs(1), || -> () {
        select! {}
    });
    match result {
        Err(Failure::Deadlock(waiting)) => assert_eq!(waiting[0].state, "select (no cases)"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_select_that_nobody_can_end_is_a_deadlock() {
    let result = run(Config::with_procs(2), || {
        let (tx, rx) = bounded::<u8>(0);
        select! { recv(rx) -> _ => {}, send(tx, 1) -> _ => {} }
    });
    match result {
        Err(Failure::Deadlock(waiting)) => assert_eq!(waiting[0].state, "select"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_arms() {
    tidy(1, || {
        let c: Vec<_> = (0..8).map(|_| bounded(1)).collect();
        c[6].0.send(6).unwrap();
        let got = select! {
            recv(c[0].1) -> v => v,
            recv(c[1].1) -> v => v,
            recv(c[2].1) -> v => v,
            recv(c[3].1) -> v => v,
            recv(c[4].1) -> v => v,
            recv(c[5].1) -> v => v,
            recv(c[6].1) -> v => v,
            recv(c[7].1) -> v => v,
        };
        assert_eq!(got, Ok(6));
    });
}

// --- clocks

#[test]
fn clocks_in_a_select() {
    tidy(1, || {
        let begin = Instant::now();
        let (slow, fast) = (after(LONG), at(begin + Duration::from_millis(2)));
        let got = select! { recv(slow) -> _ => unreachable!(), recv(fast) -> when => when };
        assert_eq!(got, Ok(begin + Duration::from_millis(2)));
        assert!(Instant::now() >= begin + Duration::from_millis(2));
        let ticks = tick(Duration::from_millis(1));
        let mut n = 0;
        let end = after(Duration::from_millis(10));
        loop {
            select! { recv(ticks) -> _ => n += 1, recv(end) -> _ => break }
        }
        assert!((1..=10).contains(&n), "{n} ticks in 10 ms");
        // The loop has taken the value of `end`, so no other receive gets it.
        assert!(select! { recv(end) -> _ => false, default(Duration::from_millis(1)) => true });
        assert_eq!(end.try_recv(), Err(TryRecvError::Empty));
    });
}

// --- fairness

/// Returns the chi-square statistic of counts that should be equal.
fn chi_square(counts: &[u32]) -> f64 {
    let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
    counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum()
}

#[test]
fn arms_that_are_ready_are_chosen_equally_often() {
    tidy(1, || {
        let (tx, rx) = unbounded::<u8>();
        tx.close();
        let off = never::<u8>();
        let mut counts = [0; 4];
        for _ in 0..20_000 {
            // Arms that are not ready lie between: none of the others gets their share.
            select! {
                recv(rx) -> _ => counts[0] += 1,
                recv(off) -> _ => unreachable!(),
                recv(off) -> _ => unreachable!(),
                recv(rx) -> _ => counts[1] += 1,
                recv(rx) -> _ => counts[2] += 1,
                recv(off) -> _ => unreachable!(),
                send(tx, 1) -> _ => counts[3] += 1,
            }
        }
        // Three degrees of freedom: above 27 once in 180,000.
        assert!(chi_square(&counts) < 27.0, "{counts:?}");
        let mut counts = [0; 2];
        for _ in 0..20_000 {
            select! { recv(rx) -> _ => counts[0] += 1, send(tx, 1) -> _ => counts[1] += 1 }
        }
        // One: above 20 once in 130,000.
        assert!(chi_square(&counts) < 20.0, "{counts:?}");
        let mut select = Select::new();
        (0..10).for_each(|_| _ = select.recv(&rx));
        let mut counts = [0; 10];
        for _ in 0..20_000 {
            let operation = select.select();
            counts[operation.index()] += 1;
            assert!(operation.recv(&rx).is_err());
        }
        // Nine: above 42 once in 300,000.
        assert!(chi_square(&counts) < 42.0, "{counts:?}");
    });
}

#[test]
fn a_biased_select_takes_the_first() {
    tidy(1, || {
        let (_tx, rx) = bounded::<u8>(0);
        drop(_tx);
        for _ in 0..100 {
            select_biased! {
                recv(never::<u8>()) -> _ => unreachable!(),
                recv(rx) -> _ => {}
                recv(rx) -> _ => unreachable!(),
            }
        }
    });
}
