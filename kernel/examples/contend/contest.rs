//! The contest: numbers pass through one queue, which everybody wants at the same time.
//!
//! | way | what it is |
//! |---|---|
//! | channel | `chan::bounded`: a ring under a spin lock; a G that finds it full or empty parks |
//! | bare | `crossbeam`'s array queue: no lock, and nobody can wait in it; a G that finds it full or empty yields |
//! | watched | the same with what a channel needs besides: after each operation a full fence, and a look whether anybody waits on the other side |
//!
//! *watched* is the least that a channel without a lock would do: it can neither wait nor be
//! closed, and a value in it goes past those who wait.

use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use crossbeam_queue::ArrayQueue;

use crate::api::*;

/// Values that fit into each queue.
const CAPACITY: usize = 128;
/// Of so many rounds the fastest counts.
const ROUNDS: usize = 5;

trait Way: Send + Sync + 'static {
    fn put(&self, value: u64);
    fn take(&self) -> u64;
}

struct Channel(Sender<u64>, Receiver<u64>);

impl Way for Channel {
    fn put(&self, value: u64) {
        self.0.send(value).unwrap();
    }
    fn take(&self) -> u64 {
        self.1.recv().unwrap()
    }
}

struct Bare(ArrayQueue<u64>);

impl Way for Bare {
    fn put(&self, value: u64) {
        while self.0.push(value).is_err() {
            yield_now();
        }
    }
    fn take(&self) -> u64 {
        loop {
            match self.0.pop() {
                Some(value) => return value,
                None => yield_now(),
            }
        }
    }
}

struct Watched {
    queue: Bare,
    /// How many wait on each side: nobody, here.
    receivers: AtomicUsize,
    senders: AtomicUsize,
}

/// Executes the cheapest full fence that an x86 has: any locked instruction is one, and takes half
/// the time of `mfence`.
fn full_fence() {
    black_box(&AtomicU8::new(0)).swap(1, SeqCst);
}

impl Way for Watched {
    fn put(&self, value: u64) {
        self.queue.put(value);
        full_fence();
        assert_eq!(self.receivers.load(Relaxed), 0);
    }
    fn take(&self) -> u64 {
        let value = self.queue.take();
        full_fence();
        assert_eq!(self.senders.load(Relaxed), 0);
        value
    }
}

/// Makes a way, by number.
fn way(number: usize) -> Arc<dyn Way> {
    let bare = || Bare(ArrayQueue::new(CAPACITY));
    let (tx, rx) = chan::bounded(CAPACITY);
    match number {
        0 => Arc::new(Channel(tx, rx)),
        1 => Arc::new(bare()),
        _ => Arc::new(Watched { queue: bare(), receivers: AtomicUsize::new(0), senders: AtomicUsize::new(0) }),
    }
}

const WAYS: [&str; 3] = ["channel", "bare", "watched"];

/// The work of a G in the contest: takes its way, and how often to use it.
type Part = fn(&dyn Way, u64) -> u64;

fn pair(way: &dyn Way, n: u64) -> u64 {
    (0..n)
        .map(|i| {
            way.put(i);
            way.take()
        })
        .sum()
}

fn producer(way: &dyn Way, n: u64) -> u64 {
    (0..n).for_each(|i| way.put(i));
    0
}

fn consumer(way: &dyn Way, n: u64) -> u64 {
    (0..n).map(|_| way.take()).sum()
}

/// Runs `n` G's for each of `parts`, with `each` values for each G. Returns the ticks from the
/// moment when a G runs on each core until the last has ended.
fn run(way: Arc<dyn Way>, parts: &[Part], n: usize, each: u64, cores: usize) -> u64 {
    let (came, begin) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    // The first ones wait for each other without giving their cores away: so each has one.
    let together = cores.min(n * parts.len());
    let gs: Vec<_> = (0..n)
        .flat_map(|_| parts.iter().copied())
        .map(|part| {
            let (way, came, begin) = (way.clone(), came.clone(), begin.clone());
            go(move || {
                let place = came.fetch_add(1, SeqCst) + 1;
                if place == together {
                    begin.store(ticks(), SeqCst);
                }
                while place < together && begin.load(SeqCst) == 0 {
                    spin_loop();
                }
                part(&*way, each)
            })
        })
        .collect();
    let sum: u64 = gs.into_iter().map(|g| g.join().unwrap()).sum();
    let took = ticks() - begin.load(SeqCst);
    assert_eq!(sum, n as u64 * (each * (each - 1) / 2), "values were lost");
    took
}

/// Shows all ways side by side in one run, with about `values` values each.
fn contest(name: &str, parts: &[Part], n: usize, values: u64, cores: usize) {
    let each = values / n as u64;
    let mut best = [u64::MAX; WAYS.len()];
    for _ in 0..ROUNDS {
        for (number, best) in best.iter_mut().enumerate() {
            *best = (*best).min(run(way(number), parts, n, each, cores));
        }
    }
    let passed = each * n as u64;
    let mut line = format!("{name} x {n}:");
    for (way, &ticks) in WAYS.iter().zip(&best) {
        let percent = ticks * 100 / best[0];
        line += &format!(" {way} {} ({}.{:02})", ticks / passed, percent / 100, percent % 100);
    }
    println!("{line}");
}

/// Prints ticks a value, of a send and a receive together; in brackets as a multiple of the
/// channel's.
pub fn run_all(cores: usize, values: u64) {
    for n in [1, 2, 4, 16] {
        // Everybody puts one in and takes one out: nobody ever waits.
        contest("pairs", &[pair], n, values, cores);
    }
    for n in [1, 2, 4, 16] {
        contest("producers, consumers", &[producer, consumer], n, values, cores);
    }
    println!("on {cores} core(s)");
}
