//! The heap: blocks that go home (INV-HOME), bytes that are counted (INV-LIVE), memory that runs
//! out.
#![no_std]
#![no_main]

mod support;

extern crate alloc;

use core::alloc::Layout;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use trefoil::mm::{frames, heap, stack};
use trefoil::prelude::*;
use trefoil::testing::account;
use trefoil::testing::inject;

image! {
    live_bytes_are_those_of_the_blocks_handed_out: "smp 1";
    an_odd_size_wastes_little: "smp 1";
    blocks_freed_elsewhere_go_home: "smp 1,2,4";
    memory_of_one_size_serves_another: "smp 1,2,4";
    few_slabs_stay_when_blocks_go_and_none_after_trim: "smp 1";
    slabs_that_came_back_do_not_slow_large_blocks: "smp 1 | icount";
    trees_and_churn_seldom_meet_at_the_shared_blocks: "smp 1,2 | icount";
    what_a_core_keeps_goes_home_when_memory_is_short: "smp 1,2,4";
    cores_rise_while_their_blocks_go_home: "smp 2,4";
    cores_share_the_room_in_their_arenas: "smp 2,4";
    live_bytes_are_exact_after_a_storm: "smp 1,2,4";
    exhaustion_unwinds_the_one_that_asked: "smp 1,2,4 | mem 64M";
    exhaustion_unwinds_all_that_ask: "smp 1,2,4 | mem 64M";
    exhaustion_by_small_blocks_unwinds: "smp 1,2,4 | mem 64M | append slice=200";
    a_block_that_came_meanwhile_is_not_lost: "smp 1 | mem 64M | append slice=60000000";
    printing_needs_no_memory:
        "smp 1,2,4 | mem 64M | expect from main: 0123456789 and a word | expect from 3: 0123456789 and half a line | expect 0000000000000099, the end | expect panicked at kernel/tests/heap.rs | expect with nothing left";
    try_reserve_gets_an_error: "smp 1 | mem 64M";
    each_allocation_may_fail_and_nothing_is_lost: "smp 1";
    exhaustion_in_main_is_reported:
        "smp 1 | exit 1 | expect out of memory: the heap has no 1099511627776 bytes | expect end of report";
    exhaustion_with_preemption_off_is_reported:
        "smp 1 | exit 1 | expect out of memory: the heap has no 1099511627776 bytes | expect can't unwind: preemption is off";
    exhaustion_with_interrupts_off_is_reported:
        "smp 1 | exit 1 | expect out of memory: the heap has no 1099511627776 bytes | expect can't unwind: interrupts are off";
    exhaustion_on_g0_is_reported:
        "smp 1 | exit 1 | expect out of memory: the heap has no 1099511627776 bytes | expect end of report";
    allocation_in_a_handler_is_reported: "smp 1 | exit 1 | expect a handler allocates | expect end of report";
    exhaustion_in_a_destructor_is_reported:
        "smp 1 | expect while another panic unwinds: G | expect : out of memory: the heap has no 1099511627776 bytes";
}

/// Bytes in use, without what the kernel keeps, and what belongs to goroutines that have been
/// joined and are on their way out.
fn live() -> u64 {
    let mut live = account::heap_bytes();
    for _ in 0..20 {
        time::sleep(Duration::from_millis(1));
        live = live.min(account::heap_bytes());
    }
    live
}

/// Runs `f` until two rounds leave the same bytes in use: goroutines' records are made once, and
/// lists grow once.
fn leaves_nothing(f: impl Fn()) {
    let mut before = 0;
    let mut left = Vec::with_capacity(20);
    for _ in 0..20 {
        f();
        let after = live();
        left.push(after as i64 - before as i64);
        before = after;
        if left.ends_with(&[0, 0]) {
            return;
        }
    }
    panic!("bytes are left after each round: {left:?}");
}

