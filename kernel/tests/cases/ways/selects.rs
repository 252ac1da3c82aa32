//! Through a select.

use trefoil::panic::catch_unwind;
use trefoil::prelude::*;
use trefoil::runtime::WaitReason;
use trefoil::select::Select;

use super::{Stack, done, no, ok, run, start, waiting};
use crate::values::Value;

pub fn in_a_select<T: Value>(stack: Stack) {
    let ((tx, rx), (other, none)) = (chan::bounded::<T>(0), chan::bounded::<T>(0));
    let receiver = waiting(stack, WaitReason::Select, move || {
        select! {
            recv(none) -> v => panic!("{:?}", v.is_ok()),
            recv(rx) -> v => ok(v).check(1),
        }
    });
    run(stack, move || done(tx.send(T::make(1))));
    receiver.join().unwrap();
    drop(other);
    let ((tx, rx), (full, _full)) = (chan::bounded::<T>(0), chan::bounded::<T>(0));
    let sender = waiting(stack, WaitReason::Select, move || {
        select! {
            send(full, T::make(7)) -> _ => panic!("nobody takes it"),
            send(tx, T::make(2)) -> sent => done(sent),
            default(Duration::from_secs(30)) => panic!("too late"),
        }
    });
    run(stack, move || ok(rx.recv()).check(2));
    sender.join().unwrap();
    // Selects on both ends; and one that has an end of its own channel, too.
    let (tx, rx) = chan::bounded::<T>(0);
    let (tx2, rx2) = (tx.clone(), rx.clone());
    let receiver = waiting(stack, WaitReason::Select, move || {
        select_biased! {
            recv(rx) -> v => ok(v).check(3),
            send(tx, T::make(4)) -> sent => done(sent),
        }
    });
    let theirs = start(stack, move || {
        select! {
            recv(rx2) -> v => ok(v).check(4),
            send(tx2, T::make(3)) -> sent => done(sent),
        }
    });
    receiver.join().unwrap();
    theirs.join().unwrap();
}

pub fn in_a_dynamic_select<T: Value>(stack: Stack) {
    let (tx, rx) = chan::bounded::<T>(0);
    let receiver = waiting(stack, WaitReason::Select, move || {
        let mut select = Select::new();
        select.recv(&rx);
        ok(select.select().recv(&rx)).check(1);
    });
    run(stack, move || done(tx.send(T::make(1))));
    receiver.join().unwrap();
    let (tx, rx) = chan::bounded::<T>(0);
    let sender = waiting(stack, WaitReason::Select, move || {
        let mut select = Select::new();
        select.send(&tx);
        done(select.select().send(&tx, T::make(2)));
    });
    run(stack, move || ok(rx.recv()).check(2));
    sender.join().unwrap();
}

pub fn selects_that_do_not_wait<T: Value>() {
    let ((tx, rx), (none, _none)) = (chan::bounded::<T>(1), chan::bounded::<T>(0));
    run(Stack::Cold, move || {
        select! {
            send(none, T::make(9)) -> _ => panic!("nobody takes it"),
            send(tx, T::make(1)) -> sent => done(sent),
        }
        select! {
            send(tx, T::make(2)) -> _ => panic!("it is full"),
            default => {}
        }
        select! {
            send(tx, T::make(3)) -> _ => panic!("it is full"),
            default(Duration::from_micros(20)) => {}
        }
        select_biased! {
            recv(rx) -> v => ok(v).check(1),
            send(none, T::make(9)) -> _ => panic!("nobody takes it"),
            default => panic!("there is one"),
        }
        select! {
            recv(rx) -> _ => panic!("there is none"),
            default => {}
        }
        select! {
            recv(rx) -> _ => panic!("there is none"),
            recv(chan::never::<T>()) -> _ => panic!("never"),
            recv(chan::after(Duration::from_micros(20))) -> now => _ = ok(now),
        }
    });
}

pub fn selects_give_it_back<T: Value>() {
    let (tx, rx) = chan::bounded::<T>(0);
    let sender = waiting(Stack::Cold, WaitReason::Select, move || {
        select! {
            send(tx, T::make(1)) -> sent => no(sent).into_inner().check(1),
            recv(chan::never::<()>()) -> _ => panic!("never"),
        }
    });
    drop(rx);
    sender.join().unwrap();
    let (tx, rx) = chan::bounded::<T>(0);
    drop(rx);
    run(Stack::Cold, move || {
        select! { send(tx, T::make(2)) -> sent => no(sent).into_inner().check(2) }
        let mut select = Select::new();
        select.send(&tx);
        no(select.select().send(&tx, T::make(3))).into_inner().check(3);
    });
}

pub fn reservations<T: Value>() {
    let (tx, rx) = chan::bounded::<T>(1);
    let (tx2, rx2) = (tx.clone(), rx.clone());
    let reserves = start(Stack::Cold, move || {
        let mut select = Select::new();
        select.send(&tx2);
        let chosen = select.select();
        assert!(tx2.try_send(T::make(1)).is_err(), "a place that was promised is free");
        // A sender that waits for the place has it when it is given back.
        let sender = waiting(Stack::Cold, WaitReason::ChanSend, move || done(tx.send(T::make(2))));
        let dropped = catch_unwind(core::panic::AssertUnwindSafe(|| drop(chosen)));
        assert!(dropped.is_err());
        sender.join().unwrap();
        ok(rx2.recv()).check(2);
        // A receiver that came meanwhile has the promised value; one that was promised a value and
        // gets none waits on.
        let chosen = select.select();
        let receiver = waiting(Stack::Cold, WaitReason::ChanRecv, move || ok(rx.recv()).check(3));
        done(chosen.send(&tx2, T::make(3)));
        receiver.join().unwrap();
        let receiver = waiting(Stack::Cold, WaitReason::ChanRecv, move || ok(rx2.recv()).check(4));
        let chosen = select.select();
        assert!(catch_unwind(core::panic::AssertUnwindSafe(|| drop(chosen))).is_err());
        done(tx2.send(T::make(4)));
        receiver.join().unwrap();
        // One that has taken a value which nobody fetches.
        let (tx3, rx3) = chan::bounded::<T>(1);
        done(tx3.send(T::make(5)));
        let mut select = Select::new();
        select.recv(&rx3);
        let chosen = select.select();
        assert!(catch_unwind(core::panic::AssertUnwindSafe(|| drop(chosen))).is_err());
    });
    reserves.join().unwrap();
}
