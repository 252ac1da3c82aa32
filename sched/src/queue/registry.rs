//! All G records ever made, for reports.
//!
//! Records are made in chunks, and the chunks form a list that only grows. So a report walks the
//! list without a lock, even while other cores stopped in the middle of a spawn.

use alloc::alloc::{Layout, alloc};

use crate::g::{G, GRef};
use crate::machine::sync::{AtomicPtr, AtomicUsize, Ordering};

/// The number of records in a chunk; few enough under loom that a look at all of them can be
/// explored.
const CHUNK: usize = if cfg!(loom) { 4 } else { 16 };

struct Chunk {
    next: *const Chunk,
    gs: [G; CHUNK],
}

/// The list of chunks.
#[derive(Debug)]
pub(crate) struct Registry {
    head: AtomicPtr<Chunk>,
    len: AtomicUsize,
}

/// The place that a walk over all records has come to: the address of the next chunk; 0: at the
/// beginning.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor(usize);

impl Cursor {
    /// Makes a cursor at the beginning.
    pub const fn new() -> Self {
        Self(0)
    }
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(core::ptr::null_mut()), len: AtomicUsize::new(0) }
    }

    /// Makes [`CHUNK`] new records and hands each to `keep`; false when memory has run out.
    pub(crate) fn grow(&self, mut keep: impl FnMut(GRef)) -> bool {
        // SAFETY: `Chunk` has a size.
        let chunk = unsafe { alloc(Layout::new::<Chunk>()) }.cast::<Chunk>();
        if chunk.is_null() {
            return false;
        }
        // SAFETY: fresh memory of the right layout. The chunk is never freed, so the reference
        // below is good for ever.
        let chunk: &'static mut Chunk = unsafe {
            (&raw mut (*chunk).next).write(core::ptr::null());
            // One by one and in place: an array would be made on the stack and copied.
            let gs = (&raw mut (*chunk).gs).cast::<G>();
            (0..CHUNK).for_each(|i| gs.add(i).write(G::new()));
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
        self.len.fetch_add(CHUNK, Ordering::Relaxed);
        // SAFETY: `me` is never freed, and from here on only shared references to it exist.
        let chunk: &'static Chunk = unsafe { &*me };
        chunk.gs.iter().for_each(&mut keep);
        true
    }

    /// Walks the next `n` records (or up to a chunk more) from `cursor` on; true when it has come
    /// round. Records made since it began are not among them.
    pub(crate) fn walk(&self, cursor: &mut Cursor, n: usize, mut f: impl FnMut(GRef)) -> bool {
        // Acquire: as in `for_each`.
        let mut at: *const Chunk = match cursor.0 {
            0 => self.head.load(Ordering::Acquire),
            chunk => chunk as *const Chunk,
        };
        let mut seen = 0;
        // SAFETY: chunks are never freed. The head came by an Acquire, and a cursor names a chunk
        // that a walk has reached before.
        while let Some(chunk) = unsafe { at.as_ref() } {
            if seen >= n {
                cursor.0 = at.addr();
                return false;
            }
            chunk.gs.iter().for_each(&mut f);
            seen += CHUNK;
            at = chunk.next;
        }
        cursor.0 = 0;
        true
    }

    /// Returns the number of records, and the bytes that they take.
    pub(crate) fn size(&self) -> (usize, usize) {
        let records = self.len.load(Ordering::Relaxed);
        (records, records / CHUNK * size_of::<Chunk>())
    }

    /// Calls `f` for every record, in no order. Takes no lock.
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
