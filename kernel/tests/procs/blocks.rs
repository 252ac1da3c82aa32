//! Cores that wait for hardware: the G's that run meanwhile, and the place where a block ends. A
//! sleeper of a blocked core that does not wake breaks INV-STRAY.

use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

use trefoil::prelude::*;
use trefoil::{JoinError, PreemptGuard};

use crate::{all_cores, p, wait_for};

pub fn others_run_while_one_blocks() {
    static DONE: AtomicU64 = AtomicU64::new(0);
    all_cores(runtime::max_procs());
    for round in 0..50 {
        DONE.store(0, SeqCst);
        // Some wait when it begins, some are readied while it lasts.
        let (s, r) = chan::bounded::<u64>(0);
        let handles: Vec<_> = (0..300).map(|_| go(|| DONE.fetch_add(1, SeqCst))).collect();
        let reader = go(move || r.iter().inspect(|&i| _ = DONE.fetch_add(i, SeqCst)).count());
        let turns = runtime::block_in_place(|| {
            let writer = go(move || (0..10).for_each(|_| s.send(1).unwrap()));
            if runtime::num_cpus() > 1 {
                wait_for(|| DONE.load(SeqCst) == 310);
            }
            writer
        });
        turns.join().unwrap();
        assert_eq!(reader.join().unwrap(), 10);
        handles.into_iter().for_each(|h| _ = h.join().unwrap());
        assert_eq!(DONE.load(SeqCst), 310, "round {round}");
    }
}

pub fn two_blocked_cores_leave_two_ps() {
    static MET: AtomicUsize = AtomicUsize::new(0);
    static BLOCKED: AtomicUsize = AtomicUsize::new(0);
    all_cores(4);
    let blocked: Vec<_> = (0..2)
        .map(|_| {
            go(|| {
                runtime::block_in_place(|| {
                    BLOCKED.fetch_add(1, SeqCst);
                    wait_for(|| MET.load(SeqCst) == 2);
                })
            })
        })
        .collect();
    time::sleep(Duration::from_millis(1));
    while BLOCKED.load(SeqCst) < 2 {
        runtime::yield_now();
    }
    // The two G's meet only if both run at once: neither yields, and the slice is long.
    let meet = || {
        MET.fetch_add(1, SeqCst);
        wait_for(|| MET.load(SeqCst) == 2);
    };
    let (a, b) = (go(meet), go(meet));
    a.join().unwrap();
    b.join().unwrap();
    blocked.into_iter().for_each(|h| h.join().unwrap());
}

pub fn everything_works_outside() {
    let (s, r) = chan::bounded::<u64>(0);
    let echo = go(move || r.iter().sum::<u64>());
    let sum = runtime::block_in_place(|| {
        // Starts, parks, yields, sleeps, allocates, and blocks again.
        let inner = go(|| runtime::block_in_place(|| 7));
        s.send(35).unwrap();
        runtime::yield_now();
        time::sleep(Duration::from_micros(300));
        let list: Vec<u64> = (0..1000).collect();
        runtime::block_in_place(|| s.send(inner.join().unwrap()).unwrap());
        drop(s);
        list.iter().sum::<u64>()
    });
    assert_eq!((sum, echo.join().unwrap()), (499_500, 42));
    // A panic comes through, and the core is the scheduler's again.
    for _ in 0..20 {
        let failed = go(|| runtime::block_in_place(|| -> u32 { panic!("the device is gone") })).join();
        assert!(matches!(failed, Err(JoinError::Panicked(_))));
    }
    // As do those that end there, in numbers.
    let handles: Vec<_> = (0..200)
        .map(|i| {
            go(move || {
                runtime::block_in_place(|| {
                    if i % 3 == 0 {
                        time::sleep(Duration::from_micros(i));
                    }
                    i
                })
            })
        })
        .collect();
    assert_eq!(handles.into_iter().map(|h| h.join().unwrap()).sum::<u64>(), 199 * 200 / 2);
}

