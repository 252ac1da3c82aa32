//! `Condvar`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use trefoil_sched::locks::{Condvar, Mutex};
use trefoil_sched::spawn::go;
use trefoil_sched::time::sleep;

use crate::let_others_run;
use crate::support::{shaken, tidy};

#[test]
fn a_queue_made_of_it_loses_nothing() {
    for procs in [1, 2, 4] {
        shaken(procs, || {
            let shared = Arc::new((Mutex::new(VecDeque::new()), Condvar::new(), Condvar::new()));
            let takers: Vec<_> = (0..4)
                .map(|_| {
                    let shared = shared.clone();
                    go(move || {
                        let (queue, filled, emptied) = &*shared;
                        (0..300)
                            .map(|_| {
                                let mut queue = filled.wait_while(queue.lock().unwrap(), |q| q.is_empty()).unwrap();
                                emptied.notify_one();
                                queue.pop_front().unwrap()
                            })
                            .sum::<usize>()
                    })
                })
                .collect();
            let givers: Vec<_> = (0..3)
                .map(|_| {
                    let shared = shared.clone();
                    go(move || {
                        let (queue, filled, emptied) = &*shared;
                        for i in 0..400 {
                            let mut queue = emptied.wait_while(queue.lock().unwrap(), |q| q.len() == 2).unwrap();
                            queue.push_back(i);
                            filled.notify_one();
                        }
                    })
                })
                .collect();
            givers.into_iter().for_each(|g| g.join().unwrap());
            let sum: usize = takers.into_iter().map(|g| g.join().unwrap()).sum();
            assert_eq!(sum, 3 * (0..400).sum::<usize>());
        });
    }
}

/// Starts `n` G's that wait until the value is not 0, and lets them begin.
fn waiters(n: usize, pair: &Arc<(Mutex<usize>, Condvar)>) -> Arc<AtomicUsize> {
    let woken = Arc::new(AtomicUsize::new(0));
    for _ in 0..n {
        let (pair, woken) = (pair.clone(), woken.clone());
        drop(go(move || {
            let mut value = pair.0.lock().unwrap();
            while *value == 0 {
                value = pair.1.wait(value).unwrap();
            }
            *value -= 1;
            woken.fetch_add(1, Ordering::Relaxed);
        }));
    }
    let_others_run();
    woken
}

#[test]
fn one_notification_wakes_one_and_a_call_to_all_wakes_all() {
    tidy(1, || {
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        pair.1.notify_one();
        pair.1.notify_all();
        let woken = waiters(5, &pair);
        *pair.0.lock().unwrap() = 5;
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        pair.1.notify_one();
        let_others_run();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        pair.1.notify_all();
        let_others_run();
        assert_eq!(woken.load(Ordering::Relaxed), 5);
    });
}

#[test]
fn a_timeout_is_kept_and_the_mutex_is_held_again() {
    shaken(2, || {
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let begin = Instant::now();
        let (value, result) = pair.1.wait_timeout(pair.0.lock().unwrap(), Duration::from_millis(3)).unwrap();
        assert!(result.timed_out() && begin.elapsed() >= Duration::from_millis(3));
        assert!(pair.0.try_lock().is_err());
        drop(value);
        let (value, result) =
            pair.1.wait_timeout_while(pair.0.lock().unwrap(), Duration::from_millis(2), |v| *v == 0).unwrap();
        assert!(result.timed_out() && *value == 0);
        drop(value);
        let other = pair.clone();
        drop(go(move || {
            sleep(Duration::from_millis(1));
            *other.0.lock().unwrap() = 7;
            other.1.notify_all();
        }));
        let (value, result) =
            pair.1.wait_timeout_while(pair.0.lock().unwrap(), Duration::from_secs(50), |v| *v == 0).unwrap();
        assert!(!result.timed_out() && *value == 7);
    });
}

/// A notification and a deadline come at about the same time. If the time of the longest waiter is
/// over, the other waiter gets the notification.
#[test]
fn a_notification_is_not_spent_on_one_whose_time_is_over() {
    const LONG: Duration = Duration::from_secs(50);
    shaken(2, || {
        let pair = Arc::new((Mutex::new(0usize), Condvar::new()));
        let notify = |pair: &(Mutex<usize>, Condvar)| {
            *pair.0.lock().unwrap() += 1;
            pair.1.notify_one();
        };
        for round in 0..300u64 {
            let mut gs = [Duration::from_micros(50 + round), LONG].into_iter().map(|timeout| {
                let pair = pair.clone();
                go(move || {
                    let value = pair.0.lock().unwrap();
                    let (mut value, result) = pair.1.wait_timeout_while(value, timeout, |v| *v == 0).unwrap();
                    *value -= usize::from(!result.timed_out());
                    result.timed_out()
                })
            });
            let (first, second) = (gs.next().unwrap(), gs.next().unwrap());
            sleep(Duration::from_micros(40 + round));
            let begin = Instant::now();
            notify(&pair);
            if !first.join().unwrap() {
                notify(&pair);
            }
            assert!(!second.join().unwrap());
            assert!(begin.elapsed() < LONG / 2, "round {round}: the notification was lost");
        }
    });
}

#[test]
fn a_mutex_poisoned_meanwhile_is_told() {
    tidy(1, || {
        let pair = Arc::new((Mutex::new(()), Condvar::new()));
        let other = pair.clone();
        let poisons = go(move || {
            let _held = other.0.lock().unwrap();
            other.1.notify_one();
            panic!("while it is held");
        });
        assert!(pair.1.wait(pair.0.lock().unwrap()).is_err());
        assert!(poisons.join().is_err());
        pair.0.clear_poison();
        assert!(pair.1.wait_timeout(pair.0.lock().unwrap(), Duration::from_millis(1)).is_ok());
    });
}

#[test]
fn two_mutexes_at_the_same_time_are_refused() {
    tidy(1, || {
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let woken = waiters(1, &pair);
        let another = Mutex::new(());
        let refused = catch_unwind(AssertUnwindSafe(|| drop(pair.1.wait(another.lock().unwrap()))));
        let message = refused.unwrap_err();
        assert_eq!(message.downcast_ref::<&str>(), Some(&"Condvar: others wait with another mutex"));
        assert!(another.is_poisoned(), "its guard was dropped by the panic");
        *pair.0.lock().unwrap() = 1;
        pair.1.notify_one();
        let_others_run();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        // One after the other is fine.
        another.clear_poison();
        drop(pair.1.wait_timeout(another.lock().unwrap(), Duration::from_micros(1)).unwrap());
    });
}
