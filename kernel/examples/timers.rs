//! The cost of timers, and how late goroutines wake up. Under `ICOUNT=1` a nanosecond is an
//! instruction, and the figures repeat exactly.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use trefoil::prelude::*;
use trefoil::time::{Timer, ticks};

/// How many operations are counted.
const N: u64 = 1_000;

/// Numbers without order.
fn scramble(n: u64) -> u64 {
    let n = (n ^ n >> 15).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ n >> 29
}

/// Returns some time from a quarter of an hour to an hour.
fn far(i: u64) -> Duration {
    Duration::from_millis(900_000 + scramble(i) % 2_700_000)
}

/// Returns the ticks that `f` takes for each of the [`N`].
fn each(f: impl FnOnce()) -> u64 {
    let begin = ticks();
    f();
    (ticks() - begin) / N
}

/// Measures a timer among `pending` others that are due later: start, change of deadline, stop, and
/// the time from expiry to its function's end.
fn operations(pending: u64) {
    static FIRED: AtomicU64 = AtomicU64::new(0);
    let nothing = || _ = FIRED.fetch_add(1, Relaxed);
    let others: Vec<Timer> = (0..pending).map(|i| Timer::after_func(far(i), nothing)).collect();
    let timers: Vec<Timer> = (0..N).map(|_| Timer::after_func(Duration::MAX, nothing)).collect();
    timers.iter().for_each(|t| _ = t.stop());
    // The clock is no part of it.
    let now = Instant::now();
    let insert = each(|| timers.iter().zip(0..).for_each(|(t, i)| _ = t.reset_at(now + far(i))));
    let change = each(|| timers.iter().zip(N..).for_each(|(t, i)| _ = t.reset_at(now + far(i))));
    let cancel = each(|| timers.iter().for_each(|t| assert!(t.stop())));
    FIRED.store(0, Relaxed);
    // All due at once.
    let due = Instant::now() + Duration::from_millis(5);
    timers.iter().for_each(|t| _ = t.reset_at(due));
    assert!(Instant::now() < due);
    while Instant::now() < due {}
    let expire = each(|| {
        while FIRED.load(Relaxed) < N {
            runtime::yield_now();
        }
    });
    println!("timer insert, {pending} pending: {insert}");
    println!("timer reset, {pending} pending: {change}");
    println!("timer cancel, {pending} pending: {cancel}");
    println!("timer expiry with a goroutine, {pending} pending: {expire}");
    others.iter().for_each(|t| assert!(t.stop()));
    sleeping(pending);
}

/// Measures sleepers in the same way: from the moment when [`N`] of them are due until the last one
/// runs.
fn sleeping(pending: u64) {
    static ASLEEP: AtomicU64 = AtomicU64::new(0);
    static WOKEN: AtomicU64 = AtomicU64::new(0);
    static LAST: AtomicU64 = AtomicU64::new(0);
    ASLEEP.store(0, Relaxed);
    WOKEN.store(0, Relaxed);
    let others: Vec<Timer> = (0..pending).map(|i| Timer::after_func(far(i), || ())).collect();
    let due = Instant::now() + Duration::from_millis(20);
    let sleep = move || {
        ASLEEP.fetch_add(1, Relaxed);
        time::sleep_until(due);
        if WOKEN.fetch_add(1, Relaxed) + 1 == N {
            LAST.store((Instant::now() - due).as_nanos() as u64, Relaxed);
        }
    };
    let sleepers: Vec<_> = (0..N).map(|_| go(sleep)).collect();
    while ASLEEP.load(Relaxed) < N {
        runtime::yield_now();
    }
    // The last of them may have been interrupted before it slept.
    runtime::yield_now();
    assert!(Instant::now() < due);
    // Joining only now: a joiner would be woken among the sleepers, up to a thousand times.
    time::sleep_until(due + Duration::from_millis(20));
    sleepers.into_iter().for_each(|s| s.join().unwrap());
    println!("sleeper's expiry, {pending} pending: {}", LAST.load(Relaxed) / N);
    others.iter().for_each(|t| assert!(t.stop()));
}

/// Measures how late 1,000 sleeps of a millisecond end.
fn lateness(name: &str) {
    let mut late: Vec<u64> = (0..1000)
        .map(|_| {
            let due = Instant::now() + Duration::from_millis(1);
            time::sleep_until(due);
            (Instant::now() - due).as_nanos() as u64
        })
        .collect();
    late.sort_unstable();
    println!("lateness {name}, p50: {} ns", late[500]);
    println!("lateness {name}, p99: {} ns", late[990]);
    println!("lateness {name}, max: {} ns", late[999]);
}

#[trefoil::main]
fn main() {
    // Past what boot has put off.
    time::sleep(Duration::from_millis(600));
    for pending in [10, 1_000, 100_000] {
        operations(pending);
    }
    lateness("on an idle core");
    static STOP: AtomicBool = AtomicBool::new(false);
    let spinner = go(|| {
        while !STOP.load(Relaxed) {
            black_box(());
        }
    });
    lateness("beside a spinning goroutine");
    STOP.store(true, Relaxed);
    spinner.join().unwrap();
}
