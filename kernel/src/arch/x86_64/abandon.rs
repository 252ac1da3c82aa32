//! Taking a core away from the G that runs on it, for good.
//!
//! A G's fault can't be answered on its own stack (that is what it has run out of) nor in the
//! handler (which may take no lock). But while a G runs, its core's g0 is suspended, and below what
//! g0 has saved its stack is free. So the handler lays a copy of what was interrupted there, and
//! returns into `abandon_entry` instead of into the G:
//!
//! ```text
//!   the G's stack                   g0's stack
//!   │ …          │                  │ run_m, switched away │
//!   │ frames     │                  │ saved registers      │ ◀ g0's saved stack pointer
//!   │ …          │ ◀ rsp            │                      │
//!   │ red pages  │                  │ copy of the frame    │ ◀ rsp in abandon_entry
//!                                   │ the last rites       │
//! ```
//!
//! The CFI of `abandon_entry` describes the copied frame as a signal frame, so a backtrace made
//! there goes on into the G. At its end the scheduler switches to g0 as if the G had parked.
//!
//! The report may take long, so it is made with preemption on. For that the G gets up once more, on
//! a window beside its own (`mm/stack/deathbed.rs`):
//!
// ANCHOR: deathbed
//! ```text
//!   g0, depth 1                    the deathbed, depth 0             g0, depth 1
//!   abandon_entry ─▶ last_rites
//!     a copy of the copy ────────▶ abandon_entry ─▶ on_deathbed
//!                                    the report; others run
//!                                    a touch of its guard page ────▶ abandon_entry ─▶ last_rites
//!                                                                      the scheduler's part
//! ```
// ANCHOR_END: deathbed
//!
//! The touch takes the way of any overflow, from any core that the G is on by then. Any other end
//! of the G there takes the same way, and then its report says that it was cut short.

use core::arch::{asm, naked_asm};
use core::mem::offset_of;

use trefoil_sched::{Cause, M, PreemptGuard};

use super::idt::Frame;
use super::percpu::{self, PerCpu};
use super::preempt::FLAGS;
use super::reporter;
use super::upcalls::upcalls;
use crate::scheduler;

/// Bytes of a frame.
const FRAME_BYTES: usize = size_of::<Frame>();
const _: () = assert!(FRAME_BYTES == 176);

/// The data on g0's stack for `abandon_entry`, and then on the deathbed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Rites {
    frame: [u64; FRAME_BYTES / 8],
    /// The touched address.
    pub addr: u64,
    cause: u64,
    /// On the deathbed: the core on which the G has ended, and 1 more.
    core: u64,
    /// On the deathbed: the report is complete.
    pub told: bool,
}

impl Rites {
    /// Returns the cause of the end.
    pub fn cause(&self) -> Cause {
        u8::try_from(self.cause).ok().and_then(Cause::from_u8).unwrap_or(Cause::StackOverflow)
    }

    /// Returns the stack pointer that the G ended with.
    pub fn sp(&self) -> u64 {
        self.frame[offset_of!(Frame, rsp) / 8]
    }

    /// Returns the address of the rites on the deathbed that ends at `top`: below the top word.
    fn on(top: u64) -> *mut Self {
        ((top as usize - 8 - size_of::<Self>()) & !15) as *mut Self
    }

    /// Reads the rites on the deathbed that ends at `top`.
    ///
    /// # Safety
    /// 1. Its G has got up there, and no code runs there any more.
    pub unsafe fn from_bed(top: u64) -> Self {
        // SAFETY: 1. `get_up` has written them.
        unsafe { Self::on(top).read() }
    }
}

/// Starts the G that has ended on this core on the deathbed that ends at `top`, with g0's data for
/// it, and preemption on. g0 is again as it was while the G ran.
pub fn get_up(guard: PreemptGuard, rites: &Rites, top: u64) -> ! {
    let core = M::current(&guard).index() as u64 + 1;
    let at = Rites::on(top);
    // SAFETY: the pages are there, and nobody else has them.
    unsafe { at.write(Rites { core, told: false, ..*rites }) };
    // `rites` adopts the level there.
    guard.hand_over();
    // SAFETY: `abandon_entry` expects this, and the code on this stack has no more work to do.
    unsafe { asm!("mov rsp, {at}", "jmp {entry}", at = in(reg) at, entry = sym abandon_entry, options(noreturn)) }
}

/// rsp = the copied frame, which is where the rites begin.
#[unsafe(naked)]
unsafe extern "C" fn abandon_entry() -> ! {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_signal_frame",
        ".cfi_def_cfa rsp, 176",
        ".cfi_offset r15, -176",
        ".cfi_offset r14, -168",
        ".cfi_offset r13, -160",
        ".cfi_offset r12, -152",
        ".cfi_offset r11, -144",
        ".cfi_offset r10, -136",
        ".cfi_offset r9, -128",
        ".cfi_offset r8, -120",
        ".cfi_offset rbp, -112",
        ".cfi_offset rdi, -104",
        ".cfi_offset rsi, -96",
        ".cfi_offset rdx, -88",
        ".cfi_offset rcx, -80",
        ".cfi_offset rbx, -72",
        ".cfi_offset rax, -64",
        ".cfi_offset rip, -40",
        ".cfi_offset rsp, -16",
        "nop",
        "cld",
        "mov rdi, rsp",
        "call {rites}",
        "ud2",
        ".cfi_endproc",
        rites = sym rites,
    )
}

extern "C" fn rites(rites: &mut Rites) -> ! {
    // SAFETY: 1. `take_over` turned one level off for us, and `get_up` has kept it.
    let guard = unsafe { PreemptGuard::adopt() };
    match rites.core.checked_sub(1) {
        None => (upcalls().last_rites)(guard, rites),
        Some(core) => (upcalls().on_deathbed)(guard, rites, core),
    }
}

/// Returns the start of the function after whose frame a backtrace shows the G.
pub fn seam() -> usize {
    abandon_entry as *const () as usize
}

/// Makes the handler return into the last rites of the G that it interrupted at depth 0. False:
/// there is no such G, or its end is the machine's.
pub fn take_over(core: &PerCpu, frame: &Frame, addr: u64, cause: Cause) -> bool {
    let Some(m) = core.m() else { return false };
    let Some(g) = m.running() else { return false };
    if scheduler::is_main(g) || reporter::is_under_way() {
        return false;
    }
    let at = (m.g0_sp() - size_of::<Rites>()) & !15;
    // SAFETY: while a G runs on this core, g0's stack is unused below what it has saved; a frame is
    // as many words as `Rites` has room for.
    unsafe {
        let rites = at as *mut Rites;
        (*rites).frame = core::ptr::from_ref(frame).cast::<[u64; FRAME_BYTES / 8]>().read();
        (*rites).addr = addr;
        (*rites).cause = g.doomed().unwrap_or(cause) as u64;
        (*rites).core = 0;
        (*rites).told = false;
    }
    // The level that the scheduler takes over with the switch to g0.
    percpu::preempt_off();
    frame.rip.set(abandon_entry as *const () as u64);
    frame.rsp.set(at as u64);
    // The G may have had interrupts off (an ICR write does); the core goes on with them on.
    frame.rflags.set(FLAGS);
    true
}
