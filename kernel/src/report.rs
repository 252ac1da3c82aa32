//! Reports: the machine's last output when it can't go on.
//!
//! A fault or a panic can hit code that holds any lock (the console's, the heap's, the global
//! queue's), on this core or another. So a report takes no lock and allocates nothing. The reporter
//! claims the right to speak, and stops the other cores (`arch/x86_64/reporter.rs`). Then it writes
//! to the serial port byte by byte, beginning with printed text that has not left yet, and with the
//! unfinished report of a G ([`draft`]).
//!
//! * A fault inside the report ends it in one line; a fault inside that line ends the machine at
//!   once. Nothing is tried twice.
//! * A panic's report borrows a stack (`report_stack.rs`): the panicking one may be nearly full.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use trefoil_sched::{Cause, G};
use x86_64::instructions::interrupts;
use x86_64::registers::control::{Cr2, Cr3};
use x86_64::structures::idt::PageFaultErrorCode;

use crate::arch::exit::{FAILURE, exit};
use crate::arch::idt::Frame;
use crate::arch::{exceptions, percpu, report_stack, reporter, serial};
use crate::mm::{frames, kstack};
use crate::recorder;
use crate::scheduler;

/// Faults inside the report.
static NESTED: AtomicU32 = AtomicU32::new(0);

/// The serial port, without a lock.
struct Raw;

impl fmt::Write for Raw {
    #[inline(never)]
    fn write_str(&mut self, s: &str) -> fmt::Result {
        serial::put_str(s);
        Ok(())
    }
}

macro_rules! say {
    ($($arg:tt)*) => {{
        // The port takes everything: there is no error to look at.
        let _ = core::fmt::Write::write_fmt(&mut $crate::report::Raw, format_args!("{}\n", format_args!($($arg)*)));
    }};
}

pub mod backtrace;
mod deadlock;
pub mod death;
pub mod draft;

pub use deadlock::deadlock;
pub use death::What;

/// Claims the report, stops the others and says what happened. From here on this core has no
/// interrupts.
#[optimize(size)]
fn begin(what: fmt::Arguments<'_>) {
    interrupts::disable();
    if !reporter::claim() {
        match NESTED.fetch_add(1, Ordering::Relaxed) {
            0 => say!("\ntrefoil: another fault inside the report: {what}"),
            _ => serial::put_str("…\n"),
        }
        end();
    }
    let missing = reporter::stop_others();
    serial::take_over();
    draft::tell();
    say!("\ntrefoil: fatal: {what}");
    for index in (0..u64::BITS).filter(|index| missing >> index & 1 == 1) {
        say!("  core {index} did not stop");
    }
    say!("  core {}, {}", percpu::current().index(), Where);
    let odd: u64 = percpu::all().map(|core| core.unexpected.load(Ordering::Relaxed)).sum();
    if odd > 0 {
        say!("  {odd} interrupts came on vectors that nobody uses");
    }
}

#[optimize(size)]
fn end() -> ! {
    serial::put_str("trefoil: end of report\n");
    recorder::at_report();
    serial::finish();
    exit(FAILURE)
}

/// The context that the reporting core is in.
struct Where;

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match percpu::current().m() {
            None => f.write_str("before the scheduler")?,
            Some(m) => match m.running() {
                Some(g) => write!(f, "{} ({:?})", Who(g), g.state())?,
                None => f.write_str("on g0")?,
            },
        }
        write!(f, ", preemption depth {}", percpu::depth())
    }
}

/// A G by number and name.
pub struct Who<'a>(pub &'a G);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "G {}", self.0.id())?;
        match self.0.name().as_str() {
            "" => Ok(()),
            name => write!(f, " \"{name}\""),
        }
    }
}

