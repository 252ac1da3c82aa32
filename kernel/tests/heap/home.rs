//! Blocks that go home (INV-HOME), and bytes that are counted (INV-LIVE).

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use trefoil::mm::heap;
use trefoil::prelude::*;

use crate::leaves_nothing;

pub fn live_bytes_are_those_of_the_blocks_handed_out() {
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

pub fn an_odd_size_wastes_little() {
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

pub fn blocks_freed_elsewhere_go_home() {
    make_here_free_there(64, 64 << 10);
    let before = heap::stats();
    make_here_free_there(64, 4 << 20);
    make_here_free_there(640, 4 << 20);
    let after = heap::stats();
    // Blocks in a magazine may keep their slab: a few slabs for each core and class that took part.
    let slack = 8 * (32 << 10) * runtime::num_cpus() as u64;
    assert!(after.slab_bytes < before.slab_bytes + slack, "slabs are left: {before:?}, {after:?}");
}

pub fn memory_of_one_size_serves_another() {
    make_here_free_there(64, 4 << 20);
    let before = heap::mapped();
    for len in [48, 160, 600, 1500, 2000, 5000, 20_000] {
        make_here_free_there(len, 4 << 20);
    }
    let grown = heap::mapped() - before;
    assert!(grown < 4 << 20, "the heap grew by {grown}: slabs of one size do not serve another");
}

pub fn few_slabs_stay_when_blocks_go_and_none_after_trim() {
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

pub fn slabs_that_came_back_do_not_slow_large_blocks() {
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

pub fn trees_and_churn_seldom_meet_at_the_shared_blocks() {
    let (trees, churned) = (trips(plant), trips(churn));
    println!("trips for a million blocks: {trees} for trees, {churned} for churn");
    assert!(trees <= 4_900, "{trees} trips for a million blocks of trees");
    assert!(churned <= 5_300, "{churned} trips for a million blocks of many sizes");
}

pub fn what_a_core_keeps_goes_home_when_memory_is_short() {
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

pub fn cores_rise_while_their_blocks_go_home() {
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

pub fn cores_share_the_room_in_their_arenas() {
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

pub fn live_bytes_are_exact_after_a_storm() {
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
