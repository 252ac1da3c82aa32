//! The queues whose contents are known.
//!
//! A trace that begins in the middle tells nothing of the goroutines that stood in queues then. A
//! snapshot makes a queue known. A goroutine that was put into the global queue after the begin,
//! and is taken from it, shows that none from before the begin is left there. A haul of several
//! goroutines from a queue that is not known makes the ring unknown that they go to, until its next
//! snapshot.

use std::collections::BTreeSet;

use trefoil_trace::{Kind, Place, Record};

use super::super::events::Event;
use super::Queues;

/// The number of the global queue.
const GLOBAL: u8 = Record::NO_P;

#[derive(Debug, Clone)]
pub(super) struct Known {
    /// The trace begins with the run.
    all: bool,
    queues: BTreeSet<u8>,
}

impl Known {
    pub(super) fn new(all: bool) -> Self {
        Self { all, queues: BTreeSet::new() }
    }

    pub(super) fn has(&self, queue: u8) -> bool {
        self.all || self.queues.contains(&queue)
    }

    pub(super) fn learn(&mut self, queue: u8) {
        self.queues.insert(queue);
    }

    /// Follows an event that is about to be applied.
    pub(super) fn follow(&mut self, queues: &mut Queues, event: &Event) {
        if self.all {
            return;
        }
        let Record { a, b, n, p, .. } = event.record;
        match event.kind() {
            Some(Kind::Share) if !self.has(GLOBAL) => self.share(queues, p, n, a),
            Some(Kind::Switch) if event.place() == Place::Global && !self.has(GLOBAL) => self.share(queues, p, 1, b),
            Some(Kind::Steal) if n > 1 && !self.has(b as u8) => _ = self.queues.remove(&p),
            Some(Kind::Overflow) if !self.has(p) => {
                // Half of a ring goes there, and it is not known which goroutines.
                self.queues.remove(&GLOBAL);
                queues.global.clear();
                _ = queues.ps.get_mut(&p).map(|queue| queue.ring.clear());
            }
            _ => {}
        }
    }

    fn share(&mut self, queues: &mut Queues, p: u8, n: u32, g: u64) {
        if let Some(at) = queues.global.iter().position(|&other| other == g) {
            // Those before it left with some that are not known.
            queues.global.drain(..at);
            self.learn(GLOBAL);
        } else if n > 1 {
            self.queues.remove(&p);
        }
    }
}
