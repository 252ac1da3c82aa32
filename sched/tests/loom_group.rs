//! Groups: the opener's wait against the members' end, every interleaving.
#![cfg(loom)]

mod baton;

use std::sync::Arc;

use baton::explore;
use loom::cell::UnsafeCell;
use trefoil_sched::group::Group;
use trefoil_sched::{PreemptGuard, model};

type Body = Box<dyn FnOnce() + Send>;

/// What the members borrow: a cell each, so that the opener's return before one of them has left shows as a data race.
#[derive(Default)]
struct Lent([UnsafeCell<u32>; 2]);

// SAFETY: loom checks that its cells are not used at once.
unsafe impl Sync for Lent {}

fn member(group: &Arc<Group>, lent: &Arc<Lent>, at: usize) -> Body {
    let (group, lent) = (group.clone(), lent.clone());
    Box::new(move || {
        // SAFETY: as above.
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
            // SAFETY: as above.
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
                // SAFETY: as above.
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
