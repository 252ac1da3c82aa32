//! A G's life, from `go` to its free list.
//!
//! ```text
//!   go(f)      a G from gfree (or new: record + stack window)
//!              f and its join cell are written to the top of the *new* stack: no allocation but the cell
//!              fresh frame below them, Idle → Runnable, into the slot
//!   g_main     first function on the stack: runs the body under `catch`
//!   body       reads f, runs it, leaves the outcome in the cell, wakes the joiner
//!   finish     Running → Dead, leaves the M; `after_exit` recycles record and stack, from another stack
//! ```
//!
//! A G whose stack can't grow, or that has done what can't be undone to somebody else's, does not come to the end of its body. Its frames are
//! [abandoned](abandon): an instruction in the middle of anything can't be unwound, so no destructor runs, and what its frames own is leaked. Its
//! joiner gets the cause, the mutexes that it held are poisoned, and its window's addresses are never used again.
//!
//! The top word of every stack in use is the address of its G's record.

use alloc::alloc::{Layout, alloc};
use alloc::boxed::Box;
use core::any::Any;
use core::fmt;

use crate::g::{Body, Cause, G, GRef, Name, Stack, Verb};
use crate::join::{CellRef, Completed, JoinError, JoinHandle, Outcome, report_unjoined};
use crate::m::M;
use crate::mutex::owner_died;
use crate::p::Held;
use crate::park::{enqueue_next, leave, next_of, ready, run_next};
use crate::platform::{self, NoStack};
use crate::preempt::PreemptGuard;
use crate::sync::Ordering;

/// The window of a G that did not ask for another: 256 KiB of address space, of which one page is backed at birth.
pub const DEFAULT_STACK: usize = 256 << 10;

/// The windows there are; a request gets the next larger one.
const STACK_CLASSES: [usize; 4] = [DEFAULT_STACK, 1 << 20, 16 << 20, 1 << 30];

/// The largest closure that is kept on the new G's own stack; larger ones are boxed.
const INLINE_CLOSURE: usize = 2048;

/// Numbers that a P takes from the common counter at once.
const ID_BATCH: u64 = 16;

/// A G could not be made. The closure comes back.
#[non_exhaustive]
pub enum SpawnError<F> {
    /// No memory for a record or a stack, even after everything that can be given back was.
    OutOfMemory(F),
    /// There are as many stacks of that size as there are addresses for.
    TooManyGoroutines(F),
    /// No window is that large (the largest is 1 GiB), or the size was zero.
    BadStackSize(F),
}

impl<F> SpawnError<F> {
    /// The closure.
    pub fn into_inner(self) -> F {
        match self {
            Self::OutOfMemory(f) | Self::TooManyGoroutines(f) | Self::BadStackSize(f) => f,
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::OutOfMemory(_) => "out of memory for a goroutine's record or stack",
            Self::TooManyGoroutines(_) => "too many goroutines with a stack of that size",
            Self::BadStackSize(_) => "a goroutine's stack must be 1 byte to 1 GiB",
        }
    }
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<F> fmt::Display for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl<F> core::error::Error for SpawnError<F> {}

/// What a G is made with.
#[derive(Debug, Clone, Copy)]
pub struct Builder {
    name: Name,
    stack: usize,
}

impl Builder {
    /// No name, the default window.
    pub fn new() -> Self {
        Self { name: Name::EMPTY, stack: DEFAULT_STACK }
    }

    /// Its name in reports; the first 31 bytes count.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Name::new(name);
        self
    }

    /// How far its stack may grow, in bytes (rounded up to 256 KiB, 1 MiB, 16 MiB or 1 GiB, guard included).
    #[must_use]
    pub fn stack_max(mut self, bytes: usize) -> Self {
        self.stack = bytes;
        self
    }