/// Says by `out` where the program has created `g`. Nothing created `main`.
#[inline(never)]
#[optimize(size)]
pub fn creator(g: &G, out: fn(fmt::Arguments<'_>)) {
    if let Some(at) = g.created_at().filter(|_| !scheduler::is_main(g)) {
        out(format_args!("  created at {}:{}", at.file(), at.line()));
    }
}

/// Says by whom the G that runs here was created.
#[inline(never)]
fn creator_of_current() {
    if let Some(g) = percpu::current().m().and_then(|m| m.running()) {
        creator(g, backtrace::raw);
    }
}

#[optimize(size)]
fn registers(f: &Frame) {
    say!(
        "  rip 0x{:016x}  rflags {:#x}  rsp 0x{:016x}  error {:#x}",
        f.rip.get(),
        f.rflags.get(),
        f.rsp.get(),
        f.error
    );
    say!("  rax {:016x}  rbx {:016x}  rcx {:016x}  rdx {:016x}", f.rax, f.rbx, f.rcx, f.rdx);
    say!("  rsi {:016x}  rdi {:016x}  rbp {:016x}  r8  {:016x}", f.rsi, f.rdi, f.rbp, f.r8);
    say!("  r9  {:016x}  r10 {:016x}  r11 {:016x}  r12 {:016x}", f.r9, f.r10, f.r11, f.r12);
    say!("  r13 {:016x}  r14 {:016x}  r15 {:016x}", f.r13, f.r14, f.r15);
    say!("  cr2 {:016x}  cr3 {:016x}", Cr2::read_raw(), Cr3::read().0.start_address().as_u64());
}

/// Reports an exception that nothing handles.
#[optimize(size)]
pub fn exception(frame: &Frame) -> ! {
    begin(format_args!("exception {} {}", frame.vector, exceptions::name(frame.vector)));
    if let Some((core, purpose)) = kstack::owner(frame.rsp.get()) {
        say!("  the interrupted stack is the {} stack of core {core}", purpose.as_str());
    }
    if let Some((index, table)) = exceptions::selector(frame) {
        say!("  the error code names entry {index} of the {table}");
    }
    finish(frame)
}

fn finish(frame: &Frame) -> ! {
    registers(frame);
    backtrace::interrupted(frame);
    creator_of_current();
    end()
}

fn access(error: u64) -> &'static str {
    let error = PageFaultErrorCode::from_bits_retain(error);
    if error.contains(PageFaultErrorCode::INSTRUCTION_FETCH) {
        "fetch from"
    } else if error.contains(PageFaultErrorCode::CAUSED_BY_WRITE) {
        "write to"
    } else {
        "read from"
    }
}

/// Reports a page fault that is no growing stack.
#[optimize(size)]
pub fn page_fault(frame: &Frame, addr: u64) -> ! {
    let error = PageFaultErrorCode::from_bits_retain(frame.error);
    let present =
        if error.contains(PageFaultErrorCode::PROTECTION_VIOLATION) { "a protected page" } else { "an unmapped page" };
    begin(format_args!("exception 14 #PF page fault: {} 0x{addr:016x}, {present}", access(frame.error)));
    if let Some((core, purpose)) = kstack::owner(addr) {
        say!("  that is the guard page of the {} stack of core {core}", purpose.as_str());
    } else if kstack::is_boot_guard(addr) {
        say!("  that is the guard page of the boot stack");
    }
    finish(frame)
}

/// Reports a stack that can't grow, under a G that can't end alone. The G is the program's `main`,
/// or preemption is off and even the red pages are used up.
#[optimize(size)]
pub fn stack_fault(frame: &Frame, addr: u64, cause: Cause) -> ! {
    match percpu::current().m().and_then(|m| m.running()) {
        Some(g) if cause == Cause::OutOfMemory && !frames::is_used_up() => begin(format_args!(
            "no frame at hand for 0x{addr:016x}, which {} touched while its core was at the free frames itself, or another core did not leave them",
            Who(g)
        )),
        Some(g) => begin(format_args!("{}", What { g, addr, cause })),
        None => begin(format_args!("a stack that nobody lives on was touched: {} 0x{addr:016x}", access(frame.error))),
    }
    finish(frame)
}

/// Reports a page fault on the #PF stack itself.
pub fn nested_page_fault(frame: &Frame, addr: u64) -> ! {
    begin(format_args!("a page fault inside the page fault handler: {} 0x{addr:016x}", access(frame.error)));
    registers(frame);
    end()
}

/// Reports a panic that can't unwind.
pub fn panic(info: &core::panic::PanicInfo<'_>, why: &str) -> ! {
    interrupts::disable();
    report_stack::run(&mut || {
        match info.location() {
            Some(at) => begin(format_args!("panic at {}:{}:{}: {}", at.file(), at.line(), at.column(), info.message())),
            None => begin(format_args!("panic: {}", info.message())),
        }
        if !why.is_empty() {
            say!("  it can't unwind: {why}");
        }
        // `info` lies in the frame of the panic machinery: the frame that panicked is above it.
        backtrace::callers(report_stack::seam(), core::ptr::from_ref(info).addr());
        creator_of_current();
        end()
    });
    end()
}

/// Reports a message and its origin.
#[inline(never)]
pub fn message(what: fmt::Arguments<'_>) -> ! {
    interrupts::disable();
    report_stack::run(&mut || {
        begin(what);
        backtrace::callers(message as *const () as usize, 0);
        creator_of_current();
        end()
    });
    end()
}

/// Reports that the scheduler's own rules were broken.
pub fn broken(rule: &str) -> ! {
    message(format_args!("{rule}"))
}
