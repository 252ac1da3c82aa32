//! Epochs, the production type, against simulated TLBs.
//!
//! Each M is a thread with a TLB of its own, which hardware may fill at any time, also right after
//! it was flushed, and which nobody else can empty. A frame is a loom cell: its M's read it through
//! what their TLBs say, and the reclaimer writes it once it is free. So a frame that is freed under
//! somebody's TLB shows as a data race, or as a read of a frame that is not the page's any more.
#![cfg(loom)]

mod support;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread::{self, JoinHandle};
use trefoil_sched::internals::epoch::Epochs;

const PAGES: usize = 2;
/// The M that takes pages away.
const RECLAIMER: usize = 0;

struct Page {
    /// Whether the page's entry leads to its frame.
    entry: AtomicBool,
    /// Whether the frame is the page's.
    frame: UnsafeCell<bool>,
}

struct Machine {
    epochs: Epochs,
    pages: [Page; PAGES],
}

impl Machine {
    /// Everything is mapped; M's 0 to `awake` − 1 are, the others rest.
    fn new(awake: usize) -> Arc<Self> {
        let page = |_| Page { entry: AtomicBool::new(true), frame: UnsafeCell::new(true) };
        let machine = Self { epochs: Epochs::new(), pages: std::array::from_fn(page) };
        for m in 0..awake {
            machine.epochs.rise(m, 0, || {});
        }
        Arc::new(machine)
    }

    /// Runs `body` as M `m`, which rests afterwards.
    fn run(this: &Arc<Self>, m: usize, body: impl FnOnce(&mut Core) + Send + 'static) -> JoinHandle<()> {
        let machine = this.clone();
        thread::spawn(move || {
            let mut core = Core::new(&machine, m);
            body(&mut core);
            machine.epochs.rest(m);
        })
    }

    /// A round for `page`, up to the moment at which it waits for its epoch.
    fn take(&self, page: usize) -> u64 {
        // Relaxed, as all that is done to entries here: the epochs have to carry the ordering.
        self.pages[page].entry.store(false, Ordering::Relaxed);
        let epoch = self.epochs.begin();
        self.epochs.pass(RECLAIMER, || {});
        epoch
    }

    /// The round's end, if its epoch is over.
    fn free(&self, page: usize, epoch: u64) -> bool {
        let over = self.epochs.is_over(epoch);
        if over {
            // SAFETY: the frame is ours; loom checks that.
            self.pages[page].frame.with_mut(|f| unsafe { *f = false });
        }
        over
    }
}

struct Core<'a> {
    machine: &'a Machine,
    m: usize,
    tlb: [bool; PAGES],
}

impl<'a> Core<'a> {
    fn new(machine: &'a Machine, m: usize) -> Self {
        let mut core = Self { machine, m, tlb: [false; PAGES] };
        core.fill();
        core
    }

    /// Hardware walks when it likes, and keeps what it has.
    fn fill(&mut self) {
        for (cached, page) in self.tlb.iter_mut().zip(&self.machine.pages) {
            *cached = *cached || page.entry.load(Ordering::Relaxed);
        }
    }

    fn flush(&mut self) {
        self.tlb = [false; PAGES];
        self.fill();
    }

    /// Code that touches the pages, as far as they can be reached without a fault.
    fn touch(&mut self) {
        self.fill();
        for (_, page) in self.tlb.iter().zip(&self.machine.pages).filter(|(cached, _)| **cached) {
            // SAFETY: the reclaimer writes the cell only when nobody reaches the frame; loom checks
            // that.
            page.frame.with(|f| assert!(unsafe { *f }, "a stale entry leads to a frame that was freed"));
        }
    }

    /// A scheduling point. Unlike the kernel, the model does not ask `is_behind` first, which is
    /// there for speed. Loom remembers one access to an atomic. Loom would take that load for the
    /// reclaimer's, and not try the pass before it.
    fn poll(&mut self) {
        let machine = self.machine;
        machine.epochs.pass(self.m, || {
            // Up to its flush it may use what it has.
            self.touch();
            self.flush();
        });
    }

    fn rest(&mut self) -> u64 {
        self.machine.epochs.rest(self.m)
    }

    fn rise(&mut self, flushed: u64) {
        let machine = self.machine;
        machine.epochs.rise(self.m, flushed, || self.flush());
    }
}

