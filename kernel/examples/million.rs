//! Parks a million goroutines, each blocked in `recv`, says what one of them costs, and wakes them
//! all.
//!
//! ```text
//!   make run APP=million MEM=6G                                  one close wakes them
//!   make run APP=million MEM=6G ARGS="wake=random"               each has a channel of its own; woken in a random order
//!   make run APP=million MEM=1536M ARGS="packed"                 their stacks are packed before they are counted
//!   make run APP=million MEM=640M ARGS="n=100000"                fewer
//! ```
#![no_std]
#![no_main]

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use trefoil::prelude::*;

/// The options from the command line.
struct Wish {
    n: u64,
    random: bool,
    packed: bool,
}

impl Wish {
    fn read() -> Result<Self, String> {
        let mut wish = Self { n: 1_000_000, random: false, packed: false };
        for word in runtime::args() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("n", n) => {
                    wish.n =
                        n.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("n={n}: wants a number from 1 up"))?;
                }
                ("wake", "close") => wish.random = false,
                ("wake", "random") => wish.random = true,
                ("packed", "") => wish.packed = true,
                _ => return Err(format!("{word}: wants n=NUMBER, wake=close, wake=random or packed")),
            }
        }
        Ok(wish)
    }
}

/// Goroutines that have come to their `recv`.
static ARRIVED: AtomicU64 = AtomicU64::new(0);

/// Waits at the gate, as each goroutine does. Returns true if it was sent something, false if the
/// gate was closed.
fn wait(gate: &Receiver<()>) -> bool {
    ARRIVED.fetch_add(1, Relaxed);
    gate.recv().is_ok()
}

/// Returns `n` numbers in a random order: Fisher and Yates, with a xorshift generator.
fn shuffled(n: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for i in (1..order.len()).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(i, (random % (i as u64 + 1)) as usize);
    }
    order
}

/// Says why it can't go on, and ends the run as failed.
fn give_up(why: fmt::Arguments<'_>) -> ! {
    println!("million: {why}");
    runtime::exit(1)
}

#[trefoil::main]
fn main() {
    let Wish { n, random, packed } = Wish::read().unwrap_or_else(|complaint| give_up(format_args!("{complaint}")));
    let memory = runtime::stats().memory.frames.total / 256;
    println!("{n} goroutines in {memory} MiB");

    // One gate for all, which is closed, or one for each.
    let begin = Instant::now();
    let (all, gate) = chan::bounded(0);
    let (mut gates, mut handles) = (Vec::new(), Vec::new());
    if handles.try_reserve_exact(n as usize).is_err() || random && gates.try_reserve_exact(n as usize).is_err() {
        give_up(format_args!("no memory for the list of them"));
    }
    for made in 0..n {
        let gate = if random {
            let (mine, gate) = chan::bounded(0);
            gates.push(mine);
            gate
        } else {
            gate.clone()
        };
        match try_go(move || wait(&gate)) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                println!("million: no more than {made}: {error}");
                drop((all, gates, error.into_inner()));
                handles.into_iter().for_each(|h| _ = h.join().unwrap());
                give_up(format_args!(
                    "those {made} have ended; give the machine more memory (MEM=…), or ask for fewer (n=…)"
                ));
            }
        }
        if made % 64 == 63 {
            // The new goroutines run now, and park.
            runtime::yield_now();
        }
    }
    while ARRIVED.load(Relaxed) < n {
        runtime::yield_now();
    }
    let took = begin.elapsed();
    println!("parked on {} core(s) in {took:?}: {:?} each", runtime::num_cpus(), took / n as u32);

    if packed {
        let begin = Instant::now();
        while runtime::scavenge() > 0 {}
        println!("packed in {:?}", begin.elapsed());
    }
    let memory = runtime::stats().memory;
    println!("{} bytes each, all in: {} MiB of frames in use", memory.used() / n, memory.used() >> 20);
    println!(
        "  a goroutine's share of pages {}, page tables {}, heap {} (packed stacks {}, records {})",
        memory.stacks.pages * 4096 / n,
        memory.stacks.tables * 4096 / n,
        memory.heap.mapped_bytes / n,
        memory.stacks.packed_bytes / n,
        memory.records / n
    );

    let begin = Instant::now();
    if random {
        for i in shuffled(n) {
            gates[i as usize].send(()).unwrap();
        }
    } else {
        all.close();
    }
    let ended = handles.into_iter().filter_map(|h| (h.join().unwrap() == random).then_some(())).count() as u64;
    let took = begin.elapsed();
    println!("{ended} woken and joined in {took:?}: {:?} each", took / n as u32);
    assert_eq!(ended, n);
}
