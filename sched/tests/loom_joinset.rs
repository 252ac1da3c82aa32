//! `JoinSet`, `ErrGroup` and joins with a deadline, the production types without their goroutines'
//! stacks: ends against whoever waits for them.
#![cfg(loom)]

mod baton;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use baton::{explore, explore_coarsely, explore_timed};
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering};
use trefoil_sched::context::{Context, ContextError};
use trefoil_sched::joinset::{ErrGroup, JoinSet, TimedOut};
use trefoil_sched::model::{group_member, join_pair, join_until, set_member};
use trefoil_sched::task::block_on;
use trefoil_sched::time::Duration;

type Body = Box<dyn FnOnce() + Send>;

// --- JoinSet

#[test]
fn a_set_has_what_each_member_came_to() {
    explore_coarsely(|| {
        let mut set = JoinSet::new();
        let (a, b) = (set_member(&mut set), set_member(&mut set));
        vec![
            Box::new(move || a.end(1)),
            Box::new(move || b.end(2)),
            Box::new(move || {
                let first = set.join_next().unwrap().unwrap();
                assert_eq!(set.join_next().unwrap().unwrap(), 3 - first);
                assert!(set.join_next().is_none());
            }) as Body,
        ]
    });
}

/// A value that is counted while it lives. Not loom's: it is no part of what is explored.
struct Counted(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Counted {
    fn new(alive: &std::sync::Arc<std::sync::atomic::AtomicUsize>) -> Self {
        alive.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self(alive.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_set_that_goes_leaves_each_result_to_somebody() {
    let alive = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let left = alive.clone();
    explore(move || {
        assert_eq!(left.load(std::sync::atomic::Ordering::Relaxed), 0, "a result was dropped by nobody, or twice");
        let mut set = JoinSet::new();
        let (a, b) = (set_member(&mut set), set_member(&mut set));
        let (first, second) = (Counted::new(&left), Counted::new(&left));
        vec![
            Box::new(move || {
                a.end(first);
                b.end(second);
            }),
            Box::new(move || {
                let _ = set.try_join_next();
                drop(set);
            }) as Body,
        ]
    });
    assert_eq!(alive.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_deadline_and_an_end_compete_for_a_set() {
    explore_timed(|| {
        let mut set = JoinSet::new();
        let a = set_member(&mut set);
        vec![
            Box::new(move || a.end(1)),
            Box::new(move || match set.join_next_timeout(Duration::from_nanos(5)) {
                Ok(outcome) => assert_eq!(outcome.unwrap().unwrap(), 1),
                Err(TimedOut) => assert_eq!(set.join_next().unwrap().unwrap(), 1),
            }) as Body,
        ]
    });
}

// --- ErrGroup

#[test]
fn the_first_error_is_what_a_group_came_to() {
    explore_coarsely(|| {
        let (group, context) = ErrGroup::with_context(&Context::background());
        let (a, b) = (group_member(&group), group_member(&group));
        vec![
            Box::new(move || a.end(Err("a"))),
            Box::new(move || {
                // As soon as one has failed the other is told; or it was this one.
                b.end(if context.err() == Some(ContextError::Canceled) { Ok(()) } else { Err("b") });
            }),
            Box::new(move || assert!(matches!(group.wait(), Err("a" | "b")))) as Body,
        ]
    });
}

#[test]
fn an_error_tells_the_others_to_stop() {
    explore_coarsely(|| {
        let (group, context) = ErrGroup::with_context(&Context::background());
        let (a, b) = (group_member(&group), group_member(&group));
        vec![
            Box::new(move || a.end(Err("a"))),
            Box::new(move || {
                assert!(context.done().recv().is_err());
                b.end(Err("too late"));
            }),
            Box::new(move || assert_eq!(group.wait(), Err("a"))) as Body,
        ]
    });
}

#[test]
fn a_place_in_a_group_that_is_full_is_taken_when_one_leaves() {
    explore(|| {
        let group = ErrGroup::<()>::new();
        group.set_limit(1);
        let (first, all) = (group_member(&group), group.clone());
        vec![
            Box::new(move || first.end(Ok(()))),
            Box::new(move || {
                group_member(&all).end(Ok(()));
                assert_eq!(group.wait(), Ok(()));
            }) as Body,
        ]
    });
}

// --- Joins with a deadline

#[test]
fn a_join_that_gave_up_in_time_can_be_repeated() {
    explore(|| {
        let (completer, handle) = join_pair();
        let (over, waker) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None::<Waker>)));
        let (clock, sleeper) = (over.clone(), waker.clone());
        vec![
            Box::new(move || completer.complete(Box::new(7))),
            // The timer: says that it is over, and wakes.
            Box::new(move || {
                clock.store(true, Ordering::Release);
                let waker = sleeper.lock().unwrap().take();
                waker.into_iter().for_each(Waker::wake);
            }),
            Box::new(move || {
                block_on(poll_fn(|context| {
                    *waker.lock().unwrap() = Some(context.waker().clone());
                    Poll::Ready(())
                }));
                let outcome = match join_until(handle, || over.load(Ordering::Acquire)) {
                    Ok(outcome) => outcome,
                    Err(handle) => handle.join(),
                };
                assert_eq!(*outcome.unwrap(), 7);
            }) as Body,
        ]
    });
}

#[test]
fn a_handle_that_gave_up_and_goes_leaves_the_result_to_its_owner() {
    explore(|| {
        let (completer, handle) = join_pair();
        vec![
            Box::new(move || completer.complete(Box::new(7))),
            Box::new(move || match join_until(handle, || true) {
                Ok(outcome) => assert_eq!(*outcome.unwrap(), 7),
                Err(handle) => drop(handle),
            }) as Body,
        ]
    });
}

#[test]
fn an_end_wakes_a_join_whose_deadline_is_far_ahead() {
    explore(|| {
        let (completer, handle) = join_pair();
        vec![
            Box::new(move || completer.complete(7)),
            Box::new(move || assert_eq!(join_until(handle, || false).unwrap().unwrap(), 7)) as Body,
        ]
    });
}
