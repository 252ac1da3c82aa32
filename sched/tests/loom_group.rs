//! Groups: the opener's wait against the members' end, and against its own death; every
//! interleaving. A share that is given up too early breaks INV-HEIR; frames that go too early break
//! INV-LENT.
#![cfg(loom)]

mod baton;

use std::sync::Arc;

use baton::{explore, explore_stacks};
use loom::cell::UnsafeCell;
use trefoil_sched::internals::group::Group;
use trefoil_sched::{GRef, PreemptGuard, Stack, model};

type Body = Box<dyn FnOnce() + Send>;

/// The cells that the members borrow, one each. If the opener returns before one of them has left,
/// that shows as a data race.
#[derive(Default)]
struct Lent([UnsafeCell<u32>; 2]);

// SAFETY: loom checks that its cells are not used at once.
unsafe impl Sync for Lent {}

fn member(group: &Arc<Group>, lent: &Arc<Lent>, at: usize) -> Body {
    let (group, lent) = (group.clone(), lent.clone());
    Box::new(move || {
        // SAFETY: this member is the only one that uses the cell before it leaves; loom checks
        // that.
        lent.0[at].with_mut(|v| unsafe { *v += 1 });
        drop(lent);
        let _guard = PreemptGuard::new();
        group.leave();
    })
}

fn opener(group: Arc<Group>, lent: Arc<Lent>, members: usize) -> Body {
    Box::new(move || {
        assert!(!group.wait());
        for cell in &lent.0[..members] {
            // SAFETY: the wait is over, so each member has left its cell; loom checks that.
            cell.with_mut(|v| unsafe { assert_eq!(*v, 1, "the scope has ended before its member") });
        }
    })
}

#[test]
fn the_opener_goes_on_after_its_only_member() {
    explore(|| {
        let (group, lent) = (model::group(1), Arc::new(Lent::default()));
        vec![member(&group, &lent, 0), opener(group, lent, 1)]
    });
}

#[test]
fn the_opener_goes_on_after_the_last_of_two() {
    explore(|| {
        let (group, lent) = (model::group(2), Arc::new(Lent::default()));
        vec![member(&group, &lent, 0), member(&group, &lent, 1), opener(group, lent, 2)]
    });
}

#[test]
fn a_member_that_enters_another_is_waited_for_through_it() {
    explore(|| {
        let (group, lent) = (model::group(1), Arc::new(Lent::default()));
        let second = member(&group, &lent, 1);
        let first = {
            let (group, lent) = (group.clone(), lent.clone());
            Box::new(move || {
                group.enter();
                // SAFETY: this member is the only one that uses the cell before it leaves; loom
                // checks that.
                lent.0[0].with_mut(|v| unsafe { *v += 1 });
                drop(lent);
                group.leave();
                // The one that it has let in.
                second();
            }) as Body
        };
        vec![first, opener(group, lent, 2)]
    });
}

/// The frames of a dead opener: a cell for its core, which stands on them, and one for each member
/// that borrows from them.
#[derive(Default)]
struct Frames {
    core: UnsafeCell<u32>,
    lent: [UnsafeCell<u32>; 2],
}

// SAFETY: loom checks that its cells are not used at once.
unsafe impl Sync for Frames {}

impl Frames {
    fn stack(frames: &Arc<Self>) -> Stack {
        let lo = Arc::into_raw(frames.clone()).addr();
        Stack { lo, hi: lo + 1 }
    }

    /// Gives the frames up. A use after this shows as a data race.
    fn gone(stack: Stack) {
        // SAFETY: `stack` has made it of an `Arc`; once.
        let frames = unsafe { Arc::from_raw(stack.lo as *const Self) };
        frames.core.with_mut(|n| {
            // SAFETY: the frames are given up after their core has left them; loom checks that.
            let n = unsafe { &mut *n };
            assert_eq!(*n, 1, "its core still stands there");
            *n = 100;
        });
        for cell in &frames.lent {
            // SAFETY: the frames are given up after the last borrow; loom checks that.
            cell.with_mut(|n| unsafe { *n += 100 });
        }
    }
}

/// A member that borrows from the frames of `g` and of nobody else.
fn borrower(group: &Arc<Group>, frames: &Arc<Frames>, at: usize) -> Body {
    let (group, frames) = (group.clone(), frames.clone());
    Box::new(move || {
        frames.lent[at].with_mut(|n| {
            // SAFETY: this member is the only one that uses the cell before it leaves; loom checks
            // that.
            let n = unsafe { &mut *n };
            assert_eq!(*n, 0, "its frames went before the last borrow");
            *n += 1;
        });
        drop(frames);
        let _guard = PreemptGuard::new();
        group.leave();
    })
}

/// The core on which `g` has died: its undertaker, and then its last switch.
fn undertaker(g: GRef, heir: Option<Arc<Group>>, frames: Arc<Frames>) -> Body {
    Box::new(move || {
        model::orphan_groups(g, heir);
        // SAFETY: the frames stay until this core has left them below; loom checks that.
        frames.core.with_mut(|n| unsafe { *n += 1 });
        model::leave_frames(g);
        drop(frames);
    })
}

#[test]
fn frames_of_the_dead_go_once_and_after_the_last_borrow() {
    explore_stacks(Frames::gone, || {
        let (group, frames) = (model::group(2), Arc::new(Frames::default()));
        let g = model::dead(Frames::stack(&frames), Some(group.clone()));
        vec![borrower(&group, &frames, 0), borrower(&group, &frames, 1), undertaker(g, None, frames)]
    });
}

#[test]
fn a_member_of_a_dead_one_borrows_from_it_and_from_its_heir() {
    explore_stacks(Frames::gone, || {
        let (frames, lent) = (Arc::new(Frames::default()), Arc::new(Lent::default()));
        // `g` is a member of `heir`, whose opener waits; it has opened two groups, one in the
        // other.
        let (heir, outer) = (model::group(1), model::group(1));
        let inner = model::group_inside(0, &outer);
        // Its frames hold both.
        std::mem::forget(outer.clone());
        let g = model::dead(Frames::stack(&frames), Some(inner));
        let borrows: Body = {
            let (uses, lent) = (borrower(&outer, &frames, 0), lent.clone());
            drop(outer);
            Box::new(move || {
                // SAFETY: this member is the only one that uses the cell before it leaves; loom
                // checks that.
                lent.0[0].with_mut(|v| unsafe { *v += 1 });
                drop(lent);
                uses();
            })
        };
        vec![borrows, undertaker(g, Some(heir.clone()), frames), opener(heir, lent, 1)]
    });
}
