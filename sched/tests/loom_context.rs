//! Contexts: cancelling against children that are made, and against a deadline, every interleaving.
#![cfg(loom)]

mod baton;

use std::sync::Arc;

use baton::explore;
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
                // Whoever waits for it is woken.
                assert!(context.done().recv().is_err());
                assert_eq!(context.err(), Some(ContextError::Canceled), "a child was forgotten");
                *child.lock().unwrap() = Some(context);
            }) as Body,
        ]
    });
}

#[test]
fn of_a_deadline_and_a_cancel_the_first_counts_for_all() {
    explore(|| {
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
