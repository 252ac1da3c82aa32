//! Goroutines that wait: for a time, or for a context's end.

use trefoil::context::Context;
use trefoil::prelude::*;

use crate::Took;

/// `n` goroutines sleep three times each, for 1 to 10 ms.
pub fn sleepers(n: u64) -> Took {
    let begin = Instant::now();
    let all = Arc::new(WaitGroup::new());
    for i in 0..n {
        all.go(move || (0..3).for_each(|k| time::sleep(Duration::from_millis(1 + (i + k * 3) % 10))));
    }
    all.wait();
    Took::since(begin)
}

/// Ten times, 10,000 goroutines wait for contexts in a tree of three levels, whose root is
/// cancelled. The cancelling is the part.
pub fn contexts() -> Took {
    const LEVEL: usize = 100;
    let begin = Instant::now();
    let mut cancelling = Duration::ZERO;
    for _ in 0..10 {
        let (root, cancel) = Context::background().with_cancel();
        let (started, ended) = (Arc::new(WaitGroup::new()), Arc::new(WaitGroup::new()));
        started.add(LEVEL * LEVEL);
        ended.add(LEVEL * LEVEL);
        for _ in 0..LEVEL {
            let (middle, _never) = root.with_cancel();
            for _ in 0..LEVEL {
                let (leaf, _never) = middle.with_cancel();
                let (started, ended) = (started.clone(), ended.clone());
                drop(go(move || {
                    started.done();
                    let _ = leaf.done().recv();
                    ended.done();
                }));
            }
        }
        started.wait();
        let cancelled = Instant::now();
        cancel.cancel();
        ended.wait();
        cancelling += cancelled.elapsed();
    }
    Took { part: Some(("cancel", cancelling)), ..Took::since(begin) }
}
