//! `Mutex`.

use super::{a_moment, until, until_parked};
use crate::api::*;
use chan::bounded;
use sync::{Mutex, TryLockError};

cases! {
    one_goroutine_at_a_time_is_inside,
    a_try_lock_never_waits,
    locks_and_try_locks_hammer_one_mutex,
    who_waits_leaves_its_core_to_others,
    unlocking_hands_on_to_whoever_waits,
    a_busy_goroutine_does_not_starve_a_polite_one,
    a_guard_is_unlocked_by_its_drop,
    a_guard_may_be_held_across_a_park,
    a_panic_inside_poisons,
    a_poisoned_mutex_gives_its_value_and_is_cleared,
    goexit_inside_unlocks,
    what_was_written_inside_is_seen_by_the_next,
    a_mutex_guards_a_map,
    two_mutexes_in_one_order_do_not_deadlock,
}

/// Go: mutex_test.go, TestMutex, HammerMutex.
fn one_goroutine_at_a_time_is_inside() {
    let mutex = Arc::new(Mutex::new((0usize, 0usize)));
    let gs: Vec<_> = (0..10)
        .map(|_| {
            let mutex = mutex.clone();
            go(move || {
                for i in 0..200 {
                    let mut pair = mutex.lock().unwrap();
                    assert_eq!(pair.0, pair.1, "somebody else was inside");
                    pair.0 += 1;
                    if i % 16 == 0 {
                        runtime::yield_now();
                    }
                    pair.1 += 1;
                }
            })
        })
        .collect();
    gs.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*mutex.lock().unwrap(), (2_000, 2_000));
}

/// Go: mutex_test.go, TestMutex: "TryLock succeeded with mutex locked".
fn a_try_lock_never_waits() {
    let mutex = Arc::new(Mutex::new(1));
    let held = mutex.lock().unwrap();
    let other = mutex.clone();
    let g = go(move || matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
    assert!(g.join().unwrap());
    drop(held);
    assert_eq!(*mutex.try_lock().unwrap(), 1);
}

/// Go: mutex_test.go, HammerMutex, which takes turns between Lock and TryLock.
fn locks_and_try_locks_hammer_one_mutex() {
    let mutex = Arc::new(Mutex::new(0usize));
    let gs: Vec<_> = (0..10)
        .map(|_| {
            let mutex = mutex.clone();
            go(move || {
                let mut entered = 0;
                for i in 0..300 {
                    if i % 3 == 0 {
                        if let Ok(mut n) = mutex.try_lock() {
                            *n += 1;
                            entered += 1;
                        }
                    } else {
                        *mutex.lock().unwrap() += 1;
                        entered += 1;
                    }
                }
                entered
            })
        })
        .collect();
    let entered: usize = gs.into_iter().map(|g| g.join().unwrap()).sum();
    assert_eq!(*mutex.lock().unwrap(), entered);
    assert!(entered >= 2_000);
}

/// Go: a G that waits for a Mutex costs no thread.
fn who_waits_leaves_its_core_to_others() {
    let mutex = Arc::new(Mutex::new(0));
    let held = mutex.lock().unwrap();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let mutex = mutex.clone();
            go(move || *mutex.lock().unwrap() += 1)
        })
        .collect();
    until_parked(20);
    assert_eq!(go(|| 5).join().unwrap(), 5);
    assert!(waiting.iter().all(|g| !g.is_finished()));
    drop(held);
    waiting.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(*mutex.lock().unwrap(), 20);
}

/// Go: mutex.go: nobody stays in the queue of a free mutex.
fn unlocking_hands_on_to_whoever_waits() {
    for _ in 0..50 {
        let mutex = Arc::new(Mutex::new(()));
        let held = mutex.lock().unwrap();
        let other = mutex.clone();
        let waits = go(move || drop(other.lock().unwrap()));
        runtime::yield_now();
        drop(held);
        waits.join().unwrap();
    }
}

/// Go: mutex_test.go, TestMutexFairness: one locks for long and all the time, the other now and
/// then.
fn a_busy_goroutine_does_not_starve_a_polite_one() {
    let mutex = Arc::new(Mutex::new(()));
    let (stop, stopped) = bounded::<()>(0);
    let greedy = mutex.clone();
    let busy = go(move || {
        let mut rounds = 0;
        while stopped.try_recv() == Err(chan::TryRecvError::Empty) {
            let held = greedy.lock().unwrap();
            time::sleep(Duration::from_micros(100));
            drop(held);
            rounds += 1;
        }
        rounds
    });
    for _ in 0..10 {
        time::sleep(Duration::from_micros(100));
        drop(mutex.lock().unwrap());
    }
    stop.close();
    assert!(busy.join().unwrap() > 0);
}

