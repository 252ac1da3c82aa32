//! The account after a test: the same memory, G's and timers as before the test, and no others.
//!
//! The kit of a test image opens the account at the start of `main` and closes it at the end. The
//! account names each value that has not come back.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use trefoil_sched::Stack;

use crate::api::runtime::{self, MemoryStats};
use crate::api::{console, time};
use crate::mm::frames::FRAME;
use crate::mm::{heap, stack};
use crate::scheduler;

/// How long G's that were told to end may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long blocks of the heap may be on their way between a core and the shared slabs.
const TRIP: Duration = Duration::from_millis(500);

/// The values before the test.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    heap: u64,
    goroutines: usize,
    timers: usize,
}

/// Returns the live bytes of the heap, without those that the kernel keeps for good: G records and
/// lists.
pub fn heap_bytes() -> u64 {
    loop {
        let growths = scheduler::sched().timer_growths();
        let before = kept();
        let live = heap::stats().live_bytes;
        // A core that comes up late, or runs a timer of the kernel's, may make a list longer
        // meanwhile. (If that was a G that was ended where it stood, the loop does not end by this;
        // but then the heap's bytes are not judged.)
        let whole = growths.is_some() && scheduler::sched().timer_growths() == growths;
        if kept() == before && (whole || runtime::stats().memory.abandoned > 0) {
            return live.saturating_sub(before);
        }
    }
}

/// Returns the bytes that the kernel keeps on the heap.
fn kept() -> u64 {
    let sched = scheduler::sched();
    let timers: u64 = sched.timer_bytes().map(heap::counted).sum();
    let deaths = sched.deaths.heap_bytes() as u64;
    timers + deaths + sched.records().1 as u64 + stack::stats().packed_bytes + stack::list_bytes()
}

impl Account {
    /// Opens the account.
    pub fn open() -> Self {
        Self { heap: heap_bytes(), goroutines: runtime::num_goroutines(), timers: scheduler::sched().num_timers() }
    }

    /// Compares the values. Waits a while for G's that are on their way out.
    ///
    /// # Errors
    /// Each value that is new or missing, by name and number.
    pub fn close(self) -> Result<(), String> {
        // The caller's unfinished line is on the heap, too.
        console::flush_current();
        let mut left = String::new();
        let deadline = time::Instant::now() + PATIENCE;
        while runtime::num_goroutines() > self.goroutines && time::Instant::now() < deadline {
            time::sleep(Duration::from_millis(1));
        }
        let now = runtime::num_goroutines();
        if now != self.goroutines {
            left += &format!("goroutines: {} at the start, {now} now\n", self.goroutines);
        }
        let timers = scheduler::sched().num_timers();
        // A G that was ended where it stood leaks its property, a ticker with its timer included.
        if timers > self.timers && runtime::stats().memory.abandoned == 0 {
            left += &format!("timers: {} at the start, {timers} now\n", self.timers);
        }
        // Windows without a G give back all memory. The remaining pages belong to free G's of other
        // P's caches, and to live G's.
        runtime::scavenge();
        heap::trim();
        // A core that comes up late fills its reserves meanwhile; lost memory stays lost.
        let (memory, unknown) = loop {
            let memory = runtime::stats().memory;
            let unknown = memory.kernel_frames as i64 - MemoryStats::named_kernel_frames() as i64;
            if unknown == 0 || time::Instant::now() > deadline {
                break (memory, unknown);
            }
            time::sleep(Duration::from_millis(1));
        };
        let owned = pages_of_gs();
        if memory.stacks.pages != owned {
            left +=
                &format!("stack pages: {} are mapped, {owned} belong to a goroutine's record\n", memory.stacks.pages);
        }
        let windows = windows_of_gs() + memory.stacks.retired;
        if memory.stacks.windows != windows {
            left += &format!("windows: {} are out, {windows} belong to a goroutine's record\n", memory.stacks.windows);
        }
        if unknown != 0 {
            left += &format!("frames: {unknown} used by nobody who is known ({} KiB)\n", unknown * FRAME as i64 / 1024);
        }
        // Other cores may move blocks meanwhile, and then the counts do not fit together. A lost
        // block stays lost.
        let trip_ends = time::Instant::now() + TRIP;
        let heap = loop {
            let heap = heap_bytes() - heap::counted(left.capacity());
            if heap == self.heap || memory.abandoned > 0 || time::Instant::now() > trip_ends {
                break heap;
            }
            time::sleep(Duration::from_millis(1));
        };
        if heap != self.heap && memory.abandoned == 0 {
            left += &format!("heap: {} bytes at the start, {heap} now\n", self.heap);
        }
        if left.is_empty() { Ok(()) } else { Err(left) }
    }
}

/// Counts the pages of the windows of all G records, free ones included.
fn pages_of_gs() -> u64 {
    let mut pages = 0;
    scheduler::sched().for_each_g(|g| pages += stack::in_use(g).0 as u64 / FRAME);
    pages
}

/// Counts the G records that have a window.
fn windows_of_gs() -> u64 {
    let mut windows = 0;
    scheduler::sched().for_each_g(|g| windows += u64::from(g.stack() != Stack::NONE));
    windows
}
