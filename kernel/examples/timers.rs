//! How late goroutines wake up. Under `ICOUNT=1` a nanosecond is an instruction, and the figures repeat exactly.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use trefoil::prelude::*;

trefoil::main!(main);

/// How late 1,000 sleeps of a millisecond end.
fn lateness(name: &str) {
    let mut late: Vec<u64> = (0..1000)
        .map(|_| {
            let due = Instant::now() + Duration::from_millis(1);
            time::sleep_until(due);
            (Instant::now() - due).as_nanos() as u64
        })
        .collect();
    late.sort_unstable();
    println!("{name}: p50 {} ns, p99 {} ns, max {} ns", late[500], late[990], late[999]);
}

fn main() {
    // Past what boot has put off.
    time::sleep(Duration::from_millis(600));
    lateness("sleeper on an idle core");
    static STOP: AtomicBool = AtomicBool::new(false);
    let spinner = go(|| {
        while !STOP.load(Relaxed) {
            black_box(());
        }
    });
    lateness("sleeper beside a spinning goroutine");
    STOP.store(true, Relaxed);
    spinner.join().unwrap();
}
