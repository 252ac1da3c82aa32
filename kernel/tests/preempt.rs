//! Preemption: no G can hold a core, in any code. `registers.rs` tests that a G does not notice its
//! preemption; `delays.rs` tests how late preemption is at most.
#![no_std]
#![no_main]

mod support;

use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};

use trefoil::prelude::*;
use trefoil::{JoinError, PreemptGuard};

image! {
    a_tight_loop_lets_the_others_run;
    a_sleeper_keeps_time_beside_tight_loops:
        "smp 1 | icount",
        "smp 2 | free-cores 2";
    spinners_have_their_share_in_a_storm: "smp 1 | icount";
    allocations_are_preempted: "append slice=20 | timeout 100";
    panics_are_preempted: "append slice=20 | timeout 100";
    lines_are_preempted_and_stay_whole: "append slice=20 | shape line # of # by # ends | timeout 100";
    one_g_has_no_interrupts:
        "smp 1,2,4 | icount",
        "smp 2 | free-cores 2";
    a_guard_keeps_the_core_and_then_makes_way: "smp 1 | append slice=100 | icount";
    guards_nest_in_any_order: "append slice=20";
    a_new_slice_holds_at_once: "append slice=60000000 wakeup=60000000";
    slices_out_of_range_are_said;
    odd_slices_are_named_and_boot_goes_on:
        "smp 1 | append slice=0 wakeup=0 | expect slice=\"0\": wants 5 to 60000000 microseconds; skipped | expect wakeup=\"0\": wants 5 to",
        "smp 1 | append slice=60000001 wakeup=x | expect slice=\"60000001\": wants | expect wakeup=\"x\": wants";
    parking_with_a_guard_is_said:
        "smp 1,2 | exit 1 | expect it would leave its core with a PreemptGuard | expect parking_with_a_guard_is_said";
    yielding_with_a_guard_is_said: "smp 1,2 | exit 1 | expect it would leave its core with a PreemptGuard";
    ending_with_a_guard_is_said: "smp 1,2 | exit 1 | expect it would leave its core with a PreemptGuard";
    a_panic_with_a_guard_is_said: "smp 1,2 | exit 1 | expect it can't unwind: preemption is off";
}

/// Spins in a loop without a call.
fn spin(stop: &AtomicBool) -> u64 {
    let mut turns = 0;
    while !stop.load(Relaxed) {
        turns += 1;
        black_box(turns);
    }
    turns
}

fn a_tight_loop_lets_the_others_run() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let spinners: Vec<_> = (0..2 * runtime::max_procs()).map(|_| go(|| spin(&STOP))).collect();
    // `main` itself comes back again and again.
    for i in 0..20 {
        assert_eq!(go(move || i + 1).join().unwrap(), i + 1);
        runtime::yield_now();
    }
    time::sleep(Duration::from_millis(50));
    STOP.store(true, SeqCst);
    let turns: Vec<u64> = spinners.into_iter().map(|s| s.join().unwrap()).collect();
    assert!(turns.iter().all(|&t| t > 1000), "{turns:?}");
    assert!(runtime::stats().total().preemptions > 2, "{:?}", runtime::stats().total());
}

fn a_sleeper_keeps_time_beside_tight_loops() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let spinners: Vec<_> = (0..runtime::max_procs() + 1).map(|_| go(|| spin(&STOP))).collect();
    time::sleep(Duration::from_millis(5));
    let mut late: Vec<u64> = (0..100)
        .map(|_| {
            let due = time::Instant::now() + Duration::from_millis(1);
            time::sleep(Duration::from_millis(1));
            (time::Instant::now() - due).as_nanos() as u64
        })
        .collect();
    late.sort_unstable();
    STOP.store(true, SeqCst);
    println!("late by {} ns (p50), {} ns (p99), {} ns (max)", late[50], late[98], late[99]);
    spinners.into_iter().for_each(|s| assert!(s.join().unwrap() > 0));
    if runtime::max_procs() == 1 {
        // By counted turns.
        assert!(late[50] <= 3_000 && late[98] <= 200_000, "p50 {} ns, p99 {} ns", late[50], late[98]);
    } else {
        // By the host's clock, which stops cores as it likes; without preemption this would be a
        // slice.
        assert!(late[50] <= 2_000_000, "p50 {} ns", late[50]);
    }
}

