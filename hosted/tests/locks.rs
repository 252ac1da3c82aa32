//! `Mutex` and `WaitGroup`: `std`'s and Go's behaviour, with G's that park.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{shaken, tidy};
use trefoil_sched::locks::WaitGroup;
use trefoil_sched::locks::{Mutex, MutexGuard, TryLockError};
use trefoil_sched::spawn::go;
use trefoil_sched::timers::sleep;
use trefoil_sched::yield_now;

// --- Mutex

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

// --- WaitGroup

#[test]
fn wait_returns_when_everybody_is_done() {
    for procs in [1, 4] {
        shaken(procs, || {
            let (wg, done) = (Arc::new(WaitGroup::new()), Arc::new(AtomicUsize::new(0)));
            wg.wait();
            for round in 1..=50 {
                wg.add(20);
                for _ in 0..20 {
                    let (wg, done) = (wg.clone(), done.clone());
                    drop(go(move || {
                        done.fetch_add(1, Ordering::Relaxed);
                        wg.done();
                    }));
                }
                wg.wait();
                assert_eq!(done.load(Ordering::Relaxed), 20 * round);
            }
        });
    }
}

#[test]
fn everybody_who_waits_is_woken() {
    tidy(4, || {
        let wg = Arc::new(WaitGroup::default());
        wg.add(2);
        let waiters: Vec<_> = (0..200)
            .map(|_| {
                let wg = wg.clone();
                go(move || wg.wait())
            })
            .collect();
        wg.done();
        sleep(Duration::from_millis(2));
        assert!(waiters.iter().all(|w| !w.is_finished()), "one thing is left");
        wg.done();
        waiters.into_iter().for_each(|g| g.join().unwrap());
    });
}

#[test]
fn done_without_add_panics_and_leaves_it_usable() {
    tidy(1, || {
        let wg = WaitGroup::new();
        assert!(catch_unwind(AssertUnwindSafe(|| wg.done())).is_err());
        wg.add(1);
        wg.done();
        wg.wait();
    });
}

#[test]
fn an_add_that_overflows_panics() {
    tidy(1, || {
        let wg = WaitGroup::new();
        wg.add(usize::MAX);
        assert!(catch_unwind(AssertUnwindSafe(|| wg.add(1))).is_err());
    });
}

#[test]
fn the_waiter_may_free_it_at_once() {
    shaken(4, || {
        for _ in 0..2_000 {
            let wg = Arc::new(WaitGroup::new());
            wg.add(1);
            let other = wg.clone();
            drop(go(move || other.done()));
            wg.wait();
        }
    });
}
