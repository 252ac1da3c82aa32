//! Stacks that grow by being touched, in any code, and are kept for the next goroutine.
#![no_std]
#![no_main]

#[path = "support/deep.rs"]
mod deep;
mod support;

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use deep::{KIB, deep, until};
use trefoil::mm::{frames, heap, stack};
use trefoil::prelude::*;
use trefoil::sync::WaitGroup;
use trefoil::testing::inject;
use trefoil::{JoinError, SpawnError};

image! {
    growth_to_each_class: "mem 256M";
    growth_on_all_cores_at_once;
    growth_in_the_middle_of_an_instruction;
    a_large_frame_is_probed_page_by_page;
    new_pages_are_poisoned_in_debug_builds: "smp 1";
    growth_while_the_allocators_are_locked;
    each_page_may_be_denied_and_nothing_is_lost: "smp 1";
    a_size_that_cannot_be_met_is_an_error: "smp 1";
    more_windows_than_addresses_is_an_error: "smp 1";
    ended_gs_leave_no_memory_behind;
    free_gs_are_few_and_give_way_under_pressure: "mem 64M";
    a_reused_g_touches_no_new_page: "smp 1";
    a_reused_g_takes_no_global_lock: "smp 2 | icount | append slice=60000000";
    main_learns_of_its_stack: "smp 1";
}

fn growth_to_each_class() {
    for (max, depth) in
        [(256 * KIB, 220 * KIB), (1 << 20, 1000 * KIB), (16 << 20, 16_000 * KIB), (1 << 30, 60_000 * KIB)]
    {
        let handle = Builder::new()
            .stack_max(max)
            .spawn(move || {
                let wrong = deep(depth, 7);
                (wrong, runtime::current())
            })
            .unwrap();
        let (wrong, me) = handle.join().unwrap();
        assert_eq!(wrong, 0, "a stack of {max} lost its bytes");
        assert!(me.stack_high_water >= depth * 9 / 10, "{} of {depth}", me.stack_high_water);
        assert!(me.stack_in_use >= depth * 9 / 10);
    }
}

fn growth_on_all_cores_at_once() {
    for round in 0..5 {
        let handles: Vec<_> = (0..32).map(|i| go(move || deep(150 * KIB, round * 1000 + i))).collect();
        handles.into_iter().for_each(|h| assert_eq!(h.join().unwrap(), 0, "a stack lost its bytes"));
        if round % 2 == 0 {
            runtime::scavenge();
        }
    }
}

/// Runs the instructions on an absent page of this stack: `at` is the lowest address of a page that
/// is there, or would be, above absent ones.
macro_rules! across {
    ($at:expr, $($asm:tt)*) => {
        // SAFETY: `at` lies in this G's own window, far below its stack pointer and above the red
        // pages; nobody else uses those bytes.
        unsafe { asm!($($asm)*) }
    };
}

/// Executes instructions that fault in their middle, on pages that nobody has touched yet. Each
/// must do all its work, once.
#[inline(never)]
fn halfway(seed: u64) {
    let here = 0u8;
    // Eight pages for each: three are used.
    let mut at = ((&raw const here).addr() & !4095) - 4096;
    let mut next = || {
        at -= 8 * 4096;
        at
    };

    let to = next();
    across!(to, "std", "rep stosb", "cld", inout("rcx") 9000u64 => _, inout("rdi") to + 99 => _, in("al") seed as u8);
    // SAFETY: these bytes were just written.
    let filled = unsafe { core::slice::from_raw_parts((to + 100 - 9000) as *const u8, 9000) };
    assert!(filled.iter().all(|&b| b == seed as u8), "rep stosb");

    let (to, from) = (next(), [seed as u8; 6000]);
    across!(to, "rep movsb", inout("rcx") 6000u64 => _, inout("rdi") to - 3000 => _, inout("rsi") from.as_ptr() => _);
    // SAFETY: `rep movsb` has just written these bytes.
    assert!(unsafe { core::slice::from_raw_parts((to - 3000) as *const u8, 6000) } == from, "rep movsb");

    let (to, low, high): (_, u64, u64) = (next(), !seed, seed);
    let (got_low, got_high): (u64, u64);
    across!(
        to,
        "movq xmm0, {low}", "movq xmm1, {high}", "punpcklqdq xmm0, xmm1", "movups [{to} - 8], xmm0",
        "mov {got_low}, [{to} - 8]", "mov {got_high}, [{to}]",
        to = in(reg) to, low = in(reg) low, high = in(reg) high, got_low = out(reg) got_low, got_high = out(reg) got_high,
        out("xmm0") _, out("xmm1") _
    );
    assert_eq!((got_low, got_high), (low, high), "movups");

    let to = next();
    let (got, carry): (u64, u64);
    across!(
        to,
        "mov {sp}, rsp", "mov rsp, {to}", "stc", "push {seed}", "sbb {carry}, {carry}", "pop {got}", "mov rsp, {sp}",
        sp = out(reg) _, to = in(reg) to, seed = in(reg) seed, got = out(reg) got, carry = out(reg) carry
    );
    assert_eq!((got, carry), (seed, u64::MAX), "push, and the flags");

    let to = next();
    let got: u64;
    across!(
        to,
        "mov {sp}, rsp", "mov rsp, {to}", "call 2f", "3:", "mov rsp, {sp}", "jmp 4f", "2:", "lea {got}, [rip + 3b]", "sub {got}, [rsp]", "ret", "4:",
        sp = out(reg) _, to = in(reg) to, got = out(reg) got
    );
    assert_eq!(got, 0, "call");

    let to = next();
    let (mut first, mut second) = (seed, 1);
    across!(to, "xchg [{to} - 4], {first}", "lock xadd [{to} - 4], {second}", to = in(reg) to, first = inout(reg) first, second = inout(reg) second);
    assert_eq!(second, seed, "xchg and xadd, across two pages");
    black_box(first);

    let to = next();
    let (control, got): (u32, u32) = (0x1f80, 0);
    across!(to, "fxsave64 [{to} - 256]", "fxrstor64 [{to} - 256]", to = in(reg) to);
    // SAFETY: `fxsave64` has written it.
    let saved = unsafe { ((to - 256 + 24) as *const u32).read() };
    assert_eq!((saved, got), (control, 0), "fxsave64: the control word of SSE");
}

