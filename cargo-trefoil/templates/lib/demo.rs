//! Shows what the library does.
#![no_std]
#![no_main]

use trefoil::prelude::*;

trefoil::main!(main);

fn main() {
    println!("the sum of the first five squares is {}", {{crate}}::sum_of_squares(5));
}
