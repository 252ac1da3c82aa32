//! Timers on real threads.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use support::{shaken, spin_for, tidy};
use trefoil_hosted::{Config, Failure, run};
use trefoil_sched::spawn::go;
use trefoil_sched::time::{Instant, Ticker, Timer, sleep, sleep_until};

#[test]
fn who_sleeps_for_ever_is_no_deadlock() {
    let config = Config { limit: Duration::from_millis(300), ..Config::with_procs(2) };
    let result = run(config, || {
        let sleepers = [
            go(|| sleep(Duration::MAX)),
            go(|| sleep_until(Instant::NEVER)),
            go(|| sleep(Duration::from_secs(1 << 40))),
        ];
        sleepers.into_iter().for_each(|s| s.join().unwrap());
    });
    match result {
        Err(Failure::TimedOut { waiting, .. }) => {
            assert_eq!(waiting.iter().filter(|w| w.state == "sleep").count(), 3, "{waiting:?}");
        }
        other => panic!("{other:?}"),
    }
}

/// Spins on the host's clock until `done`.
fn soon(what: &str, done: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_micros(100));
    }
}

#[test]
fn a_stopped_timer_does_not_fire_and_one_that_has_fired_says_so() {
    tidy(2, || {
        let fired = Arc::new(AtomicUsize::new(0));
        let count = || {
            let fired = fired.clone();
            move || _ = fired.fetch_add(1, Relaxed)
        };
        let stopped = Timer::after_func(Duration::from_millis(5), count());
        assert!(stopped.stop(), "it ran");
        assert!(!stopped.stop(), "it was stopped before");
        let timer = Timer::after_func(Duration::from_millis(1), count());
        soon("it does not fire", || fired.load(Relaxed) == 1);
        assert!(!timer.stop(), "it has fired");
        assert!(!timer.reset(Duration::from_millis(1)));
        soon("it does not fire again", || fired.load(Relaxed) == 2);
        timer.reset(Duration::from_secs(100));
        assert!(timer.reset(Duration::ZERO), "it ran");
        soon("a deadline that has passed does not fire", || fired.load(Relaxed) == 3);
        timer.reset(Duration::MAX);
        sleep(Duration::from_millis(10));
        assert_eq!(fired.load(Relaxed), 3, "stopped, or never, and fired all the same");
        assert!(timer.stop());
        drop((stopped, timer));
        assert_eq!(Arc::strong_count(&fired), 1, "what a timer's function holds is dropped with it");
    });
}

#[test]
fn a_timer_goes_on_without_its_handle() {
    tidy(2, || {
        let fired = Arc::new(AtomicBool::new(false));
        let seen = fired.clone();
        drop(Timer::after_func(Duration::from_millis(1), move || fired.store(true, Relaxed)));
        soon("it does not fire", || seen.load(Relaxed));
        soon("its function is not dropped", || Arc::strong_count(&seen) == 1);
    });
}

/// `stop` says true exactly if the function does not run for what was started before.
#[test]
fn stop_and_the_function_never_both_win() {
    for seed in 0..20 {
        shaken(4, move || {
            let racers: Vec<_> = (0..8)
                .map(|i| {
                    go(move || {
                        let fired = Arc::new(AtomicUsize::new(0));
                        let in_timer = fired.clone();
                        let timer = Timer::after_func(Duration::MAX, move || _ = in_timer.fetch_add(1, Relaxed));
                        let mut begun = 0;
                        for round in 0..200u64 {
                            timer.reset(Duration::from_nanos((round * 997 + i * 331 + seed) % 20_000));
                            spin_for(Duration::from_nanos((round * 1499 + i * 77) % 20_000));
                            let stopped =
                                if round % 3 == 0 { timer.reset(Duration::from_secs(60)) } else { timer.stop() };
                            if !stopped {
                                begun += 1;
                            }
                        }
                        timer.stop();
                        drop(timer);
                        // Goroutines that have come too late drop it, too.
                        soon("its function is not dropped", || Arc::strong_count(&fired) == 1);
                        assert_eq!(fired.load(Relaxed), begun, "lost or doubled");
                        begun
                    })
                })
                .collect();
            let begun: Vec<usize> = racers.into_iter().map(|r| r.join().unwrap()).collect();
            assert!(begun.iter().all(|&b| b <= 200), "{begun:?}");
        });
    }
}

#[test]
fn many_sleepers_wake_once_each_and_never_early() {
    shaken(4, || {
        let sleepers: Vec<_> = (0..2000u64)
            .map(|i| {
                go(move || {
                    for round in 0..5 {
                        let until = Instant::now() + Duration::from_micros((i * 7919 + round * 104_729) % 10_000);
                        sleep_until(until);
                        assert!(Instant::now() >= until, "early");
                    }
                })
            })
            .collect();
        sleepers.into_iter().for_each(|s| s.join().unwrap());
    });
}

#[test]
fn a_timers_value_is_not_stale_after_stop_or_reset() {
    for seed in 0..10u64 {
        shaken(3, move || {
            let timer = Timer::new(Duration::from_nanos(1));
            for round in 0..500u64 {
                spin_for(Duration::from_nanos((round * 1499 + seed * 331) % 15_000));
                let begin = Instant::now();
                let d = Duration::from_nanos((round * 997 + seed) % 10_000);
                if round % 2 == 0 {
                    timer.reset(d);
                    let value = timer.receiver().recv().unwrap();
                    assert!(value >= begin + d, "a value from before the reset, {:?} early", (begin + d) - value);
                } else {
                    timer.reset(d);
                    spin_for(Duration::from_nanos((round * 1931) % 15_000));
                    let received = timer.receiver().try_recv().is_ok();
                    let stopped = timer.stop();
                    assert!(!(received && stopped), "it happened, and was stopped");
                    assert!(received || stopped, "neither received nor stopped");
                    assert!(timer.receiver().try_recv().is_err(), "a value after stop");
                }
            }
            let receiver = timer.receiver().clone();
            drop(timer);
            assert!(receiver.recv().is_err(), "the channel of a timer that was dropped is open");
        });
    }
}

#[test]
fn a_ticker_drops_ticks_that_nobody_receives() {
    tidy(2, || {
        let period = Duration::from_millis(5);
        let ticker = Ticker::new(period);
        let begin = Instant::now();
        let first = ticker.tick();
        assert!(first + Duration::from_millis(1) >= begin + period);
        sleep(period * 6);
        // One has been kept: it came while we slept.
        let awake = Instant::now();
        let kept = ticker.receiver().try_recv().unwrap();
        assert!(kept > first && kept <= awake);
        assert!(ticker.tick() >= awake, "more than one was kept");
        ticker.stop();
        assert!(ticker.receiver().recv_timeout(period * 3).is_err(), "a tick of a stopped ticker");
        let again = Instant::now();
        ticker.reset(Duration::from_millis(1));
        let second = (ticker.tick(), ticker.tick()).1;
        assert!(second >= again + Duration::from_millis(2));
        let receiver = ticker.receiver().clone();
        drop(ticker);
        assert!(receiver.iter().count() <= 1, "the channel of a ticker that was dropped is open");
    });
}

#[test]
fn a_ticker_wants_a_period() {
    tidy(1, || {
        let error = go(|| drop(Ticker::new(Duration::ZERO))).join().unwrap_err();
        assert_eq!(error.message(), Some("Ticker: the period must not be zero"));
        let error = go(|| drop(Timer::after_func(Duration::MAX, || ()).receiver().clone())).join().unwrap_err();
        assert_eq!(error.message(), Some("Timer: one that calls a function has no receiver"));
    });
}
