//! A last-level page table without pages, taken away and packed as the kernel does it, against
//! cores that walk through it. Two windows share the table, each of a G on a core of its own. A
//! core's paging-structure cache keeps the table. A handler that is under way holds a pointer to an
//! entry in it. Either may still put a page in.
#![cfg(loom)]

mod support;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use trefoil_sched::internals::epoch::Epochs;
use trefoil_sched::internals::page::{Backing, PageEntry};

/// Windows under the table, and cores beside the scavenger's: M `w` + 1 runs the G of window `w`.
const WINDOWS: usize = 2;
/// One is there at first, and each of the cores has one.
const TABLES: usize = 1 + WINDOWS;
const SCAVENGER: usize = 0;
const SHIFT: u32 = 12;
const RIGHTS: u64 = 1 << 63 | 1 << 1;
/// The content of a packed page.
const BEFORE: u64 = 11;
/// The value that the G writes.
const AFTER: u64 = 21;

/// The value that is read from a table that is none any more.
const NOBODYS: usize = 99;

fn number(word: u64) -> usize {
    ((word & !(1 << 63)) >> SHIFT) as usize
}

fn word(number: usize) -> u64 {
    (number as u64) << SHIFT
}

/// A round's epoch, if it has found anything; and its end, if that has come: the frame of the
/// table, if that was taken.
type Round = (Option<u64>, Option<Option<usize>>);

struct Machine {
    epochs: Epochs,
    /// The table's own entry.
    top: PageEntry,
    /// By frame. None is used twice.
    tables: [[PageEntry; WINDOWS]; TABLES],
    /// The packed table.
    block: [AtomicU64; WINDOWS],
    /// Window `w`'s page is in frame `w`, or packed in block `w`; one word stands for its bytes.
    frames: [AtomicU64; WINDOWS],
    packed: [AtomicU64; WINDOWS],
}

impl Machine {
    /// Table 0 is there, without pages; those of the first `packed` windows are packed.
    fn new(packed: usize) -> Arc<Self> {
        let machine = Self {
            epochs: Epochs::new(),
            top: PageEntry::new(),
            tables: std::array::from_fn(|_| std::array::from_fn(|_| PageEntry::new())),
            block: std::array::from_fn(|_| AtomicU64::new(0)),
            frames: std::array::from_fn(|_| AtomicU64::new(0)),
            packed: std::array::from_fn(|_| AtomicU64::new(BEFORE)),
        };
        for window in 0..packed {
            assert!(machine.tables[0][window].pack(0, word(window)));
        }
        assert!(machine.top.map(RIGHTS));
        machine.epochs.rise(SCAVENGER, 0, || {});
        Arc::new(machine)
    }

    /// Returns the content of the windows of the table in frame `table`. None: it has a page, or
    /// one that waits.
    fn content(&self, table: usize) -> Option<[u64; WINDOWS]> {
        let mut words = [0; WINDOWS];
        for (entry, word) in self.tables[table].iter().zip(&mut words) {
            match entry.get() {
                Backing::Empty => {}
                Backing::Packed(packed) => *word = packed,
                _ => return None,
            }
        }
        Some(words)
    }

    /// The scavenger's round for the table, up to its epoch.
    fn collect(&self) -> Option<u64> {
        let Backing::Present(table) = self.top.get() else { return None };
        self.content(number(table))?;
        if !self.top.retire() {
            return None;
        }
        let epoch = self.epochs.begin();
        self.epochs.pass(SCAVENGER, || {});
        Some(epoch)
    }

    fn round(&self) -> Round {
        let epoch = self.collect();
        (epoch, epoch.and_then(|epoch| self.finish(epoch)))
    }

