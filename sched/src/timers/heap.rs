//! The heap: deadlines in a tree whose nodes have four children each, in blocks of 64.
//!
//! ```text
//!                     0                        entry: when, node        16 bytes, so that four brothers are one cache line
//!        1        2        3        4          node:  at, number, …     lies in whatever has the timer; the heap tells it where its entry is
//!     5 6 7 8  9 10 11 12  …
//!
//!     blocks:  [ - - - 0  1 2 3 4  5 6 7 8 … ] [ 61 … ] …           brothers begin at a multiple of four, so a block has all of them
//! ```
//!
//! It grows by a block, and no entry moves: one array that doubles would be copied with preemption off (with 100,000 timers, for 180,000 instructions). What is copied
//! now and then is the list of blocks, 8 bytes for 64 timers.
//!
//! A parent is never later than its children, so the earliest is at the top. Each node knows its place, so one that is not needed any more is taken out of the
//! middle: the last entry takes its place and moves up or down from there. Equal deadlines leave in the order in which they came, by their numbers.
//!
//! Against two children a node: half as many levels, and a level costs one line of the cache either way; with 100,000 timers an insertion moves at most nine
//! entries. Rejected: a hierarchical wheel (cheaper on the average, but the resolution of its slots is lateness, and the next deadline is not at hand, which a tickless
//! core needs at every rest: docs/time.md has the figures, `kernel/examples/timer_queues`, which is built of this very file, prints them); leaving cancelled timers in place until they are due (a program that sets a deadline of a minute for each of its requests
//! would keep a minute's worth of them); a pairing heap (three pointers a node).

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Node;

/// Entries of a block.
pub(super) const BLOCK: usize = 4 * BROTHERS;
/// Groups of brothers in a block.
const BROTHERS: usize = 16;

/// Entries, and places that are free or were once used.
pub(super) type Block = Box<[[Entry; 4]; BROTHERS]>;

/// A timer's place in the heap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) when: u64,
    /// None: a place that was never used.
    node: Option<&'static Node>,
}

const _: () = assert!(4 * size_of::<Entry>() == 64 || cfg!(loom));

/// A place below `len` has one.
#[cold]
#[inline(never)]
fn no_node() -> ! {
    panic!("a timer without a node")
}

const NO_ENTRY: Entry = Entry { when: u64::MAX, node: None };

impl Entry {
    /// Whose it is.
    #[inline(always)]
    pub(super) fn node(&self) -> &'static Node {
        match self.node {
            Some(node) => node,
            None => no_node(),
        }
    }

    /// Whether it goes before `other`.
    #[inline(always)]
    fn before(&self, other: &Self) -> bool {
        // Numbers come round after four thousand million: then two equals may change places.
        let earlier = || self.node().number.get().wrapping_sub(other.node().number.get()) as i32 <= 0;
        self.when < other.when || self.when == other.when && earlier()
    }
}

/// A new block; none if there is no memory.
pub(super) fn new_block() -> Option<Block> {
    let mut entries = Vec::new();
    entries.try_reserve_exact(BROTHERS).ok()?;
    entries.resize(BROTHERS, [NO_ENTRY; 4]);
    entries.into_boxed_slice().try_into().ok()
}

/// The timers of a P, earliest first.
#[derive(Debug)]
pub(super) struct Heap {
    blocks: Vec<Block>,
    len: usize,
    /// Timers that there is room for.
    capacity: usize,
    inserted: u32,
}

/// Where the entry `at` stands: its block, its group of brothers, and its place there.
#[inline(always)]
fn place(at: usize) -> (usize, usize, usize) {
    let at = at + 3;
    (at / BLOCK, at / 4 % BROTHERS, at % 4)
}

