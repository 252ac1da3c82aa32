//! The cost of preemption: two goroutines that never leave their core, with slices from 5 µs to 1
//! ms. Under `ICOUNT=1` the clock counts instructions, and the figures repeat exactly:
//! `ICOUNT=1 make run APP=slices`.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use trefoil::prelude::*;

/// How long each is measured.
const TIME: Duration = Duration::from_millis(20);

static STOP: AtomicBool = AtomicBool::new(false);
static TURNS: AtomicU64 = AtomicU64::new(0);

/// Spins in a loop without a call.
fn spin() {
    let mut turns = 0u64;
    while !STOP.load(Relaxed) {
        turns += 1;
        black_box(turns);
    }
    TURNS.fetch_add(turns, Relaxed);
}

/// Lets `n` G's spin for [`TIME`], with slices of `slice`. Returns their turns, the preemptions and
/// the ticks.
fn measure(n: usize, slice: Duration) -> (u64, u64, u64) {
    runtime::set_slice(slice);
    STOP.store(false, Relaxed);
    TURNS.store(0, Relaxed);
    let before = runtime::stats().total().preemptions;
    let begin = time::ticks();
    let spinners: Vec<_> = (0..n).map(|_| go(spin)).collect();
    time::sleep(TIME);
    STOP.store(true, Relaxed);
    let ticks = time::ticks() - begin;
    let preemptions = runtime::stats().total().preemptions - before;
    spinners.into_iter().for_each(|s| s.join().unwrap());
    (TURNS.load(Relaxed), preemptions, ticks)
}

#[trefoil::main]
fn main() {
    // `main` sleeps, so that it wakes up beside them once.
    runtime::set_max_procs(1);
    let (alone, _, alone_ticks) = measure(1, Duration::from_millis(10));
    println!("slice µs   preemptions   instructions each   overhead");
    for slice in [5, 20, 50, 100, 1000] {
        let (turns, preemptions, ticks) = measure(2, Duration::from_micros(slice));
        // The ticks that were not spent on turns.
        let lost = ticks.saturating_sub(turns * alone_ticks / alone.max(1));
        let tenths = lost * 1000 / ticks;
        println!("{slice:>8} {preemptions:>13} {:>19} {:>8}.{} %", lost / preemptions.max(1), tenths / 10, tenths % 10);
    }
}
