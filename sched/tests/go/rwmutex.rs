//! `RwLock`: Go's `sync.RWMutex`.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{a_moment, until, until_parked};
use crate::api::*;
use chan::bounded;
use sync::{RwLock, TryLockError};

cases! {
    readers_read_at_the_same_time,
    a_writer_is_alone,
    readers_and_writers_hammer_one_lock,
    a_reader_behind_a_waiting_writer_waits,
    a_writer_is_not_starved_by_readers,
    readers_go_on_together_after_a_writer,
    try_operations_never_wait,
    a_writers_panic_poisons_and_a_readers_does_not,
    what_a_writer_wrote_is_read,
}

/// Go: rwmutex_test.go, TestParallelReaders.
fn readers_read_at_the_same_time() {
    for readers in [1, 3, 4] {
        let lock = Arc::new(RwLock::new(()));
        let ((locked, all), (unlock, go_on)) = (bounded(0), bounded::<()>(0));
        let gs: Vec<_> = (0..readers)
            .map(|_| {
                let (lock, locked, go_on) = (lock.clone(), locked.clone(), go_on.clone());
                go(move || {
                    let _guard = lock.read().unwrap();
                    locked.send(()).unwrap();
                    assert!(go_on.recv().is_err());
                })
            })
            .collect();
        (0..readers).for_each(|_| all.recv().unwrap()); // all are inside
        unlock.close();
        gs.into_iter().for_each(|g| g.join().unwrap());
    }
}

/// Go: rwmutex_test.go, TestRWMutex: "Write lock … while read locked".
fn a_writer_is_alone() {
    let lock = Arc::new(RwLock::new(0));
    let reading = lock.read().unwrap();
    let writer = go({
        let lock = lock.clone();
        move || *lock.write().unwrap() += 1
    });
    until_parked(1);
    a_moment();
    assert!(!writer.is_finished());
    drop(reading);
    writer.join().unwrap();
    let writing = lock.write().unwrap();
    let reader = go({
        let lock = lock.clone();
        move || *lock.read().unwrap()
    });
    until_parked(1);
    assert!(!reader.is_finished());
    drop(writing);
    assert_eq!(reader.join().unwrap(), 1);
}

/// Go: rwmutex_test.go, HammerRWMutex: ten thousand for each writer, one for each reader.
fn readers_and_writers_hammer_one_lock() {
    for readers in [1, 3, 10] {
        let lock = Arc::new(RwLock::new(()));
        let activity = Arc::new(AtomicUsize::new(0));
        let mut gs = Vec::new();
        for _ in 0..2 {
            let (lock, activity) = (lock.clone(), activity.clone());
            gs.push(go(move || {
                for i in 0..60 {
                    let _guard = lock.write().unwrap();
                    assert_eq!(activity.fetch_add(10_000, Relaxed), 0, "a writer is not alone");
                    if i % 8 == 0 {
                        runtime::yield_now();
                    }
                    activity.fetch_sub(10_000, Relaxed);
                }
            }));
        }
        for _ in 0..readers {
            let (lock, activity) = (lock.clone(), activity.clone());
            gs.push(go(move || {
                for i in 0..60 {
                    let guard = if i % 2 == 0 { Some(lock.read().unwrap()) } else { lock.try_read().ok() };
                    if guard.is_some() {
                        assert!(activity.fetch_add(1, Relaxed) < 10_000, "a reader beside a writer");
                        if i % 8 == 0 {
                            runtime::yield_now();
                        }
                        activity.fetch_sub(1, Relaxed);
                    }
                }
            }));
        }
        gs.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(activity.load(Relaxed), 0);
    }
}

/// Go: rwmutex.go: "a blocked Lock call excludes new readers from acquiring the lock".
fn a_reader_behind_a_waiting_writer_waits() {
    let lock = Arc::new(RwLock::new(0));
    let reading = lock.read().unwrap();
    let writer = go({
        let lock = lock.clone();
        move || *lock.write().unwrap() = 5
    });
    until_parked(1);
    let late = go({
        let lock = lock.clone();
        move || *lock.read().unwrap()
    });
    until_parked(2);
    assert!(!late.is_finished());
    drop(reading);
    writer.join().unwrap();
    assert_eq!(late.join().unwrap(), 5, "the late reader came after the writer");
}

/// Go: the same, under load.
fn a_writer_is_not_starved_by_readers() {
    let lock = Arc::new(RwLock::new(false));
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let lock = lock.clone();
            go(move || {
                let mut reads = 0;
                while !*lock.read().unwrap() {
                    reads += 1;
                    runtime::yield_now();
                }
                reads
            })
        })
        .collect();
    a_moment();
    *lock.write().unwrap() = true;
    readers.into_iter().for_each(|g| assert!(g.join().unwrap() < usize::MAX));
}

/// Go: rwmutex.go's Unlock: "Unblock blocked readers, if any".
fn readers_go_on_together_after_a_writer() {
    let lock = Arc::new(RwLock::new(0));
    let writing = lock.write().unwrap();
    let inside = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..10)
        .map(|_| {
            let (lock, inside) = (lock.clone(), inside.clone());
            go(move || {
                let _guard = lock.read().unwrap();
                inside.fetch_add(1, Relaxed);
                until(|| inside.load(Relaxed) == 10); // nobody leaves before the last one is in
            })
        })
        .collect();
    until_parked(10);
    drop(writing);
    readers.into_iter().for_each(|g| g.join().unwrap());
}

/// Go: TryLock and TryRLock.
fn try_operations_never_wait() {
    let lock = RwLock::new(1);
    let reading = lock.read().unwrap();
    assert_eq!(*lock.try_read().unwrap(), 1);
    assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
    drop(reading);
    let writing = lock.try_write().unwrap();
    assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
    assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
    drop(writing);
    assert_eq!(lock.into_inner().unwrap(), 1);
}

/// Go: has no such thing; as in `std`.
fn a_writers_panic_poisons_and_a_readers_does_not() {
    let lock = Arc::new(RwLock::new(0));
    let reader = go({
        let lock = lock.clone();
        move || {
            let _guard = lock.read().unwrap();
            panic!("while it reads");
        }
    });
    assert!(reader.join().is_err());
    assert!(!lock.is_poisoned() && lock.write().is_ok());
    let writer = go({
        let lock = lock.clone();
        move || {
            let _guard = lock.write().unwrap();
            panic!("while it writes");
        }
    });
    assert!(writer.join().is_err());
    assert!(lock.is_poisoned() && lock.read().is_err() && lock.write().is_err());
    lock.clear_poison();
    assert!(lock.read().is_ok());
}

/// Go: the memory model's RWMutex.
fn what_a_writer_wrote_is_read() {
    let lock = Arc::new(RwLock::new(BTreeMap::new()));
    let writers: Vec<_> = (0..4)
        .map(|w| {
            let lock = lock.clone();
            go(move || (0..50).for_each(|i| assert!(lock.write().unwrap().insert((w, i), i * w).is_none())))
        })
        .collect();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let lock = lock.clone();
            go(move || {
                (0..50).for_each(|_| assert!(lock.read().unwrap().iter().all(|((w, i), product)| i * w == *product)))
            })
        })
        .collect();
    writers.into_iter().chain(readers).for_each(|g| g.join().unwrap());
    assert_eq!(lock.read().unwrap().len(), 200);
}
