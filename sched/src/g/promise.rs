//! The list of promises that a G has not used: places in channels that wait for its value.
//!
//! A promise is made and given back in `api/chan/reserve.rs`. The list is here, since the record of
//! the G names it, and the undertaker gives back the promises to a dead G.

use core::cell::Cell;
use core::ptr;

use super::G;

/// A promise as the list knows it: the first field of what is promised.
#[repr(C)]
pub(crate) struct Link {
    /// The promise that was made before this one, and the one after it.
    older: Cell<*const Link>,
    newer: Cell<*const Link>,
    /// The life of the G.
    life: Cell<usize>,
    give_back: unsafe fn(*const Link),
    /// [`Owed::give_back_some`], called by way of a promise: a program without any has no code for
    /// it.
    give_back_some: fn(&mut Owed),
}

impl Link {
    /// Makes a link that is in no list.
    ///
    /// # Safety
    /// 1. `give_back` may be called with this link as soon as it [enters](Self::enter) a list.
    pub(crate) unsafe fn new(give_back: unsafe fn(*const Link)) -> Self {
        let (older, newer) = (Cell::new(ptr::null()), Cell::new(ptr::null()));
        Self { older, newer, life: Cell::new(0), give_back, give_back_some: Owed::give_back_some }
    }

    /// Puts the link at `at` into the list of `g`, the caller. With preemption off.
    ///
    /// # Safety
    /// 1. The link is in no list. The link does not move, and its memory stays, until it has
    ///    [left](Self::leave).
    pub(crate) unsafe fn enter(at: *const Self, g: &G) {
        // SAFETY: 1. the caller keeps the link in memory until it has left.
        let link = unsafe { &*at };
        let older = newest(g);
        link.life.set(g.life());
        link.newer.set(ptr::null());
        link.older.set(older);
        // SAFETY: the older link is in the list, and stays in memory until it has left (rule 1. of
        // its own `enter`).
        if let Some(older) = unsafe { older.as_ref() } {
            older.newer.set(at);
        }
        g.promises.set(at);
    }

    /// Takes the link out of the list of `g`, the caller. With preemption off.
    pub(crate) fn leave(&self, g: &G) {
        let (older, newer) = (self.older.get(), self.newer.get());
        // SAFETY: the newer link is in the list, so it is in memory (rule 1. of `enter`).
        unsafe { newer.as_ref() }.map_or(&g.promises, |newer| &newer.older).set(older);
        // SAFETY: the older link is in the list, so it is in memory (rule 1. of `enter`).
        if let Some(older) = unsafe { older.as_ref() } {
            older.newer.set(newer);
        }
    }
}

/// Returns the first promise in the list of `g`, in its present life.
fn newest(g: &G) -> *const Link {
    let first = g.promises.get();
    // SAFETY: a link in the list is in memory (rule 1. of `enter`). A link that was left over by an
    // earlier life of the record was leaked.
    if !first.is_null() && unsafe { &*first }.life.get() == g.life() { first } else { ptr::null() }
}

/// The promises to G's that are dead: one list behind another.
///
/// ```text
///   first ──▶ promise ── older ──▶ promise ── older ──▶ (none)     the rest of one G's
///                └ newer ──▶ promise ── older ──▶ …                the rest of another one's
/// ```
#[derive(Debug)]
pub(crate) struct Owed(*const Link);

// SAFETY: their G's never run again: they belong to the list.
unsafe impl Send for Owed {}

impl Owed {
    /// Makes an empty list.
    pub(crate) const fn nothing() -> Self {
        Self(ptr::null())
    }

    /// Puts the promises to one more dead G in front. False: there are none.
    pub(crate) fn add(&mut self, dead: &G) -> bool {
        let first = newest(dead);
        // SAFETY: a link in the list of a dead G is never freed: its owner never runs again.
        let Some(promise) = (unsafe { first.as_ref() }) else { return false };
        promise.newer.set(core::mem::replace(&mut self.0, first));
        true
    }

    /// Gives some back. True: there are more.
    pub(crate) fn work(&mut self) -> bool {
        // SAFETY: the links of dead G's are never freed: their owners never run again.
        if let Some(promise) = unsafe { self.0.as_ref() } {
            (promise.give_back_some)(self);
        }
        !self.0.is_null()
    }

    fn give_back_some(&mut self) {
        for _ in 0..TOGETHER {
            let at = self.0;
            // SAFETY: the links of dead G's are never freed: their owners never run again.
            let Some(promise) = (unsafe { at.as_ref() }) else { return };
            let (older, newer) = (promise.older.get(), promise.newer.get());
            // SAFETY: the older link belongs to the same dead G, so it is never freed.
            self.0 = match unsafe { older.as_ref() } {
                Some(second) => {
                    second.newer.set(newer);
                    older
                }
                None => newer,
            };
            // SAFETY: 1. of `new`: `give_back` may be called with a link that has entered a list,
            // and this one has just left it.
            unsafe { (promise.give_back)(at) };
        }
    }
}

/// So many are given back in one go: some thousands of instructions.
const TOGETHER: usize = 16;
