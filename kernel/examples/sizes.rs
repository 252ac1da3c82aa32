//! The cost of a value by its size, through a channel: `ICOUNT=1 make run APP=sizes`.
#![no_std]
#![no_main]

use core::hint::black_box;

use trefoil::prelude::*;

/// Returns the ticks for each of `n` times, in the second of two runs.
fn ticks(n: u64, f: &dyn Fn(u64)) -> u64 {
    f(n);
    time::sleep(Duration::from_micros(100));
    let begin = time::ticks();
    f(n);
    (time::ticks() - begin) / n
}

#[inline(never)]
fn of_size<const N: usize>() {
    let n = (8 << 20) / (N as u64 + 1024);
    let block = Box::new([7u8; N]);
    let value: &[u8; N] = &block;
    // A buffer, from one goroutine to itself.
    let (tx, rx) = chan::bounded::<[u8; N]>(1);
    let buffered = ticks(n, &|n| {
        for _ in 0..n {
            assert!(tx.send(*black_box(value)).is_ok());
            black_box(rx.recv().unwrap()[N - 1]);
        }
    });
    // From hand to hand, the receiver first: two switches.
    let (tx, rx) = chan::bounded::<[u8; N]>(0);
    let receives = move || rx.iter().for_each(|value| _ = black_box(value[N - 1]));
    let receiver = Builder::new().stack_max(16 << 20).spawn(receives).unwrap();
    let handed = ticks(n, &|n| {
        for _ in 0..n {
            assert!(tx.send(*black_box(value)).is_ok());
            runtime::yield_now();
        }
    });
    drop(tx);
    receiver.join().unwrap();
    // The cost of one copy in the program itself.
    let copied = ticks(n, &|n| {
        for _ in 0..n {
            black_box(*black_box(value));
        }
    });
    println!("{N} bytes: through a buffer {buffered}, handed over {handed}; a copy {copied}");
}

fn sizes() {
    of_size::<8>();
    of_size::<64>();
    of_size::<128>();
    of_size::<256>();
    of_size::<300>();
    of_size::<512>();
    of_size::<1024>();
    of_size::<2048>();
    of_size::<4096>();
    of_size::<16384>();
    of_size::<65536>();
}

#[trefoil::main]
fn main() {
    Builder::new().stack_max(16 << 20).spawn(sizes).unwrap().join().unwrap();
}