pub fn sleepers_wake_while_their_core_blocks() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static WOKEN: AtomicU64 = AtomicU64::new(0);
    all_cores(runtime::max_procs());
    // All other cores are busy without end; the sleepers' timers are this core's.
    let spinners: Vec<_> = (1..runtime::max_procs()).map(|_| go(|| wait_for(|| STOP.load(Relaxed)))).collect();
    time::sleep(Duration::from_millis(2));
    for _ in 0..5 {
        WOKEN.store(0, SeqCst);
        let sleepers: Vec<_> = (0..10)
            .map(|i| {
                go(move || {
                    time::sleep(Duration::from_micros(500 + i * 200));
                    WOKEN.fetch_add(1, SeqCst);
                })
            })
            .collect();
        runtime::yield_now();
        runtime::block_in_place(|| wait_for(|| WOKEN.load(SeqCst) == 10));
        sleepers.into_iter().for_each(|s| s.join().unwrap());
    }
    STOP.store(true, SeqCst);
    spinners.into_iter().for_each(|s| s.join().unwrap());
}

/// Uses some pages of stack, and gives them back.
#[inline(never)]
fn deep() -> u64 {
    let bytes = black_box([1u8; 60_000]);
    bytes.iter().map(|&b| u64::from(b)).sum()
}

pub fn pages_go_back_while_a_core_blocks() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static IN: AtomicBool = AtomicBool::new(false);
    static BACK: AtomicU64 = AtomicU64::new(0);
    all_cores(runtime::max_procs());
    let blocked = go(|| {
        runtime::block_in_place(|| {
            IN.store(true, SeqCst);
            wait_for(|| STOP.load(SeqCst));
        })
    });
    while !IN.load(SeqCst) {
        runtime::yield_now();
    }
    let (s, r) = chan::bounded::<()>(0);
    let parked: Vec<_> = (0..20)
        .map(|_| {
            let r = r.clone();
            go(move || {
                let sum = deep();
                BACK.fetch_add(1, SeqCst);
                (sum, r.recv().is_err())
            })
        })
        .collect();
    // All but the last one are parked then.
    while BACK.load(SeqCst) < 20 {
        time::sleep(Duration::from_millis(1));
    }
    time::sleep(Duration::from_millis(5));
    // An epoch ends although that core never comes to g0.
    runtime::scavenge();
    let pages = runtime::stats().memory.stacks.pages;
    assert!(pages < 20 * 5, "{pages} pages of stacks that use one or two");
    drop(s);
    parked.into_iter().for_each(|h| assert_eq!(h.join().unwrap(), (60_000, true)));
    STOP.store(true, SeqCst);
    blocked.join().unwrap();
}

pub fn a_block_comes_back_to_its_p() {
    all_cores(runtime::max_procs());
    for _ in 0..100 {
        let before = p();
        // Nobody waits, so nobody is woken for it.
        runtime::block_in_place(|| assert_eq!(p(), usize::MAX));
        assert_eq!(p(), before);
    }
}

pub fn a_block_comes_back_to_a_free_p() {
    static STOP: AtomicBool = AtomicBool::new(false);
    all_cores(4);
    // Two P's for four cores: one for the spinner, one for us. While we are outside another spinner
    // takes ours, and the first one ends.
    runtime::set_max_procs(2);
    for _ in 0..20 {
        static FIRST: AtomicUsize = AtomicUsize::new(usize::MAX);
        static SECOND: AtomicUsize = AtomicUsize::new(usize::MAX);
        static END: AtomicBool = AtomicBool::new(false);
        FIRST.store(usize::MAX, SeqCst);
        SECOND.store(usize::MAX, SeqCst);
        END.store(false, SeqCst);
        STOP.store(false, SeqCst);
        let first = go(|| {
            FIRST.store(p(), SeqCst);
            wait_for(|| END.load(SeqCst));
        });
        while FIRST.load(SeqCst) == usize::MAX || p() == FIRST.load(SeqCst) {
            runtime::yield_now();
        }
        let mine = p();
        let second = runtime::block_in_place(|| {
            let second = go(|| {
                SECOND.store(p(), SeqCst);
                wait_for(|| STOP.load(SeqCst));
            });
            wait_for(|| SECOND.load(SeqCst) != usize::MAX);
            END.store(true, SeqCst);
            // Its core gives its P up, if it has nothing else.
            time::sleep(Duration::ZERO);
            second
        });
        // There are two, and one is the second spinner's: we have the other, whichever it was.
        assert!(
            p() < 2 && (p() != SECOND.load(SeqCst) || runtime::max_procs() == 1),
            "{mine} {} {}",
            p(),
            SECOND.load(SeqCst)
        );
        STOP.store(true, SeqCst);
        first.join().unwrap();
        second.join().unwrap();
    }
    runtime::set_max_procs(4);
}

