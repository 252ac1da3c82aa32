//! The end of a G that can't go on where it stands. Its stack has overflowed or can't grow, it
//! touched a stack that is gone, or one of its destructors panicked while it unwound.
//!
//! An arbitrary instruction can't be unwound, so **no destructor of its frames runs**. The heap
//! memory of those frames is leaked, and the G counts as [abandoned](count). The joiner gets the
//! cause. Its locks stay held: a goroutine that wants one panics with the dead one's name. The
//! stack's memory goes back an epoch after the last borrower has ended (INV-LENT in
//! `sched/src/group.rs`); its addresses never go back. All other G's run on.
//!
//! The last rites run on the core's g0 stack, below g0's saved state, with preemption off one level
//! (`arch/x86_64/abandon.rs` draws it). The report does not run there, since the unwinder takes
//! 5,000 instructions a frame. The G makes the report itself, with preemption on, on its
//! [deathbed]. Its joiner learns of the end after that. If there is no memory for a deathbed, the
//! report has the innermost frames only.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use trefoil_sched::{Cause, G, M, PreemptGuard};

use crate::arch::abandon::{self as stub, Rites};
use crate::arch::clock;
use crate::mm::stack::{self, Window, deathbed};
use crate::report::{self, Who, backtrace};
use crate::{console, panic, platform};

/// Frames that are shown at each end of the backtrace.
const ENDS: usize = 16;

/// Where lines go.
type Out = fn(fmt::Arguments<'_>);

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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { g, addr, cause } = self;
        let stack = g.stack();
        match cause {
            Cause::StackOverflow => {
                let (lo, hi) = (stack.lo, stack.hi);
                write!(f, "stack overflow: {} has used up its window 0x{lo:016x}..0x{hi:016x}", Who(g))?;
                let how = if platform::is_main(g) {
                    "trefoil::main!(…, stack = BYTES) or the option stack=SIZE"
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

/// Performs the last rites of the G that ran on this core. On g0, once or twice: the G may get up
/// to make its report.
pub fn last_rites(guard: PreemptGuard, rites: &Rites) -> ! {
    let g = trefoil_sched::current_g(&guard);
    let mut cause = rites.cause();
    if let Some(bed) = deathbed::of(g, rites.sp()) {
        // SAFETY: 1. it was taken away from there.
        let first = unsafe { Rites::from_bed(bed) };
        if !first.told {
            console::say(format_args!("  … its report was cut short: {}", cause.as_str()));
            has_ended(g, console::say);
        }
        cause = first.cause();
        // SAFETY: 1. it never runs again.
        unsafe { deathbed::free(bed) };
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    } else if !QUIET.load(Ordering::Relaxed) {
        if let Some(bed) = deathbed::make(g) {
            UNDER_WAY.fetch_add(1, Ordering::Relaxed);
            stub::get_up(guard, rites, bed);
        }
        let core = M::current(&guard).index() as u64;
        tell(g, rites, core, backtrace::first, console::say);
    }
    COUNT.fetch_add(1, Ordering::Relaxed);
    panic::abandoned(g);
    console::abandoned(g);
    // SAFETY: 1. The processor comes back to g0, never to it; its pages stay until this core has
    // passed an epoch.
    unsafe { trefoil_sched::abandon(guard, cause) }
}

/// Makes the report of the G that has ended on `core`, on its deathbed.
pub fn on_deathbed(guard: PreemptGuard, rites: &mut Rites, core: u64) -> ! {
    let g = trefoil_sched::current_g(&guard);
    let bed = deathbed::of(g, core::ptr::from_ref(rites).addr() as u64);
    drop(guard);
    tell(g, rites, core, backtrace::ends, console::say_without_parking);
    rites.told = true;
    bed.inspect(|bed| touch(bed.lo as usize));
    report::message(format_args!("{} does not end", Who(g)))
}

/// Reports the end of `g`, which was on `core`.
#[inline(never)]
fn tell(g: &G, rites: &Rites, core: u64, frames: fn(usize, usize, Out), say: Out) {
    say(format_args!("trefoil: {}", What { g, addr: rites.addr, cause: rites.cause() }));
    let (in_use, deepest) = stack::in_use(g);
    say(format_args!("  core {core}, {in_use} bytes of stack in use, {deepest} at its deepest"));
    frames(stub::seam(), ENDS, say);
    has_ended(g, say);
}

#[inline(never)]
fn has_ended(g: &G, say: Out) {
    say(format_args!("trefoil: {} has ended; its frames were abandoned, the others go on", Who(g)));
}

/// Lets others run until no report is under way or the time is `until`: before the machine stops.
#[cold]
#[inline(never)]
pub fn wait_for_reports(until: u64) {
    while UNDER_WAY.load(Ordering::Relaxed) > 0 && clock::now() < until {
        trefoil_sched::yield_now();
    }
}

/// Ends `g`, which runs here with preemption on and is doomed: a touch of its guard page takes the
/// way of every other overflow.
pub fn end_here(g: &G) {
    touch(g.stack().lo);
}

/// Writes to the guard page that begins at `lo`, of the window that the caller runs on.
fn touch(lo: usize) {
    // SAFETY: the lowest page of a window is never mapped, so this writes nothing; the fault
    // handler takes the core away from this G.
    unsafe { (lo as *mut u8).write_volatile(0) };
}

/// Records a death, a while ago, of a G with this number: for tests of the cost of many deaths.
#[doc(hidden)]
pub fn pretend(id: u64) -> bool {
    crate::platform::sched().deaths.pretend(id)
}

/// Returns true if the waiters are still being looked at, after a death: for tests.
#[doc(hidden)]
pub fn is_round_pending() -> bool {
    crate::platform::sched().deaths.is_round_pending()
}
