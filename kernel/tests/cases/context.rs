//! Contexts: the situations of Go's `context/*_test.go`.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::api::*;

pub fn the_background_is_never_over() {
    let ctx = Context::background();
    assert_eq!(ctx.err(), None);
    assert!(ctx.cause().is_none() && ctx.deadline().is_none());
    assert!(ctx.done().try_recv().is_err_and(|e| e == chan::TryRecvError::Empty));
}

pub fn cancelling_reaches_all_below_and_none_above() {
    let (a, _keep) = Context::background().with_cancel();
    let (b, cancel) = a.with_cancel();
    let c = b.with_value(5u32);
    let (d, _) = c.with_cancel();
    let (sibling, _) = a.with_cancel();
    cancel.cancel();
    for ctx in [&b, &c, &d] {
        assert_eq!(ctx.err(), Some(ContextError::Canceled));
        assert!(ctx.done().recv().is_err());
    }
    assert_eq!((a.err(), sibling.err()), (None, None));
    // Again: nothing. A child of a dead one is born dead.
    cancel.cancel_with("too late");
    assert_eq!(d.cause().unwrap().to_string(), "context canceled");
    assert_eq!(d.with_cancel().0.err(), Some(ContextError::Canceled));
}

pub fn a_cause_is_passed_down() {
    let (a, cancel) = Context::background().with_cancel();
    let (b, _) = a.with_cancel();
    cancel.cancel_with(String::from("the disk is full"));
    assert_eq!(b.cause().unwrap().to_string(), "the disk is full");
    assert_eq!(b.err(), Some(ContextError::Canceled));
    assert_eq!(b.with_cancel().0.cause().unwrap().to_string(), "the disk is full");
}

pub fn a_deadline_ends_it_and_an_earlier_one_above_counts() {
    let begin = Instant::now();
    let (a, _) = Context::background().with_timeout(Duration::from_millis(10));
    let (b, _) = a.with_timeout(Duration::from_secs(3600));
    assert_eq!(b.deadline(), a.deadline());
    let (c, _) = a.with_cancel();
    assert!(b.done().recv().is_err());
    assert!(begin.elapsed() >= Duration::from_millis(10));
    for ctx in [&a, &b, &c] {
        until(|| ctx.err().is_some());
        assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    }
    let (past, _) = Context::background().with_deadline(begin);
    assert_eq!(past.err(), Some(ContextError::DeadlineExceeded));
}

pub fn a_cancel_before_the_deadline_stops_its_timer() {
    let (ctx, cancel) = Context::background().with_timeout(Duration::from_secs(3600));
    cancel.cancel();
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    // Dropped without: as well, or the kit would find its timer.
    drop(Context::background().with_timeout(Duration::from_secs(3600)));
}

pub fn values_are_found_by_type_from_the_inside() {
    let ctx = Context::background().with_value(1u32).with_value("name").with_value(2u32);
    assert_eq!((ctx.value::<u32>(), ctx.value::<&str>(), ctx.value::<u64>()), (Some(&2), Some(&"name"), None));
    let (inner, cancel) = ctx.with_cancel();
    cancel.cancel();
    let beyond = inner.without_cancel();
    assert_eq!((beyond.err(), beyond.value::<u32>()), (None, Some(&2)));
}

pub fn everybody_who_waits_is_woken() {
    let (ctx, cancel) = Context::background().with_cancel();
    let woken = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..50)
        .map(|_| {
            let (ctx, woken) = (ctx.with_cancel().0, woken.clone());
            go(move || {
                let _ = ctx.done().recv();
                woken.fetch_add(1, SeqCst);
            })
        })
        .collect();
    (0..20).for_each(|_| yield_now());
    assert_eq!(woken.load(SeqCst), 0);
    drop(cancel.on_drop());
    handles.into_iter().for_each(|h| h.join().unwrap());
}

pub fn children_come_and_go_without_end() {
    let (parent, cancel) = Context::background().with_cancel();
    let mut kept = Vec::new();
    for i in 0..2000 {
        let (child, _) = parent.with_cancel();
        if i % 100 == 0 {
            kept.push(child);
        }
    }
    cancel.cancel();
    assert!(kept.iter().all(|child| child.err().is_some()));
}

pub fn a_storm_of_cancels_and_children_forgets_nobody() {
    for round in 0..50 {
        let (parent, cancel) = Context::background().with_cancel();
        let makers: Vec<_> = (0..8)
            .map(|_| {
                let parent = parent.clone();
                go(move || {
                    (0..20).for_each(|_| {
                        let (child, _) = parent.with_cancel();
                        let (grandchild, _) = child.with_cancel();
                        if round % 2 == 0 {
                            yield_now();
                        }
                        if parent.err().is_some() {
                            assert!(grandchild.done().recv().is_err());
                        }
                    });
                    let (last, _) = parent.with_cancel();
                    assert!(last.done().recv().is_err());
                })
            })
            .collect();
        yield_now();
        cancel.cancel();
        makers.into_iter().for_each(|h| h.join().unwrap());
    }
}
