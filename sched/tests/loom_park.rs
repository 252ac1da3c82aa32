//! Park against ready, on the production state word. The saved context is a loom cell: a G that is
//! resumed before its registers are saved shows as a data race, without any assembly. So a G that
//! is queued before it is saved breaks INV-PUBLISH.
#![cfg(loom)]

mod support;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use trefoil_sched::internals::state::{Finish, GState, Ready};

struct Parked {
    state: GState,
    registers: UnsafeCell<u32>,
    /// The object's word: the G is on its waiter list.
    listed: AtomicBool,
    resumed: AtomicUsize,
}

impl Parked {
    fn new() -> Arc<Self> {
        let it = Self {
            state: GState::new(),
            registers: UnsafeCell::new(0),
            listed: AtomicBool::new(false),
            resumed: AtomicUsize::new(0),
        };
        it.state.spawn();
        it.state.dispatch();
        Arc::new(it)
    }

    /// Leaves, as the G's M does: save, publish (`commit`), finish.
    fn leave(&self) {
        self.state.begin_park();
        // SAFETY: this M runs the G; that nobody else touches the cell is what loom checks.
        self.registers.with_mut(|r| unsafe { *r = 1 });
        self.listed.store(true, Ordering::Release);
        if self.state.finish_park() == Finish::Requeue {
            self.resume();
        }
    }

    /// Resumes the G, as an M does that takes it from a queue.
    fn resume(&self) {
        // SAFETY: the M that resumes the G owns its context; loom checks that.
        let saved = self.registers.with(|r| unsafe { *r });
        assert_eq!(saved, 1, "resumed before saved");
        self.state.dispatch();
        self.resumed.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_ready_that_meets_a_parking_g_runs_it_exactly_once() {
    support::cores::model(|| {
        let g = Parked::new();
        let waker = {
            let g = g.clone();
            thread::spawn(move || {
                if !g.listed.load(Ordering::Acquire) {
                    return false;
                }
                if g.state.ready() == Ready::Enqueue {
                    g.resume();
                }
                true
            })
        };
        g.leave();
        let woke = waker.join().unwrap();
        assert_eq!(g.resumed.load(Ordering::Relaxed), usize::from(woke), "lost or doubled");
    });
}

#[test]
fn a_second_park_after_an_early_ready_is_a_park_of_its_own() {
    support::cores::model(|| {
        let g = Parked::new();
        let waker = {
            let g = g.clone();
            thread::spawn(move || {
                let mut woke = 0;
                for _ in 0..2 {
                    if g.listed.swap(false, Ordering::AcqRel) {
                        woke += 1;
                        if g.state.ready() == Ready::Enqueue {
                            g.resume();
                            // Park again, on this core.
                            return (woke, true);
                        }
                    }
                }
                (woke, false)
            })
        };
        g.leave();
        let (woke, _) = waker.join().unwrap();
        assert_eq!(g.resumed.load(Ordering::Relaxed), woke, "lost or doubled");
    });
}
