//! The number of P's changes: no G is lost, no timer loses its home, and each P has one owner.
#![cfg(loom)]

mod support;

use loom::sync::{Arc, Mutex};
use loom::thread;
use support::{cores, g, machine, machine_with, runnable};
use trefoil_sched::{Config, model, timer_interrupt, wake_interrupt};

/// P 1 goes while its M looks for work. The G in its ring runs, there before or on P 0 after.
#[test]
fn a_p_that_goes_leaves_nothing_behind() {
    cores::model(|| {
        let (sched, ms) = machine(2, 2);
        let (a, b) = (ms[0], ms[1]);
        let waits = runnable();
        cores::run_on(b);
        model::submit(b, waits);
        // A lock, as an interrupt is: the other side sees all earlier writes.
        let gone = Arc::new(Mutex::new(false));
        let seen = gone.clone();
        let other = thread::spawn(move || {
            cores::run_on(b);
            let found = model::next_g(b);
            while !*seen.lock().unwrap() {
                cores::wake(b.index());
                model::look_at_number(b);
                thread::yield_now();
            }
            found
        });
        cores::run_on(a);
        model::set_max_procs(a, 1);
        assert!(!sched.rest.is_idle_p(1), "it was claimed");
        *gone.lock().unwrap() = true;
        // Make way for the G that was in the ring of P 1, if it has not run.
        model::go_outside(a);
        assert!(std::ptr::eq(other.join().unwrap(), waits));
        assert!(b.p().is_none_or(|p| p.index() == 0));
    });
}

/// There is one P, and a core outside makes two of it while the one that holds it queues a G,
/// without a look at who rests.
#[test]
fn who_is_queued_while_a_second_p_comes_runs() {
    cores::model(|| {
        let (_, ms) = machine_with(Config { max_procs: 1, limit: 2, ..Config::default() }, 3);
        let (a, b, c) = (ms[0], ms[1], ms[2]);
        let rests = thread::spawn(move || cores::rest_to_the_end(c));
        let raises = thread::spawn(move || {
            cores::run_on(b);
            model::be_outside(b);
            assert_eq!(model::set_max_procs(b, 2), 1);
        });
        cores::run_on(a);
        model::submit(a, runnable());
        raises.join().unwrap();
        if cores::take_interrupt(a.index()) {
            wake_interrupt(a);
        }
        cores::all_over();
        assert!(rests.join().unwrap().is_some(), "it waits behind a G that runs on for ever");
    });
}

/// The same, but it is preempted, so that it goes to the global queue.
#[test]
fn who_is_preempted_while_a_second_p_comes_runs() {
    cores::model(|| {
        let (_, ms) = machine_with(Config { max_procs: 1, limit: 2, ..Config::default() }, 3);
        let (a, b, c) = (ms[0], ms[1], ms[2]);
        let rests = thread::spawn(move || cores::rest_to_the_end(c));
        let raises = thread::spawn(move || {
            cores::run_on(b);
            model::be_outside(b);
            model::set_max_procs(b, 2);
        });
        cores::run_on(a);
        model::preempted(a, runnable());
        raises.join().unwrap();
        if cores::take_interrupt(a.index()) {
            wake_interrupt(a);
        }
        cores::all_over();
        assert!(rests.join().unwrap().is_some(), "it waits behind a G that runs on for ever");
    });
}

/// The number is raised while a core whose G runs on for ever queues one; a third rests.
#[test]
fn who_is_queued_while_a_third_p_comes_runs() {
    cores::model(|| {
        let (_, ms) = machine_with(Config { max_procs: 2, limit: 3, ..Config::default() }, 3);
        let (a, b, c) = (ms[0], ms[1], ms[2]);
        let rests = thread::spawn(move || cores::rest_to_the_end(c));
        let raises = thread::spawn(move || {
            cores::run_on(b);
            assert_eq!(model::set_max_procs(b, 3), 2);
        });
        cores::run_on(a);
        model::submit(a, runnable());
        raises.join().unwrap();
        cores::all_over();
        assert!(rests.join().unwrap().is_some(), "a P is free and a core rests");
    });
}

/// Two callers change the number at once, one down, one up. The last one has its way, and each P
/// has one owner.
#[test]
fn two_changes_at_once_leave_each_p_one_owner() {
    cores::model(|| {
        let (sched, ms) = machine_with(Config { max_procs: 1, limit: 2, ..Config::default() }, 2);
        let (a, b) = (ms[0], ms[1]);
        let lowers = thread::spawn(move || {
            cores::run_on(b);
            model::be_outside(b);
            model::set_max_procs(b, 1)
        });
        cores::run_on(a);
        let before = model::set_max_procs(a, 2);
        let lowered = lowers.join().unwrap();
        // Each was told what the other one, or nobody, had made of it.
        assert!(before == 1 && (lowered == 2) == (sched.num_ps() == 1), "{before} {lowered} {}", sched.num_ps());
        assert_eq!(model::p_states(sched), (1, sched.num_ps() - 1), "one is held, the other free or gone");
    });
}

