//! Values of every size and alignment, every way that a value can go.
#![no_std]
#![no_main]

#[path = "support/stack.rs"]
mod stack;
mod support;
#[path = "support/values.rs"]
mod values;
#[path = "cases/ways.rs"]
mod ways;

use core::cell::RefCell;

use trefoil::prelude::*;
use ways::{every_way, in_a_local};

image! { "
    small_values_go_every_way  | timeout 60
    middle_values_go_every_way | timeout 60
    large_values_go_every_way  | timeout 100
";
    small_values_go_every_way, middle_values_go_every_way, large_values_go_every_way,
}

// Each size once and each alignment once, more or less: all of them with all of them would take minutes to compile.
values! {
    A1S1(1, 1), A256S64(256, 64), A1S257(1, 257), A512S1K(512, 1 << 10), A1024S1K(1024, 1 << 10),
    A4096S4K(4096, 4 << 10), A8192S1(8192, 1), A2048S20K(2048, 20 << 10), A32768S1(32768, 1), A32S60K(32, 60 << 10),
    A128S128K(128, 128 << 10), A16384S256K(16384, 256 << 10), A1S1M(1, 1 << 20),
}

macro_rules! sweep {
    ($($name:ident),*) => {
        $({
            goroutine_local! { static LOCAL: RefCell<Option<$name>> = const { RefCell::new(None) } }
            let begin = Instant::now();
            every_way::<$name>(stringify!($name));
            in_a_local::<$name>(&LOCAL);
            println!("{} {:?}", stringify!($name), begin.elapsed());
        })*
    };
}

fn small_values_go_every_way() {
    sweep!(A1S1, A256S64, A1S257, A512S1K, A1024S1K);
}

fn middle_values_go_every_way() {
    sweep!(A4096S4K, A8192S1, A2048S20K, A32768S1, A32S60K);
}

fn large_values_go_every_way() {
    sweep!(A128S128K, A16384S256K, A1S1M);
}
