//! `Semaphore`, `Barrier`, `WaitGroup`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use trefoil_sched::join::JoinHandle;
use trefoil_sched::locks::{Barrier, Semaphore, WaitGroup};
use trefoil_sched::spawn::go;
use trefoil_sched::time::sleep;
use trefoil_sched::{scope, yield_now};

use crate::let_others_run;
use crate::support::{shaken, tidy};

fn join_all<T: Send>(gs: Vec<JoinHandle<T>>) -> Vec<T> {
    gs.into_iter().map(|g| g.join().unwrap()).collect()
}

/// Returns the message of the panic that `f` ends with.
fn panic_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("no panic");
    trefoil_sched::join::panic_message(&*payload).unwrap_or("").to_owned()
}

// --- Semaphore

#[test]
fn no_more_than_the_permits_are_inside() {
    for procs in [1, 4] {
        shaken(procs, || {
            let (semaphore, inside) = (Arc::new(Semaphore::new(3)), Arc::new(AtomicUsize::new(0)));
            let gs = (0..24)
                .map(|i| {
                    let (semaphore, inside) = (semaphore.clone(), inside.clone());
                    go(move || {
                        let n = i % 3 + 1;
                        for _ in 0..200 {
                            let permit = semaphore.acquire_many(n);
                            assert_eq!(permit.num_permits(), n);
                            assert!(inside.fetch_add(n, Ordering::Relaxed) + n <= 3, "too many are inside");
                            if i % 2 == 0 {
                                yield_now();
                            }
                            inside.fetch_sub(n, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            join_all(gs);
            assert_eq!(semaphore.available_permits(), 3, "a permit is lost");
        });
    }
}

#[test]
fn a_large_request_is_not_passed_by_small_ones() {
    tidy(1, || {
        let semaphore = Arc::new(Semaphore::new(2));
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let held = semaphore.acquire();
        let wants = |n: usize| {
            let (semaphore, order) = (semaphore.clone(), order.clone());
            let g = go(move || {
                let _permits = semaphore.acquire_many(n);
                order.lock().unwrap().push(n);
            });
            let_others_run();
            g
        };
        let gs = vec![wants(2), wants(1), wants(1)];
        assert!(semaphore.try_acquire().is_none(), "one is there, but it is not for newcomers");
        drop(held);
        join_all(gs);
        assert_eq!(*order.lock().unwrap(), [2, 1, 1]);
    });
}

#[test]
fn when_a_large_request_gives_up_those_behind_it_go_on() {
    tidy(1, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let large = {
            let semaphore = semaphore.clone();
            go(move || semaphore.acquire_many_timeout(5, Duration::from_millis(2)).is_none())
        };
        let_others_run();
        let small = {
            let semaphore = semaphore.clone();
            go(move || drop(semaphore.acquire()))
        };
        small.join().unwrap();
        assert!(large.join().unwrap(), "there are no five");
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn a_timeout_is_kept_and_takes_nothing() {
    shaken(2, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let begin = Instant::now();
        assert!(semaphore.acquire_timeout(Duration::from_millis(3)).is_none());
        assert!(begin.elapsed() >= Duration::from_millis(3));
        assert!(semaphore.acquire_timeout(Duration::ZERO).is_none());
        // Permits that come about when time is over: each goes to somebody or stays.
        for round in 0..200u64 {
            let waiter = {
                let semaphore = semaphore.clone();
                go(move || {
                    semaphore.acquire_timeout(Duration::from_micros(50 + round)).map(|permit| permit.forget()).is_some()
                })
            };
            sleep(Duration::from_micros(50 + round / 2));
            semaphore.add_permits(1);
            let left = usize::from(!waiter.join().unwrap());
            assert_eq!(semaphore.available_permits(), left, "round {round}");
            semaphore.acquire_many(left).forget();
        }
    });
}

#[test]
fn a_panic_gives_the_permits_back() {
    tidy(1, || {
        let semaphore = Semaphore::new(2);
        panic_of(|| {
            let _permits = semaphore.acquire_many(2);
            panic!("with permits");
        });
        assert_eq!(semaphore.available_permits(), 2);
    });
}

#[test]
fn permits_can_be_added_forgotten_and_not_be_too_many() {
    tidy(1, || {
        let semaphore = Semaphore::new(1);
        semaphore.acquire().forget();
        assert!(semaphore.try_acquire().is_none());
        semaphore.add_permits(2);
        assert_eq!(semaphore.try_acquire_many(2).map(|p| p.num_permits()), Some(2));
        assert_eq!(format!("{semaphore:?}"), "Semaphore { permits: 2, .. }");
        assert_eq!(semaphore.acquire_many(0).num_permits(), 0);
        assert!(semaphore.try_acquire_many(usize::MAX).is_none());
        assert_eq!(panic_of(|| semaphore.add_permits(usize::MAX)), "Semaphore: too many permits");
        assert_eq!(semaphore.available_permits(), 2);
    });
}

// --- Barrier

#[test]
fn nobody_passes_before_all_have_come_and_one_leads() {
    for procs in [1, 4] {
        shaken(procs, || {
            let (barrier, come) = (Arc::new(Barrier::new(10)), Arc::new(AtomicUsize::new(0)));
            let gs = (0..10)
                .map(|_| {
                    let (barrier, come) = (barrier.clone(), come.clone());
                    go(move || {
                        (0..50)
                            .filter(|round| {
                                come.fetch_add(1, Ordering::Relaxed);
                                let result = barrier.wait();
                                assert!(come.load(Ordering::Relaxed) >= (round + 1) * 10, "somebody has not come");
                                barrier.wait();
                                result.is_leader()
                            })
                            .count()
                    })
                })
                .collect();
            assert_eq!(join_all(gs).into_iter().sum::<usize>(), 50, "one leads each round");
        });
    }
}

#[test]
fn a_barrier_of_nobody_or_one_holds_nobody_back() {
    tidy(1, || {
        assert!(Barrier::new(0).wait().is_leader());
        assert!(Barrier::new(1).wait().is_leader());
        assert_eq!(format!("{:?}", Barrier::new(1).wait()), "BarrierWaitResult { is_leader: true }");
    });
}

// --- WaitGroup

#[test]
fn wait_returns_when_everybody_is_done() {
    for procs in [1, 4] {
        shaken(procs, || {
            let (wg, done) = (Arc::new(WaitGroup::new()), Arc::new(AtomicUsize::new(0)));
            wg.wait();
            for round in 1..=50 {
                wg.add(20);
                for _ in 0..20 {
                    let (wg, done) = (wg.clone(), done.clone());
                    drop(go(move || {
                        done.fetch_add(1, Ordering::Relaxed);
                        wg.done();
                    }));
                }
                wg.wait();
                assert_eq!(done.load(Ordering::Relaxed), 20 * round);
            }
        });
    }
}

#[test]
fn everybody_who_waits_is_woken() {
    tidy(4, || {
        let wg = Arc::new(WaitGroup::default());
        wg.add(2);
        let waiters: Vec<_> = (0..200)
            .map(|_| {
                let wg = wg.clone();
                go(move || wg.wait())
            })
            .collect();
        wg.done();
        sleep(Duration::from_millis(2));
        assert!(waiters.iter().all(|w| !w.is_finished()), "one thing is left");
        wg.done();
        waiters.into_iter().for_each(|g| g.join().unwrap());
    });
}

#[test]
fn done_without_add_panics_and_leaves_it_usable() {
    tidy(1, || {
        let wg = WaitGroup::new();
        assert!(catch_unwind(AssertUnwindSafe(|| wg.done())).is_err());
        wg.add(1);
        wg.done();
        wg.wait();
    });
}

#[test]
fn an_add_that_overflows_panics() {
    tidy(1, || {
        let wg = WaitGroup::new();
        assert_eq!(panic_of(|| wg.add(usize::MAX)), "WaitGroup: the count overflows");
        wg.add(usize::MAX / 2);
        assert_eq!(panic_of(|| wg.add(1)), "WaitGroup: the count overflows");
    });
}

#[test]
fn the_waiter_may_free_it_at_once() {
    shaken(4, || {
        for _ in 0..2_000 {
            let wg = Arc::new(WaitGroup::new());
            wg.add(1);
            let other = wg.clone();
            drop(go(move || other.done()));
            wg.wait();
        }
    });
}

#[test]
fn a_count_below_zero_says_what_go_says() {
    tidy(1, || assert_eq!(panic_of(|| WaitGroup::new().done()), "negative WaitGroup counter"));
}

#[test]
fn new_things_to_do_before_a_wait_has_returned_are_misuse() {
    tidy(1, || {
        let wg = Arc::new(WaitGroup::new());
        wg.add(1);
        let waiter = {
            let wg = wg.clone();
            go(move || panic_of(|| wg.wait()))
        };
        let_others_run();
        // The waiter is ready, and has not run.
        wg.done();
        wg.add(1);
        assert_eq!(waiter.join().unwrap(), "WaitGroup is reused before previous Wait has returned");
        wg.done();
        wg.wait();
    });
}

#[test]
fn go_counts_and_a_panic_counts_as_done() {
    let (ended, account) = trefoil_hosted::account(trefoil_hosted::Config::with_procs(2), || {
        let (wg, ran) = (Arc::new(WaitGroup::new()), Arc::new(AtomicUsize::new(0)));
        for i in 0..20 {
            let ran = ran.clone();
            wg.go(move || {
                ran.fetch_add(1, Ordering::Relaxed);
                assert!(i != 7, "seven");
            });
        }
        wg.wait();
        assert_eq!(ran.load(Ordering::Relaxed), 20);
    });
    ended.unwrap();
    assert_eq!(account.unjoined.len(), 1, "the panic is reported: {:?}", account.unjoined);
}

#[test]
fn goroutines_of_a_scope_borrow_the_group() {
    for procs in [1, 2, 4] {
        shaken(procs, || {
            let (wave, sum) = (WaitGroup::new(), AtomicUsize::new(0));
            let mut places = [0; 20];
            scope(|s| {
                for round in 1..=5 {
                    for _ in 0..20 {
                        wave.go_scoped(s, || _ = sum.fetch_add(1, Ordering::Relaxed));
                    }
                    wave.wait();
                    assert_eq!(sum.load(Ordering::Relaxed), 20 * round);
                }
                // Of others in the scope nobody waits here.
                s.go(|| sleep(Duration::from_millis(1)));
                places.iter_mut().enumerate().for_each(|(i, place)| wave.go_scoped(s, move || *place = i));
                wave.wait();
            });
            assert!(places.into_iter().eq(0..20));
        });
    }
}

#[test]
fn a_panic_in_a_scope_counts_as_done_and_fails_the_scope() {
    let (ended, account) = trefoil_hosted::account(trefoil_hosted::Config::with_procs(2), || {
        let (wave, ran) = (WaitGroup::new(), AtomicUsize::new(0));
        let message = panic_of(|| {
            scope(|s| {
                for i in 0..20 {
                    let ran = &ran;
                    wave.go_scoped(s, move || {
                        ran.fetch_add(1, Ordering::Relaxed);
                        assert!(i != 7, "seven");
                    });
                }
                wave.wait();
                assert_eq!(ran.load(Ordering::Relaxed), 20);
            });
        });
        assert_eq!(message, "a goroutine of the scope panicked");
    });
    ended.unwrap();
    assert_eq!(account.unjoined.len(), 1, "the panic is reported: {:?}", account.unjoined);
}
