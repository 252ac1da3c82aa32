//! The end of a G that can't go on where it stands. Its stack has overflowed or can't grow, it
//! touched a stack that is gone, or one of its destructors panicked while it unwound.
//!
//! An arbitrary instruction can't be unwound, so **no destructor of its frames runs**. The heap
//! memory of those frames is leaked, and the G counts as [abandoned](death::count). The joiner gets
//! the cause. Its locks stay held: a goroutine that wants one panics with the dead one's name. The
//! stack's memory goes back an epoch after the last borrower has ended (INV-LENT in
//! `sched/src/wait/group.rs`); its addresses never go back. All other G's run on.
//!
//! The last rites run on the core's g0 stack, below g0's saved state, with preemption off one level
//! (`arch/x86_64/abandon.rs` draws it). The report does not run there, since the unwinder takes
//! 5,000 instructions a frame. The G makes the report itself, with preemption on, on its deathbed.
//! Its joiner learns of the end after that. If there is no memory for a deathbed, the report has
//! the innermost frames only.

use trefoil_sched::{G, GRef, M, PreemptGuard};

use crate::api::{console, panic};
use crate::arch::abandon::{self as stub, Rites};
use crate::mm::stack::{self, deathbed};
use crate::report::backtrace::{self, Out};
use crate::report::{self, What, Who, death};

/// Frames that are shown at each end of the backtrace.
const ENDS: usize = 16;

/// Performs the last rites of the G that ran on this core. On g0, once or twice: the G may get up
/// to make its report.
#[optimize(size)]
pub fn last_rites(guard: PreemptGuard, rites: &Rites) -> ! {
    let g = trefoil_sched::current_g(&guard);
    let mut cause = rites.cause();
    if let Some(bed) = deathbed::of(g, rites.sp()) {
        // SAFETY: 1. it was taken away from there.
        let first = unsafe { Rites::from_bed(bed.hi) };
        if !first.told {
            let say = console::begin_report(g);
            say(format_args!("  … its report was cut short: {}", cause.as_str()));
            has_ended(g, say);
            console::end_report(g);
        }
        cause = first.cause();
        // SAFETY: 1. `bed` came from `make`, and the G that ended there never runs again.
        unsafe { deathbed::free(bed) };
        death::report_ends();
    } else if !death::is_quiet() {
        if let Some(bed) = deathbed::make(g) {
            death::report_begins();
            stub::get_up(guard, rites, bed.hi);
        }
        let core = M::current(&guard).index() as u64;
        tell(g, rites, core, backtrace::first);
    }
    death::count_one();
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
    tell(g, rites, core, backtrace::ends);
    rites.told = true;
    bed.inspect(|bed| stack::touch_guard(bed.lo as usize));
    report::message(format_args!("{} does not end", Who(g)))
}

/// Reports the end of `g`, which was on `core`.
#[inline(never)]
#[optimize(size)]
fn tell(g: GRef, rites: &Rites, core: u64, frames: fn(usize, usize, Out)) {
    let say = console::begin_report(g);
    say(format_args!("trefoil: {}", What { g, addr: rites.addr, cause: rites.cause() }));
    let (in_use, deepest) = stack::in_use(g);
    say(format_args!("  core {core}, {in_use} bytes of stack in use, {deepest} at its deepest"));
    frames(stub::seam(), ENDS, say);
    report::creator(g, say);
    has_ended(g, say);
    console::end_report(g);
}

#[inline(never)]
fn has_ended(g: &G, say: Out) {
    say(format_args!("trefoil: {} has ended; its frames were abandoned, the others go on", Who(g)));
}
