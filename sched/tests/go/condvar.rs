//! `Condvar`: Go's `sync.Cond`.

use super::{a_moment, until_parked};
use crate::api::*;
use chan::bounded;
use sync::{Condvar, Mutex};

cases! {
    a_signal_wakes_one,
    signals_wake_in_the_order_of_waiting,
    a_broadcast_wakes_everybody_and_again,
    three_goroutines_pass_a_number_on,
    a_signal_is_not_stolen_by_who_comes_later,
    a_signal_without_a_waiter_is_lost,
    the_mutex_is_free_while_somebody_waits,
    a_wait_with_a_time_gives_up,
    a_queue_of_a_condition,
}

/// Go: cond_test.go, TestCondSignal.
fn a_signal_wakes_one() {
    let pair = Arc::new((Mutex::new(()), Condvar::new()));
    let ((running, run), (awake, woke)) = (bounded(2), bounded(2));
    for _ in 0..2 {
        let (pair, running, awake) = (pair.clone(), running.clone(), awake.clone());
        drop(go(move || {
            let guard = pair.0.lock().unwrap();
            running.send(()).unwrap();
            let _guard = pair.1.wait(guard).unwrap();
            awake.send(()).unwrap();
        }));
    }
    (0..2).for_each(|_| run.recv().unwrap());
    for _ in 0..2 {
        assert!(woke.try_recv().is_err(), "not asleep");
        let guard = pair.0.lock().unwrap();
        pair.1.notify_one();
        drop(guard);
        woke.recv().unwrap();
        a_moment();
        assert!(woke.try_recv().is_err(), "too many are awake");
    }
    pair.1.notify_one();
}

/// Go: cond_test.go, TestCondSignalGenerations.
fn signals_wake_in_the_order_of_waiting() {
    let pair = Arc::new((Mutex::new(()), Condvar::new()));
    let ((running, run), (awake, woke)) = (bounded(100), bounded(100));
    for i in 0..50 {
        let (pair, running, awake) = (pair.clone(), running.clone(), awake.clone());
        drop(go({
            let pair = pair.clone();
            move || {
                let guard = pair.0.lock().unwrap();
                running.send(()).unwrap();
                let _guard = pair.1.wait(guard).unwrap();
                awake.send(i).unwrap();
            }
        }));
        if i > 0 {
            assert_eq!(woke.recv(), Ok(i - 1));
        }
        run.recv().unwrap();
        let _guard = pair.0.lock().unwrap();
        pair.1.notify_one();
    }
    assert_eq!(woke.recv(), Ok(49));
}

/// Go: cond_test.go, TestCondBroadcast.
fn a_broadcast_wakes_everybody_and_again() {
    const N: usize = 20;
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let ((running, run), (awake, woke)) = (bounded(N), bounded(N));
    for g in 0..N {
        let (pair, running, awake) = (pair.clone(), running.clone(), awake.clone());
        drop(go(move || {
            let mut exit = pair.0.lock().unwrap();
            while !*exit {
                running.send(g).unwrap();
                exit = pair.1.wait(exit).unwrap();
                awake.send(g).unwrap();
            }
        }));
    }
    for round in 0..N {
        (0..N).for_each(|_| drop(run.recv().unwrap().to_string()));
        *pair.0.lock().unwrap() = round == N - 1;
        assert!(woke.try_recv().is_err(), "not asleep");
        let guard = pair.0.lock().unwrap();
        pair.1.notify_all();
        drop(guard);
        let mut seen = [false; N];
        (0..N).for_each(|_| assert!(!core::mem::replace(&mut seen[woke.recv().unwrap()], true), "woke up twice"));
    }
    drop((running, awake));
    assert!(run.recv().is_err(), "did not exit");
}