/// Spins as [`spin`] does, for `time`.
fn spin_for(time: Duration) -> u64 {
    let begin = time::Instant::now();
    let mut turns = 0;
    while begin.elapsed() < time {
        turns += 1;
        black_box(turns);
    }
    turns
}

fn preemptions() -> u64 {
    runtime::stats().total().preemptions
}

/// Many sleepers that are due all the time take the core away from two that never leave it: those
/// are in front of the eighth in a row, for 100 µs each time.
fn spinners_have_their_share_in_a_storm() {
    const TIME: Duration = Duration::from_millis(40);
    static STOP: AtomicBool = AtomicBool::new(false);
    let alone = spin_for(TIME);
    for work in [0, 20] {
        STOP.store(false, SeqCst);
        let sleepers: Vec<_> = (0..30)
            .map(|i| {
                go(move || {
                    let mut naps = 0u64;
                    while !STOP.load(Relaxed) {
                        time::sleep(Duration::from_micros(10 + i % 7));
                        spin_for(Duration::from_micros(work));
                        naps += 1;
                    }
                    naps
                })
            })
            .collect();
        let spinners = [go(|| spin_for(TIME)), go(|| spin_for(TIME))];
        let shares = spinners.map(|s| s.join().unwrap() * 100 / alone);
        STOP.store(true, SeqCst);
        let naps: Vec<u64> = sleepers.into_iter().map(|s| s.join().unwrap()).collect();
        let (least, all) = (naps.iter().min().unwrap(), naps.iter().sum::<u64>());
        println!(
            "sleepers that work for {work} µs: spinners have {shares:?} % of a core; {all} naps, {least} at least"
        );
        // 100 µs of 100 + 8 × (work + what a wake-up takes), of which each spinner has half.
        let bound = if work == 0 { 30 } else { 14 };
        assert!(shares.iter().all(|&s| s >= bound), "{shares:?} %, each should have {bound}");
        assert!(*least > 10, "{naps:?}");
    }
}

/// Runs G's that call `f` and nothing else, until `least` preemptions have come.
fn under_preemption(least: u64, f: impl Fn(u64) + Copy + Send + 'static) {
    static STOP: AtomicBool = AtomicBool::new(false);
    STOP.store(false, SeqCst);
    let begin = preemptions();
    let handles: Vec<_> = (0..3 * runtime::max_procs() as u64)
        .map(|i| {
            go(move || {
                let mut n = 0;
                while !STOP.load(Relaxed) {
                    f(1000 * i + n % 1000);
                    n += 1;
                }
                n
            })
        })
        .collect();
    while preemptions() - begin < least {
        time::sleep(Duration::from_millis(10));
    }
    STOP.store(true, SeqCst);
    let rounds: u64 = handles.into_iter().map(|h| h.join().unwrap()).sum();
    println!("{} preemptions in {rounds} rounds", preemptions() - begin);
}

fn allocations_are_preempted() {
    under_preemption(4_000, |n| {
        // All classes, the region, and growing in place.
        let blocks: Vec<Vec<u64>> = (0..20).map(|i| vec![n; 1 << (i % 12)]).collect();
        let mut list = Vec::new();
        (0..300).for_each(|i| list.push(n + i));
        assert!(blocks.iter().all(|b| b.iter().all(|&v| v == n)));
        assert_eq!(list.iter().sum::<u64>(), 300 * n + 299 * 150);
    });
}

