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