fn growth_in_the_middle_of_an_instruction() {
    let handles: Vec<_> =
        (1..17).map(|i| Builder::new().stack_max(1 << 20).spawn(move || halfway(i * 0x0101)).unwrap()).collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
}

fn a_large_frame_is_probed_page_by_page() {
    #[inline(never)]
    fn large(seed: u8) -> usize {
        let mut array = [0u8; 200 * KIB];
        // Only the lowest and the highest page are written by hand; the probes have touched those
        // between.
        array[0] = seed;
        array[200 * KIB - 1] = seed;
        let array = black_box(&array);
        array.iter().filter(|&&b| b == seed).count()
    }
    let handles: Vec<_> = (1..9).map(|i| go(move || large(i))).collect();
    handles.into_iter().for_each(|h| assert_eq!(h.join().unwrap(), 2));
}

fn new_pages_are_poisoned_in_debug_builds() {
    go(|| {
        let here = 0u8;
        let untouched = (((&raw const here).addr() & !4095) - 3 * 4096) as *const [u8; 4096];
        // SAFETY: a page of this G's own window, where nothing lives.
        let bytes = unsafe { untouched.read_volatile() };
        assert!(
            !cfg!(debug_assertions) || bytes.iter().all(|&b| b == 0xa5),
            "who reads what was never written must see it"
        );
    })
    .join()
    .unwrap();
}

fn growth_while_the_allocators_are_locked() {
    // More than one G on each core, and each core with its own reserve: nobody may need the lock
    // that is held.
    let handles: Vec<_> = (0..24)
        .map(|i| {
            go(move || {
                let grow = || assert_eq!(deep(100 * KIB, i), 0);
                match i % 3 {
                    0 => frames::with_locked(grow),
                    1 => trefoil::mm::heap::with_locked(grow),
                    _ => trefoil::console::with_locked(grow),
                }
                // The reserve is full again when the next one needs it.
                deep(150 * KIB, i)
            })
        })
        .collect();
    handles.into_iter().for_each(|h| assert_eq!(h.join().unwrap(), 0));
}

/// Uses stack, heap, channels and G's: each of its allocations may fail. Returns `None` after an
/// operation that returned an error.
fn a_bit_of_everything(level: u64) -> Option<u64> {
    let mut words = Vec::new();
    words.try_reserve(100).ok()?;
    words.extend((0..100).map(|i| level + i));
    let wrong = deep(30 * KIB, level);
    let child = trefoil::try_go(move || words.iter().sum::<u64>()).ok()?;
    let sum = child.join().ok()?;
    let (tx, rx) = chan::bounded(1);
    tx.send(sum).ok()?;
    let sum = rx.recv().ok()? + deep(60 * KIB, level);
    Some(sum + wrong)
}

