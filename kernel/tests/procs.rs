//! P's change hands: cores that wait for hardware, and a changing number of P's.
#![no_std]
#![no_main]

mod support;

use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

use trefoil::prelude::*;
use trefoil::{JoinError, PreemptGuard};

image! {
    others_run_while_one_blocks:
        "",
        "smp 2,4 | append maxprocs=1";
    two_blocked_cores_leave_two_ps: "smp 4 | append maxprocs=2";
    a_block_comes_back_to_its_p;
    a_block_comes_back_to_a_free_p: "smp 4 | append slice=60000000 wakeup=60000000";
    a_block_comes_back_to_the_global_queue: "smp 2,4 | append maxprocs=1 slice=60000000 wakeup=60000000";
    who_waits_when_a_block_ends_has_a_turn: "smp 2,4 | append maxprocs=1 slice=200 | timeout 100";
    work_from_elsewhere_interrupts_a_lone_g: "smp 2,4 | append maxprocs=1 slice=1000";
    a_block_in_a_block_is_one;
    a_block_with_a_guard_is_said:
        "smp 1,2 | exit 1 | expect block_in_place: called with preemption off: drop the PreemptGuard first";
    a_guard_out_of_a_block_is_said: "smp 1,2 | exit 1 | expect with a PreemptGuard";
    a_change_with_a_guard_is_said:
        "smp 1,2 | exit 1 | expect set_max_procs: called with preemption off: drop the PreemptGuard first";
    everything_works_outside:
        "",
        "smp 2,4 | append maxprocs=1";
    sleepers_wake_while_their_core_blocks: "smp 2,4";
    pages_go_back_while_a_core_blocks: "smp 2,4";
    the_number_changes_under_load:
        "timeout 100",
        "append slice=50 | timeout 100";
    so_many_run_and_no_more: "smp 2,4 | append slice=2000000";
    timers_stay_when_their_p_goes: "smp 2,4";
    absurd_numbers_are_said;
    a_change_that_dies_is_finished_by_the_next: "smp 1,2,4 | timeout 100";
    timers_outlive_a_change_that_dies: "smp 2,4";
    one_p_becomes_two_beside_a_lone_g: "smp 2,4 | append maxprocs=1";
    blocks_and_changes_together:
        "timeout 100",
        "append slice=50 | timeout 100";
    a_pinned_g_stays_on_its_core:
        "timeout 100",
        "append slice=20 | timeout 100";
    pinned_from_the_first_instruction;
    a_pin_ends_with_its_g;
    a_pin_in_a_block_binds_to_the_blocked_core: "smp 2,4";
    two_that_are_sent_to_a_resting_core_take_turns: "smp 4 | append maxprocs=3 slice=100";
    nobody_else_runs_beside_a_pinned_spinner: "smp 2,4";
    pins_meet_blocks_and_changes:
        "timeout 100",
        "append slice=50 | timeout 100";
}

/// A slow device, polled.
fn wait_for(done: impl Fn() -> bool) {
    while !done() {
        spin_loop();
    }
}

/// The others have all started.
fn all_cores(n: usize) {
    while runtime::num_cpus() < n {
        runtime::yield_now();
    }
}

