//! `RwLock`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use trefoil_sched::locks::{RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use trefoil_sched::spawn::go;
use trefoil_sched::time::sleep;
use trefoil_sched::yield_now;

use crate::let_others_run;
use crate::support::{shaken, tidy};

#[test]
fn a_writer_is_alone_and_readers_see_whole_values() {
    for procs in [1, 2, 4] {
        shaken(procs, || {
            let lock = Arc::new(RwLock::new((0usize, 0usize)));
            let gs: Vec<_> = (0..12)
                .map(|i| {
                    let lock = lock.clone();
                    go(move || {
                        for round in 0..300 {
                            if i % 3 == 0 {
                                let mut pair = lock.write().unwrap();
                                pair.0 += 1;
                                if round % 16 == 0 {
                                    yield_now();
                                }
                                pair.1 += 1;
                            } else {
                                let pair = lock.read().unwrap();
                                if round % 16 == 0 {
                                    yield_now();
                                }
                                assert_eq!(pair.0, pair.1, "a writer was inside");
                            }
                        }
                    })
                })
                .collect();
            gs.into_iter().for_each(|g| g.join().unwrap());
            assert_eq!(*lock.try_write().unwrap(), (1200, 1200), "it is not free at the end");
        });
    }
}

#[test]
fn readers_read_at_the_same_time() {
    tidy(1, || {
        let lock = Arc::new(RwLock::new(5));
        let first = lock.read().unwrap();
        let second = {
            let lock = lock.clone();
            go(move || *lock.read().unwrap())
        };
        assert_eq!(second.join().unwrap(), *first);
    });
}

#[test]
fn a_writer_that_waits_keeps_new_readers_out_and_comes_before_them() {
    tidy(1, || {
        let (lock, order) = (Arc::new(RwLock::new(())), Arc::new(std::sync::Mutex::new(Vec::new())));
        let first = lock.read().unwrap();
        let mut gs = Vec::new();
        for (i, writes) in [true, false, false, true].into_iter().enumerate() {
            let (lock, order) = (lock.clone(), order.clone());
            gs.push(go(move || {
                if writes {
                    let _held = lock.write().unwrap();
                    order.lock().unwrap().push(i);
                } else {
                    let _held = lock.read().unwrap();
                    order.lock().unwrap().push(i);
                    yield_now();
                }
            }));
            let_others_run();
        }
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)), "a newcomer passes a writer that waits");
        drop(first);
        gs.into_iter().for_each(|g| g.join().unwrap());
        // The first writer, then both readers, then the other writer.
        let order = order.lock().unwrap();
        assert_eq!((order[0], order[3]), (0, 3), "{order:?}");
    });
}

#[test]
fn a_flood_of_readers_does_not_keep_writers_out() {
    tidy(2, || {
        let (lock, stop) = (Arc::new(RwLock::new(0)), Arc::new(AtomicBool::new(false)));
        let reads = Arc::new(AtomicUsize::new(0));
        let flood: Vec<_> = (0..16)
            .map(|_| {
                let (lock, stop, reads) = (lock.clone(), stop.clone(), reads.clone());
                go(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let value = lock.read().unwrap();
                        reads.fetch_add(1, Ordering::Relaxed);
                        yield_now();
                        drop(value);
                    }
                })
            })
            .collect();
        let came_before: Vec<usize> = (0..200)
            .map(|_| {
                let before = reads.load(Ordering::Relaxed);
                *lock.write().unwrap() += 1;
                reads.load(Ordering::Relaxed) - before
            })
            .collect();
        // Only readers that held the lock or came before this writer go first: a round of the
        // sixteen, or two. (The host may stop this thread before the writer has asked for the lock.
        // Readers go on meanwhile, but only in few rounds; a lock that keeps writers out does so in
        // every round.)
        let late = came_before.iter().filter(|&&came| came > 32).count();
        assert!(late <= 10, "readers that went before each writer: {came_before:?}");
        stop.store(true, Ordering::Relaxed);
        flood.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(*lock.read().unwrap(), 200);
    });
}