    /// Its end, if the epoch is over.
    fn finish(&self, epoch: u64) -> Option<Option<usize>> {
        if !self.epochs.is_over(epoch) {
            return None;
        }
        let Backing::Limbo(limbo) = self.top.get() else { return Some(None) };
        let taken = match self.content(number(limbo)) {
            Some(words) if words == [0; WINDOWS] => self.top.reclaim(limbo),
            Some(words) => {
                self.block.iter().zip(words).for_each(|(to, word)| to.store(word, Ordering::Relaxed));
                self.top.pack(limbo, word(0))
            }
            None => false,
        };
        if taken {
            // The frame is somebody else's now, and its content looks like pages.
            for entry in &self.tables[number(limbo)] {
                let _ = match entry.get() {
                    Backing::Packed(packed) => entry.unpack(packed, word(NOBODYS) | RIGHTS),
                    _ => entry.map(word(NOBODYS) | RIGHTS),
                };
            }
        } else {
            self.top.restore(limbo);
        }
        Some(taken.then_some(number(limbo)))
    }
}

/// The core of a window's G.
struct Core {
    machine: Arc<Machine>,
    window: usize,
    /// The table in its paging-structure cache, and whether the page is in its TLB.
    table: Option<usize>,
    page: bool,
    /// Tables that nobody else takes.
    reserve: Vec<usize>,
}

impl Core {
    fn new(machine: &Arc<Machine>, window: usize, cached: bool) -> Self {
        machine.epochs.rise(window + 1, 0, || {});
        let table = cached.then_some(0);
        Self { machine: machine.clone(), window, table, page: false, reserve: vec![window + 1] }
    }

    /// Its G comes to its page twice, the first time after a scheduling point if that is asked for.
    /// The tables that are left in the reserve.
    fn go(mut self, passes: bool, before: Option<u64>) -> Vec<usize> {
        let bytes = &self.machine.clone().frames[self.window];
        if passes {
            self.poll();
        }
        self.reach();
        if let Some(before) = before {
            assert_eq!(bytes.load(Ordering::Relaxed), before);
        }
        bytes.store(AFTER, Ordering::Relaxed);
        self.poll();
        self.reach();
        assert_eq!(bytes.load(Ordering::Relaxed), AFTER, "the page was lost with its table");
        self.machine.epochs.rest(self.window + 1);
        self.reserve
    }

    /// A scheduling point.
    fn poll(&mut self) {
        let machine = self.machine.clone();
        machine.epochs.pass(self.window + 1, || (self.table, self.page) = (None, false));
    }

    /// Hardware walks, keeps what it finds, and faults until the page is there.
    fn reach(&mut self) {
        let machine = self.machine.clone();
        while !self.page {
            if self.table.is_none()
                && let Backing::Present(table) = machine.top.get()
            {
                self.table = Some(number(table));
            }
            match self.table.map(|table| machine.tables[table][self.window].get()) {
                Some(Backing::Present(page)) => {
                    assert_eq!(number(page), self.window, "a walk through a table that was freed");
                    self.page = true;
                }
                _ => self.fault(),
            }
        }
    }

    /// The #PF handler. The fault itself has emptied the caches for the address.
    fn fault(&mut self) {
        let machine = self.machine.clone();
        self.table = None;
        loop {
            match machine.top.get() {
                Backing::Present(table) => {
                    let entry = &machine.tables[number(table)][self.window];
                    match entry.get() {
                        Backing::Present(_) => return,
                        Backing::Limbo(_) => unreachable!("no page is taken away here"),
                        // The page is this G's alone, and so is its frame.
                        Backing::Empty => assert!(entry.map(word(self.window) | RIGHTS)),
                        Backing::Packed(packed) => {
                            let bytes = machine.packed[number(packed)].load(Ordering::Relaxed);
                            machine.frames[self.window].store(bytes, Ordering::Relaxed);
                            assert!(entry.unpack(packed, word(self.window) | RIGHTS));
                        }
                    }
                }
                Backing::Limbo(limbo) => {
                    machine.top.restore(limbo);
                }
                Backing::Empty => {
                    let table = self.reserve[0];
                    if machine.top.map(word(table) | RIGHTS) {
                        self.reserve.clear();
                    }
                }
                Backing::Packed(packed) => {
                    let table = self.reserve[0];
                    let words = machine.block.each_ref().map(|word| word.load(Ordering::Relaxed));
                    for (entry, word) in machine.tables[table].iter().zip(words) {
                        let is = match entry.get() {
                            Backing::Packed(is) => is,
                            _ => 0,
                        };
                        assert!(is == word || word == 0 || entry.pack(is, word));
                    }
                    if machine.top.unpack(packed, word(table) | RIGHTS) {
                        self.reserve.clear();
                    }
                }
            }
        }
    }
}

