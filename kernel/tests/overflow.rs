//! Goroutines that end where they stand, and nobody else: their stack has used up its window, or
//! finds no memory, or has ended.
#![no_std]
#![no_main]

#[path = "support/deep.rs"]
mod deep;
#[path = "cases/doomed.rs"]
mod doomed;
mod support;

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};

use deep::{KIB, deep, until};
use doomed::doomed_while_they_wait;
use trefoil::JoinError;
use trefoil::arch::lock::Lock;
use trefoil::mm::stack::deathbed;
use trefoil::mm::{frames, stack};
use trefoil::prelude::*;
use trefoil::sync::{Mutex, TryLockError};
use trefoil::testing::inject;

image! {
    one_of_a_thousand_overflows:
        "expect \"glutton\" has used up its window | expect overflow::glut | expect more | expect others go on";
    overflow_in_each_class;
    no_destructor_runs_and_it_is_counted;
    overflow_while_holding_a_mutex_grants_it_to_nobody;
    overflow_in_a_destructor;
    overflow_while_unwinding;
    overflow_with_preemption_off_waits_until_it_is_on;
    overflow_on_the_way_to_park;
    doomed_while_they_wait;
    others_run_while_a_report_is_made: "smp 1 | icount";
    many_reports_at_once;
    the_machine_waits_for_a_report: "smp 1 | icount | expect others go on";
    a_report_without_memory: "smp 1 | append backtrace=full | expect … and so on | expect report was cut short: lack of memory | expect more …";
    overflow_in_main_is_fatal: "smp 1,2 | exit 1 | expect \"main\" has used up its window | expect end of report";
    a_borrow_from_a_dead_stack_is_named: "expect touched | expect the stack of G | expect \"lender\", which has ended";
    growth_without_memory_ends_the_g: "mem 64M | expect no frame for the stack of | expect … and so on";
    growth_without_memory_at_depth_ends_the_g_later: "mem 64M | expect no frame for the stack of";
}

/// Recurses without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

fn waiting() -> usize {
    runtime::goroutines().iter().filter(|g| g.wait_reason == runtime::WaitReason::ChanRecv).count()
}

fn one_of_a_thousand_overflows() {
    let before = runtime::stats().memory;
    let handles: Vec<_> = (0..1000u64)
        .map(|i| {
            if i == 500 {
                Builder::new().name("glutton").spawn(|| glut(0)).unwrap()
            } else {
                go(move || {
                    let sum = (0..20).fold(0, |sum, _| {
                        runtime::yield_now();
                        sum + deep(4 * KIB, i)
                    });
                    sum + i
                })
            }
        })
        .collect();
    for (i, handle) in handles.into_iter().enumerate() {
        match handle.join() {
            Err(JoinError::StackOverflow) => assert_eq!(i, 500),
            Ok(sum) => assert_eq!(sum, i as u64),
            Err(other) => panic!("G {i}: {other}"),
        }
    }
    runtime::scavenge();
    let after = runtime::stats().memory;
    assert_eq!(after.abandoned, before.abandoned + 1);
    assert_eq!(after.stacks.retired, before.stacks.retired + 1);
    // Cached stacks of the thousand keep a few pages each. (The kit sees whether any of the
    // glutton's 60 pages is left.)
    assert!(after.stacks.pages < 60 + 4 * 64 * runtime::max_procs() as u64, "{} pages", after.stacks.pages);
}

fn overflow_in_each_class() {
    runtime::scavenge();
    let before = runtime::stats().memory.stacks;
    for (max, n) in [(256 * KIB, 1), (1 << 20, 2), (16 << 20, 3)] {
        let ended = Builder::new().stack_max(max).spawn(|| glut(0)).unwrap().join();
        assert!(matches!(ended, Err(JoinError::StackOverflow)), "{max}: {ended:?}");
        until(|| runtime::num_goroutines() == 1);
        runtime::scavenge();
        let after = runtime::stats().memory.stacks;
        assert_eq!(after.retired, before.retired + n);
        assert!(after.pages <= before.pages + 4, "{} pages of a stack of {max} are left", after.pages - before.pages);
        assert!(after.tables <= before.tables + 1, "{} page tables are left", after.tables - before.tables);
    }
}

