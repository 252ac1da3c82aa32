//! The machine of `loom_page.rs`: M's with TLBs, frames and blocks, and a page of a parked G's
//! stack.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use trefoil_sched::internals::epoch::Epochs;
use trefoil_sched::internals::page::{Backing, PageEntry};
use trefoil_sched::internals::state::{Finish, GState, Ready};

/// As many M's as `Epochs` has in a model.
const MS: usize = 3;
/// Each core but the scavenger's has two in reserve; one is the page's.
pub const FRAMES: usize = 5;
/// One, so that it is used again as soon as it is free.
const BLOCKS: usize = 1;
/// The words of a free frame or block, and of a frame that has just been taken.
const FREED: u64 = 0xdead;
const FRESH: u64 = 0xa5;
/// The M that takes pages away.
pub const SCAVENGER: usize = 0;
/// The word that the page holds at first.
pub const BEFORE: u64 = 11;
const SHIFT: u32 = 12;
/// Bits of an entry that are neither the number nor the state.
pub const RIGHTS: u64 = 1 << 63 | 1 << 1;
/// The bit that hardware sets in an entry that it uses.
pub const USED: u64 = 1 << 5;

/// A frame, or the words of one in a packed block.
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
pub fn number(word: u64) -> usize {
    ((word & !(1 << 63)) >> SHIFT) as usize
}

/// Where the page lies as seen from a parked G's stack pointer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Below it: nothing in it matters.
    Below,
    /// The top page, of which little is used.
    Packable,
    /// Needed as it is.
    Needed,
}

/// A turn of the G after it was woken.
#[derive(Clone, Copy)]
pub struct Step {
    pub expects: Option<u64>,
    pub writes: Option<u64>,
    /// Where the page lies when it parks again.
    pub parks: Place,
}

/// The registers that a parked G has saved.
struct Saved {
    page: Place,
    steps: usize,
}

pub struct Machine {
    pub epochs: Epochs,
    pub entry: PageEntry,
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
    pub fn new(page: Place, life: &'static [Step]) -> Self {
        let machine = Self {
            epochs: Epochs::new(),
            entry: PageEntry::new(),
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

/// The work of a core beside the scavenger.
pub type Body = fn(&mut Core);

/// One M's core, with the frames that only it takes.
pub struct Core {
    machine: Arc<Machine>,
    m: usize,
    tlb: Option<usize>,
    pub reserve: Vec<usize>,
    /// Blocks that its #PF handler could not free.
    deferred: Vec<usize>,
}

impl Core {
    /// Makes a core, which rises. `cached`: it has run the G before.
    pub fn new(machine: &Arc<Machine>, m: usize, cached: bool) -> Self {
        machine.epochs.rise(m, 0, || {});
        let reserve = if m == SCAVENGER { Vec::new() } else { vec![2 * m - 1, 2 * m] };
        Self { machine: machine.clone(), m, tlb: cached.then_some(0), reserve, deferred: Vec::new() }
    }

    /// Runs `body` on it, and it rests. Its frames come back.
    pub fn go(mut self, body: Body) -> Vec<usize> {
        body(&mut self);
        self.poll();
        self.machine.epochs.rest(self.m);
        self.reserve
    }

    /// A scheduling point. Without a look at `is_behind` first: see `loom_epoch.rs`.
    pub fn poll(&mut self) {
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
    pub fn poke(&mut self) {
        self.write(self.m, self.m as u64);
        self.machine.wrote[self.m].store(true, Ordering::Relaxed);
    }

    pub fn peek(&mut self) {
        assert_eq!(self.read(self.m), self.m as u64, "a write is lost");
    }

    /// A write through a pointer into a stack that has ended. If that is not a fault, nobody else
    /// may have the frame.
    pub fn wild(&mut self) {
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
    pub fn wake(&mut self) {
        if self.machine.listed.swap(false, Ordering::Relaxed) && self.machine.g.ready() == Ready::Enqueue {
            self.run_g();
        }
    }

    /// The G runs here until it parks again.
    fn run_g(&mut self) {
        let machine = self.machine.clone();
        machine.g.dispatch();
        // SAFETY: the M that runs the G owns what it saved; loom checks that.
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
    pub fn finish(&mut self, epoch: u64) -> bool {
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

    /// Does a round of a page whose G has ended: the page goes, unless somebody touches it. Returns
    /// the epoch of a round that is not over.
    pub fn strip(&mut self, epoch: Option<u64>) -> Option<u64> {
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

    /// Does `rounds` rounds. Returns the epoch of the last one, if that is not over.
    pub fn scavenge(&mut self, rounds: usize) -> Option<u64> {
        let mut epoch = None;
        for _ in 0..rounds {
            epoch = epoch.or_else(|| self.collect());
            epoch = epoch.filter(|&e| !self.finish(e));
        }
        epoch
    }

    /// At the end: every frame and block is in one place, and the words are the last ones written.
    pub fn check(mut self) {
        let machine = self.machine.clone();
        self.poll();
        let mut blocks = machine.heap.lock().unwrap().clone();
        let mut frames = self.reserve.clone();
        // SAFETY: all other threads have ended.
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
