//! Memory that a parked goroutine does not need goes back: unused pages, and whole stacks that stay
//! parked. A later touch brings them back.
#![no_std]
#![no_main]

#[path = "support/deep.rs"]
mod deep;
mod support;

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

use deep::{KIB, deep, until};
use trefoil::arch::percpu;
use trefoil::arch::tlb::flush_tlb;
use trefoil::mm::paging::translate;
use trefoil::mm::stack::{self, scavenge};
use trefoil::prelude::*;

image! {
    shrinking_gives_back_what_growth_took;
    shrinking_races_wake_ups: "timeout 100";
    no_g_sees_anothers_bytes: "timeout 100";
    what_regrows_before_the_epoch_ends_keeps_its_writes: "smp 2,4";
    a_spinner_does_not_stall_epochs: "smp 2,4";
    resting_cores_hold_no_epoch_up: "smp 4 | icount";
    packed_stacks_keep_their_bytes;
    packed_stacks_are_touched_from_everywhere;
    packed_large_values_are_handed_over;
    a_g_that_parked_just_now_is_not_packed: "smp 1";
    cold_gs_are_packed_in_the_background: "smp 1,2";
    the_background_works_a_piece_at_a_time: "smp 1 | icount";
}

/// Parks `n` G's in `recv`. They end when the sender is dropped.
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

