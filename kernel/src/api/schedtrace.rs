//! `schedtrace=MS`: Go's line about the scheduler, again and again.
//!
//! ```text
//! SCHED 1009ms: gomaxprocs=4 idleprocs=2 threads=4 spinningthreads=0 idlethreads=2 runqueue=0 [3 0 0 0] preemptions=12 steals=40 wakeups=51/3
//! ```
//!
//! As in Go: P's, P's without an M, M's (cores), M's that look for work, M's at rest, the length of
//! the global queue, and of each P's own. Trefoil adds, since boot: G's that made way for others,
//! G's taken from other P's, wake-ups sent and those of them that found nothing.
//!
//! A timer prints the line, on a g0. The timer does not come again if it is all that would ever
//! run, so that a deadlock is still found.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use trefoil_sched::internals::m::{Counter, Counters};
use trefoil_sched::internals::timers::Chore;

use super::console;
use crate::scheduler;

/// Nanoseconds between two lines.
static PERIOD: AtomicU64 = AtomicU64::new(0);

/// Starts the trace: from `now` on, a line each `ms`.
pub fn start(ms: u64, now: u64) {
    PERIOD.store(ms * 1_000_000, Ordering::Relaxed);
    TRACE.start(now + ms * 1_000_000);
}

static TRACE: Chore = Chore::new(trace);

fn trace(now: u64) -> Option<u64> {
    console::say(format_args!("{}", Line(now)));
    (!scheduler::sched().is_dead_but_for_me(now)).then(|| now + PERIOD.load(Ordering::Relaxed))
}

struct Line(u64);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sched = scheduler::sched();
        let (idle, spinning) = sched.rest.counts();
        word(f, "SCHED ", self.0 / 1_000_000)?;
        word(f, "ms: gomaxprocs=", sched.num_ps() as u64)?;
        word(f, " idleprocs=", sched.num_idle_ps() as u64)?;
        word(f, " threads=", sched.rest.started_count().into())?;
        word(f, " spinningthreads=", spinning.into())?;
        word(f, " idlethreads=", idle.into())?;
        word(f, " runqueue=", sched.globq.len() as u64)?;
        for (i, p) in sched.ps()[..sched.num_ps()].iter().enumerate() {
            word(f, if i == 0 { " [" } else { " " }, p.waiting().into())?;
        }
        word(f, "] preemptions=", sum(|c| &c.preemptions))?;
        word(f, " steals=", sum(|c| &c.steals))?;
        word(f, " wakeups=", sum(|c| &c.wakes_sent))?;
        word(f, "/", sum(|c| &c.wakes_useless))
    }
}

#[inline(never)]
fn sum(of: fn(&Counters) -> &Counter) -> u64 {
    scheduler::sched().ms().map(|m| of(&m.counters).get()).sum()
}

/// Writes a word and a number: short, since it is in every image.
#[inline(never)]
fn word(f: &mut fmt::Formatter<'_>, word: &str, n: u64) -> fmt::Result {
    f.write_str(word)?;
    fmt::Display::fmt(&n, f)
}
