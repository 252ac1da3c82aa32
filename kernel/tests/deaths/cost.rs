//! The cost of deaths to the living.

use trefoil::prelude::*;
use trefoil::sync::Mutex;
use trefoil::testing::deaths::{is_round_pending, pretend};

use crate::{ALL, Death, die, is_gone, quiet};

fn ticks() -> u64 {
    trefoil::arch::clock::ticks()
}

/// Counts the ticks of a G that comes to a held mutex and parks there, and of an attempt in vain.
/// Returns the least of 20.
fn looks() -> u64 {
    let mutex = Arc::new(Mutex::new(()));
    let mut least = u64::MAX;
    for _ in 0..20 {
        let held = mutex.lock().unwrap();
        let theirs = mutex.clone();
        let other = go(move || drop(theirs.lock().unwrap()));
        let begin = ticks();
        // The other one comes, looks, and parks.
        runtime::yield_now();
        assert!(mutex.try_lock().is_err());
        least = least.min(ticks() - begin);
        drop(held);
        other.join().unwrap();
    }
    least
}

pub fn a_look_costs_the_same_after_ten_thousand_deaths() {
    quiet();
    let none = looks();
    for how in ALL {
        assert!(how.is(&go(move || die(how)).join()));
    }
    is_gone(3);
    let few = looks();
    // Of numbers that nobody has: as spread, and as dense, as those of deaths are.
    for i in 0..10_000u64 {
        assert!(pretend(1 << 40 | i << (i % 3)));
    }
    let many = looks();
    println!("a look at a held mutex: {none} instructions, {few} after 3 deaths, {many} after 10,000");
    assert!(few <= none + 60 && many <= none + 100, "a look costs {none}, {few}, {many} instructions");
}

pub fn a_round_among_many_does_not_hold_the_core() {
    quiet();
    const MANY: usize = 20_000;
    let mutex = Arc::new(Mutex::new(()));
    let (tx, rx) = chan::bounded::<()>(0);
    let held = mutex.lock().unwrap();
    let parked: Vec<_> = (0..MANY)
        .map(|i| {
            let (rx, mutex) = (rx.clone(), mutex.clone());
            // Half of them wait for something that could be lost, and is not.
            go(move || if i % 2 == 0 { drop(mutex.lock()) } else { _ = rx.recv() })
        })
        .collect();
    runtime::yield_now();
    assert!(go(|| die(Death::SecondPanic)).join().is_err());
    let (mut last, mut longest, mut turns) = (ticks(), 0, 0u32);
    while is_round_pending() {
        runtime::yield_now();
        let now = ticks();
        longest = longest.max(now - last);
        last = now;
        turns += 1;
    }
    println!("a round among {MANY}: {turns} turns meanwhile, the longest after {longest} instructions");
    assert!(turns > 300, "it was done in one go");
    assert!(longest < 20_000, "a piece of the round has held the core for {longest} instructions");
    drop((held, tx));
    parked.into_iter().for_each(|g| g.join().unwrap());
}
