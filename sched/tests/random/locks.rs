//! Histories of a mutex, and of a lock for readers and writers.

use super::Random;
use super::history::{Clock, Model, explain};
use crate::api::*;
use sync::{Mutex, RwLock};

/// A mutex around a count of those who have been inside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    by: Option<usize>,
    count: u32,
}

#[derive(Debug)]
enum Operation {
    /// By whom, and the how-manieth he was.
    Lock(usize, u32),
    /// `try_lock` found it held.
    WouldBlock,
    Unlock(usize),
}

impl Model for Held {
    type Operation = Operation;

    fn after(&self, what: &Operation) -> Option<Self> {
        match *what {
            Operation::Lock(g, n) => {
                (self.by.is_none() && n == self.count + 1).then_some(Self { by: Some(g), count: n })
            }
            Operation::WouldBlock => self.by.is_some().then(|| self.clone()),
            Operation::Unlock(g) => (self.by == Some(g)).then_some(Self { by: None, ..*self }),
        }
    }
}

/// One history: three or four G's lock and unlock.
pub fn round(seed: u64) {
    let mut random = Random::new(seed);
    let (mutex, clock) = (Arc::new(Mutex::new(0u32)), Arc::new(Clock::default()));
    let gs: Vec<_> = (0..3 + random.below(2) as usize)
        .map(|g| {
            let (mutex, clock, mut random) = (mutex.clone(), clock.clone(), random.fork());
            go(move || {
                let mut events = Vec::new();
                for _ in 0..1 + random.below(3) {
                    random.pause();
                    let tries = random.below(2) == 0;
                    let mut guard = None;
                    events.push(clock.record(|| {
                        let locked = if tries { mutex.try_lock().ok() } else { Some(mutex.lock().unwrap()) };
                        let Some(mut count) = locked else { return Operation::WouldBlock };
                        *count += 1;
                        let n = *count;
                        guard = Some(count);
                        Operation::Lock(g, n)
                    }));
                    random.pause();
                    if let Some(guard) = guard {
                        events.push(clock.record(|| {
                            drop(guard);
                            Operation::Unlock(g)
                        }));
                    }
                }
                events
            })
        })
        .collect();
    let events: Vec<_> = gs.into_iter().flat_map(|g| g.join().unwrap()).collect();
    explain(Held { by: None, count: 0 }, &events, seed);
}

/// A lock around a count of those who have written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shared {
    readers: u32,
    writer: bool,
    count: u32,
}

#[derive(Debug)]
enum Step {
    /// The value that the reader saw.
    Read(u32),
    EndRead,
    /// The how-manieth writer he was.
    Write(u32),
    EndWrite,
}

impl Model for Shared {
    type Operation = Step;

    fn after(&self, what: &Step) -> Option<Self> {
        let mut next = self.clone();
        let right = match *what {
            Step::Read(count) => {
                next.readers += 1;
                !self.writer && count == self.count
            }
            Step::EndRead => {
                next.readers = self.readers.checked_sub(1)?;
                true
            }
            Step::Write(count) => {
                (next.writer, next.count) = (true, count);
                !self.writer && self.readers == 0 && count == self.count + 1
            }
            Step::EndWrite => {
                next.writer = false;
                self.writer
            }
        };
        right.then_some(next)
    }
}

/// One history: three or four G's read and write. (Whether a `try_` had to fail can't be told from
/// a history: a writer that waits makes a reader's fail.)
pub fn round_of_readers_and_writers(seed: u64) {
    let mut random = Random::new(seed);
    let (lock, clock) = (Arc::new(RwLock::new(0u32)), Arc::new(Clock::default()));
    let gs: Vec<_> = (0..3 + random.below(2))
        .map(|_| {
            let (lock, clock, mut random) = (lock.clone(), clock.clone(), random.fork());
            go(move || {
                let mut events = Vec::new();
                for _ in 0..1 + random.below(3) {
                    random.pause();
                    if random.below(3) > 0 {
                        let mut guard = None;
                        events.push(clock.record(|| Step::Read(**guard.insert(lock.read().unwrap()))));
                        random.pause();
                        events.push(clock.record(|| {
                            drop(guard);
                            Step::EndRead
                        }));
                    } else {
                        let mut guard = None;
                        events.push(clock.record(|| {
                            let count = guard.insert(lock.write().unwrap());
                            **count += 1;
                            Step::Write(**count)
                        }));
                        random.pause();
                        events.push(clock.record(|| {
                            drop(guard);
                            Step::EndWrite
                        }));
                    }
                }
                events
            })
        })
        .collect();
    let events: Vec<_> = gs.into_iter().flat_map(|g| g.join().unwrap()).collect();
    explain(Shared { readers: 0, writer: false, count: 0 }, &events, seed);
}
