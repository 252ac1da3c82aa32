//! One place, and the G that uses it: for the text of a report until it is complete.
//!
//! ```text
//!   claim    owner: nobody → me; another G's place is not taken
//!   release  owner: me → nobody
//! ```
//!
//! A G that ends where it stands may own the place. The side that sees to its end releases the
//! place for it.
//!
//! Rejected: a lock with a queue. A G that waits for a report's place is about to end, and others
//! run while it yields.

use crate::g::{G, GRef};
use crate::machine::sync::{AtomicPtr, Ordering};

/// The owner of a place.
#[derive(Debug)]
pub struct Turn(AtomicPtr<G>);

impl Turn {
    crate::const_unless_loom! {
        /// Makes a place that nobody owns.
        #[expect(clippy::new_without_default, reason = "a static's value")]
        pub fn new() -> Self {
            Self(AtomicPtr::new(core::ptr::null_mut()))
        }
    }

    /// Makes `g` the owner. True: it is the owner now, or was before. False: another G is.
    #[must_use = "another G may own the place"]
    pub fn claim(&self, g: GRef) -> bool {
        let me = core::ptr::from_ref(g).cast_mut();
        // Acquire: pairs with the Release in `release`: the last owner is through with the place.
        match self.0.compare_exchange(core::ptr::null_mut(), me, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => true,
            Err(owner) => core::ptr::eq(owner, me),
        }
    }

    /// Returns true if `g` is the owner. By `g`, or by the side that sees to its end.
    pub fn is_of(&self, g: GRef) -> bool {
        core::ptr::eq(self.0.load(Ordering::Relaxed), g)
    }

    /// Returns true if any G is the owner, or was a moment ago.
    pub fn is_taken(&self) -> bool {
        !self.0.load(Ordering::Relaxed).is_null()
    }

    /// Leaves the place to others. By the owner, or by the side that sees to its end.
    pub fn release(&self) {
        // Release: pairs with the Acquire in `claim`.
        self.0.store(core::ptr::null_mut(), Ordering::Release);
    }
}
