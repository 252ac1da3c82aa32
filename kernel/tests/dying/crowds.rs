//! Deaths of goroutines that many others wait for.

use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering::*};

use trefoil::joinset::ErrGroup;
use trefoil::panic;
use trefoil::prelude::*;
use trefoil::sync::{Barrier, Condvar, Mutex, Once, RwLock, WaitGroup};

use crate::{judge, sweep};

/// More than are woken in one piece (`sched/src/wait/list.rs`).
const CROWD: usize = 75;

/// Counts of many waiters.
struct Crowd {
    arrived: AtomicUsize,
    gone: AtomicUsize,
}

/// The object with its crowd's counts, and the waiters.
type Crowded<T> = (Arc<(T, Crowd)>, Mutex<Vec<JoinHandle<()>>>);

/// Starts many G's, which are in `wait` now, or about to be.
fn crowd<T: Send + Sync + 'static>(object: T, wait: fn(&T)) -> Crowded<T> {
    let all = crowd_to_come(object, wait);
    all.0.1.assemble();
    all
}

/// Starts many G's, which come to `wait` later.
fn crowd_to_come<T: Send + Sync + 'static>(object: T, wait: fn(&T)) -> Crowded<T> {
    let shared = Arc::new((object, Crowd { arrived: AtomicUsize::new(0), gone: AtomicUsize::new(0) }));
    let one = |_| {
        let shared = shared.clone();
        go(move || {
            shared.1.arrived.fetch_add(1, Relaxed);
            wait(&shared.0);
            shared.1.gone.fetch_add(1, Relaxed);
        })
    };
    let all = (0..CROWD).map(one).collect();
    (shared, Mutex::new(all))
}

impl Crowd {
    /// Waits until all have come, and for as long as they take to park.
    fn assemble(&self) {
        while self.arrived.load(Relaxed) < CROWD {
            time::sleep(Duration::from_micros(20));
        }
        time::sleep(Duration::from_micros(100));
    }
}

/// Asserts that all of them go, released by the victim or else by `release`, or that they panic
/// with the victim's name.
fn goes<T>((shared, all): &Crowded<T>, release: impl Fn(&T)) {
    time::sleep(Duration::from_millis(1));
    // A release that has begun releases all of them, even if the releaser dies.
    if shared.1.gone.load(Relaxed) == 0 {
        time::sleep(Duration::from_millis(20));
    }
    if shared.1.gone.load(Relaxed) == 0 {
        release(&shared.0);
    }
    for one in all.lock().unwrap().drain(..) {
        judge("one of the crowd", shared.1.gone.load(Relaxed) as u64, one);
    }
}

pub fn in_crowds() {
    // 75 reports for each lock that stays held.
    panic::set_hook(Box::new(|_| ()));
    sweep(
        "close, crowded",
        || crowd(chan::bounded::<u64>(0), |(_, rx)| assert!(rx.recv().is_err())),
        |(shared, _)| shared.0.0.close(),
        |all| goes(all, |(tx, _)| tx.close()),
    );
    let waits = |(lock, condvar): &(Mutex<bool>, Condvar)| {
        let mut open = lock.lock().unwrap();
        while !*open {
            open = condvar.wait(open).unwrap();
        }
    };
    sweep(
        "notify_all, crowded",
        move || {
            let all = crowd((Mutex::new(false), Condvar::new()), waits);
            *all.0.0.0.lock().unwrap() = true;
            all
        },
        |(shared, _)| shared.0.1.notify_all(),
        |all| goes(all, |(_, condvar)| condvar.notify_all()),
    );
    sweep(
        "barrier, crowded",
        || crowd(Barrier::new(CROWD + 1), |barrier| _ = barrier.wait()),
        |(shared, _)| _ = shared.0.wait(),
        |all| goes(all, |barrier| _ = barrier.wait()),
    );
    sweep(
        "wait group, crowded",
        || {
            let group = WaitGroup::new();
            group.add(1);
            crowd(group, WaitGroup::wait)
        },
        |(shared, _)| shared.0.done(),
        |all| goes(all, WaitGroup::done),
    );
    sweep(
        "error group, crowded",
        || {
            let (release, released) = chan::bounded::<()>(1);
            let group = ErrGroup::<()>::new();
            group.go(move || Ok(_ = released.recv()));
            crowd((group, release), |(group, _)| group.wait().unwrap())
        },
        |(shared, _)| shared.0.1.close(),
        |all| goes(all, |(_, release)| release.close()),
    );
    // The crowd comes when the victim has the lock.
    let gate = chan::bounded::<()>;
    sweep(
        "write lock, crowded",
        move || {
            crowd_to_come((gate(0), RwLock::new(0)), |((_, gate), lock)| {
                let _ = gate.recv();
                black_box(*lock.read().unwrap());
            })
        },
        |(shared, _)| {
            let mut held = shared.0.1.write().unwrap();
            shared.0.0.0.close();
            shared.1.assemble();
            *held += 1;
        },
        |all| goes(all, |((tx, _), _)| tx.close()),
    );
    sweep(
        "once, crowded",
        move || {
            crowd_to_come((gate(0), Once::new()), |((_, gate), once)| {
                let _ = gate.recv();
                once.call_once(|| ());
            })
        },
        |(shared, _)| {
            shared.0.1.call_once(|| {
                shared.0.0.0.close();
                shared.1.assemble();
            });
        },
        |all| goes(all, |((tx, _), _)| tx.close()),
    );
    let _ = panic::take_hook();
}