fn no_destructor_runs_and_it_is_counted() {
    static DROPPED: AtomicU32 = AtomicU32::new(0);
    struct Counted(#[expect(dead_code, reason = "it is owned, no more")] Box<[u64; 20]>);
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }
    let before = trefoil::testing::account::heap_bytes();
    for n in 1..=5 {
        let ended = go(move || {
            let counted = black_box(Counted(Box::new([n; 20])));
            let sum = glut(0);
            drop(counted);
            sum
        });
        assert!(matches!(ended.join(), Err(JoinError::StackOverflow)));
        until(|| runtime::num_goroutines() == 1);
        assert_eq!(runtime::stats().memory.abandoned, n);
    }
    assert_eq!(DROPPED.load(SeqCst), 0, "a destructor ran on a stack that has no room");
    // The blocks that they owned stay.
    assert!(trefoil::testing::account::heap_bytes() >= before + 5 * 160);
}

fn overflow_while_holding_a_mutex_grants_it_to_nobody() {
    let is_told = |joined: Result<(), JoinError>| {
        let error = joined.expect_err("what a dead goroutine holds was granted");
        assert!(error.message().is_some_and(|text| text.contains("which died of stack overflow")), "{error}");
    };
    for round in 0..10 {
        let mutex = Arc::new(Mutex::new(1));
        let held = Arc::new(AtomicBool::new(false));
        let glutton = {
            let (mutex, held) = (mutex.clone(), held.clone());
            go(move || {
                let guard = mutex.lock().unwrap();
                held.store(true, SeqCst);
                // Others come to wait.
                (0..round * 3).for_each(|_| runtime::yield_now());
                glut(*guard)
            })
        };
        until(|| held.load(SeqCst));
        let waiters: Vec<_> = (0..6)
            .map(|_| {
                let mutex = mutex.clone();
                go(move || drop(mutex.lock()))
            })
            .collect();
        assert!(matches!(glutton.join(), Err(JoinError::StackOverflow)));
        waiters.into_iter().for_each(|w| is_told(w.join()));
        assert!(!mutex.is_poisoned());
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
    }
    // The same when nobody waits at the death: a G that comes later is told.
    let mutex = Arc::new(Mutex::new(()));
    let held = mutex.clone();
    let glutton = go(move || {
        let _guard = held.lock().unwrap();
        glut(0)
    });
    assert!(glutton.join().is_err());
    is_told(go(move || drop(mutex.lock())).join());
}

struct Glutton;

impl Drop for Glutton {
    fn drop(&mut self) {
        black_box(glut(0));
    }
}

fn overflow_in_a_destructor() {
    let ended = go(|| drop(black_box(Glutton)));
    assert!(matches!(ended.join(), Err(JoinError::StackOverflow)));
    // Of a result that nobody wants: dropped by its G, if the handle goes first.
    let dropped = Arc::new(AtomicBool::new(false));
    let wait = dropped.clone();
    drop(go(move || {
        until(|| wait.load(SeqCst));
        Glutton
    }));
    dropped.store(true, SeqCst);
    until(|| runtime::stats().memory.abandoned == 2);
    assert_eq!(go(|| 3).join().unwrap(), 3);
}

fn overflow_while_unwinding() {
    let ended = go(|| {
        let _glutton = Glutton;
        panic!("and then");
    });
    assert!(matches!(ended.join(), Err(JoinError::StackOverflow)));
    // Nobody unwinds any more: a mutex is not poisoned by that.
    let mutex = Mutex::new(());
    drop(mutex.lock());
    assert!(!mutex.is_poisoned());
    let panicked = go(|| panic!("only this"));
    assert_eq!(panicked.join().unwrap_err().message(), Some("only this"));
}

/// Recurses until less than `left` bytes of the window are free, and calls `f` there.
#[inline(never)]
fn near_the_end(lo: usize, left: usize, f: &dyn Fn()) -> u64 {
    let block = black_box([3u64; 16]);
    let here = (&raw const block).addr();
    if here - lo < left {
        f();
        return block[1];
    }
    near_the_end(lo, left, f) + block[3]
}

fn lowest() -> usize {
    let here = 0u8;
    (&raw const here).addr() & !(256 * KIB - 1)
}

