//! What backs a page of a parked G's stack: the production entry, epochs and state word, used as
//! the kernel uses them, against touches from several cores.
//!
//! Each M is a thread with a TLB that nobody else can empty. A frame is a few words; word 0 is the
//! G's, word `m` is written by code on M `m`, through a pointer into the stack. Words are Relaxed,
//! so that a lost write and one that came without its ordering look the same: something else is
//! read. A freed frame or block is overwritten at once.
#![cfg(loom)]

mod support;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use trefoil_sched::internals::epoch::Epochs;
use trefoil_sched::internals::page::{Backing, Entry};
use trefoil_sched::internals::state::{Finish, GState, Ready};

/// As many M's as `Epochs` has in a model.
const MS: usize = 3;
/// Each core but the scavenger's has two in reserve; one is the page's.
const FRAMES: usize = 5;
/// One, so that it is used again as soon as it is free.
const BLOCKS: usize = 1;
/// What a free frame or block is overwritten with, and what a frame holds that has just been taken.
const FREED: u64 = 0xdead;
const FRESH: u64 = 0xa5;
/// The M that takes pages away.
const SCAVENGER: usize = 0;
/// What the page holds at first.
const BEFORE: u64 = 11;
const SHIFT: u32 = 12;
/// Bits of an entry that are neither the number nor the state.
const RIGHTS: u64 = 1 << 63 | 1 << 1;
/// What hardware sets in an entry that it uses.
const USED: u64 = 1 << 5;

/// A frame, or what a packed block holds of one.
type Words = [AtomicU64; MS];

fn words(value: u64) -> Words {
    std::array::from_fn(|_| AtomicU64::new(value))
}

fn fill(words: &Words, value: u64) {
    words.iter().for_each(|w| w.store(value, Ordering::Relaxed));
}

fn copy(from: &Words, to: &Words) {
    from.iter().zip(to).for_each(|(from, to)| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed));
}

/// Of a word in an entry: which frame or block.
fn number(word: u64) -> usize {
    ((word & !(1 << 63)) >> SHIFT) as usize
}

/// Where the page lies as seen from a parked G's stack pointer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Below it: nothing in it matters.
    Below,
    /// It is the top page, and little of it is used.
    Packable,
    /// It is needed as it is.
    Needed,
}

/// What the G does when it is woken.
#[derive(Clone, Copy)]
struct Step {
    expects: Option<u64>,
    writes: Option<u64>,
    /// Where the page lies when it parks again.
    parks: Place,
}

/// What a parked G has saved.
struct Saved {
    page: Place,
    steps: usize,
}

struct Machine {
    epochs: Epochs,
    entry: Entry,
    frames: [Words; FRAMES],
    blocks: [Words; BLOCKS],
    /// Free blocks.
    heap: Mutex<Vec<usize>>,

    g: GState,
    saved: UnsafeCell<Saved>,
    life: &'static [Step],
    /// The G waits in somebody's list.
    listed: AtomicBool,
    /// Which M's have written their word.
    wrote: [AtomicBool; MS],
}

impl Machine {
    /// The G is parked, and its page is in frame 0.
    fn new(page: Place, life: &'static [Step]) -> Self {
        let machine = Self {
            epochs: Epochs::new(),
            entry: Entry::new(),
            frames: std::array::from_fn(|frame| words(if frame == 0 { BEFORE } else { FREED })),
            blocks: std::array::from_fn(|_| words(FREED)),
            heap: Mutex::new((0..BLOCKS).collect()),
            g: GState::new(),
            saved: UnsafeCell::new(Saved { page, steps: 0 }),
            life,
            listed: AtomicBool::new(true),
            wrote: std::array::from_fn(|_| AtomicBool::new(false)),
        };
        assert!(machine.entry.map(RIGHTS));
        machine.g.spawn();
        machine.g.dispatch();
        machine.g.begin_park();
        assert_eq!(machine.g.finish_park(), Finish::Parked);
        machine
    }
}

/// One M's core, with the frames that only it takes.
struct Core {
    machine: Arc<Machine>,
    m: usize,
    tlb: Option<usize>,
    reserve: Vec<usize>,
    /// Blocks that its #PF handler could not free.
    deferred: Vec<usize>,
}

impl Core {
    /// It rises; `cached`: it has run the G before.
    fn new(machine: &Arc<Machine>, m: usize, cached: bool) -> Self {
        machine.epochs.rise(m, 0, || {});
        let reserve = if m == SCAVENGER { Vec::new() } else { vec![2 * m - 1, 2 * m] };
        Self { machine: machine.clone(), m, tlb: cached.then_some(0), reserve, deferred: Vec::new() }
    }

