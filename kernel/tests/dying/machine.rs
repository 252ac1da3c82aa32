//! Deaths in the runtime: memory, printing, statistics, panics, the number of P's.

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

use trefoil::JoinError;
use trefoil::panic;
use trefoil::prelude::*;

use crate::{nothing, sweep};

pub fn in_memory() {
    let large = |(): &()| {
        let mut list: Vec<u64> = Vec::with_capacity(black_box(600));
        list.reserve_exact(black_box(1200));
    };
    sweep("a small block", || (), |()| drop(black_box(Box::new([1u64; 5]))), |()| drop(black_box(Box::new([1u64; 5]))));
    sweep("a large block", || (), large, |()| drop(black_box(Vec::<u64>::with_capacity(1200))));
    goroutine_local! {
        static OWN: AtomicU64 = AtomicU64::new(4);
    }
    sweep("a local", || (), |()| _ = OWN.with(|own| own.fetch_add(1, Relaxed)), nothing);
}

pub fn in_the_runtime() {
    sweep("print", || (), |()| println!("a line of the victim's"), |()| println!("a line of the checker's"));
    sweep("stats", || (), |()| _ = black_box(runtime::stats().goroutines), nothing);
    sweep("goroutines", || (), |()| _ = black_box(runtime::goroutines().len()), nothing);
    sweep("set_slice", || (), |()| _ = runtime::set_slice(runtime::slice()), nothing);
    sweep("scavenge", || (), |()| _ = runtime::scavenge(), |()| _ = runtime::scavenge());
    sweep("log", trefoil::log::init, |()| log::info!("a line of the victim's"), |()| log::info!("the checker's"));
}

pub fn in_set_max_procs() {
    static PROCS: AtomicUsize = AtomicUsize::new(0);
    PROCS.store(runtime::max_procs(), Relaxed);
    sweep(
        "set_max_procs",
        || (),
        |()| {
            runtime::set_max_procs(1);
            runtime::set_max_procs(PROCS.load(Relaxed));
        },
        |()| {
            runtime::set_max_procs(PROCS.load(Relaxed));
            assert_eq!(runtime::max_procs(), PROCS.load(Relaxed));
        },
    );
}

pub fn in_panics() {
    panic::set_hook(Box::new(|_| ()));
    sweep(
        "panic and catch",
        || (),
        |()| {
            let caught = panic::catch_unwind(|| {
                let _kept = Box::new(black_box(3));
                panic!("as it should");
            });
            assert!(caught.is_err());
        },
        nothing,
    );
    sweep(
        "hook",
        || (),
        |()| panic::set_hook(Box::new(|_| ())),
        |()| {
            panic::set_hook(Box::new(|_| ()));
            assert!(panic::catch_unwind(|| panic!("as it should")).is_err());
        },
    );
    sweep("exit", || (), |()| assert!(matches!(go(|| runtime::exit_g()).join(), Err(JoinError::Exited))), nothing);
    let _ = panic::take_hook();
}
