//! Room for goroutines and for blocks, after a peak of either, and when memory is short.

use alloc::alloc::{Layout, alloc, dealloc};
use core::hint::black_box;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering::*};

use trefoil::mm::{frames, heap};
use trefoil::prelude::*;
use trefoil::testing::account;

use crate::{MIB, Sieve, fill_runs};

/// Parks goroutines on one channel, 512 at a time, until `n` are there, or no more fit, wakes and
/// joins them: how many there were.
fn fit(n: usize) -> usize {
    static RUN: AtomicUsize = AtomicUsize::new(0);
    RUN.store(0, SeqCst);
    let (gate, wait) = chan::bounded::<()>(0);
    let mut handles = Vec::with_capacity(2000);
    let mut count = 0;
    'all: while count < n {
        // In pieces: one list of all would be moved when memory is short.
        let mut piece = Vec::new();
        if piece.try_reserve_exact(128).is_err() {
            break;
        }
        for _ in 0..128 {
            let wait = wait.clone();
            let run = move || {
                RUN.fetch_add(1, SeqCst);
                wait.recv().is_err()
            };
            let Ok(handle) = try_go(run) else {
                handles.push(piece);
                break 'all;
            };
            piece.push(handle);
            count += 1;
            // G's that have not run yet have a page each, and can't be packed.
            while count % 512 == 0 && RUN.load(SeqCst) < count {
                runtime::yield_now();
            }
        }
        handles.push(piece);
    }
    gate.close();
    handles.into_iter().flatten().for_each(|handle| assert!(handle.join().unwrap()));
    count
}

pub fn stacks_are_packed_between_other_frames() {
    // The blocks that hold packed stacks are scattered, and are unpacked by the handler, which
    // reads them by the page tables.
    let sieve = Sieve::new();
    let fill = fill_runs();
    let free = frames::stats().free as usize;
    for _ in 0..2 {
        let n = fit(free * 3 / 2);
        assert!(n >= free * 3 / 2, "{n} goroutines fit into {free} frames");
    }
    drop((fill, sieve));
}

pub fn a_request_beyond_memory_leaves_all_as_it_was() {
    let same = |what: &str| {
        heap::trim();
        let before = (account::heap_bytes(), heap::mapped(), frames::stats().free);
        for len in [50 * MIB, 63 * MIB, 64 * MIB, MIB << 10, MIB << 20, usize::MAX / 4, isize::MAX as usize - 4096] {
            for align in [16, 4096, 64 << 10, MIB, 1 << 40] {
                let Ok(layout) = Layout::from_size_align(len, align) else { continue };
                // SAFETY: the layout has a size.
                assert!(black_box(unsafe { alloc(layout) }).is_null(), "{len} bytes, {what}");
            }
        }
        let mut block = Vec::<u8>::with_capacity(5000);
        assert!(block.try_reserve_exact(60 * MIB).is_err());
        drop(block);
        heap::trim();
        let after = (account::heap_bytes(), heap::mapped(), frames::stats().free);
        assert_eq!((after.0, after.1), (before.0, before.1), "{what}");
        // Stacks that were parked may have been packed meanwhile.
        assert!(after.2 >= before.2, "{what}: {before:?}, {after:?}");
    };
    let hog = black_box(Vec::<u8>::with_capacity(16 * MIB));
    same("in runs");
    drop(hog);
    let sieve = Sieve::new();
    let fill = fill_runs();
    same("in scattered frames");
    drop((fill, sieve));
}

/// Blocks of `len` bytes, linked through their first words, until there is no memory: how many
/// bytes. Then all go.
fn peak(len: usize) -> usize {
    let layout = Layout::from_size_align(len, 16).unwrap();
    let (mut list, mut bytes) = (null_mut::<*mut u8>(), 0);
    loop {
        // SAFETY: the layout has a size.
        let block = unsafe { alloc(layout) }.cast::<*mut u8>();
        if block.is_null() {
            break;
        }
        // SAFETY: the block is ours, and has room for a link.
        unsafe { block.write(list.cast()) };
        list = block;
        bytes += len;
    }
    while !list.is_null() {
        let block = list.cast();
        // SAFETY: the link was written above, and the block came from `alloc`.
        unsafe {
            list = list.read().cast();
            dealloc(block, layout);
        }
    }
    bytes
}

/// So many goroutines more or less: the last 512 have a page each, or have been packed.
const LAST: usize = 512 * 4096 / 700;

const LENGTHS: [usize; 6] = [48, 704, 3000, 5000, 64 << 10, 2_000_000];

pub fn a_peak_of_blocks_leaves_room_for_goroutines() {
    let total = frames::stats().total as usize * 4096;
    for len in LENGTHS {
        let bytes = peak(len);
        assert!(bytes > total * 3 / 4, "{bytes} bytes in blocks of {len}");
    }
    let first = fit(usize::MAX);
    println!("{first} goroutines after the heap had all memory");
    // Packed, all in, each is 1.3 KiB at most; without optimisation 1,800 bytes.
    assert!(first * 1800 > total * 8 / 10, "{first} goroutines fit");
    for len in [48, 64 << 10] {
        peak(len);
        let again = fit(usize::MAX);
        assert!(
            again * 100 + LAST * 100 >= first * 98,
            "{first} goroutines fit before a peak of blocks of {len}, {again} after it"
        );
    }
}

pub fn a_peak_of_goroutines_leaves_room_for_blocks() {
    let total = frames::stats().total as usize * 4096;
    fit(usize::MAX);
    // Their records stay for the next ones: nothing else does.
    let records = runtime::stats().memory.records as usize;
    for len in LENGTHS {
        let bytes = peak(len);
        assert!(bytes > (total - records * 11 / 10) * 3 / 4, "{bytes} bytes in blocks of {len}, {records} of records");
    }
    let most = (total - records * 11 / 10) * 3 / 4;
    assert!(Vec::<u8>::new().try_reserve_exact(most).is_ok(), "no block of {most} bytes, {records} of records");
}

pub fn go_packs_before_it_refuses() {
    // The G's park at once, and none is cold: a period is half a second, and none begins meanwhile.
    let total = frames::stats().total as usize;
    let n = fit(total * 3 / 2);
    assert!(n >= total * 3 / 2, "{n} goroutines fit into {total} frames");
    // The same when a block has taken most of it.
    runtime::scavenge();
    let hog = black_box(Vec::<u8>::with_capacity((frames::stats().free as usize - total / 4) * 4096));
    let free = frames::stats().free as usize;
    let n = fit(free * 5 / 4);
    assert!(n >= free * 5 / 4, "{n} goroutines fit into {free} frames");
    drop(hog);
}

pub fn a_peak_leaves_room_at_96_mib() {
    peak(64 << 10);
    let after = fit(usize::MAX);
    println!("{after} goroutines");
    assert!(after > if cfg!(debug_assertions) { 95_000 } else { 130_000 }, "{after} goroutines fit");
    a_peak_of_goroutines_leaves_room_for_blocks();
}
