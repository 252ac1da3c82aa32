//! The unbounded flavour: a chain of blocks, which grows at one end and is freed at the other.
//!
//! ```text
//!   blocks[READER] ─▶ ┌──────────────┐    ┌──────────────┐    ┌──────────────┐ ◀─ blocks[WRITER]
//!                     │ · · · 3 4 5 6│ ─▶ │ 7 8 9 …      │ ─▶ │ a b · · ·    │
//!                     └──────────────┘    └──────────────┘    └──────────────┘     blocks[SPARE]: one that was read, for the next grow
//! ```
//!
//! `room` is the rest of the writer's block. When it is used up, the sender lets go of the lock,
//! makes a block (the one place that allocates) and links it. When two senders do so at once, one
//! of the two blocks is kept for the next time. A block that was read to its end is kept for the
//! next one, or freed, under the lock: to free takes the heap's lock at most and never waits. A
//! channel through which values go one at a time allocates twice in its life.
//!
//! Values of no size need no blocks: they are a ring that is never full.

use alloc::boxed::Box;
use core::cell::Cell;

use super::bounded;
use super::errors::SendError;
use super::exchange::{Exchange, Flavour, Grow, Slot, State, empty};

const READER: usize = 0;
const WRITER: usize = 1;
const SPARE: usize = 2;

/// The approximate size of a block, in bytes.
const BLOCK_BYTES: usize = 1024;

struct Block<T> {
    /// Guarded by the channel's lock.
    next: Cell<*mut Block<T>>,
    slots: Box<[Slot<T>]>,
}

const fn slots_of<T>() -> usize {
    match BLOCK_BYTES.checked_div(size_of::<T>()) {
        Some(n) if n >= 64 => 64,
        Some(n) if n >= 4 => n,
        _ => 4,
    }
}

pub(super) fn channel<T>() -> Exchange<T> {
    let flavour = |turn: fn(&mut State), grow: Option<Grow<T>>, free: Option<fn(&mut State)>| Flavour {
        capacity: |_| None,
        grow,
        turn,
        free,
        clock: None,
    };
    if size_of::<T>() == 0 {
        return Exchange::new(flavour(bounded::around, None, None), Box::new([empty()]), usize::MAX);
    }
    let exchange = Exchange::new(flavour(turn::<T>, Some(grow_and_send::<T>), Some(free::<T>)), Box::new([]), 0);
    exchange.with_state(|state| {
        (state.start, state.returns) = (core::ptr::null_mut(), 0);
        (state.read, state.read_end, state.write, state.write_end) =
            (state.start, state.start, state.start, state.start);
    });
    exchange
}

fn grow_and_send<T>(exchange: &Exchange<T>, value: T) -> Result<(), SendError<T>> {
    grow(exchange);
    // Others may have used it up meanwhile: then this comes round again.
    exchange.send(value)
}

impl<T> Block<T> {
    /// Returns the first slot, and the end.
    fn ends(&self) -> (*mut u8, *mut u8) {
        let ends = self.slots.as_ptr_range();
        (ends.start.cast_mut().cast(), ends.end.cast_mut().cast())
    }
}

/// Links a block behind the writer's, which is used up.
fn grow<T>(exchange: &Exchange<T>) {
    let mut made = core::ptr::null_mut();
    // Not under the lock, and not at all if there is one to use again.
    if exchange.with_state(|state| state.room == 0 && state.blocks[SPARE].is_null()) {
        let slots = (0..slots_of::<T>()).map(|_| empty()).collect();
        made = Box::into_raw(Box::new(Block::<T> { next: Cell::new(core::ptr::null_mut()), slots }));
    }
    exchange.with_state(|state| {
        if made.is_null() {
            made = core::mem::replace(&mut state.blocks[SPARE], core::ptr::null_mut()).cast();
        }
        if made.is_null() {
            // Another sender was faster.
            return;
        }
        if state.room > 0 {
            // So it was, and this one is for the next time.
            let spare = core::mem::replace(&mut state.blocks[SPARE], made.cast());
            return discard::<T>(spare);
        }
        // SAFETY: the block is the caller's alone: made above, or taken out of the channel under
        // the lock.
        let block = unsafe { &*made };
        block.next.set(core::ptr::null_mut());
        // SAFETY: the writer's block is in the chain, hence not freed.
        match unsafe { state.blocks[WRITER].cast::<Block<T>>().as_ref() } {
            Some(last) => last.next.set(made),
            None => {
                state.blocks[READER] = made.cast();
                (state.read, state.read_end) = block.ends();
            }
        }
        state.blocks[WRITER] = made.cast();
        (state.write, state.write_end) = block.ends();
        state.room = block.slots.len();
    });
}

/// Goes on to the next block. The reader's block was read to its end, and there is a value: so
/// there is a block behind it.
#[cold]
fn turn<T>(state: &mut State) {
    // SAFETY: blocks of the chain are freed here and in `free` only.
    let read = unsafe { &*state.blocks[READER].cast::<Block<T>>() };
    let next = read.next.get();
    // SAFETY: the value that is there lies in no block before this one, so the chain has another
    // block, which is not freed yet.
    (state.read, state.read_end) = unsafe { &*next }.ends();
    let read = core::mem::replace(&mut state.blocks[READER], next.cast());
    let spare = core::mem::replace(&mut state.blocks[SPARE], read);
    discard::<T>(spare);
}

fn discard<T>(block: *mut ()) {
    if !block.is_null() {
        // SAFETY: `grow` made it as a box, and the caller has taken it out of the channel. A block
        // that was read holds no value.
        drop(unsafe { Box::from_raw(block.cast::<Block<T>>()) });
    }
}

fn free<T>(state: &mut State) {
    discard::<T>(state.blocks[SPARE]);
    let mut at = state.blocks[READER].cast::<Block<T>>();
    // SAFETY: a block of the chain is not freed yet, and nobody else has the channel any more.
    while let Some(block) = unsafe { at.as_ref() } {
        let next = block.next.get();
        discard::<T>(at.cast());
        at = next;
    }
}
