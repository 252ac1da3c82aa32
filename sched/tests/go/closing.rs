//! Closing: the values that are left come out, waiting G's are woken, and a closed channel stays
//! closed.

use super::{until, until_parked};
use crate::api::*;
use chan::{RecvError, SendError, TryRecvError, TrySendError, bounded};

cases! {
    what_was_sent_before_the_close_comes_out_and_then_errors,
    close_wakes_a_waiting_receiver,
    close_wakes_every_waiting_receiver,
    close_wakes_every_waiting_sender_with_its_value,
    a_send_on_a_closed_channel_gives_the_value_back,
    a_try_send_on_a_closed_channel_gives_the_value_back,
    a_try_receive_on_a_closed_channel_says_so,
    closing_twice_does_nothing_more,
    closing_from_another_handle_closes_the_channel,
    the_last_sender_to_go_closes,
    a_sender_that_is_left_keeps_it_open,
    the_last_receiver_to_go_stops_a_waiting_sender,
    a_receiver_that_panics_disconnects,
    a_sender_that_panics_ends_the_receivers_loop,
    a_sender_that_exits_ends_the_receivers_loop,
    a_close_is_seen_after_everything_before_it,
    closing_under_load_loses_nothing_that_was_sent,
    values_that_nobody_can_receive_go_with_the_last_receiver,
    dropping_ends_under_load_ends_everybody,
    a_closed_channel_as_a_broadcast,
}

/// Go: chan_test.go, TestChan: "receive 0 from closed chan"; closed_test of test/closedchan.go.
fn what_was_sent_before_the_close_comes_out_and_then_errors() {
    for capacity in [1, 3, 10] {
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|i| tx.send(i).unwrap());
        tx.close();
        (0..capacity).for_each(|i| assert_eq!(rx.recv(), Ok(i)));
        (0..3).for_each(|_| assert_eq!((rx.recv(), rx.try_recv()), (Err(RecvError), Err(TryRecvError::Disconnected))));
    }
}

/// Go: chan_test.go, TestChan: "close unblocks receive".
fn close_wakes_a_waiting_receiver() {
    for capacity in [0, 1, 10] {
        let (tx, rx) = bounded::<u8>(capacity);
        let receiver = go(move || rx.recv());
        until_parked(1);
        tx.close();
        assert_eq!(receiver.join().unwrap(), Err(RecvError));
    }
}

/// Go: chan.go's `closechan`: "release all readers".
fn close_wakes_every_waiting_receiver() {
    let (tx, rx) = bounded::<u8>(0);
    let receivers: Vec<_> = (0..30)
        .map(|_| {
            go({
                let rx = rx.clone();
                move || rx.recv()
            })
        })
        .collect();
    until_parked(30);
    tx.close();
    receivers.into_iter().for_each(|g| assert_eq!(g.join().unwrap(), Err(RecvError)));
}

/// Go: chan.go's `closechan`: "release all writers (they will panic)"; here they get an error.
fn close_wakes_every_waiting_sender_with_its_value() {
    for capacity in [0, 2] {
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|i| tx.send(i).unwrap());
        let senders: Vec<_> = (0..30)
            .map(|i| {
                go({
                    let tx = tx.clone();
                    move || tx.send(i)
                })
            })
            .collect();
        until_parked(30);
        tx.close();
        for (i, sender) in senders.into_iter().enumerate() {
            assert_eq!(sender.join().unwrap(), Err(SendError(i)));
        }
        assert!(rx.iter().eq(0..capacity));
    }
}

/// Go: test/chan/select3.go: "sending to a closed channel panics"; here it is an error.
fn a_send_on_a_closed_channel_gives_the_value_back() {
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        tx.close();
        assert_eq!(tx.send("kept".to_string()).unwrap_err().into_inner(), "kept");
        assert!(rx.recv().is_err());
    }
}

/// Go: test/closedchan.go: the non-blocking send panics, too.
fn a_try_send_on_a_closed_channel_gives_the_value_back() {
    for capacity in [0, 1] {
        let (tx, _rx) = bounded(capacity);
        tx.close();
        assert_eq!(tx.try_send(7), Err(TrySendError::Disconnected(7)));
    }
}

/// Go: test/closedchan.go: `x, ok := <-c` never waits.
fn a_try_receive_on_a_closed_channel_says_so() {
    let (tx, rx) = bounded(2);
    tx.send(1).unwrap();
    tx.close();
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
}

/// Go: `close of closed channel` panics; here the second close does nothing.
fn closing_twice_does_nothing_more() {
    let (tx, rx) = bounded(1);
    tx.send(1).unwrap();
    (0..3).for_each(|_| tx.close());
    assert!(rx.iter().eq([1]));
}

/// Go: a channel is closed, not a variable that names it.
fn closing_from_another_handle_closes_the_channel() {
    let (tx, rx) = bounded::<u8>(0);
    let other = tx.clone();
    go(move || other.close()).join().unwrap();
    assert!(tx.send(1).is_err() && rx.recv().is_err());
}

/// Go: has no such thing: its receivers would wait for ever.
fn the_last_sender_to_go_closes() {
    let (tx, rx) = bounded(4);
    for i in 0..10 {
        let tx = tx.clone();
        drop(go(move || tx.send(i).unwrap()));
    }
    drop(tx);
    assert_eq!(rx.iter().sum::<i32>(), 45);
}

