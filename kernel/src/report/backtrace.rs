//! Backtraces for reports: lines of `  #03 0xffffffff80201234`, to which the runner adds names.
//!
//! The frames come from the unwinder over `.eh_frame_hdr`: a search in a sorted table and a few
//! hundred bytes of stack, no lock and no allocation. A printed address lies *inside* the
//! instruction that was under way. So a return address is printed less one: a call at the very end
//! of a function does not show as the next function. A tool that looks addresses up treats all of
//! them alike.
//!
//! A walk begins inside the report, so the caller passes the function after which the interesting
//! part starts. A fault during a walk (a broken stack) ends the report by its nested-fault rule.
//!
//! Rejected: following `rbp`, since the precompiled `core` keeps no frame pointers. Also rejected:
//! scanning the stack for addresses, since old ones lie between the true ones. The exception is a
//! wild interrupted `rip` without a return address in sight.

use core::ffi::c_void;
use core::fmt;

use heapless::{HistoryBuf, Vec};
use trefoil_sched::is_side_door;
use unwinding::abi::{
    _Unwind_Backtrace, _Unwind_GetCFA, _Unwind_GetIPInfo, _Unwind_GetRegionStart, UnwindContext, UnwindReasonCode,
};
use x86_64::VirtAddr;

use crate::arch::idt::{self, Frame};
use crate::arch::image::code;
use crate::mm::paging;

/// Frames that are shown at the inner end of a long backtrace, and at its outer end.
const HEAD: usize = 40;
const TAIL: usize = 16;