    /// Starts a G that runs `f`. It runs next on this P, unless a thief is faster.
    ///
    /// # Errors
    /// No memory, or no window of that size; `f` comes back.
    pub fn spawn<F, T>(self, f: F) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let Some(size) = STACK_CLASSES.into_iter().find(|&c| self.stack != 0 && self.stack <= c) else {
            return Err(SpawnError::BadStackSize(f));
        };
        let Some(cell) = CellRef::try_new() else { return Err(SpawnError::OutOfMemory(f)) };
        let start = match Laid::new(Start { f, cell }) {
            Ok(start) => start,
            Err(Start { f, .. }) => {
                // SAFETY: 1. nobody else knows the cell yet.
                unsafe { cell.free() };
                return Err(SpawnError::OutOfMemory(f));
            }
        };
        let mut guard = PreemptGuard::new();
        let mut made = new_g(size, &guard);
        if matches!(made, Err(NoStack::Memory)) && platform::reclaim() {
            // What others had to spare is free now.
            drop(guard);
            guard = PreemptGuard::new();
            made = new_g(size, &guard);
        }
        let g = match made {
            Ok(g) => g,
            Err(why) => {
                drop(guard);
                let Start { f, .. } = start.into_start();
                // SAFETY: 1. as above.
                unsafe { cell.free() };
                return Err(match why {
                    NoStack::Memory => SpawnError::OutOfMemory(f),
                    NoStack::Addresses => SpawnError::TooManyGoroutines(f),
                });
            }
        };
        let m = M::current(&guard);
        let p = m.held(&guard);
        let id = next_id(m, &p);
        g.set_id(id);
        g.name.set(self.name);
        g.pardon();
        start.lay(g);
        p.begun.store(p.begun.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        g.state.spawn();
        enqueue_next(&guard, g);
        Ok(JoinHandle::new(cell, id))
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

/// Starts a G that runs `f`; it runs next on this P, unless a thief is faster.
///
/// # Panics
/// When there is no memory for it; see [`try_go`].
pub fn go<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match try_go(f) {
        Ok(handle) => handle,
        Err(error) => panic!("go: {error}"),
    }
}

/// As [`go`], with an error where that panics.
///
/// # Errors
/// No memory; the closure comes back.
pub fn try_go<F, T>(f: F) -> Result<JoinHandle<T>, SpawnError<F>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f)
}

/// Ends the current G here: its destructors run, `join` gives [`JoinError::Exited`]. Go's `Goexit`.
pub fn exit_g() -> ! {
    platform::unwind(Box::new(ExitG))
}

/// The payload of [`exit_g`]'s unwinding.
struct ExitG;

/// What a fresh G finds at the top of its stack.
struct Start<F, T: Send + 'static> {
    f: F,
    cell: CellRef<Outcome<T>>,
}

/// A `Start` in the form in which it will lie there: large closures are boxed, before there is a G to lay them on.
enum Laid<F, T: Send + 'static> {
    Inline(Start<F, T>),
    Boxed(Start<Box<F>, T>),
}

