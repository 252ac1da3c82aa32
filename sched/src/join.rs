//! The cell in which a G leaves its result, and the handle that waits for it.
//!
//! One word decides everything:
//!
// ANCHOR: word
//! ```text
//!            join: CAS                    complete: swap
//!   EMPTY ───────────────▶ a waiting G ──────────────────▶ DONE      verdict Wake(g)
//!     │ └─────────────── complete: swap ─────────────────▶ DONE      verdict Kept
//!     └── the handle is dropped: CAS ──▶ ABANDONED ──────▶ DONE      verdict Unclaimed
//! ```
// ANCHOR_END: word
//!
//! A joiner with a deadline registers its token instead, and takes the token back with a CAS when
//! the time has come. If the completer was faster, it has woken a token, which only makes the G
//! look once more.
//!
//! The value is written before the word becomes DONE and read after, so the value needs no lock.
//! The word also says which side frees the cell, so the cell needs no reference count. The handle
//! frees it, unless the handle was dropped before the end; then the G does.
//!
//! **The hard race** is `join` against `complete`. The joiner registers in `after`, when its
//! registers are saved (INV-PUBLISH). If the CAS fails, the result has arrived in between, and the
//! joiner goes on at once.

use alloc::alloc::{Layout, alloc, dealloc};
use core::any::Any;
use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;
use core::task::Poll;
use core::time::Duration;

use crate::g::{Cause, G, GRef, WaitReason};
use crate::panic::{Payload, drop_caught_at, report_unjoined};
use crate::park::park;
use crate::preempt::PreemptGuard;
use crate::sync::{AtomicUsize, Ordering, UnsafeCell};
use crate::time::{Instant, Timer};

/// The reason why a G has no result. Can be shared, so `?` turns it into a `Box<dyn Error + Send +
/// Sync>`.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// match go(|| panic!("no")).join() {
///     Ok(()) => unreachable!(),
///     Err(JoinError::Panicked(payload)) => assert_eq!(payload.downcast_ref(), Some(&"no")),
///     Err(other) => println!("{other}"),
/// }
/// # });
/// ```
#[non_exhaustive]
pub enum JoinError {
    /// The G panicked; the payload is the value that `panic!` threw. (If a destructor panicked
    /// during the unwinding, the payload is that second value, and the frames were abandoned.)
    Panicked(Payload),
    /// The G called [`exit_g`](crate::exit_g).
    Exited,
    /// The G's stack used up its window. Its frames were abandoned: no destructor of theirs has
    /// run.
    StackOverflow,
    /// The G's stack could not grow: no memory was left. Its frames were abandoned.
    OutOfMemory,
    /// The G touched the stack of a G that had ended. Its frames were abandoned.
    DeadStack,
}

impl JoinError {
    /// Returns the error of a G that was ended where it stood. None: that end is known already.
    pub(crate) fn of(cause: Cause) -> Option<Self> {
        match cause {
            Cause::StackOverflow => Some(Self::StackOverflow),
            Cause::OutOfMemory => Some(Self::OutOfMemory),
            Cause::DeadStack => Some(Self::DeadStack),
            Cause::Panicked => None,
        }
    }

    /// Reports a panic of G number `id` that nobody will see.
    pub(crate) fn unseen(self, id: u64) {
        if let Self::Panicked(payload) = self {
            report_unjoined(payload, id);
        }
    }

    /// Returns the panic's message, if it was a string.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let error = go(|| panic!("no")).join().unwrap_err();
    /// assert_eq!(error.message(), Some("no"));
    /// # });
    /// ```
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Panicked(payload) => payload.message(),
            _ => None,
        }
    }
}

