//! The cost of many goroutines at one object, in counts, on one core and on several. Also the
//! steals that remain when a thief has learnt to leave work alone.
#![no_std]
#![no_main]

mod support;

use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use trefoil::prelude::*;
use trefoil::sync::{Mutex, RwLock, WaitGroup};
use trefoil::{runtime, time};

image! {
    a_crowd_at_a_mutex_costs_what_one_does: "smp 1 | icount";
    a_crowd_at_a_mutex_seldom_parks: "timeout 120";
    a_crowd_of_readers_and_writers_seldom_parks: "timeout 120";
    sleepers_share_interrupts: "timeout 120";
    messages_stay_on_their_core: "icount | timeout 120";
    a_stuck_core_is_relieved: "smp 2,4 | icount";
    a_chain_is_relieved_of_those_behind_it: "smp 2,4 | icount";
}

/// How many G's crowd around a lock.
const CROWD: u64 = 8;

fn crowd(f: impl Fn(u64) + Clone + Send + 'static) {
    let all = Arc::new(WaitGroup::new());
    for i in 0..CROWD {
        let f = f.clone();
        all.go(move || f(i));
    }
    all.wait();
}

/// Returns the counts that `f` adds to those of all M's.
fn counts(f: impl FnOnce()) -> runtime::MStats {
    let before = runtime::stats().total();
    f();
    let after = runtime::stats().total();
    let mut made = after;
    made.runs -= before.runs;
    made.parks -= before.parks;
    made.steals -= before.steals;
    made.hauls -= before.hauls;
    made.timer_writes -= before.timer_writes;
    made.timer_interrupts -= before.timer_interrupts;
    made
}

/// Measures `n` turns at a mutex, shared among `gs` G's, in nanoseconds, which are instructions
/// under `-icount`.
fn turns_at_a_mutex(gs: u64, n: u64) -> u64 {
    let mutex = Arc::new(Mutex::new(0u64));
    let begin = Instant::now();
    let all = Arc::new(WaitGroup::new());
    for _ in 0..gs {
        let mutex = mutex.clone();
        all.go(move || (0..n / gs).for_each(|i| *mutex.lock().unwrap() ^= black_box(i)));
    }
    all.wait();
    begin.elapsed().as_nanos() as u64
}

fn a_crowd_at_a_mutex_costs_what_one_does() {
    const N: u64 = 4_000_000;
    let (one, many) = (turns_at_a_mutex(1, N), turns_at_a_mutex(CROWD, N));
    println!("a turn at a mutex: {} instructions alone, {} in a crowd", one as f64 / N as f64, many as f64 / N as f64);
    // A waiter stands in the list for most of the time. A lock or unlock that took the list's lock
    // meanwhile would make it 3 times as much.
    assert!(many * 100 <= one * 105, "others that wait make it slow");
}

fn a_crowd_at_a_mutex_seldom_parks() {
    const N: u64 = 200_000;
    let mutex = Arc::new(Mutex::new(0u64));
    let shared = mutex.clone();
    let made = counts(|| crowd(move |_| (0..N).for_each(|i| *shared.lock().unwrap() += black_box(i & 1) | 1)));
    println!("mutex: {} parks, {} runs, {} steals in {} turns", made.parks, made.runs, made.steals, CROWD * N);
    assert_eq!(*mutex.lock().unwrap(), CROWD * N);
    assert!(made.parks <= CROWD * N / 100, "more than 1 in 100 turns parks");
}

fn a_crowd_of_readers_and_writers_seldom_parks() {
    const N: u64 = 200_000;
    let lock = Arc::new(RwLock::new(0u64));
    let shared = lock.clone();
    let made = counts(|| {
        crowd(move |_| {
            for i in 0..N {
                if i % 10 == 0 { *shared.write().unwrap() += 1 } else { _ = black_box(*shared.read().unwrap()) }
            }
        });
    });
    println!("rwlock: {} parks, {} runs, {} steals in {} turns", made.parks, made.runs, made.steals, CROWD * N);
    assert_eq!(*lock.read().unwrap(), CROWD * N / 10);
    assert!(made.runs <= CROWD * N / 50, "more than 0.02 switches a turn");
}

