//! `Mutex`, the production type: every interleaving of a few G's. A waiter that QUEUED does not
//! show breaks INV-QUEUED, and waits for ever.
#![cfg(loom)]

mod baton;

use std::sync::Arc;

use baton::{die, explore, explore_hurried, survives};
use trefoil_sched::locks::{Mutex, TryLockError, Turn};

type Body = Box<dyn FnOnce() + Send>;

/// `gs` G's lock it `times` times each; the value is a loom cell, so that two inside at once show.
fn exclusion(gs: usize, times: usize) {
    explore(rivals(gs, times));
}

fn rivals(gs: usize, times: usize) -> impl Fn() -> Vec<Body> + Send + Sync + 'static {
    move || {
        let mutex = Arc::new(Mutex::new(0));
        (0..gs)
            .map(|_| {
                let mutex = mutex.clone();
                Box::new(move || {
                    for _ in 0..times {
                        *mutex.lock().unwrap() += 1;
                    }
                    assert!(*mutex.lock().unwrap() >= times);
                }) as Body
            })
            .collect()
    }
}

#[test]
fn two_gs_exclude_each_other() {
    exclusion(2, 1);
}

#[test]
fn two_gs_that_come_again_lose_no_wake_up() {
    exclusion(2, 2);
}

#[test]
fn of_three_gs_no_waiter_is_forgotten() {
    exclusion(3, 1);
}

#[test]
fn of_two_gs_the_one_that_starves_is_given_the_lock() {
    explore_hurried(rivals(2, 2));
}

#[test]
fn of_three_gs_each_one_that_starves_is_given_the_lock() {
    explore_hurried(rivals(3, 1));
}

#[test]
fn try_lock_does_not_disturb_the_waiters() {
    explore(one_tries());
}

#[test]
fn try_lock_does_not_take_what_a_starving_waiter_is_to_get() {
    explore_hurried(one_tries());
}

fn one_tries() -> impl Fn() -> Vec<Body> + Send + Sync + 'static {
    || {
        let mutex = Arc::new(Mutex::new(0));
        let (a, b, c) = (mutex.clone(), mutex.clone(), mutex);
        vec![
            Box::new(move || *a.lock().unwrap() += 1),
            Box::new(move || *b.lock().unwrap() += 1),
            Box::new(move || {
                if let Ok(mut value) = c.try_lock() {
                    *value += 1;
                }
            }) as Body,
        ]
    }
}

/// One G dies while it holds the mutex; `others` lock it. A G that came before the owner has it; a
/// G that waits or comes later is told.
fn an_owner_dies(others: usize) -> impl Fn() -> Vec<Body> + Send + Sync + 'static {
    move || {
        let mutex = Arc::new(Mutex::new(0));
        let dying = mutex.clone();
        let mut bodies: Vec<Body> = vec![Box::new(move || {
            let mut value = dying.lock().unwrap();
            *value = 1;
            std::mem::forget(value);
            die();
            assert!(!dying.is_poisoned());
        })];
        for _ in 0..others {
            let mutex = mutex.clone();
            bodies.push(Box::new(move || {
                if !survives(|| assert_eq!(*mutex.lock().unwrap(), 0, "what a dead G has locked was granted")) {
                    assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
                }
            }));
        }
        bodies
    }
}

#[test]
fn who_waits_for_a_g_that_dies_is_told() {
    explore(an_owner_dies(1));
}

#[test]
fn two_who_wait_for_a_g_that_dies_are_both_told() {
    explore(an_owner_dies(2));
}

#[test]
fn two_who_starve_for_a_g_that_dies_are_both_told() {
    explore_hurried(an_owner_dies(2));
}

/// A G dies between the two steps of an unlock, or anywhere else where it holds nothing: nobody
/// waits for ever.
#[test]
fn a_wake_up_that_a_dead_g_owed_is_made_for_it() {
    explore(|| {
        let mutex = Arc::new(Mutex::new(0));
        let (dying, waits) = (mutex.clone(), mutex);
        vec![
            Box::new(move || {
                let value = dying.lock().unwrap();
                trefoil_sched::model::half_unlock(value);
                die();
            }),
            Box::new(move || *waits.lock().unwrap() += 1) as Body,
        ]
    });
}

/// One G dies while it is its turn; each of `others` has its own, before or after.
fn a_turn_s_owner_dies(others: usize) -> impl Fn() -> Vec<Body> + Send + Sync + 'static {
    move || {
        let (turn, inside) = (Arc::new(Turn::new()), Arc::new(Mutex::new(0)));
        let dying = turn.clone();
        let mut bodies: Vec<Body> = vec![Box::new(move || {
            std::mem::forget(dying.take());
            die();
        })];
        for _ in 0..others {
            let (turn, inside) = (turn.clone(), inside.clone());
            bodies.push(Box::new(move || {
                let _mine = turn.take();
                *inside.try_lock().expect("two have their turn at once") += 1;
            }));
        }
        bodies
    }
}

#[test]
fn who_waits_for_a_dead_g_s_turn_gets_it() {
    explore(a_turn_s_owner_dies(1));
}

#[test]
fn two_who_wait_for_a_dead_g_s_turn_get_it_one_after_the_other() {
    explore(a_turn_s_owner_dies(2));
}

#[test]
fn two_who_starve_for_a_dead_g_s_turn_get_it_one_after_the_other() {
    explore_hurried(a_turn_s_owner_dies(2));
}
