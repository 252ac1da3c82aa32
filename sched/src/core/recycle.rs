//! The record and the stack of a G: where they come from, and where they go.

use crate::core::enqueue::enqueue_next;
use crate::core::m::M;
use crate::core::trace;
use crate::g::GRef;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform::Stack;
use crate::machine::platform::{self, NoStack};
use crate::machine::sync::Ordering;

/// The window of a G that did not ask for another: 256 KiB of address space, of which one page is
/// backed at birth.
pub const DEFAULT_STACK: usize = 256 << 10;

/// Numbers that a P takes from the common counter at once.
const ID_BATCH: u64 = 16;

/// Takes a G in state Idle with a window of `size` bytes whose top page is there, and preemption
/// off.
#[inline(never)]
pub(crate) fn take_g(size: usize) -> Result<(PreemptGuard, GRef), NoStack> {
    let guard = PreemptGuard::new();
    match free_g(size, &guard) {
        Some(g) => Ok((guard, g)),
        None => make_g(size, guard),
    }
}

/// Takes such a G from the free lists.
#[inline(always)]
fn free_g(size: usize, guard: &PreemptGuard) -> Option<GRef> {
    let m = M::current(guard);
    if size == DEFAULT_STACK { m.held(guard).free.pop(&m.sched().free, guard) } else { None }
}

#[inline(never)]
fn make_g(size: usize, guard: PreemptGuard) -> Result<(PreemptGuard, GRef), NoStack> {
    match new_g(size, &guard) {
        Err(NoStack::Memory) => {
            // A look at all parked stacks takes long: not with preemption off.
            drop(guard);
            if !platform::reclaim() {
                return Err(NoStack::Memory);
            }
            // The memory that others had to spare is free now.
            let guard = PreemptGuard::new();
            let g = free_g(size, &guard).map_or_else(|| new_g(size, &guard), Ok)?;
            Ok((guard, g))
        }
        made => made.map(|g| (guard, g)),
    }
}

/// Makes such a G from a bare one, or a new one.
fn new_g(size: usize, guard: &PreemptGuard) -> Result<GRef, NoStack> {
    let sched = M::current(guard).sched();
    let g = sched.free.pop_bare(&sched.registry, guard).ok_or(NoStack::Memory)?;
    let stack = if g.stack.get().size() == size {
        // Its addresses are its own; only memory is missing.
        if platform::stack_warm(g.stack.get()) { Ok(g.stack.get()) } else { Err(NoStack::Memory) }
    } else {
        drop_stack(g);
        g.stack_low.store(usize::MAX, Ordering::Relaxed);
        platform::stack_alloc(size)
    };
    match stack {
        Ok(stack) => {
            g.stack.set(stack);
            Ok(g)
        }
        Err(why) => {
            sched.free.push_bare(g, guard);
            Err(why)
        }
    }
}

pub(crate) fn drop_stack(g: GRef) {
    let stack = g.stack.replace(Stack::NONE);
    if stack != Stack::NONE {
        // SAFETY: the caller owns `g`, which is Idle or has left its stack for ever: nobody runs
        // there, nothing points there.
        unsafe { platform::stack_free(stack) };
    }
}

/// Begins the life of a G that has its first frame, and returns its number.
#[inline(never)]
pub(crate) fn launch(guard: &PreemptGuard, g: GRef) -> u64 {
    let m = M::current(guard);
    let p = m.held(guard);
    let id = p.next_id.get();
    if id == p.last_id.get() {
        return fetch_and_launch(guard, g);
    }
    p.next_id.set(id + 1);
    g.set_id(id);
    g.stack_deepest.store(usize::MAX, Ordering::Relaxed);
    p.begun.store(p.begun.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    g.state.spawn();
    enqueue_next(guard, g);
    id
}

/// Fetches more numbers, then launches.
#[cold]
#[inline(never)]
fn fetch_and_launch(guard: &PreemptGuard, g: GRef) -> u64 {
    let m = M::current(guard);
    let p = m.held(guard);
    let batch = trace::numbers(m, ID_BATCH);
    let first = m.sched().ids.fetch_add(batch, Ordering::Relaxed);
    p.next_id.set(first);
    p.last_id.set(first + batch);
    trace::created(m, g, first);
    launch(guard, g)
}

/// Puts back a G that was [taken](take_g) and is not needed.
#[cold]
#[inline(never)]
pub(crate) fn put_back(g: GRef, guard: &PreemptGuard) {
    if g.stack.get().size() == DEFAULT_STACK {
        let m = M::current(guard);
        m.held(guard).free.push(g, &m.sched().free, guard);
    } else {
        recycle_unusual(g, guard);
    }
}

/// Frees the stack of a G whose stack is large, or deep.
#[cold]
#[inline(never)]
pub(crate) fn recycle_unusual(g: GRef, guard: &PreemptGuard) {
    let free = &M::current(guard).sched().free;
    if g.stack.get().size() == DEFAULT_STACK {
        free.push_deep(g, guard);
    } else {
        drop_stack(g);
        free.push_bare(g, guard);
    }
}

/// Gives up the frames of a G that was ended where it stood, and frees its record. Until now the G
/// was Dead with its frames in place. Allocates nothing. Called by the side that the
/// [`Grave`](crate::g::Grave) of the G has told to.
#[cold]
#[inline(never)]
pub(crate) fn give_up_frames(g: GRef, guard: &PreemptGuard) {
    g.grave.reset();
    g.state.recycle();
    drop_stack(g);
    M::current(guard).sched().free.push_bare(g, guard);
}
