//! A stack's life: growth, overflow, shrinking, packing, and what becomes of its memory.
#![no_std]
#![no_main]

mod support;

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

use trefoil::mm::{frames, inject, window};
use trefoil::prelude::*;
use trefoil::sync::{Mutex, TryLockError, WaitGroup};
use trefoil::{JoinError, SpawnError};

image! { "
    growth_to_each_class                      | smp 1 | mem 256M
    growth_on_all_cores_at_once
    a_large_frame_is_probed_page_by_page
    a_size_that_cannot_be_met_is_an_error     | smp 1
    more_windows_than_addresses_is_an_error   | smp 1
    one_of_a_thousand_overflows               | expect \"glutton\" has used up its window | expect stacks::glut | expect more | expect others go on
    overflow_while_holding_a_mutex_poisons_it
    overflow_in_a_destructor
    overflow_while_unwinding
    overflow_with_preemption_off_waits_until_it_is_on
    overflow_on_the_way_to_park
    overflow_in_main_is_fatal                 | smp 1,2 | exit 1 | expect \"main\" has used up its window | expect end of report
    a_borrow_from_a_dead_stack_is_named       | expect touched | expect the stack of G | expect \"lender\", which has ended
    growth_while_the_allocators_are_locked
    each_page_may_be_denied_and_nothing_is_lost | smp 1
    growth_without_memory_ends_the_g          | mem 64M | expect no frame for the stack of
    shrinking_gives_back_what_growth_took
    shrinking_races_wake_ups                  | timeout 100
    no_g_sees_anothers_bytes                  | timeout 100
    a_spinner_does_not_stall_epochs           | smp 2,4
    packed_stacks_keep_their_bytes
    packed_stacks_are_touched_from_everywhere
    packed_large_values_are_handed_over
    a_g_that_parked_just_now_is_not_packed    | smp 1
    cold_gs_are_packed_in_the_background      | smp 1,2
    ended_gs_leave_no_memory_behind
    a_reused_g_touches_no_new_page            | smp 1
    main_learns_of_its_stack                  | smp 1
";
    growth_to_each_class, growth_on_all_cores_at_once, a_large_frame_is_probed_page_by_page,
    a_size_that_cannot_be_met_is_an_error, more_windows_than_addresses_is_an_error, one_of_a_thousand_overflows,
    overflow_while_holding_a_mutex_poisons_it, overflow_in_a_destructor, overflow_while_unwinding,
    overflow_with_preemption_off_waits_until_it_is_on, overflow_on_the_way_to_park, overflow_in_main_is_fatal,
    a_borrow_from_a_dead_stack_is_named, growth_while_the_allocators_are_locked, each_page_may_be_denied_and_nothing_is_lost, growth_without_memory_ends_the_g, shrinking_gives_back_what_growth_took,
    shrinking_races_wake_ups, no_g_sees_anothers_bytes, a_spinner_does_not_stall_epochs, packed_stacks_keep_their_bytes,
    packed_stacks_are_touched_from_everywhere, packed_large_values_are_handed_over, a_g_that_parked_just_now_is_not_packed,
    cold_gs_are_packed_in_the_background, ended_gs_leave_no_memory_behind, a_reused_g_touches_no_new_page,
    main_learns_of_its_stack,
}

const KIB: usize = 1 << 10;

/// Uses about `bytes` of stack, writes a pattern to all of it and checks it on the way back.
#[inline(never)]
fn deep(bytes: usize, seed: u64) -> u64 {
    let mut block = [0u64; 64];
    black_box(&mut block).iter_mut().enumerate().for_each(|(i, word)| *word = seed ^ i as u64);
    // A frame is a little more than its block.
    let below = if bytes > 600 { deep(bytes - 600, seed + 1) } else { 0 };
    let block = black_box(&block);
    below + block.iter().enumerate().filter(|&(i, &word)| word != seed ^ i as u64).count() as u64
}

/// Recursion without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

/// Waits until `done()`, letting others run.
fn until(done: impl Fn() -> bool) {
    while !done() {
        runtime::yield_now();
    }
}

