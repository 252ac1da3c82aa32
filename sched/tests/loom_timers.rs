//! Timers that are cancelled, started anew, stolen and moved, on the production heaps, nodes and
//! alarms. A bell is an alarm whose owner counts its calls as `Timer` does. G's that wait with a
//! deadline are in `loom_chan.rs`. A node that leaves another heap than its own breaks INV-NODE.
#![cfg(loom)]

mod support;

use std::time::Duration;

use loom::thread;
use support::cores;
use trefoil_sched::M;
use trefoil_sched::internals::timers::Chore;
use trefoil_sched::model::{Bell, fire_one, move_timers};
use trefoil_sched::time::{Instant, Timer};

/// Makes two M's with a P each. The thread is the core of the first one.
fn machine() -> [&'static M; 2] {
    let (_, ms) = support::machine(2, 2);
    cores::run_on(ms[0]);
    [ms[0], ms[1]]
}

/// Does `f` on the other core.
fn on(m: &'static M, f: impl FnOnce() + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        cores::run_on(m);
        f();
    })
}

#[test]
fn stop_says_true_exactly_if_it_does_not_ring() {
    cores::model(|| {
        let [_, b] = machine();
        let bell = Bell::new();
        assert!(!bell.start(5));
        let thief = on(b, move || _ = fire_one(b, 0));
        let stopped = bell.stop();
        let rung = bell.rung();
        thief.join().unwrap();
        assert_eq!(rung, bell.rung(), "it rang after stop had returned");
        assert_eq!(rung, u32::from(!stopped));
        assert!(!bell.stop());
    });
}

#[test]
fn a_chore_that_comes_again_is_never_counted() {
    cores::model(|| {
        let [a, b] = machine();
        for _ in 0..2 {
            Box::leak(Box::new(Chore::new(|now| Some(now + 1)))).start(5);
        }
        let other = on(b, move || assert_eq!(b.sched().num_timers(), 0));
        assert!(fire_one(a, 0));
        other.join().unwrap();
    });
}

#[test]
fn a_reset_never_rings_for_what_was_before() {
    cores::model(|| {
        let [a, b] = machine();
        let bell = Bell::new();
        bell.start(5);
        let thief = on(b, move || _ = fire_one(b, 0));
        let was = bell.start(7);
        let rung = bell.rung();
        thief.join().unwrap();
        // The thief may have come for either.
        while fire_one(a, 0) {}
        assert_eq!(bell.rung(), 1 + u32::from(!was), "lost or doubled");
        assert!(rung >= u32::from(!was));
        assert!(!bell.stop());
    });
}

#[test]
fn a_reset_on_another_core_takes_it_there() {
    cores::model(|| {
        let [a, b] = machine();
        let bell = Bell::new();
        bell.start(5);
        let other = on(b, move || _ = bell.start(7));
        let fired = u32::from(fire_one(a, 0));
        other.join().unwrap();
        assert!(!fire_one(a, 0), "it is still in the heap that it has left");
        assert!(fire_one(b, 1), "it is not in the new one");
        assert!(bell.rung() >= 1 && bell.rung() <= 1 + fired);
    });
}

#[test]
fn owner_and_thief_ring_each_once() {
    cores::model(|| {
        let [a, b] = machine();
        let bells = [Bell::new(), Bell::new()];
        bells.iter().for_each(|bell| _ = bell.start(5));
        let thief = on(b, move || while fire_one(b, 0) {});
        while fire_one(a, 0) {}
        thief.join().unwrap();
        assert_eq!(bells.map(Bell::rung), [1, 1], "lost or doubled");
    });
}

#[test]
fn what_is_stopped_while_it_moves_is_in_neither_heap() {
    cores::model(|| {
        let [a, b] = machine();
        let bells = [Bell::new(), Bell::new()];
        bells.iter().for_each(|bell| _ = bell.start(5));
        let other = on(b, move || move_timers(b, 0));
        assert!(bells[0].stop());
        other.join().unwrap();
        assert!(!fire_one(a, 0), "one was left behind");
        assert!(fire_one(b, 1), "one was lost");
        assert!(!fire_one(b, 1), "one came back");
        assert_eq!(bells.map(Bell::rung), [0, 1]);
    });
}

#[test]
fn two_moves_in_opposite_directions_pass() {
    cores::model(|| {
        let [a, b] = machine();
        let bell = Bell::new();
        bell.start(5);
        let other = on(b, move || move_timers(b, 0));
        move_timers(a, 1);
        other.join().unwrap();
        let fired = [fire_one(a, 0), fire_one(a, 1)];
        assert!(fired[0] != fired[1], "lost or doubled: {fired:?}");
        assert_eq!(bell.rung(), 1);
    });
}

/// A timer that is not running, with its channel.
fn timer() -> Timer {
    let timer = Timer::new(Duration::MAX);
    assert!(timer.stop());
    timer
}

/// The production `Timer`: a value that comes after the reset belongs to the new deadline, so that
/// one is not in the heap any more.
#[test]
fn no_value_is_received_for_a_deadline_that_was_reset() {
    cores::model(|| {
        let [a, b] = machine();
        let timer = timer();
        timer.reset_at(Instant::from_nanos(5));
        let thief = on(b, move || _ = fire_one(b, 0));
        timer.reset_at(Instant::from_nanos(7));
        thief.join().unwrap();
        let received = timer.receiver().try_recv().is_ok();
        assert!(received != fire_one(a, 0), "a stale value, or none");
        assert_eq!(timer.receiver().try_recv().is_ok(), !received);
    });
}

#[test]
fn no_value_is_received_after_stop() {
    cores::model(|| {
        let [a, b] = machine();
        let timer = timer();
        timer.reset_at(Instant::from_nanos(5));
        let thief = on(b, move || _ = fire_one(b, 0));
        assert!(timer.stop(), "nobody has received anything");
        assert!(timer.receiver().try_recv().is_err(), "a stale value");
        thief.join().unwrap();
        assert!(timer.receiver().try_recv().is_err(), "a stale value, later");
        assert!(!fire_one(a, 0));
    });
}
