//! The one core that reports, and the others, which stop for it.
//!
//! ```text
//!   reporter                                another core
//!   claim: REPORTER: 0 → me  (CAS)          runs on …
//!   NMI to each core that has arrived  ───▶ NMI handler: REPORTER is set → its bit in STOPPED, hlt
//!   stop_others waits for their bits        a core that arrives only now looks at REPORTER first
//! ```
//!
//! A core that loses the claim stops as well. The text of the report is made above (`report.rs`).

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::{apic, clock, cpu, percpu};

/// Core number + 1 of the core that reports; 0: none.
static REPORTER: AtomicU32 = AtomicU32::new(0);
/// The cores that have stopped for the report, a bit each.
static STOPPED: AtomicU64 = AtomicU64::new(0);

/// How long the other cores get to stop: a second at most, on any processor that runs at 1 GHz or
/// more.
const STOP_TICKS: u64 = 1_000_000_000;

/// Returns true if any core reports.
pub fn is_under_way() -> bool {
    REPORTER.load(Ordering::Relaxed) != 0
}

/// Returns true if this core reports.
fn is_mine() -> bool {
    REPORTER.load(Ordering::Relaxed) == percpu::current().index() as u32 + 1
}

/// Handles an NMI: this core stops if another core reports. Returns false if no core reports: then
/// the NMI is unexpected.
pub(super) fn nmi() -> bool {
    if is_under_way() && !is_mine() {
        stop_this_core();
    }
    is_under_way()
}

/// Stops a core that has just arrived if a report is under way: the report's NMI did not reach it.
pub(super) fn core_arrives() {
    // Pairs with the fence in `stop_others`: either the reporter sees that this core has arrived,
    // or this core sees the reporter.
    fence(Ordering::SeqCst);
    if is_under_way() {
        stop_this_core();
    }
}

/// Stops this core for another core's report. In the NMI handler, or instead of a second report.
fn stop_this_core() -> ! {
    // Release: pairs with the Acquire in `stop_others`: earlier writes of this core are there for
    // the report.
    STOPPED.fetch_or(1 << percpu::current().index(), Ordering::Release);
    cpu::stop()
}

/// Makes this core the one that reports. Returns false if this core reports already. Stops this
/// core if another one reports. With interrupts off.
pub fn claim() -> bool {
    let me = percpu::current().index() as u32 + 1;
    match REPORTER.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => true,
        Err(reporter) if reporter == me => false,
        Err(_) => stop_this_core(),
    }
}

/// Sends all others to `stop_this_core`. Returns those that did not get there in time, a bit each.
pub fn stop_others() -> u64 {
    // Pairs with the fence in `core_arrives`.
    fence(Ordering::SeqCst);
    let me = percpu::current().index();
    let mut others = 0;
    for core in percpu::all().filter(|core| core.index() != me && core.has_arrived()) {
        others |= 1 << core.index();
        // Not one IPI to all but self: it would reach cores that have no IDT yet, and reset the
        // machine.
        apic::send_nmi(core.lapic_id());
    }
    let begin = clock::ticks();
    loop {
        let missing = others & !STOPPED.load(Ordering::Acquire);
        if missing == 0 || clock::ticks().wrapping_sub(begin) > STOP_TICKS {
            return missing;
        }
        core::hint::spin_loop();
    }
}