fn live_bytes_are_those_of_the_blocks_handed_out() {
    let mut blocks: Vec<Vec<u8>> = Vec::with_capacity(100);
    for (len, bytes) in
        [(1, 16), (16, 16), (17, 32), (33, 48), (65, 80), (257, 320), (1025, 1280), (2048, 2048), (2049, 2049)]
    {
        let before = heap::stats();
        blocks.extend((0..100).map(|_| Vec::with_capacity(len)));
        let during = heap::stats();
        assert_eq!(during.live_bytes - before.live_bytes, 100 * bytes, "100 blocks of {len}");
        blocks.clear();
        assert_eq!(heap::stats().live_bytes, before.live_bytes, "100 blocks of {len}, freed");
        assert!(during.live_bytes + during.cached_bytes <= during.mapped_bytes);
    }
}

fn an_odd_size_wastes_little() {
    for len in [530, 600, 650, 720, 800, 850, 1000] {
        let before = heap::stats();
        let blocks: Vec<Vec<u8>> = (0..1000).map(|_| Vec::with_capacity(len)).collect();
        let taken = heap::stats().slab_bytes - before.slab_bytes;
        assert!(taken < len as u64 * 1000 * 115 / 100, "1000 blocks of {len} take {taken} bytes");
        drop(blocks);
        heap::trim();
        assert!(heap::stats().slab_bytes <= before.slab_bytes, "slabs are left");
    }
}

/// Blocks of `len` are made in one goroutine and freed in others: `bytes` in all are in use at
/// once.
fn make_here_free_there(len: usize, bytes: usize) {
    let (tx, rx) = chan::bounded::<Vec<Vec<u8>>>(bytes / len / 100);
    for _ in 0..bytes / len / 100 {
        tx.send((0..100).map(|n| vec![n; len]).collect()).unwrap();
    }
    drop(tx);
    let takers: Vec<_> = (0..8)
        .map(|_| {
            let rx = rx.clone();
            go(move || {
                for blocks in &rx {
                    assert!(blocks.iter().enumerate().all(|(n, block)| block.iter().all(|&b| usize::from(b) == n)));
                    drop(blocks);
                    runtime::yield_now();
                }
                heap::trim();
            })
        })
        .collect();
    takers.into_iter().for_each(|t| t.join().unwrap());
    heap::trim();
}

fn blocks_freed_elsewhere_go_home() {
    make_here_free_there(64, 64 << 10);
    let before = heap::stats();
    make_here_free_there(64, 4 << 20);
    make_here_free_there(640, 4 << 20);
    let after = heap::stats();
    // What a magazine keeps may keep a slab: a few for each core and class that took part.
    let slack = 8 * (32 << 10) * runtime::num_cpus() as u64;
    assert!(after.slab_bytes < before.slab_bytes + slack, "slabs are left: {before:?}, {after:?}");
}

fn memory_of_one_size_serves_another() {
    make_here_free_there(64, 4 << 20);
    let before = heap::mapped();
    for len in [48, 160, 600, 1500, 2000, 5000, 20_000] {
        make_here_free_there(len, 4 << 20);
    }
    let grown = heap::mapped() - before;
    assert!(grown < 4 << 20, "the heap grew by {grown}: slabs of one size do not serve another");
}

fn few_slabs_stay_when_blocks_go_and_none_after_trim() {
    heap::trim();
    let before = heap::stats().slab_bytes;
    // All slabs but the spare go back while this is dropped, and those of the 16 KiB that the
    // magazine keeps.
    drop((0..1000).map(|n| Box::new([n; 24])).collect::<Vec<Box<[u64; 24]>>>());
    let after = heap::stats().slab_bytes;
    assert!(after > before, "no slab stays");
    assert!(after <= before + 4 * (8 << 10), "{} bytes of slabs stay", after - before);
    heap::trim();
    assert!(heap::stats().slab_bytes <= before, "a slab stays after trim");
}

