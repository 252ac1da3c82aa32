//! Histories: the operations of a few G's on one object, and whether some order explains them.
//!
//! ```text
//!   G 1   ├── send 1 ──────────┤ Ok
//!   G 2        ├ recv ┤ Ok 1        ├─ recv ─┤ closed
//!   G 3                     ├ close ┤
//!   ──▶ time      an operation happens at one moment between its two ends (it is linearizable)
//! ```
//!
//! A history is explained if its operations can be put in a row, none before one that had ended
//! when it began. In that row a *model* must give every operation the result that it returned. (A
//! model is the object as a caller sees it that is alone with it.) The search tries the operations
//! depth first, and remembers where it has been.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::api::*;

/// The moments of a history.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    /// Does `f`, and notes when it began and ended, and what it was.
    pub fn record<O>(&self, f: impl FnOnce() -> O) -> Event<O> {
        // SeqCst: one order of all ends, that of time.
        let begin = self.0.fetch_add(1, SeqCst);
        let what = f();
        Event { begin, end: self.0.fetch_add(1, SeqCst), what }
    }
}

/// An operation, and the result that it returned.
#[derive(Debug, Clone)]
pub struct Event<O> {
    begin: u64,
    end: u64,
    what: O,
}

impl<O> Event<O> {
    /// The operation.
    pub fn what(&self) -> &O {
        &self.what
    }
}

/// An object as one who is alone with it sees it.
pub trait Model: Clone + Ord {
    /// An operation with what it returned.
    type Operation: core::fmt::Debug;

    /// The object afterwards, if the operation may return that now.
    fn after(&self, what: &Self::Operation) -> Option<Self>;

    /// The same for two that happen at one moment; for objects at which they meet.
    fn after_both(&self, _one: &Self::Operation, _other: &Self::Operation) -> Option<Self> {
        None
    }
}

/// Panics unless `events` can be explained, beginning with `model`.
pub fn explain<M: Model>(model: M, events: &[Event<M::Operation>], seed: u64) {
    assert!(events.len() <= 32, "the set of those that are done is a word");
    let mut been = BTreeMap::new();
    let all = (1u64 << events.len()) - 1;
    assert!(search(&model, events, 0, all, &mut been), "seed {seed}: no order explains this:\n{events:#?}");
}

fn search<M: Model>(
    model: &M,
    events: &[Event<M::Operation>],
    done: u64,
    all: u64,
    been: &mut BTreeMap<(u64, M), ()>,
) -> bool {
    if done == all {
        return true;
    }
    if been.insert((done, model.clone()), ()).is_some() {
        return false;
    }
    let left = || (0..events.len()).filter(|i| done & 1 << i == 0);
    // Nobody goes before one that had ended when it began.
    let first_end = left().map(|i| events[i].end).min().unwrap_or(u64::MAX);
    let may = || left().filter(|&i| events[i].begin < first_end);
    may().any(|i| model.after(&events[i].what).is_some_and(|next| search(&next, events, done | 1 << i, all, been)))
        || may().any(|i| {
            may().filter(|&j| j != i).any(|j| {
                let next = model.after_both(&events[i].what, &events[j].what);
                next.is_some_and(|next| search(&next, events, done | 1 << i | 1 << j, all, been))
            })
        })
}

/// The search itself must be able to say no.
pub fn the_search_finds_what_is_wrong() {
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Register(u64);
    #[derive(Debug)]
    enum Operation {
        Write(u64),
        Read(u64),
    }
    impl Model for Register {
        type Operation = Operation;
        fn after(&self, what: &Operation) -> Option<Self> {
            match *what {
                Operation::Write(value) => Some(Self(value)),
                Operation::Read(value) => (value == self.0).then(|| self.clone()),
            }
        }
    }
    let event = |begin, end, what| Event { begin, end, what };
    let explained =
        |events: &[Event<Operation>]| search(&Register(0), events, 0, (1 << events.len()) - 1, &mut BTreeMap::new());
    // Side by side, a read may see either.
    assert!(explained(&[event(0, 3, Operation::Write(1)), event(1, 2, Operation::Read(0))]));
    assert!(explained(&[event(0, 3, Operation::Write(1)), event(1, 2, Operation::Read(1))]));
    // Afterwards only the new value; and not the new one and then the old one.
    assert!(!explained(&[event(0, 1, Operation::Write(1)), event(2, 3, Operation::Read(0))]));
    let turns_back =
        [event(0, 9, Operation::Write(1)), event(1, 2, Operation::Read(1)), event(3, 4, Operation::Read(0))];
    assert!(!explained(&turns_back));
}
