//! Measures the fast paths. Under `ICOUNT=1` (QEMU's `-icount shift=0`) the time-stamp counter
//! counts instructions, one core repeats exactly, and the figures are instructions; otherwise they
//! are ticks.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use trefoil::prelude::*;
use trefoil::sync::{Mutex, Once, RwLock, Semaphore, WaitGroup};

const N: u64 = 10_000;

/// Shows the ticks that `f(N)` takes for each of its N operations. Only the second of two runs
/// counts, so that memory is warm.
fn measure(name: &str, f: impl Fn(u64)) {
    f(N);
    // Begin with a fresh slice: after a preemption in the middle, the work of other G's would
    // count.
    trefoil::time::sleep(Duration::from_micros(100));
    let begin = trefoil::time::ticks();
    f(N);
    show(name, trefoil::time::ticks() - begin, N);
}

/// Measures the same without the loop around it, for an operation as short as the loop.
fn measure_alone(name: &str, f: impl Fn(u64)) {
    let empty = |n: u64| (0..n).for_each(|_| black_box(()));
    empty(N);
    f(N);
    let around = ticks(|| empty(N));
    show(name, ticks(|| f(N)) - around, N);
}

fn show(name: &str, ticks: u64, n: u64) {
    println!("bench {name}: {}.{}", ticks / n, ticks * 10 / n % 10);
}

/// Returns the ticks that `f` takes.
fn ticks(f: impl FnOnce()) -> u64 {
    let begin = trefoil::time::ticks();
    f();
    trefoil::time::ticks() - begin
}

fn yields(n: u64) {
    // Two G's that yield to each other: n yields in all.
    let other = go(move || (0..n / 2).for_each(|_| runtime::yield_now()));
    (0..n / 2).for_each(|_| runtime::yield_now());
    other.join().unwrap();
}

fn rendezvous(n: u64) {
    let (to, ping) = chan::bounded::<u64>(0);
    let (back, pong) = chan::bounded::<u64>(0);
    let echo = go(move || ping.iter().for_each(|v| back.send(v).unwrap()));
    for i in 0..n {
        to.send(i).unwrap();
        pong.recv().unwrap();
    }
    drop(to);
    echo.join().unwrap();
}

fn buffered(n: u64) {
    let (tx, rx) = chan::bounded::<u64>(128);
    for i in 0..n {
        tx.send(i).unwrap();
        rx.recv().unwrap();
    }
}

fn select_ready(n: u64) {
    // Both arms stay ready: an empty or full channel is brought back to half.
    let (tx, rx) = chan::bounded::<u64>(128);
    (0..64).for_each(|i| tx.send(i).unwrap());
    for i in 0..n {
        select! {
            recv(rx) -> value => _ = black_box(value),
            send(tx, i) -> sent => _ = black_box(sent),
        }
        match rx.len() {
            0 => (0..64).for_each(|i| tx.send(i).unwrap()),
            128 => (0..64).for_each(|_| _ = rx.recv()),
            _ => {}
        }
    }
}

fn spawn_join(n: u64) {
    for i in 0..n {
        assert_eq!(go(move || i).join().unwrap(), i);
    }
}

fn spawn_many(n: u64) {
    let wg = Arc::new(WaitGroup::new());
    wg.add(n as usize);
    for _ in 0..n {
        let wg = wg.clone();
        drop(go(move || wg.done()));
    }
    wg.wait();
}

fn mutex(n: u64) {
    let m = Mutex::new(0u64);
    (0..n).for_each(|_| *m.lock().unwrap() += 1);
}

fn write_lock(n: u64) {
    let lock = RwLock::new(0u64);
    (0..n).for_each(|_| *lock.write().unwrap() += 1);
}

fn read_lock(n: u64) {
    let lock = RwLock::new(0u64);
    (0..n).for_each(|_| assert_eq!(*lock.read().unwrap(), 0));
}

fn once_done(n: u64) {
    static DONE: Once = Once::new();
    (0..n).for_each(|_| DONE.call_once(|| ()));
}

fn semaphore(n: u64) {
    let semaphore = Semaphore::new(1);
    (0..n).for_each(|_| drop(semaphore.acquire()));
}

/// Returns the cost of stack growth in `f`: its first run, on a stack of one page, minus its second
/// run. The sum of 20.
fn growing(f: fn() -> u64) -> u64 {
    let growth = move || ticks(|| _ = black_box(f())) - ticks(|| _ = black_box(f()));
    // Windows that are not the default are new each time.
    (0..20).map(|_| Builder::new().stack_max(1 << 20).spawn(growth).unwrap().join().unwrap()).sum()
}

/// Touches the 50 pages of a local array: one after another, by the compiler's probes.
#[inline(never)]
fn touch() -> u64 {
    let array = [const { MaybeUninit::<u8>::uninit() }; 50 * 4096];
    black_box(&array).as_ptr().addr() as u64 & 1
}

