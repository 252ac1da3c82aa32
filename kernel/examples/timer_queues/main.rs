//! What keeps timers best? The scheduler's heap (its own source), the library's binary heap, a
//! hierarchical wheel: each gets the same deadlines.
//!
//! `ICOUNT=1 make run APP=timer_queues`: a tick is an instruction then, and the figures repeat
//! exactly.
//!
//! All timers are put in, and cancelled in another order. Then they are put in again, and taken as
//! they fall due. Each look at the clock comes as late as the queue allows.
#![no_std]
#![no_main]

extern crate alloc;

use core::cell::Cell;

use trefoil::prelude::*;
use trefoil::time::ticks;

use binary_heap::BinaryHeap;
use wheel::Wheel;

mod binary_heap;
#[expect(dead_code, reason = "the scheduler needs more of it")]
#[path = "../../../sched/src/timers/heap.rs"]
mod heap;
mod wheel;

/// Timers 0 to n - 1, each of which is in the queue or not.
trait Queue {
    /// Makes a queue with room for that many.
    fn with(timers: usize) -> Self;
    fn insert(&mut self, timer: u32, when: u64);
    fn cancel(&mut self, timer: u32);
    /// Returns when to look again. Nothing is due before.
    fn next(&mut self) -> Option<u64>;
    /// Takes a timer that is due.
    fn pop(&mut self, now: u64) -> Option<u32>;
    fn bytes(&self) -> usize;
}

/// A timer as the heap sees it.
#[derive(Debug)]
struct TimerNode {
    at: Cell<u32>,
    number: Cell<u32>,
    timer: u32,
}

/// The scheduler's.
struct FourHeap {
    heap: heap::Heap,
    nodes: Vec<&'static TimerNode>,
}

impl Queue for FourHeap {
    fn with(timers: usize) -> Self {
        let mut heap = heap::Heap::new();
        drop(heap.begin(Vec::with_capacity(timers)));
        drop(heap.copy(0));
        let node = |timer| &*Box::leak(Box::new(TimerNode { at: Cell::new(0), number: Cell::new(0), timer }));
        Self { heap, nodes: (0..timers as u32).map(node).collect() }
    }

    fn insert(&mut self, timer: u32, when: u64) {
        self.heap.push(when, self.nodes[timer as usize]);
    }

    fn cancel(&mut self, timer: u32) {
        self.heap.remove(self.nodes[timer as usize].at.get() as usize);
    }

    fn next(&mut self) -> Option<u64> {
        self.heap.first().map(|first| first.when)
    }

    fn pop(&mut self, now: u64) -> Option<u32> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|entry| entry.node.timer)
    }

    fn bytes(&self) -> usize {
        // The entries, and the heap's part of each node.
        self.heap.bytes()[0] + self.nodes.len() * 2 * size_of::<u32>()
    }
}

/// Returns a deadline within ten seconds, without order.
fn deadline(timer: u32) -> u64 {
    1 + scramble(timer.into()) % 10_000_000_000
}

fn scramble(n: u64) -> u64 {
    let n = (n ^ n >> 15).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ n >> 29
}

/// Ticks that each of many operations takes: all in all, or the most.
#[derive(Default)]
struct Figure {
    all: u64,
    most: u64,
}

impl Figure {
    /// Counts `f`, which is one operation of many, or all of them.
    fn count<T>(&mut self, f: impl FnOnce() -> T) -> T {
        let begin = ticks();
        let result = f();
        let took = ticks() - begin;
        self.all += took;
        self.most = self.most.max(took);
        result
    }
}

/// The figures of one queue with one number of timers.
#[derive(Default)]
struct Figures {
    insert: Figure,
    cancel: Figure,
    expiry: Figure,
    /// How late the latest was taken, and how often somebody looked.
    late: u64,
    looks: u64,
}

/// Measures `queue` with as many timers as `order` has. `order` is the order in which they are
/// cancelled.
fn run<Q: Queue>(queue: &mut Q, order: &[u32]) -> Figures {
    let (n, mut it) = (order.len() as u32, Figures::default());
    for timer in 0..n {
        it.insert.count(|| queue.insert(timer, deadline(timer)));
    }
    for &timer in order {
        it.cancel.count(|| queue.cancel(timer));
    }
    // Entries that a cancelled timer has left behind go now.
    it.cancel.count(|| assert!(queue.next().is_none(), "a timer was not cancelled"));
    for timer in 0..n {
        queue.insert(timer, deadline(timer));
    }
    let (mut now, mut fired) = (0, 0);
    while let Some(at) = it.expiry.count(|| queue.next()) {
        now = at.max(now);
        it.looks += 1;
        while let Some(timer) = it.expiry.count(|| queue.pop(now)) {
            assert!(now >= deadline(timer), "early");
            it.late = it.late.max(now - deadline(timer));
            fired += 1;
        }
    }
    assert_eq!(fired, n, "each once");
    it
}

fn measure<Q: Queue>(name: &str, order: &[u32]) {
    let mut queue = Q::with(order.len());
    let n = order.len() as u64;
    let it = run(&mut queue, order);
    // The cost of the counting itself.
    let mut none = Figure::default();
    (0..8).for_each(|_| none.count(|| ()));
    let each = |figure: &Figure, times: u64| (figure.all - times * none.all / 8) / n;
    println!(
        "{name:12} {n:6} {:7} {:6} {:6}  {:7} {:6} {:8}  {:5} {:7} {:5}",
        each(&it.insert, n),
        each(&it.cancel, n + 1),
        each(&it.expiry, it.looks + 1 + it.looks + n),
        it.insert.most - none.all / 8,
        it.cancel.most - none.all / 8,
        it.expiry.most - none.all / 8,
        it.late,
        it.looks,
        queue.bytes() as u64 / n,
    );
}

#[trefoil::main]
fn main() {
    println!("                      on average              at most                    late");
    println!("             timers  insert cancel expiry   insert cancel   expiry     ns    looks bytes");
    for n in [10u32, 1_000, 100_000] {
        let mut order: Vec<u32> = (0..n).collect();
        order.sort_unstable_by_key(|&timer| scramble(timer as u64 + 1_000_000));
        measure::<FourHeap>("4-ary heap", &order);
        measure::<BinaryHeap>("binary heap", &order);
        measure::<Wheel>("wheel", &order);
    }
}
