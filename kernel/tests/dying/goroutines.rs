//! Deaths in scheduling, and in what starts, joins, times and cancels goroutines.

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::*};

use trefoil::PreemptGuard;
use trefoil::context::Context;
use trefoil::joinset::{ErrGroup, JoinSet};
use trefoil::prelude::*;
use trefoil::sync::Mutex;

use crate::{PATIENCE, nothing, sweep};

pub fn in_scheduling() {
    sweep("yield", || (), |()| runtime::yield_now(), nothing);
    sweep("sleep", || (), |()| time::sleep(Duration::from_micros(20)), nothing);
    sweep("pin", || (), |()| drop(runtime::pin()), nothing);
    sweep("block in place", || (), |()| runtime::block_in_place(|| _ = black_box(5)), nothing);
    sweep("guard", || (), |()| drop(PreemptGuard::new()), nothing);
}

pub fn in_timers() {
    sweep(
        "timer",
        || (),
        |()| {
            let timer = time::Timer::new(Duration::from_micros(30));
            timer.reset(Duration::from_secs(1));
            timer.stop();
        },
        nothing,
    );
    sweep(
        "after_func",
        || (),
        |()| _ = time::Timer::after_func(Duration::from_micros(3), || _ = black_box(1)),
        |()| time::sleep(Duration::from_micros(20)),
    );
    sweep("ticker", || (), |()| _ = time::Ticker::new(Duration::from_micros(20)).tick(), nothing);
    sweep("after", || (), |()| _ = chan::after(Duration::from_micros(20)).recv(), nothing);
}

pub fn in_groups() {
    sweep("spawn and join", || (), |()| assert_eq!(go(|| black_box(3)).join().unwrap(), 3), nothing);
    sweep(
        "scope",
        || AtomicU64::new(0),
        |sum| {
            let mine = AtomicU64::new(1);
            scope(|s| {
                s.go(|| mine.fetch_add(1, Relaxed));
            });
            sum.fetch_add(mine.load(Relaxed), Relaxed);
        },
        |sum| assert!(matches!(sum.load(Relaxed), 0 | 2)),
    );
    sweep(
        "scope of three",
        || Arc::new(AtomicU64::new(0)),
        |sum| {
            let mine = AtomicU64::new(0);
            scope(|s| {
                for _ in 0..2 {
                    s.go(|| mine.fetch_add(1, Relaxed));
                }
                assert!(s.go(|| mine.fetch_add(1, Relaxed) < 3).join().unwrap());
            });
            sum.fetch_add(mine.load(Relaxed), Relaxed);
        },
        |sum| assert!(matches!(sum.load(Relaxed), 0 | 3)),
    );
    sweep(
        "join set of a survivor",
        || Mutex::new(JoinSet::new()),
        |set| _ = set.lock().unwrap().go(|| black_box(3)),
        |set| {
            let mut set = set.lock().unwrap();
            set.go(|| 3);
            while let Some(outcome) = set.join_next_timeout(PATIENCE / 2).unwrap() {
                assert_eq!(outcome.unwrap(), 3);
            }
        },
    );
    sweep(
        "join set",
        || (),
        |()| {
            let mut set = JoinSet::new();
            set.go(|| black_box(3));
            assert_eq!(set.join_next().unwrap().unwrap(), 3);
        },
        nothing,
    );
    sweep(
        "error group",
        || (),
        |()| {
            let group = ErrGroup::<String>::new();
            group.go(|| Err("as it should".to_string()));
            assert!(group.wait().is_err());
        },
        nothing,
    );
    let limited = || {
        let group = ErrGroup::<String>::new();
        group.set_limit(1);
        group
    };
    let start = |group: &ErrGroup<String>| group.go(|| Ok(()));
    let start_two = |group: &ErrGroup<String>| (0..2).for_each(|_| group.go(|| Ok(())));
    let waits = |group: &ErrGroup<String>| {
        group.go(|| Ok(()));
        assert_eq!(group.wait(), Ok(()));
    };
    sweep("error group, start", ErrGroup::new, start, waits);
    sweep("error group, at its limit", limited, start_two, waits);
    sweep("error group, try_go", limited, |group| _ = group.try_go(|| Ok(())), waits);
    let spawned = |(): &()| assert_eq!(task::spawn_future(async { black_box(3) }).join().unwrap(), 3);
    sweep("spawned future", || (), spawned, nothing);
    sweep("future", || (), |()| assert_eq!(task::block_on(async { black_box(3) }), 3), nothing);
}

pub fn in_contexts() {
    let root = || Context::background().with_cancel();
    sweep(
        "child context",
        root,
        |(root, _)| {
            let (child, cancel) = root.with_cancel();
            cancel.cancel();
            assert!(child.err().is_some());
        },
        |(root, cancel)| {
            let (child, _keep) = root.with_cancel();
            cancel.cancel();
            assert!(child.err().is_some());
        },
    );
    sweep(
        "context with a deadline",
        root,
        |(root, _)| drop(root.with_timeout(Duration::from_micros(20))),
        |(root, cancel)| {
            cancel.cancel();
            assert!(root.err().is_some());
        },
    );
    sweep(
        "cancel",
        root,
        |(_, cancel)| cancel.cancel(),
        |(root, cancel)| {
            cancel.cancel();
            assert!(root.err().is_some());
        },
    );
}
