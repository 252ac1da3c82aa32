//! The floors above, as the processor's floor calls them (`arch/x86_64/upcalls.rs`).

use trefoil_sched::Cause;

use x86_64::registers::control::Cr2;
use x86_64::structures::idt::PageFaultErrorCode;

use crate::arch::idt::Frame;
use crate::arch::percpu;
use crate::arch::upcalls::Upcalls;
use crate::arch::{abandon as stub, cpu, gdt, reporter, stretch};
use crate::mm::record;
use crate::mm::stack::{self, Window, WindowFault, deathbed};
use crate::{abandon, report, start};

#[unsafe(no_mangle)]
static TREFOIL_UPCALLS: Upcalls = Upcalls {
    page_fault,
    exception: report::exception,
    stack_fault: report::stack_fault,
    flush: || stack::scavenge::on_interrupt(percpu::depth()),
    see_to_doom,
    is_its_stack: |g, sp| deathbed::is_up(g, sp) || deathbed::of(g, sp).is_some(),
    is_red: |g, sp| Window::from(g.stack()).is_forbidden(sp),
    last_rites: abandon::last_rites,
    on_deathbed: abandon::on_deathbed,
    core_starts,
};

/// Maps the page of a growing stack, or ends the G whose stack can't grow, or that touched a dead
/// stack. Faults outside all windows and on present pages end the machine.
fn page_fault(frame: &Frame) {
    let core = record::current();
    let addr = Cr2::read_raw();
    if gdt::ist_stack(core, gdt::IST_PAGE_FAULT).contains(&frame.rsp.get()) {
        // The frame of the first fault is overwritten by this one's.
        report::nested_page_fault(frame, addr);
    }
    if PageFaultErrorCode::from_bits_retain(frame.error).contains(PageFaultErrorCode::PROTECTION_VIOLATION) {
        report::page_fault(frame, addr);
    }
    // During a report a stack may still grow, but must not wait for the pool's lock: a core that is
    // stopped may hold it. At depth > 0 it tries for a while only.
    let depth = if reporter::is_under_way() { percpu::depth().max(1) } else { percpu::depth() };
    stretch::handler_begins(frame.vector);
    core.enter_handler();
    let verdict = stack::fault(core, addr, frame.rsp.get(), depth);
    core.leave_handler();
    let cause = match verdict {
        WindowFault::Resolved => return,
        WindowFault::NotAWindow => report::page_fault(frame, addr),
        WindowFault::Overflow => Cause::StackOverflow,
        WindowFault::OutOfMemory => Cause::OutOfMemory,
        WindowFault::DeadStack => Cause::DeadStack,
    };
    // The G alone ends, if its state allows that; else the machine ends.
    if depth > 0 || !stub::take_over(core, frame, addr, cause) {
        // If it was on its way to its end, that has a cause of its own.
        let doomed = if depth > 0 { None } else { core.m().and_then(|m| m.running()).and_then(|g| g.doomed()) };
        report::stack_fault(frame, addr, doomed.unwrap_or(cause));
    }
}

/// Fills the reserve, and ends the G if it is doomed. At depth 1. (A G on its deathbed ends
/// anyway.)
fn see_to_doom() {
    let core = record::current();
    if core.reserve.is_low() {
        stack::fill_reserve();
    }
    let g = core.m().and_then(|m| m.running());
    if let Some(g) = g
        && g.doomed().is_some()
        && deathbed::is_up(g, (&raw const core).addr() as u64)
    {
        percpu::leave_for_good();
        stack::end_here(g);
    }
}

/// Starts the core of this number, or stops it if there is no such core.
fn core_starts(index: usize) -> ! {
    match record::get(index) {
        Some(core) => start::ap_main(core),
        None => cpu::stop(),
    }
}
