//! Locks, and actions that are done once or counted.

use core::hint::black_box;

use trefoil::prelude::*;
use trefoil::sync::{Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, Semaphore, WaitGroup};

use super::contend;
use crate::Table;

pub fn locks(t: &mut Table) {
    t.row("Mutex", || {
        let lock = Mutex::new(0);
        contend(10, move || {
            let mut it = lock.lock().unwrap();
            runtime::yield_now();
            *it += 1;
        });
    });
    t.row("RwLock", || {
        let lock = RwLock::new(0);
        contend(10, move || {
            drop(black_box(lock.read().unwrap()));
            let mut it = lock.write().unwrap();
            runtime::yield_now();
            *it += 1;
        });
    });
    t.row("RwLock, 1,000 readers wait", || {
        let lock = Arc::new(RwLock::new(0));
        let held = lock.write().unwrap();
        let all: Vec<_> = (0..1000)
            .map(|_| {
                let lock = lock.clone();
                go(move || *lock.read().unwrap())
            })
            .collect();
        time::sleep(Duration::from_millis(5));
        drop(held);
        all.into_iter().for_each(|g| _ = g.join().unwrap());
    });
    t.row("Condvar, notify_all for 1,000", || {
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let all: Vec<_> = (0..1000)
            .map(|_| {
                let pair = pair.clone();
                go(move || drop(pair.1.wait_while(pair.0.lock().unwrap(), |go| !*go).unwrap()))
            })
            .collect();
        time::sleep(Duration::from_millis(5));
        *pair.0.lock().unwrap() = true;
        pair.1.notify_all();
        all.into_iter().for_each(|g| g.join().unwrap());
    });
    t.row("Condvar::wait_timeout", || {
        let (lock, bell) = (Mutex::new(()), Condvar::new());
        _ = bell.wait_timeout(lock.lock().unwrap(), Duration::from_micros(50)).unwrap();
        bell.notify_one();
    });
    t.row("Once, OnceLock, LazyLock", || {
        static LAZY: LazyLock<u64> = LazyLock::new(|| {
            runtime::yield_now();
            5
        });
        let (once, cell) = (Once::new(), OnceLock::new());
        contend(100, move || {
            once.call_once(runtime::yield_now);
            assert_eq!(
                *cell.get_or_init(|| {
                    runtime::yield_now();
                    6
                }),
                6
            );
            assert_eq!(*LAZY, 5);
        });
    });
    t.row("Semaphore", || {
        let permits = Semaphore::new(2);
        contend(20, move || {
            let _it = permits.acquire_many(2);
            runtime::yield_now();
        });
        let permits = Arc::new(Semaphore::new(0));
        let all: Vec<_> = (0..1000)
            .map(|_| {
                let permits = permits.clone();
                go(move || permits.acquire().forget())
            })
            .collect();
        assert!(permits.acquire_timeout(Duration::from_millis(5)).is_none());
        permits.add_permits(1000);
        all.into_iter().for_each(|g| g.join().unwrap());
    });
    t.row("Barrier, WaitGroup", || {
        let barrier = Barrier::new(100);
        contend(100, move || _ = barrier.wait());
        let group = Arc::new(WaitGroup::new());
        (0..1000).for_each(|_| group.go(runtime::yield_now));
        let waits: Vec<_> = (0..1000)
            .map(|_| {
                let group = group.clone();
                go(move || group.wait())
            })
            .collect();
        group.wait();
        waits.into_iter().for_each(|g| g.join().unwrap());
    });
}
