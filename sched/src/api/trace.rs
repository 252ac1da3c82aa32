//! A program's own words in a trace: log lines, regions and tasks, as in Go's `runtime/trace`.
//!
//! The words cost next to nothing while no recorder runs. In a program that is built without the
//! recorder they cost nothing at all. `cargo trefoil trace` builds with it.
//!
//! * A *log line* is a moment of the goroutine that writes it.
//! * A *region* is a part of one goroutine's life: it begins and ends on that goroutine. Regions
//!   nest.
//! * A *task* is a piece of work on which several goroutines may take part, such as a request. Log
//!   lines and regions may name their task.

use core::marker::PhantomData;

use crate::core::m::M;
use crate::core::trace::{self, said};
use crate::machine::guard::PreemptGuard;
use crate::machine::sync::Ordering;
use trefoil_trace::Kind;

/// Returns true if the recorder runs: then texts are worth their making.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// # let queue = [1, 2, 3];
/// if trace::is_on() {
///     trace::log("queue", &format!("{queue:?}"));
/// }
/// # });
/// ```
#[inline]
pub fn is_on() -> bool {
    trace::BUILT && on_here()
}

#[cold]
fn on_here() -> bool {
    trace::is_on(M::current(&PreemptGuard::new()))
}

/// Writes a line into the trace.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// trace::log("cache", "miss");
/// # });
/// ```
#[inline]
pub fn log(category: &str, message: &str) {
    if trace::BUILT {
        say(Kind::Log, 0, 0, [category, message]);
    }
}

/// Begins a region, which ends when the returned value is dropped.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let parsing = trace::region("parse");
/// let words = "a b c".split(' ').count();
/// drop(parsing);
/// # assert_eq!(words, 3);
/// # });
/// ```
#[inline]
#[must_use = "a region ends when it is dropped"]
pub fn region(name: &str) -> Region {
    if trace::BUILT {
        say(Kind::RegionBegin, 0, 0, [name, ""]);
    }
    Region(PhantomData)
}

/// Runs `f` in a region.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// assert_eq!(trace::with_region("sum", || 1 + 2), 3);
/// # });
/// ```
#[inline]
pub fn with_region<R>(name: &str, f: impl FnOnce() -> R) -> R {
    let _region = region(name);
    f()
}

/// A part of a goroutine's life; see [`region`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let region: trace::Region = trace::region("write");
/// drop(region);
/// # });
/// ```
// Not `Send`: a region belongs to its goroutine.
#[derive(Debug)]
pub struct Region(PhantomData<*mut ()>);

impl Drop for Region {
    #[inline]
    fn drop(&mut self) {
        if trace::BUILT {
            say(Kind::RegionEnd, 0, 0, ["", ""]);
        }
    }
}

/// A piece of work in which several goroutines may take part. Ends when it is dropped.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let request = trace::Task::new("request");
/// let lookup = request.child("lookup");
/// lookup.log("cache", "miss");
/// drop(lookup);
/// let _reply = request.region("reply");
/// # });
/// ```
#[derive(Debug)]
pub struct Task(u64);

impl Task {
    /// Begins a task.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let _task = trace::Task::new("request");
    /// # });
    /// ```
    #[inline]
    #[must_use = "a task ends when it is dropped"]
    pub fn new(name: &str) -> Self {
        if trace::BUILT { begin(0, name) } else { Self(0) }
    }

    /// Begins a task that is a part of this one.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let request = trace::Task::new("request");
    /// let _lookup = request.child("lookup");
    /// # });
    /// ```
    #[inline]
    #[must_use = "a task ends when it is dropped"]
    pub fn child(&self, name: &str) -> Self {
        if trace::BUILT { begin(self.0, name) } else { Self(0) }
    }

    /// Writes a line that belongs to the task.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// trace::Task::new("request").log("size", "42");
    /// # });
    /// ```
    #[inline]
    pub fn log(&self, category: &str, message: &str) {
        if trace::BUILT {
            say(Kind::Log, self.0, 0, [category, message]);
        }
    }

    /// Begins a region that belongs to the task.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let request = trace::Task::new("request");
    /// let _parse = request.region("parse");
    /// # });
    /// ```
    #[inline]
    #[must_use = "a region ends when it is dropped"]
    pub fn region(&self, name: &str) -> Region {
        if trace::BUILT {
            say(Kind::RegionBegin, self.0, 0, [name, ""]);
        }
        Region(PhantomData)
    }
}

impl Drop for Task {
    #[inline]
    fn drop(&mut self) {
        if trace::BUILT {
            say(Kind::TaskEnd, self.0, 0, ["", ""]);
        }
    }
}

#[cold]
#[inline(never)]
fn say(kind: Kind, a: u64, b: u64, texts: [&str; 2]) {
    let guard = PreemptGuard::new();
    said(M::current(&guard), kind, a, b, texts);
}

#[cold]
#[inline(never)]
fn begin(parent: u64, name: &str) -> Task {
    let guard = PreemptGuard::new();
    let m = M::current(&guard);
    // A number of its own; those of goroutines come from the same counter.
    let number = if trace::is_on(m) { m.sched().ids.fetch_add(1, Ordering::Relaxed) } else { 0 };
    said(m, Kind::TaskBegin, number, parent, [name, ""]);
    Task(number)
}
