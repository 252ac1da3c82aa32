//! A death among several goroutines that share a primitive.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use trefoil::prelude::*;
use trefoil::runtime::WaitReason;
use trefoil::sync::{Condvar, Mutex, RwLock, Semaphore, WaitGroup};
use trefoil::testing::deaths::is_round_pending;

use crate::deep::until;
use crate::{ALL, Death, die, died, glut, is_told, quiet, waiting};

/// A waiter for a condition, with a deadline or without, locks the mutex again afterwards. The
/// mutex's holder may have died by then.
pub fn a_condition_s_mutex_may_have_died_meanwhile() {
    quiet();
    for how in ALL {
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let waits = |timed: bool| {
            let pair = pair.clone();
            Builder::new().name("waiter").spawn(move || {
                let guard = pair.0.lock().unwrap();
                if timed {
                    drop(pair.1.wait_timeout(guard, Duration::from_millis(5)));
                } else {
                    drop(pair.1.wait(guard));
                }
            })
        };
        let waiters = [waits(false).unwrap(), waits(false).unwrap(), waits(true).unwrap()];
        until(|| waiting(WaitReason::Condvar) >= 2);
        let holds = pair.clone();
        let holder = Builder::new().name("holder").spawn(move || {
            let _held = holds.0.lock().unwrap();
            // By then its time is over, and it waits for the mutex.
            time::sleep(Duration::from_millis(20));
            die(how);
        });
        assert!(how.is(&holder.unwrap().join()));
        pair.1.notify_all();
        let mut told = 0;
        for waiter in waiters {
            match waiter.join() {
                // Its time was over before the holder came.
                Ok(()) => {}
                joined => {
                    is_told(joined, &["Mutex at 0x", "\"holder\"", how.cause()]);
                    told += 1;
                }
            }
        }
        assert!(told >= 2);
        assert!(pair.0.try_lock().is_err(), "a waiter that was told has unlocked for the dead one");
    }
}

pub fn permits_are_lost_and_waits_end_by_their_time() {
    quiet();
    for how in ALL {
        let semaphore = Arc::new(Semaphore::new(2));
        let (holds, waits) = (semaphore.clone(), semaphore.clone());
        let holder = go(move || {
            let _permits = holds.acquire_many(2);
            die(how);
        });
        assert!(how.is(&holder.join()));
        assert!(semaphore.try_acquire().is_none() && semaphore.available_permits() == 0);
        assert!(semaphore.acquire_timeout(Duration::from_millis(2)).is_none());
        let waiter = Builder::new().name("waiter").spawn(move || drop(waits.acquire())).unwrap();
        until(|| waiting(WaitReason::Semaphore) == 1);
        assert!(how.is(&go(move || die(how)).join()));
        until(|| !is_round_pending());
        assert_eq!(waiting(WaitReason::Semaphore), 1, "what is lost was granted");
        semaphore.add_permits(1);
        waiter.join().unwrap();
    }
}

pub fn of_two_readers_the_last_that_lives_tells() {
    quiet();
    for how in ALL {
        let lock = Arc::new(RwLock::new(5));
        let (in_it, out) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let reads = |dies: bool| {
            let (lock, in_it, out) = (lock.clone(), in_it.clone(), out.clone());
            Builder::new().name("reader").spawn(move || {
                let value = lock.read().unwrap();
                in_it.fetch_add(1, SeqCst);
                until(|| out.load(SeqCst) || dies && in_it.load(SeqCst) == 2);
                if dies {
                    die(how);
                }
                *value
            })
        };
        let (lives, dead) = (reads(false).unwrap(), reads(true).unwrap());
        assert!(how.is(&dead.join()));
        let writes = lock.clone();
        let writer = Builder::new().name("waiter").spawn(move || *writes.write().unwrap() = 6).unwrap();
        until(|| waiting(WaitReason::RwLockWrite) == 1);
        // A reader that waits behind the writer.
        let reads = lock.clone();
        let reader = Builder::new().name("waiter").spawn(move || *reads.read().unwrap()).unwrap();
        until(|| waiting(WaitReason::RwLockRead) == 1);
        out.store(true, SeqCst);
        assert_eq!(lives.join().unwrap(), 5);
        is_told(writer.join(), &["RwLock at 0x", "\"reader\"", how.cause()]);
        assert_eq!(reader.join().unwrap(), 5, "a dead reader takes nothing away from readers");
        assert_eq!(*lock.try_read().unwrap(), 5);
    }
}

pub fn a_dead_member_is_named_to_who_waits_for_all() {
    quiet();
    for how in ALL {
        let group = Arc::new(WaitGroup::new());
        let dies = Arc::new(AtomicBool::new(false));
        let told = dies.clone();
        group.go(move || {
            until(|| told.load(SeqCst));
            die(how);
        });
        group.go(runtime::yield_now);
        let waits = |group: Arc<WaitGroup>| Builder::new().name("waiter").spawn(move || group.wait()).unwrap();
        let waiters = [waits(group.clone()), waits(group.clone())];
        until(|| waiting(WaitReason::WaitGroup) == 2);
        dies.store(true, SeqCst);
        let parts = ["WaitGroup at 0x", "stays held by G", how.cause()];
        waiters.into_iter().for_each(|waiter| is_told(waiter.join(), &parts));
        is_told(waits(group.clone()).join(), &parts);
        // One whose `f` has come to its end is done, however it ends afterwards.
        goroutine_local! { static LAST: Last = Last; }
        struct Last;
        impl Drop for Last {
            fn drop(&mut self) {
                black_box(glut(0));
            }
        }
        let (group, before) = (Arc::new(WaitGroup::new()), died());
        group.go(|| LAST.with(|_| ()));
        group.wait();
        until(|| died() == before + 1);
        group.add(1);
        let done = group.clone();
        drop(go(move || done.done()));
        group.wait();
    }
}

/// Nobody can tell that both are dead: the limit that `RwLock` speaks of. Nothing is granted, and
/// nothing hangs without being shown.
pub fn of_two_dead_readers_the_report_shows_who_waits() {
    quiet();
    let lock = Arc::new(RwLock::new(()));
    let in_it = Arc::new(AtomicU32::new(0));
    let reads = || {
        let (lock, in_it) = (lock.clone(), in_it.clone());
        go(move || {
            let _held = lock.read().unwrap();
            in_it.fetch_add(1, SeqCst);
            until(|| in_it.load(SeqCst) == 2);
            die(Death::Overflow);
        })
    };
    for dead in [reads(), reads()] {
        assert!(dead.join().is_err());
    }
    assert!(lock.try_read().is_ok() && lock.try_write().is_err());
    drop(lock.write());
}
