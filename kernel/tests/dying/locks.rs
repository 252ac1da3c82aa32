//! Deaths in locks, and in what is done once or counted.

use core::hint::black_box;

use trefoil::prelude::*;
use trefoil::sync::{Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, Semaphore, TryLockError, WaitGroup};

use crate::sweep;

/// A lock that is free is taken; one that is held by the dead panics with the victim's name, and is
/// not given by `try_lock`.
pub fn in_locks() {
    let lock = |lock: &Mutex<u64>| *lock.lock().unwrap() += 1;
    sweep(
        "mutex",
        || Mutex::new(0),
        lock,
        |lock| {
            if let Err(TryLockError::WouldBlock) = lock.try_lock() {
                let _granted = lock.lock();
                panic!("a dead goroutine's mutex was granted");
            }
        },
    );
    sweep(
        "contended mutex",
        || {
            let lock = Arc::new(Mutex::new(0u64));
            let theirs = lock.clone();
            let (holds, held) = chan::bounded::<()>(1);
            // Has it when the victim comes, if the host is not too slow.
            let holder = go(move || {
                let mut sum = theirs.lock().unwrap();
                holds.send(()).unwrap();
                time::sleep(Duration::from_micros(100));
                *sum += 1;
            });
            held.recv().unwrap();
            (lock, Mutex::new(Some(holder)))
        },
        |(lock, _)| *lock.lock().unwrap() += 1,
        |(lock, holder)| {
            holder.lock().unwrap().take().into_iter().for_each(|holder| holder.join().unwrap());
            *lock.lock().unwrap() += 1;
        },
    );
    let read = |lock: &RwLock<u64>| _ = black_box(*lock.read().unwrap());
    let write = |lock: &RwLock<u64>| *lock.write().unwrap() += 1;
    let goes_on = |lock: &RwLock<u64>| *lock.write().unwrap() += 1;
    sweep("read lock", || RwLock::new(0), read, goes_on);
    sweep("write lock", || RwLock::new(0), write, goes_on);
    sweep(
        "condvar",
        || (Mutex::new(0), Condvar::new()),
        |(lock, condvar)| {
            let guard = lock.lock().unwrap();
            let _ = condvar.wait_timeout(guard, Duration::from_micros(20));
            condvar.notify_all();
        },
        |(lock, condvar)| {
            condvar.notify_all();
            let _ = condvar.wait_timeout(lock.lock().unwrap(), Duration::from_micros(20));
        },
    );
}

pub fn in_once() {
    sweep("once", Once::new, |once| once.call_once(|| _ = black_box(1)), |once| once.call_once(|| ()));
    sweep(
        "once lock",
        OnceLock::new,
        |lock| assert_eq!(*lock.get_or_init(|| black_box([5u64; 9])), [5; 9]),
        |lock| assert_eq!(*lock.get_or_init(|| [5; 9]), [5; 9]),
    );
    sweep(
        "once lock, set",
        OnceLock::new,
        |lock| lock.set(black_box([5u64; 9])).unwrap(),
        |lock| assert_eq!(*lock.get_or_init(|| [5; 9]), [5; 9]),
    );
    sweep(
        "lazy lock",
        || LazyLock::new(|| black_box([5u64; 9])),
        |lock| assert_eq!(**lock, [5; 9]),
        |lock| assert_eq!(**lock, [5; 9]),
    );
}

pub fn in_counting() {
    sweep(
        "semaphore",
        || Semaphore::new(2),
        |permits| drop(permits.acquire()),
        |permits| {
            // One that the dead had is lost, as if forgotten; nobody gets more than there were.
            let available = permits.available_permits();
            assert!((1..=2).contains(&available), "{available} permits");
            let all: Vec<_> = (0..available).map(|_| permits.try_acquire().unwrap()).collect();
            assert!(permits.try_acquire().is_none());
            drop(all);
        },
    );
    sweep("barrier", || Barrier::new(1), |barrier| _ = barrier.wait(), |barrier| _ = barrier.wait());
    sweep(
        "wait group",
        || Arc::new(WaitGroup::new()),
        |group| {
            group.go(|| _ = black_box(1));
            group.wait();
        },
        |group| group.wait(),
    );
}
