//! An interrupt at every instruction: a preemption or a wake-up in the middle of any scheduler code
//! changes nothing.
//!
//! Each operation is run with the n-th of its instructions interrupted, for n = 1, 2, 3… until it
//! has fewer (`arch/x86_64/step.rs`), and its result checked each time. All of them take minutes
//! (`make test-large`). `app.step=S` takes every S-th of them, and each kind of interrupt begins at
//! another one.
#![no_std]
#![no_main]

mod support;

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use trefoil::arch::landing;
use trefoil::panic;
use trefoil::prelude::*;
use trefoil::sync::{Mutex, WaitGroup};
use trefoil::testing::step::{self, Event};

image! {
    yields:
        "smp 1,2 | append slice=200000 wakeup=200000 app.step=7",
        "large | smp 1,2 | append slice=200000 wakeup=200000 | timeout 600";
    parks_and_readies:
        "smp 1,2 | append slice=200000 wakeup=200000 app.step=7",
        "large | smp 1,2 | append slice=200000 wakeup=200000 | timeout 600";
    sends_and_receives:
        "smp 1,2 | append slice=200000 wakeup=200000 app.step=7",
        "large | smp 1,2 | append slice=200000 wakeup=200000 | timeout 600";
    a_contended_mutex:
        "smp 1,2 | append slice=200000 wakeup=200000 app.step=7",
        "large | smp 1,2 | append slice=200000 wakeup=200000 | timeout 600";
    spawns_and_exits:
        "smp 1,2 | append slice=200000 wakeup=200000 app.step=7",
        "large | smp 1,2 | append slice=200000 wakeup=200000 | timeout 600";
    pins_and_guards:
        "smp 1,2 | append slice=200000 wakeup=200000 app.step=7",
        "large | smp 1,2 | append slice=200000 wakeup=200000 | timeout 600";
    blocks_in_place:
        "smp 1,2 | append slice=200000 wakeup=200000 app.step=7",
        "large | smp 1,2 | append slice=200000 wakeup=200000 | timeout 600";
    allocations:
        "smp 1,2 | append slice=200000 wakeup=200000 app.step=7",
        "large | smp 1,2 | append slice=200000 wakeup=200000 | timeout 600";
    steals:
        "smp 2 | append slice=200000 wakeup=200000 app.step=7",
        "large | smp 2 | append slice=200000 wakeup=200000 | timeout 600";
    unwinds: "smp 1,2 | append slice=200000 wakeup=200000";
}

/// All there is. `Again` steps the preemption's own path.
const ALL: [Event; 4] = [Event::Preempt, Event::Timer, Event::Wake, Event::Again];

/// So many boundaries with two cores.
const ENOUGH: u64 = 800;

/// Returns how many boundaries each step goes on.
fn stride() -> u64 {
    runtime::args().find_map(|word| word.strip_prefix("step=")?.parse().ok()).unwrap_or(1)
}

/// Interrupts every instruction of `op`. On one core there have to be `least` of them, or nothing
/// was stepped.
fn every(what: &str, events: &[Event], least: u64, op: impl Fn()) {
    every_by(|n, event, op| step::run(n, event, op), what, events, least, stride(), &op);
}

