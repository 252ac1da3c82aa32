//! Reports: what the machine says when it can't go on.
//!
//! A fault or a panic can hit code that holds any lock (the console's, the heap's, the global queue's), on this core or another. So a
//! report takes no lock and allocates nothing: it claims the right to speak by one compare-and-swap, stops the other cores by
//! NMI with a bounded wait, and writes to the serial port byte by byte.
//!
//! * A second core that wants to report meanwhile stops and lets the first one speak.
//! * A fault inside the report ends it in one line; nothing is tried twice.
//! * Backtraces come from the unwinder over `.eh_frame_hdr`, which neither locks nor allocates. The trace of a *parked* G is made by
//!   switching to it with a function that prints instead of returning: `switch` runs `after` as if the parked context had called it.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use trefoil_sched::G;
use trefoil_sched::gstate::State;
use unwinding::abi::{_Unwind_Backtrace, _Unwind_GetIP, UnwindContext, UnwindReasonCode};

use crate::arch::exit::{Exit, exit};
use crate::arch::idt::Frame;
use crate::arch::{apic, clock, exceptions, percpu, serial, switch};
use crate::mm::{kstack, window};
use crate::platform;

/// Core number + 1 of the core that reports; 0: nobody does.
static REPORTER: AtomicU32 = AtomicU32::new(0);
/// Cores that have stopped for the report.
static STOPPED: AtomicU32 = AtomicU32::new(0);

/// The most frames of a backtrace.
const FRAMES_MAX: usize = 64;
/// G's that a deadlock report shows with a backtrace; the others are counted by reason.
const GS_IN_FULL: usize = 100;
/// How long the other cores get to stop: 100 ms of ticks at 1 GHz or more.
const STOP_TICKS: u64 = 100_000_000;

/// The serial port, without a lock.
struct Raw;

impl Write for Raw {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        serial::put_str(s);
        Ok(())
    }
}

macro_rules! say {
    ($($arg:tt)*) => { { let _ = writeln!(Raw, $($arg)*); } };
}

/// Whether any core reports.
pub fn is_under_way() -> bool {
    REPORTER.load(Ordering::Relaxed) != 0
}

