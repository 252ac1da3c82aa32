//! In the place of `recorder.rs` in a kernel without a recorder: nothing.

use core::fmt;

use trefoil_boot::options::trace::Trace;
pub use trefoil_sched::internals::recorder::BUILT;
use trefoil_sched::{M, Sched};
use trefoil_trace::Kind;

#[inline(always)]
pub fn init(_: &Trace, _: &'static [u8], _: fn(fmt::Arguments<'_>)) {}

#[inline(always)]
pub fn begin(_: &'static Sched, _: usize) {}

#[inline(always)]
pub fn attach(_: &M, _: fn(fmt::Arguments<'_>)) {}

#[inline(always)]
pub fn note(_: &M, _: Kind, _: u64, _: u64) {}

#[inline(always)]
pub fn stack_trace(_: &M, _: &mut [u32]) -> usize {
    0
}

#[inline(always)]
pub fn on_g0(_: &M) {}

/// Returns false.
#[inline(always)]
pub fn snapshot(_: fn(&[u8])) -> bool {
    false
}

#[inline(always)]
pub fn at_exit() {}

#[inline(always)]
pub fn is_deadlock() {}

#[inline(always)]
pub fn at_report() {}
