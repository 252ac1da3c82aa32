//! Memory: the heap, page tables, kernel stacks, the G's windows.
#![no_std]
#![no_main]

mod support;

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use trefoil::mm::paging::{DATA, MapError, map_page, translate, unmap_page};
use trefoil::mm::{frames, heap, stack};
use trefoil::prelude::*;

image! {
    blocks_of_all_sizes_keep_their_bytes;
    blocks_freed_elsewhere_are_used_again: "smp 2,4";
    frames_come_back_to_the_count: "smp 1";
    a_page_is_mapped_once: "smp 1";
    a_window_has_one_page_at_birth: "smp 1";
    stacks_grow_on_touch_on_all_cores: "smp 1,2,4";
    stacks_grow_with_preemption_off: "smp 1,4";
    alignment_is_kept: "smp 1";
    large_data_are_as_near_as_small_ones: "smp 1 | mem 256M";
    memory_runs_out_with_an_error: "smp 1 | mem 64M";
    go_panics_where_memory_runs_out: "smp 1,4 | mem 64M";
    a_leaked_block_is_named: "smp 1 | exit 1 | expect left behind | expect heap:";
    a_leaked_frame_is_named: "smp 1 | exit 1 | expect frames: 1 used by nobody who is known (4 KiB)";
    a_leaked_window_is_named: "smp 1 | exit 1 | expect stack pages: | expect windows:";
    a_sleeper_left_behind_is_named:
        "smp 1 | icount | exit 1 | expect goroutines: 1 at the start, 2 now | expect timers: 0 at the start, 1 now";
}

fn blocks_of_all_sizes_keep_their_bytes() {
    let workers: Vec<_> = (0..8u8)
        .map(|worker| {
            go(move || {
                let mut kept: Vec<Vec<u8>> = Vec::new();
                for round in 0..400usize {
                    let len = 1 + round * 37 % 5000;
                    kept.push(vec![worker ^ round as u8; len]);
                    if round % 3 == 0 {
                        let gone = kept.swap_remove(round * 7 % kept.len());
                        assert!(gone.iter().all(|&b| b == gone[0]), "a block was changed by somebody else");
                    }
                    if round % 50 == 0 {
                        runtime::yield_now();
                    }
                }
                assert!(kept.iter().all(|block| block.iter().all(|&b| b == block[0])), "a block was changed");
            })
        })
        .collect();
    workers.into_iter().for_each(|w| w.join().unwrap());
}

fn blocks_freed_elsewhere_are_used_again() {
    // One side allocates, the other frees: without a way back the heap would grow for ever.
    let (tx, rx) = chan::bounded::<Vec<Box<u64>>>(4);
    let producer = go(move || {
        for i in 0..400u64 {
            tx.send((0..50).map(|n| Box::new(n + i)).collect()).unwrap();
        }
    });
    let mut after_warm_up = 0;
    for (i, boxes) in rx.iter().enumerate() {
        assert!(boxes.iter().enumerate().all(|(n, b)| **b == (n + i) as u64));
        if i == 100 {
            after_warm_up = heap::mapped();
        }
    }
    producer.join().unwrap();
    assert!(heap::mapped() <= after_warm_up + (256 << 10), "the heap grew by {}", heap::mapped() - after_warm_up);
}

fn frames_come_back_to_the_count() {
    let before = frames::stats();
    let taken: Vec<u64> = (0..1000).map(|_| frames::alloc().unwrap()).collect();
    let during = frames::stats();
    assert!(before.free - during.free >= 1000);
    // SAFETY: 1. they came from `alloc` right above and were not used.
    taken.iter().for_each(|&f| unsafe { frames::free(f) });
    drop(taken);
    let after = frames::stats();
    assert!(after.free + 8 >= before.free, "{} frames are missing", before.free - after.free);
}

fn a_page_is_mapped_once() {
    const AT: u64 = 0xffff_f000_0000_0000;
    let frame = frames::alloc().unwrap();
    assert!(translate(AT).is_none());
    map_page(AT, frame, DATA).unwrap();
    assert_eq!(translate(AT), Some((frame, DATA)));
    assert_eq!(map_page(AT, frame, DATA), Err(MapError::Occupied));
    // SAFETY: mapped to a frame of our own right above.
    unsafe {
        (AT as *mut u64).write(42);
        assert_eq!(trefoil::mm::phys_to_virt(frame).cast::<u64>().read(), 42);
    }
    assert_eq!(unmap_page(AT), Some(frame));
    assert!(translate(AT).is_none());
    // SAFETY: 1. it came from `alloc` and is not mapped any more.
    unsafe { frames::free(frame) };
}

fn a_window_has_one_page_at_birth() {
    for size in [256 << 10, 1 << 20, 16 << 20, 1 << 30] {
        let w = stack::alloc(size).unwrap();
        assert_eq!((w.hi - w.lo) as usize, size);
        assert!(translate(w.hi - 1).is_some(), "the top page is missing");
        assert!(translate(w.hi - 4097).is_none(), "a page below the top is there already");
        assert!(translate(w.lo).is_none(), "the guard is mapped");
        // SAFETY: 1. it came from `alloc` right above, and nobody has used it.
        unsafe { stack::free(w) };
    }
    assert!(stack::alloc(12345).is_err());
}

fn deep(levels: u64) -> u64 {
    let block = black_box([levels; 40]);
    if levels == 0 { 1 } else { deep(levels - 1) + u64::from(block[5] == levels && block[39] == levels) }
}

fn stacks_grow_on_touch_on_all_cores() {
    let before = stack::mapped_pages();
    let handles: Vec<_> = (0..64).map(|i| go(move || deep(100 + i))).collect();
    for (i, h) in handles.into_iter().enumerate() {
        assert_eq!(h.join().unwrap(), 101 + i as u64, "a stack lost its bytes");
    }
    assert!(stack::mapped_pages() > before + 16, "nothing grew");
    assert!(go(|| deep(230)).join().unwrap() == 231);
}