#[test]
fn attempts_do_not_wait() {
    tidy(1, || {
        let lock = RwLock::new(1);
        let reader = lock.read().unwrap();
        assert_eq!(*lock.try_read().unwrap(), 1);
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        drop(reader);
        let writer = lock.try_write().unwrap();
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        assert_eq!(format!("{lock:?}"), "RwLock { data: <locked>, poisoned: false, .. }");
        drop(writer);
        assert_eq!(format!("{lock:?}"), "RwLock { data: 1, poisoned: false, .. }");
    });
}

#[test]
fn a_writer_becomes_a_reader_and_lets_readers_in() {
    tidy(1, || {
        let lock = Arc::new(RwLock::new(1));
        let mut writer = lock.write().unwrap();
        let (reader, second) = (lock.clone(), lock.clone());
        let reader = go(move || *reader.read().unwrap());
        let second = go(move || *second.write().unwrap() += 10);
        let_others_run();
        *writer = 2;
        let mine = RwLockWriteGuard::downgrade(writer);
        assert_eq!(reader.join().unwrap(), 2, "the reader that waited came in");
        assert!(!second.is_finished());
        assert_eq!(*mine, 2);
        drop(mine);
        second.join().unwrap();
        assert_eq!(*lock.read().unwrap(), 12);
    });
}

#[test]
fn a_writers_panic_poisons_and_a_readers_does_not() {
    tidy(2, || {
        let lock = Arc::new(RwLock::new(1));
        let panics = |writes: bool| {
            let lock = lock.clone();
            go(move || {
                if writes {
                    let mut held = lock.write().unwrap();
                    *held = 2;
                    sleep(Duration::from_millis(3));
                    panic!("while it writes");
                }
                let _held = lock.read().unwrap();
                panic!("while it reads");
            })
        };
        assert!(panics(false).join().is_err());
        assert!(!lock.is_poisoned());
        let waiter = {
            let lock = lock.clone();
            go(move || {
                sleep(Duration::from_millis(1));
                lock.read().is_err()
            })
        };
        assert!(panics(true).join().is_err());
        assert!(waiter.join().unwrap(), "who waits is told");
        assert_eq!(**lock.read().unwrap_err().get_ref(), 2);
        assert!(matches!(lock.try_read(), Err(TryLockError::Poisoned(_))));
        assert!(matches!(lock.try_write(), Err(TryLockError::Poisoned(_))));
        *lock.write().unwrap_err().into_inner() = 3;
        lock.clear_poison();
        assert_eq!(*lock.read().unwrap(), 3);
    });
}

#[test]
fn ownership_needs_no_lock_but_shows_the_poison() {
    tidy(1, || {
        let mut lock = RwLock::from(vec![1]);
        lock.get_mut().unwrap().push(2);
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _held = lock.write();
            panic!("while it is held");
        }));
        assert_eq!(*lock.get_mut().unwrap_err().into_inner(), [1, 2]);
        assert_eq!(lock.into_inner().unwrap_err().into_inner(), [1, 2]);
        assert_eq!(RwLock::<u8>::default().into_inner().unwrap(), 0);
        let slice: &RwLock<[u8]> = &RwLock::new([1, 2, 3]);
        slice.write().unwrap()[1] = 9;
        assert_eq!(*slice.read().unwrap(), [1, 9, 3]);
    });
}

/// The guards are `Sync` and not `Send`, as in `std`.
#[test]
fn guards_are_shared_but_not_sent() {
    trait AmbiguousIfSend<A> {
        fn some() {}
    }
    impl<T: ?Sized> AmbiguousIfSend<()> for T {}
    struct Invalid;
    impl<T: ?Sized + Send> AmbiguousIfSend<Invalid> for T {}
    // Compile only as long as one implementation applies.
    let _ = <RwLockReadGuard<'static, u8> as AmbiguousIfSend<_>>::some;
    let _ = <RwLockWriteGuard<'static, u8> as AmbiguousIfSend<_>>::some;
    fn shared<T: Sync>() {}
    shared::<RwLockReadGuard<'static, u8>>();
    shared::<RwLockWriteGuard<'static, u8>>();
}
