//! Goroutines themselves: how they start, take turns, end, and fail.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::{a_moment, panic_of, until};
use crate::api::*;
use chan::bounded;

cases! {
    a_goroutine_gives_its_value_to_whoever_joins,
    ten_thousand_goroutines_come_and_go,
    a_goroutine_starts_others,
    a_detached_goroutine_runs_to_its_end,
    what_a_goroutine_captured_is_dropped_when_it_ends,
    yielding_lets_the_others_have_their_turn,
    a_goroutine_that_never_parks_keeps_nobody_from_ending,
    a_panic_reaches_whoever_joins,
    a_panic_with_a_value_brings_the_value,
    a_panic_runs_the_destructors_of_every_frame,
    a_panic_ends_one_goroutine_and_no_other,
    a_panic_deep_in_its_stack_unwinds_all_of_it,
    a_thousand_panics_leave_nothing_behind,
    goexit_runs_the_destructors_and_gives_no_value,
    goexit_from_a_nested_call_ends_the_goroutine,
    goexit_in_one_goroutine_is_not_seen_by_another,
    the_number_of_procs_changes_while_goroutines_run,
    a_locked_goroutine_stays_on_its_core,
    blocking_in_place_lets_others_run,
    stacks_grow_as_deep_as_the_recursion,
}

/// Go: has no join; the channel that a Go program makes for it.
fn a_goroutine_gives_its_value_to_whoever_joins() {
    assert_eq!(go(|| "value".to_string()).join().unwrap(), "value");
    assert_eq!(go(|| [7u64; 500]).join().unwrap(), [7; 500]);
    let h = go(|| 5);
    until(|| h.is_finished());
    assert_eq!(h.join().unwrap(), 5);
}

/// Go: test/goprint.go, test/peano.go: many at once, none is special.
fn ten_thousand_goroutines_come_and_go() {
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let gs: Vec<_> = (0..1_000)
            .map(|_| {
                let done = done.clone();
                go(move || done.fetch_add(1, SeqCst))
            })
            .collect();
        assert!(gs.into_iter().all(|g| g.join().is_ok()));
    }
    assert_eq!(done.load(SeqCst), 10_000);
}

/// Go: proc_test.go, TestGoroutineProfile's tree of G's.
fn a_goroutine_starts_others() {
    fn grow(depth: usize) -> usize {
        if depth == 0 {
            return 1;
        }
        let children = [go(move || grow(depth - 1)), go(move || grow(depth - 1))];
        1 + children.into_iter().map(|c| c.join().unwrap()).sum::<usize>()
    }
    assert_eq!(grow(7), 255);
}

/// Go: a `go` statement gives nothing back.
fn a_detached_goroutine_runs_to_its_end() {
    let (tx, rx) = bounded(1);
    drop(go(move || {
        a_moment();
        tx.send("done").unwrap();
    }));
    assert_eq!(rx.recv(), Ok("done"));
}

/// Go: mfinal_test.go: the values that only a G had are given back.
fn what_a_goroutine_captured_is_dropped_when_it_ends() {
    let value = Arc::new(());
    let captured = value.clone();
    go(move || assert!(Arc::strong_count(&captured) == 2)).join().unwrap();
    until(|| Arc::strong_count(&value) == 1);
}

/// Go: proc_test.go, TestYieldProgress.
fn yielding_lets_the_others_have_their_turn() {
    let stop = Arc::new(AtomicUsize::new(0));
    let seen = stop.clone();
    let other = go(move || {
        while seen.load(SeqCst) == 0 {
            runtime::yield_now();
        }
    });
    (0..20).for_each(|_| runtime::yield_now());
    assert!(!other.is_finished());
    stop.store(1, SeqCst);
    other.join().unwrap();
}

/// Go: proc_test.go, TestStopTheWorldDeadlock's relative: busy G's, and one that wants to come to
/// its end.
fn a_goroutine_that_never_parks_keeps_nobody_from_ending() {
    let busy = go(|| (0..20_000u64).fold(1u64, |x, i| core::hint::black_box(x.wrapping_mul(31) + i)));
    assert_eq!(go(|| 3).join().unwrap(), 3);
    assert_ne!(busy.join().unwrap(), 0);
}

/// Go: recover gives what panic was given.
fn a_panic_reaches_whoever_joins() {
    assert_eq!(panic_of(|| panic!("a plain one")), "a plain one");
    let n = 41;
    assert_eq!(panic_of(move || panic!("with {n} in it")), "with 41 in it");
    assert!(panic_of(|| Vec::<u8>::new()[core::hint::black_box(3)]).contains("index"));
}

/// Go: `panic(v)` with any value; here `resume_unwind` or `panic_any` throws it, and a G's end by
/// `exit_g` is no panic.
fn a_panic_with_a_value_brings_the_value() {
    let error = go(|| panic!("{}", String::from("owned"))).join().unwrap_err();
    match error {
        JoinError::Panicked(payload) => assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some("owned")),
        other => panic!("{other:?}"),
    }
}

struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Go: test/recover.go: deferred calls run, innermost first.
fn a_panic_runs_the_destructors_of_every_frame() {
    fn nest(depth: usize, count: &Arc<AtomicUsize>) {
        let _here = Count(count.clone());
        match depth {
            0 => panic!("at the bottom"),
            n => nest(n - 1, count),
        }
        core::hint::black_box(depth);
    }
    let count = Arc::new(AtomicUsize::new(0));
    let mine = count.clone();
    assert_eq!(panic_of(move || nest(9, &mine)), "at the bottom");
    assert_eq!(count.load(SeqCst), 10);
}