impl Heap {
    /// Without room for any.
    pub(super) const fn new() -> Self {
        Self { blocks: Vec::new(), len: 0, capacity: 0, inserted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Some of those that are in it, in no order: `n` from number `from` on.
    pub(super) fn some(&self, from: usize, n: usize) -> impl Iterator<Item = Entry> {
        (from..self.len.min(from + n)).map(|at| self.get(at))
    }

    #[inline(always)]
    fn get(&self, at: usize) -> Entry {
        debug_assert!(at < self.capacity());
        let (block, group, at) = place(at);
        // SAFETY: `at` was below `len` at some time, and blocks only come: so its block is there.
        unsafe { self.blocks.get_unchecked(block)[group][at] }
    }

    /// The earliest.
    #[inline(always)]
    pub(super) fn first(&self) -> Option<Entry> {
        (self.len > 0).then(|| self.get(0))
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many blocks it has to have for `more` timers more, if these are too few.
    pub(super) fn wants(&self, more: usize) -> Option<usize> {
        let needed = self.len + more;
        (needed > self.capacity()).then(|| (needed + 3).div_ceil(BLOCK))
    }

    /// How many blocks it has, and how many its list has room for.
    pub(super) fn blocks(&self) -> (usize, usize) {
        (self.blocks.len(), self.blocks.capacity())
    }

    /// Adds a block, if the list has room for it.
    ///
    /// # Errors
    /// The block comes back.
    pub(super) fn add(&mut self, block: Block) -> Result<(), Block> {
        if self.blocks.len() == self.blocks.capacity() {
            return Err(block);
        }
        self.blocks.push(block);
        // The first place of the first group is the fourth: the root has no brothers.
        self.capacity = self.blocks.len() * BLOCK - 3;
        Ok(())
    }

    /// Moves the list of blocks into `list`, if that is larger; what is not needed any more comes back.
    #[must_use = "freed with the lock held, otherwise"]
    pub(super) fn move_into(&mut self, mut list: Vec<Block>) -> Vec<Block> {
        if list.capacity() > self.blocks.capacity() {
            list.append(&mut self.blocks);
            core::mem::swap(&mut list, &mut self.blocks);
        }
        list
    }

    /// Adds a timer, for which there is room.
    #[inline(never)]
    pub(super) fn push(&mut self, when: u64, node: &'static Node) {
        assert!(self.len < self.capacity(), "no room for a timer");
        node.number.set(self.inserted);
        self.inserted = self.inserted.wrapping_add(1);
        self.len += 1;
        self.up(self.len - 1, Entry { when, node: Some(node) });
    }

    /// Takes the earliest.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let first = self.first()?;
        self.remove(0);
        Some(first)
    }

    /// Takes out the one at `at`.
    #[inline(never)]
    pub(super) fn remove(&mut self, at: usize) {
        if self.len == 0 {
            return;
        }
        self.len -= 1;
        if at < self.len {
            let last = self.get(self.len);
            if at > 0 && last.before(&self.get((at - 1) / 4)) {
                self.up(at, last);
            } else {
                self.down(at, last);
            }
        }
    }

    /// The one at `at` has another deadline from now on, as if it had come anew.
    pub(super) fn change(&mut self, at: usize, when: u64) {
        let node = self.get(at).node();
        node.number.set(self.inserted);
        self.inserted = self.inserted.wrapping_add(1);
        let entry = Entry { when, node: Some(node) };
        if at > 0 && entry.before(&self.get((at - 1) / 4)) {
            self.up(at, entry);
        } else {
            self.down(at, entry);
        }
    }

    #[inline(always)]
    fn put(&mut self, at: usize, entry: Entry) {
        entry.node().at.set(at as u32);
        debug_assert!(at < self.capacity());
        let (block, group, at) = place(at);
        // SAFETY: as in `get`: `at` is below `len`.
        unsafe { self.blocks.get_unchecked_mut(block)[group][at] = entry };
    }

    /// Puts `entry` at `at` or above.
    #[inline]
    fn up(&mut self, mut at: usize, entry: Entry) {
        while at > 0 {
            let parent = (at - 1) / 4;
            let above = self.get(parent);
            if above.before(&entry) {
                break;
            }
            self.put(at, above);
            at = parent;
        }
        self.put(at, entry);
    }

    /// Puts `entry` at `at` or below.
    #[inline(never)]
    fn down(&mut self, mut at: usize, entry: Entry) {
        loop {
            let first = 4 * at + 1;
            let Some((child, least)) = self.least(first) else { break };
            if entry.before(&least) {
                break;
            }
            self.put(at, least);
            at = child;
        }
        self.put(at, entry);
    }

    /// The earliest of the brothers that begin at `first`.
    #[inline(always)]
    fn least(&self, first: usize) -> Option<(usize, Entry)> {
        let earlier = |a: (usize, Entry), b: (usize, Entry)| if b.1.before(&a.1) { b } else { a };
        if first >= self.len {
            return None;
        }
        let there = self.len - first;
        let (block, group, _) = place(first);
        // SAFETY: as in `get`: `first` is below `len`.
        let [a, b, c, d] = unsafe { self.blocks.get_unchecked(block)[group] };
        let (at, least) = if there >= 4 {
            earlier(earlier((0, a), (1, b)), earlier((2, c), (3, d)))
        } else {
            [a, b, c].into_iter().take(there).enumerate().reduce(earlier)?
        };
        Some((first + at, least))
    }

    /// Takes everything that `from` has, and calls `moved` for each. `Err`: nothing has happened, and so many blocks it would have to have.
    pub(super) fn take_all(&mut self, from: &mut Self, moved: impl Fn(&Node)) -> Result<(), usize> {
        if let Some(larger) = self.wants(from.len()) {
            return Err(larger);
        }
        // In order, so that equals stay in order.
        while let Some(entry) = from.pop() {
            self.push(entry.when, entry.node());
            moved(entry.node());
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        /// Into the heap of this number, if it is in none.
        Push(usize, usize, u64),
        Remove(usize),
        Change(usize, u64),
        Pop(usize),
        /// All of one heap to the other.
        Move(usize),
    }

    const NODES: usize = 60;

    fn step() -> impl Strategy<Value = Step> {
        // Few deadlines, so that many are equal.
        prop_oneof![
            4 => (0..2usize, 0..NODES, 0..20u64).prop_map(|(heap, node, when)| Step::Push(heap, node, when)),
            2 => (0..NODES).prop_map(Step::Remove),
            1 => (0..NODES, 0..20u64).prop_map(|(node, when)| Step::Change(node, when)),
            1 => (0..2usize).prop_map(Step::Pop),
            1 => (0..20usize).prop_map(Step::Move),
        ]
    }

    fn same(a: &Node, b: &Node) -> bool {
        core::ptr::eq(a, b)
    }

    /// The heap is in order, and every node knows its place.
    fn check(heap: &Heap) {
        for (at, entry) in heap.some(0, heap.len()).enumerate() {
            assert_eq!(entry.node().at.get() as usize, at);
            assert!(at == 0 || !entry.before(&heap.get((at - 1) / 4)), "later than its parent");
        }
    }

    fn room(heap: &mut Heap) {
        if let Some(blocks) = heap.wants(1) {
            grow(heap, blocks);
        }
    }

    fn grow(heap: &mut Heap, blocks: usize) {
        drop(heap.move_into(Vec::with_capacity(blocks)));
        while heap.blocks().0 < blocks {
            heap.add(new_block().unwrap()).unwrap();
        }
    }

    proptest! {
        #[test]
        fn it_gives_what_a_sorted_list_gives(steps in proptest::collection::vec(step(), 1..300)) {
            let nodes: Vec<&'static Node> = (0..NODES).map(|_| &*Box::leak(Box::new(Node::new()))).collect();
            let mut heaps = [Heap::new(), Heap::new()];
            // What should be there: (heap, when, node), in the order in which it was put in.
            let mut model: Vec<(usize, u64, usize)> = Vec::new();
            let first = |model: &Vec<(usize, u64, usize)>, of: usize| {
                model.iter().filter(|(heap, ..)| *heap == of).map(|&(_, when, node)| (when, node)).reduce(|a, b| if b.0 < a.0 { b } else { a })
            };
            for step in steps {
                let place = |model: &Vec<(usize, u64, usize)>, node| model.iter().position(|&(.., n)| n == node);
                match step {
                    Step::Push(heap, node, when) if place(&model, node).is_none() => {
                        room(&mut heaps[heap]);
                        heaps[heap].push(when, nodes[node]);
                        model.push((heap, when, node));
                    }
                    Step::Remove(node) => {
                        if let Some(at) = place(&model, node) {
                            let (heap, ..) = model.remove(at);
                            heaps[heap].remove(nodes[node].at.get() as usize);
                        }
                    }
                    Step::Change(node, when) => {
                        if let Some(at) = place(&model, node) {
                            let (heap, ..) = model.remove(at);
                            heaps[heap].change(nodes[node].at.get() as usize, when);
                            model.push((heap, when, node));
                        }
                    }
                    Step::Pop(heap) => {
                        let popped = heaps[heap].pop().map(|e| (e.when, e.node()));
                        let wanted = first(&model, heap);
                        prop_assert_eq!(popped.map(|(when, _)| when), wanted.map(|(when, _)| when));
                        if let (Some((_, popped)), Some((_, node))) = (popped, wanted) {
                            prop_assert!(same(popped, nodes[node]), "equal deadlines leave in the order in which they came");
                            model.retain(|&(.., n)| n != node);
                        }
                    }
                    Step::Move(from) => {
                        let from = from % 2;
                        let [a, b] = &mut heaps;
                        let (from_heap, to_heap) = if from == 0 { (a, b) } else { (b, a) };
                        let moved = core::cell::Cell::new(0);
                        let count = from_heap.len();
                        let result = to_heap.take_all(from_heap, |_| moved.set(moved.get() + 1));
                        if let Err(larger) = result {
                            prop_assert_eq!(moved.get(), 0);
                            prop_assert_eq!(from_heap.len(), count);
                            grow(to_heap, larger);
                            prop_assert!(to_heap.take_all(from_heap, |_| moved.set(moved.get() + 1)).is_ok());
                        }
                        prop_assert_eq!(moved.get(), count, "each of them is told its new heap, and nobody else is");
                        prop_assert_eq!(from_heap.len(), 0);
                        // Among equals, those that came are the last.
                        let (mut all, mut go): (Vec<_>, Vec<_>) = model.iter().partition(|(heap, ..)| *heap != from);
                        go.sort_by_key(|(_, when, _)| *when);
                        all.extend(go.into_iter().map(|(_, when, node)| (1 - from, when, node)));
                        model = all;
                    }
                    Step::Push(..) => {}
                }
                for (i, heap) in heaps.iter().enumerate() {
                    check(heap);
                    prop_assert_eq!(heap.first().map(|e| e.when), first(&model, i).map(|(when, _)| when));
                    prop_assert_eq!(heap.len(), model.iter().filter(|(h, ..)| *h == i).count());
                }
            }
        }
    }

    #[test]
    fn room_comes_by_blocks_and_nothing_moves() {
        let mut heap = Heap::new();
        assert_eq!(heap.wants(1), Some(1));
        assert!(heap.add(new_block().unwrap()).is_err(), "the list has no room");
        grow(&mut heap, 1);
        assert_eq!((heap.wants(61), heap.wants(62)), (None, Some(2)));
        let place = core::ptr::from_ref(&heap.blocks[0][0]);
        grow(&mut heap, 2);
        assert_eq!(heap.wants(125), None);
        assert!(core::ptr::eq(place, &heap.blocks[0][0]));
        assert_eq!(heap.move_into(Vec::with_capacity(1)).capacity(), 1, "a smaller list comes back");
    }

    #[test]
    fn many_blocks_give_what_a_sorted_list_gives() {
        let mut heap = Heap::new();
        let mut whens: Vec<u64> = (0..1000u64).map(|i| i * 7919 % 1009).collect();
        for &when in &whens {
            room(&mut heap);
            heap.push(when, Box::leak(Box::new(Node::new())));
        }
        check(&heap);
        whens.sort_unstable();
        assert!(core::iter::from_fn(|| heap.pop()).map(|entry| entry.when).eq(whens));
    }
}
