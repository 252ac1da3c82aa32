//! A changing number of P's.

use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

use trefoil::prelude::*;
use trefoil::{JoinError, PreemptGuard};

use crate::{all_cores, wait_for};

pub fn the_number_changes_under_load() {
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

pub fn so_many_run_and_no_more() {
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

pub fn timers_stay_when_their_p_goes() {
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

pub fn a_change_that_dies_is_finished_by_the_next() {
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

pub fn timers_outlive_a_change_that_dies() {
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
pub fn one_p_becomes_two_beside_a_lone_g() {
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

pub fn absurd_numbers_are_said() {
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

pub fn blocks_and_changes_together() {
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

pub fn a_change_with_a_guard_is_said() {
    let _guard = PreemptGuard::new();
    runtime::set_max_procs(1);
}
