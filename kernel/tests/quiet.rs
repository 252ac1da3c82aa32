//! The machine seen from inside: that it is quiet when nobody runs, how late things are, Go's line
//! about its scheduler.
#![no_std]
#![no_main]

#[path = "support/spin.rs"]
mod spin;
mod support;

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::*};

use spin::spin;
use trefoil::prelude::*;

image! {
    a_core_at_rest_takes_only_due_timers:
        "smp 1 | icount | append app.counted",
        "smp 2,4",
        "smp 1,2 | cpu max,hypervisor=off,monitor=on";
    wake_ups_reach_a_core_that_watches:
        "smp 1,2,4 | cpu max,hypervisor=off,monitor=on | timeout 100",
        "smp 2",
        "smp 2 | cpu max,hypervisor=off,monitor=on | append rest=hlt";
    a_sleeper_is_seen_in_the_histograms:
        "smp 1 | icount",
        "smp 2,4";
    a_preemption_is_seen_in_the_histograms: "smp 1 | icount";
    the_line_is_gos:
        "smp 1 | append schedtrace=5 | shape SCHED #ms: gomaxprocs=# idleprocs=# threads=# spinningthreads=# idlethreads=# runqueue=# [#] preemptions=# steals=# wakeups=#/# | expect SCHED",
        "smp 4 | append schedtrace=5 | shape SCHED #ms: gomaxprocs=# idleprocs=# threads=# spinningthreads=# idlethreads=# runqueue=# [# # # #] preemptions=# steals=# wakeups=#/# | expect gomaxprocs=4";
    the_line_counts:
        "smp 1 | icount | append schedtrace=10 | expect runqueue=0 [8] preemptions= | expect gomaxprocs=1 idleprocs=0 threads=1";
    a_traced_deadlock_is_found: "smp 1,2 | append schedtrace=5 | exit 1 | expect SCHED | expect deadlock";
    a_bad_period_is_named:
        "smp 1 | append schedtrace=often | expect schedtrace=\"often\": wants 1 to 3600000 milliseconds | refuse SCHED";
}

fn wait_for_cores() {
    while runtime::cpus_started() < runtime::max_procs() {
        time::sleep(Duration::from_millis(1));
    }
}

/// Counts the wake-up IPIs taken by all cores.
fn ipis() -> u64 {
    trefoil::arch::percpu::all().map(|c| c.wake_ipis.load(Relaxed)).sum()
}

fn a_core_at_rest_takes_only_due_timers() {
    const SLEEPERS: u64 = 4;
    const SLEEPS: u64 = 20;
    wait_for_cores();
    // Past the clock's refinement and the scavenger's look at what has changed since boot.
    time::sleep(Duration::from_millis(300));
    let ipis_before = ipis();
    let before = runtime::stats();
    let sleepers: Vec<_> = (0..SLEEPERS)
        .map(|i| {
            go(move || {
                for _ in 0..SLEEPS {
                    // Each at times of its own.
                    time::sleep(Duration::from_micros(20_000 + 137 * i));
                }
            })
        })
        .collect();
    sleepers.into_iter().for_each(|s| s.join().unwrap());
    let after = runtime::stats();
    let taken: u64 = after.interrupts.iter().sum::<u64>() - before.interrupts.iter().sum::<u64>();
    let woken = after.total().wakes_sent - before.total().wakes_sent;
    let due = after.latency().since(&before.latency()).timer.count();
    let idle: Vec<f64> = after
        .ms
        .iter()
        .zip(&before.ms)
        .map(|(a, b)| (a.idle_ns - b.idle_ns) as f64 / (a.up_ns - b.up_ns) as f64)
        .collect();
    let timers = after.total().timer_interrupts - before.total().timer_interrupts;
    let ipis = ipis() - ipis_before;
    println!(
        "{taken} interrupts ({timers} timer, {ipis} wake-up), {due} timers due, {woken} wake-ups; idle {idle:.3?}"
    );
    assert!(due >= SLEEPERS * SLEEPS, "{due} timers");
    // One for each timer that was due, and for each wake-up. On a host's clock a one-shot rings a
    // little early now and then, and once more then; and a core rests for timers that another one
    // has taken over.
    let counted = trefoil::runtime::args().any(|word| word == "counted");
    let bound = if counted { due + 2 } else { 2 * (due + woken) + 8 };
    assert!(taken <= bound, "{taken} interrupts for {due} timers and {woken} wake-ups");
    // Several at once are one interrupt; and a core to which the host comes back late finds its
    // timers due without any.
    assert!(taken >= SLEEPS || !counted, "{taken}");
    assert!(idle.iter().all(|&share| share > 0.5), "{idle:?}");
}