/// Goes down about 64 KiB in steps of 1 KiB.
#[inline(never)]
fn recurse(levels: u64) -> u64 {
    let kept = black_box([levels; 112]);
    if levels == 0 { 0 } else { recurse(levels - 1) + kept[levels as usize] }
}

/// Rounds that parked goroutines have done.
static DONE: AtomicU64 = AtomicU64::new(0);

/// Goroutines that use some stack each time they get a value.
type Parked = (Sender<u64>, Vec<JoinHandle<()>>);

/// Parks `n` of them with nothing but a `recv` on their stacks, or with `ROOM` bytes more.
fn park<const ROOM: usize>(n: u64) -> Parked {
    let (tx, rx) = chan::bounded(0);
    let mut handles = Vec::with_capacity(n as usize);
    for i in 0..n {
        let rx = rx.clone();
        handles.push(go(move || {
            let room = black_box([0u8; ROOM]);
            rx.iter().for_each(|levels| {
                DONE.fetch_add(u64::from(black_box(recurse(levels)) < u64::MAX), Relaxed);
            });
            black_box(&room);
        }));
        if i % 64 == 63 {
            runtime::yield_now();
        }
    }
    runtime::yield_now();
    (tx, handles)
}

/// Sends a value to each of them.
fn round((tx, handles): &Parked, levels: u64) {
    let all = DONE.load(Relaxed) + handles.len() as u64;
    (0..handles.len()).for_each(|_| tx.send(levels).unwrap());
    while DONE.load(Relaxed) < all {
        runtime::yield_now();
    }
}

fn end((tx, handles): Parked) {
    drop(tx);
    handles.into_iter().for_each(|h| h.join().unwrap());
}

/// Measures the creation of G's, each with a new record, a new stack and its share of a page table.
fn create_and_park() {
    const MANY: u64 = 20_000;
    let mut parked = None;
    let took = ticks(|| parked = Some(park::<0>(MANY)));
    if let Some(parked) = parked {
        end(parked);
    }
    show("create+park, each of 20000", took, MANY);
}

/// Measures the shrinking, packing and unpacking of a stack, without looking for it and running it.
fn shrink_and_pack() {
    const SOME: u64 = 1000;
    let scavenge = || ticks(|| _ = runtime::scavenge());

    // More than half a page in use: these are not packed.
    let large = park::<3000>(SOME);
    scavenge();
    round(&large, 24);
    let (took, again) = (scavenge(), scavenge());
    show("shrink by 6 pages", took - again, SOME);
    end(large);

    let small = park::<0>(SOME);
    let (took, again) = (scavenge(), scavenge());
    show("pack", took - again, SOME);
    let (took, again) = (ticks(|| round(&small, 0)), ticks(|| round(&small, 0)));
    show("unpack", took - again, SOME);
    end(small);
}

/// Blocks that no size class serves, amid 20,000 holes between blocks of 3,000 bytes, and 4,000 of
/// a page.
fn blocks_amid_holes() {
    const SOME: u64 = 100;
    let (mut kept, mut gone) = (Vec::with_capacity(24_000), Vec::with_capacity(24_000));
    for (len, n) in [(3000, 20_000), (4096, 4000)] {
        (0..n).for_each(|_| {
            kept.push(Vec::<u8>::with_capacity(len));
            gone.push(black_box(Vec::<u8>::with_capacity(len)));
        });
    }
    gone.clear();
    for (len, n) in [(3000, SOME), (5000, SOME), (64 << 10, SOME), (8 << 20, 1)] {
        let mut blocks = Vec::with_capacity(SOME as usize);
        let mut round = || {
            let took = ticks(|| (0..n).for_each(|_| blocks.push(black_box(Vec::<u8>::with_capacity(len)))));
            (took, ticks(|| blocks.clear()))
        };
        // Free blocks join in the first round.
        round();
        let (alloc, free) = round();
        show(&format!("alloc {len} bytes amid holes"), alloc, n);
        show(&format!("free {len} bytes amid holes"), free, n);
    }
    black_box(kept);
}

#[trefoil::main]
fn main() {
    measure("yield", yields);
    measure("rendezvous round trip", rendezvous);
    measure("buffered send+recv", buffered);
    measure("select, two ready arms", select_ready);
    measure("spawn+join", spawn_join);
    measure("spawn 10000, wait, each", spawn_many);
    measure_alone("mutex lock+unlock", mutex);
    measure_alone("rwlock write+unlock", write_lock);
    measure_alone("rwlock read+unlock", read_lock);
    measure_alone("once done", once_done);
    measure_alone("semaphore acquire+release", semaphore);
    show("growth by a page", growing(touch), 20 * 50);
    show("growth to 64 KiB", growing(|| recurse(62)), 20);
    create_and_park();
    shrink_and_pack();
    blocks_amid_holes();
}
