//! `Mutex`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use trefoil_hosted::{Config, Failure, run};
use trefoil_sched::locks::{Mutex, MutexGuard, TryLockError};
use trefoil_sched::spawn::go;
use trefoil_sched::time::sleep;
use trefoil_sched::yield_now;

use crate::support::{shaken, spin_for, tidy};

#[test]
fn one_g_at_a_time_is_inside() {
    for procs in [1, 2, 4] {
        shaken(procs, || {
            let mutex = Arc::new(Mutex::new((0usize, 0usize)));
            let gs: Vec<_> = (0..16)
                .map(|_| {
                    let mutex = mutex.clone();
                    go(move || {
                        for i in 0..500 {
                            let mut pair = mutex.lock().unwrap();
                            assert_eq!(pair.0, pair.1, "somebody else was inside");
                            pair.0 += 1;
                            if i % 16 == 0 {
                                yield_now();
                            }
                            pair.1 += 1;
                        }
                    })
                })
                .collect();
            gs.into_iter().for_each(|g| g.join().unwrap());
            assert_eq!(*mutex.lock().unwrap(), (8_000, 8_000));
        });
    }
}

#[test]
fn a_g_that_waits_leaves_its_core_to_others() {
    tidy(1, || {
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.lock().unwrap();
        let waits = {
            let mutex = mutex.clone();
            go(move || *mutex.lock().unwrap() += 1)
        };
        let runs = go(|| 5);
        assert_eq!(runs.join().unwrap(), 5);
        assert!(!waits.is_finished());
        drop(held);
        waits.join().unwrap();
        assert_eq!(*mutex.lock().unwrap(), 1);
    });
}

#[test]
fn waiters_get_the_lock_in_the_order_they_came() {
    tidy(1, || {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let held = mutex.lock().unwrap();
        let gs: Vec<_> = (0..5)
            .map(|i| {
                let mutex = mutex.clone();
                let g = go(move || mutex.lock().unwrap().push(i));
                (0..5).for_each(|_| yield_now());
                g
            })
            .collect();
        drop(held);
        gs.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(*mutex.lock().unwrap(), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn try_lock_does_not_wait() {
    tidy(1, || {
        let mutex = Mutex::new(1);
        let held = mutex.lock().unwrap();
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
        assert_eq!(format!("{mutex:?}"), "Mutex { data: <locked>, poisoned: false, .. }");
        drop(held);
        *mutex.try_lock().unwrap() += 1;
        assert_eq!(format!("{mutex:?}"), "Mutex { data: 2, poisoned: false, .. }");
    });
}

#[test]
fn a_panic_while_it_is_held_poisons_and_releases() {
    tidy(2, || {
        let mutex = Arc::new(Mutex::new(1));
        let waiter = {
            let mutex = mutex.clone();
            go(move || {
                sleep(Duration::from_millis(1));
                mutex.lock().is_err()
            })
        };
        let holder = {
            let mutex = mutex.clone();
            go(move || {
                let mut held = mutex.lock().unwrap();
                *held = 2;
                sleep(Duration::from_millis(5));
                panic!("while it is held");
            })
        };
        assert!(holder.join().is_err());
        assert!(waiter.join().unwrap(), "the waiter is told");
        assert!(mutex.is_poisoned());
        let error = mutex.lock().unwrap_err();
        assert_eq!(**error.get_ref(), 2);
        drop(error.into_inner());
        assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
        mutex.clear_poison();
        assert_eq!(*mutex.lock().unwrap(), 2);
    });
}

#[test]
fn a_lock_taken_while_unwinding_does_not_poison() {
    struct LocksInDrop<'a>(&'a Mutex<u32>);
    impl Drop for LocksInDrop<'_> {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    tidy(1, || {
        let mutex = Mutex::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _locks = LocksInDrop(&mutex);
            panic!("elsewhere");
        }));
        assert!(caught.is_err());
        assert_eq!(*mutex.lock().unwrap(), 1, "not poisoned");
    });
}

