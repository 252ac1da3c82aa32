//! Stages joined by bounded channels: a fast stage waits for a slow one, and closing flows from the
//! source to the sink.
#![no_std]
#![no_main]

use trefoil::prelude::*;

const ITEMS: u64 = 2_000;
const WORKERS: usize = 8;

/// Counts the Collatz steps from `n` to 1, which takes a while.
fn collatz(mut n: u64) -> u64 {
    let mut steps = 0;
    while n != 1 {
        n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}

#[trefoil::main]
fn main() {
    // Source → workers → sink. Each channel holds a few items, so nobody runs far ahead.
    let (source, work) = chan::bounded::<u64>(16);
    let (results, sink) = chan::bounded::<(u64, u64)>(16);

    drop(go(move || (1..=ITEMS).for_each(|n| source.send(n).unwrap())));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (work, results) = (work.clone(), results.clone());
            go(move || {
                let mut done = 0;
                for n in &work {
                    results.send((collatz(n), n)).unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    drop(results); // the workers hold the other senders: the sink ends when the last of them does

    let (steps, n) = sink.iter().max().unwrap();
    println!("of 1 to {ITEMS}, {n} takes the most steps to reach 1: {steps}");
    for (i, worker) in workers.into_iter().enumerate() {
        println!("worker {i} did {}", worker.join().unwrap());
    }
}
