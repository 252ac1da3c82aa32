//! G's that are pinned to a core.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

use trefoil::JoinError;
use trefoil::prelude::*;

use crate::{all_cores, p, wait_for};

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

pub fn a_pinned_g_stays_on_its_core() {
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

pub fn pinned_from_the_first_instruction() {
    all_cores(runtime::max_procs());
    for core in 0..runtime::num_cpus() {
        let handles: Vec<_> =
            (0..5).map(|_| Builder::new().pin(core).spawn(move || (runtime::core(), wander(10))).unwrap()).collect();
        handles.into_iter().for_each(|h| assert_eq!(h.join().unwrap(), (core, true)));
    }
    let error = Builder::new().pin(runtime::num_cpus()).spawn(|| ()).unwrap_err();
    assert_eq!(error.to_string(), "no such core runs, to pin a goroutine to");
}

pub fn nobody_else_runs_beside_a_pinned_spinner() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static THERE: AtomicUsize = AtomicUsize::new(usize::MAX);
    static BESIDE: AtomicU64 = AtomicU64::new(0);
    static TURNS: AtomicU64 = AtomicU64::new(0);
    all_cores(runtime::max_procs());
    let spinner = go(|| {
        let _pin = runtime::pin();
        THERE.store(runtime::core(), SeqCst);
        // The G's that wait here go elsewhere, also when this one yields.
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

pub fn pins_meet_blocks_and_changes() {
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

pub fn a_pin_ends_with_its_g() {
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
    // All cores but the last are taken. G's in the records of the pinned ones run nevertheless.
    let last = runtime::num_cpus() - 1;
    let taken: Vec<_> =
        (0..last).map(|core| Builder::new().pin(core).spawn(|| wait_for(|| STOP.load(Relaxed))).unwrap()).collect();
    let others: Vec<_> = (0..50).map(|i| go(move || i)).collect();
    assert_eq!(others.into_iter().map(|h| h.join().unwrap()).sum::<i32>(), 49 * 50 / 2);
    STOP.store(true, SeqCst);
    taken.into_iter().for_each(|h| h.join().unwrap());
}

pub fn a_pin_in_a_block_binds_to_the_blocked_core() {
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
pub fn two_that_are_sent_to_a_resting_core_take_turns() {
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
                    // The pinned G's core rests again.
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
