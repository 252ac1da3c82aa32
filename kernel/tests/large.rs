//! Many goroutines: the cost of one, and that nothing of any is lost. Most tests have two sizes:
//! one for every day, and the claimed one, for `make test-large`.
#![no_std]
#![no_main]

#[path = "support/cores.rs"]
mod cores;
mod support;

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::*};

use cores::wait_for_cores;
use trefoil::SpawnError;
use trefoil::mm::heap;
use trefoil::prelude::*;
use trefoil::testing::account;

image! {
    a_parked_g_costs_a_page_and_little_more: "smp 1,4 | mem 128M";
    packed_under_pressure_and_all_woken: "smp 1,2,4 | mem 64M";
    woken_in_a_random_order: "smp 1,4 | mem 64M";
    many_run_in_little_memory: "smp 1,2,4 | mem 64M";
    creations_leave_no_byte: "smp 1,4 | mem 64M";
    no_more_fit_and_none_is_lost: "smp 1,4 | mem 64M";
    maxprocs_zero_is_said: "smp 1,2 | append maxprocs=0 | expect maxprocs=\"0\": wants a number from 1 to 64; skipped";
    parked_100_000: "large | smp 4 | mem 640M | timeout 300";
    packed_1_000_000: "large | smp 1,4 | mem 1536M | timeout 600";
    woken_1_000_000: "large | smp 4 | mem 6G | timeout 600";
    creations_10_000_000: "large | smp 1,4 | mem 64M | timeout 600";
    a_million_do_not_fit: "large | smp 4 | mem 64M | timeout 300";
}

/// Bytes that a parked G may cost, all in.
const PARKED: u64 = 49 * 1024 / 10;
/// The same when it is packed. Without optimisation its frames are larger than what ships.
const PACKED: u64 = if cfg!(debug_assertions) { 1800 } else { 13 * 1024 / 10 };

/// G's that have come to their `recv`.
static ARRIVED: AtomicU64 = AtomicU64::new(0);
/// The sum that they have added up at their ends.
static ENDED: AtomicU64 = AtomicU64::new(0);

fn used() -> u64 {
    runtime::stats().memory.used()
}

fn until_arrived(n: u64) {
    while ARRIVED.load(SeqCst) < n {
        runtime::yield_now();
    }
}

/// Parks `n` G's in `recv` on one channel, or as many as there is memory for: then the closure of
/// the next one comes back. Each adds its number to ENDED when the channel is closed.
fn park(n: u64) -> (Sender<()>, Vec<JoinHandle<u64>>, Option<impl FnOnce() -> u64>) {
    let (gate, wait) = chan::bounded::<()>(0);
    let mut handles = Vec::with_capacity(n as usize);
    let mut failed = None;
    for i in 0..n {
        let wait = wait.clone();
        let body = move || {
            ARRIVED.fetch_add(1, SeqCst);
            assert!(wait.recv().is_err());
            ENDED.fetch_add(i, SeqCst);
            i
        };
        match try_go(body) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                assert!(matches!(error, SpawnError::OutOfMemory(_)) && error.to_string().contains("out of memory"));
                failed = Some(error.into_inner());
                break;
            }
        }
        if i % 64 == 63 {
            runtime::yield_now();
        }
    }
    until_arrived(handles.len() as u64);
    (gate, handles, failed)
}

/// Wakes all of them by one close. Each runs its end and is joined.
fn wake(gate: &Sender<()>, handles: Vec<JoinHandle<u64>>) {
    let n = handles.len() as u64;
    gate.close();
    for (handle, i) in handles.into_iter().zip(0..) {
        assert_eq!(handle.join().unwrap(), i);
    }
    assert_eq!(ENDED.load(SeqCst), n * (n - 1) / 2, "each has run its end once");
}

/// Parks `n`, and asserts the bytes of each; of the whole machine if `all_in`, else beyond what was
/// used before.
fn parked(n: u64, all_in: bool) {
    // A core that comes meanwhile fills its fault reserve.
    wait_for_cores();
    let before = if all_in { 0 } else { used() };
    let (gate, handles, failed) = park(n);
    assert!(failed.is_none(), "{} of {n} fit", handles.len());
    let each = (used() - before) / n;
    println!("{n} parked: {each} bytes each, {:?}", runtime::stats().memory);
    assert!(each <= PARKED, "{each} bytes for a parked G");
    wake(&gate, handles);
}

fn a_parked_g_costs_a_page_and_little_more() {
    parked(10_000, false);
}

fn parked_100_000() {
    parked(100_000, true);
}

/// Parks more than would fit if none were packed, and wakes them by one close.
fn packed(n: u64, all_in: bool) {
    let before = if all_in { 0 } else { used() };
    let (gate, handles, failed) = park(n);
    assert!(failed.is_none(), "{} of {n} fit", handles.len());
    assert!(n * 4096 > runtime::stats().memory.frames.total * 4096, "they would fit unpacked");
    while runtime::scavenge() > 0 {}
    let memory = runtime::stats().memory;
    let each = (memory.used() - before) / n;
    println!("{n} packed: {each} bytes each, {memory:?}");
    assert!(memory.stacks.packed >= n * 99 / 100, "{} are packed", memory.stacks.packed);
    assert!(each <= PACKED, "{each} bytes for a packed G");
    wake(&gate, handles);
}

