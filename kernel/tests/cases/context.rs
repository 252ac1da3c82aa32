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

/// Makes a chain of `depth` contexts. Returns all of them, the innermost last, or the last one
/// only.
fn chain(depth: usize, all: bool) -> (Arc<AtomicUsize>, Vec<Context>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut kept = vec![Context::background()];
    for i in 0..depth {
        let last = &kept[kept.len() - 1];
        let next = if i % 2 == 0 { last.with_cancel().0 } else { last.with_timeout(Duration::from_secs(3600)).0 };
        let next = next.with_value(Counts(dropped.clone()));
        if !all {
            kept.clear();
        }
        kept.push(next);
    }
    (dropped, kept)
}

struct Counts(Arc<AtomicUsize>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// On the default stack of 256 KiB: a frame for each would not fit.
const DEEP: usize = 100_000;

pub fn a_deep_chain_is_dropped_and_cancelled_without_a_stack() {
    // Dropped from the inside: the last handle of one is the last handle of all.
    let (dropped, kept) = chain(DEEP, false);
    assert_eq!((kept.len(), dropped.load(SeqCst)), (1, 0));
    drop(kept);
    assert_eq!(dropped.load(SeqCst), DEEP);
    // Cancelled from the outside.
    let (outer, cancel) = Context::background().with_cancel();
    let mut inner = outer.clone();
    for _ in 0..DEEP {
        inner = inner.with_cancel().0;
    }
    cancel.cancel_with("enough");
    assert_eq!((inner.err(), inner.cause().unwrap().to_string()), (Some(ContextError::Canceled), "enough".to_string()));
    drop((outer, cancel, inner));
    // And with all of them in hand.
    let (dropped, kept) = chain(1000, true);
    drop(kept);
    assert_eq!(dropped.load(SeqCst), 1000);
}

pub fn many_children_are_cancelled_and_forgotten() {
    let (parent, cancel) = Context::background().with_cancel();
    let children: Vec<_> = (0..DEEP).map(|_| parent.with_cancel().0).collect();
    cancel.cancel();
    assert!(children.iter().all(|child| child.err() == Some(ContextError::Canceled)));
    drop(children);
    // Not cancelled, and in another order.
    let (parent, _cancel) = Context::background().with_cancel();
    let mut children: Vec<_> = (0..DEEP).map(|_| Some(parent.with_cancel().0)).collect();
    (0..DEEP).for_each(|i| drop(children[i * 7919 % DEEP].take()));
    assert!(children.iter().all(Option::is_none) && parent.err().is_none());
}

pub fn a_value_whose_destructor_panics_leaves_the_others_to_be_dropped() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            quiet_panic("the value");
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let ctx = Context::background().with_value(Counts(dropped.clone())).with_cancel().0.with_value(Bomb);
    let ctx = { ctx }.with_value(0u8).with_value(Counts(dropped.clone()));
    let caught = catch_unwind(AssertUnwindSafe(|| drop(ctx)));
    assert_eq!(panic_message(&*caught.unwrap_err()), Some("the value"));
    assert_eq!(dropped.load(SeqCst), 2);
}

/// Trees in which every node may go, be cancelled and get children at any moment.
pub fn a_storm_in_a_tree_cancels_all_that_is_below() {
    let rounds = if cfg!(debug_assertions) { 20 } else { 100 };
    for round in 0..rounds {
        let (root, cancel) = Context::background().with_cancel();
        let (tx, rx) = chan::bounded::<(Context, u32)>(64);
        tx.send((root.clone(), 0)).unwrap();
        let workers: Vec<_> = (0..4u32)
            .map(|worker| {
                let (tx, rx) = (tx.clone(), rx.clone());
                go(move || {
                    let mut ends = Vec::new();
                    for i in 0..200u32 {
                        let Ok((ctx, depth)) = rx.try_recv() else {
                            yield_now();
                            continue;
                        };
                        let (child, stop) = ctx.with_cancel();
                        let (sibling, _) = ctx.with_timeout(Duration::from_secs(3600));
                        match (i + worker + round) % 4 {
                            0 => {
                                stop.cancel();
                                assert!(child.err().is_some() && child.with_cancel().0.err().is_some());
                            }
                            1 => drop(sibling),
                            _ => _ = tx.try_send((sibling, depth + 1)),
                        }
                        let _ = tx.try_send((ctx, depth));
                        let _ = tx.try_send((child.clone(), depth + 1));
                        ends.push(child);
                        if i % 7 == 0 {
                            ends.clear();
                        }
                    }
                    ends
                })
            })
            .collect();
        if round % 2 == 0 {
            (0..20 + round).for_each(|_| yield_now());
            cancel.cancel();
            assert!(root.err().is_some());
        }
        let ends: Vec<_> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
        cancel.cancel();
        assert!(ends.iter().all(|ctx| ctx.err().is_some() && ctx.done().recv().is_err()));
        while let Ok((ctx, _)) = rx.try_recv() {
            assert!(ctx.err().is_some());
        }
    }
}