fn sleepers_share_interrupts() {
    const SLEEPERS: u64 = 10_000;
    let made = counts(|| {
        let all = Arc::new(WaitGroup::new());
        for i in 0..SLEEPERS {
            all.go(move || (0..3).for_each(|k| time::sleep(Duration::from_millis(1 + (i + 3 * k) % 10))));
        }
        all.wait();
    });
    let sleeps = 3 * SLEEPERS;
    println!("{sleeps} sleeps: {} timer writes, {} interrupts", made.timer_writes, made.timer_interrupts);
    // Each core that rests writes its own deadline, so several cores write more, and how much more
    // depends on how often they rest: 0.06 to 0.4 a sleep in most runs on two and four cores.
    let tenths = if runtime::num_cpus() == 1 { 3 } else { 6 };
    assert!(made.timer_writes * 10 <= tenths * sleeps, "more than 0.{tenths} timer writes a sleep");
    assert!(made.timer_interrupts * 10 <= sleeps, "more than 0.1 interrupts a sleep");
}

/// Sends `n` numbers from one G to 100 receivers.
fn consumers(capacity: usize, n: u64) {
    let (tx, rx) = chan::bounded(capacity);
    let sums: Vec<_> = (0..100)
        .map(|_| {
            let rx = rx.clone();
            go(move || rx.iter().sum::<u64>())
        })
        .collect();
    drop(rx);
    (0..n).for_each(|i| tx.send(i).unwrap());
    drop(tx);
    assert_eq!(sums.into_iter().map(|g| g.join().unwrap()).sum::<u64>(), n * (n - 1) / 2);
}

/// Passes `n` numbers through eight stages.
fn pipeline(n: u64) {
    let (first, mut last) = chan::bounded(0);
    go(move || (0..n).for_each(|i| first.send(i).unwrap()));
    for _ in 0..8 {
        let (tx, rx) = chan::bounded(0);
        go(move || last.iter().for_each(|v: u64| tx.send(v + 1).unwrap()));
        last = rx;
    }
    assert_eq!(last.iter().sum::<u64>(), n * (n - 1) / 2 + 8 * n);
}

fn messages_stay_on_their_core() {
    stay("100 consumers, capacity 0", 400_000, |n| consumers(0, n));
    stay("100 consumers, capacity 128", 4_000_000, |n| consumers(128, n));
    stay("a pipeline of 8 stages", 40_000, pipeline);
}

fn stay(name: &str, n: u64, program: fn(u64)) {
    let made = counts(|| program(n));
    println!("{name}: {} steals in {} hauls, {} runs, {n} messages", made.steals, made.hauls, made.runs);
    assert!(made.steals * 20 <= n, "{name}: more than 5 steals in 100 messages");
}

/// Sends messages until every thief has learnt that they are not worth a steal.
fn chatter() {
    for _ in 0..3 {
        consumers(0, 50_000);
    }
}

/// Runs for `time`, and lets other cores run under `-icount`.
fn compute(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        spin_loop();
    }
}

/// G's behind one that computes are taken by the other core, however shy its M is.
fn a_stuck_core_is_relieved() {
    chatter();
    let (ran, latest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for _ in 0..5 {
        let begin = Instant::now();
        for _ in 0..20 {
            let (ran, latest) = (ran.clone(), latest.clone());
            go(move || {
                latest.fetch_max(begin.elapsed().as_micros() as u64, SeqCst);
                ran.fetch_add(1, SeqCst);
                compute(Duration::from_micros(5));
            });
        }
        // Less than a slice: this core runs none of them.
        compute(Duration::from_millis(8));
    }
    println!("20 behind one that computes: the last began after {} µs", latest.load(SeqCst));
    assert_eq!(ran.load(SeqCst), 100, "they waited for this core");
    assert!(latest.load(SeqCst) <= 2_000, "the other core came late");
}

/// A pair that readies each other through the slot, and now and then one that waits in the ring
/// behind them.
fn a_chain_is_relieved_of_those_behind_it() {
    chatter();
    let (ran, latest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (ping, pong) = (chan::bounded::<()>(0), chan::bounded::<()>(0));
    let (ping_tx, pong_rx, did, last) = (ping.0, pong.1, ran.clone(), latest.clone());
    let pair = [
        go(move || {
            for _ in 0..10 {
                let begin = Instant::now();
                let (did, last) = (did.clone(), last.clone());
                go(move || {
                    last.fetch_max(begin.elapsed().as_micros() as u64, SeqCst);
                    did.fetch_add(1, SeqCst);
                });
                while begin.elapsed() < Duration::from_millis(5) {
                    ping_tx.send(()).unwrap();
                    pong_rx.recv().unwrap();
                }
            }
        }),
        go(move || ping.1.iter().for_each(|()| pong.0.send(()).unwrap())),
    ];
    pair.into_iter().for_each(|g| g.join().unwrap());
    println!("one behind a chain: it began after {} µs", latest.load(SeqCst));
    assert_eq!(ran.load(SeqCst), 10);
    assert!(latest.load(SeqCst) <= 2_000, "it waited for the end of the chain's slice");
}
