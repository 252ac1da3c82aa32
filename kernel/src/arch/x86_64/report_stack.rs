//! A stack for reports that no fault started.
//!
//! A fault's report runs on its vector's IST stack. A panic is an ordinary call. Its G may have a
//! few hundred bytes left above its red pages, or no memory to grow into. A report there would run
//! into the very fault that it should report. So the report borrows the #DF stack of its core. No
//! other code needs that stack: while a report is under way a double fault can only end the report.
//!
//! ```text
//!   the panicking stack                        #DF stack
//!   │ …                  │                     │            │ ◀ top
//!   │ caller of run      │                     │ enter      │
//!   │ return address     │                     │ the report │
//!   │ rbp                │ ◀── rbp ──────────  │ …          │
//! ```
//!
//! `report_stack_call` keeps the way back in `rbp` and its CFI says so: a backtrace made on the
//! borrowed stack goes on into the panicking one.

use core::arch::{asm, naked_asm};

use super::{gdt, percpu};

/// Calls `f(arg)` with `rsp = top`. rdi = arg, rsi = f, rdx = top.
#[unsafe(naked)]
unsafe extern "C" fn report_stack_call(arg: *mut (), f: unsafe extern "C" fn(*mut ()), top: u64) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rsp, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}

/// Returns the start of the function that leads from one stack to the other: a backtrace shows the
/// frames after it.
pub fn seam() -> usize {
    report_stack_call as *const () as usize
}

/// Runs `f` on the report stack of this core, or where it is if it is there already or there is
/// none yet. Interrupts are off, and a report is about to begin or under way.
pub fn run(f: &mut dyn FnMut()) {
    unsafe extern "C" fn enter(f: *mut ()) {
        // SAFETY: `run` passes a pointer to its `f`, which outlives the call.
        unsafe { (*f.cast::<&mut dyn FnMut()>())() }
    }
    let stack = gdt::ist_stack(percpu::current(), gdt::IST_DOUBLE_FAULT);
    let here: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) here, options(nomem, nostack, preserves_flags)) };
    if stack.end == 0 || stack.contains(&here) {
        return f();
    }
    let mut f = f;
    // SAFETY: the stack is this core's, mapped, 16-byte aligned at its top, and unused: no double
    // fault that returned has run on it (none returns), and one that comes now ends the machine.
    unsafe { report_stack_call((&raw mut f).cast(), enter, stack.end) };
}
