//! The heap: deadlines in a tree whose nodes have four children each, in one array.
//!
//! ```text
//!                     0                        entry: when, node        16 bytes, so that four brothers are one cache line
//!        1        2        3        4          node:  at, number, …     lies in whatever has the timer; the heap tells it where its entry is
//!     5 6 7 8  9 10 11 12  …
//! ```
//!
//! A parent is never later than its children, so the earliest is at the top. Each node knows its place, so one that is not needed any more is taken out of the
//! middle: the last entry takes its place and moves up or down from there. Equal deadlines leave in the order in which they came, by their numbers.
//!
//! Against two children a node: half as many levels, and a level costs one line of the cache either way; with 100,000 timers an insertion moves at most nine
//! entries. Rejected: a hierarchical wheel (cheaper on the average, but the resolution of its slots is lateness, and the next deadline is not at hand, which a tickless
//! core needs at every rest: docs/time.md has the figures, `kernel/examples/timer_queues`, which is built of this very file, prints them); leaving cancelled timers in place until they are due (a program that sets a deadline of a minute for each of its requests
//! would keep a minute's worth of them); a pairing heap (three pointers a node).

use alloc::vec::Vec;

use super::Node;

/// A timer's place in the heap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) when: u64,
    pub(super) node: &'static Node,
}

const _: () = assert!(4 * size_of::<Entry>() == 64 || cfg!(loom));

impl Entry {
    /// Whether it goes before `other`.
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
    entries: Vec<Entry>,
    inserted: u32,
}

impl Heap {
    /// Without room for any.
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), inserted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// Who is in it, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The earliest.
    #[inline(always)]
    pub(super) fn first(&self) -> Option<&Entry> {
        self.entries.first()
    }

    /// How large an array has to be for `more` timers more, if this one is too small.
    pub(super) fn wants(&self, more: usize) -> Option<usize> {
        let needed = self.entries.len() + more;
        let capacity = self.entries.capacity();
        (needed > capacity).then(|| needed.max(2 * capacity).max(16))
    }

    /// Moves into `array`, if that is larger; what is not needed any more comes back.
    #[must_use = "freed with the lock held, otherwise"]
    pub(super) fn move_into(&mut self, mut array: Vec<Entry>) -> Vec<Entry> {
        if array.capacity() > self.entries.capacity() {
            array.append(&mut self.entries);
            core::mem::swap(&mut array, &mut self.entries);
        }
        array
    }

    /// Adds a timer, for which there is room.
    #[inline(never)]
    pub(super) fn push(&mut self, when: u64, node: &'static Node) {
        // Says to the compiler that this never grows.
        assert!(self.entries.len() < self.entries.capacity(), "no room for a timer");
        node.number.set(self.inserted);
        self.inserted = self.inserted.wrapping_add(1);
        let entry = Entry { when, node };
        self.entries.push(entry);
        self.up(self.entries.len() - 1, entry);
    }

    /// Takes the earliest.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let first = *self.entries.first()?;
        self.remove(0);
        Some(first)
    }

    /// Takes out the one at `at`.
    #[inline(never)]
    pub(super) fn remove(&mut self, at: usize) {
        let Some(last) = self.entries.pop() else { return };
        if at < self.entries.len() {
            if at > 0 && last.before(&self.entries[(at - 1) / 4]) {
                self.up(at, last);
            } else {
                self.down(at, last);
            }
        }
    }

    /// The one at `at` has another deadline from now on, as if it had come anew.
    pub(super) fn change(&mut self, at: usize, when: u64) {
        let node = self.entries[at].node;
        node.number.set(self.inserted);
        self.inserted = self.inserted.wrapping_add(1);
        let entry = Entry { when, node };
        if at > 0 && entry.before(&self.entries[(at - 1) / 4]) {
            self.up(at, entry);
        } else {
            self.down(at, entry);
        }
    }

    #[inline(always)]
    fn put(&mut self, at: usize, entry: Entry) {
        self.entries[at] = entry;
        entry.node.at.set(at as u32);
    }

    /// Puts `entry` at `at` or above.
    #[inline]
    fn up(&mut self, mut at: usize, entry: Entry) {
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
        let (at, least) = match self.entries.get(first..)? {
            &[a, b, c, d, ..] => earlier(earlier((0, a), (1, b)), earlier((2, c), (3, d))),
            few => few.iter().copied().enumerate().reduce(earlier)?,
        };
        Some((first + at, least))
    }

    /// Takes everything that `from` has, and calls `moved` for each. `Err`: nothing has happened, and this is how large the array would have to be.
    pub(super) fn take_all(&mut self, from: &mut Self, moved: impl Fn(&Node)) -> Result<(), usize> {
        if let Some(larger) = self.wants(from.len()) {
            return Err(larger);
        }
        // In order, so that equals stay in order.
        while let Some(entry) = from.pop() {
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
        for (at, entry) in heap.entries.iter().enumerate() {
            assert_eq!(entry.node.at.get() as usize, at);
            assert!(at == 0 || !entry.before(&heap.entries[(at - 1) / 4]), "later than its parent");
        }
    }

    fn room(heap: &mut Heap) {
        if let Some(larger) = heap.wants(1) {
            drop(heap.move_into(Vec::with_capacity(larger)));
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
                        let result = to_heap.take_all(from_heap, |_| moved.set(moved.get() + 1));
                        if let Err(larger) = result {
                            prop_assert_eq!(moved.get(), 0);
                            prop_assert_eq!(from_heap.len(), count);
                            drop(to_heap.move_into(Vec::with_capacity(larger)));
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
    fn room_doubles() {
        let mut heap = Heap::new();
        assert_eq!(heap.wants(1), Some(16));
        assert_eq!(heap.wants(17), Some(17));
        drop(heap.move_into(Vec::with_capacity(16)));
        assert_eq!(heap.wants(16), None);
        assert_eq!(heap.wants(17), Some(32));
        assert_eq!(heap.move_into(Vec::with_capacity(2)).capacity(), 2, "a smaller array comes back");
    }
}