/// Go: as above.
fn a_sender_that_is_left_keeps_it_open() {
    let (tx, rx) = bounded(0);
    let left = tx.clone();
    drop(tx);
    let receiver = go(move || rx.recv());
    until_parked(1);
    assert!(!receiver.is_finished());
    left.send(1).unwrap();
    assert_eq!(receiver.join().unwrap(), Ok(1));
}

/// Go: such a sender leaks.
fn the_last_receiver_to_go_stops_a_waiting_sender() {
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        let sender = go(move || (0..).take_while(|&n| tx.send(n).is_ok()).count());
        until_parked(1);
        drop(rx);
        assert_eq!(sender.join().unwrap(), capacity);
    }
}

/// Go: a deferred close runs while the G panics.
fn a_receiver_that_panics_disconnects() {
    let (tx, rx) = bounded(0);
    let receiver = go(move || {
        rx.recv().unwrap();
        panic!("a receiver that has had enough");
    });
    tx.send(1).unwrap();
    until(|| receiver.is_finished());
    assert_eq!(tx.send(2), Err(SendError(2)));
    assert!(receiver.join().is_err());
}

/// Go: `defer close(c)` in a producer that panics.
fn a_sender_that_panics_ends_the_receivers_loop() {
    let (tx, rx) = bounded(0);
    let sender = go(move || {
        tx.send(1).unwrap();
        panic!("a sender in the middle of its work");
    });
    assert!(rx.iter().eq([1]));
    assert!(sender.join().is_err());
}

/// Go: `defer close(c)` in a producer that calls Goexit.
fn a_sender_that_exits_ends_the_receivers_loop() {
    let (tx, rx) = bounded(0);
    let sender = go(move || {
        tx.send(1).unwrap();
        runtime::exit_g();
    });
    assert!(rx.iter().eq([1]));
    assert!(matches!(sender.join(), Err(JoinError::Exited)));
}

/// Go: the memory model: "the closing of a channel is synchronized before a receive that returns
/// because the channel is closed".
fn a_close_is_seen_after_everything_before_it() {
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    for i in 1..=200 {
        let (tx, rx) = bounded::<()>(0);
        let data = Arc::new(AtomicUsize::new(0));
        let writer = go({
            let data = data.clone();
            move || {
                data.store(i, Relaxed);
                tx.close();
            }
        });
        assert_eq!(rx.recv(), Err(RecvError));
        assert_eq!(data.load(Relaxed), i);
        writer.join().unwrap();
    }
}

/// Go: chan_test.go, TestMultiConsumer's end: nothing is lost between the last send and the close.
fn closing_under_load_loses_nothing_that_was_sent() {
    for capacity in [0, 1, 5, 100] {
        let (tx, rx) = bounded(capacity);
        let senders: Vec<_> = (0..10)
            .map(|_| {
                go({
                    let tx = tx.clone();
                    move || (0..).take_while(|&i| tx.send(i).is_ok()).count()
                })
            })
            .collect();
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                go({
                    let rx = rx.clone();
                    move || rx.iter().count()
                })
            })
            .collect();
        (0..10).for_each(|_| runtime::yield_now());
        tx.close();
        let sent: usize = senders.into_iter().map(|g| g.join().unwrap()).sum();
        let received: usize = receivers.into_iter().map(|g| g.join().unwrap()).sum();
        assert_eq!(sent, received);
    }
}

/// Go: the collector frees a buffer with its channel; here values go as soon as nobody can have
/// them, though senders are left.
fn values_that_nobody_can_receive_go_with_the_last_receiver() {
    let (tx, rx) = bounded(4);
    let value = Arc::new(());
    (0..3).for_each(|_| tx.send(value.clone()).unwrap());
    let other = rx.clone();
    drop(rx);
    assert_eq!(Arc::strong_count(&value), 4, "the other one can receive them");
    drop(other);
    assert_eq!(Arc::strong_count(&value), 1);
    assert!(tx.send(value.clone()).is_err());
}

/// Go: has no such thing.
fn dropping_ends_under_load_ends_everybody() {
    for _ in 0..20 {
        let (tx, rx) = bounded(2);
        let senders: Vec<_> = (0..6)
            .map(|_| {
                go({
                    let tx = tx.clone();
                    move || while tx.send(Box::new(7)).is_ok() {}
                })
            })
            .collect();
        let receivers: Vec<_> = (0..3)
            .map(|n| {
                go({
                    let rx = rx.clone();
                    move || assert_eq!(rx.iter().take(10 * n).count(), 10 * n)
                })
            })
            .collect();
        drop((tx, rx));
        receivers.into_iter().for_each(|g| g.join().unwrap());
        senders.into_iter().for_each(|g| g.join().unwrap());
    }
}

/// Go: the `done` channel: nothing is ever sent, and closing it tells everybody.
fn a_closed_channel_as_a_broadcast() {
    let (done, wait) = bounded::<()>(0);
    let workers: Vec<_> = (0..20)
        .map(|_| {
            let wait = wait.clone();
            go(move || {
                let mut rounds = 0;
                while wait.try_recv() == Err(TryRecvError::Empty) {
                    rounds += 1;
                    runtime::yield_now();
                }
                rounds
            })
        })
        .collect();
    (0..10).for_each(|_| runtime::yield_now());
    done.close();
    assert!(workers.into_iter().all(|g| g.join().is_ok()));
}
