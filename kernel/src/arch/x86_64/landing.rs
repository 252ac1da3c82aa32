//! The unwinder's last step, in which a preemption must not lie.
//!
//! ```text
//!   the G's stack
//!   │ the frame that has the landing pad │ ◀ rsp, from the first of these instructions on
//!   │ frames that are gone, any number   │
//!   │ the context: what is to be loaded  │ ◀ rdi
//!   │ the unwinder's own frames          │ ◀ rsp, before
//!
//!   mov rsp, [rdi + 56]      ldmxcsr · fldcw · push of the return address · 13 registers      mov rdi, [rdi + 40]      ret
//!                       ▲                                                                    ▲
//!                       └────────── the context lies below rsp, and is still needed ─────────┘
//! ```
//!
//! A process has a signal stack for that; the frame of a preemption lies on the G's own stack,
//! right below rsp, and would overwrite the context. So the handler takes a G that it interrupts
//! there back to the first of these instructions, with its rsp below the context. The G has written
//! nothing but its return address, and will write that again. The frame lies below the context
//! then.
//!
//! The instructions are those of `restore_context` in the crate `unwinding`. The compiler inlines
//! them into other functions, so the handler knows them by their bytes, not by their address.
//! `kernel/tests/boundaries.rs` interrupts each of them, and fails if they are other ones.
//!
//! Rejected: preemption off while the unwinder works. The unwinder may work for long, and it ends
//! by a jump into code of the compiler's. Also rejected: coming again a little later, since a panic
//! in a deep recursion is there again and again.

use super::idt::Frame;
use super::image::code;

/// How they begin: `mov rsp, [rdi + 56]`, `ldmxcsr [rdi + 136]`, `fldcw [rdi + 144]`.
const BEGIN: [u8; 17] = [0x48, 0x8b, 0x67, 0x38, 0x0f, 0xae, 0x97, 0x88, 0, 0, 0, 0xd9, 0xaf, 0x90, 0, 0, 0];
/// Where the second instruction begins, and the one that loads rdi.
const FROM: u64 = 4;
const TO: u64 = 80;

/// How far below the context the stack goes on.
const BELOW: u64 = 256;

/// A stack's window is not larger.
const WINDOW_MAX: u64 = 1 << 30;

/// Bytes from where they begin to behind the last boundary at which the context is needed: for
/// tests.
pub const BYTES: u64 = TO + 1;

/// Returns where the instructions begin, in the whole image: for tests.
pub fn places() -> impl Iterator<Item = u64> {
    code().filter(|&at| begins(at))
}

/// Returns where these instructions begin, if the one at `rip` is among them and needs the context
/// below the stack pointer.
#[cold]
#[inline(never)]
fn search(rip: u64) -> Option<u64> {
    let from = rip.wrapping_sub(TO).max(code().start);
    (from..rip.wrapping_sub(FROM) + 1).find(|&at| begins(at))
}

/// Returns true if the instructions begin at `at`, which is code.
fn begins(at: u64) -> bool {
    // SAFETY: code is there, and after the last of it more than so many bytes of constants.
    unsafe { (at as *const [u8; BEGIN.len()]).read() == BEGIN }
}

/// Takes `frame` back to where these instructions begin, if it is among them: its G can be
/// preempted there.
#[inline]
pub(super) fn take_back(frame: &Frame) {
    // Nothing but this has a pointer in rdi to what is below rsp, unless it is a stale one.
    if frame.rsp.get().wrapping_sub(frame.rdi) < WINDOW_MAX
        && let Some(begin) = search(frame.rip.get())
    {
        frame.rip.set(begin);
        frame.rsp.set(frame.rdi - BELOW);
    }
}
