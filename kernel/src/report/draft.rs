//! The text of a report while its G makes it. The report then leaves as one piece, so that no line
//! of another core stands inside it.
//!
//! A report of a G takes a while: its frames are looked up one by one, with preemption on. So its
//! lines are gathered here, and `console::report` puts them into the output ring at once. There is
//! one place for such text, without a heap: a G often panics because there is no memory. A
//! [`Turn`] says whose the place is. A text longer than the place leaves in pieces.
//!
//! A fatal report that comes in between tells the unfinished text first ([`tell`]).
//!
//! Rejected:
//!
//! * the text on the stack of the G: 4 KiB more of it may want a frame;
//! * a turn for the output ring: a G could keep it by its death;
//! * the ring's lock: nothing is formatted under it.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

use trefoil_sched::output::{RESERVE, Turn};

use crate::arch::serial;

/// Bytes of a report that leave at once. The ring keeps room for so many.
const SIZE: usize = RESERVE;

struct Text(UnsafeCell<[u8; SIZE]>);

// SAFETY: only the owner of `TURN` touches the bytes; a fatal report reads them when all other
// cores have stopped.
unsafe impl Sync for Text {}

/// The owner of the draft.
pub static TURN: Turn = Turn::new();

/// Guarded by `TURN`.
static TEXT: Text = Text(UnsafeCell::new([0; SIZE]));
/// How much of it there is.
static LEN: AtomicUsize = AtomicUsize::new(0);

/// Returns true if `n` bytes more fit.
pub fn has_room(n: usize) -> bool {
    LEN.load(Ordering::Relaxed) + n <= SIZE
}

/// Adds `line`.
///
/// # Panics
/// If there is no [room](has_room) for it.
///
/// # Safety
/// 1. The caller runs for the owner of [`TURN`].
pub unsafe fn add(line: &[u8]) {
    let len = LEN.load(Ordering::Relaxed);
    assert!(has_room(line.len()));
    // SAFETY: 1. nobody else touches the text; the line fits behind `len`.
    unsafe { TEXT.0.get().cast::<u8>().add(len).copy_from_nonoverlapping(line.as_ptr(), line.len()) };
    LEN.store(len + line.len(), Ordering::Relaxed);
}

/// Calls `send` with the text, and empties the draft.
///
/// # Safety
/// 1. The caller runs for the owner of [`TURN`].
pub unsafe fn send(send: fn(&[u8])) {
    // SAFETY: 1. nobody else touches the text, which is `LEN` bytes long.
    send(unsafe { core::slice::from_raw_parts(TEXT.0.get().cast(), LEN.load(Ordering::Relaxed)) });
    LEN.store(0, Ordering::Relaxed);
}

/// Writes an unfinished draft to the port: for a fatal report.
pub(super) fn tell() {
    // SAFETY: 1. all other cores have stopped, so the owner does nothing any more.
    unsafe { send(serial::put_bytes) };
}
