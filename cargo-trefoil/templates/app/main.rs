//! The program on the machine. The work is in the library, `lib.rs`.
#![no_std]
#![no_main]

extern crate trefoil_kernel as trefoil;

use trefoil::prelude::*;

#[trefoil::main]
fn main() {
    let sum = {{crate}}::sum_of_squares(5);
    println!("the sum of the first five squares is {sum}");
}
