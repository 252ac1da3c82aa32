//! In place of `trace.rs`, in a scheduler that is built without the feature `trace`: nothing is
//! recorded, and no code tests whether it should be.

use trefoil_trace::{Kind, Place, Why};

use crate::core::leave::Leaves;
use crate::core::m::M;
use crate::core::p::Held;
use crate::g::{Batch, GRef};
use crate::machine::guard::PreemptGuard;
pub use crate::measure::recorder::Recorder;

/// `attention`: no bit.
pub(crate) const ATTEND_TRACE: u32 = 0;

/// The scheduler is built without the recorder.
pub const BUILT: bool = false;

/// Returns false.
#[inline(always)]
pub fn is_on(_: &M) -> bool {
    false
}

/// Records nothing.
#[inline(always)]
pub fn note(_: &M, _: Kind, _: u64, _: u64) {}

/// Records nothing.
#[inline(always)]
pub fn note_all(_: &M, _: Kind, _: u8, _: Place, _: u32, _: u64, _: u64) {}

#[inline(always)]
pub(crate) fn ready_traced(_: &PreemptGuard, _: GRef) -> bool {
    false
}

/// Records nothing.
pub(crate) struct Noted;

impl Noted {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn marked(&self, _: &PreemptGuard, _: GRef, _: u8) {}

    #[inline(always)]
    pub(crate) fn put(&self, _: &PreemptGuard, _: GRef, _: u8, _: Place) {}
}

#[inline(always)]
pub(crate) fn readied(_: &M, _: GRef, _: u8, _: Place) {}

#[inline(always)]
pub(crate) fn moved(_: &M, _: GRef, _: Place) {}

#[inline(always)]
pub(crate) fn all_moved(_: &M, _: &Batch, _: Place) {}

#[inline(always)]
pub(crate) fn queued(_: &M, _: GRef, _: Why, _: Place) {}

#[inline(always)]
pub(crate) fn leaves(_: &M, _: GRef, _: Why) {}

#[inline(always)]
pub(crate) fn found_in(_: &M, _: Place) {}

#[inline(always)]
pub(crate) fn found(_: &M, _: GRef) {}

/// Leaves everything to g0.
#[inline(always)]
pub(crate) fn attended(_: &M, _: Held<'_>, _: GRef, _: Leaves) -> Option<GRef> {
    None
}

#[inline(always)]
pub(crate) fn attended_on_g0(_: &M, _: Held<'_>, _: GRef, _: Leaves) {}

#[inline(always)]
pub(crate) fn overflowed(_: &M, _: GRef, _: &Batch) {}

#[inline(always)]
pub(crate) fn numbers(_: &M, batch: u64) -> u64 {
    batch
}

#[inline(always)]
pub(crate) fn ticked(_: &M, _: &PreemptGuard) {}

#[inline(always)]
pub(crate) fn created(_: &M, _: GRef, _: u64) {}

#[inline(always)]
pub(crate) fn waited(_: &M, _: u64) {}

/// Records nothing.
#[inline(always)]
pub fn said(_: &M, _: Kind, _: u64, _: u64, _: [&str; 2]) {}

#[inline(always)]
pub(crate) fn begins(_: &M) {}
