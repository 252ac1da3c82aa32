//! How fast input is read: counts the lines of the piped input, and the cost of a byte.
//!
//! `make run APP=flood < FILE`; with `ICOUNT=1` a nanosecond of work is an instruction. All of it
//! counts: the port's interrupts, the goroutine's parking and waking, the line made of the bytes.
#![no_std]
#![no_main]

use trefoil::prelude::*;

#[trefoil::main]
fn main() {
    let mut stdin = runtime::stdin();
    // The port is set up, and the sender has begun.
    let Some(first) = stdin.next() else { return println!("no input: make run APP=flood < FILE") };
    let (begin, before) = (Instant::now(), runtime::stats());
    let (mut lines, mut bytes) = (0u64, 0);
    for line in stdin {
        lines += 1;
        bytes += line.len() as u64 + 1;
    }
    let (took, after) = (begin.elapsed(), runtime::stats());
    let sum = |of: fn(&runtime::MStats) -> u64| of(&after.total()) - of(&before.total());
    let worked = sum(|m| m.up_ns) - sum(|m| m.idle_ns);
    let interrupts = after.interrupts.iter().sum::<u64>() - before.interrupts.iter().sum::<u64>();
    let bytes = bytes.max(1);
    println!("{} lines, {bytes} bytes after the first line in {took:?}", lines + u64::from(!first.is_empty()));
    println!("flood bytes a second: {}", bytes * 1_000_000_000 / (took.as_nanos() as u64).max(1));
    println!("flood nanoseconds of work a byte: {}", worked / bytes);
    println!("flood bytes an interrupt: {:.1}", bytes as f64 / interrupts.max(1) as f64);
    println!("flood pauses: {}", stdin.pauses());
    println!("flood overruns: {}", stdin.overruns());
}
