//! The end of a stack: wherever it is reached, and whatever the kernel does there, that goroutine
//! ends or goes on; the machine does not end. And what stays behind when it ends: frames that
//! others borrow.
//!
//! The sweep takes every `app.step`-th place; all of them in `make test-large`.
#![no_std]
#![no_main]

#[path = "support/deep.rs"]
mod deep;
mod support;

use core::arch::naked_asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use deep::{KIB, deep, until};
use trefoil::JoinError;
use trefoil::arch;
use trefoil::arch::lock::Lock;
use trefoil::context::Context;
use trefoil::joinset::JoinSet;
use trefoil::mm::{heap, stack};
use trefoil::prelude::*;
use trefoil::sync::{Condvar, Mutex, RwLock};
use trefoil::testing::step::{self, Event};

image! {
    no_place_at_the_end_ends_the_machine:
        "append app.step=23 | timeout 120",
        "large | append app.step=1 | timeout 3000";
    a_slow_overflow_ends_its_g_alone:
        "expect Builder::stack_max makes it larger | expect edge::slowly at kernel/tests/edge.rs";
    a_frame_leaves_two_red_pages_alone;
    the_interrupt_at_the_end_of_main_is_its_overflow:
        "smp 1,2 | exit 1 | expect \"main\" has used up its window | expect trefoil::main!( | expect end of report";
    growth_with_preemption_off_goes_as_far_as_memory: "mem 96M";
    memory_at_its_end_with_preemption_off_ends_the_g:
        "mem 96M | smp 1,2 | expect out of memory: no frame for the stack of";
    pages_of_the_living_are_there_for_everybody;
    aligned_values_find_their_place;
    red_pages_of_the_living_are_nobodys: "expect below the end of the stack of G";
    frames_of_the_dead_stay_while_children_borrow: "expect the stack of G | expect \"opener\", which has ended";
    frames_of_the_dead_stay_for_grandchildren;
    a_timeout_finds_its_list_on_a_dead_frame;
    a_child_may_start_others_after_its_opener_has_died;
    many_deaths_cost_no_look:
        "smp 1 | icount | append app.deaths=40 | timeout 120",
        "large | smp 1 | icount | append app.deaths=10000 | timeout 3000";
    main_has_the_stack_that_the_option_says: "append stack=1M";
    a_bad_stack_option_is_named:
        "smp 1 | append stack=lots | expect stack=\"lots\": wants a size from 4K to 1G; skipped";
}

/// The guard and the red pages.
const FORBIDDEN: usize = 20 * KIB;
/// The largest xsave area that the kernel turns on.
const XSAVE: u32 = 2688;

fn number(name: &str, unless: usize) -> usize {
    runtime::args().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).unwrap_or(unless)
}

/// Calls `f(arg)` with the stack pointer `rsp`, which is a multiple of 16 and far below the
/// caller's.
#[unsafe(naked)]
unsafe extern "C" fn call_at(f: extern "C" fn(usize), arg: usize, rsp: usize) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rsp, rdx",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}

/// Does nothing for 64 instructions, with the stack pointer `rsp`.
#[unsafe(naked)]
unsafe extern "C" fn hover_at(rsp: usize) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rsp, rdi",
        ".rept 64",
        "nop",
        ".endr",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}

/// The caller is preempted while its stack pointer is `rsp`.
fn preempted_at(rsp: usize) {
    // SAFETY: the stack is this G's; what lies between belongs to nobody.
    let fired = step::run(32, Event::Preempt, || unsafe { hover_at(rsp) });
    assert!(fired, "it hovers for too few instructions");
}

/// Where the window of the caller begins.
fn lowest() -> usize {
    let guard = trefoil_sched::PreemptGuard::new();
    trefoil_sched::current_g(&guard).stack().lo
}

/// Recursion without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 16]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

extern "C" fn deeper(_: usize) {
    black_box(glut(0));
}

