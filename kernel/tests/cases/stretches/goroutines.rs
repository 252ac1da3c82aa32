//! Goroutines: one by one, by the thousand, and how they fail.

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::*};

use trefoil::context::Context;
use trefoil::joinset::{ErrGroup, JoinSet};
use trefoil::panic::{catch_unwind, resume_unwind};
use trefoil::prelude::*;
use trefoil::sync::Mutex;

use super::contend;
use crate::Table;

pub fn goroutines(t: &mut Table) {
    t.row("go, join", || (0..100).for_each(|i| assert_eq!(go(move || i).join().unwrap(), i)));
    t.row("go 10,000 at once", || {
        let all: Vec<_> = (0..10_000u64).map(|i| go(move || i)).collect();
        all.into_iter().for_each(|g| _ = g.join().unwrap());
    });
    t.row("handles are dropped", || {
        (0..1000).for_each(|_| drop(go(runtime::yield_now)));
        time::sleep(Duration::from_millis(5));
    });
    t.row("scope", || {
        let mut sum = 0;
        scope(|s| {
            let all: Vec<_> = (0..100u64).map(|i| s.go(move || i)).collect();
            sum = all.into_iter().map(|g| g.join().unwrap()).sum();
        });
        assert_eq!(sum, 4950);
    });
    t.row("JoinSet", || {
        let mut set = JoinSet::new();
        (0..1000u64).for_each(|i| _ = set.go(move || i));
        let mut n = 0;
        while set.join_next().is_some() {
            n += 1;
        }
        assert_eq!(n, 1000);
        (0..1000u64).for_each(|i| _ = set.go(move || i));
        assert_eq!(set.join_all().len(), 1000);
    });
    t.row("JoinSet dropped with 1,000 on their way", || {
        let mut set = JoinSet::new();
        (0..1000u64).for_each(|_| _ = set.go(|| time::sleep(Duration::from_millis(1))));
        drop(set);
        time::sleep(Duration::from_millis(10));
    });
    t.row("ErrGroup", || {
        let group = ErrGroup::<u8>::new();
        group.set_limit(10);
        (0..100).for_each(|i| group.go(move || if i == 50 { Err(7) } else { Ok(()) }));
        assert_eq!(group.wait(), Err(7));
    });
    t.row("yield_now, pin, core, current", || {
        (0..100).for_each(|_| runtime::yield_now());
        let pin = runtime::pin();
        runtime::yield_now();
        drop(pin);
        let pinned = Builder::new().name("pinned").pin(0).spawn(runtime::core).unwrap();
        assert_eq!(pinned.join().unwrap(), 0);
        black_box(runtime::current());
    });
    t.row("exit_g", || {
        let g = go(|| runtime::exit_g());
        assert!(g.join().is_err());
    });
    t.row("block_in_place, set_max_procs", || {
        runtime::block_in_place(|| black_box(()));
        runtime::set_max_procs(1);
    });
    t.row("preemption", || {
        static STOP: AtomicU64 = AtomicU64::new(0);
        let before = runtime::set_slice(Duration::from_micros(50));
        let all: Vec<_> = (0..10)
            .map(|_| {
                go(|| {
                    while STOP.load(Relaxed) == 0 {
                        core::hint::spin_loop()
                    }
                })
            })
            .collect();
        time::sleep(Duration::from_millis(5));
        STOP.store(1, SeqCst);
        all.into_iter().for_each(|g| g.join().unwrap());
        runtime::set_slice(before);
    });
    t.row("goroutine_local!", || {
        goroutine_local! { static MINE: core::cell::Cell<u64> = const { core::cell::Cell::new(1) }; }
        contend(10, || MINE.set(MINE.get() + 1));
    });
    t.row("futures", || {
        assert_eq!(task::block_on(async { 5 }), 5);
        task::block_on(time::delay(Duration::from_micros(50)));
        assert_eq!(task::spawn_future(async { 6 }).join().unwrap(), 6);
        assert!(task::block_on(time::timeout(Duration::from_micros(20), core::future::pending::<()>())).is_err());
    });
    t.row("context", || {
        let (parent, cancel) = Context::background().with_cancel();
        let all: Vec<_> = (0..1000)
            .map(|_| {
                let (child, _) = parent.with_timeout(Duration::from_secs(10));
                let child = child.with_value(5u8);
                go(move || child.done().recv().is_err())
            })
            .collect();
        time::sleep(Duration::from_millis(5));
        cancel.cancel();
        all.into_iter().for_each(|g| _ = g.join().unwrap());
        let (late, _keep) = parent.without_cancel().with_deadline(Instant::now() + Duration::from_micros(50));
        _ = late.done().recv();
    });
}

struct PanicsInDrop;
impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

pub fn panics(t: &mut Table) {
    t.row("a panic at join", || assert!(go(|| panic!("told at join")).join().is_err()));
    t.row("a panic that nobody joins", || {
        drop(go(|| panic!("unjoined")));
        time::sleep(Duration::from_millis(5));
    });
    t.row("catch_unwind, resume_unwind", || {
        assert!(catch_unwind(|| panic!("caught")).is_err());
        assert!(catch_unwind(|| resume_unwind(Box::new(5))).is_err());
    });
    t.row("a panic in a destructor while unwinding", || {
        let g = go(|| {
            let _it = PanicsInDrop;
            panic!("the first");
        });
        assert!(g.join().is_err());
    });
    t.row("an overflow", || assert!(go(|| glut(0)).join().is_err()));
    t.row("an overflow on 16 MiB", || {
        assert!(Builder::new().stack_max(16 << 20).spawn(|| glut(0)).unwrap().join().is_err())
    });
}

pub fn crowds(t: &mut Table) {
    let (tx, rx) = chan::bounded::<u8>(0);
    let mut all = Vec::with_capacity(100_000);
    t.row("100,000 G's are started", || {
        all.extend((0..100_000).map(|_| {
            let rx = rx.clone();
            go(move || rx.recv().is_err())
        }));
        time::sleep(Duration::from_millis(1));
    });
    t.row("stats, goroutines of 100,000", || {
        black_box(runtime::stats());
        black_box(runtime::goroutines());
    });
    t.row("100,000 parked G's get cold", || time::sleep(Duration::from_secs(1)));
    t.row("scavenge, 100,000 parked", || _ = runtime::scavenge());
    t.row("an overflow beside 100,000 parked", || assert!(go(|| glut(0)).join().is_err()));
    t.row("a lock held by one of them is looked at", || {
        let lock = Arc::new(Mutex::new(()));
        let _held = lock.lock().unwrap();
        assert!(lock.try_lock().is_err());
    });
    t.row("their channel is closed", || drop(tx));
    t.row("100,000 G's end", || all.into_iter().for_each(|g| assert!(g.join().unwrap())));
    t.row("scavenge, after them", || _ = runtime::scavenge());
}
