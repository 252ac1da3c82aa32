//! The program's interface to the machine: its cores, its arguments, its counters, and its end.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use core::time::Duration;

use super::console;
use crate::arch::exit::exit as end;
use crate::arch::percpu;
use crate::recorder;
use crate::scheduler;

pub use memory::{GInfo, MemoryStats, current, goroutines};
use trefoil_boot::options::SLICES;
pub use trefoil_sched::stats::Distribution;
pub use trefoil_sched::stats::{Latencies, MStats};
use trefoil_sched::{M, PreemptGuard};
pub use trefoil_sched::{Pin, WaitReason, exit_g, pin, yield_now};

mod memory;
mod status;
mod stdin;
mod stdout;

pub use status::{ExitCode, Termination};
pub use stdin::{Raw, Stdin, stdin};
pub use stdout::{Stdout, stdout};

/// The boot module, published once by `start`.
static INPUT: (AtomicPtr<u8>, AtomicUsize) = (AtomicPtr::new(core::ptr::null_mut()), AtomicUsize::new(0));

pub(crate) fn set_input(input: &'static [u8]) {
    INPUT.0.store(input.as_ptr().cast_mut(), Ordering::Relaxed);
    // Release: pairs with the Acquire in `input`.
    INPUT.1.store(input.len(), Ordering::Release);
}

/// Returns the bytes of the boot module (`INPUT=file` for the runner, `-initrd` for QEMU); empty if
/// there is none.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let text = String::from_utf8_lossy(runtime::input());
/// println!("{} lines", text.lines().count());
/// # }
/// ```
pub fn input() -> &'static [u8] {
    match INPUT.1.load(Ordering::Acquire) {
        0 => &[],
        // SAFETY: `set_input` stored pointer and length of one `&'static [u8]`, the pointer first.
        len => unsafe { core::slice::from_raw_parts(INPUT.0.load(Ordering::Relaxed), len) },
    }
}

/// Returns the program's own words of the command line: everything after `--`, and each
/// `app.NAME=VALUE` as `NAME=VALUE`.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let rounds: u64 = runtime::args().next().and_then(|word| word.parse().ok()).unwrap_or(10);
/// println!("{rounds} rounds");
/// # }
/// ```
pub fn args() -> impl Iterator<Item = &'static str> {
    super::options::app_words()
}

/// Returns the number of the machine's cores, from the first instruction of `main` on: those that
/// the firmware names, 64 at most. Some of them may start a moment later ([`cpus_started`]). The
/// number is smaller if a core is left out: one without memory for its stacks, from the beginning;
/// one that does not answer, when the console names it, half a second after the start.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// println!("{} cores", runtime::num_cpus());
/// # }
/// ```
pub fn num_cpus() -> usize {
    scheduler::CPUS.load(Ordering::Relaxed)
}

/// Returns the number of cores that run: M's that have started. May grow for a moment after boot,
/// since `main` does not wait for the others.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// println!("{} of {} cores run already", runtime::cpus_started(), runtime::num_cpus());
/// # }
/// ```
pub fn cpus_started() -> usize {
    scheduler::sched().rest.started_count() as usize
}

/// Returns the number of P's: how many G's may run at the same time.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let workers: Vec<_> = (0..runtime::max_procs()).map(|i| go(move || i * i)).collect();
/// let sum: usize = workers.into_iter().map(|w| w.join().unwrap()).sum();
/// println!("{sum}");
/// # }
/// ```
pub fn max_procs() -> usize {
    scheduler::sched().num_ps()
}

/// Changes the number of P's, that is, how many G's may run at the same time, and returns the old
/// number. Nothing is lost, and G's that go on running do not notice. On return, no more than `n`
/// G's run. May park.
///
/// # Panics
/// If `n` is 0, or more than there are cores (or than `maxprocs` said, if that was more). With a
/// [`PreemptGuard`](crate::PreemptGuard) held.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let before = runtime::set_max_procs(1);
/// assert_eq!(runtime::max_procs(), 1);
/// runtime::set_max_procs(before);
/// # }
/// ```
pub fn set_max_procs(n: usize) -> usize {
    may_park("set_max_procs");
    trefoil_sched::set_max_procs(n)
}

/// Returns how long a goroutine may run while others wait for its core; 10 ms unless `slice=` said
/// something else.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// println!("others wait for {:?} at most before it is their turn", runtime::slice());
/// # }
/// ```
pub fn slice() -> Duration {
    Duration::from_nanos(scheduler::sched().slice())
}

/// Sets the slice for all cores, from now on, and returns the old one. Shorter slices cost more:
/// `docs/preemption.md` has the figures.
///
/// # Panics
/// If `slice` is shorter than 5 µs or longer than a minute.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// let before = runtime::set_slice(Duration::from_micros(100));
/// assert_eq!(runtime::slice(), Duration::from_micros(100));
/// # let _ = before;
/// # }
/// ```
pub fn set_slice(slice: Duration) -> Duration {
    let before = self::slice();
    scheduler::sched().set_slice(checked("set_slice", slice));
    before
}

/// Returns how long a goroutine may run while a timer is due on its core; 100 µs unless `wakeup=`
/// said something else.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// assert!(runtime::wakeup() <= runtime::slice()); // as the machine boots
/// # }
/// ```
pub fn wakeup() -> Duration {
    Duration::from_nanos(scheduler::sched().wakeup())
}