fn slabs_that_came_back_do_not_slow_large_blocks() {
    let time = || {
        let begin = Instant::now();
        (0..100).for_each(|n| drop(black_box(Vec::<u8>::with_capacity(16_384 + n))));
        begin.elapsed()
    };
    let before = time();
    let mut blocks: Vec<Box<[u64; 8]>> = (0..200_000).map(|n| Box::new([n; 8])).collect();
    // Every second slab of 8 KiB empties: hundreds of holes, if they were holes.
    blocks.retain(|block| (&raw const **block).addr() >> 13 & 1 == 0);
    let after = time();
    assert!(after < before * 4, "100 large blocks took {before:?}, and {after:?} between half-empty slabs");
}

struct Tree {
    _below: Option<Box<[Tree; 2]>>,
}

fn tree(depth: u32) -> Tree {
    Tree { _below: (depth > 0).then(|| Box::new([tree(depth - 1), tree(depth - 1)])) }
}

/// Trips to the shared blocks for a million calls of `alloc`; eight goroutines do `f`, which
/// returns how many it made.
fn trips(f: fn(u64) -> u64) -> u64 {
    let round = || {
        let before = heap::stats().trips;
        let workers: Vec<_> = (0..8).map(|n| go(move || f(n))).collect();
        let blocks: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        (heap::stats().trips - before) * 1_000_000 / blocks
    };
    // Magazines grow in the first round.
    round();
    round()
}

/// Trees of 15 to 4095 nodes.
fn plant(_: u64) -> u64 {
    let count = |depth, times| (0..times).map(|_| drop(black_box(tree(depth)))).count() as u64 * ((1 << depth) - 1);
    count(4, 200) + count(8, 20) + count(12, 4)
}

/// Blocks of 16 to 511 bytes, made and dropped in any order.
fn churn(n: u64) -> u64 {
    let mut seed = 88_172_645_463_325_252 + n;
    let mut slots: Vec<Vec<u8>> = (0..4096).map(|_| Vec::new()).collect();
    for round in 0..40_000 {
        seed = random(seed);
        let size = 16usize << ((seed >> 20) % 5);
        slots[(seed >> 52) as usize] = Vec::with_capacity(size + (seed >> 32) as usize % size);
        if round % 100 == 0 {
            runtime::yield_now();
        }
    }
    40_000
}

fn random(mut x: u64) -> u64 {
    x ^= x << 13;
    x ^= x >> 7;
    x ^ x << 17
}

fn trees_and_churn_seldom_meet_at_the_shared_blocks() {
    let (trees, churned) = (trips(plant), trips(churn));
    println!("trips for a million blocks: {trees} for trees, {churned} for churn");
    assert!(trees <= 4_900, "{trees} trips for a million blocks of trees");
    assert!(churned <= 5_300, "{churned} trips for a million blocks of many sizes");
}

