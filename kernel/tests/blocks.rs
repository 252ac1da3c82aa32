//! Blocks above 2 KiB: what they cost amid holes, where they come from, and that their memory goes
//! back.
#![no_std]
#![no_main]

mod support;

extern crate alloc;

use alloc::alloc::{Layout, alloc, dealloc, realloc};
use core::hint::black_box;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

use trefoil::mm::{frames, heap};
use trefoil::prelude::*;
use trefoil::testing::account;
use trefoil::time::ticks;

image! {
    blocks_cost_the_same_amid_holes: "smp 1 | mem 1G | icount";
    a_sleeper_is_on_time_beside_600_mib: "smp 1 | mem 1G | icount";
    a_sleeper_is_on_time_beside_scattered_blocks: "smp 1 | mem 64M | icount";
    alignment_of_any_size_is_kept: "smp 1 | mem 256M";
    a_block_grows_and_shrinks_with_its_bytes: "smp 1,2,4 | mem 256M";
    blocks_keep_their_bytes_on_all_cores: "smp 1,2,4 | mem 128M";
    blocks_are_found_between_other_frames: "smp 1,2,4 | mem 64M";
    stacks_are_packed_between_other_frames: "smp 1,4 | mem 48M";
    a_request_beyond_memory_leaves_all_as_it_was: "smp 1,2 | mem 64M";
    a_peak_of_blocks_leaves_room_for_goroutines: "smp 1,4 | mem 48M | timeout 300";
    a_peak_of_goroutines_leaves_room_for_blocks: "smp 2 | mem 48M | timeout 300";
    go_packs_before_it_refuses: "smp 1,2 | mem 48M";
    a_peak_leaves_room_at_96_mib: "large | smp 1,4 | mem 96M | timeout 600";
}

const MIB: usize = 1 << 20;

/// Instructions that an allocation or a free may take. Without optimisation it is longer than what
/// ships (500: see `bench`).
const MOST: u64 = if cfg!(debug_assertions) { 1000 } else { 500 };
/// The same for one that takes a new arena, or gives one back.
const MOST_EVER: u64 = 2 * MOST + 500;

/// The average and the longest time of an allocation, and of a free, of `len` bytes.
fn costs(len: usize) -> [(u64, u64); 2] {
    const N: u64 = 50;
    let mut blocks = Vec::with_capacity(N as usize);
    let mut sums = [(0, 0); 2];
    let add = |sum: &mut (u64, u64), took: u64| *sum = (sum.0 + took, sum.1.max(took));
    for _ in 0..N {
        let begin = ticks();
        let block = black_box(Vec::<u8>::with_capacity(len));
        add(&mut sums[0], ticks() - begin);
        blocks.push(block);
    }
    while let Some(block) = blocks.pop() {
        let begin = ticks();
        drop(black_box(block));
        add(&mut sums[1], ticks() - begin);
    }
    sums.map(|(sum, longest)| (sum / N, longest))
}

fn blocks_cost_the_same_amid_holes() {
    const LENGTHS: [usize; 12] = [2049, 3000, 4000, 4096, 5000, 8192, 12_000, 20_000, 32 << 10, 50_000, 64 << 10, MIB];
    // Every second of them goes: 20,000 holes of each length.
    let mut holes: Vec<Vec<u8>> = Vec::with_capacity(80_000);
    let before = LENGTHS.map(costs);
    for len in [3000, 4096] {
        holes.extend((0..40_000).map(|_| Vec::with_capacity(len)));
    }
    let mut number = 0;
    holes.retain(|_| {
        number += 1;
        number % 2 == 0
    });
    let after = LENGTHS.map(costs);
    for ((len, before), after) in LENGTHS.into_iter().zip(before).zip(after) {
        println!("{len} bytes: {before:?} without holes, {after:?} amid 40,000 (alloc, free: average, longest)");
        for ((before, _), (average, longest)) in before.into_iter().zip(after) {
            assert!(average <= MOST && longest <= MOST_EVER, "{len} bytes: {average}, at most {longest} instructions");
            assert!(average <= before * 3 / 2, "{len} bytes: {before} instructions without holes, {average} amid them");
        }
    }
    // A block that grows looks behind itself, and no further.
    let mut block = Vec::<u8>::with_capacity(4096);
    let begin = ticks();
    block.reserve_exact(8192);
    let took = ticks() - begin;
    assert!(took <= 3 * MOST + 4096, "{took} instructions to move 4 KiB");
}

