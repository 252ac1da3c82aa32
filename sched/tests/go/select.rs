//! `select`: which operation is chosen, when it waits, and that no other operation happened.

use super::{a_moment, until_parked};
use crate::api::*;
use chan::{RecvError, SendError, bounded, never};

cases! {
    a_nil_channel_is_never_chosen,
    a_select_of_nil_channels_waits_for_ever_unless_told_otherwise,
    an_arm_is_switched_off_by_a_nil_channel,
    a_stage_sends_only_if_it_has_something,
    a_default_does_not_wait,
    a_select_with_nothing_but_a_default_takes_it,
    a_ready_receive_is_chosen_before_the_default,
    a_ready_send_is_chosen_before_the_default,
    a_closed_channel_is_an_ordinary_ready_arm,
    a_send_to_a_closed_channel_is_chosen_and_gives_the_value_back,
    an_unready_arm_makes_it_wait,
    a_select_does_not_meet_itself,
    two_selects_on_one_channel_meet_each_other,
    channels_and_values_are_evaluated_once_and_in_order,
    the_chosen_arm_alone_happens,
    one_channel_twice_is_one_value,
    a_select_that_waits_on_a_channel_twice_leaves_its_queue_whole,
    a_select_that_lost_leaves_the_queue_to_those_behind_it,
    a_waiting_select_is_woken_by_a_send,
    a_waiting_select_is_woken_by_a_receive,
    a_waiting_select_is_woken_by_a_close,
    a_waiting_select_is_woken_by_a_select,
    a_try_operation_meets_a_select_that_waits,
    break_leaves_the_loop_around_a_select,
    the_value_of_a_select_is_that_of_its_arm,
    a_select_in_an_arm_of_a_select,
    a_value_that_was_not_sent_is_dropped_once,
    a_timeout_gives_up_and_takes_nothing_with_it,
    a_default_with_a_time_gives_up_too,
    a_quit_channel_ends_a_worker,
    many_selects_wait_and_one_value_wakes_one,
}

/// Go: test/chan/select3.go: "receiving from a nil channel inside a select is never selected".
fn a_nil_channel_is_never_chosen() {
    let nil = never::<u32>();
    assert!(select! { recv(nil) -> _ => false, default => true });
    let (tx, rx) = bounded(1);
    for i in 0..20 {
        tx.send(i).unwrap();
        let got = select! { recv(nil) -> _ => unreachable!(), recv(rx) -> value => value };
        assert_eq!(got, Ok(i));
    }
}

/// Go: test/chan/select3.go: "selects with only nil channels always block"; "empty selects always
/// block".
fn a_select_of_nil_channels_waits_for_ever_unless_told_otherwise() {
    let nil = never::<u32>();
    let begin = Instant::now();
    select! {
        recv(nil) -> _ => unreachable!(),
        recv(nil) -> _ => unreachable!(),
        default(Duration::from_millis(3)) => {}
    }
    assert!(begin.elapsed() >= Duration::from_millis(3));
}

/// Go: setting a channel to nil takes its arm out of the next select.
fn an_arm_is_switched_off_by_a_nil_channel() {
    let ((ta, a), (tb, b)) = (bounded(3), bounded(3));
    (0..3).for_each(|i| ta.send(i).unwrap());
    (10..13).for_each(|i| tb.send(i).unwrap());
    drop((ta, tb));
    let (mut a, mut b) = (Some(a), Some(b));
    let mut got = Vec::new();
    while a.is_some() || b.is_some() {
        let (value, of_a) = select! { recv(a) -> v => (v, true), recv(b) -> v => (v, false) };
        match value {
            Ok(value) => got.push(value),
            Err(RecvError) if of_a => a = None,
            Err(RecvError) => b = None,
        }
    }
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 10, 11, 12]);
}

