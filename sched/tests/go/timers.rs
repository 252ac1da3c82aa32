//! Sleeping, timers, and channels that are filled by the clock.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::{a_moment, panic_of, until, until_parked};
use crate::api::*;
use chan::bounded;
use time::{Ticker, Timer};

cases! {
    a_sleep_is_never_too_short,
    a_sleep_of_nothing_yields,
    sleepers_wake_each_at_its_time,
    a_thousand_sleepers_sleep_at_the_same_time,
    a_moment_that_has_passed_is_not_waited_for,
    after_sends_once,
    after_of_nothing_is_ready_at_once,
    several_afters_in_one_select_come_when_they_are_due,
    a_tick_comes_again_and_again,
    a_slow_reader_of_a_tick_misses_some,
    a_function_is_called_after_its_time,
    a_stopped_function_is_not_called,
    stop_says_whether_it_came_in_time,
    a_reset_function_is_called_once_at_the_new_time,
    a_function_is_called_again_after_a_reset,
    stop_races_with_the_call,
    many_functions_are_called_once_each,
    a_timer_sends_once,
    a_stopped_timer_sends_nothing,
    a_value_that_nobody_has_received_is_gone_after_stop_and_reset,
    a_ticker_ticks_until_it_is_stopped,
    a_reset_ticker_has_another_period,
    a_ticker_of_nothing_panics,
    a_duration_beyond_the_clock_is_for_ever,
    a_sleeper_does_not_keep_its_core,
}

const MS: Duration = Duration::from_millis(1);

/// Go: sleep_test.go, TestSleep.
fn a_sleep_is_never_too_short() {
    for d in [MS / 100, MS / 2, MS, 3 * MS] {
        let begin = Instant::now();
        time::sleep(d);
        assert!(begin.elapsed() >= d);
    }
}

/// Go: "A negative or zero duration causes Sleep to return immediately".
fn a_sleep_of_nothing_yields() {
    let other = go(|| 1);
    until(|| {
        time::sleep(Duration::ZERO);
        other.is_finished()
    });
    assert_eq!(other.join().unwrap(), 1);
}

/// Go: sleep_test.go, TestAfterQueuing.
fn sleepers_wake_each_at_its_time() {
    let (tx, rx) = bounded(10);
    let begin = Instant::now();
    for n in [5u32, 2, 6, 1, 9, 3, 4] {
        let tx = tx.clone();
        drop(go(move || {
            time::sleep_until(begin + 10 * MS + n * MS);
            tx.send((n, begin.elapsed())).unwrap();
        }));
    }
    drop(tx);
    let woke: Vec<(u32, Duration)> = rx.iter().collect();
    assert!(woke.len() == 7 && woke.iter().all(|(n, at)| *at >= 10 * MS + *n * MS));
}

/// Go: sleep_test.go's benchmarks, as a case: sleeping costs no core.
fn a_thousand_sleepers_sleep_at_the_same_time() {
    let begin = Instant::now();
    let gs: Vec<_> = (0..1_000u32)
        .map(|i| {
            go(move || {
                let begin = Instant::now();
                let d = 2 * MS + MS / 100 * (i % 100);
                time::sleep(d);
                assert!(begin.elapsed() >= d);
            })
        })
        .collect();
    gs.into_iter().for_each(|g| g.join().unwrap());
    assert!(begin.elapsed() < Duration::from_secs(2), "one after the other they take 2.5 s");
}

/// Go: a deadline in the past.
fn a_moment_that_has_passed_is_not_waited_for() {
    let begin = Instant::now();
    time::sleep_until(begin);
    time::sleep_until(begin - MS);
    let other = chan::at(begin);
    assert!(other.recv().is_ok());
}

/// Go: sleep_test.go, TestAfter.
fn after_sends_once() {
    let begin = Instant::now();
    let timer = chan::after(3 * MS);
    assert!(timer.try_recv().is_err());
    assert!(timer.recv().unwrap() >= begin + 3 * MS);
    assert!(begin.elapsed() >= 3 * MS);
    a_moment();
    assert!(timer.try_recv().is_err(), "once");
}

/// Go: sleep_test.go, TestAfter with zero.
fn after_of_nothing_is_ready_at_once() {
    assert!(chan::after(Duration::ZERO).recv().is_ok());
}

