//! Memory that runs out: the goroutine that asks for more gets an error or unwinds.

use core::alloc::Layout;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use trefoil::mm::{frames, heap, stack};
use trefoil::prelude::*;
use trefoil::testing::account;
use trefoil::testing::inject;

use crate::{leaves_nothing, live, take_all_of};

/// Counts its destructor's runs.
struct Counted<'a>(&'a AtomicU64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Makes a function that takes memory by blocks of 64 KiB until there is none. Its list has room
/// already, since others may take the last memory.
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

pub fn exhaustion_unwinds_the_one_that_asked() {
    let others = Arc::new(AtomicU64::new(0));
    leaves_nothing(|| {
        DROPPED.store(0, Relaxed);
        let (tx, rx) = chan::bounded::<()>(0);
        let counting: Vec<_> = (0..3)
            .map(|_| {
                let (rx, others) = (rx.clone(), others.clone());
                go(move || {
                    // The counting G's allocate nothing, so they go on while there is no memory.
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

pub fn exhaustion_unwinds_all_that_ask() {
    leaves_nothing(|| {
        DROPPED.store(0, Relaxed);
        let all: Vec<_> = (0..6).map(|_| take_all()).collect();
        let takers: Vec<_> = all.into_iter().map(go).collect();
        takers.into_iter().for_each(|t| assert_out_of_memory(t.join(), "65536"));
        assert!(DROPPED.load(Relaxed) > 400, "destructors did not run");
    });
    assert!(Vec::<u8>::new().try_reserve(16 << 20).is_ok(), "memory did not come back");
}

pub fn exhaustion_by_small_blocks_unwinds() {
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
        // Between the first taker's start and the last one's end, main may get no memory either.
        let mut ends = Vec::with_capacity(4);
        let (all_stand, begin) = chan::bounded::<()>(0);
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let begin = begin.clone();
                go(move || {
                    let _ = begin.recv();
                    let mut list = None;
                    loop {
                        list = Some(Box::new(Node { next: list.take(), _counted: Counted(&DROPPED) }));
                    }
                })
            })
            .collect();
        drop(all_stand);
        takers.into_iter().for_each(|taker| ends.push(taker.join()));
        ends.into_iter().for_each(|end| assert_out_of_memory::<()>(end, "16"));
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

pub fn a_block_that_came_meanwhile_is_not_lost() {
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
        // The lender may take some turns until it has parked.
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

pub fn try_reserve_gets_an_error() {
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

/// Makes a bit of everything. Returns true if all of it succeeded, false after an error. Operations
/// without an error to return panic.
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

pub fn each_allocation_may_fail_and_nothing_is_lost() {
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
