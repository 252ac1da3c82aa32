//! Through a channel.

use futures_util::StreamExt;
use trefoil::prelude::*;
use trefoil::runtime::WaitReason;

use super::{Stack, done, no, ok, run, start, waiting};
use crate::values::Value;

pub fn from_hand_to_hand<T: Value>(stack: Stack) {
    for capacity in [0, 1] {
        let (tx, rx) = chan::bounded::<T>(capacity);
        let receiver = waiting(stack, WaitReason::ChanRecv, move || ok(rx.recv()).check(1));
        run(stack, move || done(tx.send(T::make(1))));
        receiver.join().unwrap();
    }
    let (tx, rx) = chan::bounded::<T>(0);
    let sender = waiting(stack, WaitReason::ChanSend, move || done(tx.send(T::make(2))));
    run(stack, move || ok(rx.recv()).check(2));
    sender.join().unwrap();
    let (tx, rx) = chan::unbounded::<T>();
    let receiver = waiting(stack, WaitReason::ChanRecv, move || ok(rx.recv()).check(3));
    run(stack, move || done(tx.send(T::make(3))));
    receiver.join().unwrap();
}

pub fn with_a_deadline<T: Value>(stack: Stack) {
    const LONG: Duration = Duration::from_secs(30);
    let (tx, rx) = chan::bounded::<T>(0);
    let receiver = waiting(stack, WaitReason::ChanRecv, move || ok(rx.recv_timeout(LONG)).check(1));
    run(stack, move || done(tx.try_send(T::make(1))));
    receiver.join().unwrap();
    let (tx, rx) = chan::bounded::<T>(0);
    let sender = waiting(stack, WaitReason::ChanSend, move || done(tx.send_timeout(T::make(2), LONG)));
    run(stack, move || ok(rx.try_recv()).check(2));
    sender.join().unwrap();
    let (tx, rx) = chan::bounded::<T>(0);
    run(stack, move || {
        assert!(rx.recv_timeout(Duration::from_micros(10)).is_err_and(|e| e.is_timeout()));
        let error = no(tx.send_timeout(T::make(3), Duration::from_micros(10)));
        assert!(error.is_timeout());
        error.into_inner().check(3);
        drop(rx);
        no(tx.send_timeout(T::make(4), Duration::from_micros(10))).into_inner().check(4);
    });
}

pub fn through_a_buffer<T: Value>() {
    for capacity in [1, 3] {
        let (tx, rx) = chan::bounded::<T>(capacity);
        let n = capacity as u64 + 3;
        let sender = waiting(Stack::Cold, WaitReason::ChanSend, move || (0..n).for_each(|i| done(tx.send(T::make(i)))));
        assert_eq!((rx.len(), rx.is_full(), rx.capacity()), (capacity, true, Some(capacity)));
        // A gap is the waiting sender's.
        run(Stack::Cold, move || (0..n).for_each(|i| ok(rx.recv()).check(i)));
        sender.join().unwrap();
    }
}

pub fn through_an_endless_one<T: Value>() {
    let (tx, rx) = chan::unbounded::<T>();
    run(Stack::Cold, move || {
        (0..4).for_each(|i| done(tx.send(T::make(i))));
        (0..2).for_each(|i| ok(rx.recv()).check(i));
        (4..8).for_each(|i| done(tx.try_send(T::make(i))));
        assert_eq!((tx.len(), rx.capacity()), (6, None));
        (2..8).for_each(|i| ok(rx.try_recv()).check(i));
        assert!(rx.try_recv().is_err());
    });
}

pub fn errors_give_it_back<T: Value>() {
    let (tx, rx) = chan::bounded::<T>(1);
    run(Stack::Cold, move || {
        done(tx.try_send(T::make(1)));
        let full = no(tx.try_send(T::make(2)));
        assert!(full.is_full());
        full.into_inner().check(2);
        drop(rx);
        no(tx.send(T::make(3))).into_inner().check(3);
        let closed = no(tx.try_send(T::make(4)));
        assert!(closed.is_disconnected());
        closed.into_inner().check(4);
    });
    // Closed while it waits.
    let (tx, rx) = chan::bounded::<T>(0);
    let sender = waiting(Stack::Cold, WaitReason::ChanSend, move || no(tx.send(T::make(5))).into_inner().check(5));
    drop(rx);
    sender.join().unwrap();
}

pub fn dropped_with_the_channel<T: Value>() {
    let ((tx, rx), (endless, theirs)) = (chan::bounded::<T>(2), chan::unbounded::<T>());
    (0..2).for_each(|i| done(tx.send(T::make(i))));
    (0..6).for_each(|i| done(endless.send(T::make(i))));
    // With the last receiver; and with the channel, of which a sender has closed one end before.
    drop(rx);
    drop(tx);
    endless.close();
    drop((endless, theirs));
}

pub fn iterators_and_streams<T: Value>() {
    let (tx, rx) = chan::bounded::<T>(2);
    let sender = start(Stack::Cold, move || (0..8).for_each(|i| done(tx.send(T::make(i)))));
    run(Stack::Cold, move || {
        rx.iter().take(2).enumerate().for_each(|(i, v)| v.check(i as u64));
        let mut stream = rx.stream();
        (2..5).for_each(|i| task::block_on(stream.next()).unwrap().check(i));
        (&rx).into_iter().take(2).zip(5..).for_each(|(v, i)| v.check(i));
        rx.into_iter().for_each(|v| v.check(7));
    });
    sender.join().unwrap();
    let (tx, rx) = chan::unbounded::<T>();
    let polls = waiting(Stack::Cold, WaitReason::Task, move || {
        let mut stream = rx.into_stream();
        task::block_on(stream.next()).unwrap().check(8);
        assert!(task::block_on(stream.next()).is_none());
    });
    run(Stack::Cold, move || done(tx.send(T::make(8))));
    polls.join().unwrap();
}
