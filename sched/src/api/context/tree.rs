//! The tree of contexts: how the cancellation of a context reaches all that were made from it.
//!
//! ```text
//!   Canceler ◀─────────────── parent: a handle ───────────────┐
//!     │ handles: how many there are                           │
//!     │ lock { error, cause, timer, first ──▶ child ⇄ child ⇄ child }
//!     └ the links of a child belong to its parent's lock
//! ```
//!
//! A child holds its parent, so that a parent lives at least as long. A parent only knows its
//! children: the last handle of a child takes the child out of the list, before its memory is
//! freed. So a parent needs memory for living children only, however many it has had.
//!
//! * **INV-KNOWN**: a canceler is in its parent's list from its birth until its last handle is
//!   gone, or until it and all below it are cancelled. One that is born cancelled was never in the
//!   list.
//! * No code here holds two locks, and no lock is held for more than a few steps.
//! * Depth is no recursion: [`cancel`](Handle::cancel) goes down to a first child, and up by the
//!   child's `parent`; the end of a chain ([`Chain`]) is a loop.
//!
//! **The hard race** is a canceller that meets a child whose last handle is going. The count is 0
//! by then, and the child waits for the parent's lock, to leave the list. Under that lock the
//! canceller sees the 0, takes the child out itself, and touches it no more. The child finds that
//! it is out, and frees its memory.
//!
//! **Two cancellers** in one tree help each other. A child leaves the list only when all below it
//! are cancelled, so the second one goes down to where the first one is. When either returns,
//! everything below is cancelled. If one dies half way, its work is still there for the next.
//!
//! Rejected: `Arc` and `Weak` alone. A `Weak` keeps the memory of what is gone, and a list of them
//! grows until someone prunes it. `Arc::into_inner`, which would make the end of a chain a loop,
//! moves what the list points to.

use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

use super::{Cause, ContextError};
use crate::api::chan::{Receiver, Sender, bounded};
use crate::api::time::{Instant, Timer};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicUsize, Ordering, UnsafeCell};

/// The number of children on their way out that a canceller takes out of the list without letting
/// go of the lock.
const BATCH: usize = 32;

/// The reason why a context is over, as it is passed down.
#[derive(Clone)]
pub(super) struct Reason {
    pub(super) error: ContextError,
    pub(super) cause: Option<Cause>,
}

/// The part that a context and those made from it by `with_value` share.
pub(super) struct Canceler {
    /// While it is not 0, the memory is there and the tree knows this node. All handles own one
    /// count of the `Arc`.
    handles: AtomicUsize,
    state: SpinLock<State>,
    /// Guarded by the parent's lock.
    links: UnsafeCell<Links>,
    /// Closed when the context is cancelled.
    pub(super) done: (Sender<()>, Receiver<()>),
    pub(super) deadline: Option<Instant>,
    /// Taken by the end of the last handle.
    parent: ManuallyDrop<Option<Handle>>,
}

struct State {
    /// None: the context is not over.
    error: Option<ContextError>,
    cause: Option<Cause>,
    timer: Option<Timer>,
    /// The youngest child; null: there is none.
    first: *const Canceler,
}

/// A place in the parent's list.
struct Links {
    is_linked: bool,
    /// Null at the ends.
    before: *const Canceler,
    after: *const Canceler,
}

// SAFETY: the pointers lead to children, which are touched under the parent's lock only
// (INV-KNOWN).
unsafe impl Send for State {}
// SAFETY: `links` is guarded by the parent's lock; the other fields are shareable by themselves.
unsafe impl Sync for Canceler {}
// SAFETY: nothing in it belongs to one core, and `links` is touched under the parent's lock only.
unsafe impl Send for Canceler {}

impl State {
    /// Puts `child` at the front.
    ///
    /// # Safety
    /// 1. `self` is the state of the child's parent. 2. The child is in no list, and somebody has a
    ///    handle.
    unsafe fn link(&mut self, child: &Canceler) {
        let links = Links { is_linked: true, before: core::ptr::null(), after: self.first };
        // SAFETY: 1. the parent's lock is held (`&mut self`), and guards the links.
        child.links.with_mut(|at| unsafe { *at = links });
        // SAFETY: a child in the list is there (INV-KNOWN).
        if let Some(second) = unsafe { self.first.as_ref() } {
            // SAFETY: 1. `second` has the same parent, whose lock is held.
            second.links.with_mut(|at| unsafe { (*at).before = child });
        }
        self.first = child;
    }

