//! The meaning of each vector.
//!
//! Handlers of interrupts return. A page fault on a growing stack maps the page and returns. All
//! other vectors end the machine with a report.

use core::arch::asm;
use core::sync::atomic::Ordering;

use super::idt::{self, Frame};
use super::percpu::PerCpu;
use super::{abandon, apic, gdt, percpu, preempt, serial, step, stretch};
use crate::mm::window::{self, WindowFault};
use crate::report;
use spin::Once;
use trefoil_sched::Cause;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::{DescriptorTable, ExceptionVector, PageFaultErrorCode, SelectorErrorCode};

/// The APIC timer.
pub const VECTOR_TIMER: u8 = 0x20;
/// Another core has work for this one.
pub const VECTOR_WAKE: u8 = 0x21;
/// Another core waits for this one to pass an epoch.
pub const VECTOR_FLUSH: u8 = 0x22;
/// The serial port has received something.
pub const VECTOR_SERIAL: u8 = 0x23;
/// The local APIC's spurious vector.
pub const VECTOR_SPURIOUS: u8 = 0xff;
/// The base of the PICs' vectors; all lines are masked, so an interrupt from there is spurious.
pub const VECTOR_PIC: u8 = 0x30;
const VECTOR_PIC_END: u8 = VECTOR_PIC + 16;

/// A function that the handler of an unexpected vector calls after it has counted the vector: for
/// tests of a handler's limits.
pub static ON_UNEXPECTED: Once<fn()> = Once::new();

const DEBUG: u64 = ExceptionVector::Debug as u64;
const NMI: u64 = ExceptionVector::NonMaskableInterrupt as u64;
const PAGE_FAULT: u64 = ExceptionVector::Page as u64;

/// Returns the name and mnemonic of an exception.
pub fn name(vector: u64) -> &'static str {
    match vector {
        0 => "#DE divide error",
        1 => "#DB debug",
        2 => "NMI",
        3 => "#BP breakpoint",
        4 => "#OF overflow",
        5 => "#BR bound range exceeded",
        6 => "#UD invalid opcode",
        7 => "#NM device not available",
        8 => "#DF double fault",
        9 => "coprocessor segment overrun",
        10 => "#TS invalid TSS",
        11 => "#NP segment not present",
        12 => "#SS stack fault",
        13 => "#GP general protection",
        14 => "#PF page fault",
        16 => "#MF x87 floating point",
        17 => "#AC alignment check",
        18 => "#MC machine check",
        19 => "#XM SIMD floating point",
        20 => "#VE virtualization",
        21 => "#CP control protection",
        28 => "#HV hypervisor injection",
        29 => "#VC VMM communication",
        30 => "#SX security",
        _ => "reserved exception",
    }
}

/// Returns the descriptor that an exception's error code names: its index and its table.
pub fn selector(frame: &Frame) -> Option<(u64, &'static str)> {
    let code = SelectorErrorCode::new_truncate(frame.error);
    let table = match code.descriptor_table() {
        // Without a selector all is 0, but for the bit that tells of an event from outside.
        DescriptorTable::Gdt if code.index() == 0 => return None,
        DescriptorTable::Gdt => "GDT",
        DescriptorTable::Ldt => "LDT",
        DescriptorTable::Idt => "IDT",
    };
    matches!(frame.vector, 10..=13).then(|| (code.index(), table))
}