/// Returns the string in a panic's payload, if it is one.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::join::panic_message;
/// let payload = panic::catch_unwind(|| panic!("{} ways", 2)).unwrap_err();
/// assert_eq!(panic_message(&*payload), Some("2 ways"));
/// # });
/// ```
pub fn panic_message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<alloc::string::String>().map(|s| s.as_str()))
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Not escaped: that would bring Unicode's tables into every image.
            Self::Panicked(_) => write!(f, "Panicked(\"{}\")", self.message().unwrap_or("(no message)")),
            Self::Exited => f.write_str("Exited"),
            Self::StackOverflow => f.write_str("StackOverflow"),
            Self::OutOfMemory => f.write_str("OutOfMemory"),
            Self::DeadStack => f.write_str("DeadStack"),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.message()) {
            (Self::Exited, _) => f.write_str("the goroutine exited without a result"),
            (Self::StackOverflow, _) => f.write_str("the goroutine's stack overflowed"),
            (Self::OutOfMemory, _) => f.write_str("no memory was left for the goroutine's stack"),
            (Self::DeadStack, _) => f.write_str("the goroutine touched the stack of one that had ended"),
            (Self::Panicked(_), Some(message)) => write!(f, "the goroutine panicked: {message}"),
            (Self::Panicked(_), None) => f.write_str("the goroutine panicked"),
        }
    }
}

impl core::error::Error for JoinError {}

const EMPTY: usize = 0;
const DONE: usize = 1;
const ABANDONED: usize = 2;
/// Beside a G: that G waits with a deadline, and is woken by its token (`task.rs`), which may come
/// late.
const BY_TOKEN: usize = 4;
const _: () = assert!(align_of::<G>() > BY_TOKEN);

/// The word of a cell: the waiter, and how far the two sides are.
#[derive(Debug)]
pub struct JoinWord(AtomicUsize);

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
// SAFETY: as above.
unsafe impl<T: Send> Send for JoinCell<T> {}

/// The duty that [`JoinWord::complete`] leaves to its caller.
#[derive(Debug)]
#[must_use]
pub enum Completed {
    /// The handle will find it.
    Kept,
    /// Ready this G, which waits for the result.
    Wake(GRef),
    /// Nobody will ever ask: the caller takes the result back.
    Unclaimed,
}

impl JoinWord {
    /// Marks the result as stored. Once.
    ///
    /// # Safety
    /// 1. The completer has put it into the cell of this word.
    #[inline(always)]
    pub unsafe fn complete(&self) -> Completed {
        // AcqRel: Release publishes the value to the Acquire of `is_done` and `register`; Acquire
        // pairs with the Release of `register`, so that the waiter's saved registers are seen.
        match self.0.swap(DONE, Ordering::AcqRel) {
            EMPTY => Completed::Kept,
            ABANDONED => Completed::Unclaimed,
            g if g & BY_TOKEN != 0 => {
                // SAFETY: it was stored by `register_token` from a `GRef`.
                let g = unsafe { &*((g & !BY_TOKEN) as *const G) };
                if g.token.wake() { Completed::Wake(g) } else { Completed::Kept }
            }
            // SAFETY: every other value was stored by `register` from a `GRef`.
            g => Completed::Wake(unsafe { &*(g as *const G) }),
        }
    }

    /// Leaves the token of `g` to be woken, which does no harm if it comes late. False if the
    /// result is there already.
    #[must_use]
    pub fn register_token(&self, g: GRef) -> bool {
        let g = core::ptr::from_ref(g) as usize | BY_TOKEN;
        // AcqRel: as in `register`. Again by the same G: nothing changes.
        match self.0.compare_exchange(EMPTY, g, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(was) => was == g,
        }
    }

    /// Takes the token back; false if the result is there.
    #[must_use]
    pub fn unregister_token(&self, g: GRef) -> bool {
        let g = core::ptr::from_ref(g) as usize | BY_TOKEN;
        // Acquire on failure: the result is taken next.
        self.0.compare_exchange(g, EMPTY, Ordering::Relaxed, Ordering::Acquire).is_ok()
    }

