//! The switch from one stack to another.
//!
// ANCHOR: frames
//! ```text
//!   suspended                      fresh                           running
//!
//!   │ …caller's frame  │           │ closure            │ top      │ …          │
//!   │ return address   │           ├────────────────────┤ 16-byte  │            │ ◀ rsp
//!   │ rbp              │           │ switch_enter       │ aligned
//!   │ rbx              │           │ 0          (rbp)   │
//!   │ r12              │           │ 0          (rbx)   │
//!   │ r13              │           │ entry      (r12)   │
//!   │ r14              │           │ arg        (r13)   │
//!   │ r15              │           │ 0, 0   (r14, r15)  │
//!   │ mxcsr, x87 cw    │ ◀ saved   │ 0x1f80, 0x037f     │ ◀ saved
//! ```
// ANCHOR_END: frames
//!
//! A voluntary switch is a function call: the caller has saved the registers that the ABI lets a
//! callee destroy. So six registers, the stack pointer and the two floating-point control words are
//! a whole context. The switch *jumps* to `after` once the next stack is in place: the `ret` of
//! `after` takes the next context's return address. So publishing the previous context costs no
//! extra frame, and happens when its registers are in memory and its stack is left.
//!
//! `fresh` lays the frame that `switch` would have left, with `switch_enter` as its return address.
//! `switch_enter` passes `arg` to `entry` and is where every backtrace ends: its CFI calls the
//! return address undefined, and `rbp` is 0.
//!
//! The control bits of `mxcsr` and the whole x87 control word belong to the callee-saved state; the
//! exception flags in the low six bits of `mxcsr` do not. Loading either word is dear and nearly
//! never needed, so each is loaded only when its control bits differ.
//!
//! The frames of both sides have the same shape, so the CFI that describes the pushes is right
//! before and after `rsp` changes. So a debugger steps through the switch, and unwinding from
//! `after` ends in the next context, not in the previous one.

use core::arch::naked_asm;

use crate::registers::{pop, push};

/// Saves this context in `*prev_sp`, loads `*next_sp`, runs `after(a, b)` there, and returns when
/// another context switches back.
///
/// # Safety
/// 1. `*next_sp` was stored by `switch` or made by [`fresh`], no other context loads it, and its
///    stack is intact.
/// 2. `prev_sp` is valid until another context has loaded from it.
#[unsafe(naked)]
pub unsafe extern "C" fn switch(
    prev_sp: *mut usize,
    next_sp: *const usize,
    after: unsafe extern "C" fn(*mut (), *mut ()),
    a: *mut (),
    b: *mut (),
) {
    naked_asm!(
        ".cfi_startproc",
        // In: rdi = prev_sp, rsi = next_sp, rdx = after, rcx = a, r8 = b; [rsp] = return address.
        // rdx, rcx, r8 stay as they are.
        push!("rbp" "rbx" "r12" "r13" "r14" "r15"),
        "sub rsp, 8",
        ".cfi_adjust_cfa_offset 8",
        "stmxcsr [rsp]",
        "fnstcw [rsp + 4]",
        "mov eax, [rsp]",
        "movzx r9d, word ptr [rsp + 4]",
        "mov [rdi], rsp",
        "mov rsp, [rsi]",
        // Another stack of the same shape. eax, r9w = the control words as they are; [rsp], [rsp +
        // 4] = as they shall be.
        ".cfi_remember_state",
        "xor eax, [rsp]",
        "test eax, {mxcsr_control}",
        "jne 2f",
        "3:", // mxcsr is right
        "cmp r9w, [rsp + 4]",
        "jne 4f",
        "5:", // both are right
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        pop!("r15" "r14" "r13" "r12" "rbx" "rbp"),
        // rsp = as at entry, of the next context: [rsp] is where it once called from. Out:
        // `after(a, b)`.
        "mov rdi, rcx",
        "mov rsi, r8",
        "jmp rdx",
        ".cfi_restore_state",
        "2:",
        "ldmxcsr [rsp]",
        "jmp 3b",
        "4:",
        "fldcw [rsp + 4]",
        "jmp 5b",
        ".cfi_endproc",
        mxcsr_control = const MXCSR_CONTROL,
    )
}

/// Runs first on a fresh stack: r12 = entry, r13 = its argument, rsp = the 16-byte aligned top.
/// Unwinding ends here.
///
/// Frames return to the instruction after the `nop`: an unwinder looks up the byte *before* a
/// return address, and that must be a byte of this function while `after` runs on a fresh stack.
#[unsafe(naked)]
unsafe extern "C" fn switch_enter() {
    naked_asm!(".cfi_startproc", ".cfi_undefined rip", "nop", "mov rdi, r13", "call r12", "ud2", ".cfi_endproc",)
}

/// Bytes of the `nop` in `switch_enter`.
const NOP: usize = 1;

/// The bits of `mxcsr` that a callee preserves: all but the six exception flags.
const MXCSR_CONTROL: u32 = 0xffc0;

/// Every floating-point exception masked, round to nearest; x87 in extended precision. As the ABI
/// has it at a program's start.
const CONTROL_WORDS: usize = 0x037f << 32 | 0x1f80;

/// Words that `switch` leaves on a stack, return address included.
const FRAME_WORDS: usize = 8;

/// Lays the frame of a context that will start in `entry(arg)` below `top`; returns its saved stack
/// pointer.
///
/// # Safety
/// 1. The 80 bytes below `top` (64 and its alignment) are mapped and unused.
#[inline]
pub unsafe fn fresh(top: *mut u8, entry: unsafe extern "C" fn(*mut ()) -> !, arg: *mut ()) -> usize {
    let top = top as usize & !15;
    let sp = (top - FRAME_WORDS * 8) as *mut usize;
    let start = switch_enter as *const () as usize + NOP;
    let frame = [CONTROL_WORDS, 0, 0, arg as usize, entry as usize, 0, 0, start];
    // SAFETY: the caller's: the frame lies within the 80 bytes below the old `top`, which are
    // mapped and unused.
    unsafe { sp.cast::<[usize; FRAME_WORDS]>().write(frame) };
    sp as usize
}