    /// Runs `body` on it, and it rests. Its frames come back.
    fn go(mut self, body: Body) -> Vec<usize> {
        body(&mut self);
        self.poll();
        self.machine.epochs.rest(self.m);
        self.reserve
    }

    /// A scheduling point. Without a look at `is_behind` first: see `loom_epoch.rs`.
    fn poll(&mut self) {
        let machine = self.machine.clone();
        if !self.deferred.is_empty() {
            machine.heap.lock().unwrap().append(&mut self.deferred);
        }
        machine.epochs.pass(self.m, || self.tlb = None);
    }

    /// The frame that code finds behind the page's address.
    fn reach(&mut self) -> &Words {
        while self.tlb.is_none() {
            match self.machine.entry.get() {
                Backing::Present(word) => self.tlb = Some(number(word)),
                _ => self.fault(true),
            }
        }
        &self.machine.frames[self.tlb.unwrap()]
    }

    fn write(&mut self, word: usize, value: u64) {
        self.reach()[word].store(value, Ordering::Relaxed);
    }

    fn read(&mut self, word: usize) -> u64 {
        self.reach()[word].load(Ordering::Relaxed)
    }

    /// A write through a pointer into the stack.
    fn poke(&mut self) {
        self.write(self.m, self.m as u64);
        self.machine.wrote[self.m].store(true, Ordering::Relaxed);
    }

    fn peek(&mut self) {
        assert_eq!(self.read(self.m), self.m as u64, "a write is lost");
    }

    /// A write through a pointer into a stack that has ended. If that is not a fault, nobody else
    /// may have the frame.
    fn wild(&mut self) {
        while self.tlb.is_none() {
            match self.machine.entry.get() {
                Backing::Present(word) => self.tlb = Some(number(word)),
                Backing::Empty => return,
                _ => self.fault(false),
            }
        }
        self.poke();
        self.peek();
    }

    /// The #PF handler; `own`: it has interrupted the page's G.
    fn fault(&mut self, own: bool) {
        let machine = self.machine.clone();
        loop {
            match machine.entry.get() {
                Backing::Present(_) => return,
                Backing::Limbo(word) => {
                    machine.entry.restore(word);
                }
                Backing::Empty if !own => return,
                Backing::Empty => {
                    let frame = self.take();
                    if !machine.entry.map((frame as u64) << SHIFT | RIGHTS) {
                        self.give(frame);
                    }
                }
                Backing::Packed(word) => {
                    let frame = self.take();
                    copy(&machine.blocks[number(word)], &machine.frames[frame]);
                    if machine.entry.unpack(word, (frame as u64) << SHIFT | RIGHTS) {
                        fill(&machine.blocks[number(word)], FREED);
                        self.deferred.push(number(word));
                    } else {
                        self.give(frame);
                    }
                }
            }
        }
    }

    fn take(&mut self) -> usize {
        let frame = self.reserve.pop().expect("a frame is left");
        fill(&self.machine.frames[frame], FRESH);
        frame
    }

    fn give(&mut self, frame: usize) {
        fill(&self.machine.frames[frame], FREED);
        self.reserve.push(frame);
    }

    /// Readies the G if it waits, and runs it if it is ours to run.
    fn wake(&mut self) {
        if self.machine.listed.swap(false, Ordering::Relaxed) && self.machine.g.ready() == Ready::Enqueue {
            self.run_g();
        }
    }

    /// The G runs here until it parks again.
    fn run_g(&mut self) {
        let machine = self.machine.clone();
        machine.g.dispatch();
        // SAFETY: whoever runs the G owns what it saved; loom checks that.
        let at = machine.saved.with(|s| unsafe { (*s).steps });
        let step = machine.life[at];
        if let Some(value) = step.expects {
            assert_eq!(self.read(0), value, "the G's own bytes");
        }
        if let Some(value) = step.writes {
            self.write(0, value);
        }
        machine.g.begin_park();
        // SAFETY: until the state says that it has parked, the M that runs the G owns what it
        // saved; loom checks that.
        machine.saved.with_mut(|s| unsafe { *s = Saved { page: step.parks, steps: at + 1 } });
        if at + 1 < machine.life.len() {
            machine.listed.store(true, Ordering::Relaxed);
        }
        if machine.g.finish_park() == Finish::Requeue {
            self.run_g();
        }
    }

    /// Holds the parked G still, as `Sched::scan` does, and runs it here if it was readied
    /// meanwhile.
    fn scan(&mut self, f: impl FnOnce(&mut Self, Place)) -> bool {
        let machine = self.machine.clone();
        if machine.g.begin_scan().is_none() {
            return false;
        }
        // SAFETY: the state is Scan: nobody runs the G. Loom checks that.
        let page = machine.saved.with(|s| unsafe { (*s).page });
        f(self, page);
        if machine.g.finish_scan() == Finish::Requeue {
            self.run_g();
        }
        true
    }