/// Go: `defer mu.Unlock()`.
fn a_guard_is_unlocked_by_its_drop() {
    let mutex = Mutex::new(3);
    {
        let guard = mutex.lock().unwrap();
        assert!(mutex.try_lock().is_err());
        assert_eq!(*guard, 3);
    }
    assert!(mutex.try_lock().is_ok());
    assert_eq!(mutex.into_inner().unwrap(), 3);
}

/// Go: "a locked Mutex is not associated with a particular goroutine": nor with a core.
fn a_guard_may_be_held_across_a_park() {
    let mutex = Arc::new(Mutex::new(0));
    let (tx, rx) = bounded(0);
    let other = mutex.clone();
    let holder = go(move || {
        let mut n = other.lock().unwrap();
        *n = rx.recv().unwrap();
    });
    until_parked(1);
    assert!(mutex.try_lock().is_err());
    tx.send(7).unwrap();
    holder.join().unwrap();
    assert_eq!(*mutex.lock().unwrap(), 7);
}

/// Go: there the mutex stays locked unless its unlock is deferred; here it is poisoned, as in
/// `std`.
fn a_panic_inside_poisons() {
    let mutex = Arc::new(Mutex::new(1));
    let other = mutex.clone();
    let g = go(move || {
        let _held = other.lock().unwrap();
        panic!("with the lock held");
    });
    assert!(g.join().is_err());
    assert!(mutex.is_poisoned());
    assert!(mutex.lock().is_err());
    assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
}

/// Go: has no such thing; as in `std`.
fn a_poisoned_mutex_gives_its_value_and_is_cleared() {
    let mutex = Arc::new(Mutex::new(1));
    let other = mutex.clone();
    let g = go(move || {
        *other.lock().unwrap() = 2;
        let _held = other.lock().unwrap();
        panic!("with the lock held");
    });
    assert!(g.join().is_err());
    assert_eq!(*mutex.lock().unwrap_err().into_inner(), 2);
    mutex.clear_poison();
    assert_eq!(*mutex.lock().unwrap(), 2);
}

/// Go: Goexit runs a deferred Unlock. No panic, so no poison.
fn goexit_inside_unlocks() {
    let mutex = Arc::new(Mutex::new(1));
    let other = mutex.clone();
    let g = go(move || {
        let _held = other.lock().unwrap();
        runtime::exit_g();
    });
    assert!(matches!(g.join(), Err(JoinError::Exited)));
    assert!(!mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap(), 1);
}

/// Go: the memory model: "call n of l.Unlock is synchronized before call m of l.Lock returns".
fn what_was_written_inside_is_seen_by_the_next() {
    let mutex = Arc::new(Mutex::new(Vec::new()));
    let gs: Vec<_> = (0..8)
        .map(|g| {
            let mutex = mutex.clone();
            go(move || (0..100).for_each(|i| mutex.lock().unwrap().push((g, i))))
        })
        .collect();
    gs.into_iter().for_each(|g| g.join().unwrap());
    let all = mutex.lock().unwrap();
    assert_eq!(all.len(), 800);
    (0..8).for_each(|g| assert!(all.iter().filter(|e| e.0 == g).map(|e| e.1).eq(0..100)));
}

/// Go: "Exercise: Web Crawler" (A Tour of Go): a map that each key enters once.
fn a_mutex_guards_a_map() {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let gs: Vec<_> = (0..16)
        .map(|_| {
            let seen = seen.clone();
            go(move || {
                let mut first = 0;
                for key in 0..100 {
                    first += usize::from(seen.lock().unwrap().insert(key, ()).is_none());
                    if key % 10 == 0 {
                        runtime::yield_now();
                    }
                }
                first
            })
        })
        .collect();
    assert_eq!(gs.into_iter().map(|g| g.join().unwrap()).sum::<usize>(), 100);
}

/// Go: two accounts, locked in the order of their numbers.
fn two_mutexes_in_one_order_do_not_deadlock() {
    let accounts = Arc::new([Mutex::new(1_000i64), Mutex::new(1_000)]);
    let gs: Vec<_> = (0..8)
        .map(|i| {
            let accounts = accounts.clone();
            go(move || {
                for n in 0..100 {
                    let mut first = accounts[0].lock().unwrap();
                    if n % 10 == 0 {
                        runtime::yield_now();
                    }
                    let mut second = accounts[1].lock().unwrap();
                    let amount = if i % 2 == 0 { n } else { -n };
                    *first -= amount;
                    *second += amount;
                }
            })
        })
        .collect();
    gs.into_iter().for_each(|g| g.join().unwrap());
    a_moment();
    until(|| accounts[0].try_lock().is_ok());
    assert_eq!(*accounts[0].lock().unwrap() + *accounts[1].lock().unwrap(), 2_000);
}
