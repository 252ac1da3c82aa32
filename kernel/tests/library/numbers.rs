//! Floats and random numbers.

use core::f64::consts::{E, PI};

use trefoil::prelude::*;
use trefoil::rand::{self, Rng, RngExt, SeedableRng, SmallRng};

fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

pub fn floats_have_their_functions() {
    assert_eq!((2.0f64.powi(10).sqrt(), 2.25f32.sqrt(), 8.0f64.cbrt(), 3.0f64.hypot(4.0)), (32.0, 1.5, 2.0, 5.0));
    assert_eq!((2.7f64.floor(), 2.2f64.ceil(), 2.5f64.round(), (-2.7f64).trunc()), (2.0, 3.0, 3.0, -2.0));
    assert!(is_near((PI / 6.0).sin(), 0.5) && is_near((PI / 3.0).cos(), 0.5) && is_near((PI / 4.0).tan(), 1.0));
    assert!(is_near(1.0f64.exp(), E) && is_near(E.ln(), 1.0) && is_near(2.0f64.powf(0.5), 2.0f64.sqrt()));
    assert!(
        is_near(1.0f64.atan2(1.0), PI / 4.0) && is_near(1024.0f64.log2(), 10.0) && is_near(0.5f64.asin(), PI / 6.0)
    );
    assert!(is_near(1000.0f64.log10(), 3.0) && is_near(2.0f64.mul_add(3.0, 4.0), 10.0));
    assert_eq!([1.0, 4.0, 9.0].map(f64::sqrt), [1.0, 2.0, 3.0]);
    assert_eq!([2.5f64, 3.5, -2.5].map(f64::round_ties_even), [2.0, 4.0, -2.0]);
    assert_eq!((2.0f64.powi(-3), 0.0f64.powi(0), (-3.0f32).powi(3), 2.0f64.powi(i32::MIN)), (0.125, 1.0, -27.0, 0.0));
    assert_eq!(
        ((-2.75f64).fract(), 8.0f64.log(2.0).round(), 1.0f64.sin_cos()),
        (-0.75, 3.0, (1.0f64.sin(), 1.0f64.cos()))
    );
    for (a, b, times, rest) in
        [(7.0, 4.0, 1.0, 3.0), (-7.0, 4.0, -2.0, 1.0), (7.0, -4.0, -1.0, 3.0), (-7.0, -4.0, 2.0, 1.0)]
    {
        let (a, b): (f64, f64) = (a, b);
        assert_eq!((a.div_euclid(b), a.rem_euclid(b)), (times, rest), "{a} by {b}");
    }
    assert!((-1.0f64).sqrt().is_nan() && (-1.0f64).ln().is_nan() && 0.0f64.ln() == f64::NEG_INFINITY);
}

pub fn a_seed_repeats_the_numbers() {
    assert_eq!(rand::seed(), 7);
    // How many goroutines there were before depends on the number of cores.
    let draw = || {
        let numbers = [rand::random_range(0..1000), rand::random_range(0..1000), rand::rng().random_range(0..1000)];
        (runtime::current().id, numbers)
    };
    let mut drawn = (0..1000).map(|_| go(draw).join().unwrap());
    let (_, numbers) = drawn.find(|(id, _)| *id == 100).expect("a goroutine has this number");
    println!("numbers {numbers:?}");
    assert_eq!(numbers, NUMBERS, "`seed=7` gave other numbers when this was written");
    assert_eq!(SmallRng::seed_from_u64(5).next_u64(), SmallRng::seed_from_u64(5).next_u64());
}

/// The numbers of goroutine 100 under `seed=7`.
const NUMBERS: [u32; 3] = [155, 941, 437];

pub fn each_goroutine_has_numbers_of_its_own() {
    let handles: Vec<_> = (0..200).map(|_| go(|| [rand::random::<u64>(), rand::random()])).collect();
    let drawn: HashSet<u64> = handles.into_iter().flat_map(|h| h.join().unwrap()).collect();
    assert_eq!(drawn.len(), 400, "two goroutines drew the same number");
    go(an_odd_goroutine).join().unwrap();
}

fn an_odd_goroutine() {
    // Roughly even.
    let mut faces = [0; 6];
    (0..6000).for_each(|_| faces[rand::random_range(0..6)] += 1);
    assert!(faces.iter().all(|n| (800..1200).contains(n)), "{faces:?}");
    let mut cards: Vec<u32> = (0..52).collect();
    let mut rng = rand::rng();
    rng.shuffle(&mut cards);
    assert!(!cards.is_sorted(), "{cards:?}");
    // A generator goes where its owner goes.
    assert!(go(move || rng.random::<f64>()).join().unwrap() < 1.0);
    assert!(rand::random_bool(1.0) && !rand::random_bool(0.0));
}