/// How late a goroutine is that sleeps 1 ms again and again, while `f` runs: in ns, at most.
fn latest_sleeper(f: impl FnOnce()) -> u64 {
    static STOP: AtomicBool = AtomicBool::new(false);
    STOP.store(false, Relaxed);
    let sleeper = go(|| {
        let mut latest = 0;
        while !STOP.load(Relaxed) {
            let begin = Instant::now();
            time::sleep(Duration::from_millis(1));
            latest = latest.max(begin.elapsed().as_nanos() as u64 - 1_000_000);
        }
        latest
    });
    time::sleep(Duration::from_millis(2));
    f();
    STOP.store(true, Relaxed);
    sleeper.join().unwrap()
}

/// 0.2 ms.
const LATE: u64 = 200_000;

fn a_sleeper_is_on_time_beside_600_mib() {
    let late = latest_sleeper(|| {
        let begin = Instant::now();
        for _ in 0..20 {
            drop(black_box(Vec::<u8>::with_capacity(600 * MIB)));
        }
        let took = begin.elapsed();
        assert!(took < Duration::from_millis(1), "600 MiB take {took:?}: something goes over all of them");
    });
    assert!(late < LATE, "{late} ns late beside `with_capacity`");
    let late = latest_sleeper(|| {
        let zeros = vec![0u64; 300 * MIB / 8];
        assert!(zeros.iter().step_by(500).all(|&word| word == 0));
    });
    assert!(late < LATE, "{late} ns late while memory is cleared");
    let late = latest_sleeper(|| {
        let mut block = vec![1u8; 200 * MIB];
        // It can't grow where it stands.
        let behind = Vec::<u8>::with_capacity(MIB);
        block.reserve_exact(300 * MIB);
        drop(behind);
        assert!(block.iter().step_by(5000).all(|&byte| byte == 1));
    });
    assert!(late < LATE, "{late} ns late while a block is copied");
}

/// Takes frames until few are left, and gives every second one back: no two free ones are
/// neighbours.
struct Sieve(Vec<u64>);

impl Sieve {
    fn new() -> Self {
        let total = frames::stats().total as usize;
        let mut taken = Vec::with_capacity(total);
        // What the cores keep for themselves, and for stacks that grow, is not cut up.
        while frames::stats().free > total as u64 / 16
            && let Some(frame) = frames::alloc()
        {
            taken.push(frame);
        }
        taken.retain(|&frame| {
            let stays = frame / 4096 % 2 == 0;
            if !stays {
                // SAFETY: 1. it came from `alloc` right above, and nobody used it.
                unsafe { frames::free(frame) };
            }
            stays
        });
        Self(taken)
    }
}

impl Drop for Sieve {
    fn drop(&mut self) {
        // SAFETY: 1. they came from `alloc`, and nobody used them.
        self.0.drain(..).for_each(|frame| unsafe { frames::free(frame) });
    }
}

/// Takes up what is not cut up, so that the next blocks are scattered.
fn fill_runs() -> Vec<Vec<u8>> {
    let mut fill = Vec::with_capacity(10_000);
    let mut len = 16 * MIB;
    while len >= 8192 {
        let mut block = Vec::<u8>::new();
        if block.try_reserve_exact(len).is_err() || !is_run(&block) {
            len /= 2;
        } else {
            fill.push(block);
        }
    }
    fill
}

/// Whether a block is a run of frames, not mapped page by page.
fn is_run(block: &[u8]) -> bool {
    trefoil::mm::paging::translate(block.as_ptr() as u64).is_none()
}

