//! The channel's lock against a queue without one, under contention: `make run APP=contend SMP=2`.
//! Under `ICOUNT=1` the figures are instructions. `cargo run --release -p trefoil-hosted --example
//! contend -- 2` runs the same on the host's cores.
#![no_std]
#![no_main]

mod contest;

mod api {
    pub use trefoil::prelude::*;
    pub use trefoil::runtime::yield_now;
    pub use trefoil::time::ticks;
}

use api::*;

#[trefoil::main]
fn main() {
    while runtime::cpus_started() < runtime::max_procs() {
        time::sleep(Duration::from_millis(1));
    }
    let values = runtime::args().next().and_then(|word| word.parse().ok()).unwrap_or(50_000);
    contest::run_all(runtime::max_procs(), values);
}
