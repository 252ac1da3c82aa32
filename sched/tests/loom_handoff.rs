//! P's change hands while cores block and come back, and while G's are pinned: no G is lost, none
//! runs twice, and a P has one owner. A pinned G that stays with a resting M breaks INV-OWN. A
//! waiter without an alarm breaks INV-SLICE, and a timer without a core that rings breaks
//! INV-TIMER-HOME.
#![cfg(loom)]

mod support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use support::{cores, g, machine, runnable};
use trefoil_sched::{M, Sched, model, timer_interrupt, wake_interrupt};

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

/// The end of the block races with the wake-up. The core that has the P runs the waiting G, and
/// gives the other core a turn.
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
            // Blocks for good: the other core has the P.
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

/// A trimming core claims a P without an M for a moment, to take its free G's. A G that is
/// submitted meanwhile runs there.
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

/// A block ends and its core takes the P for which another M was woken. The waiting G has an alarm
/// on this core, or the other core has run it.
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

/// Checks that `a` has an alarm, or that the interrupt that has come sets one. All queued G's wait
/// behind the G that runs on `a`, and nobody rests.
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
