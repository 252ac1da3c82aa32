//! Channels, one operation at a time: its result, and when it waits.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{a_moment, panic_of, until, until_parked};
use crate::api::*;
use chan::{TryRecvError, TrySendError, bounded};

cases! {
    a_receive_from_an_empty_channel_waits,
    a_try_receive_from_an_empty_channel_does_not_wait,
    a_send_to_a_full_channel_waits,
    a_try_send_to_a_full_channel_gives_the_value_back,
    values_come_out_in_the_order_they_went_in,
    many_senders_and_receivers_pass_every_value_once,
    len_and_cap_tell_what_is_in_it,
    a_waiting_sender_is_not_counted_as_a_value,
    the_buffer_takes_values_without_a_receiver,
    the_buffer_wraps_around,
    a_rendezvous_sender_waits_for_its_receiver,
    a_try_operation_meets_a_partner_that_waits,
    a_try_operation_on_a_buffer_needs_no_partner,
    waiting_receivers_are_served_in_the_order_they_came,
    waiting_senders_are_served_in_the_order_they_came,
    a_receiver_that_gets_its_value_runs_next,
    a_freed_place_goes_to_the_sender_that_waits,
    values_of_no_size_are_counted,
    large_values_are_not_torn,
    a_channel_sends_channels,
    a_channel_sends_closures,
    a_channel_sends_trait_objects,
    a_value_belongs_to_its_receiver,
    a_receivers_loop_sees_what_was_sent_before_the_end,
    a_send_is_seen_before_its_receive_returns,
    a_capacity_beyond_memory_panics,
    a_blocked_senders_value_survives_that_its_stack_is_taken_away,
    a_handle_that_is_passed_on_still_works,
    a_loaded_channel_never_loses_a_try_receive,
    two_channels_are_two,
}

const CAPACITIES: [usize; 4] = [0, 1, 3, 20];

/// Go: chan_test.go, TestChan: "receive from empty chan blocks".
fn a_receive_from_an_empty_channel_waits() {
    for capacity in CAPACITIES {
        let (tx, rx) = bounded(capacity);
        let gs: Vec<_> = (0..2)
            .map(|_| {
                go({
                    let rx = rx.clone();
                    move || rx.recv().unwrap()
                })
            })
            .collect();
        until_parked(2);
        a_moment();
        assert!(gs.iter().all(|g| !g.is_finished()), "capacity {capacity}");
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        let sum: i32 = gs.into_iter().map(|g| g.join().unwrap()).sum();
        assert_eq!(sum, 3);
    }
}

/// Go: chan_test.go, TestChan: "non-blocking receive does not block".
fn a_try_receive_from_an_empty_channel_does_not_wait() {
    for capacity in CAPACITIES {
        let (tx, rx) = bounded::<u8>(capacity);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        drop(tx);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    }
}

/// Go: chan_test.go, TestChan: "send to full chan blocks".
fn a_send_to_a_full_channel_waits() {
    for capacity in CAPACITIES {
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|i| tx.send(i).unwrap());
        let sender = go(move || tx.send(capacity).unwrap());
        until_parked(1);
        a_moment();
        assert!(!sender.is_finished(), "capacity {capacity}");
        assert!(rx.iter().eq(0..=capacity));
        sender.join().unwrap();
    }
}

/// Go: chan_test.go, TestChan: "non-blocking send does not block".
fn a_try_send_to_a_full_channel_gives_the_value_back() {
    for capacity in CAPACITIES {
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|i| tx.try_send(i.to_string()).unwrap());
        match tx.try_send("one too many".to_string()) {
            Err(TrySendError::Full(value)) => assert_eq!(value, "one too many"),
            other => panic!("{other:?}"),
        }
        assert_eq!(rx.len(), capacity);
    }
}

/// Go: chan_test.go, TestChan: "received non-corrupted in FIFO order"; test/chan/fifo.go.
fn values_come_out_in_the_order_they_went_in() {
    for capacity in CAPACITIES {
        let (tx, rx) = bounded(capacity);
        let sender = go(move || (0..300).for_each(|i| tx.send(i).unwrap()));
        assert!(rx.iter().eq(0..300), "capacity {capacity}");
        sender.join().unwrap();
    }
}

