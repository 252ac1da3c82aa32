//! Windows that nobody lives on, until a round takes them.

use crate::mm::lock::Lock;
use crate::mm::window::Window;

/// Windows without a G, linked through the words below their top: the next one's end, and how low each reaches.
static STALE: Lock<Stale> = Lock::new(Stale { first: 0, len: 0 });

struct Stale {
    first: u64,
    len: usize,
}

/// Adds a window whose pages begin at `low`; returns how many there are now.
///
/// # Safety
/// 1. As [`free`](crate::mm::window::free).
pub(super) unsafe fn put(window: Window, low: u64) -> usize {
    let mut stale = STALE.lock();
    // SAFETY: 1. The page may be in limbo: then a touch brings it back.
    unsafe {
        let top = window.hi as *mut u64;
        top.sub(1).write(stale.first);
        top.sub(2).write(low);
    }
    stale.first = window.hi;
    stale.len += 1;
    stale.len
}

/// One of them, and where its pages begin.
pub(super) fn take() -> Option<(Window, u64)> {
    let mut stale = STALE.lock();
    let window = Window::of(stale.first.checked_sub(1)?)?;
    // SAFETY: a window in the list has its top page, whose words `put` wrote.
    let (next, low) = unsafe {
        let top = window.hi as *const u64;
        (top.sub(1).read(), top.sub(2).read())
    };
    stale.first = next;
    stale.len -= 1;
    Some((window, low))
}

pub(super) fn is_empty() -> bool {
    STALE.lock().len == 0
}
