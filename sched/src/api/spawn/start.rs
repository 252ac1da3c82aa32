//! The start frame at the top of a new G's stack, and the operations of the code that knows its
//! type.

use alloc::alloc::{Layout, alloc};
use alloc::boxed::Box;

use crate::api::join::{CellRef, JoinError, JoinWord};
use crate::api::spawn::end::g_main;
use crate::core::drops::{drop_caught, drop_caught_at};
use crate::g::{Body, GRef};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::wait::group::Member;

/// The largest closure that is kept on the new G's own stack; larger ones are boxed.
const INLINE_CLOSURE: usize = 2048;

/// The alignment of a frame.
const ALIGN: usize = 16;

/// The start frame that a fresh G finds at the top of its stack.
#[repr(C)]
pub(super) struct Start<F, T, N> {
    pub(super) head: Head<T, N>,
    pub(super) f: F,
}

/// The part of a `Start` that is found without knowing `F`.
#[repr(C)]
pub(super) struct Head<T, N> {
    /// First, so that its word is found without knowing any type.
    pub(super) cell: CellRef<T>,
    pub(super) member: N,
}

/// A `Start` in its final form: large closures are boxed, before there is a G to lay them on.
pub(super) enum Laid<F, T, N> {
    Inline(Start<F, T, N>),
    Boxed(Start<Box<F>, T, N>),
}

impl<F, T, N> Laid<F, T, N>
where
    F: FnOnce() -> T + Send,
    T: Send,
    N: Member,
{
    /// Boxes a large closure. Without memory for a box, `start` comes back.
    pub(super) fn new(start: Start<F, T, N>) -> Result<Self, Start<F, T, N>> {
        if size_of::<Start<F, T, N>>() <= INLINE_CLOSURE && align_of::<Start<F, T, N>>() <= 64 {
            return Ok(Self::Inline(start));
        }
        // SAFETY: `F` is larger than INLINE_CLOSURE or aligned to more than 64, so its layout has a
        // size.
        let place = unsafe { alloc(Layout::new::<F>()) }.cast::<F>();
        if place.is_null() {
            return Err(start);
        }
        // SAFETY: fresh memory of the right layout, allocated as a box is.
        let f = unsafe {
            place.write(start.f);
            Box::from_raw(place)
        };
        Ok(Self::Boxed(Start { head: start.head, f }))
    }

    /// Returns the member that starts with it.
    pub(super) fn member(&self) -> &N {
        match self {
            Self::Inline(start) => &start.head.member,
            Self::Boxed(start) => &start.head.member,
        }
    }

    pub(super) fn into_start(self) -> Start<F, T, N> {
        match self {
            Self::Inline(start) => start,
            Self::Boxed(Start { head, f }) => Start { head, f: *f },
        }
    }

    /// Writes the `Start` to the top of the stack of `g` and lays the G's first frame below.
    #[inline(always)]
    pub(super) fn lay(self, g: GRef) {
        match self {
            Self::Inline(start) => lay(g, start),
            Self::Boxed(start) => lay(g, start),
        }
    }
}

fn lay<F, T, N>(g: GRef, start: Start<F, T, N>)
where
    F: FnOnce() -> T + Send,
    T: Send,
    N: Member,
{
    let record = (g.stack.get().hi - size_of::<GRef>()) as *mut GRef;
    let at = (record.addr() - size_of::<Start<F, T, N>>()) & !(ALIGN.max(align_of::<Start<F, T, N>>()) - 1);
    let at = at as *mut Start<F, T, N>;
    // SAFETY: the G is ours (Idle, off every list), so its window is unused; its top page is
    // mapped, and the record's address, `start` and the frame below fit in it (INLINE_CLOSURE);
    // `at` is aligned as it wants, and as a frame.
    unsafe {
        record.write(g);
        at.write(start);
        *g.sp.get() = platform::fresh_stack(at.cast(), g_main, core::ptr::from_ref(g).cast_mut().cast());
    }
    g.closure.set(at.cast());
    g.body.set(Some(
        const { &Body { run: run::<F, T, N>, fail: fail::<T>, forget: forget::<T, N>, leave: leave_group::<T, N>() } },
    ));
}

/// Runs a G's closure, and leaves its value in the cell.
///
/// # Safety
/// 1. `start` points to a `Start<F, T, N>`, and this is its only run.
unsafe fn run<F, T, N>(start: *mut ())
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let start = start.cast::<Start<F, T, N>>();
    // SAFETY: 1. only this run reads the closure. The head stays readable for others, which copy
    // the cell as well.
    let (cell, f) = unsafe { ((&raw const (*start).head.cell).read(), (&raw const (*start).f).read()) };
    let value = f();
    // SAFETY: 1. and 2. the G's side ends with `end_of_body`.
    unsafe { cell.put(value) };
}

/// Leaves an error in place of the value. A value that is there already was written by a run that
/// was abandoned: it is leaked like the rest.
///
/// # Safety
/// 1. `start` points to a `Start<_, T, _>` whose G has not completed.
unsafe fn fail<T: Send>(start: *mut (), error: JoinError) {
    // SAFETY: 1. the cell comes first. Of `put`: the G's side has not ended.
    unsafe { start.cast::<CellRef<T>>().read().put_error(error) };
}

/// Drops an outcome that no handle will ask for. On the G that has ended, or on the g0 on which it
/// dies.
///
/// # Safety
/// 1. `start` points to a `Start<_, T, N>` whose G has completed, unclaimed, and has not left its
///    group; once.
unsafe fn forget<T: Send, N: Member>(start: *mut ()) {
    // SAFETY: 1. the head comes first; an abandoned cell is the completer's to take from and to
    // free.
    let (outcome, member) = unsafe {
        let head = start.cast::<Head<T, N>>();
        let cell = (*head).cell;
        let outcome = cell.discard(drop_caught_at);
        cell.free();
        (outcome, &(*head).member)
    };
    if let Err(error) = outcome {
        member.unclaimed(error);
    }
}

/// Returns the function that tells a member that its G has ended, if there is a member. True: the G
/// was ended where it stood.
const fn leave_group<T, N: Member>() -> Option<unsafe fn(*mut (), GRef, bool)> {
    /// # Safety
    /// 1. `start` points to a `Start<_, T, _>` of `g`; once.
    unsafe fn leave<T, N: Member>(start: *mut (), g: GRef, abandoned: bool) {
        // SAFETY: 1. `leave` is called once for each `Start`, so nobody reads the member again.
        let member = unsafe { (&raw const (*start.cast::<Head<T, N>>()).member).read() };
        if abandoned {
            return member.abandoned(g);
        }
        let rest = {
            let _guard = PreemptGuard::new();
            // Should this be its end after all, it has left.
            g.body.set(None);
            member.leave()
        };
        if let Some(rest) = rest {
            drop_caught(rest);
        }
    }
    if N::ALONE { None } else { Some(leave::<T, N>) }
}

/// Returns the word of the cell of a `Start`.
///
/// # Safety
/// 1. `start` points to a `Start`, whose G has not completed.
pub(super) unsafe fn word_of<'a>(start: *mut ()) -> &'a JoinWord {
    // SAFETY: 1. the cell comes first in it, and the word in the cell.
    unsafe { *start.cast::<&JoinWord>() }
}
