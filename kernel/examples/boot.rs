//! How many instructions lie between reset and `main`'s first statement. For `ICOUNT=1
//! MACHINE=microvm`, where the time-stamp counter starts at reset and counts instructions.
#![no_std]
#![no_main]

use trefoil::prelude::*;

#[trefoil::main]
fn main() {
    let ticks = trefoil::time::ticks();
    println!("boot: instructions from reset to main: {ticks}");
}
