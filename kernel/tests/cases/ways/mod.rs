//! The ways that a value can go, each for any type.

mod channels;
mod goroutines;
mod selects;

use core::fmt::Debug;

use channels::*;
pub use goroutines::in_a_local;
use goroutines::*;
use selects::*;
use trefoil::prelude::*;
use trefoil::runtime::WaitReason;

use crate::deep::{KIB, deep, until};
use crate::values::{Value, none_is_left};

/// How a goroutine's stack is when a value comes to it, or leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// Nobody has touched the pages below.
    Cold,
    /// The stack has been deep before.
    Warm,
    /// The pages below have been given back, and the part in use is packed if it is small.
    Packed,
}

pub const STACKS: [Stack; 3] = [Stack::Cold, Stack::Warm, Stack::Packed];

/// Without optimisation a function that has many values of 1 MiB has a frame of more than 16 MiB.
const WINDOW: usize = (64 << 10) * KIB;

/// Starts a goroutine with a large stack in that state.
pub fn start(stack: Stack, f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    // Once for all types of closures.
    fn start(stack: Stack, f: Box<dyn FnOnce() + Send>) -> JoinHandle<()> {
        let warm = move || {
            if stack == Stack::Warm {
                assert_eq!(deep(256 * KIB, 5), 0);
            }
            f();
        };
        Builder::new().stack_max(WINDOW).spawn(warm).unwrap()
    }
    start(stack, Box::new(f))
}

/// Runs such a goroutine to its end.
pub fn run(stack: Stack, f: impl FnOnce() + Send + 'static) {
    start(stack, f).join().unwrap();
}

/// Starts such a goroutine, and returns when it waits for `reason`.
fn waiting(stack: Stack, reason: WaitReason, f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let one = start(stack, f);
    until_it_waits(stack, reason, one.id());
    one
}

fn until_it_waits(stack: Stack, reason: WaitReason, id: u64) {
    until(|| runtime::goroutines().iter().any(|g| g.id == id && g.wait_reason == reason && g.state.is_parked()));
    if stack == Stack::Packed {
        runtime::scavenge();
    }
}

fn ok<R, E: Debug>(result: Result<R, E>) -> R {
    result.unwrap()
}

/// Returns an error. (`unwrap_err` wants `Debug` of the value.)
fn no<R, E>(result: Result<R, E>) -> E {
    match result {
        Ok(_) => panic!("it was done"),
        Err(error) => error,
    }
}

fn done<E>(result: Result<(), E>) {
    assert!(result.is_ok(), "it was not done");
}

/// Goes every way but those of a stack that is nearly full.
pub fn every_way<T: Value>(name: &str) {
    for stack in STACKS {
        for way in [from_hand_to_hand::<T>, with_a_deadline::<T>, in_a_select::<T>, in_a_dynamic_select::<T>] {
            run(Stack::Cold, move || way(stack));
            none_is_left(name);
        }
    }
    for way in [
        through_a_buffer::<T>,
        through_an_endless_one::<T>,
        errors_give_it_back::<T>,
        dropped_with_the_channel::<T>,
        selects_that_do_not_wait::<T>,
        selects_give_it_back::<T>,
        reservations::<T>,
        iterators_and_streams::<T>,
        as_a_result::<T>,
        of_members::<T>,
        in_cells::<T>,
        in_closures::<T>,
    ] {
        run(Stack::Cold, way);
        none_is_left(name);
    }
}
