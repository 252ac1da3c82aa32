//! The meaning of each vector.
//!
//! Handlers of interrupts return, also those of unexpected ones, which are counted. A page fault on
//! a growing stack maps the page and returns, and one that can't be served may end its G alone
//! (`kernel/src/upcalls.rs`). A report stops other cores by NMI, and tests step by #DB. All other
//! vectors end the machine with a report.

use core::arch::asm;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::idt::{self, Frame};
use super::percpu::PerCpu;
use super::upcalls::upcalls;
use super::{apic, gdt, percpu, preempt, reporter, serial, stretch};
use spin::Once;
use x86_64::structures::idt::{DescriptorTable, ExceptionVector, SelectorErrorCode};

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

/// A function that answers a #DB, and returns false if that #DB is not its own.
pub type OnDebug = fn(&PerCpu, &Frame) -> bool;

/// The function that #DB calls, once a program steps: an image without steps has none of this.
static ON_DEBUG: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Lets `f` answer each #DB from here on.
pub(crate) fn set_on_debug(f: OnDebug) {
    // Release: pairs with the Acquire in `on_debug`.
    ON_DEBUG.store(f as *mut (), Ordering::Release);
}

/// Handles #DB. Returns false if no program has ever stepped, or this #DB is not a step.
#[inline]
fn on_debug(core: &PerCpu, frame: &Frame) -> bool {
    let handler = ON_DEBUG.load(Ordering::Acquire);
    // SAFETY: `set_on_debug` has stored a function of this type.
    !handler.is_null() && unsafe { core::mem::transmute::<*mut (), OnDebug>(handler) }(core, frame)
}

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

/// Handles a vector. Called by the stub, interrupts off, on the vector's IST stack. Nothing unwinds
/// out of here, as a panic in a handler is fatal. Its ABI says otherwise so that the two calls are
/// jumps.
pub(super) extern "C-unwind" fn dispatch(frame: &Frame) {
    if frame.vector == PAGE_FAULT { (upcalls().page_fault)(frame) } else { others(frame) }
}

/// Handles a vector other than a page fault.
#[inline(never)]
fn others(frame: &Frame) {
    let core = percpu::current();
    match frame.vector {
        NMI if reporter::nmi() => return,
        DEBUG if on_debug(core, frame) => return,
        vector if vector < 32 => (upcalls().exception)(frame),
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
            (upcalls().flush)();
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