#[test]
fn ownership_needs_no_lock_but_shows_the_poison() {
    tidy(1, || {
        let mut mutex = Mutex::from(String::from("a"));
        mutex.get_mut().unwrap().push('b');
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _held = mutex.lock();
            panic!("while it is held");
        }));
        assert_eq!(mutex.get_mut().unwrap_err().into_inner(), "ab");
        assert_eq!(mutex.into_inner().unwrap_err().into_inner(), "ab");
        assert_eq!(Mutex::<u8>::default().into_inner().unwrap(), 0);
    });
}

#[test]
fn it_holds_unsized_values_and_stands_in_statics() {
    static COUNT: Mutex<u32> = Mutex::new(0);
    tidy(2, || {
        let gs: Vec<_> = (0..10).map(|_| go(|| *COUNT.lock().unwrap() += 1)).collect();
        gs.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(*COUNT.lock().unwrap(), 10);
        let slice: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
        slice.lock().unwrap()[1] = 9;
        assert_eq!(*slice.lock().unwrap(), [1, 9, 3]);
    });
}

/// `MutexGuard` is `Sync` and not `Send`, as in `std`.
#[test]
fn a_guard_is_shared_but_not_sent() {
    trait AmbiguousIfSend<A> {
        fn some() {}
    }
    impl<T: ?Sized> AmbiguousIfSend<()> for T {}
    struct Invalid;
    impl<T: ?Sized + Send> AmbiguousIfSend<Invalid> for T {}
    // Compiles only as long as one implementation applies.
    let _ = <MutexGuard<'static, u8> as AmbiguousIfSend<_>>::some;
    fn shared<T: Sync>() {}
    shared::<MutexGuard<'static, u8>>();
}

/// On one core, so that the order is known. The holder lets others run while it holds the lock, and
/// takes the lock again at once.
#[test]
fn who_starves_is_given_the_lock_by_one_who_takes_it_again_and_again() {
    tidy(1, || {
        let (mutex, stop, rounds) =
            (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let hog = {
            let (mutex, stop, rounds) = (mutex.clone(), stop.clone(), rounds.clone());
            go(move || {
                while !stop.load(Ordering::Relaxed) {
                    let held = mutex.lock().unwrap();
                    rounds.fetch_add(1, Ordering::Relaxed);
                    yield_now();
                    spin_for(Duration::from_micros(300));
                    drop(held);
                }
            })
        };
        crate::let_others_run();
        for _ in 0..5 {
            let before = rounds.load(Ordering::Relaxed);
            drop(mutex.lock().unwrap());
            let waited = rounds.load(Ordering::Relaxed) - before;
            // 1 ms of its rounds, the one after which the waiter says so, and one more.
            assert!(waited <= 8, "the hog took it {waited} times first");
            yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        hog.join().unwrap();
    });
}

#[test]
fn the_lock_is_free_again_when_those_who_starved_have_had_it() {
    tidy(2, || {
        let mutex = Arc::new(Mutex::new(0));
        for _ in 0..20 {
            let gs: Vec<_> = (0..4)
                .map(|_| {
                    let mutex = mutex.clone();
                    go(move || {
                        let mut held = mutex.lock().unwrap();
                        spin_for(Duration::from_millis(2));
                        *held += 1;
                    })
                })
                .collect();
            gs.into_iter().for_each(|g| g.join().unwrap());
            assert!(mutex.try_lock().is_ok(), "nobody waits, and it is not free");
        }
        assert_eq!(*mutex.lock().unwrap(), 80);
    });
}

#[test]
fn try_lock_takes_a_free_lock_before_those_who_wait() {
    tidy(1, || {
        let mutex = Arc::new(Mutex::new(()));
        let held = mutex.lock().unwrap();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let mutex = mutex.clone();
                go(move || drop(mutex.lock().unwrap()))
            })
            .collect();
        crate::let_others_run();
        drop(held);
        assert!(mutex.try_lock().is_ok());
        waiters.into_iter().for_each(|g| g.join().unwrap());
    });
}

#[test]
fn a_g_that_locks_twice_is_a_deadlock_that_names_what_it_waits_for() {
    let failed = run(Config::with_procs(1), || {
        let mutex = Mutex::new(());
        let _first = mutex.lock().unwrap();
        drop(mutex.lock());
    });
    let Err(Failure::Deadlock(waiting)) = failed else { panic!("{failed:?}") };
    assert_eq!((waiting.len(), waiting[0].state.as_str()), (1, "mutex lock"));
}
