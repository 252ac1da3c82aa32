//! The hand-over of a crowd, the production type: a waker that has claimed several G's wakes them
//! in pieces, of one G each in models. A member that is readied twice is a state change that
//! `g/state.rs` refuses, and one that is not readied is found in the end of the model. A node that
//! is in two lists, or in none while its G waits, breaks INV-WAITER.
#![cfg(loom)]

mod baton;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton::{between_pieces, die, explore, explore_coarsely};
use trefoil_sched::chan::bounded;
use trefoil_sched::locks::{Condvar, Mutex};
use trefoil_sched::yield_now;

type Body = Box<dyn FnOnce() + Send>;

std::thread_local! {
    /// In how many executions of the model the waker came between two pieces. A model runs on one
    /// thread of the host.
    static PIECES: AtomicUsize = const { AtomicUsize::new(0) };
}

fn is_between() {
    PIECES.with(|pieces| pieces.fetch_add(1, Ordering::Relaxed));
}

/// A payload that unwinds the stack of a waker that dies. In the kernel nobody touches that stack
/// again.
struct Gone;

fn dies() {
    is_between();
    die();
    resume_unwind(Box::new(Gone));
}

/// Others run on the waker's M before it goes on.
fn is_preempted() {
    is_between();
    yield_now();
}

/// Returns true if the G that runs `f` lives on.
fn lives_on(f: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(()) => true,
        Err(payload) if payload.is::<Gone>() => false,
        Err(payload) => resume_unwind(payload),
    }
}

/// `waiters` G's wait for a flag under a condition variable. The waker sets it, calls all, and
/// does `then` between two pieces.
fn calls_all(waiters: usize, then: fn()) -> impl Fn() -> Vec<Body> + Send + Sync + 'static {
    move || {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let waits = || {
            let shared = shared.clone();
            Box::new(move || {
                let mut is_called = shared.0.lock().unwrap();
                while !*is_called {
                    is_called = shared.1.wait(is_called).unwrap();
                }
            }) as Body
        };
        let mut bodies: Vec<Body> = (0..waiters).map(|_| waits()).collect();
        let waker = shared.clone();
        // Not the last one, which loom runs first: the waker is to find them waiting.
        let calls = move || {
            between_pieces(then);
            lives_on(|| {
                *waker.0.lock().unwrap() = true;
                waker.1.notify_all();
            });
        };
        bodies.insert(waiters - 1, Box::new(calls));
        bodies
    }
}

/// Receivers that wait for a value, and a waker that closes the channel instead.
fn closes(waiters: usize, then: fn()) -> impl Fn() -> Vec<Body> + Send + Sync + 'static {
    move || {
        let (sender, receiver) = bounded::<u8>(0);
        let waits = || {
            let receiver = receiver.clone();
            Box::new(move || assert!(receiver.recv().is_err())) as Body
        };
        let mut bodies: Vec<Body> = (0..waiters).map(|_| waits()).collect();
        let close = move || {
            between_pieces(then);
            lives_on(|| sender.close());
            std::mem::forget(sender);
        };
        bodies.insert(waiters - 1, Box::new(close));
        bodies
    }
}

fn came_between_pieces() {
    assert!(PIECES.with(|pieces| pieces.load(Ordering::Relaxed)) > 0, "no execution had a crowd of several");
}

#[test]
fn all_of_a_crowd_are_woken_in_pieces() {
    explore(calls_all(2, is_between));
    came_between_pieces();
}

#[test]
fn all_of_a_crowd_are_woken_by_a_waker_that_is_preempted_between_pieces() {
    explore(calls_all(2, is_preempted));
    came_between_pieces();
}

#[test]
fn the_rest_of_a_crowd_whose_waker_dies_is_woken_by_a_round() {
    explore(calls_all(2, dies));
    came_between_pieces();
}

#[test]
fn three_of_a_crowd_are_woken_by_a_waker_that_is_preempted_between_pieces() {
    explore_coarsely(calls_all(3, is_preempted));
    came_between_pieces();
}

#[test]
fn two_of_a_crowd_of_three_whose_waker_dies_are_woken_by_a_round() {
    explore_coarsely(calls_all(3, dies));
    came_between_pieces();
}

#[test]
fn the_receivers_of_a_channel_are_told_by_one_who_dies_while_it_closes_it() {
    explore_coarsely(closes(2, dies));
    came_between_pieces();
}

#[test]
fn the_receivers_of_a_channel_are_told_by_one_who_is_preempted_while_it_closes_it() {
    explore_coarsely(closes(2, is_preempted));
    came_between_pieces();
}
