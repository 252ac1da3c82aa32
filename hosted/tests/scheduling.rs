//! The scheduler as a whole: G's that start, park, move between M's and end, on real threads.

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::{spin_for, tidy};
use trefoil_hosted::{Config, Failure, account, current_m, run, stats};
use trefoil_sched::chan::bounded;
use trefoil_sched::join::JoinError;
use trefoil_sched::locks::Mutex as GMutex;
use trefoil_sched::locks::WaitGroup;
use trefoil_sched::spawn::{SpawnError, go};
use trefoil_sched::time::sleep;
use trefoil_sched::{Builder, exit_g, yield_now};

#[test]
fn join_gives_the_result() {
    tidy(1, || {
        let handles: Vec<_> = (0..100).map(|i| go(move || i * i)).collect();
        let squares: Vec<i32> = handles.into_iter().map(|h| h.join().unwrap()).collect();
        assert_eq!(squares, (0..100).map(|i| i * i).collect::<Vec<_>>());
    });
}

#[test]
fn join_of_a_finished_g_does_not_park() {
    tidy(1, || {
        let h = go(|| 7);
        while !h.is_finished() {
            yield_now();
        }
        assert_eq!(h.join().unwrap(), 7);
    });
}

#[test]
fn a_dropped_handle_lets_its_g_run_on() {
    tidy(2, || {
        let (tx, rx) = bounded(1);
        drop(go(move || {
            yield_now();
            tx.send(1).unwrap();
        }));
        assert_eq!(rx.recv(), Ok(1));
    });
}

#[test]
fn captured_values_are_dropped_once_large_or_small() {
    tidy(2, || {
        let count = Arc::new(AtomicUsize::new(0));
        struct Count(Arc<AtomicUsize>, #[expect(dead_code, reason = "only its size matters")] [u8; 5000]);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        for _ in 0..10 {
            let large = Count(count.clone(), [1; 5000]);
            go(move || drop(large)).join().unwrap();
        }
        assert_eq!(count.load(Ordering::Relaxed), 10);
    });
}

#[test]
fn yields_take_turns_in_order_on_one_p() {
    tidy(1, || {
        let log = Arc::new(Mutex::new(Vec::new()));
        let gs: Vec<_> = (0..3)
            .map(|i| {
                let log = log.clone();
                go(move || {
                    for round in 0..10 {
                        log.lock().unwrap().push((round, i));
                        yield_now();
                    }
                })
            })
            .collect();
        gs.into_iter().for_each(|g| g.join().unwrap());
        let log = log.lock().unwrap();
        for round in 0..10 {
            let seen: HashSet<_> = log[round * 3..round * 3 + 3].iter().copied().collect();
            assert_eq!(seen, (0..3).map(|i| (round, i)).collect(), "a G ran twice before another ran once");
        }
    });
}

#[test]
fn a_storm_of_yields_loses_nobody() {
    tidy(4, || {
        let turns = Arc::new(AtomicUsize::new(0));
        let gs: Vec<_> = (0..200)
            .map(|_| {
                let turns = turns.clone();
                go(move || {
                    for _ in 0..200 {
                        turns.fetch_add(1, Ordering::Relaxed);
                        yield_now();
                    }
                })
            })
            .collect();
        gs.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(turns.load(Ordering::Relaxed), 200 * 200);
    });
}