/// Does what [`every`] does by `run`, and goes on by `step` of the boundaries that `run` counts.
fn every_by(
    run: impl Fn(u64, Event, &dyn Fn()) -> bool,
    what: &str,
    events: &[Event],
    least: u64,
    step: u64,
    op: &dyn Fn(),
) {
    static STOP: AtomicBool = AtomicBool::new(false);
    static TURNS: AtomicU64 = AtomicU64::new(0);
    STOP.store(false, SeqCst);
    // Somebody always waits for the core; with a second one, that one has work, too.
    let bystanders: Vec<_> = (0..2 * runtime::max_procs() - 1)
        .map(|_| {
            go(|| {
                while !STOP.load(Relaxed) {
                    TURNS.fetch_add(1, Relaxed);
                    // Behind all others, those on the global queue included.
                    drop(trefoil_sched::preempt(trefoil_sched::PreemptGuard::new()));
                }
            })
        })
        .collect();
    // Memory is warm, and a slice can be over.
    op();
    time::sleep(runtime::slice().saturating_sub(Duration::from_nanos(time::Instant::now().as_nanos())));
    for &event in events {
        let (open, before, turns) = (step::open(), runtime::stats().total(), TURNS.load(SeqCst));
        let (mut n, mut fired, mut missed) = (1 + event as u64 % step, 0, 0);
        // With two cores the operation may go on where it is not stepped, and the steps where it is
        // not: neither says anything about its length.
        while missed < 5 && (runtime::max_procs() == 1 || n < ENOUGH) {
            if run(n, event, op) {
                (fired, missed) = (fired + 1, 0);
            } else {
                missed += 1;
            }
            n += step;
        }
        let (length, open) = (n.saturating_sub((missed + 1) * step), step::open() - open);
        let after = runtime::stats().total();
        let preempted = (after.preemptions - before.preemptions).saturating_sub(TURNS.load(SeqCst) - turns);
        println!("{what}, {event:?}: {fired} of {length} boundaries, {open} of them open, {preempted} preemptions");
        if runtime::max_procs() == 1 {
            assert!(length >= least, "only {length} boundaries");
            assert!(open * step >= 10, "only {open} of {fired} were open");
            assert!(event == Event::Wake || preempted >= open, "{preempted} preemptions at {open} boundaries");
            assert!(event != Event::Timer || after.timer_interrupts - before.timer_interrupts >= fired * 9 / 10);
        }
    }
    STOP.store(true, SeqCst);
    bystanders.into_iter().for_each(|b| b.join().unwrap());
    assert!(TURNS.load(SeqCst) > 0);
}

fn yields() {
    let n = AtomicU64::new(0);
    every("yield", &ALL, 100, || {
        runtime::yield_now();
        n.fetch_add(1, Relaxed);
    });
    assert!(n.load(Relaxed) * stride() > 400);
}

/// A rendezvous there and back: two parks and two readies.
fn parks_and_readies() {
    let (to, ping) = chan::bounded::<u64>(0);
    let (back, pong) = chan::bounded::<u64>(0);
    let echo = go(move || ping.iter().map(|v| back.send(v + 1).unwrap()).count());
    let n = AtomicU64::new(0);
    every("rendezvous", &ALL, 400, || {
        let i = n.fetch_add(1, Relaxed);
        to.send(i).unwrap();
        assert_eq!(pong.recv(), Ok(i + 1));
    });
    drop(to);
    assert_eq!(echo.join().unwrap() as u64, n.load(Relaxed));
}

fn sends_and_receives() {
    let (tx, rx) = chan::bounded::<[u64; 9]>(4);
    every("buffered send and recv", &ALL[..3], 100, || {
        tx.send([7; 9]).unwrap();
        assert_eq!((rx.recv(), rx.len()), (Ok([7; 9]), 0));
    });
}

fn a_contended_mutex() {
    static SUM: Mutex<(u64, u64)> = Mutex::new((0, 0));
    static ROUNDS: AtomicU64 = AtomicU64::new(0);
    static STOP: AtomicBool = AtomicBool::new(false);
    let add = || {
        let mut sum = SUM.lock().unwrap();
        let (a, b) = *sum;
        assert_eq!(a, b);
        *sum = (a + 1, b);
        // The other one comes, and waits.
        runtime::yield_now();
        *sum = (a + 1, b + 1);
        ROUNDS.fetch_add(1, Relaxed);
    };
    let other = go(move || {
        while !STOP.load(Relaxed) {
            add();
            runtime::yield_now();
        }
    });
    every("contended mutex", &[Event::Preempt, Event::Timer, Event::Wake], 200, add);
    STOP.store(true, SeqCst);
    other.join().unwrap();
    assert_eq!(*SUM.lock().unwrap(), (ROUNDS.load(SeqCst), ROUNDS.load(SeqCst)));
}

fn spawns_and_exits() {
    every("spawn, exit and join", &[Event::Timer, Event::Wake], 400, || {
        let kept = black_box([3u64; 5]);
        assert_eq!(go(move || kept.iter().sum::<u64>()).join().unwrap(), 15);
    });
}