fn a_sleeper_is_on_time_beside_scattered_blocks() {
    let sieve = Sieve::new();
    let fill = fill_runs();
    let mut scattered = false;
    let late = latest_sleeper(|| {
        for _ in 0..10 {
            let mut block = Vec::<u8>::with_capacity(16 * MIB);
            scattered = !is_run(&block);
            block.resize(16 * MIB, 3);
        }
    });
    assert!(scattered, "a run of 16 MiB was left");
    assert!(late < LATE, "{late} ns late");
    drop((fill, sieve));
}

/// A block with a pattern of its own in each page's ends, which is checked when it goes.
struct Marked {
    at: *mut u8,
    layout: Layout,
    mark: u64,
}

// SAFETY: it is the only one that knows the block.
unsafe impl Send for Marked {}

impl Marked {
    /// None: no memory.
    fn new(len: usize, align: usize, mark: u64) -> Option<Self> {
        let layout = Layout::from_size_align(len.max(16), align.max(8)).unwrap();
        // SAFETY: the layout has a size.
        let at = unsafe { alloc(layout) };
        (!at.is_null()).then(|| {
            assert!(at.addr() % align == 0, "{len} bytes, aligned to {align}: at {at:?}");
            let block = Self { at, layout, mark };
            block.words(|word, mark| *word = mark);
            block
        })
    }

    /// Calls `f` for some of the words, with what stands there.
    fn words(&self, mut f: impl FnMut(&mut u64, u64)) {
        let words = self.layout.size() / 8;
        let some = (0..words).step_by(61).chain([words - 1]);
        // SAFETY: the words lie in the block.
        some.for_each(|n| f(unsafe { &mut *self.at.cast::<u64>().add(n) }, self.mark ^ n as u64));
    }

    fn check(&self) {
        self.words(|word, mark| assert_eq!(*word, mark, "a block of {} bytes was changed", self.layout.size()));
    }

    /// Whether it stands where it stood. Nothing happens without memory.
    fn resize(&mut self, len: usize) -> bool {
        let (old, len) = (self.layout.size(), len.max(16));
        // SAFETY: the block is ours; the size is not 0.
        let at = unsafe { realloc(self.at, self.layout, len) };
        if at.is_null() {
            return true;
        }
        let stays = core::mem::replace(&mut self.at, at) == at;
        self.layout = Layout::from_size_align(len, self.layout.align()).unwrap();
        assert!(at.addr().is_multiple_of(self.layout.align()));
        let (words, kept) = (old / 8, old.min(len) / 8);
        let some = (0..kept).step_by(61).chain((words <= kept).then(|| words - 1));
        for n in some {
            // SAFETY: the word lies in the block, and was written before.
            let word = unsafe { self.at.cast::<u64>().add(n).read() };
            assert_eq!(word, self.mark ^ n as u64, "{old} to {len} bytes, word {n}");
        }
        self.words(|word, mark| *word = mark);
        stays
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        self.check();
        // SAFETY: it came from `alloc` or `realloc` with this layout.
        unsafe { dealloc(self.at, self.layout) };
    }
}

fn alignment_of_any_size_is_kept() {
    for shift in 3..=24 {
        let blocks: Vec<Marked> = [1, 24, 700, 2049, 3000, 5000, 10_000, 100_000, 3 * MIB]
            .into_iter()
            .filter_map(|len| Marked::new(len, 1 << shift, shift))
            .collect();
        assert_eq!(blocks.len(), 9, "alignment {}", 1 << shift);
    }
    #[repr(align(32768))]
    struct Aligned([u8; 100]);
    let boxes: Vec<Box<Aligned>> = (0..100).map(|n| Box::new(Aligned([n; 100]))).collect();
    assert!(boxes.iter().zip(0..).all(|(b, n)| (&raw const **b).addr() % 32768 == 0 && b.0 == [n; 100]));
}

/// A number below `n`.
fn below(seed: &mut u64, n: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % n
}

/// A length up to `most`, short ones more often.
fn length(seed: &mut u64, most: usize) -> usize {
    let shift = below(seed, most.ilog2() as usize - 3);
    1 + below(seed, most >> shift)
}

