//! One bad goroutine among a thousand good ones: it recurses without end, and dies alone. Its
//! joiner learns why, the others' results are right, and the memory is back.
#![no_std]
#![no_main]

use core::hint::black_box;

use trefoil::JoinError;
use trefoil::prelude::*;

const GOOD: u64 = 1_000;
/// Levels of a good one's recursion: three or four pages of stack.
const LEVELS: u64 = 40;

/// Makes a step of the checksum.
fn mix(sum: u64, seed: u64) -> u64 {
    (sum ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// Makes the checksum the hard way: every level keeps its seed on the stack while others run, and
/// adds it on the way back.
#[inline(never)]
fn checksum(seed: u64, levels: u64) -> u64 {
    let kept = black_box([seed; 32]);
    runtime::yield_now();
    let below = if levels == 1 { 0 } else { checksum(seed + 1, levels - 1) };
    mix(below, kept[31])
}

/// Makes the same checksum without a stack.
fn expected(seed: u64) -> u64 {
    (seed..seed + LEVELS).rev().fold(0, mix)
}

/// Recurses, and never comes back.
#[inline(never)]
fn recurse(level: u64) -> u64 {
    let kept = black_box([level; 32]);
    if kept[0] == u64::MAX { 0 } else { recurse(level + 1) + kept[31] }
}

#[trefoil::main]
fn main() {
    let before = runtime::stats().memory;
    let good: Vec<_> = (0..GOOD).map(|i| go(move || checksum(i * LEVELS, LEVELS))).collect();
    let bad = Builder::new().name("bad").spawn(|| recurse(0)).unwrap();

    match bad.join() {
        Err(error @ JoinError::StackOverflow) => println!("its joiner got: {error}"),
        other => panic!("the bad one: {other:?}"),
    }
    let most = runtime::stats().memory.stacks.pages;
    let right =
        good.into_iter().zip(0..).filter_map(|(g, i)| (g.join().unwrap() == expected(i * LEVELS)).then_some(i)).count();
    println!("{right} of {GOOD} others have the right checksum");

    runtime::scavenge();
    let after = runtime::stats().memory;
    // Each P keeps up to 64 for its next goroutines.
    println!("pages of stacks: {} before, {most} when it died, {} now", before.stacks.pages, after.stacks.pages);
    println!("goroutines: {}; abandoned: {}", runtime::num_goroutines(), after.abandoned);
}
