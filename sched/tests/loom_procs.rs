//! P's change hands: no G is lost, none runs twice, and a P has one owner, whoever blocks, comes
//! back, goes, or is pinned meanwhile. A pinned G that stays with a resting M breaks INV-OWN. A
//! waiter without an alarm breaks INV-SLICE, and a timer without a core that rings breaks
//! INV-TIMER-HOME.
#![cfg(loom)]

mod support;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use support::{cores, g, machine, machine_with, runnable};
use trefoil_sched::{Config, M, Sched, model, timer_interrupt, wake_interrupt};

#[test]
fn what_waits_runs_when_its_core_blocks() {
    cores::model(|| {
        let (_, ms) = machine(1, 2);
        let (a, b) = (ms[0], ms[1]);
        let waits = runnable();
        cores::run_on(a);
        let other = thread::spawn(move || {
            cores::run_on(b);
            model::next_g(b)
        });
        model::submit(a, waits);
        model::go_outside(a);
        assert!(std::ptr::eq(other.join().unwrap(), waits));
        assert!(!model::come_back(a), "the other core has the only P");
    });
}

#[test]
fn what_a_blocked_core_readies_runs_elsewhere() {
    cores::model(|| {
        let (_, ms) = machine(1, 2);
        let (a, b) = (ms[0], ms[1]);
        let readied = runnable();
        let other = thread::spawn(move || {
            cores::run_on(b);
            model::next_g(b)
        });
        cores::run_on(a);
        model::go_outside(a);
        model::submit(a, readied);
        assert!(std::ptr::eq(other.join().unwrap(), readied));
    });
}

/// The end of the block races with the wake-up: whoever has the P runs what waits, and gives the
/// other one a turn.
#[test]
fn a_core_that_comes_back_and_one_that_was_woken_share_what_there_is() {
    cores::model(|| {
        let (_, ms) = machine(1, 2);
        let (a, b) = (ms[0], ms[1]);
        let first = runnable();
        let ran = Arc::new(AtomicU32::new(0));
        let count = ran.clone();
        let look = move |m: &'static M, ran: &AtomicU32| {
            cores::run_on(m);
            let found = model::next_g(m);
            if std::ptr::eq(found, first) {
                assert_eq!(ran.fetch_add(1, Ordering::Relaxed), 0, "it ran twice");
                model::submit(m, runnable());
            }
            // It blocks for good: the other one has the P.
            model::go_outside(m);
        };
        let other = thread::spawn(move || look(b, &count));
        cores::run_on(a);
        model::submit(a, first);
        model::go_outside(a);
        model::come_back(a);
        look(a, &ran);
        other.join().unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), 1);
    });
}

/// P 1 goes while its M looks for work: what stands in its ring runs, there before or on P 0 after.
#[test]
fn a_p_that_goes_leaves_nothing_behind() {
    cores::model(|| {
        let (sched, ms) = machine(2, 2);
        let (a, b) = (ms[0], ms[1]);
        let waits = runnable();
        cores::run_on(b);
        model::submit(b, waits);
        // A lock, as an interrupt is: what was written before is seen after it.
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
        // This core makes way for what was in its ring, if that has not run.
        model::go_outside(a);
        assert!(std::ptr::eq(other.join().unwrap(), waits));
        assert!(b.p().is_none_or(|p| p.index() == 0));
    });
}

/// A pinned G whose turn comes elsewhere while its M lies down.
#[test]
fn a_pinned_g_finds_its_m_whatever_that_does() {
    cores::model(|| {
        let (_, ms) = machine(2, 2);
        let (a, b) = (ms[0], ms[1]);
        let pinned = runnable();
        let other = thread::spawn(move || {
            cores::run_on(b);
            model::next_g(b)
        });
        cores::run_on(a);
        model::send(a, b, pinned);
        assert!(std::ptr::eq(other.join().unwrap(), pinned));
    });
}

