//! Channels as `crossbeam` has them: values and their destructors, iterators, errors, deadlines,
//! storms. Go's situations are in `sched/tests/go`.

mod support;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{settle, shaken, tidy};
use trefoil_sched::chan::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError, bounded,
};
use trefoil_sched::spawn::go;
use trefoil_sched::time::Instant;
use trefoil_sched::time::sleep;
use trefoil_sched::yield_now;

/// Counts how often values of it are dropped.
#[derive(Debug, Clone)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

// --- what an operation gives

#[test]
fn try_send_gives_the_value_back_when_it_would_wait() {
    tidy(1, || {
        let (tx, rx) = bounded(1);
        assert_eq!(tx.try_send("a"), Ok(()));
        assert_eq!(tx.try_send("b"), Err(TrySendError::Full("b")));
        assert_eq!(rx.try_recv(), Ok("a"));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        drop(rx);
        assert_eq!(tx.try_send("c"), Err(TrySendError::Disconnected("c")));
    });
}

#[test]
fn zero_sized_and_large_and_aligned_values() {
    #[repr(align(64))]
    #[derive(Debug, PartialEq, Clone, Copy)]
    struct Aligned(u8);
    tidy(1, || {
        let (tx, rx) = bounded(usize::MAX >> 1);
        for _ in 0..1000 {
            tx.send(()).unwrap();
        }
        assert_eq!(rx.try_iter().count(), 1000);
        for capacity in [0, 2] {
            let (tx, rx) = bounded(capacity);
            let sender = go(move || (0..5).for_each(|i| tx.send([i; 2_000]).unwrap()));
            assert!(rx.iter().enumerate().all(|(i, v)| v == [i; 2_000]));
            sender.join().unwrap();
            let (tx, rx) = bounded(capacity);
            let sender = go(move || (0..5).for_each(|i| tx.send(Aligned(i)).unwrap()));
            assert!(rx.iter().eq((0..5).map(Aligned)));
            sender.join().unwrap();
        }
    });
}

// --- iterators

#[test]
fn iterators_end_with_the_channel() {
    tidy(1, || {
        let (tx, rx) = bounded(10);
        (0..5).for_each(|i| tx.send(i).unwrap());
        assert!(rx.try_iter().eq(0..5), "does not wait");
        (0..5).for_each(|i| tx.send(i).unwrap());
        tx.close();
        let mut seen = Vec::new();
        for v in &rx {
            seen.push(v);
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        let (tx, rx) = bounded(10);
        (0..5).for_each(|i| tx.send(i).unwrap());
        drop(tx);
        let mut owned = rx.into_iter();
        assert_eq!(owned.by_ref().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!((owned.next(), owned.next()), (None, None));
    });
}

// --- values and their destructors

#[test]
fn every_value_is_dropped_once_wherever_it_is() {
    tidy(2, || {
        let drops = Arc::new(AtomicUsize::new(0));
        let count = || drops.swap(0, Ordering::Relaxed);
        // In the ring, when both ends go: sender first, receiver first.
        for sender_first in [true, false] {
            let (tx, rx) = bounded(4);
            (0..3).for_each(|_| tx.send(Counted(drops.clone())).unwrap());
            if sender_first {
                drop(tx);
                assert_eq!(count(), 0, "they can still be received");
                drop(rx);
                assert_eq!(count(), 3);
            } else {
                drop(rx);
                assert_eq!(count(), 3, "nobody can receive them: they go at once");
                drop(tx);
                assert_eq!(count(), 0);
            }
        }
        // On a waiting sender's stack.
        for capacity in [0, 1] {
            let (tx, rx) = bounded(capacity);
            let g = {
                let drops = drops.clone();
                go(move || while tx.send(Counted(drops.clone())).is_ok() {})
            };
            settle();
            drop(rx);
            g.join().unwrap();
            assert_eq!(count(), capacity + 1);
        }
        // Handed over.
        let (tx, rx) = bounded(0);
        let g = go(move || rx.recv().unwrap());
        settle();
        tx.send(Counted(drops.clone())).unwrap();
        let value = g.join().unwrap();
        assert_eq!(count(), 0);
        drop(value);
        assert_eq!(count(), 1);
    });
}

#[test]
fn a_destructor_that_panics_leaves_the_other_values_to_be_dropped() {
    struct Bomb(Counted, bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.1 {
                panic!("in a destructor of {:?}", self.0.0);
            }
        }
    }
    tidy(1, || {
        for sender_first in [true, false] {
            let drops = Arc::new(AtomicUsize::new(0));
            let (tx, rx) = bounded(8);
            for i in 0..5 {
                assert!(tx.send(Bomb(Counted(drops.clone()), i == 1)).is_ok());
            }
            let (first, last): (Box<dyn Send>, Box<dyn Send>) =
                if sender_first { (Box::new(tx), Box::new(rx)) } else { (Box::new(rx), Box::new(tx)) };
            let (a, b) =
                (catch_unwind(AssertUnwindSafe(|| drop(first))), catch_unwind(AssertUnwindSafe(|| drop(last))));
            assert!(a.is_err() || b.is_err(), "the panic is not swallowed");
            assert_eq!(drops.load(Ordering::Relaxed), 5);
        }
    });
}

// --- many at once

/// Sends `senders` × `each` values through one channel. Each must come out once, and each receiver
/// must see the values of one sender in order.
fn storm(procs: usize, capacity: usize, senders: usize, receivers: usize, each: usize) {
    shaken(procs, move || {
        let (tx, rx) = bounded(capacity);
        for s in 0..senders {
            let tx = tx.clone();
            drop(go(move || (0..each).for_each(|i| tx.send((s, i)).unwrap())));
        }
        drop(tx);
        let gs: Vec<_> = (0..receivers)
            .map(|_| {
                let rx = rx.clone();
                go(move || {
                    let mut last = HashMap::new();
                    let mut seen = Vec::new();
                    for (s, i) in &rx {
                        if let Some(before) = last.insert(s, i) {
                            assert!(before < i, "sender {s}: {i} after {before}");
                        }
                        seen.push(s * each + i);
                    }
                    seen
                })
            })
            .collect();
        let mut all: Vec<_> = gs.into_iter().flat_map(|g| g.join().unwrap()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..senders * each), "lost or doubled");
    });
}