fn pins_and_guards() {
    every("pin and guard", &[Event::Timer], 100, || {
        let pin = runtime::pin();
        let here = runtime::core();
        runtime::yield_now();
        {
            let _outer = trefoil::PreemptGuard::new();
            let _inner = trefoil::PreemptGuard::new();
            assert_eq!(runtime::core(), here);
        }
        assert_eq!(runtime::core(), here);
        drop(pin);
    });
}

fn blocks_in_place() {
    every("block in place", &[Event::Timer, Event::Wake], 100, || {
        assert_eq!(runtime::block_in_place(|| black_box(5)), 5);
    });
}

fn allocations() {
    every("allocations", &[Event::Preempt, Event::Timer], 200, || {
        let mut list: Vec<u64> = Vec::with_capacity(3);
        (0..7).for_each(|i| list.push(i));
        // Of the kind that is not from a magazine.
        let large = Vec::<u64>::with_capacity(300);
        assert!(large.capacity() >= 300 && list.iter().sum::<u64>() == 21);
    });
}

/// The other core has work that nobody runs: this one finds it.
fn steals() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static STARTED: AtomicU64 = AtomicU64::new(0);
    const WORK: usize = 3;
    while runtime::cpus_started() < 2 {
        runtime::yield_now();
    }
    let _pin = runtime::pin();
    let (wanted, orders) = chan::bounded::<Arc<WaitGroup>>(1);
    let source = Builder::new()
        .pin(1 - runtime::core())
        .spawn(move || {
            while !STOP.load(Relaxed) {
                let Ok(wg) = orders.try_recv() else { continue };
                for _ in 0..WORK {
                    let wg = wg.clone();
                    drop(go(move || wg.done()));
                }
                STARTED.fetch_add(1, SeqCst);
                // This G never leaves its core, so only other cores can run the G's that it has
                // started.
            }
        })
        .unwrap();
    let (step, mut rounds, mut steals) = (stride(), 0, 0);
    for event in [Event::Timer, Event::Wake] {
        let (mut n, mut missed) = (1 + event as u64 % step, 0);
        while missed < 5 && n < 2 * ENOUGH {
            n += step;
            rounds += 1;
            let before = runtime::stats().total().steals;
            let wg = Arc::new(WaitGroup::new());
            wg.add(WORK);
            wanted.send(wg.clone()).unwrap();
            while STARTED.load(SeqCst) < rounds {
                black_box(());
            }
            missed = if step::run(n, event, || wg.wait()) { 0 } else { missed + 1 };
            steals += runtime::stats().total().steals - before;
        }
        println!("steal, {event:?}: {n} boundaries");
        assert!(n > 300, "only {n} boundaries");
    }
    println!("{steals} stolen in {rounds} rounds");
    assert!(steals > rounds, "{steals} stolen in {rounds} rounds");
    STOP.store(true, SeqCst);
    source.join().unwrap();
}

/// The unwinder's last step, into a destructor and into a catch. The values that the step is about
/// to load lie where a preemption would put its frame.
fn unwinds() {
    static DROPS: AtomicU64 = AtomicU64::new(0);
    static ROUNDS: AtomicU64 = AtomicU64::new(0);

    struct Kept([u64; 4]);

    impl Drop for Kept {
        fn drop(&mut self) {
            assert_eq!(self.0, [3; 4]);
            DROPS.fetch_add(1, Relaxed);
        }
    }

    /// Raises a panic. Not inlined into the function that catches it: that would be one step for
    /// both.
    #[inline(never)]
    fn below() -> u64 {
        let kept = Kept(black_box([3; 4]));
        if black_box(true) {
            panic::resume_unwind(Box::new(7u64));
        }
        kept.0[0]
    }

    let places: Vec<u64> = landing::places().collect();
    // After a raise, and after each destructor.
    let places = places.try_into().unwrap_or_else(|places| panic!("at {places:x?}, instead of two places"));
    let run = |n, event, op: &dyn Fn()| step::run_in(places, landing::BYTES, n, event, op);
    every_by(run, "unwinding", &ALL[..3], 2 * 19, 1, &|| {
        let seen = black_box([5u64; 4]);
        let payload = panic::catch_unwind(below);
        assert_eq!(payload.unwrap_err().downcast_ref(), Some(&7u64));
        assert_eq!((seen, ROUNDS.fetch_add(1, Relaxed) + 1), ([5; 4], DROPS.load(Relaxed)));
    });
}
