//! The record of deaths, the production type: two G's die at once, beside a look for either.
#![cfg(loom)]

mod support;

use loom::thread;
use trefoil_sched::internals::deaths::Deaths;

/// Nodes have two slots in models: numbers that share all but their highest bit share a path.
fn die_at_once(first: u64, second: u64) {
    support::cores::model(move || {
        let deaths: &'static Deaths = Box::leak(Box::new(Deaths::new()));
        let dies = |id: u64| thread::spawn(move || assert!(deaths.pretend(id)));
        let (one, two) = (dies(first), dies(second));
        // A record that is found is whole, and is the right one.
        for id in [first, second] {
            if let Some(dead) = deaths.find(id) {
                assert_eq!(dead.id(), id);
            }
        }
        assert!(deaths.find(first + 16).is_none(), "somebody who lives is found dead");
        one.join().unwrap();
        two.join().unwrap();
        for id in [first, second] {
            assert_eq!(deaths.find(id).map(|dead| dead.id()), Some(id), "a death is forgotten");
        }
        assert_eq!(deaths.count(), 2);
    });
}

#[test]
fn two_deaths_on_paths_of_their_own_are_both_found() {
    die_at_once(4, 5);
}

#[test]
fn two_deaths_that_want_the_same_slot_are_both_found() {
    die_at_once(4, 6);
}

#[test]
fn two_deaths_that_want_the_same_slot_twice_are_both_found() {
    die_at_once(3, 7);
}
