//! `Context`: cancel, deadline, timeout, values, from parent to child.

use super::{a_moment, until, until_parked};
use crate::api::*;
use context::{Context, ContextError};

cases! {
    the_background_is_never_over,
    a_cancelled_context_says_so,
    the_first_reason_holds,
    a_parent_takes_its_children_with_it,
    a_child_leaves_its_parent_alone,
    a_child_of_a_cancelled_parent_is_born_cancelled,
    a_deadline_comes,
    an_earlier_deadline_of_the_parent_holds,
    a_timeout_that_is_cancelled_before_is_cancelled,
    a_deadline_that_has_passed,
    values_are_found_from_within,
    layers_upon_layers_are_cancelled_together,
    everybody_may_cancel_at_the_same_time,
    children_are_made_while_the_parent_is_cancelled,
    a_cause_goes_to_the_children,
    without_cancel_keeps_the_values_alone,
    a_worker_looks_at_done_in_a_select,
    many_wait_for_one_context,
    what_is_gone_is_forgotten,
}

const LONG: Duration = Duration::from_secs(100);

fn is_over(ctx: &Context) -> bool {
    ctx.err().is_some() && ctx.done().try_recv() == Err(chan::TryRecvError::Disconnected)
}

/// Go: context_test.go, TestBackground.
fn the_background_is_never_over() {
    let ctx = Context::background();
    assert!(!is_over(&ctx) && ctx.err().is_none() && ctx.deadline().is_none() && ctx.cause().is_none());
    assert!(select! { recv(ctx.done()) -> _ => false, default => true });
}

/// Go: context_test.go, TestWithCancel.
fn a_cancelled_context_says_so() {
    let (ctx, cancel) = Context::background().with_cancel();
    assert!(ctx.err().is_none());
    assert!(select! { recv(ctx.done()) -> _ => false, default => true });
    cancel.cancel();
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    assert!(is_over(&ctx) && is_over(&ctx.clone()));
    assert_eq!(ctx.err().unwrap().to_string(), "context canceled");
}

/// Go: "after the first call, subsequent calls to a CancelFunc do nothing".
fn the_first_reason_holds() {
    let (ctx, cancel) = Context::background().with_timeout(LONG);
    cancel.cancel_with("first");
    cancel.cancel_with("second");
    cancel.cancel();
    assert_eq!(ctx.cause().unwrap().to_string(), "first");
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
}

/// Go: context_test.go, TestParentFinishesChild.
fn a_parent_takes_its_children_with_it() {
    let (parent, cancel) = Context::background().with_cancel();
    let (child, _c) = parent.with_cancel();
    let value = parent.with_value(7u32);
    let (timed, _t) = value.with_timeout(LONG);
    assert!([&parent, &child, &value, &timed].iter().all(|ctx| ctx.err().is_none()));
    cancel.cancel();
    assert!([&parent, &child, &value, &timed].iter().all(|ctx| is_over(ctx)));
    assert_eq!(timed.err(), Some(ContextError::Canceled));
}

/// Go: context_test.go, TestChildFinishesFirst.
fn a_child_leaves_its_parent_alone() {
    let (parent, _p) = Context::background().with_cancel();
    let ((one, cancel), (other, _o)) = (parent.with_cancel(), parent.with_cancel());
    cancel.cancel();
    assert!(is_over(&one) && parent.err().is_none() && other.err().is_none());
}

/// Go: context_test.go, TestWithCancelCanceledParent.
fn a_child_of_a_cancelled_parent_is_born_cancelled() {
    let (parent, cancel) = Context::background().with_cancel();
    cancel.cancel_with("because");
    let (child, _c) = parent.with_cancel();
    assert!(is_over(&child));
    assert_eq!(child.cause().unwrap().to_string(), "because");
    let (timed, _t) = parent.with_timeout(LONG);
    assert_eq!(timed.err(), Some(ContextError::Canceled));
}

/// Go: context_test.go, TestDeadline, TestTimeout.
fn a_deadline_comes() {
    let begin = Instant::now();
    let (ctx, _c) = Context::background().with_timeout(Duration::from_millis(3));
    assert!(ctx.deadline().unwrap() >= begin + Duration::from_millis(3));
    let inner = ctx.with_value("inner");
    assert!(inner.done().recv().is_err());
    assert!(begin.elapsed() >= Duration::from_millis(3));
    assert_eq!(inner.err(), Some(ContextError::DeadlineExceeded));
    assert_eq!(ctx.err().unwrap().to_string(), "context deadline exceeded");
}

/// Go: context_test.go, TestDeadline: "WithDeadline(parent earlier)"; TestLayersTimeout.
fn an_earlier_deadline_of_the_parent_holds() {
    let (parent, _p) = Context::background().with_timeout(Duration::from_millis(2));
    let (child, _c) = parent.with_timeout(LONG);
    assert_eq!(child.deadline(), parent.deadline());
    assert!(child.done().recv().is_err());
    assert_eq!(child.err(), Some(ContextError::DeadlineExceeded));
}

/// Go: context_test.go, TestCanceledTimeout.
fn a_timeout_that_is_cancelled_before_is_cancelled() {
    let (ctx, cancel) = Context::background().with_timeout(Duration::from_millis(5));
    cancel.cancel();
    time::sleep(Duration::from_millis(8));
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
}

/// Go: context_test.go, TestDeadline: "WithDeadline+now", and before.
fn a_deadline_that_has_passed() {
    let now = Instant::now();
    let (ctx, _c) = Context::background().with_deadline(now);
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    assert!(is_over(&ctx));
}

