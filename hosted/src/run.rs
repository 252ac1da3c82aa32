//! One run: a machine of its own, from `main`'s first instruction to the account of what is left.

use std::process::{ExitCode, Termination};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trefoil_sched::join::JoinError;
use trefoil_sched::stats::Stats;
use trefoil_sched::{Builder, Sched};

use crate::failure::{Failure, Waiting};
use crate::machine::{Core, Machine};
use crate::overflow;

/// How long the threads of a run that is over may take to notice.
const GRACE: Duration = Duration::from_secs(10);
/// How far the stack of `main` may grow. (Rounded up to a class of windows. It is only addresses,
/// and the threads that run other tests have 2 MiB.)
const MAIN_STACK: usize = 8 << 20;

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// M's and P's.
    pub maxprocs: usize,
    /// Seeds every random choice. Printed when a run fails; `TREFOIL_SEED` in the environment sets
    /// the default.
    pub seed: u64,
    /// Delays M's at random points, so that rare interleavings are less rare.
    pub shake: bool,
    /// How long `main` may take.
    pub limit: Duration,
    /// How long a chain of hand-overs may hold a P while others wait, in nanoseconds.
    pub slice: u64,
}

impl Config {
    /// Returns the default, with `maxprocs` P's.
    pub fn with_procs(maxprocs: usize) -> Self {
        Self { maxprocs, ..Self::default() }
    }

    /// Adds delays at random points.
    #[must_use]
    pub fn shaken(self) -> Self {
        Self { shake: true, ..self }
    }
}

impl Default for Config {
    fn default() -> Self {
        let given = std::env::var("TREFOIL_SEED").ok().and_then(|s| s.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
        let sched = trefoil_sched::Config::default();
        Self {
            maxprocs: 4,
            seed: given.unwrap_or_else(clock),
            shake: false,
            limit: Duration::from_secs(120),
            slice: sched.slice,
        }
    }
}

/// The remains of a run.
#[derive(Debug)]
pub struct Account {
    /// The counts of its M's.
    pub stats: Stats,
    /// G's that had not ended.
    pub unfinished: Vec<Waiting>,
    /// Windows that could not be given back: those of unfinished G's.
    pub stacks: usize,
    /// Panics of G's that nobody joined.
    pub unjoined: Vec<String>,
    /// A thread still ran a G when it was given up.
    pub stuck: bool,
}

/// Runs `main` as the first G of a machine of its own, until it returns.
///
/// # Errors
/// `main` panicked, everybody waited for ever, the scheduler's rules were broken, or it took too
/// long.
pub fn run<T, F>(config: Config, main: F) -> Result<T, Failure>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    account(config, main).0
}

/// Runs an example of the documentation on two M's. Its assertions must hold, and it must come to
/// its end.
///
/// # Panics
/// With what went wrong.
pub fn example(main: impl FnOnce() + Send + 'static) {
    let (result, account) = account(Config::with_procs(2), main);
    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(account.unjoined.is_empty(), "unjoined panics: {:?}", account.unjoined);
}

/// Runs a test on `procs` M's, for `seconds` at most. `#[trefoil::test]` expands to a call.
///
/// # Panics
/// With the panic of `main`, if it panics, or with what else went wrong: an `Err` that `main`
/// returned, a deadlock, the time.
#[track_caller]
pub fn run_test<T: Termination + Send + 'static>(procs: usize, seconds: u64, main: fn() -> T) {
    let config = Config { limit: Duration::from_secs(seconds), ..Config::with_procs(procs) };
    match run(config, main) {
        Ok(value) => {
            let code = value.report();
            if code != ExitCode::SUCCESS {
                say_seed(config.seed);
                panic!("the test returned {code:?}");
            }
        }
        Err(Failure::Main(JoinError::Panicked(payload))) => std::panic::resume_unwind(payload.into_inner()),
        Err(failure) => panic!("{failure}"),
    }
}

/// Runs `main` as [`run`] does, and also returns what was left when the run was over.
pub fn account<T, F>(config: Config, main: F) -> (Result<T, Failure>, Account)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    overflow::watch();
    let sched: &'static Sched = Box::leak(Box::new(Sched::new(&trefoil_sched::Config {
        max_procs: config.maxprocs,
        seed: config.seed,
        slice: config.slice,
        ..trefoil_sched::Config::default()
    })));
    let machine: &'static Machine = Box::leak(Box::new(Machine::new(sched)));
    let shake = config.shake.then_some(config.seed);
    machine.cores.get_or_init(|| (0..config.maxprocs).map(|i| Core::new(i, machine, shake)).collect());
    let (sender, handle) = mpsc::channel();
    start_thread(machine, 0, move || {
        let main = Builder::new().name("main").stack_max(MAIN_STACK).spawn(move || {
            let _stop = StopAtEnd(machine);
            main()
        });
        let main = main.unwrap_or_else(|e| panic!("main: {e}"));
        machine.main.store(main.id(), Ordering::Relaxed);
        let _ = sender.send(main);
        // Only now: an M that rests before there is a G could take the quiet for a deadlock.
        for core in 1..machine.cores().len() {
            start_thread(machine, core, || {});
        }
    });
    let (failure, stuck) = machine.wait(config.limit, GRACE);
    let stats = sched.stats();
    let unfinished = machine.unfinished();
    if !stuck {
        machine.free_stacks();
    }
    let stacks = machine.stacks.load(Ordering::Relaxed);
    let unjoined = machine.unjoined.lock().map_or_else(|_| Vec::new(), |mut u| core::mem::take(&mut *u));
    let result = match (failure, handle.try_recv()) {
        (Some(failure), _) => Err(failure),
        // Ended and left by every M, so its result is there and `join` does not park.
        (None, Ok(main)) if main.is_finished() => main.join().map_err(Failure::Main),
        (None, _) => Err(Failure::Broken("main has ended and its result is not there")),
    };
    if result.is_err() {
        say_seed(config.seed);
    }
    (result, Account { stats, unfinished, stacks, unjoined, stuck })
}

/// Says how a run that failed is repeated.
fn say_seed(seed: u64) {
    eprintln!("TREFOIL_SEED={seed} repeats the random choices of this run");
}

fn start_thread(machine: &'static Machine, index: usize, begin: impl FnOnce() + Send + 'static) {
    machine.entered();
    let thread = std::thread::Builder::new().name(format!("M{index}"));
    let started = thread.spawn(move || machine.cores()[index].live(begin));
    started.unwrap_or_else(|e| panic!("no thread for M {index}: {e}"));
}

/// `main` has ended, by return or by panic: so does the run.
struct StopAtEnd(&'static Machine);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.stop();
    }
}