/// What a program calls, with preemption off somewhere inside.
extern "C" fn call(which: usize) {
    static MUTEX: Mutex<u64> = Mutex::new(0);
    match which {
        0 => {
            let (tx, rx) = chan::bounded(1);
            tx.send([which; 8]).unwrap();
            assert_eq!(rx.recv(), Ok([which; 8]));
        }
        1 => {
            let (tx, rx) = chan::bounded(0);
            // Whoever dies before it receives leaves its end of the channel open for ever.
            let other = go(move || tx.send_timeout(5u8, Duration::from_millis(20)).is_ok());
            assert_eq!(rx.recv(), Ok(5));
            let _ = other.join();
        }
        2 => {
            // If its last holder has died in there, nobody gets it any more.
            if let Ok(mut n) = MUTEX.try_lock() {
                *n += 1;
            }
        }
        3 => drop(black_box(vec![3u8; 60_000])),
        4 => println!("{} deep", lowest() % 7),
        5 => time::sleep(Duration::from_micros(20)),
        6 => runtime::yield_now(),
        7 => _ = go(|| 5).join(),
        8 => {
            let ((a, one), (b, two)) = (chan::bounded(1), chan::bounded::<u8>(1));
            a.send(1).unwrap();
            select! { recv(one) -> n => assert_eq!(n, Ok(1)), recv(two) -> n => { n.unwrap(); } }
            drop(b);
        }
        9 => {
            let (_a, one) = chan::bounded::<u8>(0);
            select! { recv(one) -> _ => unreachable!(), default(Duration::from_micros(10)) => {} }
        }
        10 => _ = runtime::scavenge(),
        11 => scope(|s| drop(s.go(|| ()))),
        12 => drop(black_box((runtime::stats(), runtime::goroutines()))),
        13 => {
            let (mutex, condvar) = (Mutex::new(()), Condvar::new());
            let _ = condvar.wait_timeout(mutex.lock().unwrap(), Duration::from_micros(10));
        }
        14 => {
            let lock = RwLock::new(5);
            assert_eq!(*lock.read().unwrap(), 5);
            *lock.write().unwrap() += 1;
        }
        15 => {
            let mut set = JoinSet::new();
            set.go(|| 5);
            let _ = set.join_next();
        }
        16 => _ = task::block_on(async { 5 }),
        17 => _ = runtime::set_slice(Duration::from_millis(10)),
        18 => {
            let (context, cancel) = Context::background().with_timeout(Duration::from_secs(5));
            cancel.cancel();
            assert!(context.err().is_some());
        }
        _ => drop(black_box(runtime::pin())),
    }
}
const CALLS: usize = 20;

/// Each place of the last 24 KiB: preempted there, up to six times on the way down; then the stack
/// goes on, or the kernel is called.
fn no_place_at_the_end_ends_the_machine() {
    arch::preempt::set_xsave_bytes(XSAVE);
    let stop = Arc::new(AtomicBool::new(false));
    let competitor = {
        let stop = stop.clone();
        go(move || until(|| stop.load(SeqCst)))
    };
    let (mut lived, mut ended) = (0, 0);
    let mut end = |handle: JoinHandle<()>, what: &str, left: usize, n: usize| match handle.join() {
        Ok(()) => lived += 1,
        Err(JoinError::StackOverflow) => ended += 1,
        Err(other) => panic!("{what} {n} with {left} bytes left: {other}"),
    };
    for (at, left) in (4096..24 * KIB).step_by(64).step_by(number("step", 1)).enumerate() {
        let builder = Builder::new().stack_max(if at % 2 == 0 { 256 * KIB } else { 1 << 20 });
        let turns = if number("step", 1) == 1 { 1..7 } else { at % 6 + 1..at % 6 + 2 };
        for turns in turns {
            let handle = builder.spawn(move || {
                let place = lowest() + left;
                (1..turns).rev().for_each(|above| preempted_at(place + 256 * above));
                preempted_at(place);
                // SAFETY: as in `preempted_at`.
                unsafe { call_at(deeper, 0, place & !15) };
            });
            end(handle.unwrap(), "preempted", left, turns);
        }
        // A frame at the edge has mapped red pages: whoever comes next goes down into them.
        for which in 0..CALLS {
            let handle = builder.spawn(move || {
                let lo = lowest();
                preempted_at(lo + FORBIDDEN);
                // SAFETY: as in `preempted_at`.
                unsafe { call_at(call, which, (lo + left) & !15) };
            });
            end(handle.unwrap(), "call", left, which);
        }
    }
    stop.store(true, SeqCst);
    competitor.join().unwrap();
    println!("{lived} lived, {ended} ended");
    assert!(lived > 10 && ended > 10, "{lived} lived, {ended} ended: the end is somewhere else");
}