fn what_a_core_keeps_goes_home_when_memory_is_short() {
    let cores = runtime::num_cpus() as u64;
    let workers: Vec<_> = (0..4 * cores)
        .map(|n| {
            go(move || {
                churn(n);
                for size in (16..=2048).step_by(16) {
                    let all: Vec<Vec<u8>> = (0..(64 << 10) / size).map(|_| Vec::with_capacity(size)).collect();
                    drop(black_box(all));
                    runtime::yield_now();
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let before = heap::stats().cached_bytes;
    assert!(before > cores * (200 << 10), "the cores keep {before} bytes");
    let (begin, mut after) = (Instant::now(), before);
    // The others may still look for work.
    while after >= 20 << 10 {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "the cores keep {after} of {before} bytes though memory is short"
        );
        time::sleep(Duration::from_millis(1));
        assert!(Vec::<u8>::new().try_reserve(1 << 40).is_err());
        after = heap::stats().cached_bytes;
    }
    println!("{cores} cores keep {before} bytes, and {after} when memory is short");
    // And a magazine begins small again.
    let before = heap::stats().cached_bytes;
    drop(black_box([(); 30].map(|()| Vec::<u8>::with_capacity(16))));
    assert!(heap::stats().cached_bytes <= before + 64 * 16);
}

fn cores_rise_while_their_blocks_go_home() {
    leaves_nothing(|| {
        let workers: Vec<_> = (0..8u64)
            .map(|n| {
                go(move || {
                    for round in 0..50 {
                        let blocks: Vec<Vec<u64>> = (0..20 + round).map(|k| vec![n ^ k; 1 + k as usize * 3]).collect();
                        time::sleep(Duration::from_micros(50 + 37 * n));
                        let whole = |k: usize, block: &Vec<u64>| block.iter().all(|&it| it == n ^ k as u64);
                        assert!(blocks.iter().enumerate().all(|(k, block)| whole(k, block)), "somebody else had it");
                    }
                })
            })
            .collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            heap::trim();
            runtime::yield_now();
        }
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

fn cores_share_the_room_in_their_arenas() {
    // Arenas of all cores, with room between the blocks.
    let make = || (0..2000).map(|_| Vec::with_capacity(3000)).collect::<Vec<Vec<u8>>>();
    let workers: Vec<_> = (0..8).map(|_| go(make)).collect();
    let mut blocks: Vec<_> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    let mut number = 0;
    blocks.retain(|_| {
        number += 1;
        number % 2 == 0
    });
    heap::trim();
    let before = heap::mapped();
    // All on one core.
    let more: Vec<Vec<u8>> = (0..7900).map(|_| Vec::with_capacity(3000)).collect();
    let grown = heap::mapped() - before;
    assert!(grown <= 1 << 20, "{} MiB lie free, and the heap grew by {} KiB", (8000 * 3000) >> 20, grown >> 10);
    drop((blocks, more));
}

fn live_bytes_are_exact_after_a_storm() {
    static KEPT: AtomicU64 = AtomicU64::new(0);
    leaves_nothing(|| {
        let (go_on, wait) = chan::bounded::<()>(0);
        let (tx, rx) = chan::bounded::<Vec<Vec<u8>>>(16);
        let workers: Vec<_> = (0..16u64)
            .map(|worker| {
                let (wait, tx, rx) = (wait.clone(), tx.clone(), rx.clone());
                go(move || {
                    let _ = wait.recv();
                    let mut seed = worker;
                    for round in 0..60 {
                        let blocks = (0..30).map(|_| {
                            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                            vec![0; 1 + (seed >> 40) as usize % 4000]
                        });
                        let _ = tx.try_send(blocks.collect());
                        if round % 3 == 0 {
                            runtime::yield_now();
                        }
                        KEPT.fetch_add(rx.try_recv().map_or(0, |blocks| blocks.len() as u64), Relaxed);
                    }
                })
            })
            .collect();
        drop(go_on);
        workers.into_iter().for_each(|w| w.join().unwrap());
    });
    assert!(KEPT.load(Relaxed) > 0);
}

/// Counts its destructor's runs.
struct Counted<'a>(&'a AtomicU64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// A function that takes memory by blocks of 64 KiB until there is none. Its list has room already:
/// others may be faster.
fn take_all() -> impl FnOnce() + Send {
    let mut kept = Vec::with_capacity(4096);
    move || {
        let _outer = Counted(&DROPPED);
        take_until_none(&mut kept)
    }
}

fn take_until_none(kept: &mut Vec<(Vec<u8>, Counted<'static>)>) -> ! {
    loop {
        kept.push((vec![1u8; 64 << 10], Counted(&DROPPED)));
        if kept.len().is_multiple_of(16) {
            runtime::yield_now();
        }
    }
}

fn assert_out_of_memory<T>(result: Result<T, trefoil::JoinError>, bytes: &str) {
    let Err(trefoil::JoinError::Panicked(payload)) = result else { panic!("it did not panic") };
    let message = payload.downcast_ref::<String>().map_or("", |s| s.as_str());
    assert_eq!(message, format!("out of memory: the heap has no {bytes} bytes"));
}

fn exhaustion_unwinds_the_one_that_asked() {
    let others = Arc::new(AtomicU64::new(0));
    leaves_nothing(|| {
        DROPPED.store(0, Relaxed);
        let (tx, rx) = chan::bounded::<()>(0);
        let counting: Vec<_> = (0..3)
            .map(|_| {
                let (rx, others) = (rx.clone(), others.clone());
                go(move || {
                    // It allocates nothing, so it goes on while there is nothing.
                    while rx.try_recv() != Err(chan::TryRecvError::Disconnected) {
                        others.fetch_add(1, Relaxed);
                        runtime::yield_now();
                    }
                    7
                })
            })
            .collect();
        let before = heap::stats().live_bytes;
        assert_out_of_memory(go(take_all()).join(), "65536");
        let blocks = DROPPED.load(Relaxed) - 1;
        assert!((400..1000).contains(&blocks), "{blocks} blocks of 64 KiB were dropped, of 64 MiB of memory");
        assert!(heap::stats().live_bytes < before + (64 << 10), "what it held was not freed");
        let seen = others.load(Relaxed);
        while others.load(Relaxed) == seen {
            runtime::yield_now();
        }
        drop(tx);
        counting.into_iter().for_each(|c| assert_eq!(c.join().unwrap(), 7));
    });
}

fn exhaustion_unwinds_all_that_ask() {
    leaves_nothing(|| {
        DROPPED.store(0, Relaxed);
        let all: Vec<_> = (0..6).map(|_| take_all()).collect();
        let takers: Vec<_> = all.into_iter().map(go).collect();
        takers.into_iter().for_each(|t| assert_out_of_memory(t.join(), "65536"));
        assert!(DROPPED.load(Relaxed) > 400, "destructors did not run");
    });
    assert!(Vec::<u8>::new().try_reserve(16 << 20).is_ok(), "memory did not come back");
}

fn exhaustion_by_small_blocks_unwinds() {
    struct Node {
        next: Option<Box<Node>>,
        _counted: Counted<'static>,
    }
    impl Drop for Node {
        fn drop(&mut self) {
            let mut next = self.next.take();
            while let Some(mut node) = next {
                next = node.next.take();
            }
        }
    }
    leaves_nothing(|| {
        DROPPED.store(0, Relaxed);
        let takers: Vec<_> = (0..4)
            .map(|_| {
                go(|| {
                    let mut list = None;
                    loop {
                        list = Some(Box::new(Node { next: list.take(), _counted: Counted(&DROPPED) }));
                    }
                })
            })
            .collect();
        takers.into_iter().for_each(|t| assert_out_of_memory::<()>(t.join(), "16"));
        assert!(DROPPED.load(Relaxed) > 2_000_000, "{} nodes were dropped", DROPPED.load(Relaxed));
    });
    assert!(Vec::<u8>::new().try_reserve(16 << 20).is_ok(), "slabs did not go back");
}

/// Uses about `bytes` of stack.
#[inline(never)]
fn deep(bytes: usize) -> u64 {
    let block = black_box([1u64; 64]);
    if bytes < 600 { block[0] } else { deep(bytes - 600) + block[63] }
}

/// Takes blocks of `layout` until there is none, and hangs them on to `list`.
fn take_all_of(layout: Layout, list: &mut Vec<(*mut u8, Layout)>) {
    while list.len() < list.capacity() {
        // SAFETY: no layout here is of size 0.
        let block = unsafe { alloc::alloc::alloc(layout) };
        if block.is_null() {
            return;
        }
        list.push((block, layout));
    }
    panic!("so many blocks in 64 MiB");
}

fn a_block_that_came_meanwhile_is_not_lost() {
    // Memory is used up while a magazine is empty; on the way to more, a block of that class is
    // freed on this core.
    static LENT: AtomicUsize = AtomicUsize::new(0);
    let (wake, rx) = chan::bounded::<()>(0);
    let lender = go(move || {
        let lent = [AtomicU64::new(5), AtomicU64::new(6)];
        LENT.store((&raw const lent).addr(), Relaxed);
        let _ = rx.recv();
        lent[0].load(Relaxed)
    });
    for _ in 0..10 {
        // It may take some turns until it has parked.
        runtime::yield_now();
        runtime::scavenge();
    }
    let class = stack::stats().packed_bytes as usize;
    assert!((64..=2048).contains(&class), "the lender is packed, and nobody else: {:?}", stack::stats());
    let (gate, wait) = chan::bounded::<()>(0);
    // Their stacks can be shrunk, but not packed.
    let parked: Vec<_> = (0..100)
        .map(|_| {
            let wait = wait.clone();
            go(move || {
                let kept = black_box([deep(100 << 10); 400]);
                wait.recv().is_err() && black_box(kept)[399] > 0
            })
        })
        .collect();
    runtime::yield_now();
    let mut list = Vec::with_capacity(100_000);
    let before = account::heap_bytes();
    // With preemption off, so that nobody packs or shrinks meanwhile.
    trefoil::console::with_locked(|| {
        for bytes in [1 << 20, 64 << 10, 4 << 10, class] {
            take_all_of(Layout::from_size_align(bytes, 16).unwrap(), &mut list);
        }
    });
    // Not parked any more, it is not packed again.
    wake.send(()).unwrap();
    // SAFETY: the lender runs when this G has left the one core.
    unsafe { (*(LENT.load(Relaxed) as *const AtomicU64)).store(8, Relaxed) };
    assert_eq!(stack::stats().packed, 0, "its block waits to be freed");
    let layout = Layout::from_size_align(class, 16).unwrap();
    // SAFETY: the size is not 0.
    let block = unsafe { alloc::alloc::alloc(layout) };
    assert!(!block.is_null(), "the parked stacks were not asked for memory");
    list.push((block, layout));
    // SAFETY: they came from `alloc` with these layouts.
    list.drain(..).for_each(|(block, layout)| unsafe { alloc::alloc::dealloc(block, layout) });
    assert_eq!(account::heap_bytes(), before);
    drop((gate, wait));
    assert_eq!(lender.join().unwrap(), 8);
    parked.into_iter().for_each(|p| assert!(p.join().unwrap()));
}

fn printing_needs_no_memory() {
    let (gate, wait) = chan::bounded::<()>(0);
    let printers: Vec<_> = (0..5)
        .map(|i| {
            let wait = wait.clone();
            go(move || {
                let _ = wait.recv();
                print!("from {i}: {} and half a line", "0123456789");
            })
        })
        .collect();
    drop(go(move || {
        let _ = wait.recv();
        panic!("with nothing left");
    }));
    let mut list = Vec::with_capacity(100_000);
    let sizes = (4..=20).rev().map(|shift| 1 << shift);
    sizes.for_each(|bytes| take_all_of(Layout::from_size_align(bytes, 16).unwrap(), &mut list));
    println!("from main: {} and a word", "0123456789");
    // Longer than what is kept without memory.
    println!(
        "{:016}, {:016}, {:016}, {:016}, {:016}, {:016}, {:016}, {:016}, {:016}, the end",
        1, 2, 3, 4, 5, 6, 7, 8, 99
    );
    gate.close();
    printers.into_iter().for_each(|p| p.join().unwrap());
    while runtime::num_goroutines() > 1 {
        runtime::yield_now();
    }
    // SAFETY: they came from `alloc` with these layouts.
    list.drain(..).for_each(|(block, layout)| unsafe { alloc::alloc::dealloc(block, layout) });
}

fn try_reserve_gets_an_error() {
    let mut bytes = Vec::<u8>::new();
    let before = heap::stats();
    assert!(bytes.try_reserve(60 << 20).is_err());
    assert!(bytes.try_reserve(1 << 40).is_err());
    assert!(bytes.try_reserve(usize::MAX / 2).is_err());
    let after = heap::stats();
    assert_eq!(after.live_bytes, before.live_bytes);
    assert_eq!(after.mapped_bytes, before.mapped_bytes, "memory was mapped in vain");
    assert!(bytes.try_reserve(20 << 20).is_ok());
}

/// A bit of everything; true if all of it came to be, false after an error. What can't give an
/// error panics.
fn a_bit_of_everything() -> bool {
    let mut bytes = Vec::<u8>::new();
    if bytes.try_reserve(100).is_err() || bytes.try_reserve(5000).is_err() {
        return false;
    }
    let Some(frame) = frames::alloc() else { return false };
    // SAFETY: 1. it was just allocated, and nobody used it.
    unsafe { frames::free(frame) };
    let text = format!("{} and {}", "words", bytes.capacity());
    let (tx, rx) = chan::bounded(2);
    tx.send(text).unwrap();
    let echo = move || rx.recv().unwrap().to_owned() + "!";
    let Ok(small) = Builder::new().spawn(echo) else { return false };
    // A window that nobody had yet, so that it wants frames.
    let Ok(big) = Builder::new().stack_max(1 << 30).spawn(|| Box::new([7u64; 300])) else { return false };
    let children = (small.join(), big.join());
    // A child that panicked has an error for us.
    let (Ok(words), Ok(sevens)) = children else { return false };
    assert!(words.ends_with("!") && sevens[299] == 7);
    // Not a `BTreeMap`: alloc's own aborts where it is about to get one level higher and can't.
    let lists: Vec<Arc<Vec<usize>>> = (0..30).map(|n| Arc::new((0..n).collect())).collect();
    assert_eq!(lists[29].len(), 29);
    true
}

fn each_allocation_may_fail_and_nothing_is_lost() {
    leaves_nothing(|| assert!(go(a_bit_of_everything).join().unwrap()));
    let before = live();
    let (mut errors, mut panics, mut made_good) = (0, 0, 0);
    for n in 1.. {
        let worker = go(move || {
            inject::fail_after(n);
            a_bit_of_everything()
        });
        let result = worker.join();
        let fired = inject::off();
        match &result {
            Ok(true) if !fired => break,
            // A spawn that finds no memory takes back what others can spare, and tries again.
            Ok(true) => made_good += 1,
            Ok(false) => errors += 1,
            Err(error) => {
                let message = error.message().unwrap_or_default();
                assert!(message.starts_with("out of memory: the heap has no "), "allocation {n}: {message:?}");
                panics += 1;
            }
        }
        assert!(fired, "allocation {n} was not made to fail, but something failed");
        drop(result);
        assert_eq!(live(), before, "bytes in use after allocation {n} failed");
    }
    println!("{errors} errors, {panics} panics, {made_good} made good");
    assert!(made_good <= 4, "{made_good} allocations failed, and nobody was told");
    assert!(!cfg!(debug_assertions) || (errors >= 3 && panics >= 30), "{errors} errors, {panics} panics");
}

fn ask_for_too_much() {
    drop(black_box(Vec::<u8>::with_capacity(1 << 40)));
}

fn exhaustion_in_main_is_reported() {
    ask_for_too_much();
}

fn exhaustion_with_preemption_off_is_reported() {
    let _ = go(|| trefoil::console::with_locked(ask_for_too_much)).join();
}

fn exhaustion_with_interrupts_off_is_reported() {
    let _ = go(|| {
        // SAFETY: the machine ends with them off.
        unsafe { core::arch::asm!("cli") };
        ask_for_too_much();
    })
    .join();
}

fn exhaustion_on_g0_is_reported() {
    static CHORE: trefoil_sched::timers::Chore = trefoil_sched::timers::Chore::new(|_| {
        ask_for_too_much();
        None
    });
    CHORE.start(0);
    time::sleep(Duration::from_secs(1));
}

fn allocation_in_a_handler_is_reported() {
    trefoil::console::with_locked(|| {
        trefoil::arch::percpu::current().enter_handler();
        drop(black_box(Box::new(5)));
    });
}

fn exhaustion_in_a_destructor_is_reported() {
    struct Asks;
    impl Drop for Asks {
        fn drop(&mut self) {
            ask_for_too_much();
        }
    }
    let _ = go(|| {
        let _asks = Asks;
        ask_for_too_much();
    })
    .join();
}
