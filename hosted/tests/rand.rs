//! Random numbers: the seed of the run repeats those of each goroutine.

use trefoil_hosted::prelude::*;
use trefoil_hosted::{Config, run};
use trefoil_sched::rand::{self, RngExt};

/// Draws on `main` and on some goroutines.
fn drawn(seed: u64) -> Vec<u64> {
    let config = Config { seed, ..Config::with_procs(1) };
    run(config, move || {
        assert_eq!(rand::seed(), seed);
        let mut drawn = vec![rand::random(), rand::rng().random()];
        for _ in 0..20 {
            drawn.extend(go(|| [rand::random::<u64>(), rand::random()]).join().unwrap());
        }
        drawn
    })
    .unwrap()
}

#[test]
fn a_seed_repeats_the_numbers_of_each_goroutine() {
    let first = drawn(7);
    assert_eq!(first, drawn(7));
    let unique: HashSet<&u64> = first.iter().collect();
    assert_eq!(unique.len(), first.len(), "two draws were the same: {first:?}");
    // Neighbours among the seeds have no number in common.
    assert!(drawn(6).iter().all(|number| !unique.contains(number)));
}

#[test]
fn numbers_fill_their_range_evenly() {
    let config = Config { seed: 1, ..Config::with_procs(2) };
    let faces = run(config, || {
        let mut faces = [0; 6];
        (0..6000).for_each(|_| faces[rand::random_range(0..6)] += 1);
        faces
    });
    assert!(faces.as_ref().unwrap().iter().all(|n| (800..1200).contains(n)), "{faces:?}");
    run(Config::with_procs(1), || assert!(rand::random_bool(1.0) && !rand::random_bool(0.0))).unwrap();
}
