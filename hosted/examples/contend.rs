//! The channel's lock against a queue without one, on std threads: `cargo run --release -p
//! trefoil-hosted --example contend -- 2`. Figures are nanoseconds.

#[path = "../../kernel/examples/contend/contest.rs"]
mod contest;

mod api {
    pub use trefoil_hosted::prelude::*;
    pub use trefoil_sched::yield_now;

    /// Returns the time, in nanoseconds.
    pub fn ticks() -> u64 {
        Instant::now().as_nanos()
    }
}

use trefoil_hosted::{Config, run};

fn main() {
    let mut words = std::env::args().skip(1).map(|word| word.parse().expect("a number"));
    let (procs, values) = (words.next().unwrap_or(2), words.next().unwrap_or(1_000_000));
    run(Config::with_procs(procs as usize), move || contest::run_all(procs as usize, values)).unwrap();
}