#[inline(never)]
fn slowly(level: u64) -> u64 {
    let kept = black_box([level; 32]);
    // Once at each level, below what it has in use.
    preempted_at((kept.as_ptr().addr() - 512) & !15);
    if kept[0] == u64::MAX { 0 } else { slowly(level + 1) + kept[31] }
}

fn a_slow_overflow_ends_its_g_alone() {
    arch::preempt::set_xsave_bytes(XSAVE);
    for max in [256 * KIB, 1 << 20] {
        let slow = Builder::new().stack_max(max).spawn(|| slowly(0)).unwrap();
        assert!(matches!(slow.join(), Err(JoinError::StackOverflow)));
    }
    assert_eq!(go(|| 5).join().unwrap(), 5);
}

/// INV-RED: the G's next level has as much room below as its first.
fn a_frame_leaves_two_red_pages_alone() {
    for bytes in [832, XSAVE] {
        arch::preempt::set_xsave_bytes(bytes);
        // A large window comes without pages of its last G's.
        let deepest = Builder::new().stack_max(1 << 20).spawn(|| {
            let lo = lowest();
            (0..64).step_by(8).for_each(|above| preempted_at(lo + FORBIDDEN + above));
            runtime::current().stack_high_water
        });
        let deepest = deepest.unwrap().join().unwrap();
        assert!(deepest > (1 << 20) - FORBIDDEN, "it did not reach into the red pages");
        assert!(deepest <= (1 << 20) - FORBIDDEN + 8 * KIB, "a frame of {bytes} bytes reaches {deepest} bytes down");
    }
}

fn the_interrupt_at_the_end_of_main_is_its_overflow() {
    preempted_at(lowest() + FORBIDDEN - 64);
}

fn growth_with_preemption_off_goes_as_far_as_memory() {
    static LOCK: Lock<()> = Lock::new(());
    for what in 0..3 {
        let grown = Builder::new().stack_max(16 << 20).spawn(move || {
            let grow = || deep(8 << 20, 7);
            match what {
                0 => {
                    let _held = LOCK.lock();
                    grow()
                }
                1 => heap::with_locked(grow),
                _ => trefoil::console::with_locked(grow),
            }
        });
        assert_eq!(grown.unwrap().join().unwrap(), 0, "a stack lost its bytes");
    }
}

fn memory_at_its_end_with_preemption_off_ends_the_g() {
    static LOCK: Lock<()> = Lock::new(());
    let before = runtime::stats().memory.frames.free;
    // One takes what there is, down to what the other needs; with preemption on it is ended in
    // time, whoever is the unlucky one.
    let glutton = Builder::new().stack_max(1 << 30).spawn(|| deep(900 << 20, 1)).unwrap();
    assert!(matches!(glutton.join(), Err(JoinError::OutOfMemory)));
    until(|| runtime::scavenge() == 0 && runtime::stats().memory.frames.free + 64 > before);
    // The same without a moment with preemption on: it stops growing as soon as it is told that
    // memory is short.
    let told = Builder::new().stack_max(1 << 30).spawn(|| {
        let _held = LOCK.lock();
        until_doomed(0)
    });
    assert!(matches!(told.unwrap().join(), Err(JoinError::OutOfMemory)));
    drop(LOCK.lock());
    until(|| runtime::num_goroutines() == 1);
    assert_eq!(go(|| deep(100 * KIB, 3)).join().unwrap(), 0, "memory did not come back");
}