fn packed_under_pressure_and_all_woken() {
    packed(20_000, false);
}

fn packed_1_000_000() {
    packed(1_000_000, true);
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

/// Parks G's at a channel each, and sends each a number of its own, in a random order.
fn random(n: u64) {
    let mut gates = Vec::with_capacity(n as usize);
    let mut handles = Vec::with_capacity(n as usize);
    for i in 0..n {
        let (gate, wait) = chan::bounded::<u64>(0);
        gates.push(gate);
        handles.push(go(move || {
            ARRIVED.fetch_add(1, SeqCst);
            wait.recv().unwrap() ^ i
        }));
        if i % 64 == 63 {
            runtime::yield_now();
        }
    }
    until_arrived(n);
    println!("{n} parked: {:?}", runtime::stats().memory);
    for i in shuffled(n) {
        gates[i as usize].send(u64::from(i) << 32).unwrap();
    }
    for (handle, i) in handles.into_iter().zip(0..) {
        assert_eq!(handle.join().unwrap(), i << 32 ^ i);
    }
}

fn woken_in_a_random_order() {
    random(10_000);
}

fn woken_1_000_000() {
    random(1_000_000);
}

/// Goroutines that grow at the same time: up to four pages each.
const AT_ONCE: u64 = 2000;

/// Uses about `bytes` of stack, with others running in between, and counts what is wrong on the way
/// back.
#[inline(never)]
fn deep(bytes: usize, seed: u64) -> u64 {
    let block = black_box([seed; 64]);
    let below = if bytes > 600 { deep(bytes - 600, seed + 1) } else { 0 };
    runtime::yield_now();
    below + black_box(&block).iter().filter(|&&word| word != seed).count() as u64
}

/// Twice as many as fit with a page each are woken, each grows and parks again, several times.
/// Running G's get their pages from those that do not run. (At most [`AT_ONCE`] are under way: the
/// stacks of G's that run or wait to run can't be packed, and on a slow core `main` may be far
/// ahead of them.)
fn many_run_in_little_memory() {
    let n = 30_000;
    let (tx, rx) = chan::bounded::<usize>(0);
    let mut handles = Vec::with_capacity(n as usize);
    for i in 0..n {
        let rx = rx.clone();
        handles.push(go(move || {
            ARRIVED.fetch_add(1, SeqCst);
            rx.iter().fold(0, |wrong, bytes| {
                let wrong = wrong + deep(bytes, i);
                ENDED.fetch_add(1, SeqCst);
                wrong
            })
        }));
        if i % 64 == 63 {
            runtime::yield_now();
        }
    }
    until_arrived(n);
    for round in 1..=3 {
        for i in 0..n {
            while (round - 1) * n + i >= ENDED.load(SeqCst) + AT_ONCE {
                runtime::yield_now();
            }
            tx.send(2000 + 2000 * (i as usize % 4)).unwrap();
        }
        while ENDED.load(SeqCst) < round * n {
            runtime::yield_now();
        }
    }
    drop(tx);
    let wrong: u64 = handles.into_iter().map(|h| h.join().unwrap()).sum();
    assert_eq!(wrong, 0, "stacks lost their bytes");
}

/// One after another: the machine has the same memory afterwards, to the byte; but for what other
/// P's keep for their next goroutine, or have made room for when a timer came to them.
fn creations(n: u64) {
    let some = |n: u64| (0..n).for_each(|i| assert_eq!(go(move || i).join().unwrap(), i));
    let memory = || {
        runtime::scavenge();
        // The blocks that this core keeps for the next allocations go home.
        heap::trim();
        (account::heap_bytes(), runtime::stats().memory)
    };
    wait_for_cores();
    // Memory that a program takes only once: records, slabs.
    some(1000);
    let (heap, before) = memory();
    some(n);
    let (heap_after, after) = memory();
    assert_eq!(heap, heap_after, "bytes of heap, but for the kernel's own lists");
    // Each keeps up to 64 G's with a page, and half a fault reserve.
    let others = (runtime::max_procs() as u64 - 1) * (64 + 40);
    assert!(after.records <= before.records + others * 256, "{before:?}\n{after:?}");
    assert!(after.stacks.pages <= before.stacks.pages + others, "{before:?}\n{after:?}");
    assert!(after.frames.free + 2 * others >= before.frames.free, "{before:?}\n{after:?}");
}

fn creations_leave_no_byte() {
    creations(100_000);
}

fn creations_10_000_000() {
    creations(10_000_000);
}

/// The one that does not fit comes back, those that do go on, run and end; and it can be had again.
fn too_many(n: u64) {
    let (gate, handles, failed) = park(n);
    let fit = handles.len() as u64;
    println!("{fit} of {n} fit");
    assert!(fit > 10_000);
    wake(&gate, handles);
    let failed = failed.expect("not all of them fit");
    assert_eq!(failed(), fit, "the closure that came back runs, with all that it holds");
    assert_eq!(go(|| 5).join().unwrap(), 5, "there is room again");
}

fn no_more_fit_and_none_is_lost() {
    too_many(150_000);
}

fn a_million_do_not_fit() {
    too_many(1_000_000);
}

fn maxprocs_zero_is_said() {
    assert!(runtime::max_procs() >= 1);
    assert_eq!(go(|| 5).join().unwrap(), 5);
}
