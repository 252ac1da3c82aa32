//! Channels as Go has them. Most cases are situations of Go's own channel tests and of crossbeam's suite, in new words and code.

mod support;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{shaken, tidy};
use trefoil_sched::chan::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError, bounded,
};
use trefoil_sched::locks::WaitGroup;
use trefoil_sched::spawn::go;
use trefoil_sched::time::Instant;
use trefoil_sched::timers::sleep;
use trefoil_sched::yield_now;

/// Counts how often values of it are dropped.
#[derive(Debug, Clone)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets every other G of this P come to where it waits.
fn settle() {
    (0..20).for_each(|_| yield_now());
    sleep(Duration::from_millis(2));
}

// --- what an operation gives

#[test]
fn values_come_out_in_the_order_they_went_in() {
    tidy(1, || {
        for capacity in [0, 1, 2, 7, 100] {
            let (tx, rx) = bounded(capacity);
            let sender = go(move || (0..300).for_each(|i| tx.send(i).unwrap()));
            assert!(rx.iter().eq(0..300), "capacity {capacity}");
            sender.join().unwrap();
        }
    });
}

#[test]
fn the_ring_wraps_around() {
    tidy(1, || {
        let (tx, rx) = bounded(3);
        let mut next = 0;
        for round in 0..50 {
            for i in 0..=round % 3 {
                tx.send(round * 10 + i).unwrap();
            }
            for i in 0..=round % 3 {
                assert_eq!(rx.recv(), Ok(round * 10 + i));
                next += 1;
            }
        }
        assert!(next > 50 && rx.is_empty());
    });
}

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
fn try_operations_of_a_rendezvous_need_a_partner_that_waits() {
    tidy(1, || {
        let (tx, rx) = bounded(0);
        assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        let waits = {
            let rx = rx.clone();
            go(move || rx.recv())
        };
        settle();
        assert_eq!(tx.try_send(2), Ok(()));
        assert_eq!(waits.join().unwrap(), Ok(2));
        let waits = {
            let tx = tx.clone();
            go(move || tx.send(3))
        };
        settle();
        assert_eq!(rx.try_recv(), Ok(3));
        assert_eq!(waits.join().unwrap(), Ok(()));
    });
}

#[test]
fn lengths_and_capacities() {
    tidy(1, || {
        let (tx, rx) = bounded(2);
        assert_eq!((tx.len(), tx.is_empty(), tx.is_full(), tx.capacity()), (0, true, false, Some(2)));
        tx.send(1).unwrap();
        assert_eq!((rx.len(), rx.is_empty(), rx.is_full(), rx.capacity()), (1, false, false, Some(2)));
        tx.send(2).unwrap();
        assert_eq!((tx.len(), tx.is_full(), rx.is_full()), (2, true, true));
        let (tx, rx) = bounded::<u8>(0);
        assert_eq!((tx.len(), tx.is_empty(), tx.is_full(), rx.capacity()), (0, true, true, Some(0)));
        assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&rx.clone()));
        assert!(!tx.same_channel(&bounded(0).0));
    });
}

