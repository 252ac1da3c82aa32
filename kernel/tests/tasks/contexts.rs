//! Contexts in large numbers: their time and their memory.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::api::*;

/// One goroutine makes, cancels and drops contexts; another looks how long it had to wait for its
/// turn.
pub fn contexts_without_number_let_others_run() {
    const MANY: usize = 20_000;
    static LONGEST: AtomicUsize = AtomicUsize::new(0);
    let (done, over) = chan::bounded::<()>(0);
    let watcher = go(move || {
        let mut last = Instant::now();
        while over.try_recv() != Err(chan::TryRecvError::Disconnected) {
            runtime::yield_now();
            let now = Instant::now();
            LONGEST.fetch_max((now - last).as_micros() as usize, SeqCst);
            last = now;
        }
    });
    // Two slices of 50 µs, and the work of a core between two goroutines. An instruction takes a
    // nanosecond.
    let check = |what: &str| {
        runtime::yield_now();
        let longest = LONGEST.swap(0, SeqCst);
        println!("{what}: {longest} us");
        assert!(longest < 130, "{what}: nobody else ran for {longest} us");
    };
    runtime::yield_now();
    LONGEST.store(0, SeqCst);
    let (parent, cancel) = Context::background().with_cancel();
    let mut children = Vec::with_capacity(MANY);
    (0..MANY).for_each(|_| children.push(parent.with_cancel().0));
    check("children made");
    cancel.cancel();
    check("children cancelled");
    assert!(children.iter().all(|child| child.err().is_some()));
    drop(children);
    check("cancelled children dropped");
    let (parent, _cancel) = Context::background().with_cancel();
    let mut children = Vec::with_capacity(MANY);
    (0..MANY).for_each(|_| children.push(parent.with_cancel().0));
    drop(children);
    check("children made and dropped");
    let (top, cancel) = Context::background().with_cancel();
    let mut inner = top.clone();
    (0..MANY).for_each(|i| inner = inner.with_cancel().0.with_value(i));
    check("a chain made");
    cancel.cancel();
    check("a chain cancelled");
    drop((top, cancel, inner));
    check("a chain dropped");
    drop(done);
    watcher.join().unwrap();
}

pub fn a_million_children_leave_no_memory_behind() {
    const CHILDREN: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let live = || runtime::stats().memory.heap.live_bytes;
    let (root, _cancel) = Context::background().with_cancel();
    let before = live();
    let mut living = Vec::new();
    for i in 1..=CHILDREN {
        let (child, cancel) = root.with_cancel();
        match i % 4 {
            0 => cancel.cancel(),
            1 => drop(root.with_timeout(Duration::from_secs(3600))),
            _ => {}
        }
        if i % 8 < 4 {
            living.push(child.with_cancel().0);
        }
        if living.len() == 8 {
            living.clear();
        }
        if i % 1000 == 0 {
            // The bound leaves room for the timers' heap, and for the buffers that cores print
            // into.
            assert!(live() < before + (32 << 10), "{} bytes after {i} children", live() - before);
        }
    }
    assert!(root.err().is_none());
}
