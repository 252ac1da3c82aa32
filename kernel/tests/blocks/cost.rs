//! The cost of a large block: to its caller in instructions, to a sleeper in lateness.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::*};

use trefoil::prelude::*;
use trefoil::time::ticks;

use crate::{MIB, Sieve, fill_runs, is_run};

/// Instructions that an allocation or a free may take. Without optimisation it is longer than what
/// ships (500: see `bench`).
const MOST: u64 = if cfg!(debug_assertions) { 1000 } else { 500 };
/// The same for one that takes a new arena, or gives one back.
const MOST_EVER: u64 = 2 * MOST + 500;

/// Measures the average and the longest time of an allocation, and of a free, of `len` bytes.
fn costs(len: usize) -> [(u64, u64); 2] {
    const N: u64 = 50;
    let mut blocks = Vec::with_capacity(N as usize);
    let mut sums = [(0, 0); 2];
    let add = |sum: &mut (u64, u64), took: u64| *sum = (sum.0 + took, sum.1.max(took));
    for _ in 0..N {
        let begin = ticks();
        let block = black_box(Vec::<u8>::with_capacity(len));
        add(&mut sums[0], ticks() - begin);
        blocks.push(block);
    }
    while let Some(block) = blocks.pop() {
        let begin = ticks();
        drop(black_box(block));
        add(&mut sums[1], ticks() - begin);
    }
    sums.map(|(sum, longest)| (sum / N, longest))
}

pub fn blocks_cost_the_same_amid_holes() {
    const LENGTHS: [usize; 12] = [2049, 3000, 4000, 4096, 5000, 8192, 12_000, 20_000, 32 << 10, 50_000, 64 << 10, MIB];
    // Every second of them goes: 20,000 holes of each length.
    let mut holes: Vec<Vec<u8>> = Vec::with_capacity(80_000);
    let before = LENGTHS.map(costs);
    for len in [3000, 4096] {
        holes.extend((0..40_000).map(|_| Vec::with_capacity(len)));
    }
    let mut number = 0;
    holes.retain(|_| {
        number += 1;
        number % 2 == 0
    });
    let after = LENGTHS.map(costs);
    for ((len, before), after) in LENGTHS.into_iter().zip(before).zip(after) {
        println!("{len} bytes: {before:?} without holes, {after:?} amid 40,000 (alloc, free: average, longest)");
        for ((before, _), (average, longest)) in before.into_iter().zip(after) {
            assert!(average <= MOST && longest <= MOST_EVER, "{len} bytes: {average}, at most {longest} instructions");
            assert!(average <= before * 3 / 2, "{len} bytes: {before} instructions without holes, {average} amid them");
        }
    }
    // A block that grows looks behind itself, and no further.
    let mut block = Vec::<u8>::with_capacity(4096);
    let begin = ticks();
    block.reserve_exact(8192);
    let took = ticks() - begin;
    assert!(took <= 3 * MOST + 4096, "{took} instructions to move 4 KiB");
}

/// Measures how late a goroutine is at most, in ns, that sleeps 1 ms again and again while `f`
/// runs.
fn latest_sleeper(f: impl FnOnce()) -> u64 {
    static STOP: AtomicBool = AtomicBool::new(false);
    STOP.store(false, Relaxed);
    let sleeper = go(|| {
        let mut latest = 0;
        while !STOP.load(Relaxed) {
            let begin = Instant::now();
            time::sleep(Duration::from_millis(1));
            latest = latest.max(begin.elapsed().as_nanos() as u64 - 1_000_000);
        }
        latest
    });
    time::sleep(Duration::from_millis(2));
    f();
    STOP.store(true, Relaxed);
    sleeper.join().unwrap()
}

/// 0.2 ms.
const LATE: u64 = 200_000;

pub fn a_sleeper_is_on_time_beside_600_mib() {
    let late = latest_sleeper(|| {
        let begin = Instant::now();
        for _ in 0..20 {
            drop(black_box(Vec::<u8>::with_capacity(600 * MIB)));
        }
        let took = begin.elapsed();
        assert!(took < Duration::from_millis(1), "600 MiB take {took:?}: something goes over all of them");
    });
    assert!(late < LATE, "{late} ns late beside `with_capacity`");
    let late = latest_sleeper(|| {
        let zeros = vec![0u64; 300 * MIB / 8];
        assert!(zeros.iter().step_by(500).all(|&word| word == 0));
    });
    assert!(late < LATE, "{late} ns late while memory is cleared");
    let late = latest_sleeper(|| {
        let mut block = vec![1u8; 200 * MIB];
        // `behind` keeps the block from growing in place.
        let behind = Vec::<u8>::with_capacity(MIB);
        block.reserve_exact(300 * MIB);
        drop(behind);
        assert!(block.iter().step_by(5000).all(|&byte| byte == 1));
    });
    assert!(late < LATE, "{late} ns late while a block is copied");
}

pub fn a_sleeper_is_on_time_beside_scattered_blocks() {
    let sieve = Sieve::new();
    let fill = fill_runs();
    let mut scattered = false;
    let late = latest_sleeper(|| {
        for _ in 0..10 {
            let mut block = Vec::<u8>::with_capacity(16 * MIB);
            scattered = !is_run(&block);
            block.resize(16 * MIB, 3);
        }
    });
    assert!(scattered, "a run of 16 MiB was left");
    assert!(late < LATE, "{late} ns late");
    drop((fill, sieve));
}