fn stacks_grow_with_preemption_off() {
    // The page fault hits code that holds the frame pool's lock, the heap's lock, the console's:
    // the handler may want none of them.
    static SUM: AtomicU64 = AtomicU64::new(0);
    let handles: Vec<_> = (0..12)
        .map(|i| {
            go(move || match i % 3 {
                0 => frames::with_locked(|| SUM.fetch_add(deep(100), Relaxed)),
                1 => heap::with_locked(|| SUM.fetch_add(deep(100), Relaxed)),
                _ => trefoil::console::with_locked(|| SUM.fetch_add(deep(100), Relaxed)),
            })
        })
        .collect();
    handles.into_iter().for_each(|h| assert!(h.join().is_ok()));
    assert_eq!(SUM.load(Relaxed), 12 * 101);
}

fn alignment_is_kept() {
    use core::alloc::Layout;
    for align in [8, 16, 64, 256, 1024, 4096, 8192] {
        for size in [1, 8, 24, 100, 700, 3000, 10_000] {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the layout has a size; the block is written within it and freed with the same
            // layout.
            unsafe {
                let blocks: Vec<*mut u8> = (0..20).map(|_| alloc_one(layout)).collect();
                assert!(blocks.iter().all(|b| b.addr() % align == 0), "size {size}, alignment {align}");
                blocks.iter().for_each(|&b| trefoil_dealloc(b, layout));
            }
        }
    }
}

/// # Safety
/// 1. `layout` has a size.
unsafe fn alloc_one(layout: core::alloc::Layout) -> *mut u8 {
    extern crate alloc;
    // SAFETY: the caller's: `layout` has a size.
    let block = unsafe { alloc::alloc::alloc(layout) };
    assert!(!block.is_null());
    // SAFETY: the block is `layout.size()` bytes.
    unsafe { block.write_bytes(0x77, layout.size()) };
    block
}

/// # Safety
/// 1. `block` came from `alloc_one` with `layout`.
unsafe fn trefoil_dealloc(block: *mut u8, layout: core::alloc::Layout) {
    extern crate alloc;
    // SAFETY: the caller's: `block` came from `alloc_one`, that is from `alloc`, with `layout`.
    unsafe { alloc::alloc::dealloc(block, layout) }
}

/// QEMU's translator keeps what it knows of a mebibyte, and of more only if it is flushed: without
/// that an access to each of these pages takes 10 to 40 times as long.
fn large_data_are_as_near_as_small_ones() {
    const PAGES: usize = 4096;
    let mut data = vec![1u64; PAGES * 512];
    // The least time of an access in some rounds: the host does not stop us in each.
    let mut nearest = |pages: usize, rounds: usize| {
        let round = |_| {
            let begin = time::Instant::now();
            for page in 0..pages {
                data[page * 512 + page % 64 * 8] += 1;
            }
            begin.elapsed().as_nanos() as u64 * 1000 / pages as u64
        };
        (0..rounds).map(round).min().unwrap()
    };
    let begin = time::Instant::now();
    let (mut small, mut large, mut first) = (u64::MAX, u64::MAX, 0);
    while begin.elapsed() < Duration::from_secs(20) && (first == 0 || large > 4 * small) {
        small = small.min(nearest(64, 64));
        large = large.min(nearest(PAGES, 1));
        first = if first == 0 { large } else { first };
    }
    let took = begin.elapsed();
    println!("an access to 64 pages: {small} ps, to {PAGES}: {first} ps at first, {large} ps after {took:?}");
    assert!(large <= 4 * small, "{large} ps, and {small} ps where there are few pages");
}

fn memory_runs_out_with_an_error() {
    // Parked G's until there is no more; the error gives the closure back, and everybody can still
    // be joined.
    let (tx, rx) = chan::bounded::<u32>(0);
    let mut handles = Vec::with_capacity(100_000);
    loop {
        let rx = rx.clone();
        match trefoil::try_go(move || rx.recv().is_err()) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                assert!(error.to_string().contains("out of memory"));
                drop(error.into_inner());
                break;
            }
        }
        assert!(handles.len() < handles.capacity(), "64 MiB for that many G's?");
    }
    println!("{} G's in 64 MiB", handles.len());
    assert!(handles.len() > 3_000);
    drop((tx, rx));
    handles.into_iter().for_each(|h| assert!(h.join().unwrap()));
}

fn go_panics_where_memory_runs_out() {
    // Most of memory is somebody else's.
    let hog = vec![1u8; 40 << 20];
    let (gate, wait) = chan::bounded::<()>(0);
    let parent = go(move || {
        loop {
            let wait = wait.clone();
            drop(go(move || wait.recv().is_err()));
            runtime::yield_now();
        }
    });
    let Err(error) = parent.join();
    assert_eq!(error.message(), Some("go: out of memory for a goroutine's record or stack"));
    assert!(runtime::num_goroutines() > 3_000, "{} G's", runtime::num_goroutines());
    drop((gate, hog));
    while runtime::num_goroutines() > 1 {
        runtime::yield_now();
    }
    assert_eq!(go(|| 5).join().unwrap(), 5, "there is room again");
}

fn a_leaked_block_is_named() {
    core::mem::forget(black_box(Box::new([0u64; 20])));
}

fn a_leaked_frame_is_named() {
    frames::alloc().unwrap();
}

fn a_leaked_window_is_named() {
    stack::alloc(256 << 10).unwrap();
}

fn a_sleeper_left_behind_is_named() {
    drop(go(|| time::sleep(Duration::from_secs(1 << 20))));
    runtime::yield_now();
}
