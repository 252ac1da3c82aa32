//! Values of every size and alignment, every way that a value can go.
#![no_std]
#![no_main]

#[path = "support/deep.rs"]
mod deep;
mod support;
#[path = "support/values.rs"]
mod values;
#[path = "cases/ways/mod.rs"]
mod ways;

use core::cell::RefCell;

use trefoil::prelude::*;
use ways::{every_way, in_a_local};

image! {
    small_values_go_every_way: "timeout 60";
    middle_values_go_every_way: "timeout 60";
    large_values_go_every_way: "timeout 100";
    all_sizes_go_every_way: "large | smp 1,2,4 | timeout 900";
}

// Each size once and each alignment once, more or less: all of them with all of them would take
// minutes to compile.
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

/// More types, which take minutes to compile: `VALUES=whole cargo test -p trefoil --test values --
/// --ignored`.
const WHOLE: bool = option_env!("VALUES").is_some();

values! {
    W2S1(2, 1), W64S1(64, 1), W4096S1(4096, 1), W32768S1(32768, 1),
    W2S64(2, 64), W64S64(64, 64), W4096S64(4096, 64), W32768S64(32768, 64),
    W2S1K(2, 1 << 10), W64S1K(64, 1 << 10), W4096S1K(4096, 1 << 10), W32768S1K(32768, 1 << 10),
    W2S4K(2, 4 << 10), W64S4K(64, 4 << 10), W4096S4K(4096, 4 << 10), W32768S4K(32768, 4 << 10),
    W2S20K(2, 20 << 10), W64S20K(64, 20 << 10), W4096S20K(4096, 20 << 10), W32768S20K(32768, 20 << 10),
    W2S60K(2, 60 << 10), W64S60K(64, 60 << 10), W4096S60K(4096, 60 << 10), W32768S60K(32768, 60 << 10),
    W2S128K(2, 128 << 10), W64S128K(64, 128 << 10), W4096S128K(4096, 128 << 10), W32768S128K(32768, 128 << 10),
    W2S256K(2, 256 << 10), W64S256K(64, 256 << 10), W4096S256K(4096, 256 << 10), W32768S256K(32768, 256 << 10),
    W2S512K(2, 512 << 10), W64S512K(64, 512 << 10), W4096S512K(4096, 512 << 10), W32768S512K(32768, 512 << 10),
    W2S1M(2, 1 << 20), W64S1M(64, 1 << 20), W4096S1M(4096, 1 << 20), W32768S1M(32768, 1 << 20),
}

fn all_sizes_go_every_way() {
    if const { WHOLE } {
        sweep!(W2S1, W64S1, W4096S1, W32768S1, W2S64, W64S64, W4096S64, W32768S64);
        sweep!(W2S1K, W64S1K, W4096S1K, W32768S1K, W2S4K, W64S4K, W4096S4K, W32768S4K);
        sweep!(W2S20K, W64S20K, W4096S20K, W32768S20K, W2S60K, W64S60K, W4096S60K, W32768S60K);
        sweep!(W2S128K, W64S128K, W4096S128K, W32768S128K, W2S256K, W64S256K, W4096S256K, W32768S256K);
        sweep!(W2S512K, W64S512K, W4096S512K, W32768S512K, W2S1M, W64S1M, W4096S1M, W32768S1M);
    } else {
        println!("not compiled: set VALUES=whole");
    }
}