pub fn a_block_comes_back_to_the_global_queue() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static SEEN: AtomicBool = AtomicBool::new(false);
    static BACK: AtomicBool = AtomicBool::new(false);
    all_cores(runtime::max_procs());
    for _ in 0..20 {
        STOP.store(false, SeqCst);
        SEEN.store(false, SeqCst);
        BACK.store(false, SeqCst);
        // The taker takes the only P while we are outside. Only when we have come to the global
        // queue does the taker make room.
        let taker = runtime::block_in_place(|| {
            let taker = go(|| {
                STOP.store(true, SeqCst);
                while runtime::stats().global_queue == 0 {
                    spin_loop();
                }
                SEEN.store(!BACK.load(SeqCst), SeqCst);
            });
            wait_for(|| STOP.load(SeqCst));
            taker
        });
        BACK.store(true, SeqCst);
        taker.join().unwrap();
        assert!(SEEN.load(SeqCst));
    }
}

/// The core that was woken for the waiting G comes too late: we have the P again, and never leave
/// it. Still that G runs.
pub fn who_waits_when_a_block_ends_has_a_turn() {
    static RAN: AtomicU64 = AtomicU64::new(0);
    all_cores(runtime::max_procs());
    for i in 0..2000 {
        drop(go(|| RAN.fetch_add(1, SeqCst)));
        runtime::block_in_place(|| (0..i % 50).for_each(|_| spin_loop()));
        wait_for(|| RAN.load(SeqCst) == i + 1);
    }
}

/// One G runs alone, so its core has no alarm; then a core that holds no P queues another.
pub fn work_from_elsewhere_interrupts_a_lone_g() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static TURNS: AtomicU64 = AtomicU64::new(0);
    static THERE: AtomicUsize = AtomicUsize::new(0);
    all_cores(runtime::max_procs());
    let spinner = go(|| {
        THERE.store(runtime::core(), SeqCst);
        while !STOP.load(Relaxed) {
            TURNS.fetch_add(1, Relaxed);
        }
    });
    let mut late = Vec::new();
    runtime::block_in_place(|| {
        wait_for(|| TURNS.load(SeqCst) > 0);
        for _ in 0..20 {
            static AT: AtomicU64 = AtomicU64::new(0);
            // Its alarm has found nobody waiting, and is off.
            let begin = time::Instant::now();
            wait_for(|| begin.elapsed() > Duration::from_millis(3));
            AT.store(0, SeqCst);
            let begin = time::Instant::now();
            drop(go(|| AT.store(time::Instant::now().as_nanos(), SeqCst)));
            wait_for(|| AT.load(SeqCst) != 0);
            late.push((AT.load(SeqCst) - begin.as_nanos()) / 1000);
        }
    });
    late.sort_unstable();
    println!("behind a G that ran alone, with a slice of 1 ms: {} µs (least), {} µs (p50)", late[0], late[10]);
    // The spinner may run on for two slices at most. The host may stop a core, but not each time.
    // Without an interrupt the new G would never run.
    assert!(late[0] < 100_000, "{late:?}");
    STOP.store(true, SeqCst);
    spinner.join().unwrap();
}

pub fn a_block_in_a_block_is_one() {
    all_cores(runtime::max_procs());
    let sum = runtime::block_in_place(|| {
        assert_eq!(p(), usize::MAX);
        let inner = runtime::block_in_place(|| {
            assert_eq!(p(), usize::MAX);
            20
        });
        // The inner one's end is not the outer one's.
        assert_eq!(p(), usize::MAX);
        inner + runtime::block_in_place(|| 22)
    });
    assert_eq!((sum, p() < runtime::max_procs()), (42, true));
}

pub fn a_block_with_a_guard_is_said() {
    let _guard = PreemptGuard::new();
    runtime::block_in_place(|| ());
}

pub fn a_guard_out_of_a_block_is_said() {
    drop(runtime::block_in_place(PreemptGuard::new));
}
