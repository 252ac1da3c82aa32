//! The queues' contents at any event, replayed by the format's rules, and compared with the
//! kernel's own snapshots.
//!
//! A step applies one event. Two M's may touch one ring at the same time, so the order of their
//! records may be another than that of their changes. A record names the goroutine that it takes:
//! a goroutine is found by its number, wherever it stands in the ring. So the contents are right
//! again as soon as both records are read.

use std::collections::{BTreeMap, VecDeque};

use trefoil_trace::{Kind, Place, Record, Why};

use super::events::Event;

mod known;
mod replay;

pub use replay::{Mismatch, Replay, verify};

/// The queues of all P's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queues {
    /// By number of the P.
    pub ps: BTreeMap<u8, Queue>,
    /// The global queue, oldest first.
    pub global: VecDeque<u64>,
    /// The inbox of goroutines that interrupts have readied.
    pub inbox: VecDeque<u64>,
    /// Each M's goroutines that are pinned to it.
    pub pinned: BTreeMap<u32, VecDeque<u64>>,
    /// The goroutine that an M has taken, and is about to run.
    pub hands: BTreeMap<u32, Vec<u64>>,
    /// The queues of M's without a P of the scheduler's, in `block_in_place`.
    pub private: BTreeMap<u32, Queue>,
    /// The goroutine on each M; none: g0.
    pub running: BTreeMap<u32, u64>,
    /// The goroutine that has just yielded on an M: its core queues it right after the record.
    yielded: BTreeMap<u32, u64>,
    /// Goroutines that a record took from a place where they did not stand.
    pub missed: u64,
}

/// The queue of a P.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// The goroutine in the slot; 0: none.
    pub slot: u64,
    /// The ring, oldest first.
    pub ring: VecDeque<u64>,
}

impl Queues {
    /// Applies an event.
    pub fn apply(&mut self, event: &Event) {
        let Record { a, b, n, .. } = event.record;
        if event.kind() != Some(Kind::Snapshot) {
            self.yielded.remove(&event.m);
        }
        match event.kind() {
            Some(Kind::Create | Kind::Ready) => self.put(event, event.place(), a),
            Some(Kind::Put) => {
                if event.why() == Why::NONE {
                    // It was moved: it may stand somewhere.
                    self.remove(event, a);
                }
                self.put(event, event.place(), a);
            }
            Some(Kind::ChainEnd) => {
                self.remove(event, a);
                self.put(event, Place::Ring, a);
            }
            Some(Kind::Switch) => {
                self.running.remove(&event.m);
                if b != 0 {
                    self.take(event, b);
                    self.running.insert(event.m, b);
                }
                if a != 0 && event.why() == Why::YIELD {
                    self.put(event, Place::Ring, a);
                    self.yielded.insert(event.m, a);
                }
            }
            Some(Kind::Overflow) => self.overflow(event, n as usize, a),
            Some(Kind::Steal) => self.steal(event, b as u8, n as usize, a),
            Some(Kind::Share) => self.share(event, n as usize, a),
            _ => {}
        }
    }

    /// Returns the queue of the P that the M of an event holds.
    fn own(&mut self, event: &Event) -> &mut Queue {
        if event.record.p == Record::NO_P {
            self.private.entry(event.m).or_default()
        } else {
            self.ps.entry(event.record.p).or_default()
        }
    }

    fn put(&mut self, event: &Event, place: Place, g: u64) {
        match place {
            Place::Slot => {
                let queue = self.own(event);
                let old = std::mem::replace(&mut queue.slot, g);
                if old != 0 {
                    queue.ring.push_back(old);
                }
            }
            Place::Ring => self.own(event).ring.push_back(g),
            Place::Global => self.global.push_back(g),
            Place::Inbox => self.inbox.push_back(g),
            Place::Pinned => {
                let to = if event.record.how == 0 { event.record.n } else { event.m };
                self.pinned.entry(to).or_default().push_back(g);
            }
            Place::Hand => self.hands.entry(event.m).or_default().push(g),
            Place::Nowhere | Place::Marked | Place::Timers => {}
        }
    }