fn overflow_with_preemption_off_waits_until_it_is_on() {
    static REACHED: AtomicU32 = AtomicU32::new(0);
    // The last 24 KiB are the guard, four red pages, and one ordinary page, so `use_red` reaches
    // into the red.
    for lock in 0..3 {
        let ended = go(move || {
            near_the_end(lowest(), 22 * KIB, &|| {
                let use_red = || {
                    assert_eq!(deep(6 * KIB, 1), 0, "the red pages are memory like any other");
                    REACHED.fetch_add(1, SeqCst);
                };
                match lock {
                    0 => frames::with_locked(use_red),
                    1 => trefoil::mm::heap::with_locked(use_red),
                    _ => trefoil::console::with_locked(use_red),
                }
                unreachable!("it has ended when the lock was free again");
            })
        });
        assert!(matches!(ended.join(), Err(JoinError::StackOverflow)));
        assert_eq!(REACHED.load(SeqCst), lock + 1, "it ended with the lock held");
        // The locks are free.
        drop(vec![0u8; 100_000]);
        assert_eq!(go(|| deep(50 * KIB, 2)).join().unwrap(), 0);
    }
}

fn overflow_on_the_way_to_park() {
    // The red begins at any depth: in `recv`, in the switch itself, in the caller, or nowhere.
    static CAME_TO_IT: AtomicU32 = AtomicU32::new(0);
    let (tx, rx) = chan::bounded::<u64>(0);
    let (mut ended, mut lived) = (0, 0);
    for left in (20 * KIB..21 * KIB).step_by(8) {
        let rx = rx.clone();
        let before = CAME_TO_IT.load(SeqCst);
        let handle = go(move || {
            near_the_end(lowest(), left, &|| {
                CAME_TO_IT.fetch_add(1, SeqCst);
                let _ = rx.recv();
            })
        });
        until(|| handle.is_finished() || waiting() == 1);
        if !handle.is_finished() {
            tx.send(1).unwrap();
        }
        match handle.join() {
            Ok(_) => lived += 1,
            Err(JoinError::StackOverflow) => ended += CAME_TO_IT.load(SeqCst) - before,
            Err(other) => panic!("with {left} bytes: {other}"),
        }
    }
    println!("{ended} overflows in `recv`, {lived} lived");
    assert!(ended > 2 && lived > 2, "{ended} overflows in `recv`, {lived} lived");
}

