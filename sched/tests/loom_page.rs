//! The page behind an address of a parked G's stack: the production entry, epochs and state word,
//! used as the kernel uses them, against touches from several cores.
//!
//! Each M is a thread with a TLB that nobody else can empty. A frame is a few words; word 0 is the
//! G's, word `m` is written by code on M `m`, through a pointer into the stack. Words are Relaxed,
//! so that a lost write and one that came without its ordering look the same: something else is
//! read. A freed frame or block is overwritten at once.
#![cfg(loom)]

mod page;
mod support;

use loom::sync::Arc;
use loom::thread;
use page::{BEFORE, Body, Core, FRAMES, Machine, Place, RIGHTS, SCAVENGER, Step, USED};
use trefoil_sched::internals::page::{Backing, PageEntry};

/// Whether another core has the page in its TLB at first, and its work beside the scavenger.
type Other = (bool, Body);

/// A G that wakes up, needs the page that was below its stack pointer, and parks with its bytes in
/// it.
const GROWS: &[Step] = &[
    Step { expects: None, writes: Some(21), parks: Place::Needed },
    Step { expects: Some(21), writes: Some(22), parks: Place::Needed },
];
/// A G that comes back to its bytes in a page that may be packed, again and again.
const RETURNS: &[Step] = &[
    Step { expects: Some(BEFORE), writes: Some(21), parks: Place::Packable },
    Step { expects: Some(21), writes: Some(22), parks: Place::Packable },
];
/// A G that needs more of that page than is worth packing.
const FILLS: &[Step] = &[
    Step { expects: Some(BEFORE), writes: Some(21), parks: Place::Needed },
    Step { expects: Some(21), writes: None, parks: Place::Needed },
];
/// A G that runs without that page.
const SHALLOW: &[Step] = &[Step { expects: None, writes: None, parks: Place::Below }];
/// A G that nobody wakes.
const SLEEPS: &[Step] = &[];

/// Wakes the G twice, with a scheduling point between.
fn wakes(core: &mut Core) {
    core.wake();
    core.poll();
    core.wake();
}

/// Wakes the G after a scheduling point.
fn passes_and_wakes(core: &mut Core) {
    core.poll();
    core.wake();
}

/// Writes through a pointer into the stack, and comes back to it.
fn pokes(core: &mut Core) {
    core.poke();
    core.poll();
    core.peek();
}

/// Explores the G's `life`, beginning parked with its page at `place`, packed if `packed` says so.
/// The scavenger does `rounds` beside `others`. A single other is explored once more with the
/// threads exchanged: few preemptions reach different orders there.
fn explore(place: Place, packed: bool, life: &'static [Step], rounds: usize, others: &'static [Other]) {
    let setup = move || {
        let machine = Arc::new(Machine::new(place, life));
        let mut scavenger = Core::new(&machine, SCAVENGER, false);
        if packed {
            assert_eq!(scavenger.scavenge(1), None);
            assert!(matches!(machine.entry.get(), Backing::Packed(_)));
        }
        let core = |(i, &(cached, body)): (usize, &Other)| (Core::new(&machine, i + 1, cached && !packed), body);
        (scavenger, others.iter().enumerate().map(core).collect::<Vec<_>>())
    };
    let end = |mut scavenger: Core, epoch: Option<u64>, left: Vec<usize>| {
        scavenger.reserve.extend(left);
        // The cores that are not in this model.
        scavenger.reserve.extend(2 * others.len() + 1..FRAMES);
        assert!(epoch.is_none_or(|e| scavenger.finish(e)), "M's that rest hold the epoch up");
        scavenger.check();
    };
    support::cores::model(move || {
        let (mut scavenger, cores) = setup();
        let threads: Vec<_> = cores.into_iter().map(|(core, body)| thread::spawn(move || core.go(body))).collect();
        let epoch = scavenger.scavenge(rounds);
        let left = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        end(scavenger, epoch, left);
    });
    if others.len() == 1 {
        support::cores::model(move || {
            let (mut scavenger, mut cores) = setup();
            let thread = thread::spawn(move || {
                let epoch = scavenger.scavenge(rounds);
                (scavenger, epoch)
            });
            let (core, body) = cores.remove(0);
            let left = core.go(body);
            let (scavenger, epoch) = thread.join().unwrap();
            end(scavenger, epoch, left);
        });
    }
}