/// Takes page 0 away while M 1 does `body`; then the epoch must be over. Once with the reclaimer
/// and once with M 1 on a thread of its own: few preemptions explore different orders there.
fn one_page_against(body: fn(&mut Core)) {
    support::cores::model(move || {
        let machine = Machine::new(2);
        let busy = Machine::run(&machine, 1, body);
        let epoch = machine.take(0);
        let freed = machine.free(0, epoch);
        busy.join().unwrap();
        assert!(freed || machine.free(0, epoch), "an M that rests holds the epoch up");
    });
    support::cores::model(move || {
        let machine = Machine::new(2);
        let reclaimer = {
            let machine = machine.clone();
            thread::spawn(move || {
                let epoch = machine.take(0);
                (epoch, machine.free(0, epoch))
            })
        };
        let mut core = Core::new(&machine, 1);
        body(&mut core);
        let (epoch, freed) = reclaimer.join().unwrap();
        core.rest();
        assert!(freed || machine.free(0, epoch), "an M that rests holds the epoch up");
    });
}

#[test]
fn a_frame_is_not_freed_while_an_m_may_use_its_old_entry() {
    one_page_against(|core| {
        core.touch();
        core.poll();
        core.touch();
    });
}

#[test]
fn an_m_that_lies_down_is_done_with_its_old_entries() {
    one_page_against(|core| {
        core.touch();
        core.rest();
    });
}

#[test]
fn an_m_that_rises_has_forgotten_what_was_taken_away_or_is_waited_for() {
    one_page_against(|core| {
        let flushed = core.rest();
        core.rise(flushed);
        core.touch();
    });
}

#[test]
fn an_m_that_has_used_a_page_before_it_rested_and_rises_is_done_with_it() {
    one_page_against(|core| {
        core.touch();
        let flushed = core.rest();
        core.rise(flushed);
        core.poll();
    });
}

#[test]
fn an_m_that_rests_behind_an_epoch_flushes_when_it_rises() {
    one_page_against(|core| {
        core.poll();
        core.touch();
        let flushed = core.rest();
        core.rise(flushed);
        core.touch();
        core.poll();
        core.touch();
    });
}

#[test]
fn a_second_round_waits_for_everybody_again() {
    support::cores::model(|| {
        let machine = Machine::new(2);
        let busy = Machine::run(&machine, 1, |core| {
            core.touch();
            core.poll();
            let flushed = core.rest();
            core.rise(flushed);
            core.touch();
        });
        let mut left = Vec::new();
        for page in 0..PAGES {
            let epoch = machine.take(page);
            if !machine.free(page, epoch) {
                left.push((page, epoch));
            }
        }
        busy.join().unwrap();
        assert!(left.into_iter().all(|(page, epoch)| machine.free(page, epoch)));
    });
}

#[test]
fn a_busy_m_and_one_that_rises_are_both_waited_for() {
    support::cores::model(|| {
        let machine = Machine::new(3);
        let busy = Machine::run(&machine, 1, |core| {
            core.poll();
            core.touch();
        });
        let rising = Machine::run(&machine, 2, |core| {
            let flushed = core.rest();
            core.rise(flushed);
            core.touch();
        });
        let epoch = machine.take(0);
        let freed = machine.free(0, epoch);
        busy.join().unwrap();
        rising.join().unwrap();
        assert!(freed || machine.free(0, epoch));
    });
}

#[test]
fn a_machine_at_rest_ends_its_epochs_at_once() {
    support::cores::model(|| {
        let machine = Machine::new(2);
        machine.epochs.rest(1);
        let epoch = machine.take(0);
        assert!(machine.free(0, epoch));
        assert_eq!(machine.epochs.laggards(epoch).count(), 0);
    });
}

#[test]
fn the_laggards_are_those_that_have_not_passed() {
    support::cores::model(|| {
        let machine = Machine::new(3);
        assert!(!machine.epochs.is_behind(1));
        let epoch = machine.take(0);
        assert!(machine.epochs.is_behind(1) && !machine.epochs.is_behind(RECLAIMER));
        assert!(machine.epochs.laggards(epoch).eq([1, 2]), "the reclaimer has passed, 1 and 2 have not");
        machine.epochs.pass(2, || {});
        assert!(machine.epochs.laggards(epoch).eq([1]));
        assert!(!machine.free(0, epoch));
        let flushed = machine.epochs.rest(1);
        assert!(machine.free(0, epoch));
        let mut flushes = 0;
        machine.epochs.rise(1, flushed, || flushes += 1);
        assert_eq!(flushes, 1, "it has missed an epoch");
        let flushed = machine.epochs.rest(1);
        machine.epochs.rise(1, flushed, || flushes += 1);
        assert_eq!(flushes, 1, "it has missed nothing");
        assert!(!machine.epochs.is_behind(1));
    });
}
