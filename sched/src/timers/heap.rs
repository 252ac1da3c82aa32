//! The heap: deadlines in a tree whose nodes have four children each, in one array.
//!
// ANCHOR: heap
//! ```text
//!                     0                        entry: when, node        16 bytes, so that four brothers are one cache line
//!        1        2        3        4          node:  at, number, …     lies in whatever has the timer; the heap tells it where its entry is
//!     5 6 7 8  9 10 11 12  …
//! ```
// ANCHOR_END: heap
//!
//! A parent is never later than its children, so the earliest is at the top. Each node knows its
//! place, so a cancelled node is taken out of the middle. The last entry takes its place and moves
//! up or down from there. Equal deadlines leave in the order in which they came, by their numbers.
//!
//! **A heap grows in pieces**: a copy of 100,000 entries in one go would hold the core for 180,000
//! instructions. The larger array is made without the lock, and lies beside the old one as
//! [`next`](Heap::next). Each time that the lock is taken, `next` gets 256 entries. Until it has
//! all of them, the old array counts.
//!
//! ```text
//!     entries:  0 1 2 3 4 5 6 7 8 9        full, or nearly so
//!     next:     0 1 2 3 . . . . . . . . . . . . . . . .        what is copied is kept equal
//! ```
//!
//! An operation changes entries between one entry and the root, and no others. While there is a
//! `next`, the operation copies that line of parents at its end (nine entries among 100,000). At
//! all other times it pays one comparison. A caller that wants room copies on, so a growth whose
//! beginner has died goes on.
//!
//! Rejected: blocks that never move. Every look at an entry would go through a list of blocks: a
//! cancellation takes 30 instructions more, a fifth.
//!
//! Four children a node mean half as many levels as two, and a level costs one cache line either
//! way. With 100,000 timers an insertion moves at most nine entries. Also rejected:
//!
//! * a hierarchical wheel: it is cheaper on the average, but the resolution of its slots is
//!   lateness. A tickless core needs the next deadline at every rest, and a wheel does not have it
//!   at hand. The figures are in docs/time.md, and `kernel/examples/timer_queues`, which is built
//!   of this very file, prints them;
//! * leaving cancelled timers in place until they are due: a program that sets a deadline of a
//!   minute for each request would keep a minute's worth of them;
//! * a pairing heap: three pointers a node.

use alloc::vec::Vec;

use super::TimerNode;

/// A timer's place in the heap.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimerEntry {
    pub(super) when: u64,
    pub(super) node: &'static TimerNode,
}

const _: () = assert!(4 * size_of::<TimerEntry>() == 64 || cfg!(loom));

impl TimerEntry {
    /// Returns true if the entry goes before `other`.
    #[inline(always)]
    fn before(&self, other: &Self) -> bool {
        // Numbers come round after four thousand million: then two equals may change places.
        let earlier = || self.node.number.get().wrapping_sub(other.node.number.get()) as i32 <= 0;
        self.when < other.when || self.when == other.when && earlier()
    }
}

/// The timers of a P, earliest first.
#[derive(Debug)]
pub(super) struct Heap {
    entries: Vec<TimerEntry>,
    /// The array into which the heap grows, with a copy of the first entries. No capacity: the heap
    /// does not grow.
    next: Vec<TimerEntry>,
    inserted: u32,
}

/// The next step of a growth.
#[derive(Debug)]
#[must_use]
pub(super) enum Growth {
    /// There is room.
    Done,
    /// [`Heap::copy`], once more.
    Copy,
    /// [`Heap::begin`], with an array of this capacity.
    Begin(usize),
}

