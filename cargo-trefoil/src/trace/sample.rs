//! Traces of a run that never was: a small simulated scheduler writes them, by the format's rules.
//!
//! For tests. The same [`Sample`] gives the same bytes.

use std::fmt::Write;

use trefoil_trace::{MAGIC, Record, head, tag};

mod machine;
mod rng;

use machine::Machine;

/// A run to make up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Decides everything.
    pub seed: u64,
    /// Cores, and M's.
    pub cores: usize,
    /// P's.
    pub procs: usize,
    /// About so many records.
    pub events: usize,
    /// Goroutines that live at one time, at most.
    pub goroutines: usize,
    /// Records that each M keeps.
    pub capacity: usize,
    /// The last records are kept, not the first.
    pub flight: bool,
    /// The clock of M number `i` is `i` times so many ticks late.
    pub skew: u64,
    /// Creators' and waiters' stacks are recorded.
    pub stacks: bool,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            seed: 1,
            cores: 4,
            procs: 4,
            events: 10_000,
            goroutines: 100,
            capacity: usize::MAX,
            flight: false,
            skew: 0,
            stacks: true,
        }
    }
}

/// The simulated clock: ticks of 0.4 ns.
const SCALE: u64 = (1 << 32) / 5 * 2;
/// The nanoseconds at tick 0.
const BASE_NS: u64 = 1_000_000;

fn ns(ticks: u64) -> u64 {
    BASE_NS + ((u128::from(ticks) * u128::from(SCALE)) >> 32) as u64
}

/// The functions of the program, and the places that create them; `main` is created by none.
const PROGRAM: [(&str, u32); 6] = [
    ("app::main", 10),
    ("app::worker", 31),
    ("app::producer", 47),
    ("app::consumer", 58),
    ("app::sleeper", 73),
    ("app::walk::{closure#0}", 90),
];
/// Functions of the runtime on a stack, above the program's.
const RUNTIME: [&str; 5] = [
    "trefoil_sched::api::chan::recv",
    "trefoil_sched::api::locks::Mutex::lock",
    "trefoil_sched::api::time::sleep",
    "trefoil_sched::api::select::wait",
    "trefoil_sched::api::spawn::go",
];
const IMAGE: u64 = 0xffff_ffff_8020_0000;
const FUNCTION_BYTES: u32 = 0x100;
const PLACES: u32 = 0x8030_0000;
const PLACE_BYTES: u32 = 24;
/// The functions of the runtime come behind those of the program.
const RUNTIME_AT: u32 = 0x8020_8000;

/// The lower half of a function's address.
fn function(site: usize) -> u32 {
    IMAGE as u32 + 0x1000 + site as u32 * FUNCTION_BYTES
}

fn runtime(which: usize) -> u32 {
    RUNTIME_AT + which as u32 * FUNCTION_BYTES + 0x20
}

/// The lower half of the address of the place that creates a site's goroutines.
fn place(site: usize) -> u32 {
    if site == 0 { 0 } else { PLACES + site as u32 * PLACE_BYTES }
}

/// The reasons to wait, by the scheduler's numbers.
const REASONS: [(u8, &str); 6] =
    [(2, "chan receive"), (3, "mutex lock"), (6, "sleep"), (7, "select"), (5, "join"), (1, "chan send")];

impl Sample {
    /// Makes the run, and returns the file with its trace.
    ///
    /// ```
    /// use cargo_trefoil::trace::sample::Sample;
    ///
    /// assert_eq!(Sample::default().file(), Sample::default().file());
    /// ```
    pub fn file(&self) -> Vec<u8> {
        let mut machine = Machine::new(self);
        machine.run();
        let mut file = MAGIC.to_vec();
        let mut section = |tag, index, payload: &[u8]| {
            file.extend(head(tag, index, payload.len() as u64));
            file.extend(payload);
        };
        section(tag::META, 0, self.meta(&machine).as_bytes());
        for (m, records) in machine.records().iter().enumerate() {
            let (first, kept) = self.kept(records);
            let late = self.skew * m as u64;
            let bytes = kept.iter().map(|record| Record { at: record.at + late, ..*record }.to_bytes());
            let bytes: Vec<u8> = (first as u64).to_le_bytes().into_iter().chain(bytes.flatten()).collect();
            section(tag::RING, m as u32, &bytes);
        }
        let rows: Vec<u8> = machine.rows().iter().flat_map(|row| row.to_bytes()).collect();
        section(tag::GTAB, 0, &rows);
        section(tag::SYMS, 0, syms().as_bytes());
        let end = file.len() as u64;
        file.extend(head(tag::TEND, 0, 8));
        file.extend(end.to_le_bytes());
        file
    }

    /// Returns the records that are kept, and how many came before them.
    fn kept<'a>(&self, records: &'a [Record]) -> (usize, &'a [Record]) {
        let capacity = self.capacity.min(records.len());
        if self.flight {
            let first = records.len() - capacity;
            (first, &records[first..])
        } else {
            (0, &records[..capacity])
        }
    }

    fn meta(&self, machine: &Machine) -> String {
        let mut text = format!(
            "mode {}\ncause exit\ncores {}\nprocs {}\nseed {}\n",
            if self.flight { "flight" } else { "full" },
            self.cores,
            self.procs,
            self.seed
        );
        let now = machine.now() + self.skew * self.cores as u64;
        let _ = write!(text, "clock 0 0 {BASE_NS} {SCALE}\nbegin 0\nnow {now}\nimage {IMAGE}\n");
        for (n, reason) in REASONS {
            let _ = writeln!(text, "reason {n} {reason}");
        }
        for (m, records) in machine.records().iter().enumerate() {
            let capacity = self.capacity.min(1 << 32);
            let counted = records.len();
            let runs = machine.runs(m);
            let _ = writeln!(text, "m {m} counted {counted} capacity {capacity} runs {runs}");
        }
        for (bucket, count) in machine.latencies().iter().enumerate().filter(|&(_, &count)| count > 0) {
            let _ = writeln!(text, "ready {bucket} {count}");
        }
        let _ = writeln!(text, "option seed={}", self.seed);
        text
    }
}

fn syms() -> String {
    let mut text = String::new();
    for (site, (name, line)) in PROGRAM.iter().enumerate() {
        let (entry, inside) = (function(site), function(site) + 0x20);
        let upper = IMAGE >> 32;
        let _ = writeln!(text, "{upper:x}{entry:08x}\t{name}\tsrc/main.rs\t{line}");
        let _ = writeln!(text, "{upper:x}{inside:08x}\t{name}\tsrc/main.rs\t{}", line + 4);
        if site > 0 {
            let _ = writeln!(text, "@{upper:x}{:08x}\tsrc/main.rs\t{}\t5\tapp::main", place(site), 11 + site);
        }
    }
    for (which, name) in RUNTIME.iter().enumerate() {
        let _ = writeln!(text, "{:x}{:08x}\t{name}\tsched/src/api.rs\t{}", IMAGE >> 32, runtime(which), 100 + which);
    }
    text
}