/// Go: chan_test.go, TestChan: four G's send, four receive.
fn many_senders_and_receivers_pass_every_value_once() {
    const EACH: usize = 500;
    for capacity in CAPACITIES {
        let (tx, rx) = bounded(capacity);
        for _ in 0..4 {
            let tx = tx.clone();
            drop(go(move || (0..EACH).for_each(|i| tx.send(i).unwrap())));
        }
        drop(tx);
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                go({
                    let rx = rx.clone();
                    move || rx.iter().collect::<Vec<_>>()
                })
            })
            .collect();
        let mut times = vec![0; EACH];
        receivers.into_iter().flat_map(|g| g.join().unwrap()).for_each(|i| times[i] += 1);
        assert!(times.iter().all(|&n| n == 4), "capacity {capacity}");
    }
}

/// Go: chan_test.go, TestChan: "Test len/cap".
fn len_and_cap_tell_what_is_in_it() {
    for capacity in CAPACITIES {
        let (tx, rx) = bounded(capacity);
        for i in 0..capacity {
            assert_eq!((tx.len(), rx.len(), rx.is_full()), (i, i, false));
            tx.send(i).unwrap();
        }
        assert_eq!((tx.len(), tx.capacity(), rx.capacity()), (capacity, Some(capacity), Some(capacity)));
        assert!(tx.is_full() && rx.is_full() && rx.is_empty() == (capacity == 0));
    }
}

/// Go: the spec's len: "the number of elements queued in the channel buffer".
fn a_waiting_sender_is_not_counted_as_a_value() {
    let (tx, rx) = bounded(1);
    let sender = go(move || (0..3).for_each(|i| tx.send(i).unwrap()));
    until_parked(1);
    assert_eq!(rx.len(), 1);
    assert_eq!(rx.recv(), Ok(0));
    assert!(rx.iter().eq([1, 2]));
    sender.join().unwrap();
}

/// Go: test/chan/select3.go: "sending to an async channel with free buffer space never blocks".
fn the_buffer_takes_values_without_a_receiver() {
    let (tx, rx) = bounded(100);
    (0..100).for_each(|i| tx.send(i).unwrap());
    drop(tx);
    assert!(rx.iter().eq(0..100));
}

/// Go: chan.go's `sendx` and `recvx`: the ring begins anew.
fn the_buffer_wraps_around() {
    let (tx, rx) = bounded(3);
    for round in 0..50 {
        let n = 1 + round % 3;
        (0..n).for_each(|i| tx.send((round, i)).unwrap());
        (0..n).for_each(|i| assert_eq!(rx.recv(), Ok((round, i))));
    }
    assert!(rx.is_empty());
}

/// Go: the spec: "communication succeeds only when both a sender and receiver are ready".
fn a_rendezvous_sender_waits_for_its_receiver() {
    let (tx, rx) = bounded(0);
    let sender = go(move || tx.send(5));
    until_parked(1);
    a_moment();
    assert!(!sender.is_finished());
    assert_eq!(rx.recv(), Ok(5));
    assert_eq!(sender.join().unwrap(), Ok(()));
}

/// Go: test/chan/nonblock.go, synchronous channels.
fn a_try_operation_meets_a_partner_that_waits() {
    let (tx, rx) = bounded(0);
    assert!(matches!(tx.try_send("nobody"), Err(TrySendError::Full("nobody"))));
    let receiver = go({
        let rx = rx.clone();
        move || rx.recv()
    });
    until_parked(1);
    assert_eq!(tx.try_send("met"), Ok(()));
    assert_eq!(receiver.join().unwrap(), Ok("met"));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    let sender = go({
        let tx = tx.clone();
        move || tx.send("back")
    });
    until_parked(1);
    assert_eq!(rx.try_recv(), Ok("back"));
    assert_eq!(sender.join().unwrap(), Ok(()));
}

/// Go: test/chan/nonblock.go, asynchronous channels.
fn a_try_operation_on_a_buffer_needs_no_partner() {
    let (tx, rx) = bounded(1);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(tx.try_send(1), Ok(()));
    assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
}

/// Go: the `recvq` of a channel is first in, first out.
fn waiting_receivers_are_served_in_the_order_they_came() {
    let (tx, rx) = bounded(0);
    let mut receivers = Vec::new();
    for n in 1..=5 {
        let rx = rx.clone();
        receivers.push(go(move || rx.recv().unwrap()));
        until_parked(n);
    }
    (0..5).for_each(|i| tx.send(i).unwrap());
    assert!(receivers.into_iter().map(|g| g.join().unwrap()).eq(0..5));
}