    /// The ring found no room for `g`: the older half goes to the global queue, and then `g`.
    fn overflow(&mut self, event: &Event, n: usize, g: u64) {
        let ring = &mut self.own(event).ring;
        if let Some(at) = ring.iter().rposition(|&other| other == g) {
            ring.remove(at);
        }
        // More than a ring has room for: a thief's record is still to come, for the oldest.
        let first = ring.len().saturating_sub(n.saturating_mul(2));
        let last = (first + n).min(ring.len());
        let half: Vec<u64> = ring.drain(first..last).collect();
        self.global.extend(half);
        self.global.push_back(g);
    }

    /// The M takes `n` of the global queue, the first of them `g`.
    fn share(&mut self, event: &Event, n: usize, g: u64) {
        // Before `g` may stand some that another M has taken, whose record is still to come.
        let Some(first) = self.global.iter().position(|&other| other == g) else {
            self.missed += 1;
            self.remove(event, g);
            return self.hands.entry(event.m).or_default().push(g);
        };
        let last = first.saturating_add(n).min(self.global.len());
        let mut taken: Vec<u64> = self.global.drain(first..last).skip(1).collect();
        // Two M's may put in another order than their records have.
        let fewer = (n.saturating_sub(1).saturating_sub(taken.len())).min(self.global.len());
        taken.extend(self.global.drain(..fewer));
        self.own(event).ring.extend(taken);
        self.hands.entry(event.m).or_default().push(g);
    }

    /// A thief takes `n`, the last of them `g`.
    fn steal(&mut self, event: &Event, victim: u8, n: usize, g: u64) {
        let from = self.ps.entry(victim).or_default();
        if let Some(mut taken) = from.stolen(n, g) {
            taken.pop();
            self.own(event).ring.extend(taken);
        } else {
            self.missed += 1;
            self.remove(event, g);
        }
        self.hands.entry(event.m).or_default().push(g);
    }

    /// A goroutine leaves its place for a core.
    fn take(&mut self, event: &Event, g: u64) {
        if let Some(hand) = self.hands.get_mut(&event.m)
            && let Some(at) = hand.iter().position(|&other| other == g)
        {
            hand.remove(at);
            return;
        }
        let queue = self.own(event);
        let is_there = match event.place() {
            Place::Slot if queue.slot == g => {
                queue.slot = 0;
                true
            }
            Place::Ring => remove(&mut queue.ring, g),
            Place::Global => remove(&mut self.global, g),
            Place::Inbox => remove(&mut self.inbox, g),
            Place::Pinned => self.pinned.values_mut().any(|queue| remove(queue, g)),
            Place::Hand | Place::Nowhere | Place::Marked | Place::Timers => true,
            Place::Slot => false,
        };
        if !is_there {
            self.missed += 1;
            self.remove(event, g);
        }
    }

    /// Removes a goroutine, wherever it stands.
    fn remove(&mut self, event: &Event, g: u64) {
        let in_hand = |hand: &mut Vec<u64>| {
            let at = hand.iter().position(|&other| other == g);
            at.map(|at| hand.remove(at)).is_some()
        };
        let _ = self.own(event).remove(g)
            || self.ps.values_mut().chain(self.private.values_mut()).any(|queue| queue.remove(g))
            || remove(&mut self.global, g)
            || remove(&mut self.inbox, g)
            || self.pinned.values_mut().any(|queue| remove(queue, g))
            || self.hands.values_mut().any(in_hand);
    }
}

impl Queue {
    /// A thief takes the oldest `n`, the last of them `g`. Before them may stand some that another
    /// M has taken.
    fn stolen(&mut self, n: usize, g: u64) -> Option<Vec<u64>> {
        if self.slot == g {
            return Some(vec![std::mem::take(&mut self.slot)]);
        }
        let at = self.ring.iter().position(|&other| other == g)?;
        let first = (at + 1).saturating_sub(n);
        Some(self.ring.drain(first..=at).collect())
    }

    fn remove(&mut self, g: u64) -> bool {
        if self.slot == g {
            self.slot = 0;
            return true;
        }
        remove(&mut self.ring, g)
    }
}

fn remove(queue: &mut VecDeque<u64>, g: u64) -> bool {
    let at = queue.iter().position(|&other| other == g);
    at.and_then(|at| queue.remove(at)).is_some()
}