/// This core stops for another one's report. In the NMI handler, or instead of a second report.
pub fn stop_this_core() -> ! {
    STOPPED.fetch_add(1, Ordering::Relaxed);
    loop {
        // SAFETY: stops this core for good.
        unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Claims the report and stops the others.
fn begin(what: fmt::Arguments<'_>) {
    let me = percpu::current().index() as u32 + 1;
    match REPORTER.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        Err(reporter) if reporter == me => {
            say!("\ntrefoil: another fault inside the report: {what}");
            end();
        }
        Err(_) => stop_this_core(),
    }
    let others = percpu::all().filter(|c| c.has_arrived()).count().saturating_sub(1) as u32;
    if others > 0 {
        apic::send_nmi_all_but_self();
        let begin = clock::ticks();
        while STOPPED.load(Ordering::Relaxed) < others && clock::ticks() - begin < STOP_TICKS {
            core::hint::spin_loop();
        }
    }
    say!("\ntrefoil: fatal: {what}");
    let stopped = STOPPED.load(Ordering::Relaxed);
    if stopped < others {
        say!("  {} of {others} other cores did not stop", others - stopped);
    }
    say!("  core {}, {}", percpu::current().index(), Where);
}

fn end() -> ! {
    say!("trefoil: end of report");
    exit(Exit::Failure)
}

/// The context that the reporting core is in.
struct Where;

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match percpu::current().m() {
            None => f.write_str("before the scheduler")?,
            Some(m) => match m.running() {
                Some(g) => write!(f, "{}", Who(g))?,
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

fn registers(f: &Frame) {
    say!("  rip 0x{:016x}  rflags {:#x}  rsp 0x{:016x}  error {:#x}", f.rip, f.rflags, f.rsp, f.error);
    say!("  rax {:016x}  rbx {:016x}  rcx {:016x}  rdx {:016x}", f.rax, f.rbx, f.rcx, f.rdx);
    say!("  rsi {:016x}  rdi {:016x}  rbp {:016x}  r8  {:016x}", f.rsi, f.rdi, f.rbp, f.r8);
    say!("  r9  {:016x}  r10 {:016x}  r11 {:016x}  r12 {:016x}", f.r9, f.r10, f.r11, f.r12);
    let (cr2, cr3): (u64, u64);
    // SAFETY: reads registers.
    unsafe { core::arch::asm!("mov {}, cr2", "mov {}, cr3", out(reg) cr2, out(reg) cr3, options(nomem, nostack)) };
    say!("  r13 {:016x}  r14 {:016x}  r15 {:016x}", f.r13, f.r14, f.r15);
    say!("  cr2 {cr2:016x}  cr3 {cr3:016x}");
}

/// Prints the callers of this function, from the one at `from` on (0: all).
fn backtrace(from: u64) {
    struct Walk {
        from: u64,
        printed: usize,
    }
    extern "C" fn each(context: &UnwindContext<'_>, walk: *mut core::ffi::c_void) -> UnwindReasonCode {
        // SAFETY: `backtrace` passes its `Walk`.
        let walk = unsafe { &mut *walk.cast::<Walk>() };
        let ip = _Unwind_GetIP(context) as u64;
        if walk.from == ip {
            walk.from = 0;
        }
        if walk.from == 0 && ip != 0 {
            say!("  #{:02} 0x{ip:016x}", walk.printed);
            walk.printed += 1;
        }
        if walk.printed == FRAMES_MAX { UnwindReasonCode::NORMAL_STOP } else { UnwindReasonCode::NO_REASON }
    }
    let mut walk = Walk { from, printed: 0 };
    _Unwind_Backtrace(each, (&raw mut walk).cast());
    if walk.printed == 0 && from != 0 {
        // A jump to nowhere: the unwinder knows no such place.
        say!("  #00 0x{from:016x}");
    }
}

/// An exception that nothing handles.
pub fn exception(frame: &Frame) -> ! {
    begin(format_args!("exception {} {}", frame.vector, exceptions::name(frame.vector)));
    if let Some((core, purpose)) = kstack::owner(frame.rsp) {
        say!("  the interrupted stack is the {} stack of core {core}", purpose.as_str());
    }
    finish(frame)
}

fn finish(frame: &Frame) -> ! {
    registers(frame);
    backtrace(frame.rip);
    end()
}

fn access(error: u64) -> &'static str {
    match (error >> 4 & 1, error >> 1 & 1) {
        (1, _) => "fetch from",
        (_, 1) => "write to",
        _ => "read from",
    }
}

/// A page fault that is no growing stack.
pub fn page_fault(frame: &Frame, addr: u64) -> ! {
    let present = if frame.error & 1 == 1 { "a protected page" } else { "an unmapped page" };
    begin(format_args!("exception 14 #PF page fault: {} 0x{addr:016x}, {present}", access(frame.error)));
    if let Some((core, purpose)) = kstack::owner(addr) {
        say!("  that is the guard page of the {} stack of core {core}", purpose.as_str());
    }
    finish(frame)
}

/// A G has run out of its window.
pub fn stack_overflow(frame: &Frame, addr: u64) -> ! {
    begin(format_args!("stack overflow: {} 0x{addr:016x}", access(frame.error)));
    if let Some(g) = percpu::current().m().and_then(|m| m.running()) {
        let stack = g.stack();
        say!("  {} has used up its window 0x{:016x}..0x{:016x}", Who(g), stack.lo, stack.hi);
        if !(stack.lo..stack.hi).contains(&(addr as usize)) {
            say!("  but the address lies in another window's guard: a wild pointer?");
        }
    }
    finish(frame)
}

/// A G's stack can't grow.
pub fn stack_out_of_memory(frame: &Frame, addr: u64) -> ! {
    begin(format_args!("out of memory: no frame for a growing stack at 0x{addr:016x}"));
    finish(frame)
}

/// A page fault on the #PF stack itself.
pub fn nested_page_fault(frame: &Frame, addr: u64) -> ! {
    begin(format_args!("a page fault inside the page fault handler: {} 0x{addr:016x}", access(frame.error)));
    registers(frame);
    end()
}

/// A panic that can't unwind.
pub fn panic(info: &core::panic::PanicInfo<'_>, why: &str) -> ! {
    match info.location() {
        Some(at) => begin(format_args!("panic at {}:{}:{}: {}", at.file(), at.line(), at.column(), info.message())),
        None => begin(format_args!("panic: {}", info.message())),
    }
    if !why.is_empty() {
        say!("  it can't unwind: {why}");
    }
    backtrace(0);
    end()
}

/// A message and where it came from.
pub fn message(what: fmt::Arguments<'_>) -> ! {
    begin(what);
    backtrace(0);
    end()
}

/// The scheduler's own rules were broken.
pub fn broken(rule: &str) -> ! {
    message(format_args!("{rule}"))
}

/// Nobody will ever run again: who waits for what.
pub fn deadlock() -> ! {
    begin(format_args!("deadlock: all goroutines are asleep, no timer is armed"));
    let (mut shown, mut others) = (0, 0);
    if let Some(sched) = platform::try_sched() {
        sched.for_each_g(|g| {
            if g.state() != State::Waiting {
                return;
            }
            if shown == GS_IN_FULL {
                others += 1;
                return;
            }
            shown += 1;
            say!("  {} [{}] waits for 0x{:016x}", Who(g), g.wait_reason().as_str(), g.waits_for());
            // All cores rest and g0 holds no lock, so the reserve can be filled for the walk on the G's own stack.
            window::fill_reserve();
            parked_backtrace(g);
        });
    }
    if others > 0 {
        say!("  … and {others} more");
    }
    end()
}

/// Where to come back to from a parked G.
static RETURN_SP: AtomicUsize = AtomicUsize::new(0);

/// Prints where a parked G is. It can't be resumed after this: the walk uses its stack.
fn parked_backtrace(g: &G) {
    unsafe extern "C" fn walk(_: *mut (), _: *mut ()) {
        backtrace(0);
        let mut gone = 0;
        let back = RETURN_SP.load(Ordering::Relaxed);
        // SAFETY: `back` was stored by the switch below and is loaded once.
        unsafe {
            switch::switch(&raw mut gone, &raw const back, nothing, core::ptr::null_mut(), core::ptr::null_mut())
        };
    }
    unsafe extern "C" fn nothing(_: *mut (), _: *mut ()) {}
    let sp = g.saved_sp();
    let stack = g.stack();
    if !(stack.lo..stack.hi).contains(&sp) {
        return;
    }
    // SAFETY: the G is parked and nobody will resume it; `walk` comes back instead of returning into it.
    unsafe { switch::switch(RETURN_SP.as_ptr(), &raw const sp, walk, core::ptr::null_mut(), core::ptr::null_mut()) };
}