/// Go: cond_test.go, TestRace.
fn three_goroutines_pass_a_number_on() {
    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let first = go({
        let pair = pair.clone();
        move || {
            let mut x = pair.0.lock().unwrap();
            *x = 1;
            x = pair.1.wait_while(x, |x| *x == 1).unwrap();
            assert_eq!(*x, 2);
            *x = 3;
            pair.1.notify_all();
        }
    });
    let second = go({
        let pair = pair.clone();
        move || {
            loop {
                let mut x = pair.0.lock().unwrap();
                if *x == 1 {
                    *x = 2;
                    pair.1.notify_all();
                    break;
                }
                drop(x);
                runtime::yield_now();
            }
        }
    });
    let third = go({
        let pair = pair.clone();
        move || assert_eq!(*pair.1.wait_while(pair.0.lock().unwrap(), |x| *x != 3).unwrap(), 3)
    });
    [first, second, third].into_iter().for_each(|g| g.join().unwrap());
}

/// Go: cond_test.go, TestCondSignalStealing.
fn a_signal_is_not_stolen_by_who_comes_later() {
    for _ in 0..100 {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let (tx, rx) = bounded(0);
        let first = go({
            let pair = pair.clone();
            move || {
                let guard = pair.0.lock().unwrap();
                tx.send(()).unwrap();
                drop(pair.1.wait(guard).unwrap());
                tx.send(()).unwrap();
            }
        });
        rx.recv().unwrap();
        drop(pair.0.lock().unwrap()); // now it waits
        let all = go({
            let pair = pair.clone();
            move || pair.1.notify_all()
        });
        let later = go({
            let pair = pair.clone();
            move || drop(pair.1.wait_while(pair.0.lock().unwrap(), |done| !*done).unwrap())
        });
        rx.recv().unwrap();
        *pair.0.lock().unwrap() = true;
        pair.1.notify_all();
        [first, all, later].into_iter().for_each(|g| g.join().unwrap());
    }
}

/// Go: Signal "wakes one goroutine waiting on c, if there is any".
fn a_signal_without_a_waiter_is_lost() {
    let (mutex, condition) = (Mutex::new(()), Condvar::new());
    condition.notify_one();
    condition.notify_all();
    let (guard, result) = condition.wait_timeout(mutex.lock().unwrap(), Duration::from_millis(2)).unwrap();
    assert!(result.timed_out());
    drop(guard);
}

/// Go: Wait "atomically unlocks c.L and suspends execution".
fn the_mutex_is_free_while_somebody_waits() {
    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let waits = go({
        let pair = pair.clone();
        move || *pair.1.wait_while(pair.0.lock().unwrap(), |n| *n == 0).unwrap()
    });
    until_parked(1);
    *pair.0.try_lock().unwrap() = 4;
    pair.1.notify_one();
    assert_eq!(waits.join().unwrap(), 4);
}

/// Go: has no such thing; as in `std`.
fn a_wait_with_a_time_gives_up() {
    let pair = (Mutex::new(false), Condvar::new());
    let begin = Instant::now();
    let (guard, result) =
        pair.1.wait_timeout_while(pair.0.lock().unwrap(), Duration::from_millis(3), |done| !*done).unwrap();
    assert!(result.timed_out() && !*guard && begin.elapsed() >= Duration::from_millis(3));
}

/// Go: the bounded buffer of every book.
fn a_queue_of_a_condition() {
    let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new(), Condvar::new()));
    let producers: Vec<_> = (0..4)
        .map(|p| {
            let queue = queue.clone();
            go(move || {
                for i in 0..50 {
                    let mut items = queue.1.wait_while(queue.0.lock().unwrap(), |items| items.len() == 3).unwrap();
                    items.push(p * 50 + i);
                    queue.2.notify_one();
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    while all.len() < 200 {
        let mut items = queue.2.wait_while(queue.0.lock().unwrap(), |items| items.is_empty()).unwrap();
        all.append(&mut items);
        queue.1.notify_all();
    }
    producers.into_iter().for_each(|g| g.join().unwrap());
    all.sort_unstable();
    assert!(all.into_iter().eq(0..200));
}
