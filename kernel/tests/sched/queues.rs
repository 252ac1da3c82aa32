//! The ring, the slot and the global queue: each G in them has its turn.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use trefoil::prelude::*;

use crate::busy;
use crate::cores::wait_for_cores;

pub fn overflowing_the_ring_loses_nobody() {
    // Far more than a ring holds, before anybody runs on this core.
    let ran = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..3000)
        .map(|_| {
            let ran = ran.clone();
            go(move || ran.fetch_add(1, SeqCst))
        })
        .collect();
    let mut seen: Vec<_> = handles.into_iter().map(|h| h.join().unwrap()).collect();
    seen.sort();
    assert!(seen.iter().copied().eq(0..3000), "somebody ran twice or never");
}

pub fn the_global_queue_is_not_starved() {
    // 400 G's: the ring takes some, half of it overflows into the global queue. All yield, so the
    // ring is never empty; only the 61st-dispatch rule lets the others in.
    const N: usize = 400;
    let begun = Arc::new(AtomicUsize::new(0));
    let yields = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..N)
        .map(|_| {
            let (begun, yields) = (begun.clone(), yields.clone());
            go(move || {
                begun.fetch_add(1, SeqCst);
                while begun.load(SeqCst) < N {
                    assert!(yields.fetch_add(1, SeqCst) < N * 200, "{} of {N} never ran", N - begun.load(SeqCst));
                    runtime::yield_now();
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
}

pub fn a_pair_in_the_slot_lets_the_ring_run() {
    lets_the_ring_run(100);
}

/// Asserts that a third G runs within a slice and a quarter. The pair has at least `least` rounds
/// meanwhile; with fewer, the third was never in the ring.
fn lets_the_ring_run(least: u64) {
    // The slice's end finds the pair in their own code, in the scheduler, or on the way between.
    let mut longest = Duration::ZERO;
    for i in 0..60 {
        let slice = Duration::from_nanos(1_000_000 + 97 * i);
        runtime::set_slice(slice);
        let waited = behind_a_pair(least);
        assert!(waited < slice * 5 / 4, "it waited {waited:?}; a slice is {slice:?}");
        longest = longest.max(waited);
    }
    println!("at most {longest:?}");
}

/// A sleeper's wake-up in between does not give the pair a new slice.
pub fn a_pair_in_the_slot_and_a_sleeper_let_the_ring_run() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let sleeper = go(|| {
        while !STOP.load(SeqCst) {
            time::sleep(Duration::from_micros(130));
        }
    });
    // The sleeper's wake-ups may give the third G its turn early, so one round is enough.
    lets_the_ring_run(1);
    STOP.store(true, SeqCst);
    sleeper.join().unwrap();
}

/// Measures how long a third G waits in the ring while two ready each other.
fn behind_a_pair(least: u64) -> Duration {
    let waited = Arc::new(AtomicU64::new(u64::MAX));
    let (to_b, from_a) = chan::bounded::<bool>(0);
    let (to_a, from_b) = chan::bounded::<bool>(0);
    let third = waited.clone();
    let a = go(move || {
        let round = || {
            to_b.send(true).unwrap();
            from_b.recv().unwrap();
        };
        round();
        let begin = Instant::now();
        // From the slot the next hand-over puts it into the ring, and there it stays while the two
        // ready each other.
        let c = go({
            let third = third.clone();
            move || third.store(begin.elapsed().as_nanos() as u64, SeqCst)
        });
        let mut rounds = 0u64;
        while third.load(SeqCst) == u64::MAX {
            round();
            rounds += 1;
            assert!(begin.elapsed() < Duration::from_secs(1), "the pair held the core for {rounds} rounds");
        }
        assert!(rounds >= least, "it never waited in the ring: {rounds} rounds");
        c.join().unwrap();
    });
    // `b` is in the slot, so it comes to its `recv` first: each hands over to the other, which has
    // parked.
    let b = go(move || from_a.iter().for_each(|v| to_a.send(v).unwrap_or(())));
    for h in [a, b] {
        h.join().unwrap();
    }
    Duration::from_nanos(waited.load(SeqCst))
}

pub fn a_long_g_does_not_starve_its_slot() {
    wait_for_cores();
    for _ in 0..3 {
        let begin = Instant::now();
        // The child goes into this P's slot; this G then holds the core without a call.
        let child = go(move || begin.elapsed());
        busy(Duration::from_millis(100));
        let waited = child.join().unwrap();
        assert!(waited < Duration::from_millis(60), "the G in the slot waited {waited:?} beside idle cores");
    }
}
