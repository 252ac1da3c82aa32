//! `alloc`'s heap. Nothing can be taken out of its middle, so the entry of a cancelled timer stays
//! until it comes to the top. The entry's number tells that the timer was cancelled.

use alloc::collections;
use core::cmp::Reverse;

use trefoil::prelude::*;

use super::Queue;

/// Deadline, number, timer: the earliest first, equals as they came.
type Entry = Reverse<(u64, u32, u32)>;

pub struct BinaryHeap {
    heap: collections::BinaryHeap<Entry>,
    /// The number of a timer's entry; 0: it has none.
    current: Vec<u32>,
    inserted: u32,
}

impl Queue for BinaryHeap {
    fn with(timers: usize) -> Self {
        let heap = collections::BinaryHeap::with_capacity(timers);
        Self { heap, current: vec![0; timers], inserted: 0 }
    }

    fn insert(&mut self, timer: u32, when: u64) {
        self.inserted += 1;
        self.current[timer as usize] = self.inserted;
        self.heap.push(Reverse((when, self.inserted, timer)));
    }

    fn cancel(&mut self, timer: u32) {
        self.current[timer as usize] = 0;
    }

    fn next(&mut self) -> Option<u64> {
        loop {
            let &Reverse((when, number, timer)) = self.heap.peek()?;
            if self.current[timer as usize] == number {
                return Some(when);
            }
            self.heap.pop();
        }
    }

    fn pop(&mut self, now: u64) -> Option<u32> {
        if self.next()? > now {
            return None;
        }
        let Reverse((.., timer)) = self.heap.pop()?;
        self.current[timer as usize] = 0;
        Some(timer)
    }

    fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Entry>() + self.current.len() * size_of::<u32>()
    }
}
