//! The smallest program: a channel, a goroutine, and the machine stops when `main` returns.
#![no_std]
#![no_main]

use trefoil::prelude::*;

#[trefoil::main]
fn main() {
    let (tx, rx) = chan::bounded(0);
    let greeter = go(move || {
        for word in ["hello", "from", "a", "goroutine"] {
            tx.send(word).unwrap();
        }
    });
    for word in &rx {
        print!("{word} ");
    }
    println!("on {} core(s)", runtime::num_cpus());
    greeter.join().unwrap();
}