/// The same with one P, which comes along.
#[test]
fn a_pinned_g_takes_the_p_along() {
    cores::model(|| {
        let (_, ms) = machine(1, 2);
        let (a, b) = (ms[0], ms[1]);
        let pinned = runnable();
        let other = thread::spawn(move || {
            cores::run_on(b);
            let found = model::next_g(b);
            assert!(b.p().is_some());
            // Something for the other one, and the P.
            model::submit(b, runnable());
            model::go_outside(b);
            found
        });
        cores::run_on(a);
        model::send(a, b, pinned);
        // While the M does not rest yet, it passes the G on, and its turn comes here again; or it
        // takes this core's P, when that rests.
        while a.p().is_some() && std::ptr::eq(model::next_g(a), pinned) {
            model::send(a, b, pinned);
        }
        assert!(std::ptr::eq(other.join().unwrap(), pinned));
    });
}

/// A P without an M is somebody's for a moment, while its free G's are taken. What is submitted
/// meanwhile runs there.
#[test]
fn what_is_submitted_while_a_resting_p_is_trimmed_runs() {
    cores::model(|| {
        let (sched, ms) = machine(2, 2);
        let (a, b) = (ms[0], ms[1]);
        let (keeps, waits) = (g(), runnable());
        let other = thread::spawn(move || {
            cores::run_on(b);
            model::keep_free(b, keeps);
            model::next_g(b)
        });
        cores::run_on(a);
        model::trim_resting(a);
        model::submit(a, waits);
        model::trim_resting(a);
        assert!(std::ptr::eq(other.join().unwrap(), waits));
        assert!(sched.num_free() <= 1);
    });
}

/// The same with three cores: one submits, one trims, one rests.
#[test]
fn who_finds_no_free_p_while_it_is_trimmed_is_made_good() {
    cores::model(|| {
        let (_, ms) = machine(3, 3);
        let (a, b, c) = (ms[0], ms[1], ms[2]);
        let waits = runnable();
        cores::run_on(b);
        model::keep_free(b, g());
        let rests = thread::spawn(move || {
            cores::run_on(b);
            model::next_g(b)
        });
        let trims = thread::spawn(move || {
            cores::run_on(c);
            model::trim_resting(c);
        });
        cores::run_on(a);
        model::submit(a, waits);
        trims.join().unwrap();
        assert!(std::ptr::eq(rests.join().unwrap(), waits));
    });
}

/// A block ends and its core takes the P for which another M was woken: who waits has an alarm on
/// this core, or the other core has run it.
#[test]
fn who_waits_while_a_block_ends_is_not_forgotten() {
    cores::model(|| {
        let (sched, ms) = machine(1, 2);
        let (a, b) = (ms[0], ms[1]);
        let waits = runnable();
        let other = thread::spawn(move || {
            cores::run_on(b);
            model::next_g(b)
        });
        cores::run_on(a);
        model::go_outside(a);
        model::submit(a, waits);
        if model::come_back(a) {
            // Its G runs on, for ever: here until the alarm.
            assert!(sched.globq.is_empty() || model::has_alarm(a), "nobody will interrupt it");
            model::go_outside(a);
        }
        assert!(std::ptr::eq(other.join().unwrap(), waits));
    });
}

/// What has been queued for all waits behind the G that runs on `a`, and nobody rests: `a` has an
/// alarm, or the interrupt that has come sets one.
fn has_alarm_for_who_waits(sched: &Sched, a: &'static M) {
    cores::run_on(a);
    if cores::take_interrupt(a.index()) {
        wake_interrupt(a);
    }
    assert!(!sched.globq.is_empty() && model::has_alarm(a), "it waits behind a G that nobody will interrupt");
}

/// A block ends and its core finds its P free and nobody waiting, while another core outside queues
/// one.
#[test]
fn who_is_queued_while_a_block_ends_has_an_alarm() {
    cores::model(|| {
        let (sched, ms) = machine(1, 2);
        let (a, b) = (ms[0], ms[1]);
        cores::run_on(a);
        model::go_outside(a);
        let back = thread::spawn(move || {
            cores::run_on(a);
            assert!(model::come_back(a));
        });
        cores::run_on(b);
        model::be_outside(b);
        model::submit(b, runnable());
        back.join().unwrap();
        has_alarm_for_who_waits(sched, a);
    });
}

