//! Programs for the recorder, each with many kinds of decisions. Only in an image that has a
//! recorder. The host looks at the traces: `cargo-trefoil/tests/trace_boots.rs`.
#![no_std]
#![no_main]

mod support;

use trefoil::prelude::*;
use trefoil::{PreemptGuard, mm, rand};

image! {
    a_random_program: "smp 1,2,4 | trace | append trace=full";
    everything_once: "smp 2 | trace | append trace=full trace_port=fastest";
    snapshots_follow_each_other: "smp 2 | trace | append trace=flight trace_size=16K";
    a_slow_wake_up: "smp 1 | trace | append trace=flight trace_on_latency=20000";
    what_a_record_costs: "smp 1 | icount | expect cost of two yields", "smp 1 | icount | trace | append trace=full";
}

/// Takes a random step.
fn step(depth: u32, lock: &sync::Mutex<u64>, tx: &chan::Sender<u64>, rx: &chan::Receiver<u64>) {
    match rand::random_range(0..12) {
        0 => runtime::yield_now(),
        1 => time::sleep(Duration::from_micros(rand::random_range(1..300))),
        2 => drop(tx.try_send(1)),
        3 => drop(rx.try_recv()),
        4 => drop(tx.send_timeout(2, Duration::from_micros(200))),
        5 => drop(rx.recv_timeout(Duration::from_micros(200))),
        6 => {
            let mut total = lock.lock().unwrap();
            *total += 1;
            runtime::yield_now();
        }
        7 => (0..rand::random_range(0..20_000u64)).for_each(|n| _ = core::hint::black_box(n)),
        8 => drop(runtime::pin()),
        9 => trace::with_region("step", runtime::yield_now),
        10 if depth > 0 => {
            let (tx, rx) = chan::bounded(0);
            let child = go(move || tx.send(rand::random_range(0..9)).unwrap());
            rx.recv().unwrap();
            child.join().unwrap();
        }
        _ => trace::log("step", "nothing"),
    }
}

/// Runs some goroutines, each of which takes random steps.
fn random_program(goroutines: u64, steps: u64) {
    let lock = sync::Mutex::new(0);
    let (tx, rx) = chan::bounded(2);
    let (lock, tx, rx) = (&lock, &tx, &rx);
    scope(|s| {
        for _ in 0..goroutines {
            s.go(move || (0..steps).for_each(|_| step(1, lock, tx, rx)));
        }
    });
}

fn a_random_program() {
    random_program(20, 60);
    (0..1500).map(|i| go(move || i)).collect::<Vec<_>>().into_iter().for_each(|g| _ = g.join().unwrap());
    if runtime::num_cpus() > 1 {
        runtime::set_max_procs(1);
        // No thief: the ring overflows.
        (0..600).map(|i| go(move || i)).collect::<Vec<_>>().into_iter().for_each(|g| _ = g.join().unwrap());
        random_program(5, 10);
        runtime::set_max_procs(runtime::num_cpus());
        runtime::block_in_place(|| (0..1000u64).for_each(|n| _ = core::hint::black_box(n)));
        runtime::block_in_place(|| time::sleep(Duration::from_micros(50)));
        random_program(5, 10);
    }
}

#[inline(never)]
fn descend(depth: usize) -> u64 {
    let page = core::hint::black_box([depth as u8; 4096]);
    if depth == 0 { 0 } else { descend(depth - 1) + u64::from(page[9]) }
}

fn everything_once() {
    let task = trace::Task::new("request");
    let part = task.child("part");
    part.log("category", "a message that takes more than one record");
    let region = task.region("a region");
    let named = Builder::new().name("a name of twenty-six letters").spawn(|| descend(10)).unwrap();
    named.join().unwrap();
    drop(region);
    drop(part);
    drop(task);
    // Grown, then shrunk and packed.
    let (tx, rx) = chan::bounded::<()>(0);
    let deep = go(move || {
        descend(12);
        rx.recv().unwrap_err();
    });
    time::sleep(Duration::from_millis(2));
    (0..3).for_each(|_| _ = mm::stack::scavenge::run());
    drop(tx);
    deep.join().unwrap();
    // Too much is in use to be packed.
    let (tx, rx) = chan::bounded::<()>(0);
    let wide = go(move || {
        let used = core::hint::black_box([1u8; 6000]);
        descend(12);
        rx.recv().unwrap_err();
        core::hint::black_box(used);
    });
    time::sleep(Duration::from_millis(2));
    (0..3).for_each(|_| _ = mm::stack::scavenge::run());
    drop(tx);
    wide.join().unwrap();
    assert!(time::Timer::after_func(Duration::from_secs(9), || ()).stop());
    // More goroutines compute than there are cores: they make way for each other.
    let hogs = (0..4).map(|_| {
        go(|| {
            let until = Instant::now() + Duration::from_millis(50);
            while Instant::now() < until {}
        })
    });
    hogs.collect::<Vec<_>>().into_iter().for_each(|hog| hog.join().unwrap());
    a_random_program();
}

fn snapshots_follow_each_other() {
    for _ in 0..5 {
        random_program(10, 20);
        assert!(trace::is_on() && trace::snapshot());
    }
}

/// A goroutine that can run waits for 50 ms behind one with preemption off.
fn a_slow_wake_up() {
    random_program(5, 20);
    let (tx, rx) = chan::bounded(1);
    let receiver = go(move || rx.recv().unwrap());
    runtime::yield_now();
    tx.send(1).unwrap();
    let guard = PreemptGuard::new();
    let until = Instant::now() + Duration::from_millis(50);
    while Instant::now() < until {}
    drop(guard);
    assert_eq!(receiver.join().unwrap(), 1);
    time::sleep(Duration::from_millis(1));
}

/// Prints the instructions and the records of an operation, on one core that counts instructions.
fn cost(name: &str, n: u64, operation: impl Fn()) {
    let counted = || -> u64 { trefoil::recorder::counted() };
    (0..n / 10).for_each(|_| operation());
    let (ticks, records) = (time::ticks(), counted());
    (0..n).for_each(|_| operation());
    let (ticks, records) = (time::ticks() - ticks, counted() - records);
    println!("cost of {name}: {} instructions, {} records, of 1000", ticks * 1000 / n, records * 1000 / n);
}

fn what_a_record_costs() {
    let (tx, rx) = chan::bounded::<u64>(0);
    let (back, answer) = chan::bounded::<u64>(0);
    let echo = go(move || rx.iter().for_each(|n| back.send(n).unwrap()));
    cost("a round trip", 2_000, || {
        tx.send(1).unwrap();
        answer.recv().unwrap();
    });
    drop(tx);
    echo.join().unwrap();
    cost("spawn and join", 2_000, || go(|| ()).join().unwrap());
    let stop = core::sync::atomic::AtomicBool::new(false);
    scope(|s| {
        s.go(|| {
            while !stop.load(core::sync::atomic::Ordering::Relaxed) {
                runtime::yield_now();
            }
        });
        cost("two yields", 2_000, runtime::yield_now);
        stop.store(true, core::sync::atomic::Ordering::Relaxed);
    });
    cost("a log line", 2_000, || trace::log("", "12345678"));
}
