//! Stack windows: anonymous memory with a guard at the low end, backed on touch by the host.
//!
//! The guard is a *guard region* where the host kernel has them (Linux 6.13). A region costs no
//! mapping of its own, so 100,000 stacks do not meet the limit on mappings. Elsewhere the guard is
//! a page without rights.

use trefoil_sched::Stack;

pub(crate) const PAGE: usize = 4096;

/// `MADV_GUARD_INSTALL`, newer than the `libc` crate's list.
const GUARD_INSTALL: libc::c_int = 102;

/// Allocates a window of `size` bytes, whose lowest page may not be touched. `None`: the host has
/// no more.
pub(crate) fn alloc(size: usize) -> Option<Stack> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    // SAFETY: a new mapping where the host likes it: nobody's memory changes.
    let lo = unsafe { libc::mmap(core::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if lo == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: all three act on the mapping just made, which nobody else knows yet. Without
    // `NOHUGEPAGE` the first touch of one stack could back eight of them.
    let guarded = unsafe {
        libc::madvise(lo, size, libc::MADV_NOHUGEPAGE);
        libc::madvise(lo, PAGE, GUARD_INSTALL) == 0 || libc::mprotect(lo, PAGE, libc::PROT_NONE) == 0
    };
    let stack = Stack { lo: lo as usize, hi: lo as usize + size };
    if !guarded {
        // SAFETY: 1. the window was mapped right above, and nobody has seen it.
        unsafe { free(stack) };
        return None;
    }
    Some(stack)
}

/// Gives a window back.
///
/// # Safety
/// 1. `stack` came from [`alloc`], and nobody runs on it or points into it.
pub(crate) unsafe fn free(stack: Stack) {
    // SAFETY: the caller's: the window came from `alloc`, so it is one whole mapping, and nobody
    // uses it.
    unsafe { libc::munmap(stack.lo as *mut libc::c_void, stack.size()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_usable_from_its_top_down_to_the_guard() {
        let stack = alloc(256 << 10).unwrap();
        for at in [stack.hi - 1, stack.lo + PAGE] {
            // SAFETY: inside the window and above its guard.
            unsafe { (at as *mut u8).write(1) };
        }
        // SAFETY: 1. the window came from `alloc`, and the pointers into it are gone.
        unsafe { free(stack) };
    }

    #[test]
    fn a_window_that_does_not_fit_is_refused() {
        assert_eq!(alloc(1 << 60), None);
    }
}