/// Go: the `sendq` of a channel is first in, first out.
fn waiting_senders_are_served_in_the_order_they_came() {
    for capacity in [0, 2] {
        let (tx, rx) = bounded(capacity);
        (0..capacity).for_each(|i| tx.send(i).unwrap());
        let mut senders = Vec::new();
        for n in 0..5 {
            let tx = tx.clone();
            senders.push(go(move || tx.send(capacity + n).unwrap()));
            until_parked(n + 1);
        }
        drop(tx);
        assert!(rx.iter().eq(0..capacity + 5));
        senders.into_iter().for_each(|g| g.join().unwrap());
    }
}

/// Go: chan.go's `send` ends with `goready`, which puts the receiver into `runnext`: it goes before
/// those who waited for the core already.
fn a_receiver_that_gets_its_value_runs_next() {
    if runtime::max_procs() > 1 {
        // Others may be faster, elsewhere.
        return;
    }
    let mut first = 0;
    for _ in 0..50 {
        let (tx, rx) = bounded(0);
        let turn = Arc::new(AtomicUsize::new(0));
        let theirs = turn.clone();
        let receiver = go(move || {
            rx.recv().unwrap();
            theirs.fetch_add(1, Relaxed)
        });
        until_parked(1);
        let others: Vec<_> = (0..5)
            .map(|_| {
                let turn = turn.clone();
                go(move || turn.fetch_add(1, Relaxed))
            })
            .collect();
        tx.send(()).unwrap();
        first += usize::from(receiver.join().unwrap() == 0);
        others.into_iter().for_each(|g| assert!(g.join().unwrap() < 6));
    }
    // Now and then a slice is over in between.
    assert!(first > 25, "first in {first} of 50");
}

/// Go: chan.go's `recv`: with a sender that waits, a receive takes the oldest value and lets that
/// sender's in.
fn a_freed_place_goes_to_the_sender_that_waits() {
    let (tx, rx) = bounded(2);
    tx.send(0).unwrap();
    tx.send(1).unwrap();
    let sender = go({
        let tx = tx.clone();
        move || tx.send(2).unwrap()
    });
    until_parked(1);
    assert_eq!(rx.recv(), Ok(0));
    assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)), "the place was the waiting sender's");
    sender.join().unwrap();
    assert!(rx.try_iter().eq([1, 2]));
}

/// Go: test/chan/zerosize.go.
fn values_of_no_size_are_counted() {
    let (tx, rx) = bounded(1_000_000);
    (0..1_000).for_each(|_| tx.send(()).unwrap());
    assert_eq!(rx.len(), 1_000);
    drop(tx);
    assert_eq!(rx.iter().count(), 1_000);
    let (tx, rx) = bounded::<[u64; 0]>(0);
    let sender = go(move || (0..100).for_each(|_| tx.send([]).unwrap()));
    assert_eq!(rx.iter().count(), 100);
    sender.join().unwrap();
}

/// Go: chan_test.go, the `struct` variants of its benchmarks: values that no register holds.
fn large_values_are_not_torn() {
    for capacity in [0, 2] {
        let (tx, rx) = bounded(capacity);
        let sender = go(move || (0..20).for_each(|i| tx.send([i; 1_000]).unwrap()));
        assert!(rx.iter().enumerate().all(|(i, v)| v == [i; 1_000]));
        sender.join().unwrap();
    }
}

/// Go: "channels of channels" (Effective Go): each request brings its reply's channel.
fn a_channel_sends_channels() {
    let (tx, rx) = bounded::<(u32, Sender<u32>)>(0);
    let server = go(move || rx.iter().for_each(|(n, reply)| reply.send(n * n).unwrap()));
    for n in 0..100 {
        let (reply, answer) = bounded(1);
        tx.send((n, reply)).unwrap();
        assert_eq!(answer.recv(), Ok(n * n));
    }
    drop(tx);
    server.join().unwrap();
}

/// Go: functions are values that a channel carries.
fn a_channel_sends_closures() {
    let (tx, rx) = bounded::<Box<dyn FnOnce() -> usize + Send>>(2);
    let worker = go(move || rx.iter().map(|f| f()).sum::<usize>());
    for i in 0..50 {
        tx.send(Box::new(move || i)).unwrap();
    }
    drop(tx);
    assert_eq!(worker.join().unwrap(), 1_225);
}