/// Go: context_test.go, TestValues.
fn values_are_found_from_within() {
    #[derive(Debug, PartialEq)]
    struct User(&'static str);
    #[derive(Debug, PartialEq)]
    struct Request(u32);
    let outer = Context::background().with_value(User("ada"));
    let middle = outer.with_cancel().0.with_value(Request(1));
    let inner = middle.with_value(Request(2));
    assert_eq!((inner.value::<User>(), inner.value::<Request>()), (Some(&User("ada")), Some(&Request(2))));
    assert_eq!((middle.value::<Request>(), outer.value::<Request>()), (Some(&Request(1)), None));
    assert_eq!(inner.value::<u64>(), None);
}

/// Go: context_test.go, TestLayersCancel.
fn layers_upon_layers_are_cancelled_together() {
    let (top, cancel) = Context::background().with_cancel();
    let mut layers = vec![top];
    let mut cancels = Vec::new();
    for i in 0..60u32 {
        let last = layers.last().unwrap();
        let next = match i % 3 {
            0 => last.with_value(i),
            1 => {
                let (next, c) = last.with_cancel();
                cancels.push(c);
                next
            }
            _ => {
                let (next, c) = last.with_timeout(LONG);
                cancels.push(c);
                next
            }
        };
        layers.push(next);
    }
    assert!(layers.iter().all(|ctx| ctx.err().is_none()));
    cancel.cancel();
    assert!(layers.iter().all(is_over));
    assert_eq!(layers[60].value::<u32>(), Some(&57));
}

/// Go: context_test.go, TestSimultaneousCancels, TestCauseRace.
fn everybody_may_cancel_at_the_same_time() {
    let (root, cancel) = Context::background().with_cancel();
    let mut all = vec![(root, cancel)];
    for i in 0..60 {
        let next = all[i / 2].0.with_cancel();
        all.push(next);
    }
    let contexts: Vec<_> = all.iter().map(|(ctx, _)| ctx.clone()).collect();
    let gs: Vec<_> = all.into_iter().map(|(_, cancel)| go(move || cancel.cancel())).collect();
    let waiting: Vec<_> =
        contexts.into_iter().map(|ctx| go(move || ctx.done().recv().is_err() && is_over(&ctx))).collect();
    gs.into_iter().for_each(|g| g.join().unwrap());
    waiting.into_iter().for_each(|g| assert!(g.join().unwrap()));
}

/// Go: context_test.go, TestInterlockedCancels; x_test's
/// TestWithCancelSimultaneouslyCanceledParent.
fn children_are_made_while_the_parent_is_cancelled() {
    for _ in 0..30 {
        let (parent, cancel) = Context::background().with_cancel();
        let makers: Vec<_> = (0..4)
            .map(|_| {
                let parent = parent.clone();
                go(move || (0..10).map(|_| parent.with_cancel()).collect::<Vec<_>>())
            })
            .collect();
        runtime::yield_now();
        cancel.cancel();
        for maker in makers {
            assert!(maker.join().unwrap().iter().all(|(child, _)| is_over(child)), "a child was forgotten");
        }
    }
}

/// Go: context_test.go, TestCause.
fn a_cause_goes_to_the_children() {
    let (parent, cancel) = Context::background().with_cancel();
    let (child, own) = parent.with_cancel();
    let (early, sooner) = parent.with_cancel();
    sooner.cancel_with("its own");
    cancel.cancel_with("parent's");
    own.cancel_with("too late");
    assert_eq!(parent.cause().unwrap().to_string(), "parent's");
    assert_eq!(child.cause().unwrap().to_string(), "parent's");
    assert_eq!(early.cause().unwrap().to_string(), "its own");
    assert_eq!(child.err(), Some(ContextError::Canceled));
    // Without one, the error is the cause.
    let (plain, cancel) = Context::background().with_cancel();
    cancel.cancel();
    assert_eq!(plain.cause().unwrap().to_string(), "context canceled");
}

/// Go: context_test.go, TestWithoutCancel.
fn without_cancel_keeps_the_values_alone() {
    let (ctx, cancel) = Context::background().with_value(5u8).with_timeout(LONG);
    let free = ctx.without_cancel();
    cancel.cancel();
    assert!(is_over(&ctx) && free.err().is_none() && free.deadline().is_none());
    assert_eq!(free.value::<u8>(), Some(&5));
}

/// Go: the example of WithCancel: a generator that does not leak.
fn a_worker_looks_at_done_in_a_select() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (tx, rx) = chan::bounded(0);
    let generator = go(move || {
        for n in 1.. {
            select! {
                recv(ctx.done()) -> _ => return n,
                send(tx, n) -> r => r.unwrap(),
            }
        }
        0
    });
    assert!(rx.iter().take(5).eq(1..=5));
    cancel.cancel();
    assert_eq!(generator.join().unwrap(), 6);
}

/// Go: Done "is closed": it tells all.
fn many_wait_for_one_context() {
    let (ctx, cancel) = Context::background().with_cancel();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let ctx = ctx.clone();
            go(move || ctx.done().recv().is_err())
        })
        .collect();
    until_parked(20);
    a_moment();
    assert!(waiting.iter().all(|g| !g.is_finished()));
    cancel.cancel();
    waiting.into_iter().for_each(|g| assert!(g.join().unwrap()));
}

/// Go: context_test.go, TestCancelRemoves.
fn what_is_gone_is_forgotten() {
    let (parent, _p) = Context::background().with_cancel();
    let marker = Arc::new(());
    for _ in 0..100 {
        let (child, cancel) = parent.with_value(marker.clone()).with_timeout(LONG);
        cancel.cancel();
        drop(child);
    }
    drop((0..100).map(|_| parent.with_value(marker.clone()).with_timeout(LONG)).collect::<Vec<_>>());
    until(|| Arc::strong_count(&marker) == 1);
    assert!(parent.err().is_none());
}