/// As many G's as asked for, parked in `recv`; they end when the sender is dropped.
fn park(n: usize) -> (chan::Sender<u64>, Vec<JoinHandle<bool>>) {
    let (tx, rx) = chan::bounded::<u64>(0);
    let handles = (0..n)
        .map(|i| {
            let rx = rx.clone();
            let handle = go(move || rx.recv().is_err());
            if i % 64 == 63 {
                runtime::yield_now();
            }
            handle
        })
        .collect();
    until(|| waiting() >= n);
    (tx, handles)
}

fn waiting() -> usize {
    runtime::goroutines().iter().filter(|g| g.wait_reason == runtime::WaitReason::ChanRecv).count()
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

fn a_large_frame_is_probed_page_by_page() {
    #[inline(never)]
    fn large(seed: u8) -> usize {
        let mut array = [0u8; 200 * KIB];
        // Only the lowest and the highest page are written by hand; the probes have touched those between.
        array[0] = seed;
        array[200 * KIB - 1] = seed;
        let array = black_box(&array);
        array.iter().filter(|&&b| b == seed).count()
    }
    let handles: Vec<_> = (1..9).map(|i| go(move || large(i))).collect();
    handles.into_iter().for_each(|h| assert_eq!(h.join().unwrap(), 2));
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
    // Those of the thousand that are cached keep a few pages each. (That nothing is left of the glutton's 60, the kit sees.)
    assert!(after.stacks.pages < 60 + 4 * 64 * runtime::max_procs() as u64, "{} pages", after.stacks.pages);
}

fn overflow_while_holding_a_mutex_poisons_it() {
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
                go(move || match mutex.lock() {
                    Ok(_) => panic!("not poisoned"),
                    Err(poisoned) => *poisoned.into_inner() += 1,
                })
            })
            .collect();
        assert!(matches!(glutton.join(), Err(JoinError::StackOverflow)));
        waiters.into_iter().for_each(|w| w.join().unwrap());
        assert!(mutex.is_poisoned());
        let Err(TryLockError::Poisoned(guard)) = mutex.try_lock() else { panic!("try_lock") };
        assert_eq!(**guard.get_ref(), 7);
    }
    // Nobody waits: whoever comes later finds it.
    let mutex = Arc::new(Mutex::new(()));
    let held = mutex.clone();
    let glutton = go(move || {
        let _guard = held.lock().unwrap();
        glut(0)
    });
    assert!(glutton.join().is_err());
    assert!(mutex.lock().is_err());
    assert!(mutex.is_poisoned());
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

/// Recursion down to where less than `left` bytes of the window are free, then `f`.
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
    // The last 24 KiB are the guard, four red pages, and one ordinary page: what `f` needs lies in the red.
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
    // Whatever the depth at which the red begins: in `recv`, in the switch itself, in the caller, or nowhere.
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
            // SAFETY: none: the stack has ended, as a child's borrow of it could not know. The machine answers for it.
            unsafe { lent.read_volatile() }
        });
        match borrower.join() {
            Err(JoinError::DeadStack) => named += 1,
            // The joiner may be faster than the last rites: then the memory is still there, as it was.
            Ok(42) if named == 0 => _ = runtime::scavenge(),
            other => panic!("read something of somebody: {other:?}"),
        }
    }
}