    /// Parks until the result is there (true), or `d` has passed.
    fn wait_for(&self, d: Duration) -> bool {
        let g = {
            let guard = PreemptGuard::new();
            crate::park::current_g(&guard)
        };
        let deadline = Instant::now() + d;
        let waker = crate::task::waker_of(g);
        let timer = Timer::after_func(d, move || waker.wake_by_ref());
        let done = self.wait_by_token(g, || Instant::now() >= deadline);
        timer.stop();
        done
    }

    /// Parks `g`, the caller, until the result is there (true), or the wait `is_over`, of which the
    /// token of `g` tells.
    fn wait_by_token(&self, g: GRef, is_over: impl Fn() -> bool) -> bool {
        crate::task::block_on(core::future::poll_fn(|_| {
            if !self.register_token(g) {
                return Poll::Ready(true);
            }
            if is_over() { Poll::Ready(!self.unregister_token(g)) } else { Poll::Pending }
        }))
    }

    /// Leaves `g` as the G to wake; false if the result is there already. `g` must be saved by now.
    #[must_use]
    pub fn register(&self, g: GRef) -> bool {
        // AcqRel: Release pairs with the Acquire of `complete`; on failure Acquire pairs with its
        // Release.
        let g = core::ptr::from_ref(g) as usize;
        self.0.compare_exchange(EMPTY, g, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Returns true if the result is there.
    #[inline]
    pub fn is_done(&self) -> bool {
        // Acquire: pairs with the Release of `complete`.
        self.0.load(Ordering::Acquire) == DONE
    }

    /// Abandons the result. True if the result is not there yet: then the completer takes it back.
    #[must_use]
    #[inline]
    pub fn abandon(&self) -> bool {
        // Acquire on failure: the value is taken next.
        self.0.compare_exchange(EMPTY, ABANDONED, Ordering::Relaxed, Ordering::Acquire).is_ok()
    }

    /// Parks until the result is there.
    ///
    /// # Safety
    /// 1. The caller is the handle's side of the cell, which only it frees.
    unsafe fn wait(&self) {
        let guard = PreemptGuard::new();
        let arg = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: 1. a registered waiter is readied by `complete`, once; an unregistered one
        // returns false. 2. the cell is ours to free.
        drop(unsafe { park(guard, WaitReason::Join, commit_join, arg) });
    }
}

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
        // SAFETY: 1. the other side is gone, and has put it there. 2.
        self.value.with_mut(|v| unsafe { (*v).assume_init_read() })
    }
}

impl<T> Default for JoinCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The result of a G, or the reason why it has none.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::join::Outcome;
/// let outcome: Outcome<u32> = go(|| 5).join();
/// assert_eq!(outcome.unwrap(), 5);
/// # });
/// ```
pub type Outcome<T> = Result<T, JoinError>;

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
        // SAFETY: fresh memory of the right layout; of a large cell, the value stays as it is.
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
        // SAFETY: 1. the word comes first in either cell.
        unsafe { self.0.as_ref() }
    }

    /// # Safety
    /// 1. As for [`word`](Self::word). 2. `T` is small.
    #[inline(always)]
    unsafe fn small<'a>(self) -> &'a JoinCell<Outcome<T>> {
        // SAFETY: 1. and 2.
        unsafe { self.0.cast().as_ref() }
    }

    /// # Safety
    /// 1. As for [`word`](Self::word). 2. `T` is large.
    #[inline(always)]
    unsafe fn large<'a>(self) -> (&'a JoinCell<Outcome<()>>, *mut T) {
        let cell = self.0.cast::<LargeCell<T>>().as_ptr();
        // SAFETY: 1. and 2. The value is its side's, as the word says.
        unsafe { (&(*cell).cell, (&raw mut (*cell).value).cast()) }
    }

    /// Stores the result. A result that is there already is forgotten.
    ///
    /// # Safety
    /// 1. As for [`word`](Self::word). 2. The caller is the completer, and has not completed.
    #[inline(always)]
    pub(crate) unsafe fn put(self, value: T) {
        // SAFETY: 1. and 2.
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
        // SAFETY: 1. and 2.
        unsafe { if Self::LARGE { self.large().0.put(Err(error)) } else { self.small().put(Err(error)) } }
    }

    /// Takes the outcome of the G.
    ///
    /// # Safety
    /// 1. As for [`word`](Self::word). 2. As for [`JoinCell::take`].
    #[inline(always)]
    pub(crate) unsafe fn take(self) -> Outcome<T> {
        // SAFETY: 1. and 2.
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
        // SAFETY: 1. and 2.: the value is dropped, or forgotten, once.
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
        // SAFETY: 1., and `try_new` allocated it with this layout. The rest of its content needs no
        // drop: the result was taken, or never put.
        unsafe { dealloc(self.0.as_ptr().cast(), Self::LAYOUT) };
    }
}

