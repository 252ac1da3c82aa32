//! Tests that boot the machine, once for each test and number of cores.
#![no_std]
#![no_main]

extern crate trefoil_kernel as trefoil;

use trefoil::prelude::*;

#[trefoil::test(smp = [1, 4], mem = "128M")]
fn squares_are_added_on_the_machine() {
    assert!(runtime::max_procs() >= 1);
    assert_eq!({{crate}}::sum_of_squares(100), 338_350);
}