impl Heap {
    /// Makes a heap without room for any timer.
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), next: Vec::new(), inserted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the bytes of each array.
    pub(super) fn bytes(&self) -> [usize; 2] {
        [&self.entries, &self.next].map(|array| array.capacity() * size_of::<TimerEntry>())
    }

    /// Yields at most `n` entries from number `from` on, in no order.
    pub(super) fn some(&self, from: usize, n: usize) -> impl Iterator<Item = &TimerEntry> {
        self.entries.iter().skip(from).take(n)
    }

    /// Returns the earliest entry.
    #[inline(always)]
    pub(super) fn first(&self) -> Option<&TimerEntry> {
        self.entries.first()
    }

    /// Returns the size of an array with room for `more` timers more, if this one is too small.
    pub(super) fn wants(&self, more: usize) -> Option<usize> {
        let needed = self.entries.len() + more;
        let capacity = self.entries.capacity();
        (needed > capacity).then(|| needed.max(2 * capacity).max(16))
    }

    /// Returns the next step towards room for `capacity`.
    pub(super) fn growth(&self, capacity: usize) -> Growth {
        match () {
            () if self.entries.capacity() >= capacity => Growth::Done,
            () if self.grows() => Growth::Copy,
            () => Growth::Begin(capacity),
        }
    }

    #[inline(always)]
    fn grows(&self) -> bool {
        self.next.capacity() > 0
    }

    /// Begins to grow into `array`. Gives `array` back if another growth is under way, or none is
    /// needed.
    #[must_use = "freed with the lock held, otherwise"]
    pub(super) fn begin(&mut self, array: Vec<TimerEntry>) -> Vec<TimerEntry> {
        if self.grows() || array.capacity() <= self.entries.capacity() {
            return array;
        }
        core::mem::replace(&mut self.next, array)
    }

    /// Copies at most `n` entries more. After the last, the larger array counts, and the old one
    /// comes back.
    #[must_use = "freed with the lock held, otherwise"]
    pub(super) fn copy(&mut self, n: usize) -> Vec<TimerEntry> {
        if !self.grows() {
            return Vec::new();
        }
        self.next.truncate(self.entries.len());
        let begin = self.next.len();
        let end = self.entries.len().min(begin + n);
        self.next.extend_from_slice(&self.entries[begin..end]);
        if end < self.entries.len() {
            return Vec::new();
        }
        core::mem::swap(&mut self.entries, &mut self.next);
        core::mem::take(&mut self.next)
    }

    /// Copies the entry at `at`, and those between it and the root: they may have changed.
    #[cold]
    #[inline(never)]
    fn copy_line(&mut self, mut at: usize) {
        loop {
            if let (Some(place), Some(entry)) = (self.next.get_mut(at), self.entries.get(at)) {
                *place = *entry;
            }
            if at == 0 {
                return;
            }
            at = (at - 1) / 4;
        }
    }

    /// Adds a timer, for which there is room.
    #[inline(always)]
    pub(super) fn push(&mut self, when: u64, node: &'static TimerNode) {
        self.put_in(when, node);
        if self.grows() {
            self.copy_line(self.entries.len() - 1);
        }
    }

    #[inline(never)]
    fn put_in(&mut self, when: u64, node: &'static TimerNode) {
        // Says to the compiler that this never grows.
        assert!(self.entries.len() < self.entries.capacity(), "no room for a timer");
        node.number.set(self.inserted);
        self.inserted = self.inserted.wrapping_add(1);
        let entry = TimerEntry { when, node };
        self.entries.push(entry);
        self.up(self.entries.len() - 1, entry);
    }

    /// Takes the earliest entry.
    pub(super) fn pop(&mut self) -> Option<TimerEntry> {
        let first = *self.entries.first()?;
        self.remove(0);
        Some(first)
    }

    /// Takes out the entry at `at`.
    #[inline(always)]
    pub(super) fn remove(&mut self, at: usize) {
        if self.grows() {
            self.remove_from_both(at);
        } else {
            self.take_out(at);
        }
    }

    #[cold]
    #[inline(never)]
    fn remove_from_both(&mut self, at: usize) {
        let last = self.entries.last().map(|last| last.node);
        self.take_out(at);
        self.copy_line(at);
        // The last entry may have gone down from there.
        last.into_iter().for_each(|node| self.copy_line(node.at.get() as usize));
    }

    #[inline(never)]
    fn take_out(&mut self, at: usize) {
        let Some(last) = self.entries.pop() else { return };
        if at < self.entries.len() {
            if at > 0 && last.before(&self.entries[(at - 1) / 4]) {
                self.up(at, last);
            } else {
                self.down(at, last);
            }
        }
    }

    /// Gives the entry at `at` another deadline, as if it had come anew.
    pub(super) fn change(&mut self, at: usize, when: u64) {
        let node = self.entries[at].node;
        node.number.set(self.inserted);
        self.inserted = self.inserted.wrapping_add(1);
        let entry = TimerEntry { when, node };
        if at > 0 && entry.before(&self.entries[(at - 1) / 4]) {
            self.up(at, entry);
        } else {
            self.down(at, entry);
        }
        if self.grows() {
            self.copy_line(at);
            self.copy_line(node.at.get() as usize);
        }
    }

    #[inline(always)]
    fn put(&mut self, at: usize, entry: TimerEntry) {
        self.entries[at] = entry;
        entry.node.at.set(at as u32);
    }

    /// Puts `entry` at `at` or above.
    #[inline]
    fn up(&mut self, mut at: usize, entry: TimerEntry) {
        while at > 0 {
            let parent = (at - 1) / 4;
            let above = self.entries[parent];
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
    fn down(&mut self, mut at: usize, entry: TimerEntry) {
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

    /// Returns the earliest of the brothers that begin at `first`.
    #[inline(always)]
    fn least(&self, first: usize) -> Option<(usize, TimerEntry)> {
        let earlier = |a: (usize, TimerEntry), b: (usize, TimerEntry)| if b.1.before(&a.1) { b } else { a };
        let (at, least) = match self.entries.get(first..)? {
            &[a, b, c, d, ..] => earlier(earlier((0, a), (1, b)), earlier((2, c), (3, d))),
            few => few.iter().copied().enumerate().reduce(earlier)?,
        };
        Some((first + at, least))
    }

    /// Takes the `n` earliest entries of `from`, and calls `moved` for each. Returns `Err` if
    /// nothing was moved, with the size that the array needs for all of them.
    pub(super) fn take_some(&mut self, from: &mut Self, n: usize, moved: impl Fn(&TimerNode)) -> Result<(), usize> {
        if let Some(larger) = self.wants(from.len()) {
            return Err(larger);
        }
        // In order, so that equals stay in order.
        for entry in core::iter::from_fn(|| from.pop()).take(n) {
            self.push(entry.when, entry.node);
            moved(entry.node);
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
        /// A larger array, if it does not grow.
        Begin(usize),
        /// So many entries.
        Copy(usize, usize),
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
            1 => (0..2usize).prop_map(Step::Begin),
            1 => (0..2usize, 0..12usize).prop_map(|(heap, n)| Step::Copy(heap, n)),
        ]
    }

    fn same(a: &TimerNode, b: &TimerNode) -> bool {
        core::ptr::eq(a, b)
    }

    /// The heap is in order, and every node knows its place.
    fn check(heap: &Heap) {
        for (at, entry) in heap.entries.iter().enumerate() {
            assert_eq!(entry.node.at.get() as usize, at);
            assert!(at == 0 || !entry.before(&heap.entries[(at - 1) / 4]), "later than its parent");
        }
        let same = |(a, b): (&TimerEntry, &TimerEntry)| a.when == b.when && same(a.node, b.node);
        assert!(heap.next.iter().zip(&heap.entries).all(same), "what is copied is kept equal");
    }

    fn room(heap: &mut Heap) {
        if let Some(larger) = heap.wants(1) {
            grow(heap, larger);
        }
    }

    fn grow(heap: &mut Heap, capacity: usize) {
        loop {
            let left = match heap.growth(capacity) {
                Growth::Done => return,
                Growth::Copy => heap.copy(5),
                Growth::Begin(larger) => heap.begin(Vec::with_capacity(larger)),
            };
            assert!(left.is_empty() || left.len() == heap.len());
        }
    }

    proptest! {
        #[test]
        fn it_gives_what_a_sorted_list_gives(steps in proptest::collection::vec(step(), 1..300)) {
            let nodes: Vec<&'static TimerNode> = (0..NODES).map(|_| &*Box::leak(Box::new(TimerNode::new()))).collect();
            let mut heaps = [Heap::new(), Heap::new()];
            // The expected contents: (heap, when, node), in the order in which they were put in.
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
                        let popped = heaps[heap].pop().map(|e| (e.when, e.node));
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
                        let result = to_heap.take_some(from_heap, 3, |_| moved.set(moved.get() + 1));
                        if let Err(larger) = result {
                            prop_assert_eq!(moved.get(), 0);
                            prop_assert_eq!(from_heap.len(), count);
                            grow(to_heap, larger);
                        }
                        while from_heap.len() > 0 {
                            prop_assert!(to_heap.take_some(from_heap, 3, |_| moved.set(moved.get() + 1)).is_ok());
                        }
                        prop_assert_eq!(moved.get(), count, "each of them is told its new heap, and nobody else is");
                        prop_assert_eq!(from_heap.len(), 0);
                        // Among equals, those that came are the last.
                        let (mut all, mut go): (Vec<_>, Vec<_>) = model.iter().partition(|(heap, ..)| *heap != from);
                        go.sort_by_key(|(_, when, _)| *when);
                        all.extend(go.into_iter().map(|(_, when, node)| (1 - from, when, node)));
                        model = all;
                    }
                    Step::Begin(heap) => drop(heaps[heap].begin(Vec::with_capacity(100))),
                    Step::Copy(heap, n) => drop(heaps[heap].copy(n)),
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
    fn room_doubles() {
        let mut heap = Heap::new();
        assert_eq!(heap.wants(1), Some(16));
        assert_eq!(heap.wants(17), Some(17));
        grow(&mut heap, 16);
        assert_eq!(heap.wants(16), None);
        assert_eq!(heap.wants(17), Some(32));
        assert_eq!(heap.begin(Vec::with_capacity(2)).capacity(), 2, "a smaller array comes back");
    }

    #[test]
    fn a_growth_goes_on_whoever_began_it() {
        let mut heap = Heap::new();
        grow(&mut heap, 16);
        (0..16).for_each(|i| heap.push(i, Box::leak(Box::new(TimerNode::new()))));
        assert_eq!(heap.begin(Vec::with_capacity(32)).capacity(), 0);
        assert_eq!(heap.begin(Vec::with_capacity(64)).capacity(), 64, "one is under way");
        assert_eq!(heap.copy(10).capacity(), 0);
        // Fewer than are copied, then others in their places.
        (0..12).for_each(|_| _ = heap.pop());
        (0..9).for_each(|i| heap.push(i, Box::leak(Box::new(TimerNode::new()))));
        check(&heap);
        assert!(matches!(heap.growth(16), Growth::Done), "there is room without it");
        assert!(matches!(heap.growth(17), Growth::Copy));
        assert_eq!(heap.copy(100).capacity(), 16, "the old array");
        assert_eq!((heap.wants(19), heap.wants(20)), (None, Some(64)));
        check(&heap);
    }
}