fn growth_while_the_allocators_are_locked() {
    // More than one G on each core, and each core with its own reserve: nobody may need the lock that is held.
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

/// Stack, heap, channels and G's: each of its allocations may fail. It says "no" where it is told.
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
    let (mut refused, mut panicked, mut starved, mut made_good) = (0, 0, 0, 0);
    for n in 1.. {
        let account = trefoil::account::Account::open();
        let worker = Builder::new().stack_max(1 << 20).spawn(move || {
            inject::fail_after(n);
            a_bit_of_everything(7)
        });
        let result = worker.unwrap().join();
        let fired = inject::off();
        match result {
            Ok(Some(sum)) if !fired => {
                assert_eq!(sum, expected);
                break;
            }
            Ok(Some(sum)) => {
                assert_eq!(sum, expected);
                made_good += 1;
            }
            Ok(None) => refused += 1,
            Err(JoinError::Panicked(_)) => panicked += 1,
            Err(JoinError::OutOfMemory) => starved += 1,
            Err(other) => panic!("allocation {n}: {other}"),
        }
        assert!(fired, "allocation {n} was not made to fail, but something failed");
        // (The heap is compared until the first G ends where it stands: what that owned stays there.)
        if let Err(left) = account.close() {
            panic!("allocation {n} failed, and left behind:\n{left}");
        }
    }
    println!("{refused} refused, {panicked} panicked, {starved} starved, {made_good} made good");
    assert!(!cfg!(debug_assertions) || (refused > 0 && panicked > 0 && starved > 10));
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

fn shrinking_gives_back_what_growth_took() {
    const N: usize = 50;
    const DEPTH: usize = 100 * KIB;
    runtime::scavenge();
    let before = runtime::stats().memory.stacks.pages;
    let (tx, rx) = chan::bounded::<()>(0);
    let handles: Vec<_> = (0..N)
        .map(|i| {
            let rx = rx.clone();
            go(move || {
                let kept = black_box([i as u64; 20]);
                let wrong = deep(DEPTH, i as u64);
                let _ = rx.recv();
                wrong + kept.iter().filter(|&&k| k != i as u64).count() as u64 + deep(DEPTH, 1)
            })
        })
        .collect();
    until(|| waiting() == N);
    let grown = runtime::stats().memory.stacks.pages - before;
    assert!(grown as usize >= N * DEPTH / 4096 * 9 / 10, "{grown} pages");
    let freed = runtime::scavenge();
    let after = runtime::stats().memory.stacks;
    assert!(freed >= N * DEPTH * 9 / 10, "{freed} bytes for {N} stacks of {DEPTH}");
    assert!(after.pages <= before + 2 * N as u64, "{} pages are left of {grown}", after.pages - before);
    drop((tx, rx));
    handles.into_iter().for_each(|h| assert_eq!(h.join().unwrap(), 0, "a stack lost its bytes"));
}

fn shrinking_races_wake_ups() {
    const ROUNDS: u64 = 50_000;
    const PAIRS: u64 = 10;
    const SCAVENGES: u64 = 20;
    static STOP: AtomicBool = AtomicBool::new(false);
    static MADE: AtomicU64 = AtomicU64::new(0);
    let scavenger = go(|| {
        let mut freed = 0usize;
        while !STOP.load(SeqCst) {
            freed += runtime::scavenge();
            MADE.fetch_add(1, SeqCst);
            runtime::yield_now();
        }
        freed
    });
    let pairs: Vec<_> = (0..PAIRS)
        .map(|pair| {
            let (to, ping) = chan::bounded::<u64>(0);
            let (back, pong) = chan::bounded::<u64>(0);
            go(move || {
                let echo = go(move || {
                    let kept = black_box([pair; 8]);
                    for v in &ping {
                        // Now and then it grows between two naps.
                        let wrong = if v % 64 == 0 { deep(9 * KIB, v) } else { 0 };
                        back.send(v + wrong).unwrap();
                    }
                    assert_eq!(kept, [pair; 8]);
                });
                for i in 0.. {
                    // On a busy host the cores that a scavenge waits for may come late.
                    if i >= ROUNDS / PAIRS && MADE.load(SeqCst) >= SCAVENGES {
                        break;
                    }
                    to.send(i).unwrap();
                    assert_eq!(pong.recv().unwrap(), i, "a stack lost its bytes");
                    if i % 16 == 0 {
                        // The scavenger's turn, where there is but one core.
                        runtime::yield_now();
                    }
                }
                drop(to);
                echo.join().unwrap();
            })
        })
        .collect();
    pairs.into_iter().for_each(|p| p.join().unwrap());
    STOP.store(true, SeqCst);
    let freed = scavenger.join().unwrap();
    println!("{} scavenges, {} KiB", MADE.load(SeqCst), freed >> 10);
}

fn no_g_sees_anothers_bytes() {
    // Frames wander from stack to stack as fast as they can: grow with a pattern, park, be shrunk, grow elsewhere.
    static STOP: AtomicBool = AtomicBool::new(false);
    let scavengers: Vec<_> = (0..2)
        .map(|_| {
            go(|| {
                while !STOP.load(SeqCst) {
                    runtime::scavenge();
                    runtime::yield_now();
                }
            })
        })
        .collect();
    let workers: Vec<_> = (0..40u64)
        .map(|worker| {
            go(move || {
                let mut wrong = 0;
                for round in 0..60 {
                    let seed = worker * 1_000_003 + round;
                    let kept = black_box([seed; 16]);
                    wrong += deep((4 + (seed as usize * 7) % 60) * KIB, seed);
                    if round % 3 == 0 {
                        time::sleep(Duration::from_micros(200));
                    } else {
                        runtime::yield_now();
                    }
                    wrong += kept.iter().filter(|&&k| k != seed).count() as u64;
                }
                wrong
            })
        })
        .collect();
    let wrong: u64 = workers.into_iter().map(|w| w.join().unwrap()).sum();
    STOP.store(true, SeqCst);
    scavengers.into_iter().for_each(|s| s.join().unwrap());
    assert_eq!(wrong, 0, "words of a stack changed by themselves");
}

fn a_spinner_does_not_stall_epochs() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static SPINS: AtomicBool = AtomicBool::new(false);
    let spinner = go(|| {
        SPINS.store(true, SeqCst);
        let mut turns = 0u64;
        while !STOP.load(Relaxed) {
            turns += 1;
            core::hint::spin_loop();
        }
        turns
    });
    until(|| SPINS.load(SeqCst));
    let (tx, handles) = park(20);
    for round in 0..5 {
        let grown = go(move || deep(60 * KIB, round));
        until(|| grown.is_finished());
        grown.join().unwrap();
        // Comes back although one core never reaches a scheduling point.
        runtime::scavenge();
    }
    STOP.store(true, SeqCst);
    assert!(spinner.join().unwrap() > 0);
    drop(tx);
    handles.into_iter().for_each(|h| assert!(h.join().unwrap()));
}