/// A G in state Idle with a window of `size` bytes whose top page is there: from the free lists, or new.
fn new_g(size: usize, guard: &PreemptGuard) -> Result<GRef, NoStack> {
    let m = M::current(guard);
    let sched = m.sched();
    if size == DEFAULT_STACK
        && let Some(g) = m.held(guard).free.pop(&sched.free, guard)
    {
        return Ok(g);
    }
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

fn drop_stack(g: GRef) {
    let stack = g.stack.replace(Stack::NONE);
    if stack != Stack::NONE {
        // SAFETY: the caller owns `g`, which is Idle or has left its stack for ever: nobody runs there, nothing points there.
        unsafe { platform::stack_free(stack) };
    }
}

fn next_id(m: &M, p: &Held<'_>) -> u64 {
    if p.next_id.get() == p.last_id.get() {
        let first = m.sched().ids.fetch_add(ID_BATCH, Ordering::Relaxed);
        p.next_id.set(first);
        p.last_id.set(first + ID_BATCH);
    }
    p.next_id.replace(p.next_id.get() + 1)
}

impl<F, T> Laid<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    /// Without memory for a box, `start` comes back.
    fn new(start: Start<F, T>) -> Result<Self, Start<F, T>> {
        if size_of::<Start<F, T>>() <= INLINE_CLOSURE && align_of::<Start<F, T>>() <= 64 {
            return Ok(Self::Inline(start));
        }
        // SAFETY: it is larger than INLINE_CLOSURE or aligned to more than 64: it has a size.
        let place = unsafe { alloc(Layout::new::<F>()) }.cast::<F>();
        if place.is_null() {
            return Err(start);
        }
        // SAFETY: fresh memory of the right layout, allocated as a box is.
        let f = unsafe {
            place.write(start.f);
            Box::from_raw(place)
        };
        Ok(Self::Boxed(Start { f, cell: start.cell }))
    }

    fn into_start(self) -> Start<F, T> {
        match self {
            Self::Inline(start) => start,
            Self::Boxed(Start { f, cell }) => Start { f: *f, cell },
        }
    }

    /// Writes it to the top of the stack of `g` and lays the G's first frame below.
    #[inline(always)]
    fn lay(self, g: GRef) {
        match self {
            Self::Inline(start) => lay(g, start),
            Self::Boxed(start) => lay(g, start),
        }
    }
}

fn lay<F, T>(g: GRef, start: Start<F, T>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let record = (g.stack.get().hi - size_of::<GRef>()) as *mut GRef;
    let at = (record.addr() - size_of::<Start<F, T>>()) & !63;
    let at = at as *mut Start<F, T>;
    // SAFETY: the G is ours (Idle, off every list), so its window is unused; its top page is mapped, and the record's address, `start` and the
    // frame below fit in it (INLINE_CLOSURE); `at` is aligned to 64.
    unsafe {
        record.write(g);
        at.write(start);
        *g.sp.get() = platform::fresh_stack(at.cast(), g_main, core::ptr::from_ref(g).cast_mut().cast());
    }
    g.stack_deepest.store(usize::MAX, Ordering::Relaxed);
    g.closure.set(at.cast());
    g.body.set(Some(body::<F, T> as Body));
}

/// The first function on every stack. Arrives by a switch, with preemption off.
unsafe extern "C" fn g_main(g: *mut ()) -> ! {
    // SAFETY: 1. the switch handed over one level.
    drop(unsafe { PreemptGuard::adopt() });
    // SAFETY: `lay` passed its G, and the G is what runs now.
    let g: GRef = unsafe { &*g.cast::<G>() };
    if let Some(body) = g.body.get() {
        // SAFETY: `lay` stored the body that fits the closure.
        unsafe { body(g.closure.get(), Verb::Run) };
    }
    finish(g)
}

/// Runs a G's closure and hands over its outcome; or, when it was abandoned, hands over why.
///
/// # Safety
/// 1. `start` points to a `Start<F, T>`, and this is its only run, or follows one that did not come to its end.
unsafe fn body<F, T>(start: *mut (), verb: Verb)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let start = start.cast::<Start<F, T>>();
    // SAFETY: 1. the cell stays readable, because both runs copy it.
    let cell = unsafe { (&raw const (*start).cell).read() };
    let outcome = match verb {
        Verb::Abandon(cause) => Err(cause.into()),
        Verb::Run => {
            // SAFETY: 1. only this run reads the closure.
            let f = unsafe { (&raw const (*start).f).read() };
            let (mut f, mut result) = (Some(f), None);
            let ran = platform::catch(&mut || result = f.take().map(|f| f()));
            let outcome = match (ran, result) {
                (Ok(()), Some(value)) => Ok(value),
                (Ok(()), None) => Err(JoinError::Exited),
                (Err(payload), _) if payload.is::<ExitG>() => Err(JoinError::Exited),
                (Err(payload), _) => Err(JoinError::Panicked(payload)),
            };
            end_of_body();
            outcome
        }
    };
    let unclaimed = {
        let guard = PreemptGuard::new();
        // From here on there is nothing to hand over, should the G be abandoned after all.
        crate::park::current_g(&guard).body.set(None);
        // SAFETY: 1. of `get`: the G's side ends with `complete`. Of `free`: an abandoned cell is the completer's.
        match unsafe { cell.get() }.complete(outcome) {
            Completed::Kept => None,
            Completed::Wake(joiner) => {
                ready(&guard, joiner);
                None
            }
            Completed::Unclaimed(outcome) => {
                // SAFETY: as above.
                unsafe { cell.free() };
                Some(outcome)
            }
        }
    };
    if let Some(outcome) = unclaimed {
        match outcome {
            Ok(value) => drop_result(value),
            Err(JoinError::Panicked(payload)) => report_unjoined(payload),
            Err(_) => {}
        }
        // A destructor or the report may have printed.
        end_of_body();
    }
}

