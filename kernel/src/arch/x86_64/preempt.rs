//! Preemption: takes the core away from a G in the middle of its code. The G can go on later, on
//! any core.
//!
// ANCHOR: stack
//! ```text
//!   the G's stack                                          who writes it
//!   │ …                 │
//!   │ frames            │ ◀ interrupted rsp
//!   │ 128 bytes         │  may be in use below rsp (red zone)
//!   │ to a multiple of 64
//!   │ ss rsp rflags cs rip                                 preempt_entry, from the core's record
//!   │ rax … r15         │ ◀ rbx from here on               preempt_entry
//!   │ to a multiple of 64
//!   │ xsave area        │                                  preempt_entry
//!   │ preempted → switch│
//! ```
// ANCHOR_END: stack
//!
//! The timer's handler can't switch: it stands on an IST stack that the next interrupt overwrites.
//! So the handler puts the interrupted instruction pointer, flags and stack pointer into its core's
//! record. Then it turns preemption off one level, and returns into `preempt_entry` on the G's
//! own stack. At depth 1 there is no other preemption, so the stub reads the record before the next
//! one is written. The stub saves every register and all vector state, and then makes an ordinary
//! call that makes an ordinary switch. On any core, the G resumes through the stub.
//!
//! **The hard race** is the way back, between the decrement that turns preemption on and the
//! `iretq`. Another interrupt there would lay a second frame below the first, and so on for as long
//! as interrupts come faster than the way back takes. So interrupts are off there. If the decrement
//! finds something pending (see [`percpu::pend`]), the stub returns to depth 1 and turns interrupts
//! on. Then the stub handles the pending mark, and begins the way back anew.
//!
//! There is always room: four red pages lie below the G's part of the stack. A frame that reaches
//! into them is not the G's fault, so it does not doom the G
//! ([`G::exempt`](trefoil_sched::G::exempt)). But the frame leaves red pages mapped, and the G
//! could go down into those without a fault. So:
//!
//! **INV-RED**: at depth 0 at least two red pages, the lowest, are not mapped.
//!
//! ```text
//!   lo       +4K    +8K    +12K   +16K   +20K
//!   │ guard  │ red  │ red  │ red  │ red  │ the G's
//!   │        │ depth > 0   │ ◀─ a frame ─┼──── rsp at or above +20K: the frame is laid
//!   │        │             │      rsp here, at depth 0: the G ends, no frame is laid
//! ```
//!
//! * A frame of the largest size that starts above the red pages ends within the two topmost ones
//!   (asserted below).
//! * The handler lays no frame for a G whose `rsp` lies in the red pages at depth 0. Such a G has
//!   overflowed without a fault. The handler ends the G there and then, as the #PF handler would.
//! * Code at depth > 0 that maps a red page dooms its G, so the G never comes back to depth 0.
//! * A window whose G has ended in order may keep its red pages for the next G: the same two pages.
//!
//! So code at depth > 0 that starts from anywhere at depth 0 has 8 KiB of red pages.
//! `kernel/tests/edge.rs` starts from everywhere.
//!
//! A G on its deathbed is far above that window's red pages, and is preempted there like any
//! other.
//!
//! One place needs the bytes below its stack pointer: the unwinder's last step (`landing.rs`).
//!
//! Rejected: copying the handler's frame to the G's stack in the handler, where a touch of an
//! absent page is a fault in a handler. Also rejected: switching in the handler on one IST stack
//! per G (a page each).

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU32, Ordering};

use trefoil_sched::{Cause, M, PreemptGuard};
use x86_64::registers::rflags::RFlags;

use super::idt::{Frame, MXCSR, pop_general, push_general};
use super::percpu::{self, PerCpu};
use super::phys::PAGE;
use super::upcalls::upcalls;
use super::{abandon, gdt, landing, reporter, stretch};

/// Bytes of the xsave area, a multiple of 64; 0: the processor has `fxsave` only.
static XSAVE_BYTES: AtomicU32 = AtomicU32::new(0);
/// The same where there is only `fxsave`.
const FXSAVE_BYTES: u32 = 512;

/// Sets the interface that saves the vector state, and the room that it needs. Called by each core,
/// with the same value.
pub fn set_xsave_bytes(bytes: u32) {
    XSAVE_BYTES.store(bytes.next_multiple_of(64), Ordering::Relaxed);
}

/// The largest xsave area of the states that `cpu::vector_state` turns on: with AVX-512.
const XSAVE_MOST: usize = 2688;
/// The red zone, the two gaps down to multiples of 64, and the registers.
const AROUND: usize = 128 + 63 + 192;
/// Stack use of [`preempted`] and [`pending`], down to the switch. Builds without optimisation need
/// the most.
const SWITCH: usize = if cfg!(debug_assertions) { 4096 } else { 1024 };
/// Red pages that a preemption may map.
const RED_PAGES: usize = 2;
// INV-RED.
const _: () = assert!(AROUND + XSAVE_MOST + SWITCH <= RED_PAGES * PAGE as usize);

/// Returns the most bytes of stack that a preempted G uses besides its own: its frame, and the
/// switch's part.
pub fn frame_bytes() -> usize {
    AROUND + XSAVE_BYTES.load(Ordering::Relaxed).max(FXSAVE_BYTES) as usize + 512
}