/// Go: a stage whose output channel is nil while it has nothing to send (`var out chan T`).
fn a_stage_sends_only_if_it_has_something() {
    let ((to, from), (out, end)) = (bounded(0), bounded(0));
    let source = go(move || (0..20).for_each(|i| to.send(i).unwrap()));
    let stage = go(move || {
        let (mut from, mut held) = (Some(from), Vec::new());
        while from.is_some() || !held.is_empty() {
            let next = held.first().copied();
            select! {
                recv(from) -> value => match value {
                    Ok(value) => held.push(value),
                    Err(RecvError) => from = None,
                },
                send(next.map(|_| &out), next.unwrap_or_default()) -> sent => {
                    sent.unwrap();
                    held.remove(0);
                }
            }
        }
    });
    assert!(end.iter().eq(0..20));
    source.join().unwrap();
    stage.join().unwrap();
}

/// Go: test/chan/select3.go: "selects with default cases don't block"; test/chan/nonblock.go.
fn a_default_does_not_wait() {
    for capacity in [0, 1] {
        let (tx, rx) = bounded(capacity);
        assert!(select! { recv(rx) -> _ => false, default => true });
        if capacity > 0 {
            tx.send(1).unwrap();
        }
        assert!(select! { send(tx, 2) -> _ => false, default => true });
    }
}

/// Go: test/chan/select3.go: `select { default: }`.
fn a_select_with_nothing_but_a_default_takes_it() {
    let taken = select! { default => 7 };
    assert_eq!(taken, 7);
}

/// Go: test/chan/select3.go: "selects with ready channels don't block".
fn a_ready_receive_is_chosen_before_the_default() {
    let (tx, rx) = bounded(1);
    for i in 0..50 {
        tx.send(i).unwrap();
        assert_eq!(select! { recv(rx) -> v => v, default => panic!("it was ready") }, Ok(i));
    }
}

/// Go: the same for a send.
fn a_ready_send_is_chosen_before_the_default() {
    let (tx, rx) = bounded(1);
    for i in 0..50 {
        assert_eq!(select! { send(tx, i) -> r => r, default => panic!("there was room") }, Ok(()));
        assert_eq!(rx.recv(), Ok(i));
    }
    let receiver = go({
        let (_tx, rx) = bounded::<u8>(0);
        move || rx.recv()
    });
    assert!(receiver.join().unwrap().is_err());
}

/// Go: test/chan/select3.go: "selects with closed channels behave like ordinary operations".
fn a_closed_channel_is_an_ordinary_ready_arm() {
    let (tx, rx) = bounded::<u8>(1);
    tx.send(3).unwrap();
    tx.close();
    assert_eq!(select! { recv(rx) -> v => v }, Ok(3));
    (0..3).for_each(|_| assert_eq!(select! { recv(rx) -> v => v }, Err(RecvError)));
    assert!(select! { recv(rx) -> v => v.is_err(), default => false });
}

/// Go: test/chan/select3.go: a send to a closed channel in a select panics; here the arm is chosen,
/// with the value.
fn a_send_to_a_closed_channel_is_chosen_and_gives_the_value_back() {
    let (tx, _rx) = bounded(0);
    tx.close();
    assert_eq!(select! { send(tx, 9) -> r => r }, Err(SendError(9)));
    assert_eq!(select! { send(tx, 8) -> r => r, default => Ok(()) }, Err(SendError(8)));
}

/// Go: test/chan/select3.go: "selects with non-ready non-nil channels always block".
fn an_unready_arm_makes_it_wait() {
    let (tx, rx) = bounded::<u8>(0);
    let waits = go(move || select! { recv(rx) -> v => v });
    until_parked(1);
    a_moment();
    assert!(!waits.is_finished());
    drop(tx);
    assert_eq!(waits.join().unwrap(), Err(RecvError));
}

/// Go: test/chan/select3.go: "select should not get confused if it sees itself".
fn a_select_does_not_meet_itself() {
    let (tx, rx) = bounded(0);
    select! {
        send(tx, 1) -> _ => panic!("it sent to itself"),
        recv(rx) -> _ => panic!("it received from itself"),
        default(Duration::from_millis(3)) => {}
    }
    // With a buffer it may: one value, in or out.
    let (tx, rx) = bounded(1);
    for i in 0..10 {
        select! {
            send(tx, i) -> r => r.unwrap(),
            recv(rx) -> v => assert!(v.unwrap() < i),
        }
        assert_eq!(rx.len(), 1 - i % 2);
    }
}

