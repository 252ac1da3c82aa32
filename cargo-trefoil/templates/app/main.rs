#![no_std]
#![no_main]

use trefoil::prelude::*;

trefoil::main!(main);

fn main() {
    let squares: Vec<_> = (1..=5u64).map(|n| go(move || n * n)).collect();
    let sum: u64 = squares.into_iter().map(|h| h.join().unwrap()).sum();
    println!("the sum of the first five squares is {sum}");
}