#[test]
fn a_waiting_sender_is_not_counted_as_a_value() {
    tidy(1, || {
        let (tx, rx) = bounded(1);
        let sender = go(move || (0..3).for_each(|i| tx.send(i).unwrap()));
        settle();
        assert_eq!(rx.len(), 1);
        assert_eq!(rx.recv(), Ok(0));
        assert_eq!(rx.len(), 1, "the waiting sender's value fills the gap at once");
        assert!(rx.iter().eq([1, 2]));
        sender.join().unwrap();
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

#[test]
fn a_capacity_beyond_memory_panics_before_anything_is_made() {
    tidy(1, || assert!(catch_unwind(|| bounded::<u64>(usize::MAX)).is_err()));
}

#[test]
fn a_channel_of_channels() {
    tidy(2, || {
        let (tx, rx) = bounded::<(u32, trefoil_sched::chan::Sender<u32>)>(0);
        let server = go(move || {
            for (n, reply) in &rx {
                reply.send(n * n).unwrap();
            }
        });
        for n in 0..100 {
            let (reply, answer) = bounded(1);
            tx.send((n, reply)).unwrap();
            assert_eq!(answer.recv(), Ok(n * n));
        }
        drop(tx);
        server.join().unwrap();
    });
}

// --- waiting

#[test]
fn a_receiver_waits_for_its_value() {
    tidy(2, || {
        for capacity in [0, 3] {
            let (tx, rx) = bounded(capacity);
            let receiver = go(move || rx.recv());
            sleep(Duration::from_millis(3));
            assert!(!receiver.is_finished());
            tx.send(5).unwrap();
            assert_eq!(receiver.join().unwrap(), Ok(5));
        }
    });
}

#[test]
fn a_sender_waits_for_its_receiver() {
    tidy(2, || {
        let (tx, rx) = bounded(0);
        let sender = go(move || tx.send(5));
        sleep(Duration::from_millis(3));
        assert!(!sender.is_finished());
        assert_eq!(rx.recv(), Ok(5));
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

#[test]
fn waiting_receivers_are_served_first_come_first_served() {
    tidy(1, || {
        let (tx, rx) = bounded(0);
        let receivers: Vec<_> = (0..5)
            .map(|_| {
                let rx = rx.clone();
                let g = go(move || rx.recv().unwrap());
                settle();
                g
            })
            .collect();
        (0..5).for_each(|i| tx.send(i).unwrap());
        let got: Vec<i32> = receivers.into_iter().map(|g| g.join().unwrap()).collect();
        assert_eq!(got, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn waiting_senders_are_served_first_come_first_served() {
    tidy(1, || {
        for capacity in [0, 2] {
            let (tx, rx) = bounded(capacity);
            let senders: Vec<_> = (0..6)
                .map(|i| {
                    let tx = tx.clone();
                    let g = go(move || tx.send(i).unwrap());
                    settle();
                    g
                })
                .collect();
            drop(tx);
            assert!(rx.iter().eq(0..6));
            senders.into_iter().for_each(|g| g.join().unwrap());
        }
    });
}

#[test]
fn nobody_waits_while_a_partner_is_there() {
    // Two groups that would deadlock if a value could stay behind.
    tidy(4, || {
        let (tx, rx) = bounded(1);
        let wg = Arc::new(WaitGroup::new());
        wg.add(200);
        for i in 0..100 {
            let (tx, rx, a, b) = (tx.clone(), rx.clone(), wg.clone(), wg.clone());
            drop(go(move || {
                tx.send(i).unwrap();
                a.done();
            }));
            drop(go(move || {
                rx.recv().unwrap();
                b.done();
            }));
        }
        wg.wait();
        assert!(rx.is_empty());
    });
}

// --- close and disconnect

#[test]
fn a_closed_channel_gives_what_is_in_it_and_then_an_error_for_ever() {
    tidy(1, || {
        let (tx, rx) = bounded(3);
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        tx.close();
        assert_eq!((rx.recv(), rx.try_recv()), (Ok(1), Ok(2)));
        for _ in 0..3 {
            assert_eq!(rx.recv(), Err(RecvError));
            assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        }
    });
}

#[test]
fn a_send_on_a_closed_channel_fails_and_gives_the_value_back() {
    tidy(1, || {
        for capacity in [0, 1] {
            let (tx, rx) = bounded(capacity);
            tx.close();
            assert_eq!(tx.send("x"), Err(SendError("x")));
            assert_eq!(tx.try_send("y"), Err(TrySendError::Disconnected("y")));
            assert_eq!(tx.send("z").unwrap_err().into_inner(), "z");
            drop(rx);
        }
    });
}

#[test]
fn closing_twice_does_nothing_more() {
    tidy(1, || {
        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        tx.close();
        tx.close();
        tx.clone().close();
        assert!(rx.iter().eq([1]));
    });
}

#[test]
fn close_wakes_every_waiting_receiver() {
    tidy(2, || {
        for capacity in [0, 2] {
            let (tx, rx) = bounded::<u8>(capacity);
            let gs: Vec<_> = (0..20)
                .map(|_| {
                    let rx = rx.clone();
                    go(move || rx.recv())
                })
                .collect();
            settle();
            tx.close();
            gs.into_iter().for_each(|g| assert_eq!(g.join().unwrap(), Err(RecvError)));
        }
    });
}

#[test]
fn close_wakes_every_waiting_sender_with_its_value() {
    tidy(2, || {
        for capacity in [0, 2] {
            let (tx, rx) = bounded(capacity);
            let gs: Vec<_> = (0..20)
                .map(|i| {
                    let tx = tx.clone();
                    go(move || tx.send(i))
                })
                .collect();
            settle();
            tx.close();
            let sent = gs.into_iter().enumerate().filter_map(|(i, g)| match g.join().unwrap() {
                Ok(()) => Some(i),
                Err(SendError(v)) => {
                    assert_eq!(v, i);
                    None
                }
            });
            let sent: Vec<_> = sent.collect();
            let mut got: Vec<_> = rx.iter().collect();
            got.sort_unstable();
            assert_eq!(sent, got);
            assert_eq!(got.len(), capacity);
        }
    });
}

#[test]
fn the_last_sender_to_go_ends_the_receivers_loop() {
    tidy(2, || {
        let (tx, rx) = bounded(4);
        for i in 0..10 {
            let tx = tx.clone();
            drop(go(move || tx.send(i).unwrap()));
        }
        drop(tx);
        assert_eq!(rx.iter().sum::<i32>(), 45);
        assert_eq!(rx.recv(), Err(RecvError));
    });
}

#[test]
fn the_last_receiver_to_go_stops_a_waiting_sender() {
    tidy(2, || {
        for capacity in [0, 1] {
            let (tx, rx) = bounded(capacity);
            let other = rx.clone();
            let sender = go(move || {
                let mut n = 0;
                while tx.send(n).is_ok() {
                    n += 1;
                }
                n
            });
            settle();
            drop(other);
            settle();
            assert!(!sender.is_finished(), "one receiver is left");
            drop(rx);
            assert_eq!(sender.join().unwrap(), capacity as i32);
        }
    });
}

#[test]
fn a_receiver_that_panics_disconnects() {
    tidy(2, || {
        let (tx, rx) = bounded::<u32>(0);
        let receiver = go(move || {
            rx.recv().unwrap();
            panic!("has had enough");
        });
        tx.send(1).unwrap();
        assert_eq!(tx.send(2), Err(SendError(2)));
        assert!(receiver.join().is_err());
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

/// `senders` × `each` values through one channel; each must come out once, and those of one sender in order for each receiver.
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
fn closing_under_load_loses_nothing_that_was_sent() {
    for _ in 0..30 {
        shaken(4, || {
            for capacity in [0, 1, 5] {
                let (tx, rx) = bounded(capacity);
                let senders: Vec<_> = (0..6)
                    .map(|_| {
                        let tx = tx.clone();
                        go(move || (0..).take_while(|&i| tx.send(i).is_ok()).count())
                    })
                    .collect();
                let receivers: Vec<_> = (0..3)
                    .map(|_| {
                        let rx = rx.clone();
                        go(move || rx.iter().count())
                    })
                    .collect();
                (0..30).for_each(|_| yield_now());
                tx.close();
                let sent: usize = senders.into_iter().map(|g| g.join().unwrap()).sum();
                let received: usize = receivers.into_iter().map(|g| g.join().unwrap()).sum();
                assert_eq!(sent, received);
            }
        });
    }
}

#[test]
fn dropping_handles_under_load_ends_everybody() {
    for _ in 0..30 {
        shaken(4, || {
            let (tx, rx) = bounded(2);
            let senders: Vec<_> = (0..6)
                .map(|_| {
                    let tx = tx.clone();
                    go(move || while tx.send(Box::new(7)).is_ok() {})
                })
                .collect();
            let receivers: Vec<_> = (0..3)
                .map(|n| {
                    let rx = rx.clone();
                    go(move || assert_eq!(rx.iter().take(10 * n).count(), 10 * n))
                })
                .collect();
            drop((tx, rx));
            receivers.into_iter().for_each(|g| g.join().unwrap());
            senders.into_iter().for_each(|g| g.join().unwrap());
        });
    }
}

// --- programs

#[test]
fn the_prime_sieve() {
    tidy(4, || {
        let (tx, mut from) = bounded(0);
        drop(go(move || (2u64..).take_while(|&n| tx.send(n).is_ok()).count()));
        let mut primes = Vec::new();
        for _ in 0..60 {
            let prime = from.recv().unwrap();
            primes.push(prime);
            let (to, next) = bounded(0);
            let before = std::mem::replace(&mut from, next);
            drop(go(move || before.iter().filter(|n| n % prime != 0).take_while(|&n| to.send(n).is_ok()).count()));
        }
        assert_eq!((primes[0], primes[59]), (2, 281));
    });
}

#[test]
fn a_thousand_links_of_a_daisy_chain() {
    tidy(4, || {
        let (tx, mut rx) = bounded(0);
        let first = tx;
        for _ in 0..1_000 {
            let (to, next) = bounded(0);
            let from = std::mem::replace(&mut rx, next);
            drop(go(move || to.send(from.recv().unwrap() + 1).unwrap()));
        }
        first.send(0).unwrap();
        assert_eq!(rx.recv(), Ok(1_000));
    });
}

#[test]
fn a_channel_as_a_semaphore() {
    shaken(4, || {
        let (acquire, release) = bounded(3);
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let gs: Vec<_> = (0..50)
            .map(|_| {
                let (acquire, release, inside, most) = (acquire.clone(), release.clone(), inside.clone(), most.clone());
                go(move || {
                    acquire.send(()).unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    yield_now();
                    inside.fetch_sub(1, Ordering::Relaxed);
                    release.recv().unwrap();
                })
            })
            .collect();
        gs.into_iter().for_each(|g| g.join().unwrap());
        assert!((1..=3).contains(&most.load(Ordering::Relaxed)));
    });
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