    /// Takes `child` out, if it is still there.
    ///
    /// # Safety
    /// 1. `self` is the state of the child's parent. 2. The child's memory is there.
    unsafe fn unlink(&mut self, child: &Canceler) {
        let gone = Links { is_linked: false, before: core::ptr::null(), after: core::ptr::null() };
        // SAFETY: 1. and 2.: the parent's lock is held, and guards the links.
        let Links { is_linked, before, after } =
            child.links.with_mut(|at| unsafe { core::mem::replace(&mut *at, gone) });
        if !is_linked {
            return;
        }
        // SAFETY: neighbours are in the list, so they are there (INV-KNOWN).
        let (previous, next) = unsafe { (before.as_ref(), after.as_ref()) };
        if let Some(next) = next {
            // SAFETY: 1. `next` has the same parent, whose lock is held.
            next.links.with_mut(|at| unsafe { (*at).before = before });
        }
        match previous {
            // SAFETY: 1. `previous` has the same parent, whose lock is held.
            Some(previous) => previous.links.with_mut(|at| unsafe { (*at).after = after }),
            None => self.first = after,
        }
    }
}

/// A counted reference to a node of the tree: a context, the right to cancel one, a child's hold on
/// its parent.
pub(super) struct Handle(NonNull<Canceler>);

// SAFETY: a handle is a counted reference to a node that is shareable.
unsafe impl Send for Handle {}
// SAFETY: a shared handle only gives access to a node that is shareable.
unsafe impl Sync for Handle {}

impl Deref for Handle {
    type Target = Canceler;

    fn deref(&self) -> &Canceler {
        // SAFETY: the handle counts, so the memory is there.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        // Relaxed: one more of something that is held.
        self.handles.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.release() {
            Chain(Some(self.0)).run();
        }
    }
}

impl Handle {
    /// Makes a new node, which its parent does not know yet.
    pub(super) fn new(parent: Option<Self>, deadline: Option<Instant>) -> Self {
        let state = State { error: None, cause: None, timer: None, first: core::ptr::null() };
        let links = Links { is_linked: false, before: core::ptr::null(), after: core::ptr::null() };
        let node = Arc::new(Canceler {
            handles: AtomicUsize::new(1),
            state: SpinLock::new(state),
            links: UnsafeCell::new(links),
            done: bounded(0),
            deadline,
            parent: ManuallyDrop::new(parent),
        });
        // SAFETY: an `Arc`'s pointer is not null.
        Self(unsafe { NonNull::new_unchecked(Arc::into_raw(node).cast_mut()) })
    }

    /// Makes a new child of this one. If this one is over, the child is born cancelled.
    pub(super) fn child(&self, deadline: Option<Instant>) -> Self {
        let child = Self::new(Some(self.clone()), deadline);
        if let Some(reason) = self.adopt(&child) {
            child.cancel(reason);
        }
        child
    }

    /// Enters `child` into the list; or returns the reason why this one is over.
    fn adopt(&self, child: &Self) -> Option<Reason> {
        let guard = PreemptGuard::new();
        let mut state = self.state.lock(&guard);
        match state.error {
            Some(error) => Some(Reason { error, cause: state.cause.clone() }),
            None => {
                // SAFETY: 1. `child` was made with this node as its parent. 2. the child is new,
                // hence in no list, and the caller has a handle.
                unsafe { state.link(child) };
                None
            }
        }
    }

    /// Gives up this handle's count. True: it was the last one, and the caller ends the node.
    fn release(&self) -> bool {
        // AcqRel: Release publishes the work done by this handle; Acquire makes the last one see
        // all of that.
        self.handles.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Returns the memory of the node, for a timer: the memory keeps no context alive.
    pub(super) fn memory(&self) -> Arc<Canceler> {
        let node = self.0.as_ptr();
        // SAFETY: `new` made it of an `Arc`, of which the handles own a count.
        unsafe {
            Arc::increment_strong_count(node);
            Arc::from_raw(node)
        }
    }

    /// Makes a handle of a node whose memory is there; none if its last one is gone.
    ///
    /// # Safety
    /// 1. The memory of `node` is there; it was made by [`new`](Self::new).
    unsafe fn upgrade(node: &Canceler) -> Option<Self> {
        let alive = |handles| (handles > 0).then_some(handles + 1);
        // Acquire: pairs with the Release of `release`, as a clone of that handle would see it.
        node.handles.fetch_update(Ordering::Acquire, Ordering::Relaxed, alive).ok()?;
        Some(Self(NonNull::from(node)))
    }

    /// Makes a handle of a node whose memory a timer has kept; none if its last one is gone.
    pub(super) fn of(memory: &Arc<Canceler>) -> Option<Self> {
        // SAFETY: 1. the `Arc` keeps the memory, and `new` made it.
        unsafe { Self::upgrade(memory) }
    }

    /// Cancels this node and all below it. Of several reasons the first counts.
    pub(super) fn cancel(&self, reason: Reason) {
        self.announce(reason);
        let mut below = self.next_child();
        while let Some((node, reason)) = below {
            node.announce(reason);
            below = node.next_child().or_else(|| self.after(node));
        }
        self.leave_parent();
    }

    /// Returns the next node to cancel when all below `done`, which is below this one, are
    /// cancelled.
    fn after(&self, mut done: Self) -> Option<(Self, Reason)> {
        loop {
            done.leave_parent();
            // Its child held it, and now we do.
            done = (*done.parent).clone()?;
            if let Some(next) = done.next_child() {
                return Some(next);
            }
            if done.0 == self.0 {
                return None;
            }
        }
    }
}

impl Canceler {
    /// Returns the reason why the context is over.
    pub(super) fn reason(&self) -> Option<Reason> {
        let guard = PreemptGuard::new();
        let state = self.state.lock(&guard);
        Some(Reason { error: state.error?, cause: state.cause.clone() })
    }

