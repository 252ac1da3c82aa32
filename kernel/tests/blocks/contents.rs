//! Blocks keep their alignment and their bytes, wherever their frames come from.

use alloc::alloc::{Layout, alloc, dealloc, realloc};
use core::sync::atomic::{AtomicU64, Ordering::*};

use trefoil::mm::heap;
use trefoil::prelude::*;

use crate::{MIB, Sieve, fill_runs};

/// A block with a pattern of its own in each page's ends, which is checked when it goes.
struct Marked {
    at: *mut u8,
    layout: Layout,
    mark: u64,
}

// SAFETY: it is the only one that knows the block.
unsafe impl Send for Marked {}

impl Marked {
    /// Allocates and marks a block. `None`: no memory.
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

    /// Changes the length. Returns true if the block stays in place; also without memory, when
    /// nothing happens.
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

pub fn alignment_of_any_size_is_kept() {
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

/// Returns a number below `n`.
fn below(seed: &mut u64, n: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % n
}

/// Returns a length up to `most`, short ones more often.
fn length(seed: &mut u64, most: usize) -> usize {
    let shift = below(seed, most.ilog2() as usize - 3);
    1 + below(seed, most >> shift)
}

pub fn a_block_grows_and_shrinks_with_its_bytes() {
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

/// Lets goroutines take, change, pass on and free blocks of up to `most` bytes, `bytes` in all.
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

pub fn blocks_keep_their_bytes_on_all_cores() {
    storm(64 << 10, 8 * MIB);
    storm(4 * MIB, 32 * MIB);
    heap::trim();
    let mapped = heap::mapped();
    assert!(mapped < 2 * MIB as u64, "the heap keeps {mapped} bytes");
}

pub fn blocks_are_found_between_other_frames() {
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
