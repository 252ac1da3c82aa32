//! Nobody holds a core: a loop without a call on every core, and beside them an echo of what is
//! typed.
//!
//! `make run APP=fair`, type, and end with Ctrl-D; or `echo hello | make run APP=fair`.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use trefoil::prelude::*;

static STOP: AtomicBool = AtomicBool::new(false);

/// Counts, and never gives the core away.
fn spin() -> u64 {
    let mut turns = 0;
    while !STOP.load(Relaxed) {
        turns = black_box(turns + 1);
    }
    turns
}

#[trefoil::main]
fn main() {
    let spinners: Vec<_> = (0..runtime::max_procs()).map(|_| go(spin)).collect();
    println!("{} loops on {} core(s); type something, Ctrl-D ends it", spinners.len(), runtime::max_procs());
    let before = runtime::stats();
    // Each loop has a turn.
    time::sleep(Duration::from_millis(50));
    let mut lines = 0;
    for line in runtime::stdin() {
        println!("> {line}");
        lines += 1;
    }
    STOP.store(true, Relaxed);
    let turns: Vec<u64> = spinners.into_iter().map(|s| s.join().unwrap()).collect();
    let after = runtime::stats();
    println!(
        "{lines} lines; {} preemptions; every loop ran: {}",
        after.total().preemptions - before.total().preemptions,
        turns.iter().all(|&t| t > 0)
    );
    println!("from ready to running: {:?}", after.latency().since(&before.latency()).ready);
    println!("bytes lost in the serial port: {}", runtime::stdin().overruns());
}