fn others_run_while_one_blocks() {
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

fn two_blocked_cores_leave_two_ps() {
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
    // They meet only if both run at once: neither yields, and the slice is long.
    let meet = || {
        MET.fetch_add(1, SeqCst);
        wait_for(|| MET.load(SeqCst) == 2);
    };
    let (a, b) = (go(meet), go(meet));
    a.join().unwrap();
    b.join().unwrap();
    blocked.into_iter().for_each(|h| h.join().unwrap());
}

fn everything_works_outside() {
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

fn sleepers_wake_while_their_core_blocks() {
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
fn deep() -> u64 {
    let bytes = black_box([1u8; 60_000]);
    bytes.iter().map(|&b| u64::from(b)).sum()
}

fn pages_go_back_while_a_core_blocks() {
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

fn the_number_changes_under_load() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let cores = runtime::max_procs();
    all_cores(cores);
    // Pairs that hand over, one that sleeps, and one that spins.
    let pairs: Vec<_> = (0..4)
        .map(|_| {
            let (s, r) = chan::bounded::<u64>(0);
            let reader = go(move || r.iter().fold((0, 0), |(n, sum), v| (n + 1, sum + v)));
            let writer = go(move || {
                let (mut n, mut sum) = (0u64, 0u64);
                while !STOP.load(Relaxed) {
                    s.send(n).unwrap();
                    (n, sum) = (n + 1, sum + n);
                }
                (n, sum)
            });
            (writer, reader)
        })
        .collect();
    let sleeper = go(|| {
        let mut naps = 0;
        while !STOP.load(Relaxed) {
            time::sleep(Duration::from_micros(200));
            naps += 1;
        }
        naps
    });
    let spinner = go(|| wait_for(|| STOP.load(Relaxed)));
    let mut random = 12345u64;
    for i in 0..1000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let n = if i % 2 == 0 { 1 } else { 1 + (random >> 40) as usize % cores };
        let before = runtime::max_procs();
        assert_eq!(runtime::set_max_procs(n), before);
        assert_eq!(runtime::max_procs(), n);
        if i % 16 == 0 {
            assert_eq!(go(move || i).join().unwrap(), i);
            time::sleep(Duration::from_micros(50));
        }
    }
    runtime::set_max_procs(cores);
    STOP.store(true, SeqCst);
    for (writer, reader) in pairs {
        assert_eq!(writer.join().unwrap(), reader.join().unwrap(), "what was sent was received");
    }
    spinner.join().unwrap();
    assert!(sleeper.join().unwrap() > 0);
}

fn so_many_run_and_no_more() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static TURNS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
    let cores = runtime::max_procs();
    all_cores(cores);
    let spinners: Vec<_> = TURNS[1..cores]
        .iter()
        .map(|turns| {
            go(move || {
                while !STOP.load(Relaxed) {
                    turns.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let moving = || {
        let before: Vec<u64> = TURNS.iter().map(|t| t.load(SeqCst)).collect();
        let begin = time::Instant::now();
        wait_for(|| begin.elapsed() > Duration::from_millis(30));
        TURNS.iter().zip(before).filter(|(t, before)| t.load(SeqCst) != *before).count()
    };
    while TURNS[1..cores].iter().any(|t| t.load(SeqCst) == 0) {
        runtime::yield_now();
    }
    // The slice is two seconds: hardly anybody takes turns while we look, and if somebody does, we
    // look again.
    for n in (1..cores).rev() {
        runtime::set_max_procs(n);
        assert!((0..3).any(|_| moving() < n), "more than {n} run");
    }
    runtime::set_max_procs(cores);
    let begin = time::Instant::now();
    while moving() < cores - 1 {
        assert!(begin.elapsed() < Duration::from_secs(20), "all run again");
    }
    STOP.store(true, SeqCst);
    spinners.into_iter().for_each(|s| s.join().unwrap());
}

fn timers_stay_when_their_p_goes() {
    static WOKEN: AtomicU64 = AtomicU64::new(0);
    let cores = runtime::max_procs();
    all_cores(cores);
    let sleepers: Vec<_> = (0..40 * cores as u64)
        .map(|i| {
            go(move || {
                for _ in 0..3 {
                    let due = time::Instant::now() + Duration::from_micros(3000 + 37 * i);
                    time::sleep_until(due);
                    assert!(time::Instant::now() >= due);
                    WOKEN.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    for i in 0..60 {
        runtime::set_max_procs(1 + i % cores);
        time::sleep(Duration::from_micros(200));
    }
    sleepers.into_iter().for_each(|s| s.join().unwrap());
    assert_eq!(WOKEN.load(SeqCst), 120 * cores as u64);
    runtime::set_max_procs(cores);
}

/// Goes down until its stack is at its end, which is somewhere in `f`. `N` words a level: with each
/// the end is elsewhere.
#[inline(never)]
fn down<const N: usize>(level: usize, f: fn()) -> u64 {
    let kept = black_box([1u64; N]);
    if level * (N + 4) * 8 > 200 << 10 {
        f();
    }
    if kept[0] == u64::MAX { 0 } else { down::<N>(level + 1, f) + kept[N - 1] }
}

/// So many P's may there be.
static MOST: AtomicUsize = AtomicUsize::new(0);

/// Changes the number, down and up, until its stack is at its end.
fn dies_in_a_change() {
    let changes = || {
        runtime::set_max_procs(1);
        runtime::set_max_procs(MOST.load(SeqCst));
    };
    type Way = fn(usize, fn()) -> u64;
    let ways: [Way; 8] = [down::<3>, down::<5>, down::<8>, down::<11>, down::<17>, down::<29>, down::<64>, down::<100>];
    for way in ways {
        let died = go(move || way(0, changes)).join();
        assert!(matches!(died, Err(JoinError::StackOverflow)), "{died:?}");
    }
}

fn a_change_that_dies_is_finished_by_the_next() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static TURNS: AtomicU64 = AtomicU64::new(0);
    let most = runtime::max_procs();
    MOST.store(most, SeqCst);
    all_cores(most);
    let (s, r) = chan::bounded::<u64>(1);
    let reader = go(move || r.iter().sum::<u64>());
    let writer = go(move || {
        let mut sum = 0;
        for i in 0.. {
            if STOP.load(Relaxed) {
                return sum;
            }
            s.send(i).unwrap();
            TURNS.fetch_add(1, Relaxed);
            sum += i;
        }
        sum
    });
    for n in 1..=most {
        dies_in_a_change();
        let before = runtime::max_procs();
        assert_eq!(runtime::set_max_procs(n), before);
        assert_eq!(runtime::max_procs(), n);
        // All of them run, if there is work.
        let left = AtomicUsize::new(n);
        scope(|s| {
            (0..n).for_each(|_| {
                _ = s.go(|| {
                    left.fetch_sub(1, SeqCst);
                    wait_for(|| left.load(SeqCst) == 0);
                });
            });
        });
        let turns = TURNS.load(SeqCst);
        while TURNS.load(SeqCst) == turns {
            runtime::yield_now();
        }
    }
    runtime::set_max_procs(most);
    STOP.store(true, SeqCst);
    assert_eq!(writer.join().unwrap(), reader.join().unwrap(), "what was sent was received");
}

fn timers_outlive_a_change_that_dies() {
    static WOKEN: AtomicU64 = AtomicU64::new(0);
    let most = runtime::max_procs();
    MOST.store(most, SeqCst);
    all_cores(most);
    let sleepers: Vec<_> = (0..40 * most as u64)
        .map(|i| {
            go(move || {
                for _ in 0..3 {
                    time::sleep(Duration::from_micros(3000 + 37 * i));
                    WOKEN.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    dies_in_a_change();
    // Nobody changes it again meanwhile.
    sleepers.into_iter().for_each(|s| s.join().unwrap());
    assert_eq!(WOKEN.load(SeqCst), 120 * most as u64);
    runtime::set_max_procs(most);
}

/// One core holds the only P, and its G starts others without end and never makes way; a core
/// outside makes two of it.
fn one_p_becomes_two_beside_a_lone_g() {
    static BEGUN: AtomicU64 = AtomicU64::new(0);
    static RAN: AtomicU64 = AtomicU64::new(0);
    all_cores(2);
    for round in 0..50 {
        let raiser = go(move || {
            runtime::block_in_place(|| {
                BEGUN.store(round + 1, SeqCst);
                (0..round * 20).for_each(|_| spin_loop());
                runtime::set_max_procs(2)
            })
        });
        while BEGUN.load(SeqCst) <= round {
            runtime::yield_now();
        }
        let before = RAN.load(SeqCst);
        drop(go(|| RAN.fetch_add(1, SeqCst)));
        wait_for(|| RAN.load(SeqCst) > before);
        assert_eq!(raiser.join().unwrap(), 1);
        runtime::set_max_procs(1);
    }
}

fn absurd_numbers_are_said() {
    let cores = runtime::max_procs();
    for n in [0, cores + 1, usize::MAX] {
        let Err(JoinError::Panicked(why)) = go(move || runtime::set_max_procs(n)).join() else {
            panic!("{n} was taken")
        };
        let why = why.downcast_ref::<String>().unwrap();
        assert!(why.contains(&format!("from 1 to {cores}, not {n}")), "{why}");
    }
    assert_eq!(runtime::max_procs(), cores);
}

fn blocks_and_changes_together() {
    let cores = runtime::max_procs();
    all_cores(cores);
    let workers: Vec<_> = (0..12u64)
        .map(|w| {
            go(move || {
                let (s, r) = chan::bounded::<u64>(2);
                let reader = go(move || r.iter().sum::<u64>());
                for i in 0..60 {
                    match (w + i) % 5 {
                        0 => runtime::block_in_place(|| (0..(i * 50)).for_each(|_| spin_loop())),
                        1 => runtime::block_in_place(|| s.send(0).unwrap()),
                        2 => runtime::block_in_place(|| time::sleep(Duration::from_micros(i))),
                        3 => runtime::block_in_place(runtime::yield_now),
                        _ => runtime::block_in_place(|| go(|| ()).join().unwrap()),
                    }
                    s.send(i).unwrap();
                }
                drop(s);
                reader.join().unwrap()
            })
        })
        .collect();
    for i in 0..200 {
        runtime::set_max_procs(1 + i % cores);
        runtime::yield_now();
    }
    runtime::set_max_procs(cores);
    workers.into_iter().for_each(|w| assert_eq!(w.join().unwrap(), 59 * 60 / 2));
}

/// Does what moves G's from core to core, and says whether it was moved.
fn wander(n: u64) -> bool {
    let here = runtime::core();
    let (s, r) = chan::bounded::<u64>(0);
    let echo = go(move || r.iter().sum::<u64>());
    let mut stayed = true;
    for i in 0..n {
        s.send(i).unwrap();
        stayed &= runtime::core() == here;
        match i % 3 {
            0 => time::sleep(Duration::from_micros(20)),
            1 => runtime::yield_now(),
            _ => (0..200).for_each(|_| spin_loop()),
        }
        stayed &= runtime::core() == here;
    }
    drop(s);
    assert_eq!(echo.join().unwrap(), n * (n - 1) / 2);
    stayed && runtime::core() == here
}

fn a_pinned_g_stays_on_its_core() {
    all_cores(runtime::max_procs());
    let handles: Vec<_> = (0..12)
        .map(|i| {
            go(move || {
                for _ in 0..i {
                    runtime::yield_now();
                }
                let outer = runtime::pin();
                let inner = runtime::pin();
                let stayed = wander(30);
                drop(outer);
                let stayed = stayed && wander(30);
                drop(inner);
                wander(30);
                stayed
            })
        })
        .collect();
    for (i, h) in handles.into_iter().enumerate() {
        assert!(h.join().unwrap(), "number {i} was moved");
    }
}

fn pinned_from_the_first_instruction() {
    all_cores(runtime::max_procs());
    for core in 0..runtime::num_cpus() {
        let handles: Vec<_> =
            (0..5).map(|_| Builder::new().pin(core).spawn(move || (runtime::core(), wander(10))).unwrap()).collect();
        handles.into_iter().for_each(|h| assert_eq!(h.join().unwrap(), (core, true)));
    }
    let error = Builder::new().pin(runtime::num_cpus()).spawn(|| ()).unwrap_err();
    assert_eq!(error.to_string(), "no such core runs, to pin a goroutine to");
}

fn nobody_else_runs_beside_a_pinned_spinner() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static THERE: AtomicUsize = AtomicUsize::new(usize::MAX);
    static BESIDE: AtomicU64 = AtomicU64::new(0);
    static TURNS: AtomicU64 = AtomicU64::new(0);
    all_cores(runtime::max_procs());
    let spinner = go(|| {
        let _pin = runtime::pin();
        THERE.store(runtime::core(), SeqCst);
        // What waits here goes elsewhere, also when it yields.
        while !STOP.load(Relaxed) {
            for _ in 0..1000 {
                spin_loop();
            }
            runtime::yield_now();
        }
        THERE.store(usize::MAX, SeqCst);
    });
    let others: Vec<_> = (0..20)
        .map(|_| {
            go(|| {
                while !STOP.load(Relaxed) {
                    let beside = runtime::core() == THERE.load(SeqCst);
                    BESIDE.fetch_add(u64::from(beside), Relaxed);
                    TURNS.fetch_add(1, Relaxed);
                    runtime::yield_now();
                }
            })
        })
        .collect();
    time::sleep(Duration::from_millis(30));
    // A look can fall between the spinner's last instruction on a core that it is about to claim
    // and its first.
    assert!(TURNS.load(SeqCst) > 100, "the others run: {} turns", TURNS.load(SeqCst));
    let beside = BESIDE.load(SeqCst);
    STOP.store(true, SeqCst);
    spinner.join().unwrap();
    others.into_iter().for_each(|h| h.join().unwrap());
    assert_eq!(beside, 0, "others ran on its core");
}

fn pins_meet_blocks_and_changes() {
    let cores = runtime::max_procs();
    all_cores(cores);
    let workers: Vec<_> = (0..10u64)
        .map(|w| {
            go(move || {
                for i in 0..15 {
                    let pin = runtime::pin();
                    let here = runtime::core();
                    match (w + i) % 4 {
                        0 => runtime::block_in_place(|| time::sleep(Duration::from_micros(i))),
                        1 => runtime::block_in_place(|| {
                            let _inner = runtime::pin();
                            runtime::yield_now();
                        }),
                        2 => assert!(wander(4)),
                        _ => go(|| ()).join().unwrap(),
                    }
                    assert_eq!(runtime::core(), here);
                    drop(pin);
                    runtime::yield_now();
                }
            })
        })
        .collect();
    for i in 0..100 {
        runtime::set_max_procs(1 + i % cores);
        time::sleep(Duration::from_micros(50));
    }
    runtime::set_max_procs(cores);
    workers.into_iter().for_each(|w| w.join().unwrap());
}

/// The number of the P that the caller runs on; `usize::MAX` outside.
fn p() -> usize {
    let guard = trefoil_sched::PreemptGuard::new();
    trefoil_sched::M::current(&guard).p().unwrap().index()
}

fn a_block_comes_back_to_its_p() {
    all_cores(runtime::max_procs());
    for _ in 0..100 {
        let before = p();
        // Nobody waits, so nobody is woken for it.
        runtime::block_in_place(|| assert_eq!(p(), usize::MAX));
        assert_eq!(p(), before);
    }
}

fn a_block_comes_back_to_a_free_p() {
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

fn a_block_comes_back_to_the_global_queue() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static SEEN: AtomicBool = AtomicBool::new(false);
    static BACK: AtomicBool = AtomicBool::new(false);
    all_cores(runtime::max_procs());
    for _ in 0..20 {
        STOP.store(false, SeqCst);
        SEEN.store(false, SeqCst);
        BACK.store(false, SeqCst);
        // It takes the only P while we are outside, sees us come to the global queue, and only then
        // makes room.
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

/// The core that was woken for the one who waits comes too late: we have the P again, and never
/// leave it.
fn who_waits_when_a_block_ends_has_a_turn() {
    static RAN: AtomicU64 = AtomicU64::new(0);
    all_cores(runtime::max_procs());
    for i in 0..2000 {
        drop(go(|| RAN.fetch_add(1, SeqCst)));
        runtime::block_in_place(|| (0..i % 50).for_each(|_| spin_loop()));
        wait_for(|| RAN.load(SeqCst) == i + 1);
    }
}

/// One G runs alone, so its core has no alarm; then a core that holds no P queues another.
fn work_from_elsewhere_interrupts_a_lone_g() {
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
    // It has had its slice, and no more than two; the host may stop a core, but not each time.
    // Without an interrupt it would be never.
    assert!(late[0] < 100_000, "{late:?}");
    STOP.store(true, SeqCst);
    spinner.join().unwrap();
}

fn a_block_in_a_block_is_one() {
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

fn a_block_with_a_guard_is_said() {
    let _guard = PreemptGuard::new();
    runtime::block_in_place(|| ());
}

fn a_guard_out_of_a_block_is_said() {
    drop(runtime::block_in_place(PreemptGuard::new));
}

fn a_change_with_a_guard_is_said() {
    let _guard = PreemptGuard::new();
    runtime::set_max_procs(1);
}

fn a_pin_ends_with_its_g() {
    static STOP: AtomicBool = AtomicBool::new(false);
    all_cores(runtime::max_procs());
    // Their pins are never dropped.
    for _ in 0..3 {
        let pinned: Vec<_> = (0..20).map(|_| go(|| core::mem::forget(runtime::pin()))).collect();
        pinned.into_iter().for_each(|h| h.join().unwrap());
        let left: Vec<_> = (0..20)
            .map(|_| {
                go(|| {
                    core::mem::forget(runtime::pin());
                    runtime::exit_g()
                })
            })
            .collect();
        left.into_iter().for_each(|h| assert!(matches!(h.join(), Err::<(), _>(JoinError::Exited))));
    }
    // All cores but the last are taken. Who has one of their records runs nevertheless.
    let last = runtime::num_cpus() - 1;
    let taken: Vec<_> =
        (0..last).map(|core| Builder::new().pin(core).spawn(|| wait_for(|| STOP.load(Relaxed))).unwrap()).collect();
    let others: Vec<_> = (0..50).map(|i| go(move || i)).collect();
    assert_eq!(others.into_iter().map(|h| h.join().unwrap()).sum::<i32>(), 49 * 50 / 2);
    STOP.store(true, SeqCst);
    taken.into_iter().for_each(|h| h.join().unwrap());
}

fn a_pin_in_a_block_binds_to_the_blocked_core() {
    all_cores(runtime::max_procs());
    let handles: Vec<_> = (0..8)
        .map(|_| {
            go(|| {
                let (pin, here) = runtime::block_in_place(|| {
                    assert_eq!(p(), usize::MAX);
                    (runtime::pin(), runtime::core())
                });
                let stayed = runtime::core() == here && wander(10);
                drop(pin);
                stayed
            })
        })
        .collect();
    handles.into_iter().for_each(|h| assert!(h.join().unwrap()));
}

/// Two cores hold a P each, and send two G's at once to another core, which rests, and so does a P:
/// the second finds a core that rests no more, and has no P yet, so that an interrupt says nothing
/// to it. Each waits there until the other has run.
fn two_that_are_sent_to_a_resting_core_take_turns() {
    const ROUNDS: u64 = 500;
    static READY: AtomicU64 = AtomicU64::new(0);
    static RAN: AtomicU64 = AtomicU64::new(0);
    all_cores(4);
    let senders: Vec<_> = (0..2)
        .map(|_| {
            go(|| {
                let (order, orders) = chan::bounded::<u64>(0);
                let (done, dones) = chan::bounded::<()>(0);
                let pinned = Builder::new()
                    .pin(3)
                    .spawn(move || {
                        for round in &orders {
                            RAN.fetch_add(1, SeqCst);
                            wait_for(|| RAN.load(SeqCst) >= 2 * round);
                            done.send(()).unwrap();
                        }
                    })
                    .unwrap();
                for round in 1..=ROUNDS {
                    // That core rests again.
                    (0..2000).for_each(|_| spin_loop());
                    READY.fetch_add(1, SeqCst);
                    wait_for(|| READY.load(SeqCst) >= 2 * round);
                    // Into our slot; it goes to its core when we park.
                    order.send(round).unwrap();
                    dones.recv().unwrap();
                }
                drop(order);
                pinned.join().unwrap();
            })
        })
        .collect();
    senders.into_iter().for_each(|h| h.join().unwrap());
}