fn a_block_grows_and_shrinks_with_its_bytes() {
    // One that grows alone grows where it stands.
    let mut block = Marked::new(64 << 10, 16, 5).unwrap();
    let moves = (1..100).filter(|n| !block.resize((64 << 10) + n * 50_000)).count();
    assert!(moves <= 8, "it has moved {moves} times");
    let mapped = heap::mapped();
    assert!(block.resize(5 * 4096), "it moves to become shorter");
    assert!(heap::mapped() < mapped - 4 * MIB as u64, "what is too long does not go back");
    drop(block);
    let workers: Vec<_> = (0..4u64)
        .map(|worker| {
            go(move || {
                let mut seed = worker;
                let mut blocks: Vec<Marked> =
                    (0..8).map(|n| Marked::new(3000, 8 << n, worker << 8 | n).unwrap()).collect();
                for round in 0..600 {
                    let n = below(&mut seed, 8);
                    blocks[n].resize(length(&mut seed, MIB));
                    if round % 16 == 0 {
                        runtime::yield_now();
                    }
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

/// Goroutines that take, change, pass on and free blocks of up to `most` bytes, `bytes` in all.
fn storm(most: usize, bytes: usize) {
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let (tx, rx) = chan::bounded::<Marked>(64);
    let workers: Vec<_> = (0..8u64)
        .map(|worker| {
            let (tx, rx) = (tx.clone(), rx.clone());
            go(move || {
                let mut seed = worker << 20;
                let (mut kept, mut held) = (Vec::<Marked>::new(), 0);
                for round in 0..400u64 {
                    let len = length(&mut seed, most);
                    held += len;
                    kept.extend(Marked::new(len, 8 << below(&mut seed, 12), worker << 32 | round));
                    while held > bytes / 8 && !kept.is_empty() {
                        let block = kept.swap_remove(below(&mut seed, kept.len()));
                        held = held.saturating_sub(block.layout.size());
                        _ = tx.try_send(block);
                    }
                    if round % 8 == 0 {
                        PASSED.fetch_add(rx.try_recv().is_ok().into(), Relaxed);
                        runtime::yield_now();
                    }
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert!(PASSED.load(Relaxed) > 0);
}

fn blocks_keep_their_bytes_on_all_cores() {
    storm(64 << 10, 8 * MIB);
    storm(4 * MIB, 32 * MIB);
    heap::trim();
    let mapped = heap::mapped();
    assert!(mapped < 2 * MIB as u64, "the heap keeps {mapped} bytes");
}

fn blocks_are_found_between_other_frames() {
    let sieve = Sieve::new();
    let fill = fill_runs();
    let before = heap::mapped();
    for round in 0..20 {
        let blocks: Vec<Marked> = (0..8).map(|n| Marked::new(MIB + n * 12_345, 16, n as u64).unwrap()).collect();
        assert!(trefoil::mm::paging::translate(blocks[0].at as u64).is_some(), "round {round}: it is a run of frames");
        runtime::yield_now();
        blocks.into_iter().for_each(|mut block| {
            block.resize(200_000);
            block.resize(300_000);
        });
    }
    assert!(heap::mapped() <= before + (256 << 10), "{} bytes stay", heap::mapped() - before);
    storm(64 << 10, 8 * MIB);
    storm(2 * MIB, 16 * MIB);
    drop(fill);
    drop(sieve);
    // All of it can be had in one piece again, but for what is spread over it.
    heap::trim();
    assert!(Vec::<u8>::new().try_reserve_exact(40 * MIB).is_ok());
}

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
            // Those that have not run yet have a page each, and can't be packed.
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

fn stacks_are_packed_between_other_frames() {
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

fn a_request_beyond_memory_leaves_all_as_it_was() {
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

fn a_peak_of_blocks_leaves_room_for_goroutines() {
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

fn a_peak_of_goroutines_leaves_room_for_blocks() {
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

fn go_packs_before_it_refuses() {
    // They park at once, and none is cold: a period is half a second, and there is none between
    // these.
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

fn a_peak_leaves_room_at_96_mib() {
    peak(64 << 10);
    let after = fit(usize::MAX);
    println!("{after} goroutines");
    assert!(after > if cfg!(debug_assertions) { 95_000 } else { 130_000 }, "{after} goroutines fit");
    a_peak_of_goroutines_leaves_room_for_blocks();
}
