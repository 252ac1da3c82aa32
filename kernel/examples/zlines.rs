//! x
#![no_std]
#![no_main]
use trefoil::prelude::*;
trefoil::main!(main);
fn main() {
    for n in [20usize, 100, 1000] {
        let text = "x".repeat(n - 1);
        let begin = trefoil::time::ticks();
        for _ in 0..1000 {
            println!("{text}");
        }
        let took = trefoil::time::ticks() - begin;
        let begin = Instant::now();
        for _ in 0..1000 {
            println!("{text}");
        }
        let ns = begin.elapsed();
        println!("RESULT {n} bytes: {} a line; {ns:?}", took / 1000);
    }
}
