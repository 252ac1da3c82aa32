//! Guards of parts, tokens, groups of a scope, and work on slices.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use trefoil::JoinError;
use trefoil::prelude::*;
use trefoil::sync::{
    MappedRwLockReadGuard, Mutex, MutexGuard, Parker, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
    Unparker, WaitGroup,
};

use super::{are_told, crew, dies_with, join_all, until, work};

pub fn a_dead_holder_of_a_part_holds_the_whole() {
    for _ in 0..3 {
        let mutex = Arc::new(Mutex::new((1, 2)));
        let held = mutex.clone();
        let dead = dies_with(move |die| {
            let _part = MutexGuard::map(held.lock().unwrap(), |pair| &mut pair.1);
            die();
        });
        let waits = mutex.clone();
        are_told(crew(4, move |_| drop(waits.lock())));
        assert!(matches!(dead.join(), Err(JoinError::StackOverflow)));
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)) && !mutex.is_poisoned());

        let rwlock = Arc::new(RwLock::new((1, 2)));
        let held = rwlock.clone();
        let dead = dies_with(move |die| {
            let _part = RwLockWriteGuard::map(held.write().unwrap(), |pair| &mut pair.1);
            die();
        });
        let waits = rwlock.clone();
        are_told(crew(4, move |i| if i % 2 == 0 { drop(waits.read()) } else { drop(waits.write()) }));
        assert!(dead.join().is_err() && rwlock.try_read().is_err());

        let rwlock = Arc::new(RwLock::new((1, (2, 3))));
        let held = rwlock.clone();
        let dead = dies_with(move |die| {
            let part = RwLockReadGuard::map(held.read().unwrap(), |pair| &pair.1);
            let _part = MappedRwLockReadGuard::map(part, |pair| &pair.0);
            die();
        });
        let waits = rwlock.clone();
        are_told(crew(2, move |_| drop(waits.write())));
        assert!(dead.join().is_err() && rwlock.try_read().is_ok() && rwlock.try_write().is_err());
    }
}

pub fn parts_under_load() {
    let (mutex, rwlock) = (Arc::new(Mutex::new([0u64; 4])), Arc::new(RwLock::new([0u64; 4])));
    let gs = {
        let (mutex, rwlock) = (mutex.clone(), rwlock.clone());
        crew(8, move |i| {
            for round in 0..500 {
                let mut part = MutexGuard::map(mutex.lock().unwrap(), |all| &mut all[i % 4]);
                let before = *part;
                work(20);
                *part = before + 1;
                drop(part);
                if round % 4 == 0 {
                    let mut part = RwLockWriteGuard::map(rwlock.write().unwrap(), |all| &mut all[i % 4]);
                    let before = *part;
                    work(20);
                    *part = before + 1;
                } else {
                    let part = RwLockReadGuard::map(rwlock.read().unwrap(), |all| &all[i % 4]);
                    let before = *part;
                    work(20);
                    assert_eq!(before, *part, "a writer beside a reader");
                }
            }
        })
    };
    join_all(gs);
    assert_eq!((*mutex.lock().unwrap(), *rwlock.read().unwrap()), ([1_000; 4], [250; 4]));
}

pub fn no_token_is_lost() {
    const ROUNDS: u64 = 1_000;
    let (parker, sum) = (Parker::new(), Arc::new(AtomicU64::new(0)));
    let (unparker, count) = (parker.unparker().clone(), sum.clone());
    let others = crew(4, move |_| {
        for _ in 0..ROUNDS {
            count.fetch_add(1, Relaxed);
            unparker.unpark();
        }
    });
    let mut turns = 0u64;
    while sum.load(Relaxed) < 4 * ROUNDS {
        // Every third time with a deadline, which may come at the same moment.
        if turns.is_multiple_of(3) {
            parker.park_timeout(Duration::from_micros(turns % 50));
        } else {
            parker.park();
        }
        turns += 1;
    }
    join_all(others);
    parker.park_timeout(Duration::ZERO);
    assert!(!parker.park_timeout(Duration::from_micros(100)), "tokens add up");
}

/// A dead G's handles stay: others go on.
pub fn a_token_of_the_dead_counts_and_a_dead_parker_is_left_alone() {
    for _ in 0..3 {
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        let dead = dies_with(move |die| {
            unparker.unpark();
            die();
        });
        parker.park();
        assert!(dead.join().is_err() && !parker.park_timeout(Duration::ZERO));

        let (tx, rx) = chan::bounded::<Unparker>(1);
        let other = go(move || {
            let unparker = rx.recv().unwrap();
            unparker.unpark();
            unparker
        });
        let dead = dies_with(move |die| {
            let parker = Parker::new();
            tx.send(parker.unparker().clone()).unwrap();
            parker.park();
            die();
        });
        assert!(dead.join().is_err());
        other.join().unwrap().unpark();
    }
}

pub fn slices_are_worked_on_together() {
    let mut numbers: Vec<u64> = (0..1_000).collect();
    for round in 0..20 {
        par::for_each_mut(&mut numbers, |n| {
            work(50);
            *n += 1;
        });
        let strings = par::map(&numbers, |n| n.to_string());
        assert!(strings.iter().zip(round + 1..).all(|(text, n)| *text == n.to_string()));
        let sum = par::reduce(&strings, || 0, |text| text.parse::<u64>().unwrap(), |a, b| a + b);
        assert_eq!(sum, numbers.iter().sum());
    }
    let seen = AtomicU64::new(0);
    let caught = trefoil::panic::catch_unwind(trefoil::panic::AssertUnwindSafe(|| {
        par::for_each(&numbers, |&n| {
            seen.fetch_add(1, Relaxed);
            assert!(n != 500, "half");
        });
    }));
    assert_eq!(trefoil::panic::panic_message(&*caught.unwrap_err()), Some("half"));
    assert!(seen.load(Relaxed) > 400);
}

/// A scope's G that dies before it is done.
pub fn a_dead_member_of_a_scope_is_named() {
    let (wave, dies) = (WaitGroup::new(), AtomicBool::new(false));
    let failed = trefoil::panic::catch_unwind(trefoil::panic::AssertUnwindSafe(|| {
        scope(|s| {
            for _ in 0..5 {
                wave.go_scoped(s, || work(500));
            }
            wave.wait();
            wave.go_scoped(s, || {
                until(|| dies.load(SeqCst));
                super::overflow();
            });
            let waiters: Vec<_> = (0..3).map(|_| s.go(|| wave.wait())).collect();
            runtime::yield_now();
            dies.store(true, SeqCst);
            for waiter in waiters {
                let error = waiter.join().expect_err("the dead one was done");
                assert!(error.message().is_some_and(|text| text.contains("which died of stack overflow")), "{error}");
            }
        })
    }));
    assert_eq!(trefoil::panic::panic_message(&*failed.unwrap_err()), Some("a goroutine of the scope panicked"));
}