/// Goes down until its G is told to end.
#[inline(never)]
fn until_doomed(level: u64) -> u64 {
    let block = black_box([level; 32]);
    let guard = trefoil_sched::PreemptGuard::new();
    if trefoil_sched::current_g(&guard).doomed().is_some() { 0 } else { until_doomed(level + 1) + block[7] }
}

/// Below the caller's stack pointer, where nobody has been.
#[inline(never)]
fn untouched(bytes: usize) -> usize {
    let here = 0u8;
    ((&raw const here).addr() - bytes) & !4095
}

fn pages_of_the_living_are_there_for_everybody() {
    let (to, from) = chan::bounded::<usize>(0);
    let (done, wait) = chan::bounded::<()>(0);
    let owner = go(move || {
        let low = untouched(160 * KIB);
        to.send(low).unwrap();
        wait.recv().unwrap();
        runtime::current().stack_high_water
    });
    let low = from.recv().unwrap();
    let touch = |at: usize, off: bool| {
        move || {
            static LOCK: Lock<()> = Lock::new(());
            let _held = off.then(|| LOCK.lock());
            // SAFETY: the page is the owner's, below what it uses: nobody has a use for these
            // bytes.
            unsafe {
                (at as *mut u64).write_volatile(at as u64);
                assert_eq!((at as *const u64).read_volatile(), at as u64);
            }
        }
    };
    // Each page by another G, with preemption on and off, while the stack is shrunk again and
    // again.
    let touchers: Vec<_> = (0..20).map(|i| go(touch(low + i * 4096, i % 2 == 0))).collect();
    runtime::scavenge();
    touchers.into_iter().for_each(|t| t.join().unwrap());
    runtime::scavenge();
    done.send(()).unwrap();
    assert!(owner.join().unwrap() > 150 * KIB, "nobody has noticed how deep it reaches");
    // What a packed one does not have.
    let (to, from) = chan::bounded::<usize>(1);
    let (done, wait) = chan::bounded::<()>(0);
    let packed = go(move || {
        to.send(untouched(64 * KIB)).unwrap();
        wait.recv().unwrap();
    });
    let low = from.recv().unwrap();
    until(|| runtime::goroutines().iter().any(|g| g.wait_reason == runtime::WaitReason::ChanRecv));
    runtime::scavenge();
    go(touch(low, false)).join().unwrap();
    done.send(()).unwrap();
    packed.join().unwrap();
}

fn aligned_values_find_their_place() {
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    #[repr(align(8192))]
    struct Two([u8; 8192]);
    #[repr(align(4096))]
    struct Four([u8; 16384]);
    trait Make: Send + 'static {
        fn make() -> Self;
        fn last(&self) -> u8;
    }
    macro_rules! make {
        ($($t:ident)*) => { $( impl Make for $t {
            fn make() -> Self { Self([7; size_of::<Self>()]) }
            fn last(&self) -> u8 { self.0[self.0.len() - 1] }
        } )* };
    }
    make!(Page Two Four);
    fn hand<T: Make>(depth: usize) {
        let (tx, rx) = chan::bounded::<T>(0);
        let receiver = go(move || {
            assert_eq!(deep(depth, 1), 0);
            rx.recv().map(|value| black_box(&value).last())
        });
        until(|| runtime::goroutines().iter().any(|g| g.wait_reason == runtime::WaitReason::ChanRecv));
        runtime::scavenge();
        let sender = go(move || tx.send(black_box(T::make())).is_ok());
        assert!(sender.join().unwrap());
        assert_eq!(receiver.join().unwrap(), Ok(7));
    }
    for depth in [0, 2 * KIB, 40 * KIB] {
        hand::<Page>(depth);
        hand::<Two>(depth);
        hand::<Four>(depth);
    }
}

