//! A death grants nothing: every primitive, held, waited for, leaked or lent by a goroutine that
//! ends where it stands, by each of the ways to do so.
#![no_std]
#![no_main]

#[path = "deaths/cost.rs"]
mod cost;
#[path = "support/deep.rs"]
mod deep;
#[path = "deaths/held.rs"]
mod held;
#[path = "deaths/lent.rs"]
mod lent;
#[path = "deaths/promises.rs"]
mod promises;
#[path = "deaths/shared.rs"]
mod shared;
mod support;

use core::hint::black_box;

use cost::*;
use deep::{KIB, deep, until};
use held::*;
use lent::*;
use promises::*;
use shared::*;
use trefoil::JoinError;
use trefoil::panic;
use trefoil::prelude::*;
use trefoil::runtime::WaitReason;
use trefoil::testing::deaths::is_round_pending;
use trefoil::testing::inject;

image! {
    what_an_overflow_held_is_granted_to_nobody: "expect \"holder\" has used up its window";
    what_lack_of_memory_held_is_granted_to_nobody: "expect no frame for the stack of";
    what_a_second_panic_held_is_granted_to_nobody: "expect panic without a way out";
    a_leaked_guard_is_no_dead_ones;
    what_was_lent_stays_lent;
    a_condition_s_mutex_may_have_died_meanwhile;
    permits_are_lost_and_waits_end_by_their_time;
    of_two_readers_the_last_that_lives_tells;
    a_dead_member_is_named_to_who_waits_for_all;
    what_a_select_was_promised_is_given_back;
    a_leaked_promise_outlives_its_channel;
    who_waits_on_a_dead_stack_is_told: "expect dies_here";
    who_waits_for_a_leaked_guard_is_in_the_report:
        "exit 1 | expect deadlock | expect [mutex lock] waits for 0x | expect held by G | expect , which has ended";
    of_two_dead_readers_the_report_shows_who_waits: "exit 1 | expect deadlock | expect [rwlock write] waits for 0x";
    a_look_costs_the_same_after_ten_thousand_deaths: "smp 1 | icount";
    a_round_among_many_does_not_hold_the_core: "smp 1 | icount | mem 512M";
}

/// How a goroutine ends where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Death {
    Overflow,
    NoMemory,
    SecondPanic,
}

const ALL: [Death; 3] = [Death::Overflow, Death::NoMemory, Death::SecondPanic];

impl Death {
    /// Returns the words that name this death in a message.
    fn cause(self) -> &'static str {
        match self {
            Self::Overflow => "which died of stack overflow",
            Self::NoMemory => "which died of lack of memory",
            Self::SecondPanic => "which died of a panic in a destructor",
        }
    }

    /// Returns true if a join reports this death.
    fn is<T>(self, joined: &Result<T, JoinError>) -> bool {
        match joined {
            Err(JoinError::StackOverflow) => self == Self::Overflow,
            Err(JoinError::OutOfMemory) => self == Self::NoMemory,
            Err(error @ JoinError::Panicked(_)) => {
                self == Self::SecondPanic && error.message() == Some("the second one")
            }
            _ => false,
        }
    }
}

/// Recurses without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

/// Ends the calling goroutine where it stands.
#[inline(never)]
fn die(how: Death) {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("the second one");
        }
    }
    match how {
        Death::Overflow => _ = black_box(glut(0)),
        Death::NoMemory => {
            // The next page that a stack on this core grows by. (Twice, should this goroutine come
            // to another core in between.)
            loop {
                inject::fail_after(1);
                black_box(deep(40 * KIB, 1));
                inject::off();
                black_box(deep(80 * KIB, 1));
                inject::fail_after(1);
                black_box(deep(200 * KIB, 1));
            }
        }
        Death::SecondPanic => {
            let _grenade = Grenade;
            panic!("the first one");
        }
    }
}

/// Panics are expected here, by the dozen.
fn quiet() {
    panic::set_hook(Box::new(|_| {}));
}

/// Waits until `died` goroutines have died, and their memory has been taken away.
fn is_gone(died: u64) {
    until(|| !is_round_pending());
    let scavenged = || {
        runtime::scavenge();
        let stacks = runtime::stats().memory.stacks;
        (stacks.retired >= died).then_some(stacks.pages)
    };
    // Until there is nothing more to take.
    let mut before = None;
    loop {
        let pages = scavenged();
        if pages.is_some() && pages == before {
            return;
        }
        before = pages;
        runtime::yield_now();
    }
}

fn died() -> u64 {
    runtime::stats().memory.abandoned
}

/// Asserts that `joined` came to a panic that tells of all of `parts`.
fn is_told<T>(joined: Result<T, JoinError>, parts: &[&str]) {
    let error = joined.err().expect("what a dead goroutine holds was granted");
    let message = error.message().expect("another end than a panic");
    assert!(parts.iter().all(|part| message.contains(part)), "{message:?} lacks one of {parts:?}");
}

fn waiting(reason: WaitReason) -> usize {
    runtime::goroutines().iter().filter(|g| g.name == "waiter" && g.wait_reason == reason).count()
}