fn each_page_may_be_denied_and_nothing_is_lost() {
    let expected = (0..100).sum::<u64>() + 700;
    assert_eq!(go(|| a_bit_of_everything(7)).join().unwrap(), Some(expected));
    let mut seen = Outcomes::default();
    // While the rounds go on, the heap may grow (denied a few times, then not): a round that gets
    // through has fewer allocations than those before it, and the last ones were never denied. Then
    // all of it once more.
    let complete = (0..5).any(|_| deny_in_turn(expected, &mut seen));
    assert!(complete, "each time the last round had fewer allocations than the one before");
    println!("{seen:?}");
    assert!(!cfg!(debug_assertions) || (seen.refused > 0 && seen.panicked > 0 && seen.starved > 10));
}

#[derive(Debug, Default)]
struct Outcomes {
    refused: u32,
    panicked: u32,
    starved: u32,
    made_good: u32,
}

/// Denies the first allocation, the second in the next round, and so on until a round gets through.
/// True: that had just as many as were denied.
fn deny_in_turn(expected: u64, seen: &mut Outcomes) -> bool {
    for n in 1.. {
        let account = trefoil::testing::account::Account::open();
        let worker = Builder::new().stack_max(1 << 20).spawn(move || {
            inject::fail_after(n);
            a_bit_of_everything(7)
        });
        let result = worker.unwrap().join();
        let fired = inject::off();
        match result {
            Ok(Some(sum)) if !fired => {
                assert_eq!(sum, expected);
                return inject::left() == 1;
            }
            Ok(Some(sum)) => {
                assert_eq!(sum, expected);
                seen.made_good += 1;
            }
            Ok(None) => seen.refused += 1,
            Err(JoinError::Panicked(_)) => seen.panicked += 1,
            Err(JoinError::OutOfMemory) => seen.starved += 1,
            Err(other) => panic!("allocation {n}: {other}"),
        }
        assert!(fired, "allocation {n} was not made to fail, but something failed");
        // (The heap is compared until the first G ends where it stands, since that G's blocks
        // stay.)
        if let Err(left) = account.close() {
            panic!("allocation {n} failed, and left behind:\n{left}");
        }
    }
    unreachable!("the loop has no end but the one in it")
}

fn a_size_that_cannot_be_met_is_an_error() {
    for size in [0, (1 << 30) + 1, usize::MAX] {
        let moved = String::from("mine");
        match Builder::new().stack_max(size).spawn(move || moved.len()) {
            Err(error @ SpawnError::BadStackSize(_)) => {
                assert!(error.to_string().contains("1 byte to 1 GiB"));
                assert_eq!(error.into_inner()(), 4, "the closure came back");
            }
            _ => panic!("a stack of {size} bytes"),
        }
    }
    assert_eq!(Builder::new().stack_max(1).spawn(|| 5).unwrap().join().unwrap(), 5);
}

fn more_windows_than_addresses_is_an_error() {
    let (tx, rx) = chan::bounded::<()>(0);
    let mut handles = Vec::with_capacity(9000);
    let error = loop {
        let rx = rx.clone();
        match Builder::new().stack_max(1 << 30).spawn(move || rx.recv().is_err()) {
            Ok(handle) => handles.push(handle),
            Err(error) => break error,
        }
        runtime::yield_now();
    };
    assert!(matches!(error, SpawnError::TooManyGoroutines(_)), "{error}");
    assert!(error.to_string().contains("too many goroutines"));
    assert!(handles.len() >= 8000, "only {}", handles.len());
    drop(error);
    drop((tx, rx));
    handles.into_iter().for_each(|h| assert!(h.join().unwrap()));
}

fn ended_gs_leave_no_memory_behind() {
    // One after another, and a crowd at once.
    let wg = Arc::new(WaitGroup::new());
    let mut after_warm_up = 0;
    for round in 0..30u64 {
        wg.add(1000);
        for i in 0..1000 {
            let wg = wg.clone();
            drop(go(move || {
                assert_eq!(deep((1 + i % 9) * KIB, round), 0);
                wg.done();
            }));
        }
        wg.wait();
        (0..1000).for_each(|i| assert_eq!(go(move || i).join().unwrap(), i));
        if round == 3 {
            runtime::scavenge();
            after_warm_up = runtime::stats().memory.used();
        }
    }
    runtime::scavenge();
    let memory = runtime::stats().memory;
    // Each P keeps 64, none of them deeper than the depths above.
    let most = 64 * 3 * runtime::max_procs() as u64 + 16;
    assert!(memory.stacks.pages <= most, "{} pages for {} G's", memory.stacks.pages, runtime::num_goroutines());
    // And a thousand records, if fewer were alive at once before.
    let used = memory.used().saturating_sub(after_warm_up);
    assert!(used <= most * 4096 + (1 << 20), "{} KiB more", used >> 10);
}

