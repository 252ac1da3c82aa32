//! `Once`, `OnceLock`, `LazyLock`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use trefoil_hosted::{Config, Failure, run};
use trefoil_sched::locks::{LazyLock, Once, OnceLock};
use trefoil_sched::spawn::go;
use trefoil_sched::time::sleep;

use crate::let_others_run;
use crate::support::{shaken, tidy};

#[test]
fn it_is_done_once_and_all_wait_for_it() {
    for procs in [1, 4] {
        shaken(procs, || {
            for _ in 0..20 {
                let (once, count) = (Arc::new(Once::new()), Arc::new(AtomicUsize::new(0)));
                let gs: Vec<_> = (0..20)
                    .map(|i| {
                        let (once, count) = (once.clone(), count.clone());
                        go(move || {
                            if i % 3 == 0 {
                                once.wait();
                            } else {
                                once.call_once(|| {
                                    sleep(Duration::from_micros(200));
                                    count.fetch_add(1, Ordering::Relaxed);
                                });
                            }
                            assert!(once.is_completed());
                            assert_eq!(count.load(Ordering::Relaxed), 1);
                        })
                    })
                    .collect();
                gs.into_iter().for_each(|g| g.join().unwrap());
            }
        });
    }
}

#[test]
fn a_panic_poisons_it_for_all_but_those_who_force_it() {
    tidy(1, || {
        let once = Arc::new(Once::new());
        let (runs, waits, forces) = (once.clone(), once.clone(), once.clone());
        let runs = go(move || {
            runs.call_once(|| {
                let_others_run();
                panic!("the first");
            });
        });
        let forces = go(move || forces.wait_force());
        let waits = go(move || waits.wait());
        assert!(runs.join().is_err());
        assert_eq!(waits.join().unwrap_err().message(), Some("Once instance has previously been poisoned"));
        assert!(!once.is_completed() && !forces.is_finished());
        let again = catch_unwind(AssertUnwindSafe(|| once.call_once(|| ())));
        assert_eq!(again.unwrap_err().downcast_ref(), Some(&"Once instance has previously been poisoned"));
        let mut told = false;
        once.call_once_force(|state| told = state.is_poisoned());
        assert!(told && once.is_completed());
        forces.join().unwrap();
        once.call_once(|| unreachable!());
        once.call_once_force(|_| unreachable!());
        assert_eq!(format!("{once:?}"), "Once { .. }");
    });
}

#[test]
fn one_that_waits_for_itself_is_a_deadlock() {
    let failed = run(Config::with_procs(1), || {
        let once = Once::new();
        once.call_once(|| once.call_once(|| ()));
    });
    let Err(Failure::Deadlock(waiting)) = failed else { panic!("{failed:?}") };
    assert_eq!((waiting.len(), waiting[0].state.as_str()), (1, "once"));
}

#[test]
fn a_cell_takes_one_value() {
    tidy(1, || {
        let mut cell = OnceLock::new();
        assert!(cell.get().is_none() && cell.get_mut().is_none());
        assert_eq!(format!("{cell:?}"), "OnceLock(<uninit>)");
        assert_eq!(cell.set(1), Ok(()));
        assert_eq!(cell.set(2), Err(2));
        assert_eq!(*cell.get_or_init(|| unreachable!()), 1);
        assert_eq!((cell.wait(), cell.clone(), format!("{cell:?}").as_str()), (&1, OnceLock::from(1), "OnceLock(1)"));
        *cell.get_mut().unwrap() = 3;
        assert_eq!((cell.take(), cell.get()), (Some(3), None));
        assert_eq!(cell.into_inner(), None);
        assert_eq!(OnceLock::<u8>::default(), OnceLock::new());
    });
}

#[test]
fn a_panic_leaves_the_cell_empty() {
    tidy(1, || {
        let cell = OnceLock::new();
        let failed =
            catch_unwind(AssertUnwindSafe(|| drop(cell.get_or_init(|| -> String { panic!("no value") }).clone())));
        assert!(failed.is_err() && cell.get().is_none());
        assert_eq!(cell.get_or_init(|| "a value".to_owned()), "a value");
    });
}

/// Counts itself when it is dropped.
struct Counts(Arc<AtomicUsize>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_is_inside_is_dropped_once() {
    tidy(1, || {
        let drops = Arc::new(AtomicUsize::new(0));
        let dropped = |f: &dyn Fn()| {
            let before = drops.load(Ordering::Relaxed);
            f();
            drops.load(Ordering::Relaxed) - before
        };
        let lazy = || {
            let make = Counts(drops.clone());
            let drops = drops.clone();
            LazyLock::new(move || {
                drop(make);
                Counts(drops)
            })
        };
        assert_eq!(dropped(&|| drop(lazy())), 1, "the closure, never called");
        assert_eq!(dropped(&|| drop(LazyLock::force(&lazy()).0.clone())), 2, "the closure and the value");
        assert_eq!(dropped(&|| drop(OnceLock::<Counts>::new())), 0);
        assert_eq!(dropped(&|| drop(OnceLock::from(Counts(drops.clone())))), 1);
        assert_eq!(dropped(&|| drop(OnceLock::from(Counts(drops.clone())).take())), 1);
    });
}

#[test]
fn a_lazy_value_is_made_when_it_is_looked_at() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static LAZY: LazyLock<Vec<u32>> = LazyLock::new(|| {
        MADE.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(1));
        vec![1, 2, 3]
    });
    tidy(4, || {
        assert_eq!(format!("{LAZY:?}"), "LazyLock(<uninit>)");
        let gs: Vec<_> = (0..10).map(|_| go(|| LAZY.len())).collect();
        gs.into_iter().for_each(|g| assert_eq!(g.join().unwrap(), 3));
        assert_eq!(MADE.load(Ordering::Relaxed), 1);
        assert_eq!(format!("{LAZY:?}"), "LazyLock([1, 2, 3])");
    });
}

#[test]
fn a_lazy_value_that_could_not_be_made_is_poisoned() {
    tidy(1, || {
        let lazy: LazyLock<u32> = LazyLock::new(|| panic!("no value"));
        for message in ["no value", "Once instance has previously been poisoned"] {
            let failed = catch_unwind(AssertUnwindSafe(|| *lazy));
            assert_eq!(failed.unwrap_err().downcast_ref(), Some(&message));
        }
    });
}