/// Go: chan_test.go, TestSelfSelect.
fn two_selects_on_one_channel_meet_each_other() {
    for capacity in [0, 10] {
        let (tx, rx) = bounded(capacity);
        let gs: Vec<_> = (0..2)
            .map(|p| {
                let (tx, rx) = (tx.clone(), rx.clone());
                go(move || {
                    for i in 0..300 {
                        let got = if p == 0 || i % 2 == 0 {
                            select! { send(tx, p) -> r => { r.unwrap(); None }, recv(rx) -> v => v.ok() }
                        } else {
                            select! { recv(rx) -> v => v.ok(), send(tx, p) -> r => { r.unwrap(); None } }
                        };
                        assert!(capacity > 0 || got != Some(p), "a value of its own");
                    }
                })
            })
            .collect();
        gs.into_iter().for_each(|g| g.join().unwrap());
    }
}

/// Go: test/chan/select.go, select5.go: "evaluated exactly once, in source order, upon entering".
fn channels_and_values_are_evaluated_once_and_in_order() {
    let mut order = Vec::new();
    let (tx, rx) = bounded::<u32>(1);
    let log = core::cell::RefCell::new(&mut order);
    let note = |n: u32| log.borrow_mut().push(n);
    select! {
        recv({ note(1); &rx }) -> _ => note(90),
        send({ note(2); &tx }, { note(3); 7 }) -> r => { r.unwrap(); note(4) },
    }
    assert_eq!(order, [1, 2, 3, 4]);
    assert_eq!(rx.recv(), Ok(7));
}

/// Go: test/chan/doubleselect.go: a value is never sent by two arms.
fn the_chosen_arm_alone_happens() {
    const N: usize = 500;
    let channels: Vec<_> = (0..4).map(|_| bounded(0)).collect();
    let (a, b, c, d) = (channels[0].0.clone(), channels[1].0.clone(), channels[2].0.clone(), channels[3].0.clone());
    let sender = go(move || {
        for i in 0..N {
            select! {
                send(a, i) -> r => r.unwrap(),
                send(b, i) -> r => r.unwrap(),
                send(c, i) -> r => r.unwrap(),
                send(d, i) -> r => r.unwrap(),
            }
        }
    });
    let (all, seen) = bounded(10);
    for (tx, rx) in channels {
        drop(tx);
        let all = all.clone();
        drop(go(move || rx.iter().for_each(|i| all.send(i).unwrap())));
    }
    drop(all);
    let mut seen: Vec<usize> = seen.iter().collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..N), "lost or doubled");
    sender.join().unwrap();
}

/// Go: test/chan/doubleselect.go, both arms on one channel.
fn one_channel_twice_is_one_value() {
    let (tx, rx) = bounded(0);
    let sender = go(move || {
        (0..200).for_each(|i| select! { send(tx, i) -> r => r.unwrap(), send(tx, i) -> r => r.unwrap() });
    });
    assert!(rx.iter().eq(0..200));
    sender.join().unwrap();
}

/// Go: chan_test.go, TestSelectDuplicateChannel.
fn a_select_that_waits_on_a_channel_twice_leaves_its_queue_whole() {
    let ((c, rc), (d, rd), (e, done)) = (bounded::<u8>(0), bounded::<u8>(0), bounded::<u8>(0));
    let first = go({
        let rc = rc.clone();
        move || {
            select! { recv(rc) -> _ => panic!(), recv(rc) -> _ => panic!(), recv(rd) -> v => assert_eq!(v, Ok(7)) }
            e.send(9).unwrap();
        }
    });
    until_parked(1);
    let second = go(move || rc.recv());
    until_parked(2);
    d.send(7).unwrap();
    assert_eq!(done.recv(), Ok(9));
    c.send(8).unwrap();
    assert_eq!(second.join().unwrap(), Ok(8));
    first.join().unwrap();
}