/// Go: sleep_test.go, TestAfterQueuing, with a select over all.
fn several_afters_in_one_select_come_when_they_are_due() {
    let begin = Instant::now();
    let (slow, fast, middle) = (chan::after(20 * MS), chan::after(5 * MS), chan::after(10 * MS));
    let mut times = Vec::new();
    let never = chan::never();
    let (mut a, mut b, mut c) = (&slow, &fast, &middle);
    for _ in 0..3 {
        let due = select! {
            recv(a) -> due => { a = &never; due }
            recv(b) -> due => { b = &never; due }
            recv(c) -> due => { c = &never; due }
        };
        assert!(due.unwrap() <= Instant::now(), "too early");
        times.push(due.unwrap());
    }
    times.sort_unstable();
    let least = [5 * MS, 10 * MS, 20 * MS];
    assert!(times.into_iter().zip(least).all(|(time, d)| time >= begin + d));
}

/// Go: tick_test.go, TestTicker.
fn a_tick_comes_again_and_again() {
    let begin = Instant::now();
    let ticks = chan::tick(2 * MS);
    for n in 1..=5 {
        assert!(ticks.recv().is_ok());
        assert!(begin.elapsed() >= 2 * MS * n);
    }
}

/// Go: tick.go: "adjusts the time interval or drops ticks to make up for slow receivers".
fn a_slow_reader_of_a_tick_misses_some() {
    let ticks = chan::tick(MS);
    time::sleep(10 * MS);
    let at_once = core::iter::from_fn(|| ticks.try_recv().ok()).take(10).count();
    assert!((1..10).contains(&at_once), "{at_once} ticks were saved up");
    assert!(ticks.recv().is_ok());
}

/// Go: sleep_test.go, TestAfterFunc.
fn a_function_is_called_after_its_time() {
    let (tx, rx) = bounded(1);
    let begin = Instant::now();
    let _timer = Timer::after_func(2 * MS, move || tx.send(begin.elapsed()).unwrap());
    assert!(rx.recv().unwrap() >= 2 * MS);
}

/// Go: sleep_test.go, TestAfterStop.
fn a_stopped_function_is_not_called() {
    let called = Arc::new(AtomicUsize::new(0));
    let count = called.clone();
    let timer = Timer::after_func(Duration::from_secs(100), move || {
        count.fetch_add(1, SeqCst);
    });
    assert!(timer.stop());
    assert!(!timer.stop(), "nothing is started any more");
    a_moment();
    assert_eq!(called.load(SeqCst), 0);
    drop(timer);
    until(|| Arc::strong_count(&called) == 1);
}

/// Go: Timer.Stop "returns true if the call stops the timer, false if the timer has already expired
/// or been stopped".
fn stop_says_whether_it_came_in_time() {
    let (tx, rx) = bounded(1);
    let timer = Timer::after_func(MS / 10, move || tx.send(()).unwrap());
    rx.recv().unwrap();
    assert!(!timer.stop());
}

/// Go: sleep_test.go, TestReset.
fn a_reset_function_is_called_once_at_the_new_time() {
    let (tx, rx) = bounded(4);
    let begin = Instant::now();
    let timer = Timer::after_func(Duration::from_secs(100), move || tx.send(begin.elapsed()).unwrap());
    assert!(timer.reset(3 * MS), "it was started");
    assert!(rx.recv().unwrap() >= 3 * MS);
    a_moment();
    assert!(rx.try_recv().is_err() && !timer.stop());
}

/// Go: sleep_test.go, TestReuseTimer.
fn a_function_is_called_again_after_a_reset() {
    let (tx, rx) = bounded(1);
    let timer = Timer::after_func(MS / 10, move || tx.send(()).unwrap());
    for _ in 0..10 {
        rx.recv().unwrap();
        assert!(!timer.reset(MS / 10), "it had been called");
    }
    rx.recv().unwrap();
}

/// Go: sleep_test.go, TestTimerStopStress, TestIssue5745.
fn stop_races_with_the_call() {
    let called = Arc::new(AtomicUsize::new(0));
    let mut stopped = 0;
    for i in 0..100u32 {
        let count = called.clone();
        let timer = Timer::after_func(MS / 20, move || {
            count.fetch_add(1, SeqCst);
        });
        time::sleep(MS / 100 * (i % 10));
        stopped += usize::from(timer.stop());
    }
    until(|| called.load(SeqCst) + stopped == 100);
    a_moment();
    assert_eq!(called.load(SeqCst) + stopped, 100, "stopped and called");
}

