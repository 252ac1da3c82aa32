//! The concurrent prime sieve: a chain of goroutines, each of which lets pass what its prime does
//! not divide.
#![no_std]
#![no_main]

use trefoil::prelude::*;

/// Sends 2, 3, 4, … until nobody listens any more.
fn generate(to: Sender<u64>) {
    let mut n = 2;
    while to.send(n).is_ok() {
        n += 1;
    }
}

/// Passes on what `prime` does not divide.
fn filter(from: Receiver<u64>, to: Sender<u64>, prime: u64) {
    for n in from.iter().filter(|n| !n.is_multiple_of(prime)) {
        if to.send(n).is_err() {
            return;
        }
    }
}

#[trefoil::main]
fn main() {
    let count: usize = runtime::args().next().and_then(|a| a.parse().ok()).unwrap_or(100);
    let (to, mut from) = chan::bounded(0);
    drop(go(move || generate(to)));
    for i in 1..=count {
        let prime = from.recv().unwrap();
        print!("{prime}{}", if i % 10 == 0 || i == count { '\n' } else { ' ' });
        let (to, next) = chan::bounded(0);
        let before = core::mem::replace(&mut from, next);
        drop(go(move || filter(before, to, prime)));
    }
}
