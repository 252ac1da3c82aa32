//! A program's own words in a trace, and the moment at which one is written.

pub use trefoil_sched::trace::{Region, Task, is_on, log, region, with_region};

use super::console;
use crate::recorder;

/// Writes the trace as it is now, and goes on recording. Returns false if no recorder runs, or
/// another trace is on its way.
///
/// The other goroutines go on meanwhile. The recorder counts their decisions as dropped until the
/// trace has left.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let begin = Instant::now();
/// runtime::yield_now();
/// if begin.elapsed() > Duration::from_millis(5) {
///     trace::snapshot(); // with `trace=flight`: what led to this
/// }
/// # }
/// ```
pub fn snapshot() -> bool {
    // Whole lines, beside the unfinished one of the caller.
    recorder::snapshot(console::send)
}