/// Go: sleep_test.go, TestAfterStress.
fn many_functions_are_called_once_each() {
    let called: Arc<Vec<AtomicUsize>> = Arc::new((0..300).map(|_| AtomicUsize::new(0)).collect());
    let timers: Vec<_> = (0..300u32)
        .map(|i| {
            let called = called.clone();
            Timer::after_func(MS / 100 * (i * 7 % 200), move || {
                called[i as usize].fetch_add(1, SeqCst);
            })
        })
        .collect();
    until(|| called.iter().all(|n| n.load(SeqCst) == 1));
    assert!(timers.iter().all(|t| !t.stop()));
}

/// Go: NewTimer "will send the current time on its channel after at least duration d".
fn a_timer_sends_once() {
    let begin = Instant::now();
    let timer = Timer::new(2 * MS);
    let came = timer.receiver().recv().unwrap();
    assert!(came >= begin + 2 * MS && came <= Instant::now());
    a_moment();
    assert!(timer.receiver().try_recv().is_err());
    assert!(!timer.stop());
}

/// Go: sleep_test.go, TestAfterStop.
fn a_stopped_timer_sends_nothing() {
    let timer = Timer::new(5 * MS);
    assert!(timer.stop());
    time::sleep(8 * MS);
    assert!(timer.receiver().try_recv().is_err());
}

/// Go: since 1.23, "t.Stop reports whether the call stops the timer", and no stale value is
/// received after Stop or Reset: TestChan, synctimerchan.
fn a_value_that_nobody_has_received_is_gone_after_stop_and_reset() {
    let timer = Timer::new(MS / 10);
    until(|| !timer.receiver().is_empty());
    assert!(timer.stop(), "it was not received");
    assert!(timer.receiver().try_recv().is_err());
    timer.reset(MS / 10);
    until(|| !timer.receiver().is_empty());
    let begin = Instant::now();
    assert!(timer.reset(3 * MS));
    assert!(timer.receiver().recv().unwrap() >= begin + 3 * MS);
}

/// Go: tick_test.go, TestTicker, TestTickerStop…
fn a_ticker_ticks_until_it_is_stopped() {
    let begin = Instant::now();
    let ticker = Ticker::new(MS);
    for n in 1..=4 {
        ticker.tick();
        assert!(begin.elapsed() >= MS * n);
    }
    ticker.stop();
    time::sleep(3 * MS);
    assert!(ticker.receiver().try_recv().is_err(), "it ticked after it was stopped");
}

/// Go: tick_test.go, TestTicker's Reset.
fn a_reset_ticker_has_another_period() {
    let ticker = Ticker::new(Duration::from_secs(100));
    let begin = Instant::now();
    ticker.reset(2 * MS);
    ticker.tick();
    ticker.tick();
    assert!(begin.elapsed() >= 4 * MS);
}

/// Go: tick_test.go, TestNewTickerLtZeroDuration.
fn a_ticker_of_nothing_panics() {
    assert!(panic_of(|| Ticker::new(Duration::ZERO)).contains("Ticker"));
}

/// Go: sleep_test.go, TestOverflowSleep, TestOverflowRuntimeTimer.
fn a_duration_beyond_the_clock_is_for_ever() {
    let for_ever = chan::after(Duration::MAX);
    let timer = Timer::after_func(Duration::MAX, || panic!("the end of time"));
    let soon = chan::after(MS);
    assert!(select! { recv(for_ever) -> _ => false, recv(soon) -> _ => true });
    assert!(timer.stop());
}

/// Go: a sleeping goroutine takes no M.
fn a_sleeper_does_not_keep_its_core() {
    let seen = Arc::new(AtomicBool::new(false));
    let sleepers: Vec<_> = (0..50)
        .map(|_| {
            let seen = seen.clone();
            go(move || {
                // Again and again: a host may stop this one longer than they sleep.
                while !seen.load(SeqCst) {
                    time::sleep(10 * MS);
                }
            })
        })
        .collect();
    until_parked(10);
    assert_eq!(go(|| 4).join().unwrap(), 4);
    seen.store(true, SeqCst);
    sleepers.into_iter().for_each(|g| g.join().unwrap());
}