/// Counts the G's that have parked for good. On another core a G may still be on its way to the
/// park, and can't be looked at.
fn waiting() -> usize {
    let parked = |g: &&runtime::GInfo| g.wait_reason == runtime::WaitReason::ChanRecv && g.state.is_parked();
    runtime::goroutines().iter().filter(parked).count()
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
    // Frames wander from stack to stack as fast as they can: grow with a pattern, park, be shrunk,
    // grow elsewhere.
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

/// Recurses as [`deep`] does, and calls `f` in the deepest frame.
#[inline(never)]
fn deep_and(bytes: usize, seed: u64, f: &dyn Fn()) -> u64 {
    let mut block = [0u64; 64];
    black_box(&mut block).iter_mut().enumerate().for_each(|(i, word)| *word = seed ^ i as u64);
    let below = match bytes {
        0..=600 => {
            f();
            0
        }
        _ => deep_and(bytes - 600, seed + 1, f),
    };
    let block = black_box(&block);
    below + block.iter().enumerate().filter(|&(i, &word)| word != seed ^ i as u64).count() as u64
}

fn what_regrows_before_the_epoch_ends_keeps_its_writes() {
    // Its pages are in limbo, the epoch can't end since one core does not pass, and it runs again,
    // on another core, and grows into them.
    static HOLD: AtomicBool = AtomicBool::new(false);
    static HOLDS: AtomicBool = AtomicBool::new(false);
    static GROWN: AtomicBool = AtomicBool::new(false);
    static OVER: AtomicBool = AtomicBool::new(false);
    static LOW: AtomicUsize = AtomicUsize::new(0);
    let mut moved = 0;
    for round in 0..300u64 {
        [&HOLDS, &GROWN, &OVER].iter().for_each(|flag| flag.store(false, SeqCst));
        HOLD.store(true, SeqCst);
        let (wake, wait) = chan::bounded::<()>(0);
        let sleeper = go(move || {
            let wrong = deep_and(100 * KIB, round, &|| {
                let here = 0u8;
                LOW.store((&raw const here).addr(), SeqCst);
            });
            let before = runtime::core();
            wait.recv().unwrap();
            let after = runtime::core();
            let again = deep_and(100 * KIB, round + 1000, &|| {
                GROWN.store(true, SeqCst);
                until(|| OVER.load(SeqCst));
            });
            assert_eq!((wrong, again), (0, 0), "a stack lost its bytes");
            u64::from(before != after)
        });
        until(|| waiting() == 1);
        let holder = go(|| {
            trefoil::console::with_locked(|| {
                HOLDS.store(true, SeqCst);
                while HOLD.load(SeqCst) {
                    core::hint::spin_loop();
                }
            });
        });
        until(|| HOLDS.load(SeqCst));
        let low = LOW.load(SeqCst) as u64;
        // On a busy host a pass in the background may have taken the page before.
        let in_time = translate(low).is_some();
        let scavenger = go(runtime::scavenge);
        // In limbo: not there, and not gone.
        until(|| translate(low).is_none());
        wake.send(()).unwrap();
        until(|| GROWN.load(SeqCst));
        assert!(!in_time || !scavenger.is_finished(), "an epoch ended that one core has not passed");
        HOLD.store(false, SeqCst);
        scavenger.join().unwrap();
        OVER.store(true, SeqCst);
        moved += sleeper.join().unwrap() * u64::from(in_time);
        holder.join().unwrap();
        if round >= 10 && (moved >= 3 || runtime::max_procs() < 4) {
            return;
        }
    }
    panic!("in 300 rounds it came to another core {moved} times");
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

fn resting_cores_hold_no_epoch_up() {
    // The other cores are at rest, but for one that gets up now and then to look for what can go
    // back.
    const ROUNDS: u32 = 200;
    until(|| runtime::cpus_started() == 4);
    let mut over_at_once = 0;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_micros(300) {
            core::hint::spin_loop();
        }
        let over = trefoil::console::with_locked(|| {
            let epoch = scavenge::EPOCHS.begin();
            scavenge::EPOCHS.pass(runtime::core(), flush_tlb);
            scavenge::EPOCHS.is_over(epoch)
        });
        over_at_once += u32::from(over);
    }
    println!("{over_at_once} of {ROUNDS} epochs were over at once");
    assert!(over_at_once > ROUNDS * 9 / 10, "{over_at_once} of {ROUNDS} epochs were over at once");
    let flushes = || percpu::all().map(|core| core.flush_ipis.load(SeqCst)).sum::<u64>();
    // A core that does not rest is interrupted.
    let (before, spins) = (flushes(), Arc::new(AtomicBool::new(true)));
    let goes_on = spins.clone();
    let spinner = go(move || {
        while goes_on.load(SeqCst) {
            core::hint::spin_loop();
        }
    });
    assert_eq!(go(|| deep(100 * KIB, 1)).join().unwrap(), 0);
    while flushes() == before {
        assert_eq!(go(|| deep(100 * KIB, 1)).join().unwrap(), 0);
        runtime::scavenge();
    }
    spins.store(false, SeqCst);
    spinner.join().unwrap();
}

/// Starts a G that parks with a pattern on its stack. It returns 0 if the pattern was right
/// afterwards, and it got its own number or none.
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
    // The borrow of a scope's child, in effect: others read and write an array on the stack of a
    // parked, packed G.
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
    // A value too large for a record lies on the stack. So its sender touches a packed page, with
    // the channel's lock just released.
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
    // Without pressure, a G that is woken within a period is not packed, however long the program
    // runs.
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
    let unpacked = stack::unpacked();
    // `main` must not be one of those that wait for long.
    while !beat.iter().all(|b| b.is_finished()) {
        time::sleep(Duration::from_millis(50));
    }
    beat.into_iter().for_each(|b| b.join().unwrap());
    assert_eq!(stack::unpacked(), unpacked, "a sleeper of 100 ms was packed");
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

fn the_background_works_a_piece_at_a_time() {
    // 5,000 are packed while nobody asks for it, and no timer is late by more than one piece of
    // that.
    const N: u64 = 5000;
    let (tx, handles) = park(N as usize);
    let (mut latest, begin) = (Duration::ZERO, Instant::now());
    while stack::stats().packed < N {
        assert!(begin.elapsed() < Duration::from_secs(5), "{} packed", stack::stats().packed);
        let until = Instant::now() + Duration::from_micros(50);
        time::sleep_until(until);
        latest = latest.max(until.elapsed());
    }
    println!("{N} packed in {:?}; the latest timer was late by {latest:?}", begin.elapsed());
    assert!(latest < Duration::from_micros(PIECE), "a timer was late by {latest:?}");
    drop(tx);
    handles.into_iter().for_each(|h| assert!(h.join().unwrap()));
}

/// The longest piece of the scavenger's work in the background, in microseconds of a thousand
/// instructions: at the end of a round, 32 stacks are packed.
const PIECE: u64 = 80;
