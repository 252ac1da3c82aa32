//! The open slices of each thread's track. Slices nest: a slice that ends, ends those within.

use std::collections::HashMap;

use super::ids;
use super::writer::{Event, Writer};

/// A kind of slice on a thread's track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slice {
    /// A goroutine's life.
    Life,
    /// A region of the program.
    Region,
    /// A call of `block_in_place`.
    Block,
    /// A goroutine waits for something.
    Wait,
    /// A goroutine waits for a core.
    Runnable,
    /// An M looks for work.
    Spin,
    /// An M rests.
    Rest,
}

/// The open slices, by thread.
#[derive(Debug, Default)]
pub(super) struct Slices {
    open: HashMap<i32, Vec<Slice>>,
}

impl Slices {
    /// Begins a slice.
    pub(super) fn begin<'w>(
        &mut self,
        writer: &'w mut Writer,
        slice: Slice,
        thread: i32,
        at: u64,
        name: &str,
    ) -> Event<'w> {
        let category = match slice {
            Slice::Life => "life",
            Slice::Region => "region",
            Slice::Block => "block",
            Slice::Wait => "wait",
            Slice::Runnable => "runnable",
            Slice::Spin | Slice::Rest => "machine",
        };
        self.open.entry(thread).or_default().push(slice);
        writer.begin(ids::track(thread), at, category, name)
    }

    /// Returns true if the thread has such a slice open.
    pub(super) fn has(&self, thread: i32, slice: Slice) -> bool {
        self.open.get(&thread).is_some_and(|open| open.contains(&slice))
    }

    /// Ends the innermost slice of the kind, if there is one, and those within.
    pub(super) fn close(&mut self, writer: &mut Writer, slice: Slice, thread: i32, at: u64) {
        if let Some(end) = self.end(writer, slice, thread, at) {
            end.write();
        }
    }

    /// Ends the innermost slice of the kind, and those within. Returns the event of its end, if
    /// there is such a slice.
    pub(super) fn end<'w>(&mut self, writer: &'w mut Writer, slice: Slice, thread: i32, at: u64) -> Option<Event<'w>> {
        let open = self.open.get_mut(&thread)?;
        let inner = open.iter().rev().position(|&open| open == slice)?;
        open.truncate(open.len() - inner - 1);
        for _ in 0..inner {
            writer.end(ids::track(thread), at).write();
        }
        Some(writer.end(ids::track(thread), at))
    }
}