/// The right to a G's result. Dropping it lets the G go on by itself; if that G panics, the panic
/// is reported.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let handle = go(|| 5);
/// assert_eq!(handle.join().unwrap(), 5);
/// drop(go(|| 6)); // it runs all the same
/// # });
/// ```
pub struct JoinHandle<T> {
    cell: CellRef<T>,
    g: u64,
}

// SAFETY: a handle is one side of a cell, whose word passes the value from the other; the value is
// sendable.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: by reference, it only looks at the cell's word.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    pub(crate) fn new(cell: CellRef<T>, g: u64) -> Self {
        Self { cell, g }
    }

    /// As `drop`, but says how the G ended, if it has.
    pub(crate) fn detach(self) -> Option<Outcome<()>> {
        // SAFETY: 1. the handle is gone.
        unsafe { end(ManuallyDrop::new(self).cell) }
    }

    /// Parks until the G has ended, and returns its result.
    ///
    /// # Errors
    /// The G panicked, ended without a result, or was ended where it stood.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(go(|| 5).join().unwrap(), 5);
    /// assert!(go(|| panic!("no")).join().is_err());
    /// # });
    /// ```
    pub fn join(self) -> Outcome<T> {
        // The handle's side ends here, and not in `drop`.
        let shared = ManuallyDrop::new(self).cell;
        // SAFETY: 1. the handle's side ends below.
        let word = unsafe { shared.word() };
        if !word.is_done() {
            // SAFETY: 1. this is the handle's side.
            unsafe { word.wait() };
        }
        // SAFETY: 1. right above. 2. DONE, and the handle is gone: nobody else takes it.
        let outcome = unsafe { shared.take() };
        // SAFETY: 1. DONE was not preceded by ABANDONED, so the handle frees it; the G is through
        // with it.
        unsafe { shared.free() };
        outcome
    }

    /// Returns the outcome, if the G has ended.
    ///
    /// # Errors
    /// The G has not ended; the handle comes back.
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (tx, rx) = chan::bounded::<u32>(0);
    /// let handle = go(move || rx.recv().unwrap());
    /// let handle = handle.try_join().unwrap_err();
    /// tx.send(5).unwrap();
    /// assert_eq!(handle.join().unwrap(), 5);
    /// # });
    /// ```
    pub fn try_join(self) -> Result<Outcome<T>, Self> {
        if self.is_finished() { Ok(self.join()) } else { Err(self) }
    }

    /// Joins as [`join`](Self::join), for `d` at most. A timeout does not end the G: see
    /// [`context`](crate::context).
    ///
    /// # Errors
    /// The G has not ended in that time; the handle comes back.
    ///
    /// # Panics
    /// When there is no memory for the timer.
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let handle = go(|| time::sleep(Duration::from_millis(20)));
    /// let handle = handle.join_timeout(Duration::from_millis(1)).unwrap_err();
    /// handle.join().unwrap();
    /// # });
    /// ```
    pub fn join_timeout(self, d: Duration) -> Result<Outcome<T>, Self> {
        let done = {
            // SAFETY: 1. the handle's side ends with the handle.
            let word = unsafe { self.cell.word() };
            word.is_done() || word.wait_for(d)
        };
        if done { Ok(self.join()) } else { Err(self) }
    }

    /// Returns true if the G has ended: [`join`](Self::join) would not park.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let handle = go(|| 5);
    /// while !handle.is_finished() {
    ///     runtime::yield_now();
    /// }
    /// assert_eq!(handle.join().unwrap(), 5);
    /// # });
    /// ```
    pub fn is_finished(&self) -> bool {
        // SAFETY: 1. the handle's side ends with the handle.
        unsafe { self.cell.word() }.is_done()
    }

    /// Returns the G's number.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (a, b) = (go(|| ()), go(|| ()));
    /// assert_ne!(a.id(), b.id());
    /// # });
    /// ```
    pub fn id(&self) -> u64 {
        self.g
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("g", &self.g).field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // SAFETY: 1. this is the handle's end.
        if let Some(Err(error)) = unsafe { end(self.cell) } {
            error.unseen(self.g);
        }
    }
}

