//! The ring, on its production type with four slots: every interleaving of an owner and a thief, at
//! loom's preemption bound. A G that two consumers take breaks INV-ONE-PLACE.
#![cfg(loom)]

mod support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use support::g;
use trefoil_sched::GRef;
use trefoil_sched::internals::g::Batch;
use trefoil_sched::internals::ring::Runq;

/// Marks each G that came out, and fails on the second time.
struct Ledger {
    gs: Vec<GRef>,
    seen: Vec<AtomicUsize>,
}

impl Ledger {
    fn new(n: usize) -> Self {
        Self { gs: (0..n).map(|_| g()).collect(), seen: (0..n).map(|_| AtomicUsize::new(0)).collect() }
    }

    fn saw(&self, g: GRef) {
        let i = self.gs.iter().position(|&other| std::ptr::eq(other, g)).expect("a G that was never pushed came out");
        assert_eq!(self.seen[i].fetch_add(1, Ordering::Relaxed), 0, "a G came out twice");
    }

    fn saw_all(&self) {
        assert!(self.seen.iter().all(|s| s.load(Ordering::Relaxed) == 1), "a G was lost");
    }
}

fn drain(ring: &Runq, ledger: &Ledger) {
    // SAFETY: the thread that calls this is the ring's owner.
    let mut local = unsafe { ring.owner() };
    while let Some(g) = local.pop() {
        ledger.saw(g);
    }
}

fn drain_batch(mut batch: Batch, ledger: &Ledger) {
    while let Some(g) = batch.pop() {
        ledger.saw(g);
    }
}

/// A thread with a ring of its own that steals once from the shared one, and runs what it took.
fn thief(shared: &Arc<(Runq, Ledger)>) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || {
        let (ring, ledger) = &*shared;
        let mine = Runq::new();
        // SAFETY: only this thread knows `mine`, so it is the ring's only owner.
        if let Some(g) = ring.steal_into(&mut unsafe { mine.owner() }, u32::MAX) {
            ledger.saw(g);
        }
        drain(&mine, ledger);
    })
}

/// An owner that runs `pushes` G's through a ring and pops `pops` of them, against thieves.
fn owner_against_thieves(pushes: usize, pops: usize, thieves: usize) {
    support::cores::model(move || {
        let shared = Arc::new((Runq::new(), Ledger::new(pushes)));
        let others: Vec<_> = (0..thieves).map(|_| thief(&shared)).collect();
        let (ring, ledger) = &*shared;
        // SAFETY: this thread is the owner.
        let mut local = unsafe { ring.owner() };
        for &g in &ledger.gs {
            if let Err(overflow) = local.push(g) {
                drain_batch(overflow.0, ledger);
            }
        }
        for _ in 0..pops {
            if let Some(g) = local.pop() {
                ledger.saw(g);
            }
        }
        for other in others {
            other.join().unwrap();
        }
        drain(ring, ledger);
        ledger.saw_all();
    });
}

#[test]
fn pop_and_steal_never_take_the_same_g() {
    owner_against_thieves(2, 2, 1);
}

#[test]
fn two_thieves_and_an_owner_share_without_loss() {
    owner_against_thieves(3, 1, 2);
}

#[test]
fn overflow_while_a_thief_steals_loses_nothing() {
    owner_against_thieves(6, 0, 1);
}

/// The owner appends a batch behind one G that a thief may take, to a ring with less room than the
/// batch wants.
#[test]
fn a_batch_is_appended_against_a_thief() {
    support::cores::model(|| {
        let shared = Arc::new((Runq::new(), Ledger::new(5)));
        let other = thief(&shared);
        let (ring, ledger) = &*shared;
        // SAFETY: this thread is the ring's only owner.
        let mut local = unsafe { ring.owner() };
        local.push(ledger.gs[0]).unwrap();
        let mut batch = Batch::new();
        ledger.gs[1..].iter().for_each(|g| batch.push(g));
        local.append(&mut batch);
        assert!(batch.len() <= 1, "there was room for three at least");
        drain_batch(batch, ledger);
        if let Some(g) = local.pop() {
            ledger.saw(g);
        }
        other.join().unwrap();
        drain(ring, ledger);
        ledger.saw_all();
    });
}

#[test]
fn slots_are_not_reused_under_a_thief() {
    // Pop makes room, the push wraps around into the slot that the thief may be reading.
    support::cores::model(|| {
        let shared = Arc::new((Runq::new(), Ledger::new(6)));
        let other = thief(&shared);
        let (ring, ledger) = &*shared;
        // SAFETY: this thread is the owner.
        let mut local = unsafe { ring.owner() };
        for &g in &ledger.gs[..3] {
            local.push(g).unwrap();
        }
        for &g in &ledger.gs[3..] {
            if let Some(g) = local.pop() {
                ledger.saw(g);
            }
            local.push(g).unwrap();
        }
        other.join().unwrap();
        drain(ring, ledger);
        ledger.saw_all();
    });
}