#[test]
fn a_g_that_grows_into_a_page_in_limbo_keeps_it() {
    explore(Place::Below, false, GROWS, 1, &[(false, wakes)]);
}

#[test]
fn a_g_that_grows_through_a_stale_entry_keeps_the_page() {
    explore(Place::Below, false, GROWS, 1, &[(true, wakes)]);
}

#[test]
fn a_g_that_grows_between_two_rounds_keeps_its_page_in_both() {
    explore(Place::Below, false, GROWS, 2, &[(true, wakes)]);
}

#[test]
fn a_g_that_runs_when_the_round_ends_gets_its_pages_back() {
    explore(Place::Below, false, SHALLOW, 2, &[(false, passes_and_wakes)]);
}

#[test]
fn a_g_that_is_packed_finds_its_bytes_when_it_resumes() {
    explore(Place::Packable, false, RETURNS, 1, &[(false, wakes)]);
}

#[test]
fn a_g_that_resumes_through_a_stale_entry_finds_its_bytes() {
    explore(Place::Packable, false, RETURNS, 1, &[(true, wakes)]);
}

#[test]
fn a_g_that_fills_the_page_meanwhile_is_not_packed() {
    explore(Place::Packable, false, FILLS, 1, &[(true, wakes)]);
}

#[test]
fn a_write_from_another_core_survives_packing() {
    explore(Place::Packable, false, SLEEPS, 1, &[(false, pokes)]);
}

#[test]
fn a_write_through_a_stale_entry_survives_packing() {
    explore(Place::Packable, false, SLEEPS, 1, &[(true, pokes)]);
}

#[test]
fn a_write_beside_two_rounds_survives_both() {
    explore(Place::Packable, false, SLEEPS, 2, &[(true, pokes)]);
}

#[test]
fn a_pointer_from_another_core_and_the_g_itself_meet_a_packer() {
    explore(Place::Packable, false, RETURNS, 1, &[(true, Core::wake), (true, pokes)]);
}

#[test]
fn two_cores_unpack_a_page_once() {
    explore(Place::Packable, true, SLEEPS, 0, &[(false, pokes), (false, pokes)]);
}

#[test]
fn a_slow_unpacker_meets_the_same_block_again_only_after_it_has_passed() {
    explore(Place::Packable, true, SLEEPS, 1, &[(false, Core::poke), (false, Core::poke)]);
}

#[test]
fn a_page_that_is_packed_again_beside_its_unpacker_keeps_the_write() {
    explore(Place::Packable, true, SLEEPS, 2, &[(false, pokes)]);
}

#[test]
fn a_wild_pointer_into_a_stack_that_has_ended_reaches_nobody_elses_frame() {
    support::cores::model(|| {
        let machine = Arc::new(Machine::new(Place::Below, SLEEPS));
        let mut scavenger = Core::new(&machine, SCAVENGER, false);
        let mut wild = Core::new(&machine, 1, false);
        let reclaimer = thread::spawn(move || {
            let left = scavenger.strip(None);
            (scavenger.strip(left), scavenger)
        });
        wild.wild();
        wild.poll();
        wild.wild();
        machine.epochs.rest(1);
        let (mut left, mut scavenger) = reclaimer.join().unwrap();
        while machine.entry.get() != Backing::Empty {
            left = scavenger.strip(left);
        }
        assert_eq!(scavenger.reserve, [0], "the page's frame");
        assert_eq!(wild.reserve, [1, 2], "nothing is mapped for a wild pointer");
    });
}

#[test]
fn a_page_is_retired_while_hardware_marks_it() {
    support::cores::model(|| {
        let entry = Arc::new(PageEntry::new());
        assert!(entry.map(RIGHTS));
        let hardware = {
            let entry = entry.clone();
            thread::spawn(move || entry.mark(USED))
        };
        assert!(entry.retire(), "only the mark has changed");
        let Backing::Limbo(word) = entry.get() else { panic!("not in limbo") };
        let marked = hardware.join().unwrap();
        assert_eq!(word & USED != 0, marked, "hardware marks present entries only");
        assert!(entry.restore(word));
        assert!(matches!(entry.get(), Backing::Present(now) if now & (RIGHTS | USED) == word & (RIGHTS | USED)));
    });
}
