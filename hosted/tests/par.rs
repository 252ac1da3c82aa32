//! Work on slices, spread over the cores.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{shaken, tidy};
use trefoil_hosted::prelude::*;
use trefoil_sched::panic::catch_unwind;

fn each_number_of_procs(test: impl Fn() + Copy + Send + Sync + 'static) {
    for procs in [1, 2, 4] {
        tidy(procs, test);
        shaken(procs, test);
    }
}

#[test]
fn each_item_is_visited_once() {
    each_number_of_procs(|| {
        for len in [0, 1, 2, 7, 16, 17, 1000] {
            let visits: Vec<_> = (0..len).map(|_| AtomicUsize::new(0)).collect();
            par::for_each(&visits, |visit| _ = visit.fetch_add(1, Ordering::Relaxed));
            assert!(visits.iter().all(|visit| visit.load(Ordering::Relaxed) == 1));
        }
    });
}

#[test]
fn each_item_may_be_changed() {
    each_number_of_procs(|| {
        for len in [0, 1, 5, 16, 333] {
            let mut numbers: Vec<_> = (0..len).collect();
            par::for_each_mut(&mut numbers, |n| *n += 1);
            assert!(numbers.into_iter().eq(1..=len));
        }
    });
}

#[test]
fn results_come_in_the_order_of_the_items() {
    each_number_of_procs(|| {
        for len in [0, 1, 3, 17, 500] {
            let numbers: Vec<_> = (0..len).collect();
            let strings = par::map(&numbers, |n| {
                if n % 7 == 0 {
                    runtime::yield_now();
                }
                n.to_string()
            });
            assert!(strings.into_iter().eq(numbers.iter().map(ToString::to_string)));
        }
    });
}

#[test]
fn a_reduction_keeps_the_order() {
    each_number_of_procs(|| {
        for len in [0, 1, 4, 100] {
            let numbers: Vec<u32> = (0..len).collect();
            let all = par::reduce(&numbers, Vec::new, |n| vec![*n], |a, b| [a, b].concat());
            assert_eq!(all, numbers);
        }
    });
}

#[test]
fn items_and_results_may_have_no_size() {
    each_number_of_procs(|| {
        let units = [(); 100];
        assert_eq!(par::map(&units, |()| ()).len(), 100);
        assert_eq!(par::reduce(&units, || 0, |()| 1, |a, b| a + b), 100);
        par::for_each_mut(&mut [(); 100], |()| ());
    });
}

#[test]
fn chunks_run_at_the_same_time() {
    tidy(2, || {
        // Two chunks wait for each other.
        let (tx, rx) = chan::bounded(0);
        par::for_each(&[0, 1], |&n| if n == 0 { tx.send(5).unwrap() } else { assert_eq!(rx.recv(), Ok(5)) });
    });
}

#[test]
fn a_panic_comes_out_after_all_chunks_have_ended_and_nothing_is_lost() {
    struct Counted(Arc<AtomicUsize>);
    impl Counted {
        fn new(alive: &Arc<AtomicUsize>) -> Self {
            alive.fetch_add(1, Ordering::Relaxed);
            Self(alive.clone())
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    each_number_of_procs(|| {
        let (alive, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let caught = {
            let (alive, running) = (alive.clone(), running.clone());
            catch_unwind(move || {
                let numbers: Vec<_> = (0..64).collect();
                par::map(&numbers, |&n| {
                    struct Leave<'a>(&'a AtomicUsize);
                    impl Drop for Leave<'_> {
                        fn drop(&mut self) {
                            self.0.fetch_sub(1, Ordering::Relaxed);
                        }
                    }
                    running.fetch_add(1, Ordering::Relaxed);
                    let _leave = Leave(&running);
                    runtime::yield_now();
                    assert!(n != 20, "twenty");
                    assert!(n != 50, "fifty");
                    Counted::new(&alive)
                })
            })
        };
        let payload = caught.map(|_| ()).unwrap_err();
        assert_eq!(trefoil_sched::panic::panic_message(&*payload), Some("twenty"));
        assert_eq!((alive.load(Ordering::Relaxed), running.load(Ordering::Relaxed)), (0, 0));
    });
}

#[test]
fn a_call_inside_a_call() {
    each_number_of_procs(|| {
        let rows: Vec<Vec<u64>> = (0..20).map(|row| (0..row).collect()).collect();
        let sums = par::map(&rows, |row| par::reduce(row, || 0, |n| *n, |a, b| a + b));
        assert!(sums.into_iter().eq((0..20u64).map(|n| n * n.saturating_sub(1) / 2)));
    });
}

#[test]
fn an_exit_in_a_chunk_ends_the_caller() {
    each_number_of_procs(|| {
        let caller = go(|| par::for_each(&[0; 8], |_| trefoil_sched::exit_g()));
        assert!(matches!(caller.join(), Err(JoinError::Exited)));
    });
}