/// Counts what is dropped.
struct Drops<'a>(&'a AtomicU32);
impl Drop for Drops<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[inline(never)]
fn panic_below(levels: u32, drops: &AtomicU32) -> u32 {
    let _drop = Drops(drops);
    if black_box(levels) == 0 { panic!("at the bottom") } else { panic_below(levels - 1, drops) + 1 }
}

fn panics_are_preempted() {
    under_preemption(2_000, |n| {
        static DROPS: [AtomicU32; 16] = [const { AtomicU32::new(0) }; 16];
        let levels = n as u32 % 20;
        let drops = &DROPS[n as usize / 1000];
        drops.store(0, SeqCst);
        let Err(JoinError::Panicked(why)) = go(move || panic_below(levels, drops)).join() else {
            panic!("it did not panic")
        };
        assert_eq!((why.downcast_ref::<&str>(), drops.load(SeqCst)), (Some(&"at the bottom"), levels + 1));
        assert!(matches!(go(|| runtime::exit_g()).join(), Err(JoinError::Exited)));
    });
}

fn lines_are_preempted_and_stay_whole() {
    let before = preemptions();
    while preemptions() - before < 100 {
        let handles: Vec<_> = (0..2 * runtime::max_procs() + 1)
            .map(|i| {
                go(move || {
                    for line in 0..30 {
                        print!("line {line} ");
                        print!("of {}", 30);
                        println!(" by {i} ends");
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|h| h.join().unwrap());
    }
}

fn one_g_has_no_interrupts() {
    static STOP: AtomicBool = AtomicBool::new(false);
    while runtime::cpus_started() < runtime::max_procs() {
        runtime::yield_now();
    }
    // By then the clock is refined, and every core that was to come up is there.
    time::sleep(Duration::from_millis(100));
    let _pin = runtime::pin();
    let here = runtime::core();
    // Our wake-up has left an alarm that looks whether anybody waits. (Without counted time it
    // comes when the host gets round to it.)
    spin_for(Duration::from_millis(5));
    let interrupts = || runtime::stats().ms[here].timer_interrupts;
    let quiet = || {
        let before = interrupts();
        spin_for(Duration::from_millis(100));
        interrupts() - before
    };
    assert_eq!(quiet(), 0, "interrupts with one G");
    if runtime::max_procs() > 1 {
        return;
    }
    // With two there are, and with one again none, but for the one that finds nobody waiting.
    runtime::set_slice(Duration::from_millis(1));
    let other = go(|| spin(&STOP));
    assert!(quiet() > 20, "two G's take turns");
    STOP.store(true, SeqCst);
    other.join().unwrap();
    spin_for(Duration::from_millis(3));
    assert_eq!(quiet(), 0, "interrupts with one G again");
}

fn a_guard_keeps_the_core_and_then_makes_way() {
    static TURNS: AtomicU64 = AtomicU64::new(0);
    static STOP: AtomicBool = AtomicBool::new(false);
    let other = go(|| {
        while !STOP.load(Relaxed) {
            TURNS.fetch_add(1, Relaxed);
        }
    });
    time::sleep(Duration::from_millis(1));
    for round in 0..20 {
        let guard = PreemptGuard::new();
        let inner = PreemptGuard::new();
        let before = TURNS.load(SeqCst);
        // Ten slices; longer than the longest that the alarm may take.
        spin_for(Duration::from_millis(1));
        drop(inner);
        assert_eq!(TURNS.load(SeqCst), before, "round {round}: another one ran under the guard");
        drop(guard);
        // At once: no instruction of ours lies between but the load.
        assert!(TURNS.load(SeqCst) > before, "round {round}: it did not make way");
    }
    STOP.store(true, SeqCst);
    other.join().unwrap();
}

fn guards_nest_in_any_order() {
    let handles: Vec<_> = (0..3 * runtime::max_procs())
        .map(|i| {
            go(move || {
                for n in 0..2000 {
                    let (a, b) = (PreemptGuard::new(), PreemptGuard::new());
                    let here = runtime::core();
                    (0..(n + i) % 50).for_each(|_| spin_loop());
                    let (first, last) = if n % 2 == 0 { (a, b) } else { (b, a) };
                    drop(first);
                    assert_eq!(runtime::core(), here);
                    drop(last);
                    // Parking is fine again.
                    if n % 100 == 0 {
                        assert_eq!(go(move || n).join().unwrap(), n);
                    }
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
}

fn a_new_slice_holds_at_once() {
    static TURNS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    static STOP: AtomicBool = AtomicBool::new(false);
    // More than there are cores, on the last core: the first has a minute, and would keep it.
    while runtime::cpus_started() < runtime::max_procs() {
        runtime::yield_now();
    }
    let last = runtime::num_cpus() - 1;
    let spinners: Vec<_> = TURNS
        .iter()
        .map(|turns| {
            let spinner = move || {
                while !STOP.load(Relaxed) {
                    turns.fetch_add(1, Relaxed);
                }
            };
            if last == 0 { go(spinner) } else { Builder::new().pin(last).spawn(spinner).unwrap() }
        })
        .collect();
    // The slice first: with the other, a timer of the kernel's may make us wait behind a slice of a
    // minute.
    assert_eq!(runtime::set_slice(Duration::from_millis(1)), Duration::from_secs(60));
    assert_eq!(runtime::slice(), Duration::from_millis(1));
    let begun = runtime::set_wakeup(Duration::from_micros(100));
    assert_eq!((begun, runtime::wakeup()), (Duration::from_secs(60), Duration::from_micros(100)));
    let begin = time::Instant::now();
    let sum = || TURNS.iter().map(|t| t.load(SeqCst)).collect::<Vec<_>>();
    let mut seen = sum();
    for _ in 0..5 {
        while sum().iter().zip(&seen).any(|(now, then)| now <= then) {
            time::sleep(Duration::from_millis(1));
            assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", sum());
        }
        seen = sum();
    }
    STOP.store(true, SeqCst);
    spinners.into_iter().for_each(|s| s.join().unwrap());
}

fn slices_out_of_range_are_said() {
    for bad in [Duration::ZERO, Duration::from_nanos(4_999), Duration::from_nanos(60_000_000_001), Duration::MAX] {
        for (what, set) in
            [("set_slice", runtime::set_slice as fn(Duration) -> Duration), ("set_wakeup", runtime::set_wakeup)]
        {
            let Err(JoinError::Panicked(why)) = go(move || set(bad)).join() else { panic!("{bad:?} was taken") };
            let why = why.downcast_ref::<String>().unwrap();
            assert!(why.contains(&format!("{what}: wants 5µs to a minute, not {bad:?}")), "{why}");
        }
    }
    assert_eq!((runtime::slice(), runtime::wakeup()), (Duration::from_millis(10), Duration::from_micros(100)));
    // The ends are in range.
    for good in [Duration::from_micros(5), Duration::from_secs(60)] {
        runtime::set_slice(good);
        assert_eq!(runtime::set_slice(Duration::from_millis(10)), good);
    }
}

fn odd_slices_are_named_and_boot_goes_on() {
    assert_eq!((runtime::slice(), runtime::wakeup()), (Duration::from_millis(10), Duration::from_micros(100)));
}

fn parking_with_a_guard_is_said() {
    let _guard = PreemptGuard::new();
    time::sleep(Duration::from_millis(1));
}

fn yielding_with_a_guard_is_said() {
    drop(go(|| ()));
    let _guard = PreemptGuard::new();
    (0..100).for_each(|_| runtime::yield_now());
}

fn ending_with_a_guard_is_said() {
    _ = go(|| core::mem::forget(PreemptGuard::new())).join();
}

fn a_panic_with_a_guard_is_said() {
    let failed = go(|| {
        let _guard = PreemptGuard::new();
        panic!("in a hurry");
    });
    _ = failed.join();
}