fn red_pages_of_the_living_are_nobodys() {
    let (to, from) = chan::bounded::<usize>(0);
    let (done, wait) = chan::bounded::<()>(0);
    let owner = go(move || {
        to.send(lowest()).unwrap();
        wait.recv().unwrap();
    });
    let lo = from.recv().unwrap();
    for left in [0, 4095, 4096, FORBIDDEN - 1] {
        let toucher = go(move || {
            // SAFETY: none: these pages are nobody's. The machine answers for it.
            unsafe { ((lo + left) as *const u8).read_volatile() }
        });
        assert!(matches!(toucher.join(), Err(JoinError::DeadStack)), "with {left} bytes left");
    }
    done.send(()).unwrap();
    owner.join().unwrap();
}

fn kept() -> u64 {
    runtime::stats().memory.stacks.kept
}

fn frames_of_the_dead_stay_while_children_borrow() {
    static LENT: AtomicUsize = AtomicUsize::new(0);
    let before = runtime::stats().memory.stacks;
    let (go_on, goes) = chan::bounded::<()>(0);
    let (said, says) = chan::bounded::<u64>(0);
    let opener = Builder::new().name("opener").spawn(move || {
        let filled = black_box([0x1234_5678_9abc_def0_u64; 4096]);
        let empty = untouched(100 * KIB);
        LENT.store(filled.as_ptr().addr(), SeqCst);
        let filled = &filled;
        scope(|s| {
            s.go(move || {
                while goes.recv().is_ok() {
                    let wrong = filled.iter().filter(|&&word| word != 0x1234_5678_9abc_def0).count() as u64;
                    // As if its own array had lain there and nobody had touched it.
                    let words = core::ptr::without_provenance_mut::<u64>(empty);
                    // SAFETY: the dead one's, below what it had in use; this is the only one to use
                    // it.
                    let wrong = wrong
                        + (0..8 * 512)
                            .step_by(512)
                            .map(|i| unsafe {
                                let at = words.add(i);
                                let first = LENT.load(SeqCst) & 1 == 0;
                                if first {
                                    at.write(i as u64);
                                }
                                u64::from(at.read_volatile() != i as u64)
                            })
                            .sum::<u64>();
                    said.send(wrong).unwrap();
                }
            });
            runtime::yield_now();
            glut(0);
        });
    });
    assert!(matches!(opener.unwrap().join(), Err(JoinError::StackOverflow)));
    until(|| runtime::num_goroutines() == 2);
    for _ in 0..5 {
        runtime::scavenge();
        go_on.send(()).unwrap();
        assert_eq!(says.recv().unwrap(), 0, "a borrow that Rust has granted lost its bytes");
        LENT.fetch_or(1, SeqCst);
        assert_eq!(kept(), 1);
    }
    assert_eq!(runtime::stats().memory.stacks.retired, before.retired);
    // The last borrow ends, and the memory goes.
    drop(go_on);
    until(|| runtime::num_goroutines() == 1 && kept() == 0);
    assert_eq!(runtime::stats().memory.stacks.retired, before.retired + 1);
    runtime::scavenge();
    let leftover = go(|| {
        let at = (LENT.load(SeqCst) & !7) as *const u64;
        // SAFETY: none, as in every leftover of a borrow.
        unsafe { at.read_volatile() }
    });
    assert!(matches!(leftover.join(), Err(JoinError::DeadStack)));
}