/// Go: there a panic that nobody recovers ends the program; here it ends its G.
fn a_panic_ends_one_goroutine_and_no_other() {
    let (tx, rx) = bounded(0);
    let works = go(move || rx.iter().sum::<u32>());
    for i in 0..10 {
        let tx = tx.clone();
        let g = go(move || {
            tx.send(i).unwrap();
            assert!(i % 2 == 0, "an odd one");
        });
        assert_eq!(g.join().is_ok(), i % 2 == 0);
    }
    drop(tx);
    assert_eq!(works.join().unwrap(), 45);
}

/// Go: test/deferprint.go, stack_test.go: a panic after the stack has grown.
fn a_panic_deep_in_its_stack_unwinds_all_of_it() {
    fn deep(n: usize, count: &Arc<AtomicUsize>) -> usize {
        let _here = Count(count.clone());
        let block = core::hint::black_box([n as u8; 512]);
        assert!(n > 0, "deep down");
        deep(n - 1, count) + usize::from(block[n % 512])
    }
    let count = Arc::new(AtomicUsize::new(0));
    let mine = count.clone();
    assert_eq!(panic_of(move || deep(100, &mine)), "deep down");
    assert_eq!(count.load(SeqCst), 101);
}

/// Go: TestRecursivePanic's relatives, often.
fn a_thousand_panics_leave_nothing_behind() {
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..50 {
        let gs: Vec<_> = (0..4)
            .map(|i| {
                let held = Count(count.clone());
                go(move || {
                    let _held = held;
                    assert!(i == 4, "always");
                })
            })
            .collect();
        gs.into_iter().for_each(|g| assert!(g.join().is_err()));
    }
    assert_eq!(count.load(SeqCst), 200);
}

/// Go: runtime.Goexit "runs all deferred calls".
fn goexit_runs_the_destructors_and_gives_no_value() {
    let count = Arc::new(AtomicUsize::new(0));
    let held = Count(count.clone());
    let g = go(move || {
        let _held = held;
        if core::hint::black_box(true) {
            runtime::exit_g();
        }
        5
    });
    assert!(matches!(g.join(), Err(JoinError::Exited)));
    assert_eq!(count.load(SeqCst), 1);
}

/// Go: crash_test.go, TestGoexit…: from however deep.
fn goexit_from_a_nested_call_ends_the_goroutine() {
    fn nest(depth: usize) {
        if depth == 0 {
            runtime::exit_g();
        }
        nest(depth - 1);
        panic!("it came back");
    }
    assert!(matches!(go(|| nest(10)).join(), Err(JoinError::Exited)));
}

/// Go: TestGoexitDeadlock's other side: the others go on.
fn goexit_in_one_goroutine_is_not_seen_by_another() {
    let (tx, rx) = bounded(0);
    let gs: Vec<_> = (0..10)
        .map(|i| {
            let tx = tx.clone();
            go(move || {
                tx.send(i).unwrap();
                if i % 2 == 0 {
                    runtime::exit_g();
                }
                i
            })
        })
        .collect();
    drop(tx);
    assert_eq!(rx.iter().sum::<i32>(), 45);
    assert_eq!(gs.into_iter().filter_map(|g| g.join().ok()).sum::<i32>(), 25);
}

/// Go: chan_test.go sets GOMAXPROCS in the middle of things; proc_test.go,
/// TestStopTheWorldDeadlock.
fn the_number_of_procs_changes_while_goroutines_run() {
    let most = runtime::max_procs();
    let (tx, rx) = bounded(2);
    let gs: Vec<_> = (0..4)
        .map(|_| {
            let tx = tx.clone();
            go(move || (0..200).for_each(|i| tx.send(i).unwrap()))
        })
        .collect();
    drop(tx);
    let sum = go(move || rx.iter().sum::<u32>());
    for n in (1..=most).chain((1..=most).rev()).cycle().take(20) {
        runtime::set_max_procs(n);
        assert_eq!(runtime::max_procs(), n);
        runtime::yield_now();
    }
    runtime::set_max_procs(most);
    gs.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(sum.join().unwrap(), 4 * 19_900);
}

/// Go: proc_test.go, TestLockOSThread…
fn a_locked_goroutine_stays_on_its_core() {
    let others: Vec<_> = (0..8).map(|_| go(|| (0..50).for_each(|_| runtime::yield_now()))).collect();
    let locked = go(|| {
        let _pin = runtime::pin();
        let here = runtime::core();
        for _ in 0..50 {
            runtime::yield_now();
            assert_eq!(runtime::core(), here);
        }
    });
    locked.join().unwrap();
    others.into_iter().for_each(|g| g.join().unwrap());
}

/// Go: a system call gives its P away; proc_test.go, TestGoroutineParallelism.
fn blocking_in_place_lets_others_run() {
    let (tx, rx) = bounded(1);
    let blocked = go(move || {
        runtime::block_in_place(|| {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(2) {
                core::hint::spin_loop();
            }
        });
        tx.send(()).unwrap();
    });
    assert_eq!(go(|| 9).join().unwrap(), 9);
    assert_eq!(rx.recv(), Ok(()));
    blocked.join().unwrap();
}

/// Go: stack_test.go, TestStackGrowth.
fn stacks_grow_as_deep_as_the_recursion() {
    fn sum(n: u64) -> u64 {
        let block = core::hint::black_box([n; 16]);
        if n == 0 { 0 } else { sum(n - 1) + block[(n % 16) as usize] }
    }
    let gs: Vec<_> = (1..=20).map(|i| go(move || sum(i * 20))).collect();
    for (i, g) in (1..).zip(gs) {
        assert_eq!(g.join().unwrap(), (i * 20) * (i * 20 + 1) / 2);
    }
}