/// Ends the handle's side of a cell. Returns how the G has ended, if it has: the handle is the last
/// to hear of it. The result is dropped. If its destructor panics, the panic is reported, and the
/// caller goes on.
///
/// # Safety
/// 1. The caller is the handle, and ends.
unsafe fn end<T>(shared: CellRef<T>) -> Option<Outcome<()>> {
    // SAFETY: 1.
    if unsafe { shared.word() }.abandon() {
        return None;
    }
    // SAFETY: 1. as above. 2. DONE, and the handle has not joined. Of `free`: as in `join`.
    unsafe {
        let outcome = shared.discard(drop_caught_at);
        shared.free();
        Some(outcome)
    }
}

unsafe fn commit_join(word: *mut (), g: GRef) -> bool {
    // SAFETY: `wait` passed its word, and the cell lives until the handle is resumed.
    unsafe { &*word.cast::<JoinWord>() }.register(g)
}

#[cfg(loom)]
pub mod model {
    //! Both sides of a cell without a G of the scheduler's, and waits with a deadline without a
    //! timer.

    use super::{CellRef, Completed, JoinHandle, Outcome};
    use crate::park::{current_g, ready};
    use crate::preempt::PreemptGuard;

    /// The side of the G that ends.
    pub struct Completer<T>(CellRef<T>);

    // SAFETY: as for a handle.
    unsafe impl<T: Send> Send for Completer<T> {}

    /// The two sides of a new cell.
    pub fn pair<T>() -> (Completer<T>, JoinHandle<T>) {
        let cell = CellRef::try_new().expect("there is memory");
        (Completer(cell), JoinHandle::new(cell, 7))
    }

    impl<T> Completer<T> {
        /// Ends the G, with `value`.
        pub fn complete(self, value: T) {
            let guard = PreemptGuard::new();
            // SAFETY: 1. this is the completer, which ends here.
            match unsafe {
                self.0.put(value);
                self.0.word().complete()
            } {
                Completed::Kept => {}
                Completed::Wake(joiner) => ready(&guard, joiner),
                // SAFETY: 1. and 2.: the handle is gone; as `forget` in `spawn/start.rs`.
                Completed::Unclaimed => unsafe {
                    drop(self.0.take());
                    self.0.free();
                },
            }
        }
    }

    /// Joins as `join_timeout`, until `is_over` returns true. The code that makes it true wakes the
    /// caller's token.
    pub fn join_until<T>(handle: JoinHandle<T>, is_over: impl Fn() -> bool) -> Result<Outcome<T>, JoinHandle<T>> {
        let g = current_g(&PreemptGuard::new());
        // SAFETY: 1. the handle's side ends with the handle.
        let word = unsafe { handle.cell.word() };
        if word.is_done() || word.wait_by_token(g, is_over) { Ok(handle.join()) } else { Err(handle) }
    }
}
