//! The numbers of processes, threads and tracks.
//!
//! Their numbers have 31 bits, and a goroutine's 64. A goroutine whose number is small enough keeps
//! it; the others get numbers from [`MAPPED`] on, in the order in which they appear. M's and
//! processes have numbers above those that are kept, from the next power of ten on:
//!
//! ```text
//!   1 … 99999        goroutines
//!   100000 + m       M number m
//!   105000 + n       process number n
//!   1100000000 …     goroutines with numbers above 899999999
//! ```

use std::collections::HashMap;

/// A goroutine with this number or a higher one gets another.
const LARGE: u64 = 900_000_000;
/// The first of those that they get.
const MAPPED: i32 = 1_100_000_000;

/// The thread of M 0 has this number at least.
const FIRST_M: i32 = 10_000;
/// So many numbers are the M's; then come the processes.
const MS: i32 = 5_000;

/// Tracks of threads have the number of their thread. Those of anything else begin here.
const OTHERS: u64 = 1 << 32;

/// The track above those of the P's.
pub(super) const PROCS: u64 = OTHERS;
/// The length of the global queue.
pub(super) const GLOBAL: u64 = OTHERS + 1;
/// Free frames of memory.
pub(super) const FRAMES: u64 = OTHERS + 2;

/// The track above those of the tasks.
pub(super) const TASKS: u64 = OTHERS + 3;

/// Returns the track of process number `n`.
pub(super) fn process(n: usize) -> u64 {
    2 * OTHERS + n as u64
}

/// Returns the track of a P.
pub(super) fn proc(p: u8) -> u64 {
    OTHERS + (1 << 8) + u64::from(p)
}

/// Returns the track of the length of a P's queue.
pub(super) fn queue(p: u8) -> u64 {
    OTHERS + (2 << 8) + u64::from(p)
}

/// Returns the track of a task, of which `n` came before.
pub(super) fn task(n: usize) -> u64 {
    3 * OTHERS + n as u64
}

/// Returns the track of a thread.
pub(super) fn track(thread: i32) -> u64 {
    thread as u64
}

/// The threads of goroutines and M's.
#[derive(Debug, Default)]
pub(super) struct Threads {
    threads: HashMap<u64, i32>,
    gs: HashMap<i32, u64>,
    mapped: i32,
    first_m: i32,
}

impl Threads {
    /// Gives each of these goroutines a thread.
    pub(super) fn new(gs: impl Iterator<Item = u64>) -> Self {
        let mut threads = Self { first_m: FIRST_M, ..Self::default() };
        for g in gs {
            let thread = threads.of(g);
            while (threads.first_m..MAPPED).contains(&thread) {
                threads.first_m *= 10;
            }
        }
        threads
    }

    /// Returns the thread of a goroutine.
    pub(super) fn of(&mut self, g: u64) -> i32 {
        if let Some(&thread) = self.threads.get(&g) {
            return thread;
        }
        let thread = if g < LARGE {
            g as i32
        } else {
            self.mapped += 1;
            // More goroutines than that are no trace that fits into memory.
            MAPPED.saturating_add(self.mapped - 1)
        };
        self.threads.insert(g, thread);
        self.gs.insert(thread, g);
        thread
    }

    /// Returns the thread of an M.
    pub(super) fn m(&self, m: u32) -> i32 {
        self.first_m + m as i32
    }

    /// Returns the number of a process.
    pub(super) fn process(&self, n: usize) -> i32 {
        self.first_m + MS + n as i32
    }

    /// Returns the goroutine of a thread; 0: it is an M's.
    pub(super) fn g(&self, thread: i32) -> u64 {
        self.gs.get(&thread).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_too_large_gets_another_and_keeps_it() {
        let mut threads = Threads::new([7, u64::MAX, LARGE, LARGE - 1].into_iter());
        assert_eq!((threads.of(7), threads.of(LARGE - 1)), (7, 899_999_999));
        assert_eq!((threads.of(u64::MAX), threads.of(LARGE)), (MAPPED, MAPPED + 1));
        assert_eq!((threads.g(MAPPED), threads.g(threads.m(0))), (u64::MAX, 0));
        assert!(threads.of(LARGE - 1) < threads.m(0) && threads.process(4_999) < MAPPED);
    }

    #[test]
    fn numbers_are_short_if_those_of_goroutines_are() {
        assert_eq!(Threads::new([7].into_iter()).m(3), 10_003);
        assert_eq!(Threads::new([9_999].into_iter()).m(3), 10_003);
        assert_eq!(Threads::new([10_000].into_iter()).m(3), 100_003);
    }
}
