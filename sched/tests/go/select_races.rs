//! `select` against others that are at the same channels in the same moment.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::api::*;
use chan::{TryRecvError, bounded, never};
use sync::WaitGroup;

cases! {
    a_nonblocking_select_sees_one_moment,
    a_nonblocking_select_sees_one_moment_of_a_close,
    selects_and_plain_operations_in_a_storm,
    equal_arms_are_chosen_about_equally_often,
    a_select_races_with_its_timeout,
    a_select_races_with_a_close,
    two_selects_that_want_both_channels_do_not_deadlock,
    a_fan_in_of_selects_keeps_each_senders_order,
    a_mutex_made_of_selects,
}

/// Go: chan_test.go, TestNonblockSelectRace: there is always a value in one of the two.
///
/// Go locks all channels of a select at once, so that its default can't be taken; Trefoil looks at
/// one after the other, as `crossbeam` does. So here the default may be taken, and the case says
/// what holds nonetheless: nothing is lost, and whoever looks again finds it.
fn a_nonblocking_select_sees_one_moment() {
    for _ in 0..300 {
        let ((t1, c1), (t2, c2)) = (bounded(1), bounded(1));
        t1.send(1).unwrap();
        let looks = go({
            let (c1, c2) = (c1.clone(), c2.clone());
            move || {
                for round in 0.. {
                    let got = select! { recv(c1) -> v => v.is_ok(), recv(c2) -> v => v.is_ok(), default => false };
                    if got {
                        return round;
                    }
                    runtime::yield_now();
                }
                unreachable!()
            }
        });
        t2.send(1).unwrap();
        let mine = select! { recv(c1) -> v => v.is_ok(), default => false };
        looks.join().unwrap();
        assert_eq!(c1.len() + c2.len() + usize::from(mine), 1);
    }
}

/// Go: chan_test.go, TestNonblockSelectRace2: the second is closed instead.
fn a_nonblocking_select_sees_one_moment_of_a_close() {
    for _ in 0..300 {
        let ((t1, c1), (t2, c2)) = (bounded(1), bounded::<u8>(0));
        t1.send(1).unwrap();
        let looks = go({
            let c1 = c1.clone();
            move || {
                while select! { recv(c1) -> _ => false, recv(c2) -> v => { assert!(v.is_err()); false }, default => true }
                {
                    runtime::yield_now();
                }
            }
        });
        t2.close();
        let _ = c1.try_recv();
        looks.join().unwrap();
    }
}

/// Go: chan_test.go, TestSelectStress.
fn selects_and_plain_operations_in_a_storm() {
    const N: usize = 400;
    let channels = [bounded(0), bounded(0), bounded(2), bounded(3)];
    let all = Arc::new(WaitGroup::new());
    let run = |f: Box<dyn FnOnce() + Send>| {
        all.add(1);
        let all = all.clone();
        drop(go(move || {
            f();
            all.done();
        }));
    };
    for (tx, rx) in channels.clone() {
        run(Box::new(move || (0..N).for_each(|_| tx.send(0).unwrap())));
        run(Box::new(move || (0..N).for_each(|_| assert_eq!(rx.recv(), Ok(0)))));
    }
    let senders = channels.clone().map(|c| c.0);
    run(Box::new(move || {
        // An arm that is done is switched off by a channel that nobody reads and that is full.
        let (off, _keep) = bounded(1);
        off.send(0).unwrap();
        let mut left = [N; 4];
        for _ in 0..4 * N {
            let on = |i: usize| if left[i] > 0 { &senders[i] } else { &off };
            let chosen = select! {
                send(on(3), 0) -> r => r.map(|()| 3),
                send(on(2), 0) -> r => r.map(|()| 2),
                send(on(0), 0) -> r => r.map(|()| 0),
                send(on(1), 0) -> r => r.map(|()| 1),
            };
            left[chosen.unwrap()] -= 1;
        }
    }));
    let receivers = channels.clone().map(|c| c.1);
    run(Box::new(move || {
        let off = never();
        let mut left = [N; 4];
        for _ in 0..4 * N {
            let on = |i: usize| if left[i] > 0 { &receivers[i] } else { &off };
            let chosen = select! {
                recv(on(0)) -> v => v.map(|_: i32| 0),
                recv(on(1)) -> v => v.map(|_| 1),
                recv(on(2)) -> v => v.map(|_| 2),
                recv(on(3)) -> v => v.map(|_| 3),
            };
            left[chosen.unwrap()] -= 1;
        }
    }));
    all.wait();
    assert!(channels.iter().all(|(_, rx)| rx.is_empty()));
}