/// Ends the G that runs on this M where it stands; see the module. The platform has taken the core away from it: this runs on a stack of the
/// platform's, below what the M's g0 has saved.
///
/// # Safety
/// 1. The G never runs again, and its stack can still be read.
pub unsafe fn abandon(guard: PreemptGuard, cause: Cause) -> ! {
    let m = M::current(&guard);
    let g = m.caller();
    g.doom(cause);
    // First its window is known to be dead, then those who wait for it are looked for.
    platform::stack_retire(g);
    if let Some(body) = g.body.get() {
        // SAFETY: 1. the run before this one did not come to its end, or it would have cleared `body`.
        unsafe { body(g.closure.get(), Verb::Abandon(cause)) };
    }
    owner_died(m.sched(), &guard);
    g.state.die();
    let next = run_next(m, None);
    // SAFETY: 1. `after_exit` puts the G on a free list. 2. it needs no argument. 3. right above.
    let _gone = unsafe { leave(guard, g, next, after_exit, core::ptr::null_mut()) };
    platform::fatal(platform::Fatal::Broken("an abandoned G was resumed"))
}

/// What the platform keeps for this G goes before its joiner learns of the end.
fn end_of_body() {
    let guard = PreemptGuard::new();
    let g = crate::park::current_g(&guard);
    drop(guard);
    platform::g_ends(g);
}

/// Drops a result that nobody wanted; its destructor may panic like any other code of the G.
fn drop_result<T>(value: T) {
    let mut value = Some(value);
    let dropped: Result<(), Box<dyn Any + Send>> = platform::catch(&mut || drop(value.take()));
    if let Err(payload) = dropped {
        report_unjoined(payload);
    }
}

/// The G's last instructions: leaves the M for good.
fn finish(g: GRef) -> ! {
    let guard = PreemptGuard::new();
    g.state.die();
    let next = next_of(M::current(&guard), &guard);
    // SAFETY: 1. `after_exit` puts the G on a free list. 2. it needs no argument. 3. right above.
    let _gone = unsafe { leave(guard, g, next, after_exit, core::ptr::null_mut()) };
    platform::fatal(platform::Fatal::Broken("a dead G was resumed"))
}

unsafe extern "C" fn after_exit(g: *mut (), _: *mut ()) {
    // SAFETY: `leave` passes the G it left.
    let g: GRef = unsafe { &*g.cast::<G>() };
    // SAFETY: 1. a switch runs `after` with one level of preemption off; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    let m = M::current(&guard);
    let p = m.held(&guard);
    g.state.recycle();
    p.ended.store(p.ended.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    if g.stack.get().size() == DEFAULT_STACK && !g.is_doomed() {
        if g.is_shallow() {
            p.free.push(g, &m.sched().free, &guard);
        } else {
            m.sched().free.push_deep(g, &guard);
        }
    } else {
        drop_stack(g);
        m.sched().free.push_bare(g, &guard);
    }
    guard.release();
}
