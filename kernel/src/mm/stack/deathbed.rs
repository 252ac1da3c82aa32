//! A second window for a G that ends where it stands.
//!
//! The G's own window is used up, and its frames stay as they are: others may borrow from them. But
//! the report of its end takes millions of instructions where the stack is deep. So the G makes the
//! report on a window of the default size beside its own, with preemption on, and others run
//! meanwhile.
//!
//! The top word names the G, as that of its own window does. So a handler that finds the stack
//! pointer outside the G's window knows the deathbed by one look ([`of`]). The pages that a report
//! needs are there before it begins, since a G often dies because there is no memory. A G that goes
//! deeper touches the window like any other, and the window grows.
//!
//! A G on its deathbed never parks: a timer or a list that it left behind may still ready it. So
//! the scavenger neither shrinks nor packs the deathbed. The window goes to the scavenger when the
//! G has left it.

use core::sync::atomic::{AtomicBool, Ordering};

use trefoil_sched::{G, Stack};

use super::{CLASSES, FRAME, Window, alloc, walk};

/// Pages that are there from the beginning: a report takes half of them, a preemption's frame two.
const PAGES: u64 = if cfg!(debug_assertions) { 8 } else { 6 };

/// For tests: only the top page is.
static IS_BARE: AtomicBool = AtomicBool::new(false);

/// Deathbeds made from now on have one page each, and grow; or they have all they need. For tests.
#[doc(hidden)]
pub fn make_bare(bare: bool) {
    IS_BARE.store(bare, Ordering::Relaxed);
}

/// Makes a deathbed for `g`. `None`: there is no memory, or no addresses. With preemption off, and
/// not in a handler.
pub fn make(g: &G) -> Option<Window> {
    let bed = alloc(CLASSES[0] as usize).ok()?;
    let pages = if IS_BARE.load(Ordering::Relaxed) { 1 } else { PAGES };
    let there = (2..=pages).all(|n| walk::map_from_pool(bed.hi - n * FRAME));
    set_owner(bed, core::ptr::from_ref(g).addr());
    if !there {
        // SAFETY: 1. `bed` came from `alloc` right above, and nobody has seen it.
        unsafe { free(bed) };
    }
    there.then_some(bed)
}

/// Returns the deathbed of `g` that `sp` lies on. With preemption off, or in a handler of the core
/// on which `g` runs.
#[cold]
pub fn of(g: &G, sp: u64) -> Option<Window> {
    let window = Window::of(sp.wrapping_sub(1))?;
    (window != Window::from(g.stack()) && window.top_word() == core::ptr::from_ref(g).addr()).then_some(window)
}

/// Returns true if `sp` lies on `g`'s own stack.
#[inline(always)]
pub fn is_up(g: &G, sp: u64) -> bool {
    let Stack { lo, hi } = g.stack();
    (lo as u64..hi as u64).contains(&sp.wrapping_sub(1))
}

/// Its G has left it for good.
///
/// # Safety
/// 1. `bed` came from [`make`], and no code runs there.
#[inline(never)]
pub unsafe fn free(bed: Window) {
    set_owner(bed, 0);
    // SAFETY: 1. the caller's: `bed` came from `make`, hence from `alloc`, and no code runs there;
    // nothing was lent from there, so nothing points into it.
    unsafe { super::free(bed) };
}

/// Writes the top word.
fn set_owner(bed: Window, word: usize) {
    // SAFETY: the top page is there, and the word is written by its owner only.
    unsafe { (bed.hi as *mut usize).sub(1).write_volatile(word) };
}
