//! The end of a G that can't go on where it stands: its stack has overflowed, can't grow, it touched a stack that is no more, or a destructor of it panicked
//! while it unwound.
//!
//! An arbitrary instruction can't be unwound, so **no destructor of its frames runs**: what they own on the heap is leaked, and counted as G's
//! that were [abandoned](count). The joiner gets the cause. Its locks stay held: a goroutine that wants one
//! panics with the dead one's name. The stack's memory goes back when nobody can borrow from it any more
//! (INV-LENT in `sched/src/group.rs`), and an epoch later; its addresses never. Everybody else runs on.
//!
//! This runs on the core's g0 stack, below what g0 has saved, with one level of preemption off (`arch/x86_64/abandon.rs` draws it).

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use trefoil_sched::{Cause, G, M, PreemptGuard};

use crate::arch::abandon as stub;
use crate::mm::window::{self, Window};
use crate::report::{Who, backtrace};
use crate::{console, panic, platform};

/// Frames that are shown at each end of the backtrace.
const ENDS: usize = 16;

/// Tests that end thousands of G's say so: their reports are left out.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves out the reports of G's that end from now on, or gives them again.
pub fn quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// G's that ended so.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many G's have ended where they stood.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// What to say about a touch of `addr` that ended `g`.
pub struct What<'a> {
    /// Whose stack failed.
    pub g: &'a G,
    /// What was touched.
    pub addr: u64,
    /// Why that is its end.
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
            // It was doomed with preemption off, and this is where it ends.
            Cause::OutOfMemory if Window::from(stack).is_forbidden(*addr) => {
                write!(f, "out of memory: no frame for the stack of {} to grow further", Who(g))
            }
            Cause::OutOfMemory => {
                write!(f, "out of memory: no frame for the stack of {} to grow to 0x{addr:016x}", Who(g))
            }
            Cause::Panicked => write!(f, "panic without a way out: {}", Who(g)),
            _ => {
                write!(f, "dead stack: {} touched 0x{addr:016x}", Who(g))?;
                match window::owner_of(*addr).map(|owner| owner.who()) {
                    Some((id, name)) if name.as_str().is_empty() => write!(f, ", the stack of G {id}, which has ended"),
                    Some((id, name)) => write!(f, ", the stack of G {id} \"{}\", which has ended", name.as_str()),
                    None => match window::lives_at(*addr) {
                        Some(g) => write!(f, ", below the end of the stack of {}", Who(g)),
                        None => f.write_str(", a stack that nobody lives on"),
                    },
                }
            }
        }
    }
}

/// The last rites of the G that ran on this core.
pub fn last_rites(addr: u64, cause: Cause) -> ! {
    // SAFETY: 1. `take_over` turned one level off for us.
    let guard = unsafe { PreemptGuard::adopt() };
    let g = trefoil_sched::current_g(&guard);
    COUNT.fetch_add(1, Ordering::Relaxed);
    if !QUIET.load(Ordering::Relaxed) {
        tell(&guard, g, addr, cause);
    }
    panic::abandoned(g);
    console::abandoned(g);
    // SAFETY: 1. The processor comes back to g0, never to it; its pages stay until this core has passed an epoch.
    unsafe { trefoil_sched::abandon(guard, cause) }
}

/// Reports the end of `g`.
fn tell(guard: &PreemptGuard, g: &G, addr: u64, cause: Cause) {
    console::say(format_args!("trefoil: {}", What { g, addr, cause }));
    let (in_use, deepest) = window::in_use(g);
    console::say(format_args!(
        "  core {}, {in_use} bytes of stack in use, {deepest} at its deepest",
        M::current(guard).index()
    ));
    backtrace::ends(stub::seam(), ENDS, console::say);
    console::say(format_args!("trefoil: {} has ended; its frames were abandoned, the others go on", Who(g)));
}

/// Ends `g`, which runs here with preemption on and is doomed: a touch of its guard page takes the way of every other overflow.
pub fn end_here(g: &G) {
    let guard = g.stack().lo as *mut u8;
    // SAFETY: the lowest page of a window is never mapped, so this writes nothing; the fault handler takes the core away from this G.
    unsafe { guard.write_volatile(0) };
}

/// As if a G with this number had ended where it stood, a while ago: for tests of what many deaths cost.
#[doc(hidden)]
pub fn pretend(id: u64) -> bool {
    crate::platform::sched().deaths.pretend(id)
}

/// Whether those who wait are still looked at, after a death: for tests.
#[doc(hidden)]
pub fn is_round_pending() -> bool {
    crate::platform::sched().deaths.is_round_pending()
}
