//! G's in a list through their own links.

use crate::g::GRef;

/// A FIFO of G's through their own links. The global queue is one, and G's move between queues in
/// batches.
#[derive(Debug, Default)]
pub struct Batch {
    head: Option<GRef>,
    tail: Option<GRef>,
    len: usize,
}

impl Batch {
    crate::const_unless_loom! {
        /// An empty batch.
        pub fn new() -> Self {
            Self { head: None, tail: None, len: 0 }
        }
    }

    /// How many G's.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the first.
    #[cfg(feature = "trace")]
    pub(crate) fn first(&self) -> Option<GRef> {
        self.head
    }

    /// Runs `f` on each, first to last.
    #[cfg(feature = "trace")]
    pub(crate) fn for_each(&self, mut f: impl FnMut(GRef)) {
        let (mut next, mut left) = (self.head, self.len);
        while let Some(g) = next.filter(|_| left > 0) {
            f(g);
            (next, left) = (g.link(), left - 1);
        }
    }

    /// Appends a G that stands nowhere else.
    pub fn push(&mut self, g: GRef) {
        g.set_link(None);
        match self.tail {
            Some(tail) => tail.set_link(Some(g)),
            None => self.head = Some(g),
        }
        self.tail = Some(g);
        self.len += 1;
    }

    /// Puts a G that stands nowhere else in front.
    pub fn push_front(&mut self, g: GRef) {
        g.set_link(self.head);
        self.head = Some(g);
        if self.tail.is_none() {
            self.tail = Some(g);
        }
        self.len += 1;
    }

    /// Appends all of `other`.
    pub fn append(&mut self, other: Self) {
        let Some(first) = other.head else { return };
        match self.tail {
            Some(tail) => tail.set_link(Some(first)),
            None => self.head = Some(first),
        }
        self.tail = other.tail;
        self.len += other.len;
    }

    /// Takes the first `n`, or all there are. Walks over the links, and changes one of them.
    pub fn take_front(&mut self, n: usize) -> Self {
        if n >= self.len {
            return core::mem::take(self);
        }
        let (Some(first), true) = (self.head, n > 0) else { return Self::new() };
        let last = (1..n).fold(first, |g, _| g.link().unwrap_or(g));
        self.head = last.link();
        self.len -= n;
        last.set_link(None);
        Self { head: Some(first), tail: Some(last), len: n }
    }

    /// The first, through which the others are linked, and how many.
    pub(crate) fn into_chain(self) -> (Option<GRef>, usize) {
        (self.head, self.len)
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<GRef> {
        let g = self.head?;
        self.head = g.link();
        if self.head.is_none() {
            self.tail = None;
        }
        self.len -= 1;
        Some(g)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    use super::*;
    use crate::g::G;

    #[test]
    fn the_front_comes_off_in_order_and_the_rest_stays() {
        let gs: Vec<GRef> = (0..5).map(|_| &*Box::leak(Box::new(G::new()))).collect();
        let batch_of = |n: usize| {
            let mut batch = Batch::new();
            gs[..n].iter().for_each(|g| batch.push(g));
            batch
        };
        let places = |mut batch: Batch| -> Vec<usize> {
            core::iter::from_fn(|| batch.pop())
                .map(|g| gs.iter().position(|other| core::ptr::eq(*other, g)).unwrap())
                .collect()
        };
        for (len, n) in (0..=4).flat_map(|len| (0..=5).map(move |n| (len, n))) {
            let mut rest = batch_of(len);
            let front = rest.take_front(n);
            let at = n.min(len);
            assert_eq!((front.len(), rest.len()), (at, len - at));
            // The rest is a list like any other.
            rest.push(gs[4]);
            assert_eq!(places(front), (0..at).collect::<Vec<_>>());
            assert_eq!(places(rest), (at..len).chain([4]).collect::<Vec<_>>());
        }
    }
}
