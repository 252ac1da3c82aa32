//! Contexts: cancelling against children that are made, and against a deadline, every interleaving.
//! A child that its parent does not know breaks INV-KNOWN.
#![cfg(loom)]

mod baton;

use std::sync::Arc;

use baton::{explore, explore_coarsely};
use loom::sync::Mutex;
use trefoil_sched::context::{Context, ContextError};
use trefoil_sched::model;

type Body = Box<dyn FnOnce() + Send>;

#[test]
fn a_child_that_is_made_meanwhile_is_cancelled() {
    explore(|| {
        let (parent, cancel) = Context::background().with_cancel();
        let made = Arc::new(Mutex::new(None));
        let child = made.clone();
        vec![
            Box::new(move || cancel.cancel()),
            Box::new(move || {
                let (context, _) = parent.with_cancel();
                // Every G that waits for the context is woken.
                assert!(context.done().recv().is_err());
                assert_eq!(context.err(), Some(ContextError::Canceled), "a child was forgotten");
                *child.lock().unwrap() = Some(context);
            }) as Body,
        ]
    });
}

#[test]
fn of_a_deadline_and_a_cancel_the_first_counts_for_all() {
    explore_coarsely(|| {
        let (parent, cancel) = Context::background().with_cancel();
        let (child, _) = parent.with_cancel();
        let due = parent.clone();
        vec![
            Box::new(move || cancel.cancel()),
            Box::new(move || model::expire(&due)),
            Box::new(move || {
                assert!(child.done().recv().is_err());
                let (outer, inner) = (parent.err(), child.err());
                assert!(outer.is_some() && outer == inner, "{outer:?} but {inner:?}");
            }) as Body,
        ]
    });
}

/// Without the one that waits, in every interleaving of two preemptions.
#[test]
fn a_deadline_and_a_cancel_agree() {
    explore(|| {
        let (parent, cancel) = Context::background().with_cancel();
        let (child, _) = parent.with_cancel();
        let due = parent.clone();
        vec![
            Box::new(move || cancel.cancel()),
            Box::new(move || {
                model::expire(&due);
                let (outer, inner) = (parent.err(), child.err());
                assert!(outer.is_some() && outer == inner, "{outer:?} but {inner:?}");
                assert!(child.done().recv().is_err());
            }) as Body,
        ]
    });
}

#[test]
fn a_child_may_go_while_its_parent_is_cancelled() {
    explore_coarsely(|| {
        let (parent, cancel) = Context::background().with_cancel();
        let (first, _) = parent.with_cancel();
        let (goes, _) = parent.with_cancel();
        let (last, _) = parent.with_cancel();
        vec![
            Box::new(move || {
                cancel.cancel();
                assert!(first.err().is_some() && last.err().is_some(), "a neighbour was forgotten");
            }),
            // The last handle of the one in the middle.
            Box::new(move || drop(goes)),
            // One more comes, and goes.
            Box::new(move || drop(parent.with_cancel())) as Body,
        ]
    });
}

#[test]
fn a_cancel_returns_when_all_below_are_cancelled_also_by_another() {
    explore(|| {
        let (outer, cancel) = Context::background().with_cancel();
        let (middle, cancel_middle) = outer.with_cancel();
        let (inner, _) = middle.with_cancel();
        let below = inner.clone();
        vec![
            Box::new(move || {
                cancel.cancel();
                assert!(middle.err().is_some() && inner.err().is_some(), "cancelled by nobody yet");
                assert!(inner.done().recv().is_err());
            }),
            Box::new(move || {
                cancel_middle.cancel();
                assert!(below.err().is_some() && below.done().recv().is_err());
            }) as Body,
        ]
    });
}

#[test]
fn a_chain_may_end_while_its_top_is_cancelled_and_its_deadline_comes() {
    explore_coarsely(|| {
        let (outer, cancel) = Context::background().with_cancel();
        let (middle, _) = outer.with_cancel();
        let (inner, _) = middle.with_cancel();
        vec![
            Box::new(move || cancel.cancel()),
            Box::new(move || {
                model::expire(&middle);
                assert!(middle.err().is_some());
            }),
            Box::new(move || drop((outer, inner))) as Body,
        ]
    });
}
