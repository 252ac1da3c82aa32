//! How goroutines start and end: results, panics, records, stacks.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use trefoil::JoinError;
use trefoil::prelude::*;

use crate::work;

pub fn join_gives_the_value() {
    let handles: Vec<_> = (0..1000u64).map(|i| go(move || i * i)).collect();
    for (i, h) in handles.into_iter().enumerate() {
        assert_eq!(h.join().unwrap(), (i * i) as u64);
    }
    let h = Builder::new().name("named").spawn(|| 7).unwrap();
    while !h.is_finished() {
        runtime::yield_now();
    }
    assert_eq!(h.join().unwrap(), 7);
    // The last one's result may be there a moment before it has gone itself.
    let begin = Instant::now();
    while runtime::num_goroutines() > 1 {
        assert!(begin.elapsed() < Duration::from_secs(5), "somebody is left over");
        runtime::yield_now();
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

pub fn exit_g_runs_destructors_and_join_says_so() {
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = SetOnDrop(dropped.clone());
    let h = go(move || {
        let _flag = flag;
        if black_box(true) {
            runtime::exit_g();
        }
        5
    });
    assert!(matches!(h.join(), Err(JoinError::Exited)));
    assert!(dropped.load(SeqCst), "a destructor did not run");
}

pub fn a_panic_stays_in_its_g() {
    let bystanders: Vec<_> = (0..100u64).map(|i| go(move || work(1000 + i))).collect();
    for round in 0..50 {
        let dropped = Arc::new(AtomicBool::new(false));
        let flag = SetOnDrop(dropped.clone());
        let h = go(move || {
            let _flag = flag;
            deep(20, round)
        });
        let error = h.join().unwrap_err();
        assert_eq!(error.message(), Some(format!("round {round} went wrong").as_str()));
        assert!(dropped.load(SeqCst), "a destructor did not run");
    }
    let h = go(|| -> () { panic!("a plain text") });
    assert_eq!(h.join().unwrap_err().message(), Some("a plain text"));
    for (i, b) in bystanders.into_iter().enumerate() {
        assert_eq!(b.join().unwrap(), work(1000 + i as u64));
    }
}

#[inline(never)]
fn deep(levels: u32, round: u32) -> u32 {
    if levels == 0 {
        panic!("round {round} went wrong");
    }
    deep(black_box(levels - 1), round) + 1
}

pub fn an_unjoined_panic_is_reported() {
    drop(Builder::new().name("lonely").spawn(|| panic!("nobody listens")).unwrap());
    while runtime::num_goroutines() > 1 {
        runtime::yield_now();
    }
}

pub fn gs_are_reused() {
    for i in 0..20_000u64 {
        assert_eq!(go(move || i + 1).join().unwrap(), i + 1);
    }
    let free = runtime::stats().free_goroutines;
    assert!(free <= 64 * runtime::max_procs(), "{free} records for one G at a time");
}

pub fn a_large_stack_is_there_when_asked_for() {
    fn eat(bytes: usize) -> u64 {
        let block = black_box([1u8; 4096]);
        if bytes <= 4096 { block[7].into() } else { eat(bytes - 4096) + u64::from(block[9]) }
    }
    assert!(go(|| eat(180 << 10)).join().unwrap() > 0);
    for _ in 0..3 {
        let h = Builder::new().stack_max(900 << 10).spawn(|| eat(800 << 10)).unwrap();
        assert!(h.join().unwrap() > 0);
    }
    // A frame of many pages at once: the probes touch one page after the other.
    let h = go(|| black_box([3u8; 190 << 10]).iter().map(|&b| u64::from(b)).sum::<u64>());
    assert_eq!(h.join().unwrap(), 3 * (190 << 10));
}

pub fn errors_come_back_with_the_closure() {
    let error = Builder::new().stack_max(2 << 30).spawn(|| 5).unwrap_err();
    assert!(error.to_string().contains("1 GiB"));
    assert_eq!(error.into_inner()(), 5);
    assert!(Builder::new().stack_max(0).spawn(|| 5).is_err());
}
