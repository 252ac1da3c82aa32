//! What the fast paths cost. Under `ICOUNT=1` (QEMU's `-icount shift=0`) the time-stamp counter counts instructions, one core
//! repeats exactly, and the figures are instructions; otherwise they are ticks.
#![no_std]
#![no_main]

use trefoil::prelude::*;
use trefoil::sync::{Mutex, WaitGroup};

trefoil::main!(main);

const N: u64 = 10_000;

/// Ticks that `f(N)` takes, for each of its N operations; the second of two runs, so that memory is warm.
fn measure(name: &str, f: impl Fn(u64)) {
    f(N);
    let begin = trefoil::time::ticks();
    f(N);
    let ticks = trefoil::time::ticks() - begin;
    println!("bench {name}: {}.{}", ticks / N, ticks * 10 / N % 10);
}

fn yields(n: u64) {
    // Two G's that yield to each other: n yields in all.
    let other = go(move || (0..n / 2).for_each(|_| runtime::yield_now()));
    (0..n / 2).for_each(|_| runtime::yield_now());
    other.join().unwrap();
}

fn rendezvous(n: u64) {
    let (to, ping) = chan::bounded::<u64>(0);
    let (back, pong) = chan::bounded::<u64>(0);
    let echo = go(move || ping.iter().for_each(|v| back.send(v).unwrap()));
    for i in 0..n {
        to.send(i).unwrap();
        pong.recv().unwrap();
    }
    drop(to);
    echo.join().unwrap();
}

fn buffered(n: u64) {
    let (tx, rx) = chan::bounded::<u64>(128);
    for i in 0..n {
        tx.send(i).unwrap();
        rx.recv().unwrap();
    }
}

fn spawn_join(n: u64) {
    for i in 0..n {
        assert_eq!(go(move || i).join().unwrap(), i);
    }
}

fn spawn_many(n: u64) {
    let wg = Arc::new(WaitGroup::new());
    wg.add(n as usize);
    for _ in 0..n {
        let wg = wg.clone();
        drop(go(move || wg.done()));
    }
    wg.wait();
}

fn mutex(n: u64) {
    let m = Mutex::new(0u64);
    (0..n).for_each(|_| *m.lock().unwrap() += 1);
}

fn main() {
    measure("yield", yields);
    measure("rendezvous round trip", rendezvous);
    measure("buffered send+recv", buffered);
    measure("spawn+join", spawn_join);
    measure("spawn 10000, wait, each", spawn_many);
    measure("mutex lock+unlock", mutex);
}
