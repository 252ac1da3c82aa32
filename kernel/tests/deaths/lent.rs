//! Things that a dead goroutine had leaked, or had lent to its children.

use core::hint::black_box;
use core::panic::AssertUnwindSafe;

use trefoil::panic;
use trefoil::prelude::*;
use trefoil::runtime::WaitReason;
use trefoil::sync::{Barrier, Condvar, Mutex, Once, RwLock, Semaphore, WaitGroup};

use crate::deep::until;
use crate::{ALL, die, died, is_gone, is_told, quiet};

/// A guard that was leaked by a goroutine that ended in good order stays valid. Later deaths do not
/// change that.
pub fn a_leaked_guard_is_no_dead_ones() {
    quiet();
    let mutex: &'static Mutex<u64> = Box::leak(Box::new(Mutex::new(7)));
    let written: &'static RwLock<u64> = Box::leak(Box::new(RwLock::new(7)));
    let read: &'static RwLock<u64> = Box::leak(Box::new(RwLock::new(7)));
    let mine: &'static mut u64 = go(move || {
        core::mem::forget((written.write(), read.read()));
        &mut **Box::leak(Box::new(mutex.lock().unwrap()))
    })
    .join()
    .unwrap();
    for how in ALL {
        for _ in 0..3 {
            let before = died();
            assert!(how.is(&go(move || die(how)).join()));
            is_gone(before + 1);
        }
        assert!(matches!(mutex.try_lock(), Err(sync::TryLockError::WouldBlock)));
        assert!(written.try_write().is_err() && written.try_read().is_err());
        assert!(read.try_write().is_err() && read.try_read().is_ok());
        assert!(!mutex.is_poisoned() && !written.is_poisoned() && !read.is_poisoned());
        *mine += 1;
    }
    assert_eq!(*mine, 10);
}

/// The holder has lent what it locked to a child, and dies: nobody else gets it while the child has
/// it, nor later.
pub fn what_was_lent_stays_lent() {
    quiet();
    for how in ALL {
        let mutex: &'static Mutex<u64> = Box::leak(Box::new(Mutex::new(0)));
        let rwlock: &'static RwLock<u64> = Box::leak(Box::new(RwLock::new(0)));
        let (up, ups) = chan::bounded::<()>(1);
        let (go_on, goes_on) = chan::bounded::<()>(0);
        let (said, says) = chan::bounded::<(u64, u64)>(1);
        let before = died();
        let opener = Builder::new().name("opener").spawn(move || {
            let (mut locked, mut written) = (mutex.lock().unwrap(), rwlock.write().unwrap());
            let (mine, ours): (&mut u64, &mut u64) = (&mut locked, &mut written);
            scope(|s| {
                s.go(move || {
                    (*mine, *ours) = (1, 1);
                    up.send(()).unwrap();
                    goes_on.recv().unwrap();
                    said.send((*black_box(mine), *black_box(ours))).unwrap();
                });
                ups.recv().unwrap();
                die(how);
            });
        });
        assert!(how.is(&opener.unwrap().join()));
        let parts = ["\"opener\"", how.cause()];
        is_told(go(move || *mutex.lock().unwrap() += 1).join(), &parts);
        is_told(go(move || *rwlock.write().unwrap() += 1).join(), &parts);
        is_told(go(move || *rwlock.read().unwrap()).join(), &parts);
        assert!(mutex.try_lock().is_err() && rwlock.try_read().is_err() && rwlock.try_write().is_err());
        go_on.send(()).unwrap();
        assert_eq!(says.recv(), Ok((1, 1)), "somebody else was let in");
        is_gone(before + 1);
        is_told(go(move || *mutex.lock().unwrap() += 1).join(), &parts);
    }
}

/// Tells how a child's wait for an object on the opener's stack has ended.
fn tells(to: &Sender<String>, wait: impl FnOnce()) {
    let caught = panic::catch_unwind(AssertUnwindSafe(wait));
    let text = match &caught {
        Ok(()) => "it has come to its end",
        Err(payload) => payload.downcast_ref::<String>().map_or("(no message)", |text| text.as_str()),
    };
    to.send(text.to_string()).unwrap();
}

pub fn who_waits_on_a_dead_stack_is_told() {
    quiet();
    const CHILDREN: usize = 8;
    for how in ALL {
        let before = died();
        let (said, says) = chan::unbounded::<String>();
        let opener = Builder::new().name("dies_here").spawn(move || {
            let (mutex, condvar, semaphore) = (Mutex::new(0), Condvar::new(), Semaphore::new(0));
            let (barrier, group, once) = (Barrier::new(5), WaitGroup::new(), Once::new());
            let (mine, long) = (Mutex::new(0), Duration::from_secs(1000));
            group.add(1);
            let _mine = mine.lock();
            let a = || drop(condvar.wait(mutex.lock().unwrap()));
            let b = || drop(condvar.wait_timeout(mutex.lock().unwrap(), long));
            let c = || drop(semaphore.acquire());
            let d = || drop(semaphore.acquire_timeout(long));
            let e = || _ = barrier.wait();
            let f = || group.wait();
            let g = || drop(mine.lock());
            let h = || once.call_once(|| ());
            let all: [&(dyn Fn() + Sync); CHILDREN] = [&a, &b, &c, &d, &e, &f, &g, &h];
            once.call_once(|| {
                scope(|s| {
                    for wait in all {
                        let said = said.clone();
                        s.go(move || tells(&said, wait));
                    }
                    let reasons = |g: &runtime::GInfo| g.wait_reason != WaitReason::None;
                    until(|| runtime::goroutines().iter().filter(|g| reasons(g)).count() > CHILDREN);
                    die(how);
                });
            });
        });
        assert!(how.is(&opener.unwrap().join()));
        let (mut held, mut lies) = (0, 0);
        for _ in 0..CHILDREN {
            let text = says.recv().unwrap();
            assert!(text.contains("\"dies_here\"") && text.contains(how.cause()), "{text}");
            held += u32::from(text.contains("stays held by"));
            lies += u32::from(text.contains("lies on the stack of"));
        }
        assert_eq!((held, lies), (2, 6));
        is_gone(before + 1);
    }
}

pub fn who_waits_for_a_leaked_guard_is_in_the_report() {
    let mutex = Arc::new(Mutex::new(()));
    let leaks = mutex.clone();
    go(move || core::mem::forget(leaks.lock())).join().unwrap();
    // Its record lives again.
    assert_eq!(go(|| 5).join().unwrap(), 5);
    drop(mutex.lock());
}
