//! The message about a G that has ended where it stood, and the count of such ends.
//!
//! The G makes its report itself, on its deathbed (`abandon.rs`).

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use trefoil_sched::{Cause, G};

use super::{Who, draft};
use crate::arch::clock;
use crate::mm::stack::{self, Window};
use crate::scheduler;

/// Reports that are made on a deathbed just now.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Set by tests that end thousands of G's: their reports are left out.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves out the reports of G's that end from now on, or prints them again.
pub fn quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Counts G's that were ended where they stood.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Returns how many G's have ended where they stood.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Returns true if the reports are left out.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Counts an end.
pub(crate) fn count_one() {
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Records that a report on a deathbed begins.
pub(crate) fn report_begins() {
    UNDER_WAY.fetch_add(1, Ordering::Relaxed);
}

/// Records that a report on a deathbed has ended, complete or not.
pub(crate) fn report_ends() {
    UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
}

/// Lets others run until no report is under way or the time is `until`: before the machine stops.
#[cold]
#[inline(never)]
pub fn wait_for_reports(until: u64) {
    while (UNDER_WAY.load(Ordering::Relaxed) > 0 || draft::TURN.is_taken()) && clock::now() < until {
        trefoil_sched::yield_now();
    }
}

/// The message about a touch of `addr` that ended `g`.
pub struct What<'a> {
    /// The G whose stack failed.
    pub g: &'a G,
    /// The touched address.
    pub addr: u64,
    /// The reason why the touch ends the G.
    pub cause: Cause,
}

impl fmt::Display for What<'_> {
    #[optimize(size)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { g, addr, cause } = self;
        let stack = g.stack();
        match cause {
            Cause::StackOverflow => {
                let (lo, hi) = (stack.lo, stack.hi);
                write!(f, "stack overflow: {} has used up its window 0x{lo:016x}..0x{hi:016x}", Who(g))?;
                let how = if scheduler::is_main(g) {
                    "#[trefoil::main(stack = BYTES)] or the option stack=SIZE"
                } else {
                    "Builder::stack_max"
                };
                write!(f, " of {} KiB; {how} makes it larger", stack.size() >> 10)
            }
            Cause::OutOfMemory if !(stack.lo..stack.hi).contains(&(*addr as usize)) => {
                write!(f, "out of memory: no frame for 0x{addr:016x}, in another's stack, which {} touched", Who(g))
            }
            // The G was doomed with preemption off, and ends here.
            Cause::OutOfMemory if Window::from(stack).is_forbidden(*addr) => {
                write!(f, "out of memory: no frame for the stack of {} to grow further", Who(g))
            }
            Cause::OutOfMemory => {
                write!(f, "out of memory: no frame for the stack of {} to grow to 0x{addr:016x}", Who(g))
            }
            Cause::Panicked => write!(f, "panic without a way out: {}", Who(g)),
            _ => {
                write!(f, "dead stack: {} touched 0x{addr:016x}", Who(g))?;
                match stack::owner_of(*addr).map(|owner| owner.who()) {
                    Some((id, name)) if name.as_str().is_empty() => write!(f, ", the stack of G {id}, which has ended"),
                    Some((id, name)) => write!(f, ", the stack of G {id} \"{}\", which has ended", name.as_str()),
                    None => match stack::lives_at(*addr) {
                        Some(g) => write!(f, ", below the end of the stack of {}", Who(g)),
                        None => f.write_str(", a stack that nobody lives on"),
                    },
                }
            }
        }
    }
}