/// Handles a vector. Called by the stub, interrupts off, on the vector's IST stack.
pub(super) extern "C" fn dispatch(frame: &Frame) {
    let core = percpu::current();
    match frame.vector {
        PAGE_FAULT => return page_fault(core, frame),
        NMI if report::nmi() => return,
        DEBUG if step::on_debug(core, frame) => return,
        vector if vector < 32 => report::exception(frame),
        _ => {}
    }
    stretch::handler_begins(frame.vector);
    core.enter_handler();
    core.interrupts.fetch_add(1, Ordering::Relaxed);
    let mut over = false;
    match frame.vector as u8 {
        VECTOR_TIMER => over = apic::on_timer(),
        VECTOR_WAKE => over = apic::on_wake(),
        VECTOR_FLUSH => {
            core.flush_ipis.fetch_add(1, Ordering::Relaxed);
            window::scavenge::on_interrupt(percpu::depth());
            apic::eoi();
        }
        VECTOR_SERIAL if serial::interrupt(core) => apic::eoi(),
        VECTOR_SPURIOUS => {
            // No end-of-interrupt for this one.
            core.spurious.fetch_add(1, Ordering::Relaxed);
        }
        VECTOR_PIC..VECTOR_PIC_END => {
            core.spurious.fetch_add(1, Ordering::Relaxed);
        }
        _ => {
            core.unexpected.fetch_add(1, Ordering::Relaxed);
            ON_UNEXPECTED.get().into_iter().for_each(|f| f());
            apic::eoi();
        }
    }
    core.leave_handler();
    if over {
        preempt::request(core, frame);
    }
}

fn page_fault(core: &PerCpu, frame: &Frame) {
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
    let depth = if report::is_under_way() { percpu::depth().max(1) } else { percpu::depth() };
    stretch::handler_begins(frame.vector);
    core.enter_handler();
    let verdict = window::fault(core, addr, frame.rsp.get(), depth);
    core.leave_handler();
    let cause = match verdict {
        WindowFault::Resolved => return,
        WindowFault::NotAWindow => report::page_fault(frame, addr),
        WindowFault::Overflow => Cause::StackOverflow,
        WindowFault::OutOfMemory => Cause::OutOfMemory,
        WindowFault::DeadStack => Cause::DeadStack,
    };
    // The G alone ends, if its state allows that; else the machine ends.
    if depth > 0 || !abandon::take_over(core, frame, addr, cause) {
        // If it was on its way to its end, that has a cause of its own.
        let doomed = if depth > 0 { None } else { core.m().and_then(|m| m.running()).and_then(|g| g.doomed()) };
        report::stack_fault(frame, addr, doomed.unwrap_or(cause));
    }
}

/// Enters the stub of `vector` as the processor would, with an error code of `error` if the vector
/// has one. For tests of vectors that ring 0 can't raise (#AC, #CP, #VE…) or that have no sender
/// (an unexpected interrupt). Returns if the handler does.
///
/// For any vector, the frame lies on the exceptions' IST stack, so a test of #PF's or #DF's own
/// stack needs the real exception.
#[doc(hidden)]
pub fn enter_with_frame(vector: u8, error: u64) {
    let with_error = matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30);
    let top = gdt::ist_stack(percpu::current(), gdt::IST_EXCEPTIONS).end;
    // SAFETY: builds the frame on the exceptions' IST stack, which no handler uses while this code
    // runs with interrupts off, and jumps to the vector's entry, which returns by `iretq` to the
    // label with the stack that the frame names.
    unsafe {
        asm!(
            "pushfq",
            "pop {flags}",
            "cli",
            "mov {saved}, rsp",
            "mov rsp, {top}",
            "push {ss}",
            "push {saved}",
            "push {flags}",
            "push {cs}",
            "lea {saved}, [rip + 2f]",
            "push {saved}",
            "test {with_error:e}, {with_error:e}",
            "jz 3f",
            "push {error}",
            "3:",
            "jmp {entry}",
            "2:",
            flags = out(reg) _,
            saved = out(reg) _,
            top = in(reg) top,
            ss = in(reg) u64::from(gdt::DATA.0),
            cs = in(reg) u64::from(gdt::CODE.0),
            with_error = in(reg) u32::from(with_error),
            error = in(reg) error,
            entry = in(reg) idt::entry(vector),
        );
    }
}

const _: () = assert!(VECTOR_TIMER >= 32);