/// The dead one is a member itself: what it had opened lives on in the group that it was in.
fn frames_of_the_dead_stay_for_grandchildren() {
    static ROUNDS: AtomicU64 = AtomicU64::new(0);
    for children in 1..4u64 {
        let (go_on, goes) = chan::bounded::<()>(0);
        let outer = go(move || {
            let x = black_box([children; 64]);
            let (x, goes) = (&x, &goes);
            scope(|s| {
                let member = s.go(move || {
                    let y = black_box([children + 1; 64]);
                    let y = &y;
                    scope(|s| {
                        scope(|inner| {
                            for _ in 0..children {
                                inner.go(move || {
                                    let _ = goes.recv();
                                    assert_eq!(x[7] + 1, y[9], "a borrow lost its bytes");
                                    ROUNDS.fetch_add(1, SeqCst);
                                });
                            }
                            s.go(move || assert_eq!(x[8] + 1, y[8]));
                            runtime::yield_now();
                            glut(0);
                        });
                    });
                });
                assert!(matches!(member.join(), Err(JoinError::StackOverflow)));
            });
            x[63]
        });
        until(|| kept() == 1);
        (0..5).for_each(|_| _ = runtime::scavenge());
        assert!(!outer.is_finished(), "a scope has ended before a borrow of it");
        assert_eq!(kept(), 1);
        drop(go_on);
        assert_eq!(outer.join().unwrap(), children);
        until(|| kept() == 0);
    }
    assert_eq!(ROUNDS.load(SeqCst), 6);
}

fn a_timeout_finds_its_list_on_a_dead_frame() {
    let opener = go(|| {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        scope(|s| {
            s.go(|| {
                let held = mutex.lock().unwrap();
                let (_held, late) = condvar.wait_timeout(held, Duration::from_millis(50)).unwrap();
                assert!(late.timed_out());
            });
            time::sleep(Duration::from_millis(2));
            glut(0);
        });
    });
    assert!(matches!(opener.join(), Err(JoinError::StackOverflow)));
    while kept() > 0 {
        runtime::scavenge();
        time::sleep(Duration::from_millis(5));
    }
    until(|| runtime::num_goroutines() == 1);
}

fn a_child_may_start_others_after_its_opener_has_died() {
    static RAN: AtomicU64 = AtomicU64::new(0);
    let (go_on, goes) = chan::bounded::<()>(0);
    let opener = go(move || {
        let number = black_box(Mutex::new(5u64));
        let number = &number;
        scope(|s| {
            s.go(move || {
                let _ = goes.recv();
                for _ in 0..10 {
                    s.go(|| {
                        time::sleep(Duration::from_millis(1));
                        *number.lock().unwrap() += 1;
                        RAN.fetch_add(1, SeqCst);
                    });
                }
            });
            runtime::yield_now();
            glut(0);
        });
    });
    assert!(matches!(opener.join(), Err(JoinError::StackOverflow)));
    until(|| kept() == 1);
    runtime::scavenge();
    drop(go_on);
    until(|| kept() == 0);
    assert_eq!(RAN.load(SeqCst), 10, "the frames went before the last borrow");
}

/// Counted: a look at who is dead, of a window that is alive.
fn look() -> u64 {
    let here = lowest() as u64 + 100_000;
    let begin = arch::clock::ticks();
    for _ in 0..1000 {
        assert!(!stack::is_dead(black_box(here)));
    }
    (arch::clock::ticks() - begin) / 1000
}

fn many_deaths_cost_no_look() {
    let deaths = number("deaths", 40);
    let one = || assert!(go(|| glut(0)).join().is_err());
    one();
    let before = look();
    let frames = stack::tree_frames();
    (1..deaths).for_each(|_| one());
    let after = look();
    println!("a look: {before} before, {after} after {deaths} deaths; {} frames", stack::tree_frames());
    assert!(after <= before + before / 10 + 1, "a look costs {after} after {deaths} deaths, {before} after one");
    // Windows are made one after the other: 64 share a frame.
    assert!(stack::tree_frames() - frames <= deaths as u64 / 64 + 2, "{} frames", stack::tree_frames());
    until(|| runtime::num_goroutines() == 1);
    assert_eq!(runtime::stats().memory.stacks.retired, deaths as u64);
}

fn main_has_the_stack_that_the_option_says() {
    assert_eq!(deep(900 * KIB, 3), 0);
    assert!(runtime::current().stack_high_water > 800 * KIB);
}

fn a_bad_stack_option_is_named() {
    assert_eq!(lowest() % (256 * KIB), 0);
}
