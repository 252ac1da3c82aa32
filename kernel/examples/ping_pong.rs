//! Two goroutines hand a number back and forth. On one P the pair runs through `runnext`: no
//! wake-up, no other core.
#![no_std]
#![no_main]

use trefoil::prelude::*;

#[trefoil::main]
fn main() {
    let rounds: u64 = runtime::args().next().and_then(|a| a.parse().ok()).unwrap_or(10_000);
    let (to_pong, ping) = chan::bounded::<u64>(0);
    let (to_ping, pong) = chan::bounded::<u64>(0);
    let ponger = go(move || {
        for n in &ping {
            to_ping.send(n + 1).unwrap();
        }
    });

    let begin = Instant::now();
    let mut n = 0;
    while n < rounds {
        to_pong.send(n).unwrap();
        n = pong.recv().unwrap();
    }
    let took = begin.elapsed();
    drop(to_pong);
    ponger.join().unwrap();

    let total = runtime::stats().total();
    println!("{rounds} round trips in {took:?}: {:?} each", took / rounds as u32);
    println!("{} wake-ups sent to other cores, {} G's stolen", total.wakes_sent, total.steals);
}