/// The same with a P that is free, and is to go, and is to stay.
#[test]
fn a_p_that_is_to_go_and_to_stay_is_not_lost() {
    cores::model(|| {
        let (sched, ms) = machine(2, 2);
        let (a, b) = (ms[0], ms[1]);
        cores::run_on(b);
        model::go_outside(b);
        let lowers = thread::spawn(move || {
            cores::run_on(b);
            model::set_max_procs(b, 1)
        });
        cores::run_on(a);
        let before = model::set_max_procs(a, 2);
        assert_eq!(lowers.join().unwrap(), 2);
        assert_eq!(before == 2, sched.num_ps() == 1);
        assert_eq!(model::p_states(sched), (1, sched.num_ps() - 1));
    });
}

/// Two make the same P come back, while a third core takes it: it comes back once.
#[test]
fn a_p_that_two_bring_back_has_one_owner() {
    cores::model(|| {
        let (_, ms) = machine_with(Config { max_procs: 1, limit: 2, ..Config::default() }, 3);
        let (a, b, c) = (ms[0], ms[1], ms[2]);
        cores::run_on(a);
        model::submit(a, runnable());
        let second = thread::spawn(move || {
            cores::run_on(b);
            model::be_outside(b);
            model::set_max_procs(b, 2);
        });
        let takes = thread::spawn(move || cores::rest_to_the_end(c));
        model::set_max_procs(a, 2);
        second.join().unwrap();
        if cores::take_interrupt(a.index()) {
            wake_interrupt(a);
        }
        cores::all_over();
        assert!(takes.join().unwrap().is_some());
    });
}

/// A change has died when the number was lowered and nothing else done: the next one finishes it,
/// and the timer of the P that goes comes along.
#[test]
fn what_a_dead_change_leaves_is_taken_up() {
    cores::model(|| {
        let (sched, ms) = machine(2, 2);
        let (a, b) = (ms[0], ms[1]);
        let sleeper = g();
        cores::run_on(b);
        model::sleep(b, sleeper, 5);
        cores::run_on(a);
        model::begin_to_lower(a, 1);
        let rests = thread::spawn(move || cores::rest_to_the_end(b));
        model::set_max_procs(a, 1);
        cores::time_comes(5);
        cores::all_over();
        let found = rests.join().unwrap().unwrap_or_else(|| model::next_g(a));
        assert!(std::ptr::eq(found, sleeper));
        assert_eq!(model::p_states(sched).0, 1);
    });
}

/// The same, and nobody changes the number again: the timer of the P that is one too many is run
/// all the same.
#[test]
fn a_timer_that_a_dead_change_leaves_is_run() {
    cores::model(|| {
        let (_, ms) = machine(2, 2);
        let (a, b) = (ms[0], ms[1]);
        let sleeper = g();
        cores::run_on(b);
        model::sleep(b, sleeper, 5);
        let rests = thread::spawn(move || cores::rest_to_the_end(b));
        cores::run_on(a);
        model::runs_long(a, runnable());
        model::begin_to_lower(a, 1);
        cores::time_comes(5);
        // The G here runs on for ever, until it is asked.
        cores::all_over();
        match rests.join().unwrap() {
            Some(found) => assert!(std::ptr::eq(found, sleeper)),
            None => {
                assert!(cores::take_interrupt(a.index()), "it rests with a due timer, and has asked nobody");
                cores::run_on(a);
                wake_interrupt(a);
                assert!(model::has_alarm(a));
                timer_interrupt(a);
                assert!(std::ptr::eq(model::next_g(a), sleeper));
            }
        }
    });
}

/// A P goes with two timers, in two pieces, and its M looks for work meanwhile. Both timers ring
/// once, on either core.
#[test]
fn timers_that_go_in_pieces_ring_once_each() {
    cores::model(|| {
        let (sched, ms) = machine(2, 2);
        let (a, b) = (ms[0], ms[1]);
        let sleepers = [g(), g()];
        cores::run_on(b);
        sleepers.iter().for_each(|sleeper| model::sleep(b, sleeper, 5));
        cores::run_on(a);
        let rests = thread::spawn(move || cores::rest_to_the_end(b));
        model::set_max_procs(a, 1);
        assert_eq!(trefoil_sched::model::broken(sched), None);
        cores::time_comes(5);
        cores::all_over();
        let mut found: Vec<_> = rests.join().unwrap().into_iter().collect();
        while found.len() < 2 {
            found.push(model::next_g(a));
        }
        assert!(sleepers.iter().all(|sleeper| found.iter().any(|found| std::ptr::eq(*found, *sleeper))));
    });
}

/// The change has moved one of two timers when it dies: the other one has a home, and the next
/// change moves it.
#[test]
fn a_timer_that_a_change_dead_between_two_pieces_leaves_is_run() {
    cores::model(|| {
        let (sched, ms) = machine(2, 2);
        let (a, b) = (ms[0], ms[1]);
        let sleepers = [g(), g()];
        cores::run_on(b);
        sleepers.iter().for_each(|sleeper| model::sleep(b, sleeper, 5));
        cores::run_on(a);
        let rests = thread::spawn(move || cores::rest_to_the_end(b));
        model::begin_to_lower(a, 1);
        if model::move_a_piece(a, 1) {
            assert_eq!(model::orphan(sched), None);
        }
        model::set_max_procs(a, 1);
        cores::time_comes(5);
        cores::all_over();
        let mut found: Vec<_> = rests.join().unwrap().into_iter().collect();
        while found.len() < 2 {
            found.push(model::next_g(a));
        }
        assert!(sleepers.iter().all(|sleeper| found.iter().any(|found| std::ptr::eq(*found, *sleeper))));
    });
}