/// The table, with the pages of the first `packed` windows packed and taken away itself if `gone`,
/// against the first `cores` cores, with or without it in their caches.
fn explore(packed: usize, gone: bool, cores: usize, cached: bool) {
    for passes in [false, true] {
        support::cores::model(move || {
            let (machine, mut free, cores) = setup(packed, gone, cores, cached);
            let count = cores.len();
            let spawn = |core: Core| {
                let before = BYTES[usize::from(core.window < packed)];
                thread::spawn(move || core.go(passes, before))
            };
            let threads: Vec<_> = cores.into_iter().map(spawn).collect();
            let round = machine.round();
            threads.into_iter().for_each(|t| free.extend(t.join().unwrap()));
            check(&machine, round, free, packed, count);
        });
        if cores == 1 {
            // Few preemptions reach different orders here.
            support::cores::model(move || {
                let (machine, mut free, mut cores) = setup(packed, gone, 1, cached);
                let scavenger = {
                    let machine = machine.clone();
                    thread::spawn(move || machine.round())
                };
                free.extend(cores.remove(0).go(passes, BYTES[usize::from(packed > 0)]));
                let round = scavenger.join().unwrap();
                check(&machine, round, free, packed, 1);
            });
        }
    }
}

/// The content that a G finds in its page, by whether that was packed.
const BYTES: [Option<u64>; 2] = [None, Some(BEFORE)];

fn setup(packed: usize, gone: bool, cores: usize, cached: bool) -> (Arc<Machine>, Vec<usize>, Vec<Core>) {
    let machine = Machine::new(packed);
    let mut free = Vec::new();
    if gone {
        let epoch = machine.collect().unwrap();
        free.extend(machine.finish(epoch).unwrap());
    }
    free.extend(cores + 1..TABLES);
    let cores = (0..cores).map(|window| Core::new(&machine, window, cached)).collect();
    (machine, free, cores)
}

/// All rest: the round ends, every table is in one place, and every page under the one that is in
/// use.
fn check(machine: &Machine, (epoch, end): Round, mut free: Vec<usize>, packed: usize, cores: usize) {
    let end = end.or_else(|| epoch.and_then(|epoch| machine.finish(epoch)));
    assert_eq!(end.is_some(), epoch.is_some(), "M's that rest hold the epoch up");
    free.extend(end.flatten());
    let Backing::Present(table) = machine.top.get() else { panic!("there are pages under it") };
    free.push(number(table));
    free.sort_unstable();
    assert!(free.iter().copied().eq(0..TABLES), "tables: {free:?}");
    for (window, entry) in machine.tables[number(table)].iter().enumerate() {
        match entry.get() {
            Backing::Present(page) => {
                assert_eq!(number(page), window);
                assert_eq!(machine.frames[window].load(Ordering::Relaxed), AFTER);
            }
            Backing::Packed(block) => assert!(window >= cores && window < packed && number(block) == window),
            Backing::Empty => assert!(window >= cores && window >= packed),
            Backing::Limbo(_) => panic!("left in limbo"),
        }
    }
}

#[test]
fn a_table_in_which_a_page_appears_meanwhile_stays() {
    explore(0, false, 1, false);
    explore(0, false, 1, true);
}

#[test]
fn a_table_is_packed_with_its_packed_pages_or_not_at_all() {
    explore(1, false, 1, false);
    explore(2, false, 1, true);
}

#[test]
fn two_windows_under_a_table_keep_it_for_each_other() {
    explore(1, false, 2, true);
}

#[test]
fn two_cores_put_in_one_table() {
    explore(0, true, 2, false);
}

#[test]
fn two_cores_unpack_one_table() {
    explore(2, true, 2, false);
}