/// A G that parks with a pattern on its stack and says afterwards how much of it was wrong.
fn keeper(seed: u64, rx: chan::Receiver<u64>) -> JoinHandle<u64> {
    go(move || {
        let kept = black_box([seed, !seed, seed * 3]);
        let got = rx.recv().unwrap_or(seed);
        u64::from(black_box(kept) != [seed, !seed, seed * 3]) + (got ^ seed)
    })
}

fn packed_stacks_keep_their_bytes() {
    const N: u64 = 500;
    let before = runtime::stats().memory.stacks;
    let channels: Vec<_> = (0..N).map(|_| chan::bounded::<u64>(0)).collect();
    let handles: Vec<_> = channels.iter().enumerate().map(|(i, (_, rx))| keeper(i as u64, rx.clone())).collect();
    until(|| waiting() == N as usize);
    let freed = runtime::scavenge();
    let packed = runtime::stats().memory.stacks;
    println!("{} packed, {} bytes, {} tables, {freed} freed", packed.packed, packed.packed_bytes, packed.tables);
    assert_eq!(packed.packed, N, "not all were packed");
    assert!(packed.pages <= before.pages + 2, "{} pages for packed stacks", packed.pages - before.pages);
    assert!(packed.tables < before.tables + 10, "tables without pages were not packed");
    // In an order of its own: half by a value, half by closing.
    for i in (0..N as usize).map(|i| i * 7 % N as usize) {
        if i % 2 == 0 {
            channels[i].0.send(i as u64).unwrap();
        } else {
            channels[i].0.close();
        }
    }
    handles.into_iter().for_each(|h| assert_eq!(h.join().unwrap(), 0, "a packed stack lost its bytes"));
    let after = runtime::stats().memory.stacks;
    assert_eq!((after.packed, after.packed_bytes), (0, 0));
}