/// Go: chan_test.go, TestPseudoRandomSend; test/chan/fifo's opposite. Four arms that are always
/// ready, 4,000 choices: chi-square with three degrees of freedom is below 27 but once in 200,000
/// runs.
fn equal_arms_are_chosen_about_equally_often() {
    let channels: [_; 4] = core::array::from_fn(|_| bounded::<()>(1));
    channels.iter().for_each(|(tx, _)| tx.send(()).unwrap());
    let [a, b, c, d] = &channels;
    let mut chosen = [0f64; 4];
    for _ in 0..4_000 {
        let i = select! { recv(a.1) -> _ => 0, recv(b.1) -> _ => 1, recv(c.1) -> _ => 2, recv(d.1) -> _ => 3 };
        channels[i].0.send(()).unwrap();
        chosen[i] += 1.0;
    }
    let chi_square: f64 = chosen.iter().map(|n| (n - 1_000.0) * (n - 1_000.0) / 1_000.0).sum();
    assert!(chi_square < 27.0, "{chosen:?}: {chi_square}");
    // With two of them never ready, the other two share what is left equally: one degree of
    // freedom.
    let nil = never::<()>();
    let mut first = 0f64;
    for _ in 0..4_000 {
        let i = select! { recv(nil) -> _ => panic!(), recv(a.1) -> _ => 0, recv(nil) -> _ => panic!(), recv(b.1) -> _ => 1 };
        channels[i].0.send(()).unwrap();
        first += if i == 0 { 1.0 } else { 0.0 };
    }
    let chi_square = (first - 2_000.0) * (first - 2_000.0) / 1_000.0;
    assert!(chi_square < 21.0, "{first} of 4000: {chi_square}");
}

/// Go: time's tests: a timer that fires while the value comes. The value is received or stays.
fn a_select_races_with_its_timeout() {
    let (tx, rx) = bounded(1);
    let (mut got, mut sent) = (0, 0);
    let (go_on, turn) = bounded::<u64>(0);
    let sender = go(move || {
        for (number, micros) in turn.iter().enumerate() {
            time::sleep(Duration::from_micros(micros));
            tx.send(number).unwrap();
        }
    });
    for i in 0..100 {
        go_on.send(200 + i % 50).unwrap();
        sent += 1;
        got += select! { recv(rx) -> v => { v.unwrap(); 1 }, default(Duration::from_micros(200)) => 0 };
        got += rx.try_iter().count();
    }
    drop(go_on);
    sender.join().unwrap();
    assert_eq!(got + rx.try_iter().count(), sent);
}

/// Go: chan.go's `closechan` against `selectgo`.
fn a_select_races_with_a_close() {
    for _ in 0..100 {
        let ((ta, a), (tb, b)) = (bounded::<u8>(0), bounded::<u8>(0));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let (a, b) = (a.clone(), b.clone());
                go(move || select! { recv(a) -> v => v.is_err(), recv(b) -> v => v.is_err() })
            })
            .collect();
        let close = go(move || ta.close());
        tb.close();
        waiting.into_iter().for_each(|g| assert!(g.join().unwrap()));
        close.join().unwrap();
    }
}

/// Go: select.go's lock order: two selects name the same two channels, each the other way round.
fn two_selects_that_want_both_channels_do_not_deadlock() {
    let ((ta, a), (tb, b)) = (bounded(0), bounded(0));
    let sends = go(move || {
        for i in 0..400 {
            if i % 2 == 0 {
                select! { send(ta, i) -> r => r.unwrap(), send(tb, i) -> r => r.unwrap() }
            } else {
                select! { send(tb, i) -> r => r.unwrap(), send(ta, i) -> r => r.unwrap() }
            }
        }
    });
    let mut got = Vec::new();
    while got.len() < 400 {
        let v = select! { recv(b) -> v => v, recv(a) -> v => v };
        got.push(v.unwrap());
    }
    assert!(got.into_iter().eq(0..400));
    sends.join().unwrap();
}

/// Go: "Go Concurrency Patterns: fan-in".
fn a_fan_in_of_selects_keeps_each_senders_order() {
    let source = |name: u32| {
        let (tx, rx) = bounded(0);
        drop(go(move || (0..100).for_each(|i| tx.send((name, i)).unwrap())));
        rx
    };
    let (a, b) = (source(0), source(1));
    let mut next = [0, 0];
    let nil = never();
    while next != [100, 100] {
        let (from_a, from_b) = (if next[0] < 100 { &a } else { &nil }, if next[1] < 100 { &b } else { &nil });
        let (name, i) = select! { recv(from_a) -> v => v, recv(from_b) -> v => v }.unwrap();
        assert_eq!(next[name as usize], i);
        next[name as usize] += 1;
    }
}

/// Go: a lock with a timeout, which a mutex has not: the token of a channel of one.
fn a_mutex_made_of_selects() {
    let (unlock, lock) = bounded(1);
    unlock.send(()).unwrap();
    let (inside, gave_up) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gs: Vec<_> = (0..10)
        .map(|_| {
            let (unlock, lock, inside, gave_up) = (unlock.clone(), lock.clone(), inside.clone(), gave_up.clone());
            go(move || {
                for _ in 0..20 {
                    let locked = select! { recv(lock) -> r => r.is_ok(), default(Duration::from_micros(100)) => false };
                    if !locked {
                        gave_up.fetch_add(1, Relaxed);
                        continue;
                    }
                    assert_eq!(inside.fetch_add(1, Relaxed), 0, "two are inside");
                    runtime::yield_now();
                    inside.fetch_sub(1, Relaxed);
                    unlock.send(()).unwrap();
                }
            })
        })
        .collect();
    gs.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!((lock.try_recv(), lock.try_recv()), (Ok(()), Err(TryRecvError::Empty)));
    assert!(gave_up.load(Relaxed) < 200, "nobody came in");
}
