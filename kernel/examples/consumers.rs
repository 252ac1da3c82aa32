//! How evenly one channel serves a hundred consumers, and the cost of a value: with slices of
//! several lengths, and with consumers that yield. Under `ICOUNT=1` the clock counts instructions,
//! and the figures repeat exactly: `ICOUNT=1 make run APP=consumers`.
#![no_std]
#![no_main]

use trefoil::prelude::*;

const CONSUMERS: usize = 100;
const VALUES: u64 = 200_000;

/// Sends all values to the consumers, each of which yields after every `turn` values. Prints how
/// many values a consumer got, and the time for one.
fn measure(name: &str, capacity: Option<usize>, turn: Option<u64>) {
    let (tx, rx) = capacity.map_or_else(chan::unbounded, chan::bounded);
    let consumers: Vec<_> = (0..CONSUMERS)
        .map(|_| {
            let rx = rx.clone();
            go(move || {
                let mut got = 0;
                for _ in &rx {
                    got += 1;
                    if turn.is_some_and(|turn| got % turn == 0) {
                        runtime::yield_now();
                    }
                }
                got
            })
        })
        .collect();
    drop(rx);
    // All of them come to wait.
    (0..3).for_each(|_| runtime::yield_now());
    let begin = Instant::now();
    (0..VALUES).for_each(|n| tx.send(n).unwrap());
    drop(tx);
    let mut shares: Vec<u64> = consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect();
    let each = begin.elapsed().as_nanos() as u64 / VALUES;
    shares.sort_unstable();
    assert_eq!(shares.iter().sum::<u64>(), VALUES);
    let (most, median, least) = (shares[CONSUMERS - 1], shares[CONSUMERS / 2], shares[0]);
    println!("{name}: most {most} median {median} least {least}, {each} ns a value");
}

#[trefoil::main]
fn main() {
    while runtime::num_cpus() < runtime::max_procs() {
        time::sleep(Duration::from_millis(1));
    }
    for (room, capacity) in [("bounded(0)", Some(0)), ("bounded(128)", Some(128)), ("unbounded", None)] {
        for slice in [10_000, 1_000, 100] {
            runtime::set_slice(Duration::from_micros(slice));
            measure(&format!("{room}, slice {slice}"), capacity, None);
        }
        runtime::set_slice(Duration::from_millis(10));
        for turn in [1, 16] {
            measure(&format!("{room}, turns of {turn}"), capacity, Some(turn));
        }
    }
}