fn packed_stacks_are_touched_from_everywhere() {
    // The borrow of a scope's child, in effect: others read and write an array on the stack of a parked, packed G.
    const WORDS: usize = 8;
    static PLACES: [AtomicUsize; 40] = [const { AtomicUsize::new(0) }; 40];
    for round in 0..20u64 {
        let (tx, rx) = chan::bounded::<()>(0);
        let lenders: Vec<_> = (0..PLACES.len())
            .map(|i| {
                let rx = rx.clone();
                go(move || {
                    let lent: [AtomicU64; WORDS] = core::array::from_fn(|k| AtomicU64::new(i as u64 + k as u64));
                    PLACES[i].store((&raw const lent).addr(), SeqCst);
                    let _ = rx.recv();
                    lent.iter().map(|word| word.load(SeqCst)).sum::<u64>()
                })
            })
            .collect();
        until(|| waiting() == PLACES.len());
        runtime::scavenge();
        assert_eq!(runtime::stats().memory.stacks.packed, PLACES.len() as u64);
        let begin = Arc::new(AtomicBool::new(false));
        let borrowers: Vec<_> = (0..8u64)
            .map(|b| {
                let begin = begin.clone();
                go(move || {
                    until(|| begin.load(SeqCst));
                    for i in 0..PLACES.len() {
                        let place = PLACES[(i + b as usize) % PLACES.len()].load(SeqCst) as *const [AtomicU64; WORDS];
                        // SAFETY: the lender is parked until all borrowers have ended.
                        let lent = unsafe { &*place };
                        let add_to_all = || lent.iter().for_each(|word| _ = word.fetch_add(1, SeqCst));
                        if (b + round) % 2 == 0 {
                            // With preemption off, and a lock held.
                            trefoil::console::with_locked(add_to_all);
                        } else {
                            add_to_all();
                        }
                    }
                })
            })
            .collect();
        begin.store(true, SeqCst);
        if round % 3 == 0 {
            // And the reclaimer at it again, in the middle.
            runtime::scavenge();
        }
        borrowers.into_iter().for_each(|b| b.join().unwrap());
        drop((tx, rx));
        for (i, lender) in lenders.into_iter().enumerate() {
            let expected: u64 = (0..WORDS as u64).map(|k| i as u64 + k + 8).sum();
            assert_eq!(lender.join().unwrap(), expected, "the bytes of stack {i} are not what was written");
        }
    }
}

fn packed_large_values_are_handed_over() {
    // A value too large for a record lies on the stack, so whoever hands it over touches a packed page, with the channel's lock just released.
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Large([u64; 12]);
    for _ in 0..10 {
        let (tx, rx) = chan::bounded::<Large>(0);
        let receivers: Vec<_> = (0..30)
            .map(|_| {
                let rx = rx.clone();
                go(move || rx.recv().unwrap())
            })
            .collect();
        until(|| waiting() == 30);
        runtime::scavenge();
        assert_eq!(runtime::stats().memory.stacks.packed, 30);
        for i in 0..30 {
            tx.send(Large([i; 12])).unwrap();
        }
        let mut got: Vec<u64> = receivers
            .into_iter()
            .map(|r| {
                let Large(words) = r.join().unwrap();
                assert!(words.iter().all(|&w| w == words[0]), "a value was torn");
                words[0]
            })
            .collect();
        got.sort_unstable();
        assert_eq!(got, (0..30).collect::<Vec<_>>());
    }
}

fn a_g_that_parked_just_now_is_not_packed() {
    // Without pressure, whoever is woken within a period is not packed, however long the program runs.
    let (tx, handles) = park(20);
    let begin = time::Instant::now();
    let beat: Vec<_> = (0..20)
        .map(|_| {
            go(move || {
                while begin.elapsed() < Duration::from_millis(1600) {
                    time::sleep(Duration::from_millis(100));
                    assert_eq!(runtime::current().wait_reason, runtime::WaitReason::None);
                }
            })
        })
        .collect();
    let unpacked = window::unpacked();
    // `main` must not be one of those that wait for long.
    while !beat.iter().all(|b| b.is_finished()) {
        time::sleep(Duration::from_millis(50));
    }
    beat.into_iter().for_each(|b| b.join().unwrap());
    assert_eq!(window::unpacked(), unpacked, "a sleeper of 100 ms was packed");
    drop(tx);
    handles.into_iter().for_each(|h| assert!(h.join().unwrap()));
}

fn cold_gs_are_packed_in_the_background() {
    let (tx, handles) = park(100);
    // Nobody asks for it.
    let begin = time::Instant::now();
    while runtime::stats().memory.stacks.packed < 100 {
        assert!(begin.elapsed() < Duration::from_secs(10), "{} packed", runtime::stats().memory.stacks.packed);
        time::sleep(Duration::from_millis(50));
    }
    drop(tx);
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

fn a_reused_g_touches_no_new_page() {
    (0..10).for_each(|_| go(|| ()).join().unwrap());
    let (grown, frames_before) = (window::grown(), frames::stats());
    (0..1000u64).for_each(|i| assert_eq!(go(move || i).join().unwrap(), i));
    assert_eq!(window::grown(), grown, "a page fault");
    assert_eq!(frames::stats(), frames_before, "a frame");
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