fn others_run_while_a_report_is_made() {
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    let sleeper = go(|| {
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        while !IS_OVER.load(SeqCst) {
            time::sleep(Duration::from_millis(1));
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest
    });
    let begin = Instant::now();
    let ended = Builder::new().stack_max(16 << 20).spawn(|| glut(0)).unwrap().join();
    let took = begin.elapsed();
    IS_OVER.store(true, SeqCst);
    assert!(matches!(ended, Err(JoinError::StackOverflow)));
    let longest = sleeper.join().unwrap();
    println!("a report of {took:?}; a sleeper of 1 ms slept {longest:?} at most");
    assert!(took > Duration::from_millis(60), "{took:?}: a short report shows nothing");
    assert!(longest < Duration::from_millis(20), "a sleeper of 1 ms slept {longest:?}");
}

fn many_reports_at_once() {
    let handles: Vec<_> = (0..24).map(|_| go(|| glut(0))).collect();
    for handle in handles {
        assert!(matches!(handle.join(), Err(JoinError::StackOverflow)));
    }
    until(|| runtime::num_goroutines() == 1);
    runtime::scavenge();
    assert_eq!(runtime::stats().memory.abandoned, 24);
}

fn the_machine_waits_for_a_report() {
    drop(Builder::new().stack_max(16 << 20).spawn(|| glut(0)).unwrap());
    time::sleep(Duration::from_millis(20));
    assert_eq!(runtime::stats().memory.abandoned, 0, "the report is over");
    runtime::exit(0);
}

fn a_report_without_memory() {
    // The `n`th page from the edge on is not there: of the deathbed at its beginning, then of those
    // that it grows by, and then none.
    deathbed::make_bare(true);
    for n in 1..=6 {
        let ended = go(move || {
            near_the_end(lowest(), 22 * KIB, &|| {
                inject::fail_after(n);
                black_box(glut(0));
            })
        });
        assert!(matches!(ended.join(), Err(JoinError::StackOverflow)));
        inject::off();
    }
    deathbed::make_bare(false);
}

fn overflow_in_main_is_fatal() {
    println!("{}", glut(0));
}

fn a_borrow_from_a_dead_stack_is_named() {
    static LENT: AtomicUsize = AtomicUsize::new(0);
    let lender = Builder::new()
        .name("lender")
        .spawn(|| {
            let lent = black_box([42u64; 8]);
            LENT.store((&raw const lent).addr(), SeqCst);
            glut(lent[0])
        })
        .unwrap();
    assert!(matches!(lender.join(), Err(JoinError::StackOverflow)));
    // Its memory goes back, and others live on.
    runtime::scavenge();
    let others: Vec<_> = (0..200).map(|i| go(move || deep(20 * KIB, i))).collect();
    others.into_iter().for_each(|h| assert_eq!(h.join().unwrap(), 0));
    let mut named = 0;
    while named < 3 {
        let borrower = go(|| {
            let lent = LENT.load(SeqCst) as *const u64;
            // SAFETY: none: the stack has ended, as a child's borrow of it could not know. The
            // machine answers for it.
            unsafe { lent.read_volatile() }
        });
        match borrower.join() {
            Err(JoinError::DeadStack) => named += 1,
            // The joiner may be faster than the last rites: then the memory is still there, as it
            // was.
            Ok(42) if named == 0 => _ = runtime::scavenge(),
            other => panic!("read something of somebody: {other:?}"),
        }
    }
}

fn growth_without_memory_ends_the_g() {
    // Some wait for their meal.
    let (serve, wait) = chan::bounded::<usize>(8);
    let guests: Vec<_> = (0..4)
        .map(|i| {
            let wait = wait.clone();
            Builder::new().stack_max(16 << 20).spawn(move || deep(wait.recv().unwrap() * KIB, i)).unwrap()
        })
        .collect();
    let (dessert, frugal) = chan::bounded::<usize>(0);
    let frugal = go(move || frugal.recv().unwrap());
    until(|| waiting() == 5);
    // All frames but a few; the heap could not have them either.
    let mut taken = Vec::with_capacity(20_000);
    while let Some(frame) = frames::alloc() {
        taken.push(frame);
    }
    println!("{} frames taken", taken.len());
    (0..4).for_each(|_| serve.send(10_000).unwrap());
    let mut starved = 0;
    for guest in guests {
        starved += u32::from(matches!(guest.join(), Err(JoinError::OutOfMemory)));
    }
    dessert.send(5).unwrap();
    assert_eq!(frugal.join().unwrap(), 5, "the others go on");
    // SAFETY: 1. they came from `alloc` right above and were not used.
    taken.iter().for_each(|&f| unsafe { frames::free(f) });
    assert_eq!(starved, 4, "some had memory that nobody has");
    assert_eq!(go(|| deep(100 * KIB, 3)).join().unwrap(), 0, "memory did not come back");
}

fn growth_without_memory_at_depth_ends_the_g_later() {
    static TAKEN: Lock<Vec<u64>> = Lock::new(Vec::new());
    TAKEN.lock().reserve(20_000);
    let starved = Builder::new()
        .stack_max(1 << 20)
        .spawn(|| {
            // Preemption is off from here on, so this core's reserve is soon all the memory there
            // is.
            let mut taken = TAKEN.lock();
            stack::fill_reserve();
            while let Some(frame) = frames::alloc() {
                taken.push(frame);
            }
            let wrong = deep((stack::RESERVE - 6) * 4096, 1);
            // The reserve's last frames have got the G here, with all its bytes. The G ends when
            // the lock is free.
            assert_eq!(wrong, 0);
            REACHED.fetch_add(1, SeqCst);
            drop(taken);
            unreachable!("it has ended");
        })
        .unwrap();
    static REACHED: AtomicU32 = AtomicU32::new(0);
    assert!(matches!(starved.join(), Err(JoinError::OutOfMemory)));
    assert_eq!(REACHED.load(SeqCst), 1, "it ended with the lock held");
    // SAFETY: 1. they came from `alloc` and were not used.
    TAKEN.lock().drain(..).for_each(|f| unsafe { frames::free(f) });
    *TAKEN.lock() = Vec::new();
    assert_eq!(go(|| deep(100 * KIB, 3)).join().unwrap(), 0, "memory did not come back");
}