/// Go: chan_test.go, TestChanSendInterface.
fn a_channel_sends_trait_objects() {
    let (tx, rx) = bounded::<Box<dyn core::any::Any + Send>>(1);
    tx.send(Box::new(7u32)).unwrap();
    assert!(tx.try_send(Box::new("full")).is_err());
    assert_eq!(rx.recv().unwrap().downcast_ref(), Some(&7u32));
}

/// Go: the garbage collector frees what nobody has; here each value is dropped once, by whom has
/// it.
fn a_value_belongs_to_its_receiver() {
    let (tx, rx) = bounded(2);
    let value = Arc::new(());
    tx.send(value.clone()).unwrap();
    tx.send(value.clone()).unwrap();
    assert_eq!(Arc::strong_count(&value), 3);
    drop(rx.recv().unwrap());
    assert_eq!(Arc::strong_count(&value), 2);
    drop((tx, rx));
    assert_eq!(Arc::strong_count(&value), 1);
}

/// Go: `for v := range c`.
fn a_receivers_loop_sees_what_was_sent_before_the_end() {
    for capacity in [0, 2, 100] {
        let (tx, rx) = bounded(capacity);
        let sender = go(move || {
            (0..10).for_each(|i| tx.send(i).unwrap());
            tx.close();
        });
        let mut sum = 0;
        for v in &rx {
            sum += v;
        }
        assert_eq!(sum, 45);
        sender.join().unwrap();
    }
}

/// Go: the memory model: "a send on a channel is synchronized before the completion of the
/// corresponding receive".
fn a_send_is_seen_before_its_receive_returns() {
    let data = Arc::new(AtomicUsize::new(0));
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        let writer = go({
            let data = data.clone();
            move || {
                for i in 1..=500 {
                    data.store(i, Relaxed);
                    tx.send(i).unwrap();
                }
            }
        });
        rx.iter().for_each(|i| assert!(data.load(Relaxed) >= i, "the receive came before the store"));
        writer.join().unwrap();
        data.store(0, Relaxed);
    }
}

/// Go: `makechan: size out of range` panics.
fn a_capacity_beyond_memory_panics() {
    assert!(!panic_of(|| bounded::<u64>(usize::MAX)).is_empty());
}

/// Go: chan_test.go, TestShrinkStackDuringBlockedSend: the stack below a parked sender shrinks and
/// grows again.
fn a_blocked_senders_value_survives_that_its_stack_is_taken_away() {
    fn deep(n: usize) -> usize {
        let block = core::hint::black_box([n; 256]);
        if n == 0 { block[3] } else { deep(n - 1) + block[200] - n }
    }
    let (tx, rx) = bounded(0);
    let sender = go(move || {
        for i in 0..10 {
            tx.send(i).unwrap();
            assert_eq!(deep(20), 0);
        }
    });
    for i in 0..10 {
        assert_eq!(rx.recv(), Ok(i));
        until(|| parked() >= 1 || sender.is_finished());
        take_stacks();
    }
    sender.join().unwrap();
}

/// Go: test/chan/perm.go: an end of a channel is a value like others.
fn a_handle_that_is_passed_on_still_works() {
    let (ends, mine) = bounded(1);
    let (tx, rx) = bounded(1);
    ends.send((tx, rx)).unwrap();
    let worker = go(move || {
        let (tx, rx): (Sender<u8>, Receiver<u8>) = mine.recv().unwrap();
        tx.send(9).unwrap();
        rx.recv()
    });
    assert_eq!(worker.join().unwrap(), Ok(9));
}

/// Go: chan_test.go, TestNonblockRecvRace: a value is in the buffer, and closing it can't hide it.
fn a_loaded_channel_never_loses_a_try_receive() {
    for _ in 0..200 {
        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        let taker = go({
            let rx = rx.clone();
            move || rx.try_recv().is_ok()
        });
        tx.close();
        let mine = rx.recv().is_ok();
        assert!(mine != taker.join().unwrap(), "taken once");
    }
}

/// Go: channels are compared by identity.
fn two_channels_are_two() {
    let ((a, ra), (b, rb)) = (bounded::<u8>(1), bounded::<u8>(1));
    assert!(a.same_channel(&a.clone()) && ra.same_channel(&ra.clone()));
    assert!(!a.same_channel(&b) && !ra.same_channel(&rb));
    a.send(1).unwrap();
    assert!(rb.is_empty() && !ra.is_empty());
}