#[test]
fn a_storm_through_a_rendezvous() {
    storm(4, 0, 8, 8, 1_000);
    storm(4, 0, 1, 8, 4_000);
    storm(4, 0, 8, 1, 1_000);
}

#[test]
fn a_storm_through_a_small_ring() {
    storm(4, 1, 8, 8, 1_000);
    storm(2, 3, 8, 8, 1_000);
}

#[test]
fn a_storm_through_a_large_ring() {
    storm(4, 100, 8, 8, 2_000);
    storm(1, 100, 8, 8, 2_000);
}

#[test]
fn outside_a_run_a_channel_works_as_long_as_nobody_waits() {
    let (tx, rx) = bounded(2);
    tx.send(1).unwrap();
    drop(tx);
    assert!(rx.iter().eq([1]));
}

#[test]
fn errors_say_what_crossbeam_says() {
    assert_eq!(SendError(1).to_string(), "sending on a disconnected channel");
    assert_eq!(TrySendError::Full(1).to_string(), "sending on a full channel");
    assert_eq!(RecvError.to_string(), "receiving on an empty and disconnected channel");
    assert_eq!(TryRecvError::Empty.to_string(), "receiving on an empty channel");
    assert_eq!(format!("{:?}", SendError(1)), "SendError(..)");
    assert_eq!(format!("{:?}", TrySendError::Full(1)), "Full(..)");
}

// --- deadlines

#[test]
fn a_receive_that_times_out_takes_no_value_afterwards() {
    tidy(2, || {
        for capacity in [0, 2] {
            let (tx, rx) = bounded(capacity);
            let begin = Instant::now();
            assert_eq!(rx.recv_timeout(Duration::from_millis(3)), Err(RecvTimeoutError::Timeout));
            assert!(begin.elapsed() >= Duration::from_millis(3));
            // Were it still in the list, it would be served and the value lost.
            let sender = go(move || tx.send(1));
            assert_eq!(rx.recv_timeout(Duration::from_secs(100)), Ok(1));
            assert_eq!(sender.join().unwrap(), Ok(()));
            assert_eq!(rx.recv_timeout(Duration::from_secs(100)), Err(RecvTimeoutError::Disconnected));
        }
    });
}