fn wake_ups_reach_a_core_that_watches() {
    wait_for_cores();
    let (before, sent) = (ipis(), runtime::stats().total().wakes_sent);
    // Each round wakes somebody, or loses a wake-up and hangs.
    for round in 0..300u64 {
        let (tx, rx) = chan::bounded::<u64>(0);
        let spread: Vec<_> = (0..runtime::max_procs() as u64)
            .map(|i| {
                let tx = tx.clone();
                go(move || {
                    (0..20_000).for_each(|n| _ = black_box(n));
                    tx.send(i).unwrap();
                })
            })
            .collect();
        drop(tx);
        assert_eq!(rx.iter().count(), spread.len());
        spread.into_iter().for_each(|g| g.join().unwrap());
        if round % 16 == 0 {
            time::sleep(Duration::from_micros(300));
        }
    }
    let (woken, ipis) = (runtime::stats().total().wakes_sent - sent, ipis() - before);
    println!("{woken} wake-ups, {ipis} IPIs");
    // At most one each (and those that were on their way); with `mwait`, only to a core that is not
    // watching at this moment. (TCG's `mwait` is a pause, so this test can't see a store end it.)
    assert!(ipis <= woken + runtime::max_procs() as u64, "{ipis} IPIs for {woken} wake-ups");
}

fn a_sleeper_is_seen_in_the_histograms() {
    wait_for_cores();
    let before = runtime::stats().latency();
    for _ in 0..50 {
        time::sleep(Duration::from_millis(1));
    }
    let seen = runtime::stats().latency().since(&before);
    println!("{seen:?}");
    assert!(seen.timer.count() >= 50 && seen.ready.count() >= 50, "{seen:?}");
    if runtime::max_procs() == 1 {
        assert!(seen.timer.percentile(50) < Duration::from_micros(20), "{seen:?}");
        assert!(seen.ready.percentile(50) < Duration::from_micros(5), "{seen:?}");
    }
    let buckets: u64 = seen.timer.buckets().map(|(_, _, n)| n).sum();
    assert_eq!(buckets, seen.timer.count());
}

fn a_preemption_is_seen_in_the_histograms() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let before = runtime::stats();
    let spinners: Vec<_> = (0..3).map(|_| go(|| spin(&STOP))).collect();
    time::sleep(Duration::from_millis(200));
    STOP.store(true, SeqCst);
    spinners.into_iter().for_each(|s| assert!(s.join().unwrap() > 0));
    let after = runtime::stats();
    let seen = after.latency().since(&before.latency());
    let preemptions = after.total().preemptions - before.total().preemptions;
    println!("{preemptions} preemptions; {seen:?}");
    assert!(
        seen.preempt.count() >= 10 && seen.preempt.count() <= preemptions + 2,
        "{preemptions} preemptions; {seen:?}"
    );
    // From the slice's end to being off the core: an interrupt and a switch.
    assert!(seen.preempt.percentile(50) < Duration::from_micros(20), "{seen:?}");
}

fn the_line_is_gos() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let spinners: Vec<_> = (0..6).map(|_| go(|| spin(&STOP))).collect();
    time::sleep(Duration::from_millis(100));
    STOP.store(true, SeqCst);
    spinners.into_iter().for_each(|s| _ = s.join().unwrap());
}

/// Eight run in turns; while the line is printed, on g0, all of them wait.
fn the_line_counts() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let spinners: Vec<_> = (0..8)
        .map(|_| {
            go(|| {
                while !STOP.load(Relaxed) {
                    runtime::yield_now();
                }
            })
        })
        .collect();
    time::sleep(Duration::from_millis(55));
    STOP.store(true, SeqCst);
    spinners.into_iter().for_each(|s| s.join().unwrap());
}

fn a_traced_deadlock_is_found() {
    time::sleep(Duration::from_millis(20));
    let (_tx, rx) = chan::bounded::<u8>(0);
    let _ = rx.recv();
}

fn a_bad_period_is_named() {
    time::sleep(Duration::from_millis(20));
}