fn free_gs_are_few_and_give_way_under_pressure() {
    const CROWD: usize = 2000;
    let (tx, rx) = chan::bounded::<()>(0);
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let rx = rx.clone();
            go(move || rx.recv().is_err())
        })
        .collect();
    until(|| runtime::num_goroutines() == CROWD + 1);
    drop((tx, rx));
    crowd.into_iter().for_each(|g| assert!(g.join().unwrap()));
    // In the background, without pressure, the stacks that the P's keep stay mapped, and a few
    // more.
    let most = 64 * (runtime::max_procs() as u64 + 1) + 8;
    until_slowly("free G's keep their stacks", || stack::mapped_pages() <= most);
    assert!(stack::mapped_pages() > 32, "none is kept for the next spawn");
    // Under pressure only the stacks of living G's stay mapped.
    let mut taken = Vec::with_capacity(40_000);
    let mut short = 0;
    while short < 500 {
        taken.push(frames::alloc().expect("memory is not that short"));
        short += u32::from(frames::is_low());
    }
    // (Nobody sleeps: the P's of the others are at rest all the time.)
    let begin = Instant::now();
    while stack::mapped_pages() > 8 {
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "free G's keep their stacks under pressure: {:?}",
            stack::stats()
        );
        // Somebody wants memory, or nobody would look for it.
        let some: [_; 100] = core::array::from_fn(|_| frames::alloc());
        // SAFETY: 1. they came from `alloc` right above and were not used.
        some.into_iter().flatten().for_each(|f| unsafe { frames::free(f) });
        runtime::yield_now();
    }
    // SAFETY: 1. they came from `alloc` right above and were not used.
    taken.iter().for_each(|&f| unsafe { frames::free(f) });
}

/// Waits for what happens in the background.
fn until_slowly(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}: {:?}", runtime::stats());
        time::sleep(Duration::from_millis(5));
    }
}

fn a_reused_g_touches_no_new_page() {
    (0..10).for_each(|_| go(|| ()).join().unwrap());
    let (grown, frames_before) = (stack::grown(), frames::stats());
    (0..1000u64).for_each(|i| assert_eq!(go(move || i).join().unwrap(), i));
    assert_eq!(stack::grown(), grown, "a page fault");
    assert_eq!(frames::stats(), frames_before, "a frame");
}

fn a_reused_g_takes_no_global_lock() {
    // The other core holds every lock that the cores share, until all is done here. Nobody is
    // preempted: that takes the global queue's lock, and on a slow host slices end while this runs.
    static AWAY: AtomicBool = AtomicBool::new(false);
    static HOLD: AtomicBool = AtomicBool::new(false);
    static HELD: AtomicBool = AtomicBool::new(false);
    static DONE: AtomicBool = AtomicBool::new(false);
    static LATE: AtomicBool = AtomicBool::new(false);
    fn wait(flag: &AtomicBool) {
        let begin = Instant::now();
        while !flag.load(SeqCst) && !LATE.load(SeqCst) {
            LATE.fetch_or(begin.elapsed() > Duration::from_secs(20), SeqCst);
            core::hint::spin_loop();
        }
    }
    let holder = go(|| {
        trefoil::console::with_locked(|| {
            AWAY.store(true, SeqCst);
            wait(&HOLD);
            // Not the scavenger's either: a piece of its work may be due meanwhile, and that takes
            // locks.
            stack::scavenge::with_locked(|| {
                frames::with_locked(|| {
                    heap::with_locked(|| {
                        runtime::with_globq_locked(|| {
                            runtime::with_free_locked(|| {
                                HELD.store(true, SeqCst);
                                wait(&DONE);
                            });
                        });
                    });
                });
            });
        });
    });
    until(|| AWAY.load(SeqCst));
    let some = |n: u64| (0..n).for_each(|i| assert_eq!(go(move || i).join().unwrap(), i));
    some(10);
    HOLD.store(true, SeqCst);
    until(|| HELD.load(SeqCst) || LATE.load(SeqCst));
    some(10_000);
    DONE.store(true, SeqCst);
    holder.join().unwrap();
    assert!(!LATE.load(SeqCst), "somebody has waited for a lock");
}

fn main_learns_of_its_stack() {
    let before = runtime::current();
    assert_eq!((before.name.as_str(), before.stack_in_use % 4096), ("main", 0));
    assert_eq!(deep(100 * KIB, 1), 0);
    let after = runtime::current();
    assert!(after.stack_high_water >= 90 * KIB && after.stack_high_water > before.stack_high_water);
    let all = runtime::goroutines();
    assert!(all.iter().any(|g| g.name == "main" && g.id == after.id));
}