#[test]
fn a_panic_unwinds_its_g_and_nobody_else() {
    let (result, account) = account(Config::with_procs(2), || {
        struct Told(Arc<AtomicBool>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let dropped = Arc::new(AtomicBool::new(false));
        let neighbour = go(|| {
            (0..100).for_each(|_| yield_now());
            "fine"
        });
        let told = Told(dropped.clone());
        let g = go(move || {
            let _told = told;
            yield_now();
            panic!("on purpose {}", 1);
        });
        let error: JoinError = g.join().unwrap_err();
        assert_eq!(error.message(), Some("on purpose 1"));
        assert!(dropped.load(Ordering::Relaxed), "its destructors run");
        assert_eq!(neighbour.join().unwrap(), "fine");
        drop(Builder::new().name("alone").spawn(|| panic!("nobody asks")).unwrap());
        sleep(Duration::from_millis(20));
    });
    result.unwrap();
    assert_eq!(account.unjoined.len(), 1, "{:?}", account.unjoined);
    assert!(account.unjoined[0].contains("\"alone\" panicked: nobody asks"), "{:?}", account.unjoined);
    assert_eq!((account.unfinished.len(), account.stacks), (0, 0));
}

#[test]
fn panics_in_many_gs_at_once_stay_apart() {
    tidy(4, || {
        let gs: Vec<_> = (0..200)
            .map(|i| {
                go(move || {
                    yield_now();
                    if i % 2 == 0 {
                        std::panic::resume_unwind(Box::new(i));
                    }
                    i
                })
            })
            .collect();
        for (i, g) in gs.into_iter().enumerate() {
            match g.join() {
                Ok(v) => assert_eq!((v, i % 2), (i, 1)),
                Err(JoinError::Panicked(payload)) => assert_eq!(payload.downcast_ref::<usize>(), Some(&i)),
                Err(other) => panic!("{other}"),
            }
        }
    });
}

#[test]
fn exit_g_runs_destructors_and_gives_no_result() {
    tidy(1, || {
        struct Told(Arc<AtomicBool>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let dropped = Arc::new(AtomicBool::new(false));
        let told = Told(dropped.clone());
        let g = go(move || {
            let _told = told;
            exit_g();
        });
        assert!(matches!(g.join(), Err(JoinError::Exited)));
        assert!(dropped.load(Ordering::Relaxed));
    });
}

#[test]
fn a_panic_in_main_is_the_runs_failure() {
    match run(Config::with_procs(2), || panic!("main gives up")) {
        Err(Failure::Main(error)) => assert_eq!(error.message(), Some("main gives up")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deadlock_is_reported_with_who_waits_for_what() {
    for procs in [1, 2, 4] {
        let failed = run(Config::with_procs(procs), || {
            let (tx, rx) = bounded::<u8>(0);
            let (mutex, wg) = (Arc::new(GMutex::new(())), Arc::new(WaitGroup::new()));
            let keep = tx.clone();
            drop(Builder::new().name("receiver").spawn(move || rx.recv()).unwrap());
            let held = mutex.clone();
            drop(Builder::new().name("locker").spawn(move || {
                let first = held.lock().unwrap();
                drop((held.lock().map(drop), first));
            }));
            wg.add(1);
            wg.wait();
            drop((tx, keep));
        });
        let Err(Failure::Deadlock(waiting)) = failed else { panic!("{failed:?}") };
        let mut said: Vec<_> = waiting.iter().map(|w| (w.name.as_str(), w.state.as_str())).collect();
        said.sort_unstable();
        assert_eq!(said, [("locker", "mutex lock"), ("main", "waitgroup wait"), ("receiver", "chan receive")]);
        assert!(waiting.iter().all(|w| w.object != 0));
    }
}

#[test]
fn a_sleeping_g_is_no_deadlock() {
    tidy(2, || {
        let begin = Instant::now();
        sleep(Duration::from_millis(30));
        assert!(begin.elapsed() >= Duration::from_millis(30));
    });
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    tidy(1, || {
        let log = Arc::new(Mutex::new(Vec::new()));
        let gs: Vec<_> = [40, 10, 30, 20]
            .into_iter()
            .map(|ms| {
                let log = log.clone();
                go(move || {
                    sleep(Duration::from_millis(ms));
                    log.lock().unwrap().push(ms);
                })
            })
            .collect();
        gs.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!(*log.lock().unwrap(), [10, 20, 30, 40]);
    });
}

#[test]
fn a_timer_fires_although_its_core_is_busy() {
    tidy(2, || {
        let (tx, rx) = bounded(1);
        drop(go(move || {
            sleep(Duration::from_millis(5));
            tx.send(Instant::now()).unwrap();
        }));
        yield_now();
        let begin = Instant::now();
        spin_for(Duration::from_millis(200));
        let fired = rx.recv().unwrap();
        assert!(fired < begin + Duration::from_millis(150), "only after {:?}", fired - begin);
    });
}

#[test]
fn a_g_in_the_slot_of_a_busy_p_is_stolen() {
    tidy(2, || {
        let in_time = (0..20).filter(|_| {
            let h = go(Instant::now);
            let begin = Instant::now();
            spin_for(Duration::from_millis(20));
            h.join().unwrap() < begin + Duration::from_millis(15)
        });
        // The host may have better things to do than to run both threads.
        let in_time = in_time.count();
        assert!(in_time >= 10, "the slot starved {} times of 20", 20 - in_time);
    });
}

#[test]
fn equal_gs_spread_over_all_cores() {
    tidy(4, || {
        let spread = || {
            let busy = || {
                spin_for(Duration::from_millis(2));
                current_m()
            };
            let gs: Vec<_> = (0..64).map(|_| go(busy)).collect();
            let cores: HashSet<_> = gs.into_iter().map(|g| g.join().unwrap()).collect();
            cores.len()
        };
        // The host may be too busy for a fourth thread once, not always.
        assert!((0..10).any(|_| spread() == 4), "some core never helped");
        assert!(stats().total().steals > 0);
    });
}

#[test]
fn a_ping_pong_pair_stays_on_its_core() {
    tidy(4, || {
        let (to, ping) = bounded::<u32>(0);
        let (back, pong) = bounded::<u32>(0);
        drop(go(move || ping.iter().for_each(|v| back.send(v).unwrap())));
        let before = stats().total();
        for i in 0..20_000 {
            to.send(i).unwrap();
            assert_eq!(pong.recv(), Ok(i));
        }
        let after = stats().total();
        let woken = after.wakes_sent - before.wakes_sent;
        assert!(woken < 1_000, "{woken} wake-ups for 20,000 round trips");
    });
}

#[test]
fn a_burst_that_overflows_the_ring_is_run_whole() {
    for procs in [1, 4] {
        tidy(procs, || {
            let wg = Arc::new(WaitGroup::new());
            let ran = Arc::new(AtomicUsize::new(0));
            wg.add(5_000);
            for _ in 0..5_000 {
                let (wg, ran) = (wg.clone(), ran.clone());
                drop(go(move || {
                    ran.fetch_add(1, Ordering::Relaxed);
                    wg.done();
                }));
            }
            wg.wait();
            assert_eq!(ran.load(Ordering::Relaxed), 5_000);
        });
    }
}

#[test]
fn the_global_queue_gets_its_turn_among_gs_that_yield() {
    tidy(1, || {
        let done = Arc::new(AtomicBool::new(false));
        // 400 G's fill the ring and spill into the global queue; the last of them must run although
        // the others never stop.
        let gs: Vec<_> = (0..400)
            .map(|i| {
                let done = done.clone();
                go(move || {
                    if i == 0 {
                        done.store(true, Ordering::Relaxed);
                    }
                    while !done.load(Ordering::Relaxed) {
                        yield_now();
                    }
                })
            })
            .collect();
        gs.into_iter().for_each(|g| g.join().unwrap());
    });
}

#[test]
fn records_and_stacks_are_used_again() {
    let (result, account) = account(Config::with_procs(1), || {
        for i in 0..10_000 {
            assert_eq!(go(move || i).join().unwrap(), i);
        }
        stats().free_goroutines
    });
    let free = result.unwrap();
    assert!(free < 64, "{free} records for one G at a time");
    assert_eq!((account.unfinished.len(), account.stacks), (0, 0));
}

fn skynet(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let (tx, rx) = bounded(10);
    for child in 0..10 {
        let tx = tx.clone();
        drop(go(move || tx.send(skynet(first + child * leaves / 10, leaves / 10)).unwrap()));
    }
    (0..10).map(|_| rx.recv().unwrap()).sum()
}

#[test]
fn skynet_of_100_000() {
    for procs in [1, 4] {
        tidy(procs, || assert_eq!(skynet(0, 100_000), 100_000 * 99_999 / 2));
    }
}

#[test]
fn a_hundred_thousand_gs_park_at_once() {
    tidy(4, || {
        let (gate, wait) = bounded::<()>(0);
        let wg = Arc::new(WaitGroup::new());
        wg.add(100_000);
        for _ in 0..100_000 {
            let (wait, wg) = (wait.clone(), wg.clone());
            drop(go(move || {
                assert!(wait.recv().is_err());
                wg.done();
            }));
        }
        drop(wait);
        gate.close();
        wg.wait();
    });
}

#[test]
fn a_window_of_an_odd_size_is_refused_with_the_closure() {
    tidy(1, || {
        let mut refused = Builder::new().stack_max(usize::MAX).spawn(|| 5);
        let Err(SpawnError::BadStackSize(f)) = refused else { panic!("{:?}", refused.map(drop)) };
        assert_eq!(f(), 5);
        refused = Builder::new().stack_max(4 << 20).spawn(f);
        assert_eq!(refused.unwrap().join().unwrap(), 5);
    });
}

#[test]
fn a_deep_stack_fits_where_it_was_asked_for() {
    #[inline(never)]
    fn deep(n: u32) -> u32 {
        let pad = std::hint::black_box([n; 256]);
        if n == 0 { 0 } else { deep(n - 1) + pad[255] - n + 1 }
    }
    tidy(1, || {
        let g = Builder::new().stack_max(16 << 20).spawn(|| deep(8_000)).unwrap();
        assert_eq!(g.join().unwrap(), 8_000);
    });
}

#[test]
fn hand_overs_between_sleeping_cores_are_not_lost() {
    // Pairs that hand over and then let their cores fall asleep: every wake-up races a core that
    // lies down.
    for round in 0..5 {
        let config = Config { seed: round, ..Config::with_procs(4) }.shaken();
        run(config, || {
            let gs: Vec<_> = (0..8)
                .map(|_| {
                    let (tx, rx) = bounded::<u32>(0);
                    let sender = go(move || {
                        for i in 0..1_000 {
                            tx.send(i).unwrap();
                            if i % 64 == 0 {
                                sleep(Duration::from_micros(50));
                            }
                        }
                    });
                    let receiver = go(move || assert!(rx.iter().eq(0..1_000)));
                    (sender, receiver)
                })
                .collect();
            for (sender, receiver) in gs {
                sender.join().unwrap();
                receiver.join().unwrap();
            }
        })
        .unwrap();
    }
}

#[test]
fn a_run_that_takes_too_long_says_what_is_left() {
    let config = Config { limit: Duration::from_millis(50), ..Config::with_procs(1) };
    match run(config, || sleep(Duration::from_secs(3600))) {
        Err(Failure::TimedOut { waiting: left, .. }) => assert_eq!(left[0].state, "sleep"),
        other => panic!("{other:?}"),
    }
}