/// The handler of the one core that runs G's finds nobody waiting and turns its alarm off, while a
/// core outside queues one.
#[test]
fn who_is_queued_while_the_alarm_is_turned_off_gets_one() {
    cores::model(|| {
        let (sched, ms) = machine(1, 2);
        let (a, b) = (ms[0], ms[1]);
        cores::run_on(b);
        model::be_outside(b);
        model::runs_long(a, runnable());
        let handler = thread::spawn(move || {
            cores::run_on(a);
            timer_interrupt(a);
        });
        model::submit(b, runnable());
        handler.join().unwrap();
        has_alarm_for_who_waits(sched, a);
    });
}

/// The same, while a core that has turns of its own preempts one.
#[test]
fn who_is_preempted_while_another_alarm_is_turned_off_gets_it() {
    cores::model(|| {
        let (sched, ms) = machine(2, 2);
        let (a, b) = (ms[0], ms[1]);
        cores::run_on(b);
        model::runs_long(b, runnable());
        model::runs_long(a, runnable());
        let handler = thread::spawn(move || {
            cores::run_on(a);
            timer_interrupt(a);
        });
        model::preempted(b, runnable());
        handler.join().unwrap();
        has_alarm_for_who_waits(sched, a);
    });
}

/// A P is trimmed between its M's last look and its rest, while that M is woken for something else.
#[test]
fn timers_of_a_trimmed_p_keep_a_home() {
    cores::model(|| {
        let (sched, ms) = machine(4, 3);
        let (a, b, c) = (ms[0], ms[1], ms[2]);
        let waits = runnable();
        cores::run_on(a);
        model::keep_free(a, g());
        let sleeps = thread::spawn(move || {
            cores::run_on(a);
            model::Bell::new().start(5);
            model::next_g(a)
        });
        let trims = thread::spawn(move || {
            cores::run_on(c);
            model::trim_resting(c);
        });
        cores::run_on(b);
        model::submit(b, waits);
        trims.join().unwrap();
        assert!(std::ptr::eq(sleeps.join().unwrap(), waits));
        assert_eq!(model::orphan(sched), None, "a timer that no core keeps");
    });
}

/// The same, with a G that sleeps, and nobody who wakes its core but the clock.
#[test]
fn who_sleeps_on_a_trimmed_p_wakes_up() {
    cores::model(|| {
        let (_, ms) = machine(2, 2);
        let (a, b) = (ms[0], ms[1]);
        let sleeper = g();
        cores::run_on(a);
        model::keep_free(a, g());
        let sleeps = thread::spawn(move || {
            cores::run_on(a);
            model::sleep(a, sleeper, 5);
            cores::rest_to_the_end(a)
        });
        cores::run_on(b);
        model::trim_resting(b);
        cores::time_comes(5);
        // The core that has trimmed may keep the time.
        timer_interrupt(b);
        cores::all_over();
        let found = sleeps.join().unwrap();
        let found = found.or_else(|| Some(model::next_g(b)));
        assert!(std::ptr::eq(found.unwrap(), sleeper));
    });
}

/// A core gives its P away while another one, whose G runs on for ever, queues one behind it; a
/// third rests.
#[test]
fn who_is_queued_while_a_p_is_given_away_runs() {
    cores::model(|| {
        let (_, ms) = machine(2, 3);
        let (a, b, c) = (ms[0], ms[1], ms[2]);
        let waits = runnable();
        let rests = thread::spawn(move || {
            cores::run_on(c);
            model::next_g(c)
        });
        let gives = thread::spawn(move || {
            cores::run_on(a);
            model::go_outside(a);
        });
        cores::run_on(b);
        model::submit(b, waits);
        gives.join().unwrap();
        assert!(std::ptr::eq(rests.join().unwrap(), waits));
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

/// Two change the number at once, one down, one up. Whoever is last has its way, and each P has one
/// owner.
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

/// A P goes with two timers, in two pieces, and its M looks for work meanwhile: whoever runs them,
/// both ring, once.
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