/// Makes the G that `frame` interrupted on this core give way: at once, if the G can be preempted
/// there; else as soon as it can. In a handler.
pub fn request(core: &PerCpu, frame: &Frame) {
    let Some(m) = core.m() else { return };
    let Some(g) = m.running() else { return };
    if !can_take(core, frame) {
        m.attend_slice();
        return percpu::pend();
    }
    landing::take_back(frame);
    if (upcalls().is_red)(g, frame.rsp.get()) {
        return end(core, frame);
    }
    g.exempt(true);
    core.interrupted.set([frame.rip.get(), frame.cs, frame.rflags.get(), frame.rsp.get(), frame.ss]);
    // The level that `preempted` hands to the scheduler.
    percpu::preempt_off();
    frame.rip.set(preempt_entry as *const () as u64);
    frame.rsp.set((frame.rsp.get() - 128) & !63);
    frame.rflags.set(FLAGS);
}

/// Ends the G that `frame` interrupted with its stack pointer in the red pages, or the machine if
/// that G is the program's `main`.
#[cold]
fn end(core: &PerCpu, frame: &Frame) {
    let rsp = frame.rsp.get();
    if !abandon::take_over(core, frame, rsp, Cause::StackOverflow) {
        (upcalls().stack_fault)(frame, rsp, Cause::StackOverflow);
    }
}

/// Returns true if `frame` has interrupted a G that can be preempted at once: at depth 0, on its
/// own stack, with interrupts on. In a handler.
pub fn can_take(core: &PerCpu, frame: &Frame) -> bool {
    percpu::depth() == 0
        && frame.rflags.get() & INTERRUPTS != 0
        && on_its_stack(core, frame)
        && !reporter::is_under_way()
}

/// Returns true if `frame` interrupted a G on that G's own stack, or on its deathbed. In a
/// handler.
pub fn on_its_stack(core: &PerCpu, frame: &Frame) -> bool {
    let rsp = frame.rsp.get();
    core.m().and_then(M::running).is_some_and(|g| (upcalls().is_its_stack)(g, rsp))
}

/// The interrupt flag.
pub const INTERRUPTS: u64 = RFlags::INTERRUPT_FLAG.bits();
/// The stub's flags: interrupts on, all other flags as a function expects them.
pub(super) const FLAGS: u64 = INTERRUPTS | 2;

/// In: rsp = a multiple of 64, depth 1, interrupts on; every other register is the interrupted
/// code's.
#[unsafe(naked)]
unsafe extern "C" fn preempt_entry() -> ! {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_signal_frame",
        ".cfi_def_cfa rsp, 0",
        ".cfi_undefined rip",
        "push qword ptr gs:[{interrupted} + 32]",
        "push qword ptr gs:[{interrupted} + 24]",
        "push qword ptr gs:[{interrupted} + 16]",
        "push qword ptr gs:[{interrupted} + 8]",
        "push qword ptr gs:[{interrupted}]",
        ".cfi_def_cfa rsp, 40",
        ".cfi_offset rip, -40",
        ".cfi_offset rsp, -16",
        push_general!(),
        // 20 words: 160 bytes below a multiple of 64.
        "mov rbx, rsp",
        ".cfi_def_cfa_register rbx",
        "sub rsp, 32",
        "mov r12d, [rip + {xsave_bytes}]",
        "test r12d, r12d",
        "jz 5f",
        "sub rsp, r12",
        // xrstor wants the header's unused words to be zero, and xsave does not write them.
        "xor eax, eax",
        "mov rdi, rsp",
        "add rdi, 512",
        "mov ecx, 8",
        "rep stosq",
        "mov eax, -1",
        "mov edx, eax",
        "xsave64 [rsp]",
        "6:",
        // As a function expects it: an empty x87 stack, the default control words.
        "fninit",
        "ldmxcsr [rip + {mxcsr}]",
        "call {preempted}",
        "7:", // depth 1, interrupts on
        "cli",
        "dec dword ptr gs:[{depth}]",
        "jz 8f",
        "test r12d, r12d",
        "jz 9f",
        "mov eax, -1",
        "mov edx, eax",
        "xrstor64 [rsp]",
        "3:",
        "mov rsp, rbx",
        ".cfi_remember_state",
        ".cfi_def_cfa rsp, 160",
        pop_general!(),
        "iretq",
        ".cfi_restore_state",
        "5:",
        "sub rsp, 512",
        "fxsave64 [rsp]",
        "jmp 6b",
        "9:",
        "fxrstor64 [rsp]",
        "jmp 3b",
        "8:", // something waits for preemption to be on
        "inc dword ptr gs:[{depth}]",
        "sti",
        "call {pending}",
        "jmp 7b",
        ".cfi_endproc",
        interrupted = const percpu::INTERRUPTED,
        depth = const percpu::DEPTH,
        xsave_bytes = sym XSAVE_BYTES,
        mxcsr = sym MXCSR,
        preempted = sym preempted,
        pending = sym pending,
    )
}

/// On the G's stack: lets the others run.
extern "C" fn preempted() {
    // SAFETY: 1. `request` turned preemption off one level for this call.
    let guard = unsafe { PreemptGuard::adopt() };
    let guard = trefoil_sched::preempt(guard);
    M::current(&guard).running().inspect(|g| g.exempt(false));
    // The stub turns it on.
    stretch::ends();
    guard.hand_over();
}

/// Handles the pending mark at depth 1, after a decrement has found something pending.
extern "C" fn pending() {
    stretch::begins();
    // SAFETY: 1. the stub's level, borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    let g = M::current(&guard).running();
    // The frame is still there, and may lie in the red pages.
    g.inspect(|g| g.exempt(true));
    guard.hand_over();
    percpu::see_to_pending();
    g.inspect(|g| g.exempt(false));
    stretch::ends();
}

/// The code segment that the frames on G's stacks name; for tests that lay one by hand.
#[doc(hidden)]
pub const CODE: u64 = gdt::CODE.0 as u64;