#[test]
fn a_send_that_times_out_gives_its_value_back() {
    tidy(2, || {
        for capacity in [0, 2] {
            let (tx, rx) = bounded(capacity);
            (0..capacity).for_each(|_| tx.send("room").unwrap());
            let begin = Instant::now();
            let error = tx.send_timeout("late", Duration::from_millis(3)).unwrap_err();
            assert!(error.is_timeout() && begin.elapsed() >= Duration::from_millis(3));
            assert_eq!(error.into_inner(), "late");
            assert_eq!(rx.try_iter().count(), capacity);
            let sender =
                go(move || (0..3).map(|_| tx.send_timeout("in time", Duration::from_secs(100))).all(|r| r.is_ok()));
            assert!(rx.iter().eq(["in time"; 3]));
            assert!(sender.join().unwrap());
        }
    });
}

#[test]
fn a_deadline_that_has_passed_is_a_try() {
    tidy(1, || {
        let (tx, rx) = bounded(1);
        let past = Instant::now();
        assert_eq!(rx.recv_deadline(past), Err(RecvTimeoutError::Timeout));
        assert_eq!(tx.send_deadline(1, past), Ok(()));
        assert_eq!(tx.send_deadline(2, past), Err(SendTimeoutError::Timeout(2)));
        assert_eq!(rx.recv_timeout(Duration::ZERO), Ok(1));
        tx.close();
        assert_eq!(rx.recv_deadline(past), Err(RecvTimeoutError::Disconnected));
        assert_eq!(tx.send_timeout(3, Duration::ZERO), Err(SendTimeoutError::Disconnected(3)));
    });
}

#[test]
fn some_in_the_middle_of_a_list_time_out_and_the_others_are_served_in_order() {
    tidy(1, || {
        let (tx, rx) = bounded(0);
        let gs: Vec<_> = (0..12)
            .map(|i| {
                let rx = rx.clone();
                let g = go(move || match i % 3 {
                    0 => rx.recv().ok(),
                    1 => rx.recv_timeout(Duration::from_millis(40)).ok(),
                    _ => rx.recv_timeout(Duration::from_secs(100)).ok(),
                });
                yield_now();
                g
            })
            .collect();
        sleep(Duration::from_millis(100));
        (0..8).for_each(|i| tx.send(i).unwrap());
        let got: Vec<Option<i32>> = gs.into_iter().map(|g| g.join().unwrap()).collect();
        let mut next = 0..8;
        let expected: Vec<_> = (0..12).map(|i| if i % 3 == 1 { None } else { next.next() }).collect();
        assert_eq!(got, expected);
    });
}

#[test]
fn deadlines_and_partners_race_and_every_value_arrives_once() {
    shaken(3, || {
        let (tx, rx) = bounded::<u32>(1);
        let senders: Vec<_> = (0..3u32)
            .map(|s| {
                let tx = tx.clone();
                go(move || {
                    for i in 0..400 {
                        let mut value = s * 1000 + i;
                        while let Err(SendTimeoutError::Timeout(back)) =
                            tx.send_timeout(value, Duration::from_micros(u64::from(i % 7) * 10))
                        {
                            value = back;
                            yield_now();
                        }
                    }
                })
            })
            .collect();
        let receivers: Vec<_> = (0..3u64)
            .map(|r| {
                let rx = rx.clone();
                go(move || {
                    let mut got = Vec::new();
                    loop {
                        match rx.recv_timeout(Duration::from_micros(r * 15)) {
                            Ok(value) => got.push(value),
                            Err(RecvTimeoutError::Timeout) => yield_now(),
                            Err(RecvTimeoutError::Disconnected) => return got,
                        }
                    }
                })
            })
            .collect();
        drop((tx, rx));
        senders.into_iter().for_each(|g| g.join().unwrap());
        let mut all: Vec<_> = receivers.into_iter().flat_map(|g| g.join().unwrap()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq((0..3).flat_map(|s| (0..400).map(move |i| s * 1000 + i))));
    });
}