/// Go: test/chan/select6.go: the queue of an arm that lost stays whole.
fn a_select_that_lost_leaves_the_queue_to_those_behind_it() {
    let ((c1, r1), (c2, r2), (c3, r3)) = (bounded::<bool>(0), bounded::<bool>(0), bounded::<bool>(0));
    let first = go({
        let r1 = r1.clone();
        move || r1.recv()
    });
    until_parked(1);
    let second = go(move || {
        select! { recv(r1) -> _ => panic!("nothing was sent there"), recv(r2) -> _ => c3.send(true).unwrap() }
        r1.recv()
    });
    until_parked(2);
    c2.send(true).unwrap();
    assert_eq!(r3.recv(), Ok(true));
    c1.send(true).unwrap();
    c1.send(true).unwrap();
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (Ok(true), Ok(true)));
}

/// Go: test/chan/select7.go: a blocked select is found by a plain send.
fn a_waiting_select_is_woken_by_a_send() {
    for capacity in [0, 1] {
        let ((ta, a), (_tb, b)) = (bounded(capacity), bounded::<u32>(capacity));
        let waits = go(move || select! { recv(a) -> v => v, recv(b) -> _ => panic!() });
        until_parked(1);
        ta.send(5).unwrap();
        assert_eq!(waits.join().unwrap(), Ok(5));
    }
}

/// Go: test/chan/select7.go, the other direction.
fn a_waiting_select_is_woken_by_a_receive() {
    for capacity in [0, 1] {
        let ((ta, a), (tb, b)) = (bounded(capacity), bounded(capacity));
        (0..capacity).for_each(|_| {
            ta.send(0).unwrap();
            tb.send(0).unwrap();
        });
        let waits = go(move || select! { send(ta, 1) -> r => r.unwrap(), send(tb, 2) -> _ => panic!() });
        until_parked(1);
        assert!(a.iter().eq((0..capacity as u32).map(|_| 0).chain([1])));
        waits.join().unwrap();
        assert!(b.try_iter().eq((0..capacity as u32).map(|_| 0)), "the other value stayed where it was");
    }
}

/// Go: chan.go's `closechan` wakes selects as well.
fn a_waiting_select_is_woken_by_a_close() {
    let ((ta, a), (tb, b)) = (bounded::<u8>(0), bounded::<u8>(0));
    let waits: Vec<_> = (0..10)
        .map(|_| {
            let (a, tb) = (a.clone(), tb.clone());
            go(move || select! { recv(a) -> v => v.is_err(), send(tb, 1) -> _ => panic!() })
        })
        .collect();
    until_parked(10);
    ta.close();
    waits.into_iter().for_each(|g| assert!(g.join().unwrap()));
    assert!(b.is_empty());
}

/// Go: two selects find each other through the channel that they share.
fn a_waiting_select_is_woken_by_a_select() {
    for _ in 0..50 {
        let ((ta, a), (tb, b), (tc, c)) = (bounded(0), bounded::<u32>(0), bounded::<u32>(0));
        let one = go(move || select! { recv(a) -> v => v, recv(b) -> _ => panic!() });
        let other = go(move || select! { send(ta, 4) -> r => r.is_ok(), recv(c) -> _ => panic!() });
        assert_eq!((one.join().unwrap(), other.join().unwrap()), (Ok(4), true));
        drop((tb, tc));
    }
}

/// Go: test/chan/nonblock.go and select7.go: a non-blocking operation against a select that waits.
fn a_try_operation_meets_a_select_that_waits() {
    let ((ta, a), (tb, b)) = (bounded(0), bounded(0));
    let waits = go(move || select! { recv(a) -> v => v.unwrap(), send(tb, 2) -> r => { r.unwrap(); 0 } });
    until_parked(1);
    assert_eq!(ta.try_send(1), Ok(()));
    assert_eq!(waits.join().unwrap(), 1);
    assert!(b.try_recv().is_err());
}

/// Go: test/chan/select8.go: `break` in a select.
fn break_leaves_the_loop_around_a_select() {
    let (tx, rx) = bounded(10);
    (0..10).for_each(|i| tx.send(i).unwrap());
    let mut last = None;
    'all: loop {
        select! {
            recv(rx) -> v => {
                if v == Ok(3) {
                    break 'all;
                }
                last = v.ok();
                continue 'all;
            }
            default => panic!("three was there"),
        }
    }
    assert_eq!((last, rx.len()), (Some(2), 6));
}

