//! Windows without a G, until a round takes them.

use crate::arch::lock::Lock;
use crate::mm::stack::{LINK, Window};

/// Windows without a G, linked through the words below their top: the next one's end, and how low
/// each reaches. [`LINK`] says that the first is no G, and [`RETIRED`] beside the second that the
/// addresses are never used again.
static STALE: Lock<Stale> = Lock::new(Stale { first: 0, len: 0 });

struct Stale {
    first: u64,
    len: usize,
}

/// In the second word.
const RETIRED: u64 = 1;

/// Adds a window whose pages begin at `low`, a retired one or another; returns how many there are
/// now.
///
/// # Safety
/// 1. As [`free`](crate::mm::stack::free).
pub(super) unsafe fn put(window: Window, low: u64, retired: bool) -> usize {
    let mut stale = STALE.lock();
    // SAFETY: 1. The page may be in limbo: then a touch brings it back.
    unsafe {
        let top = window.hi as *mut u64;
        top.sub(2).write(low & !RETIRED | if retired { RETIRED } else { 0 });
        top.sub(1).write(stale.first | LINK as u64);
    }
    stale.first = window.hi;
    stale.len += 1;
    stale.len
}

/// Takes one of the windows. Returns it, the address where its pages begin, and whether it is
/// retired.
pub(super) fn take() -> Option<(Window, u64, bool)> {
    let mut stale = STALE.lock();
    let window = Window::of(stale.first.checked_sub(1)?)?;
    // SAFETY: a window in the list has its top page, whose words `put` wrote.
    let (next, low) = unsafe {
        let top = window.hi as *const u64;
        (top.sub(1).read(), top.sub(2).read())
    };
    stale.first = next & !(LINK as u64);
    stale.len -= 1;
    Some((window, low & !RETIRED, low & RETIRED != 0))
}

pub(super) fn is_empty() -> bool {
    STALE.lock().len == 0
}
