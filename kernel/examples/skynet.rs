//! A tree of goroutines, ten children to a node; every leaf sends its number up, every node the sum
//! of its children. `skynet 1000000` for the size that others publish.
#![no_std]
#![no_main]

use trefoil::prelude::*;

fn node(up: &Sender<u64>, first: u64, leaves: u64) {
    if leaves == 1 {
        return up.send(first).unwrap();
    }
    let (tx, rx) = chan::bounded(10);
    let share = leaves / 10;
    for child in 0..10 {
        let tx = tx.clone();
        drop(go(move || node(&tx, first + child * share, share)));
    }
    up.send((0..10).map(|_| rx.recv().unwrap()).sum()).unwrap();
}

#[trefoil::main]
fn main() {
    let leaves: u64 = runtime::args().next().and_then(|a| a.parse().ok()).unwrap_or(100_000);
    if leaves.checked_ilog10().is_none_or(|digits| 10u64.pow(digits) != leaves) {
        println!("skynet: the number of leaves must be a power of ten, not {leaves}");
        runtime::exit(1);
    }
    let begin = Instant::now();
    let (tx, rx) = chan::bounded(1);
    drop(go(move || node(&tx, 0, leaves)));
    let sum = rx.recv().unwrap();
    let took = begin.elapsed();

    assert_eq!(sum, leaves * (leaves - 1) / 2);
    println!("the sum of 0 to {} is {sum}; {took:?}, {:?} a leaf", leaves - 1, took / leaves as u32);
    for m in &runtime::stats().ms {
        println!("M{}: {} runs, {} steals, {} parks", m.m, m.runs, m.steals, m.parks);
    }
}
