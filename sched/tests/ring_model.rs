//! The ring against the simplest model of it, a `VecDeque`, under random operations.
#![cfg(not(loom))]

mod support;

use std::collections::VecDeque;

use proptest::prelude::*;
use support::g;
use trefoil_sched::GRef;
use trefoil_sched::internals::ring::{CAPACITY, Runq};

#[derive(Debug, Clone)]
enum Op {
    Push(u16),
    Pop(u16),
    Steal(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (1..200u16).prop_map(Op::Push),
        (1..200u16).prop_map(Op::Pop),
        prop_oneof![Just(1), Just(u32::MAX), 0..CAPACITY].prop_map(Op::Steal)
    ]
}

fn same(a: GRef, b: GRef) -> bool {
    std::ptr::eq(a, b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn the_ring_is_a_bounded_fifo(ops in prop::collection::vec(op(), 1..60)) {
        let ring = Runq::new();
        let mut model: VecDeque<GRef> = VecDeque::new();
        // SAFETY: this thread owns the ring.
        let mut local = unsafe { ring.owner() };
        for op in ops {
            match op {
                Op::Push(n) => for _ in 0..n {
                    let new = g();
                    match local.push(new) {
                        Ok(()) => model.push_back(new),
                        Err(mut overflow) => {
                            prop_assert_eq!(model.len() as u32, CAPACITY, "overflow of a ring that was not full");
                            prop_assert_eq!(overflow.0.len() as u32, CAPACITY / 2 + 1);
                            for _ in 0..CAPACITY / 2 {
                                prop_assert!(same(overflow.0.pop().unwrap(), model.pop_front().unwrap()), "not the oldest half");
                            }
                            prop_assert!(same(overflow.0.pop().unwrap(), new));
                        }
                    }
                },
                Op::Pop(n) => for _ in 0..n {
                    match (local.pop(), model.pop_front()) {
                        (Some(a), Some(b)) => prop_assert!(same(a, b), "out of order"),
                        (None, None) => {}
                        (a, b) => prop_assert!(false, "{a:?} against {b:?}"),
                    }
                },
                Op::Steal(most) => {
                    let mine = Runq::new();
                    // SAFETY: this thread owns the ring that it has just made.
                    let mut thief = unsafe { mine.owner() };
                    let n = (model.len() - model.len() / 2).min(most as usize);
                    let mut expected: Vec<GRef> = model.drain(..n).collect();
                    let last = ring.steal_into(&mut thief, most);
                    prop_assert_eq!(last.is_some(), n > 0);
                    if let Some(last) = last {
                        prop_assert!(same(last, expected.pop().unwrap()), "the thief runs the newest of its share");
                    }
                    for g in expected {
                        prop_assert!(same(thief.pop().unwrap(), g), "the share is out of order");
                    }
                    prop_assert!(thief.is_empty());
                }
            }
            prop_assert_eq!(ring.len() as usize, model.len());
        }
    }
}