/// Where lines go.
pub type Out = fn(fmt::Arguments<'_>);

/// Prints straight to the port: a report is under way.
pub(super) fn raw(line: fmt::Arguments<'_>) {
    say!("{line}");
}

/// The most frames that are looked at: more than a window of 1 MiB holds.
const FRAMES_MAX: usize = 20_000;
/// Words of a stack that are looked at when there is no frame to start from, and how many hits are
/// shown.
const SCAN_WORDS: u64 = 512;
const SCAN_LINES: usize = 16;

fn is_code(addr: u64) -> bool {
    code().contains(&addr)
}

fn line(out: Out, number: usize, addr: u64) {
    out(format_args!("  #{number:02} 0x{addr:016x}"));
}

/// A walk on its way.
struct Walk {
    /// Start of the function after whose frame the showing begins; 0: at once.
    after: usize,
    /// And only frames that lie above this address.
    above: usize,
    seen: usize,
    /// More than this are not looked at.
    most: usize,
    shown: usize,
    /// How many are shown before there is a gap.
    head: usize,
    out: Out,
    /// Beyond the first `head` frames, the last ones so far.
    tail: HistoryBuf<u64, TAIL>,
}

#[optimize(size)]
extern "C" fn each(context: &UnwindContext<'_>, walk: *mut c_void) -> UnwindReasonCode {
    // SAFETY: `walk` passes a pointer to its `Walk`, which nobody else uses meanwhile.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    let mut interrupted = 0;
    let ip = _Unwind_GetIPInfo(context, &mut interrupted);
    walk.seen += 1;
    if ip == 0 || walk.seen > walk.most {
        return UnwindReasonCode::NORMAL_STOP;
    }
    if walk.after != 0 {
        if _Unwind_GetRegionStart(context) == walk.after {
            walk.after = 0;
        }
    } else if _Unwind_GetCFA(context) > walk.above {
        let addr = (ip - usize::from(interrupted == 0)) as u64;
        if walk.shown < walk.head {
            line(walk.out, walk.shown, addr);
        } else {
            walk.tail.write(addr);
        }
        walk.shown += 1;
    }
    UnwindReasonCode::NO_REASON
}

/// Shows frames, the first as number `from`. Returns the number after the last.
fn walk(after: usize, above: usize, from: usize, head: usize, out: Out) -> usize {
    walk_most(FRAMES_MAX, after, above, from, head, out)
}

#[inline(never)]
#[optimize(size)]
fn walk_most(most: usize, after: usize, above: usize, from: usize, head: usize, out: Out) -> usize {
    let mut walk = Walk { after, above, seen: 0, most, shown: from, head, out, tail: HistoryBuf::new() };
    _Unwind_Backtrace(each, (&raw mut walk).cast());
    let kept = walk.shown - walk.tail.len();
    if kept > head {
        out(format_args!("  … {} more …", kept - head));
    }
    for (number, &addr) in (kept..).zip(walk.tail.oldest_ordered()) {
        line(out, number, addr);
    }
    if walk.seen > most {
        out(format_args!("  … and so on"));
    }
    walk.shown
}

/// Prints the `head` innermost and the [`TAIL`] outermost frames that come after the function that
/// begins at `after`.
pub fn ends(after: usize, head: usize, out: Out) {
    walk(after, 0, 0, head, out);
}

/// Prints the `head` innermost frames that come after the function that begins at `after`, in a
/// bounded time. (A few frames lie before that.)
pub fn first(after: usize, head: usize, out: Out) {
    walk_most(head + 6, after, 0, 0, head + 6, out);
}

/// Prints the `head` innermost and the [`TAIL`] outermost frames that lie above the address
/// `above`.
pub fn above(above: usize, head: usize, out: Out) {
    walk(0, above, 0, head, out);
}

/// Prints the callers of the function that begins at `after`, as far as their frames lie above the
/// address `above`.
pub(super) fn callers(after: usize, above: usize) {
    if walk(after, above, 0, HEAD, raw) == 0 {
        // The function was inlined: better too much than nothing.
        walk(0, 0, 0, HEAD, raw);
    }
}

/// A place in the code where a G has parked: the innermost frames of its backtrace, kept instead of
/// shown.
///
/// The scheduler leaves a core by more than one instruction, and now and then by a function more
/// ([`is_side_door`]). A place is the program's, not the scheduler's: so that function does not
/// count, the function that parks counts as a whole (it is one of a lock's or channel's slow ways,
/// which are not inlined into programs), and each of those above it by its call, so that two lines
/// of one function are two places.
#[derive(Default)]
pub(super) struct Place {
    after: usize,
    frames: Vec<u64, TAIL>,
    /// Of the frames that count.
    number: u64,
}

impl Place {
    /// Keeps the callers of the function that begins at `after`.
    pub(super) fn keep(&mut self, after: usize) {
        extern "C" fn each(context: &UnwindContext<'_>, place: *mut c_void) -> UnwindReasonCode {
            // SAFETY: right below: a pointer to a `Place`, which nobody else uses meanwhile.
            let place = unsafe { &mut *place.cast::<Place>() };
            let mut interrupted = 0;
            let ip = _Unwind_GetIPInfo(context, &mut interrupted);
            if ip == 0 || place.frames.is_full() {
                return UnwindReasonCode::NORMAL_STOP;
            }
            let function = _Unwind_GetRegionStart(context);
            if place.after != 0 {
                if function == place.after {
                    place.after = 0;
                }
                return UnwindReasonCode::NO_REASON;
            }
            let addr = (ip - usize::from(interrupted == 0)) as u64;
            let _ = place.frames.push(addr);
            match place.number {
                0 if is_side_door(function) => {}
                0 => place.number = function as u64,
                number => place.number = (number ^ addr).wrapping_mul(0x0100_0000_01b3),
            }
            UnwindReasonCode::NO_REASON
        }
        self.after = after;
        _Unwind_Backtrace(each, (&raw mut *self).cast());
    }

    /// Returns the same number for the same place.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Prints the trace after all.
    pub(super) fn show(&self) {
        self.frames.iter().enumerate().for_each(|(number, &frame)| line(raw, number, frame));
    }
}

/// Prints the interrupted code's backtrace. Overwrites `rip` and `rsp` of the frame if they lead
/// nowhere.
#[optimize(size)]
pub(super) fn interrupted(frame: &Frame) {
    if is_code(frame.rip.get()) {
        walk(idt::stub(), 0, 0, HEAD, raw);
        return;
    }
    line(raw, 0, frame.rip.get());
    match word(frame.rsp.get()) {
        // A call through a bad pointer has left its return address here: as if the callee had
        // returned at once.
        Some(back) if is_code(back) => {
            frame.rip.set(back - 1);
            frame.rsp.set(frame.rsp.get() + 8);
            walk(idt::stub(), 0, 1, HEAD, raw);
        }
        _ => scan(frame.rsp.get()),
    }
}

/// Returns the word at `addr`, if that is a mapped 4 KiB page.
fn word(addr: u64) -> Option<u64> {
    if VirtAddr::try_new(addr).is_err() || !addr.is_multiple_of(8) {
        return None;
    }
    paging::translate(addr)?;
    // SAFETY: the page is mapped and the word lies in it. If the owner of the page writes it
    // meanwhile, any value will do.
    Some(unsafe { (addr as *const u64).read_volatile() })
}

fn scan(rsp: u64) {
    say!("  no frame to start from; words on the stack that point into code:");
    (0..SCAN_WORDS)
        .map_while(|i| word(rsp.wrapping_add(8 * i)))
        .filter(|&word| is_code(word))
        .take(SCAN_LINES)
        .enumerate()
        .for_each(|(i, addr)| line(raw, i + 1, addr));
}
