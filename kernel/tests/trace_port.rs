//! The port that traces leave by, and how fast it is. Only in an image that has a recorder: `make
//! trace-port` shows the figures. The host looks at the bytes: `cargo-trefoil/tests/trace_port.rs`.
#![no_std]
#![no_main]

mod support;

use trefoil::arch::serial;
use trefoil::prelude::*;
use trefoil::recorder::port::{self, Port, Way};
use trefoil_trace::{MAGIC, tag};

image! {
    megabytes_leave_fast: "smp 1,4 | trace | append trace_port=fastest",
        "machine pc | smp 1,4 | trace | append trace_port=fastest",
        "machine microvm | smp 1,4 | trace | append trace_port=fastest",
        "icount | smp 1 | trace | append trace_port=fastest";
    one_caller_has_the_port: "smp 2 | trace | append trace_port=fastest";
    a_port_is_taken_from_its_owner: "smp 1 | trace | append trace_port=fastest",
        "machine microvm | smp 1 | trace | append trace_port=fastest";
    lines_leave_over_serial: "smp 1,4 | trace | append trace_port=serial";
    lines_are_taken_from_their_owner: "smp 1 | trace | append trace_port=serial";
    traces_follow_each_other: "smp 1 | trace | append trace_port=fastest";
    a_trace_breaks_off_and_another_follows: "smp 1 | trace | append trace_port=fastest | exit 1";
    a_trace_breaks_off_and_the_machine_goes_on: "smp 1 | trace | append trace_port=fastest | ignored";
    nothing_leaves: "smp 1 | trace | append trace_port=fastest";
    a_machine_without_a_console_says_so:
        "smp 1 | append trace_port=fastest | expect no virtio console here: the trace goes over the serial line";
}

/// Bytes of the test's pattern that leave by the device, and over serial.
const LARGE: usize = 64_000_000;
const SMALL: usize = 100_000;

/// The least that the port moves, in kilobytes a second.
const LEAST: u128 = 10_000;

/// Claims the port.
fn claim(way: Way) -> Port {
    let port = port::claim(send).expect("nobody has the port");
    assert_eq!(port.way(), way);
    port
}

fn send(line: &[u8]) {
    print!("{}", core::str::from_utf8(line).unwrap());
}

/// Writes `n` bytes of a pattern that does not repeat with the buffer, in pieces of a size that
/// does not divide it.
fn write(port: &mut Port, n: usize) {
    let piece: Vec<u8> = (0..251 * 400).map(|i| (i % 251) as u8).collect();
    let whole = core::iter::repeat_n(&piece[..], n / piece.len());
    whole.chain([&piece[..n % piece.len()]]).for_each(|piece| port.write(piece));
}

/// Writes `n` bytes, and returns kilobytes a second.
fn speed(way: Way, n: usize) -> u128 {
    let begin = Instant::now();
    let mut port = claim(way);
    write(&mut port, n);
    port.finish();
    let took = begin.elapsed().as_micros();
    let speed = n as u128 * 1000 / took;
    println!("{} kB in {took} µs: {}.{} MB/s", n / 1000, speed / 1000, speed % 1000 / 100);
    speed
}

fn megabytes_leave_fast() {
    let speed = speed(Way::Device, LARGE);
    assert!(speed >= LEAST, "{speed} kB/s");
}

fn one_caller_has_the_port() {
    let mut port = claim(Way::Device);
    go(|| assert!(port::claim(send).is_none())).join().unwrap();
    write(&mut port, 1);
    port.finish();
    let mut port = claim(Way::Device);
    write(&mut port, 2);
    drop(port); // the bytes in the buffer are forgotten
    claim(Way::Device).finish();
}

fn a_port_is_taken_from_its_owner() {
    take_over(Way::Device);
}

fn lines_are_taken_from_their_owner() {
    take_over(Way::Lines);
}

/// Takes the port from an owner that has stopped in the middle, three times.
fn take_over(way: Way) {
    let mut port = claim(way);
    write(&mut port, SMALL);
    core::mem::forget(port);
    for _ in 0..3 {
        // SAFETY: 1. no other core uses the port. 2. its owner is forgotten.
        let mut port = unsafe { port::seize(serial::put_bytes) };
        assert_eq!(port.way(), way);
        write(&mut port, SMALL);
        port.write(b"end");
        core::mem::forget(port); // stopped again
        // SAFETY: 1. no other core uses the port. 2. that owner is forgotten, too.
        let mut port = unsafe { port::seize(serial::put_bytes) };
        port.write(b"new");
        port.finish();
    }
    claim(way).finish();
}

fn lines_leave_over_serial() {
    speed(Way::Lines, SMALL);
}

fn nothing_leaves() {
    any().finish();
}

fn a_machine_without_a_console_says_so() {
    write(&mut claim(Way::Lines), 1);
}

/// Writes a trace with `n` bytes of the pattern, or as much of it as `until` says.
fn write_trace(port: &mut Port, n: usize, until: usize) {
    let mut left = until;
    let mut write_some = |bytes: &[u8]| {
        let now = bytes.len().min(left);
        port.write(&bytes[..now]);
        left -= now;
    };
    write_some(&MAGIC);
    write_some(&trefoil_trace::head(tag::RING, 0, n as u64));
    (0..n).step_by(251).for_each(|at| write_some(&PATTERN[..251.min(n - at)]));
    write_some(&trefoil_trace::head(tag::TEND, 0, 8));
    write_some(&(16 + 16 + n as u64).to_le_bytes());
}

const PATTERN: [u8; 251] = {
    let mut pattern = [0; 251];
    let mut i = 0;
    while i < 251 {
        pattern[i] = i as u8;
        i += 1;
    }
    pattern
};

/// Claims the port, on any way.
fn any() -> Port {
    port::claim(send).expect("nobody has the port")
}

fn traces_follow_each_other() {
    println!("before");
    for n in [10, 300_000, 70_000] {
        let mut port = any();
        write_trace(&mut port, n, usize::MAX);
        port.finish();
        println!("{n} bytes have left");
    }
}

fn a_trace_breaks_off_and_another_follows() {
    let mut port = any();
    write_trace(&mut port, 300_000, 200_000);
    core::mem::forget(port);
    println!("it breaks off");
    // SAFETY: 1. no other core uses the port. 2. its owner is forgotten.
    let mut port = unsafe { port::seize(serial::put_bytes) };
    write_trace(&mut port, 80_000, usize::MAX);
    port.finish();
    runtime::exit(1);
}

fn a_trace_breaks_off_and_the_machine_goes_on() {
    let mut port = any();
    write_trace(&mut port, 300_000, 200_000);
    port.finish();
    println!("it breaks off");
    loop {
        time::sleep(Duration::from_secs(1));
    }
}