    pub(super) fn error(&self) -> Option<ContextError> {
        self.state.lock(&PreemptGuard::new()).error
    }

    /// Keeps the timer of the context's deadline; or gives it back, if the context is over.
    pub(super) fn keep(&self, timer: Timer) -> Option<Timer> {
        let guard = PreemptGuard::new();
        let mut state = self.state.lock(&guard);
        if state.error.is_none() { state.timer.replace(timer) } else { Some(timer) }
    }

    /// Ends the context and wakes the G's that wait for its end. From here on it gets no child.
    fn announce(&self, reason: Reason) {
        let mut reason = Some(reason);
        let timer = {
            let guard = PreemptGuard::new();
            let mut state = self.state.lock(&guard);
            if state.error.is_none()
                && let Some(Reason { error, cause }) = reason.take()
            {
                (state.error, state.cause) = (Some(error), cause);
            }
            state.timer.take()
        };
        // A reason that comes too late is dropped here, without the lock: it is the program's.
        drop(reason);
        self.done.0.close();
        if let Some(timer) = timer {
            timer.stop();
        }
    }

    /// Returns a child that is still in the list, and the reason for which it is to be cancelled.
    fn next_child(&self) -> Option<(Handle, Reason)> {
        loop {
            let guard = PreemptGuard::new();
            let mut state = self.state.lock(&guard);
            for _ in 0..BATCH {
                // SAFETY: a child in the list is there (INV-KNOWN): to leave it needs the lock.
                let child = unsafe { state.first.as_ref() }?;
                // SAFETY: 1. a child in the list is there, and the lock is still held.
                if let Some(child) = unsafe { Handle::upgrade(child) } {
                    let error = state.error.unwrap_or(ContextError::Canceled);
                    return Some((child, Reason { error, cause: state.cause.clone() }));
                }
                // SAFETY: 1. `child` stands in this node's list. 2. a child must take this lock
                // before its memory is freed.
                unsafe { state.unlink(child) };
            }
        }
    }

    /// Leaves the parent, which need not know this node any more.
    fn leave_parent(&self) {
        if let Some(parent) = &*self.parent {
            let guard = PreemptGuard::new();
            // SAFETY: 1. `parent` is this node's parent. 2. the borrow of `self` keeps the memory.
            unsafe { parent.state.lock(&guard).unlink(self) };
        }
    }
}

/// A node whose last handle is gone. The node ends, and then those above it of which it had the
/// last handle.
struct Chain(Option<NonNull<Canceler>>);

impl Chain {
    fn run(&mut self) {
        while let Some(at) = self.0.take() {
            // SAFETY: the handles' count of the `Arc`, which nobody else gives back.
            let node = unsafe { Arc::from_raw(at.as_ptr().cast_const()) };
            let timer = node.state.lock(&PreemptGuard::new()).timer.take();
            if let Some(timer) = timer {
                timer.stop();
            }
            node.leave_parent();
            // SAFETY: once, and nobody reads it again: no handle is left, and the parent does not
            // know the node.
            let parent = unsafe { core::ptr::read(&raw const *node.parent) };
            // Its count is given up here, and not by `drop`.
            if let Some(parent) = parent.map(ManuallyDrop::new)
                && parent.release()
            {
                self.0 = Some(parent.0);
            }
            // A timer that is just due may keep the memory for a moment.
            node.done.0.close();
            // The cause is the program's: its destructor may panic.
            drop(node);
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.run();
    }
}