/// Sets that limit, from the next timer on, and returns the old one. If the limit is longer than a
/// slice, sleepers wait for the slice's end as other G's do.
///
/// # Panics
/// As [`set_slice`].
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// let before = runtime::set_wakeup(Duration::from_micros(20)); // who sleeps beside loops wakes up sooner
/// assert_eq!(runtime::wakeup(), Duration::from_micros(20));
/// runtime::set_wakeup(before);
/// # }
/// ```
pub fn set_wakeup(wakeup: Duration) -> Duration {
    let before = self::wakeup();
    scheduler::sched().set_wakeup(checked("set_wakeup", wakeup));
    before
}

/// Converts `time` to nanoseconds, checked.
fn checked(what: &str, time: Duration) -> u64 {
    let most = Duration::from_micros(*SLICES.end());
    let least = Duration::from_micros(*SLICES.start());
    assert!((least..=most).contains(&time), "{what}: wants {least:?} to a minute, not {time:?}");
    time.as_nanos() as u64
}

/// Runs `f`, which may keep this core busy for long without needing the scheduler (slow hardware, a
/// polled device). Meanwhile another core runs the G's that wait for this one. `f` runs here and
/// now, on the caller's stack, and is not preempted. A nested call just runs `f`. May park when `f`
/// has ended, until a P is free.
///
/// # Panics
/// With a [`PreemptGuard`](crate::PreemptGuard) held; and with the panic of `f`.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// # let device_is_ready = || true;
/// runtime::block_in_place(|| {
///     while !device_is_ready() {
///         core::hint::spin_loop(); // others run meanwhile, on other cores
///     }
/// });
/// # }
/// ```
pub fn block_in_place<R>(f: impl FnOnce() -> R) -> R {
    may_park("block_in_place");
    trefoil_sched::block_in_place(f)
}

/// Returns the number of the core that runs the caller, from 0. The number stays true only while
/// the caller is [pinned](pin).
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let _pin = runtime::pin();
/// println!("core {} until the end of main", runtime::core());
/// # }
/// ```
pub fn core() -> usize {
    M::current(&PreemptGuard::new()).index()
}

/// # Panics
/// With preemption off.
fn may_park(what: &str) {
    assert!(crate::arch::percpu::depth() == 0, "{what}: called with preemption off: drop the PreemptGuard first");
}

/// Returns how many G's live, the caller included.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let (tx, rx) = chan::bounded::<()>(0);
/// let waits = go(move || rx.recv().is_err());
/// assert_eq!(runtime::num_goroutines(), 2);
/// drop(tx);
/// assert!(waits.join().unwrap());
/// # }
/// ```
pub fn num_goroutines() -> usize {
    scheduler::sched().num_goroutines() as usize
}

/// Counters of the machine so far, and its memory by use.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// let before = runtime::stats().total().runs;
/// go(|| ()).join().unwrap();
/// println!("{} dispatches; {:?}", runtime::stats().total().runs - before, runtime::stats().interrupts);
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    sched: trefoil_sched::stats::Stats,
    /// Interrupts that each core has taken.
    pub interrupts: Vec<u64>,
    /// The memory.
    pub memory: MemoryStats,
}

/// Gives the scheduler's figures of the whole machine.
impl core::ops::Deref for Stats {
    type Target = trefoil_sched::stats::Stats;
    fn deref(&self) -> &Self::Target {
        &self.sched
    }
}

/// Takes a snapshot. No core stops for it, so the numbers of running cores may be a little apart.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let stats = runtime::stats();
/// println!("{} G's were run, {} of them stolen", stats.total().runs, stats.total().steals);
/// println!("{} KiB in use", stats.memory.used() >> 10);
/// # }
/// ```
pub fn stats() -> Stats {
    // First: the lists in the other half are on the heap, too.
    let memory = MemoryStats::now();
    let interrupts = percpu::all().map(|core| core.interrupts.load(Ordering::Relaxed)).collect();
    Stats { sched: scheduler::sched().stats(), interrupts, memory }
}

/// Gives back memory at once: pages that parked G's do not need, the stacks of those that use
/// little (packed), and the windows of G's that have ended. Returns how many bytes were given back.
/// The scavenger does the same bit by bit in the background, and when memory is short.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// println!("{} KiB came back", runtime::scavenge() >> 10);
/// # }
/// ```
pub fn scavenge() -> usize {
    crate::mm::stack::scavenge::run() as usize
}

/// Stops the machine at once, regardless of other G's. `code` is what the shell gets from the
/// runner: 0 for success, or a failure of 1 to 127. Any other number becomes 1.
///
/// The report of a G that has just ended where it stood gets a second to be complete. Printed text
/// reaches the port, which is waited for as long as it takes something every second. Destructors do
/// not run.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// if runtime::input().is_empty() {
///     println!("no input: nothing to do");
///     runtime::exit(0);
/// }
/// # }
/// ```
pub fn exit(code: i32) -> ! {
    console::shut();
    recorder::at_exit();
    end(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from).into())
}

/// Runs `f` with the locks of the global free lists held: for tests of lock use.
#[doc(hidden)]
pub fn with_free_locked<R>(f: impl FnOnce() -> R) -> R {
    scheduler::sched().with_free_locked(f)
}

/// Runs `f` with the global queue's lock held: for tests of the report path.
#[doc(hidden)]
pub fn with_globq_locked<R>(f: impl FnOnce() -> R) -> R {
    scheduler::sched().with_globq_locked(f)
}