    /// A round up to its epoch. None: it has nothing to wait for.
    fn collect(&mut self) -> Option<u64> {
        let mut any = false;
        self.scan(|core, page| any = page != Place::Needed && core.machine.entry.retire());
        if !any {
            return None;
        }
        let epoch = self.machine.epochs.begin();
        self.poll();
        Some(epoch)
    }

    /// The end of a round, if its epoch is over. The decision is by what the G needs now.
    fn finish(&mut self, epoch: u64) -> bool {
        if !self.machine.epochs.is_over(epoch) {
            return false;
        }
        if !self.scan(Self::settle)
            && let Backing::Limbo(limbo) = self.machine.entry.get()
        {
            self.machine.entry.restore(limbo);
        }
        true
    }

    fn settle(&mut self, page: Place) {
        let machine = self.machine.clone();
        let Backing::Limbo(limbo) = machine.entry.get() else { return };
        let taken = match page {
            Place::Below => machine.entry.reclaim(limbo),
            Place::Packable => self.pack(limbo),
            Place::Needed => false,
        };
        if taken {
            self.give(number(limbo));
        } else {
            machine.entry.restore(limbo);
        }
    }

    fn pack(&mut self, limbo: u64) -> bool {
        let machine = self.machine.clone();
        let Some(block) = machine.heap.lock().unwrap().pop() else { return false };
        copy(&machine.frames[number(limbo)], &machine.blocks[block]);
        let packed = machine.entry.pack(limbo, (block as u64) << SHIFT);
        if !packed {
            fill(&machine.blocks[block], FREED);
            machine.heap.lock().unwrap().push(block);
        }
        packed
    }

    /// A round of a page whose G has ended: it goes, unless somebody touches it. What is left of
    /// it.
    fn strip(&mut self, epoch: Option<u64>) -> Option<u64> {
        let epoch = match epoch {
            Some(epoch) => epoch,
            None if !self.machine.entry.retire() => return None,
            None => self.machine.epochs.begin(),
        };
        self.poll();
        if !self.machine.epochs.is_over(epoch) {
            return Some(epoch);
        }
        if let Backing::Limbo(limbo) = self.machine.entry.get()
            && self.machine.entry.reclaim(limbo)
        {
            self.give(number(limbo));
        }
        None
    }

    /// `rounds` rounds. What is left of the last one.
    fn scavenge(&mut self, rounds: usize) -> Option<u64> {
        let mut epoch = None;
        for _ in 0..rounds {
            epoch = epoch.or_else(|| self.collect());
            epoch = epoch.filter(|&e| !self.finish(e));
        }
        epoch
    }

    /// At the end: every frame and block is in one place, and the words are the last ones written.
    fn check(mut self) {
        let machine = self.machine.clone();
        self.poll();
        let mut blocks = machine.heap.lock().unwrap().clone();
        let mut frames = self.reserve.clone();
        // SAFETY: nobody else is left.
        let (page, steps) = machine.saved.with(|s| unsafe { ((*s).page, (*s).steps) });
        match machine.entry.get() {
            Backing::Present(word) => {
                assert_eq!(word & RIGHTS, RIGHTS);
                frames.push(number(word));
            }
            Backing::Packed(word) => blocks.push(number(word)),
            Backing::Empty => assert!(page == Place::Below, "a page that mattered is gone"),
            Backing::Limbo(_) => panic!("left in limbo"),
        }
        frames.sort_unstable();
        assert!(frames.iter().copied().eq(0..FRAMES), "frames: {frames:?}");
        blocks.sort_unstable();
        assert!(blocks.iter().copied().eq(0..BLOCKS), "blocks: {blocks:?}");
        if page != Place::Below {
            self.tlb = None;
            let last = machine.life[..steps].iter().rev().find_map(|step| step.writes);
            assert_eq!(self.read(0), last.unwrap_or(BEFORE));
            for (m, _) in machine.wrote.iter().enumerate().filter(|(_, wrote)| wrote.load(Ordering::Relaxed)) {
                assert_eq!(self.read(m), m as u64, "the write of M {m} is lost");
            }
        }
    }
}

/// What another core does beside the scavenger, and whether it has the page in its TLB at first.
type Body = fn(&mut Core);
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

/// The G's `life`, beginning parked with its page at `place`, packed if that is asked for; the
/// scavenger does `rounds` beside `others`. If there is one other, once more with the threads
/// exchanged: what few preemptions reach differs.
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
        let entry = Arc::new(Entry::new());
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
