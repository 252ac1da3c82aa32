//! The cell itself: the word with the result, on the heap, small or large.

use alloc::alloc::{Layout, alloc, dealloc};
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;

use super::word::{EMPTY, JoinWord};
use super::{JoinError, Outcome};
use crate::machine::sync::{AtomicUsize, UnsafeCell};

/// The result and the waiter of one G. The word comes first, so that code that does not look at the
/// result exists once for all types.
#[derive(Debug)]
#[repr(C)]
pub struct JoinCell<T> {
    word: JoinWord,
    /// Written by the completer before DONE, taken by the one joiner (or the abandoned completer)
    /// after.
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the word passes the value from one side to the other, so it only needs to be sendable.
unsafe impl<T: Send> Sync for JoinCell<T> {}
// SAFETY: nothing in the cell belongs to one core, and the value is sendable.
unsafe impl<T: Send> Send for JoinCell<T> {}

impl<T> JoinCell<T> {
    /// Makes a cell without a result and a waiter.
    pub fn new() -> Self {
        Self { word: JoinWord(AtomicUsize::new(EMPTY)), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Returns the word.
    #[inline(always)]
    pub fn word(&self) -> &JoinWord {
        &self.word
    }

    /// Stores the result. A result that is there already is forgotten.
    ///
    /// # Safety
    /// 1. The caller is the completer, and has not completed.
    #[inline(always)]
    pub unsafe fn put(&self, value: T) {
        // SAFETY: 1. before DONE only the completer touches the value.
        self.value.with_mut(|v| unsafe { (*v).write(value) });
    }

    /// Takes the result.
    ///
    /// # Safety
    /// 1. The caller is the handle, and the word is DONE; or the completer, and it was `Unclaimed`.
    ///    2. The result has not been taken.
    #[inline(always)]
    pub unsafe fn take(&self) -> T {
        // SAFETY: 1. the word says that the value was put, and that the other side does not touch
        // it any more. 2. nobody has taken the value.
        self.value.with_mut(|v| unsafe { (*v).assume_init_read() })
    }
}

impl<T> Default for JoinCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A cell on the heap, shared by a G and its handle; the module says which of them frees it.
///
/// A large result lies behind a cell that only says how the G ended. So an error is written, and an
/// unwanted result is dropped, without a place for a `T` on any stack. The reason: the code that
/// ends a dead G runs on a g0.
#[repr(transparent)]
pub(crate) struct CellRef<T>(NonNull<JoinWord>, PhantomData<*mut T>);

/// The cell of a large result.
#[repr(C)]
struct LargeCell<T> {
    cell: JoinCell<Outcome<()>>,
    value: MaybeUninit<T>,
}

impl<T> Clone for CellRef<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for CellRef<T> {}

impl<T> CellRef<T> {
    /// True if the result lies behind the cell.
    const LARGE: bool = size_of::<T>() > 256;

    const LAYOUT: Layout =
        if Self::LARGE { Layout::new::<LargeCell<T>>() } else { Layout::new::<JoinCell<Outcome<T>>>() };

    /// Makes a new cell; `None` without memory for it.
    pub(crate) fn try_new() -> Option<Self> {
        // SAFETY: a cell has a size.
        let cell = NonNull::new(unsafe { alloc(Self::LAYOUT) })?;
        // SAFETY: the memory is fresh and has the layout of this kind of cell. The value of a large
        // cell stays uninitialised.
        unsafe {
            if Self::LARGE {
                cell.cast::<JoinCell<Outcome<()>>>().write(JoinCell::new());
            } else {
                cell.cast::<JoinCell<Outcome<T>>>().write(JoinCell::new());
            }
        }
        Some(Self(cell.cast(), PhantomData))
    }

    /// Returns the word.
    ///
    /// # Safety
    /// 1. The caller's side has not finished with it (`complete`, or the handle's end).
    #[inline(always)]
    pub(crate) unsafe fn word<'a>(self) -> &'a JoinWord {
        // SAFETY: 1. the caller's side keeps the memory, and the word is the first field of either
        // kind of cell.
        unsafe { self.0.as_ref() }
    }

    /// # Safety
    /// 1. As for [`word`](Self::word). 2. `T` is small.
    #[inline(always)]
    unsafe fn small<'a>(self) -> &'a JoinCell<Outcome<T>> {
        // SAFETY: 1. the caller's side keeps the memory. 2. the cell of a small `T` is a
        // `JoinCell<Outcome<T>>`.
        unsafe { self.0.cast().as_ref() }
    }

    /// # Safety
    /// 1. As for [`word`](Self::word). 2. `T` is large.
    #[inline(always)]
    unsafe fn large<'a>(self) -> (&'a JoinCell<Outcome<()>>, *mut T) {
        let cell = self.0.cast::<LargeCell<T>>().as_ptr();
        // SAFETY: 1. the caller's side keeps the memory. 2. the cell of a large `T` is a
        // `LargeCell<T>`. Only the address of the value is taken.
        unsafe { (&(*cell).cell, (&raw mut (*cell).value).cast()) }
    }

    /// Stores the result. A result that is there already is forgotten.
    ///
    /// # Safety
    /// 1. As for [`word`](Self::word). 2. The caller is the completer, and has not completed.
    #[inline(always)]
    pub(crate) unsafe fn put(self, value: T) {
        // SAFETY: 1. the caller's side keeps the memory, and `LARGE` tells the kind of the cell. 2.
        // the caller is the completer, which alone touches the value before DONE.
        unsafe {
            if Self::LARGE {
                let (cell, place) = self.large();
                place.write(value);
                cell.put(Ok(()));
            } else {
                self.small().put(Ok(value));
            }
        }
    }

    /// Stores an error, as [`put`](Self::put).
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn put_error(self, error: JoinError) {
        // SAFETY: 1. the caller's side keeps the memory, and `LARGE` tells the kind of the cell. 2.
        // the caller is the completer, which alone touches the value before DONE.
        unsafe { if Self::LARGE { self.large().0.put(Err(error)) } else { self.small().put(Err(error)) } }
    }

    /// Takes the outcome of the G.
    ///
    /// # Safety
    /// 1. As for [`word`](Self::word). 2. As for [`JoinCell::take`].
    #[inline(always)]
    pub(crate) unsafe fn take(self) -> Outcome<T> {
        // SAFETY: 1. the caller's side keeps the memory, and `LARGE` tells the kind of the cell. 2.
        // the outcome is there and was not taken; with `Ok`, so is the value of a large cell.
        unsafe {
            if Self::LARGE {
                let (cell, place) = self.large();
                cell.take().map(|()| place.read())
            } else {
                self.small().take()
            }
        }
    }

    /// Takes the outcome of the G for a caller that does not want the result: `drop` is called for
    /// the result where it lies.
    ///
    /// # Safety
    /// 1. As for [`word`](Self::word). 2. As for [`JoinCell::take`].
    pub(crate) unsafe fn discard(self, drop: unsafe fn(*mut T)) -> Outcome<()> {
        // SAFETY: 1. the caller's side keeps the memory, and `LARGE` tells the kind of the cell. 2.
        // the outcome is there, and its value is dropped once, where it lies.
        unsafe {
            if Self::LARGE {
                let (cell, place) = self.large();
                return cell.take().map(|()| drop(place));
            }
            match self.small().take() {
                Ok(value) => {
                    drop((&raw mut *ManuallyDrop::new(value)).cast());
                    Ok(())
                }
                Err(error) => Err(error),
            }
        }
    }

    /// Frees the cell.
    ///
    /// # Safety
    /// 1. The caller is the one that the module names, has taken the result if there is one, and
    ///    nobody looks at the cell any more.
    #[inline(always)]
    pub(crate) unsafe fn free(self) {
        // SAFETY: 1. nobody looks at the cell any more. `try_new` allocated it with this layout.
        // The rest of its content needs no drop: the result was taken, or never put.
        unsafe { dealloc(self.0.as_ptr().cast(), Self::LAYOUT) };
    }
}
