//! Timers, memory, P's and the console.

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::*};

use trefoil::PreemptGuard;
use trefoil::prelude::*;

use super::contend;
use crate::Table;
use crate::deep::deep;

pub fn timers(t: &mut Table) {
    use time::{Ticker, Timer};
    t.row("sleep", || contend(10, || time::sleep(Duration::from_micros(20))));
    t.row("Timer, Ticker", || {
        let timer = Timer::new(Duration::from_micros(20));
        timer.receiver().recv().unwrap();
        timer.reset(Duration::from_secs(1));
        assert!(timer.stop());
        let called = Arc::new(AtomicU64::new(0));
        let also = called.clone();
        let timer = Timer::after_func(Duration::from_micros(20), move || _ = also.fetch_add(1, Relaxed));
        let ticker = Ticker::new(Duration::from_micros(20));
        (0..10).for_each(|_| _ = ticker.tick());
        ticker.reset(Duration::from_micros(50));
        ticker.tick();
        ticker.stop();
        assert_eq!(called.load(Relaxed), 1);
        drop(timer);
    });
    let mut many = Vec::with_capacity(100_000);
    t.row("100,000 timers are started", || {
        let when = |i: u64| Duration::from_secs(1000) + Duration::from_nanos(i * 7919 % 100_000);
        many.extend((0..100_000).map(|i| Timer::new(when(i))));
    });
    t.row("one among 100,000", || {
        contend(10, || time::sleep(Duration::from_micros(20)));
        let (_tx, rx) = chan::bounded::<u8>(0);
        (0..100).for_each(|_| assert!(rx.recv_timeout(Duration::from_micros(10)).is_err()));
        assert!(runtime::stats().timers >= 100_000);
    });
    t.row("100,000 timers are dropped", || drop(many));
    t.row("10,000 sleepers at once", || {
        let when = Instant::now() + Duration::from_millis(200);
        let all: Vec<_> = (0..10_000).map(|_| go(move || time::sleep_until(when))).collect();
        all.into_iter().for_each(|g| g.join().unwrap());
    });
    t.row("10,000 timers ring at once", || {
        let when = Instant::now() + Duration::from_millis(100);
        let all: Vec<_> = (0..10_000).map(|_| chan::at(when)).collect();
        all.iter().for_each(|rx| _ = rx.recv().unwrap());
    });
}

pub fn memory(t: &mut Table) {
    t.row("Vec grows to 16 MiB", || {
        let mut all = Vec::new();
        (0..2u64 << 20).for_each(|i| all.push(i));
        drop(black_box(all));
    });
    t.row("with_capacity of 600 MiB", || drop(black_box(Vec::<u8>::with_capacity(600 << 20))));
    t.row("a stack grows to 200 KiB", || assert_eq!(go(|| deep(200 << 10, 1)).join().unwrap(), 0));
    t.row("small blocks", || {
        let all: Vec<_> = (0..50_000usize).map(|i| vec![0u8; 8 << (i % 9)]).collect();
        drop(black_box(all));
    });
    // The blocks of a turn lie in as many slabs. In the last turn all the slabs go home, too.
    for (name, size, in_slab) in [("small blocks of many slabs", 16, 508), ("larger blocks of many slabs", 256, 31)] {
        let mut all: Vec<Option<Vec<u8>>> = (0..in_slab * 200).map(|_| Some(Vec::with_capacity(size))).collect();
        t.row(name, || {
            for first in 0..in_slab {
                all.iter_mut().skip(first).step_by(in_slab).for_each(|it| *it = None);
            }
        });
    }
    t.row("heap::trim", || {
        let all: Vec<_> = (0..5_000usize).map(|i| vec![0u8; 8 << (i % 9)]).collect();
        drop(black_box(all));
        trefoil::mm::heap::trim();
    });
    let mut holes: Vec<Option<Vec<u8>>> = Vec::with_capacity(40_000);
    t.row("20,000 holes are made", || {
        holes.extend((0..40_000).map(|_| Some(Vec::with_capacity(3000))));
        holes.iter_mut().step_by(2).for_each(|it| *it = None);
    });
    t.row("allocations amid 20,000 holes", || {
        for size in [3000, 3001, 4096, 5000, 9000, 20_000, 65_536] {
            (0..20).for_each(|_| drop(black_box(Vec::<u8>::with_capacity(size))));
        }
        let some: Vec<_> = (0..100).map(|_| Vec::<u8>::with_capacity(3000)).collect();
        drop(black_box(some));
    });
    t.row("20,000 holes go", || drop(holes));
    t.row("stats, goroutines", || {
        black_box(runtime::stats());
        black_box(runtime::goroutines());
        black_box(runtime::num_goroutines());
        black_box(runtime::args().count());
    });
    t.row("scavenge", || _ = runtime::scavenge());
}

const LATER: Duration = Duration::from_secs(1000);

pub fn procs(t: &mut Table) {
    let start = || {
        (0..10_000u64).map(|i| time::Timer::new(LATER + Duration::from_nanos(i * 7919 % 10_000))).collect::<Vec<_>>()
    };
    // On both P's: while this core is busy, the other one takes the goroutine.
    let here = start();
    let there = go(start);
    while !there.is_finished() {
        core::hint::spin_loop();
    }
    let there = there.join().unwrap();
    time::sleep(Duration::from_millis(5));
    t.row("set_max_procs, 10,000 timers on the P that goes", || assert_eq!(runtime::set_max_procs(1), 2));
    assert!(runtime::stats().timers >= 20_000);
    drop((here, there));
}

pub fn console(t: &mut Table) {
    t.row("println!", || (0..100).for_each(|i| println!("{i:090}")));
    t.row("println!, 20,000 bytes", || println!("{:020000}", 1));
    t.row("print! in pieces", || {
        (0..100).for_each(|i| print!("{i:050} "));
        println!();
    });
    t.row("println! by 20 at once", || contend(20, || println!("{:090}", 5)));
    t.row("log", trefoil::log::init);
    t.row("println! with a guard in hand", || {
        let _guard = PreemptGuard::new();
        println!("{:090}", 1);
    });
    t.row("stdin", || assert_eq!(runtime::stdin().count(), 10));
}

pub fn typing(t: &mut Table) {
    t.row("stdin, typed, beside println!", || {
        let printer = go(|| (0..100).for_each(|i| println!("{i:090}")));
        assert_eq!(runtime::stdin().count(), 50);
        printer.join().unwrap();
    });
}
