//! All G records ever made, for reports.
//!
//! Records are made in chunks and the chunks form a list that only grows, so a report walks it without a lock, even while
//! other cores stopped in the middle of a spawn.

use alloc::alloc::{Layout, alloc};

use crate::g::{G, GRef};
use crate::sync::{AtomicPtr, Ordering};

/// Records a chunk.
const CHUNK: usize = 16;

struct Chunk {
    next: *const Chunk,
    gs: [G; CHUNK],
}

/// The list of chunks.
#[derive(Debug)]
pub(crate) struct Registry {
    head: AtomicPtr<Chunk>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// Makes [`CHUNK`] new records and hands each to `keep`; false when memory has run out.
    pub(crate) fn grow(&self, mut keep: impl FnMut(GRef)) -> bool {
        // SAFETY: `Chunk` has a size.
        let chunk = unsafe { alloc(Layout::new::<Chunk>()) }.cast::<Chunk>();
        if chunk.is_null() {
            return false;
        }
        // SAFETY: fresh memory of the right layout. It is never freed, so the reference below is good for ever.
        let chunk: &'static mut Chunk = unsafe {
            chunk.write(Chunk { next: core::ptr::null(), gs: core::array::from_fn(|_| G::new()) });
            &mut *chunk
        };
        let me: *mut Chunk = chunk;
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            chunk.next = head;
            // Release: pairs with the Acquire in `for_each`: the records are initialised.
            match self.head.compare_exchange(head, me, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        // SAFETY: `me` is never freed, and from here on only shared references to it exist.
        let chunk: &'static Chunk = unsafe { &*me };
        chunk.gs.iter().for_each(&mut keep);
        true
    }

    /// Every record, in no order. Takes no lock.
    pub(crate) fn for_each(&self, mut f: impl FnMut(GRef)) {
        // Acquire: pairs with the Release in `grow`.
        let mut at: *const Chunk = self.head.load(Ordering::Acquire);
        // SAFETY: chunks are never freed and `next` is not written once a chunk is in the list.
        while let Some(chunk) = unsafe { at.as_ref() } {
            chunk.gs.iter().for_each(&mut f);
            at = chunk.next;
        }
    }
}