/// Go: test/chan/select4.go assigns what it receives to whatever the left side names.
fn the_value_of_a_select_is_that_of_its_arm() {
    let (tx, rx) = bounded(2);
    tx.send([1, 2]).unwrap();
    let mut cells = [0; 4];
    [cells[1], cells[3]] = select! { recv(rx) -> v => v.unwrap() };
    assert_eq!(cells, [0, 1, 0, 2]);
}

/// Go: a select may stand wherever a statement may.
fn a_select_in_an_arm_of_a_select() {
    let ((ta, a), (tb, b)) = (bounded(1), bounded(1));
    ta.send(1).unwrap();
    tb.send(2).unwrap();
    let sum = select! {
        recv(a) -> x => x.unwrap() + select! { recv(b) -> y => y.unwrap(), default => 100 },
        recv(b) -> y => y.unwrap() + select! { recv(a) -> x => x.unwrap(), default => 100 },
    };
    assert_eq!(sum, 3);
}

/// Go: test/chan/select2.go: a select that is done over and over leaks nothing.
fn a_value_that_was_not_sent_is_dropped_once() {
    let value = Arc::new(());
    let ((ta, _a), (tb, b)) = (bounded(0), bounded(1));
    for _ in 0..100 {
        select! {
            send(ta, value.clone()) -> _ => panic!("nobody receives"),
            send(tb, value.clone()) -> r => r.unwrap(),
        }
        drop(b.recv().unwrap());
    }
    assert_eq!(Arc::strong_count(&value), 1);
}

/// Go: `case <-time.After(d)`.
fn a_timeout_gives_up_and_takes_nothing_with_it() {
    let (tx, rx) = bounded(0);
    let begin = Instant::now();
    let timeout = chan::after(Duration::from_millis(3));
    let timed_out = select! { recv(rx) -> _ => false, recv(timeout) -> _ => true };
    assert!(timed_out && begin.elapsed() >= Duration::from_millis(3));
    assert!(tx.try_send(1).is_err(), "it is no longer in the queue");
}

/// Go: the same, as it is written here.
fn a_default_with_a_time_gives_up_too() {
    let (tx, rx) = bounded(1);
    let wait = |d| select! { recv(rx) -> v => v.ok(), default(d) => None };
    assert_eq!(wait(Duration::from_millis(2)), None);
    tx.send(4).unwrap();
    assert_eq!(wait(Duration::from_secs(100)), Some(4));
    assert_eq!(wait(Duration::ZERO), None);
}

/// Go: "Go Concurrency Patterns": the fibonacci of the Tour, with a quit channel.
fn a_quit_channel_ends_a_worker() {
    let ((tx, rx), (quit, stop)) = (bounded(0), bounded::<()>(0));
    let worker = go(move || {
        let (mut x, mut y) = (0u64, 1);
        loop {
            select! {
                send(tx, x) -> r => {
                    r.unwrap();
                    (x, y) = (y, x + y);
                }
                recv(stop) -> _ => return x,
            }
        }
    });
    assert!(rx.iter().take(10).eq([0, 1, 1, 2, 3, 5, 8, 13, 21, 34]));
    quit.close();
    assert_eq!(worker.join().unwrap(), 55);
}

/// Go: a value wakes one of those that wait.
fn many_selects_wait_and_one_value_wakes_one() {
    let ((ta, a), (tb, b)) = (bounded(0), bounded(0));
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let (a, b) = (a.clone(), b.clone());
            go(move || select! { recv(a) -> v => v, recv(b) -> v => v })
        })
        .collect();
    until_parked(10);
    for i in 0..5 {
        ta.send(i).unwrap();
        tb.send(10 + i).unwrap();
    }
    let mut got: Vec<i32> = waiting.into_iter().map(|g| g.join().unwrap().unwrap()).collect();
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]);
}
