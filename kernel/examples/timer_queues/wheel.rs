//! A hierarchical wheel: slots of a tick, slots of 64 ticks, of 4,096, and so on.
//!
//! ```text
//!   level 2   . . x . . . .     a slot is a round of the level below
//!   level 1   . . . x . x .     when its time comes, its timers are put in anew: they go down a level or more
//!   level 0   x . x . . . .     when its time comes, they are due
//! ```
//!
//! A timer stands on the highest level on which its tick differs from the present one, so the
//! lowest level comes due first. One word for each level says which slots have timers. A deadline
//! is rounded up to a tick: never early, late by a tick at most.

use trefoil::prelude::*;

use super::Queue;

/// A tick is 1,024 ns.
const TICK: u32 = 10;
/// Each is six bits of a tick: more a tick has not.
const LEVELS: usize = (64 - TICK as usize).div_ceil(6);
const SLOTS: usize = 64;
/// No timer; in no slot; due.
const NONE: u32 = u32::MAX;
const NOWHERE: usize = LEVELS * SLOTS;
const DUE: usize = NOWHERE + 1;

/// A list through the timers.
#[derive(Clone)]
struct TimerNode {
    tick: u64,
    next: u32,
    prev: u32,
    slot: u32,
}

pub struct Wheel {
    /// The tick until which everything is due.
    now: u64,
    /// The first of each slot, and of those that are due.
    first: [u32; DUE + 1],
    /// A bit for each slot that has any.
    full: [u64; LEVELS],
    nodes: Vec<TimerNode>,
}

impl Wheel {
    /// Puts a timer into the slot where its tick belongs now.
    fn place(&mut self, timer: u32) {
        let tick = self.nodes[timer as usize].tick;
        let slot = match tick ^ self.now {
            _ if tick <= self.now => DUE,
            differ => {
                let level = differ.ilog2() as usize / 6;
                let at = (tick >> (6 * level)) as usize % SLOTS;
                self.full[level] |= 1 << at;
                level * SLOTS + at
            }
        };
        let next = core::mem::replace(&mut self.first[slot], timer);
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.prev = timer;
        }
        let node = &mut self.nodes[timer as usize];
        (node.next, node.prev, node.slot) = (next, NONE, slot as u32);
    }

    /// Takes a timer out of its slot.
    fn unlink(&mut self, timer: u32) {
        let node = &mut self.nodes[timer as usize];
        let (next, prev, slot) = (node.next, node.prev, node.slot as usize);
        node.slot = NOWHERE as u32;
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.prev = prev;
        }
        match self.nodes.get_mut(prev as usize) {
            Some(prev) => prev.next = next,
            None => self.first[slot] = next,
        }
        if slot < NOWHERE && self.first[slot] == NONE {
            self.full[slot / SLOTS] &= !(1 << (slot % SLOTS));
        }
    }

    /// Finds the first slot that has timers, and the tick at which its time comes.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let level = self.full.iter().position(|&full| full != 0)?;
        let at = self.full[level].trailing_zeros() as usize;
        let round = 6 * (level + 1);
        Some((level * SLOTS + at, self.now >> round << round | (at as u64) << (6 * level)))
    }

    /// Goes on to tick `to`, slot by slot.
    fn advance(&mut self, to: u64) {
        while let Some((slot, tick)) = self.next_slot()
            && tick <= to
        {
            self.now = tick;
            self.full[slot / SLOTS] &= !(1 << (slot % SLOTS));
            let mut timer = core::mem::replace(&mut self.first[slot], NONE);
            while timer != NONE {
                let next = self.nodes[timer as usize].next;
                self.place(timer);
                timer = next;
            }
        }
        self.now = self.now.max(to);
    }
}

impl Queue for Wheel {
    fn with(timers: usize) -> Self {
        let node = TimerNode { tick: 0, next: NONE, prev: NONE, slot: NOWHERE as u32 };
        Self { now: 0, first: [NONE; DUE + 1], full: [0; LEVELS], nodes: vec![node; timers] }
    }

    fn insert(&mut self, timer: u32, when: u64) {
        self.nodes[timer as usize].tick = when.div_ceil(1 << TICK);
        self.place(timer);
    }

    fn cancel(&mut self, timer: u32) {
        self.unlink(timer);
    }

    /// Returns the time of the first slot. On a higher level timers may be due later than their
    /// slot, so this look may be in vain.
    fn next(&mut self) -> Option<u64> {
        if self.first[DUE] != NONE {
            return Some(0);
        }
        self.next_slot().map(|(_, tick)| tick << TICK)
    }

    fn pop(&mut self, now: u64) -> Option<u32> {
        self.advance(now >> TICK);
        let timer = self.first[DUE];
        if timer == NONE {
            return None;
        }
        self.unlink(timer);
        Some(timer)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.nodes.capacity() * size_of::<TimerNode>()
    }
}
