//! Work that spreads over the cores, and the wake-ups for it.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use trefoil::prelude::*;
use trefoil::runtime::MStats;

use crate::cores::wait_for_cores;
use crate::{busy, work};

pub fn ping_pong_wakes_no_other_core() {
    const ROUNDS: u64 = 20_000;
    wait_for_cores();
    let (to, ping) = chan::bounded::<u64>(0);
    let (back, pong) = chan::bounded::<u64>(0);
    let echo = go(move || ping.iter().for_each(|v| back.send(v).unwrap()));
    let before = runtime::stats().total().wakes_sent;
    for i in 0..ROUNDS {
        to.send(i).unwrap();
        assert_eq!(pong.recv().unwrap(), i);
    }
    let sent = runtime::stats().total().wakes_sent - before;
    drop(to);
    echo.join().unwrap();
    assert!(sent < ROUNDS / 100, "{sent} wake-ups for {ROUNDS} round trips");
}

pub fn equal_gs_spread_over_the_cores() {
    wait_for_cores();
    let runs = |ms: &[MStats]| ms.iter().map(|m| m.runs).collect::<Vec<_>>();
    // The best of a few rounds: a host that takes a core away for a while makes a round uneven, but
    // none even.
    let mut best = u64::MAX;
    for _ in 0..8 {
        let before = runs(&runtime::stats().ms);
        // All spawned on one core, long enough that the spawning does not matter.
        let handles: Vec<_> = (0..400).map(|i| go(move || work(500_000 + i))).collect();
        handles.into_iter().for_each(|h| assert_ne!(h.join().unwrap(), 0));
        let after = runs(&runtime::stats().ms);
        let each: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
        println!("G's run by each core: {each:?}");
        let (least, most) = (each.iter().min().unwrap(), each.iter().max().unwrap());
        best = best.min((100 * most).div_ceil((*least).max(1)));
        if best <= 200 {
            return;
        }
    }
    panic!("never within a factor of two: at best {best} %");
}

pub fn two_cores_are_faster_than_one() {
    wait_for_cores();
    const N: u64 = 64;
    const TURNS: u64 = 1_000_000;
    // The best of five: time that the host takes for itself only makes a round slower.
    let (mut serial, mut parallel) = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        let begin = Instant::now();
        (0..N).for_each(|i| assert_ne!(work(TURNS + i), 0));
        serial = serial.min(begin.elapsed());
        let begin = Instant::now();
        let handles: Vec<_> = (0..N).map(|i| go(move || work(TURNS + i))).collect();
        handles.into_iter().for_each(|h| assert_ne!(h.join().unwrap(), 0));
        parallel = parallel.min(begin.elapsed());
    }
    let ratio = serial.as_nanos() as f64 / parallel.as_nanos() as f64;
    println!("serial {serial:?}, parallel {parallel:?}: {ratio:.2} times as fast");
    assert!(ratio >= 1.6, "only {ratio:.2} times as fast on two cores");
}

pub fn no_wake_up_is_lost_in_a_storm() {
    // A lost wake-up shows as a hang (the time limit) or as a deadlock report.
    const REPEATS: usize = 20;
    wait_for_cores();
    for _ in 0..REPEATS {
        hand_over_in_pairs();
        fan_out_and_in();
    }
    let got = runtime::stats().total().wakes_received;
    assert!(got > 100, "no storm: {got} wake-ups");
}

pub fn few_wake_ups_are_needless() {
    // By counted turns: when the host runs several cores' threads one after another, a woken core
    // comes when the work has long been done.
    wait_for_cores();
    for _ in 0..4 {
        hand_over_in_pairs();
        fan_out_and_in();
    }
    let total = runtime::stats().total();
    let (got, useless) = (total.wakes_received, total.wakes_useless);
    println!("wake-ups: {got} received, {useless} needless; {} steals", total.steals);
    assert!(got > 50, "no storm: {got} wake-ups");
    // Besides the budget, some at the start, when the account is full.
    assert!(useless * 11 <= got + 110, "{useless} of {got} wake-ups were needless");
}

/// Makes half of a storm: pairs hand over through channels, with naps, so that cores rest and get
/// up all the time.
fn hand_over_in_pairs() {
    const HAND_OFFS: usize = 50_000;
    const PAIRS: usize = 8;
    let pairs: Vec<_> = (0..PAIRS)
        .map(|pair| {
            let (tx, rx) = chan::bounded::<usize>(pair % 3);
            let sender = go(move || {
                for i in 0..HAND_OFFS / PAIRS {
                    tx.send(i).unwrap();
                    if i % 1000 == 999 {
                        time::sleep(Duration::from_micros(50 * pair as u64));
                    }
                }
            });
            let receiver = go(move || {
                let mut next = 0;
                for i in &rx {
                    assert_eq!(i, next, "out of order");
                    next += 1;
                }
                next
            });
            (sender, receiver)
        })
        .collect();
    for (sender, receiver) in pairs {
        sender.join().unwrap();
        assert_eq!(receiver.join().unwrap(), HAND_OFFS / PAIRS);
    }
}

/// Makes the other half: one G readies eight parked ones at once, and waits for all of them. Other
/// cores must be woken for those.
fn fan_out_and_in() {
    const HAND_OFFS: usize = 50_000;
    const WORKERS: usize = 8;
    let (done, all) = chan::bounded::<u64>(0);
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (tx, rx) = chan::bounded::<u64>(0);
            let done = done.clone();
            (tx, go(move || rx.iter().for_each(|i| done.send(work(5_000 + i)).unwrap())))
        })
        .collect();
    for round in 0..HAND_OFFS / (2 * WORKERS) {
        workers.iter().for_each(|(tx, _)| tx.send(round as u64 % 7).unwrap());
        workers.iter().for_each(|_| assert_ne!(all.recv().unwrap(), 0));
    }
    for (tx, worker) in workers {
        drop(tx);
        worker.join().unwrap();
    }
}

pub fn maxprocs_limits_the_ps() {
    assert_eq!(runtime::max_procs(), 2);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handles: Vec<_> = (0..50)
        .map(|_| {
            let (now, most) = (now.clone(), most.clone());
            go(move || {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                busy(Duration::from_millis(2));
                now.fetch_sub(1, SeqCst);
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
    assert_eq!(most.load(SeqCst), 2, "that many G's ran at the same time");
}
