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

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;

use crate::g::{Body, G, GRef, Name, Stack};
use crate::join::{Completed, JoinCell, JoinError, JoinHandle, Outcome, report_unjoined};
use crate::m::M;
use crate::p::Held;
use crate::park::{enqueue_next, leave, next_of, ready};
use crate::platform;
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
    /// No memory for a record or a stack.
    OutOfMemory(F),
    /// No window is that large (the largest is 1 GiB), or the size was zero.
    BadStackSize(F),
}

impl<F> SpawnError<F> {
    /// The closure.
    pub fn into_inner(self) -> F {
        match self {
            Self::OutOfMemory(f) | Self::BadStackSize(f) => f,
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::OutOfMemory(_) => "out of memory for a goroutine's record or stack",
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
        let cell = Arc::new(JoinCell::new());
        let guard = PreemptGuard::new();
        let m = M::current(&guard);
        let p = m.held(&guard);
        let Some(g) = new_g(m, &p, size, &guard) else {
            return Err(SpawnError::OutOfMemory(f));
        };
        let id = next_id(m, &p);
        g.set_id(id);
        g.name.set(self.name);
        lay(g, Start { f, cell: cell.clone() });
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
    cell: Arc<JoinCell<Outcome<T>>>,
}

/// A G in state Idle with a window of `size` bytes, from the free lists or new.
fn new_g(m: &M, p: &Held<'_>, size: usize, guard: &PreemptGuard) -> Option<GRef> {
    let sched = m.sched();
    let g = match p.free.pop(&sched.free, guard) {
        Some(g) => g,
        None => {
            if !sched.registry.grow(|g| p.free.push(g, &sched.free, guard)) {
                return None;
            }
            p.free.pop(&sched.free, guard)?
        }
    };
    if g.stack.get().size() == size {
        return Some(g);
    }
    drop_stack(g);
    match platform::stack_alloc(size) {
        Some(stack) => {
            g.stack.set(stack);
            Some(g)
        }
        None => {
            p.free.push(g, &sched.free, guard);
            None
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

/// Writes `start` to the top of the stack of `g` and lays its first frame below.
fn lay<F, T>(g: GRef, start: Start<F, T>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if size_of::<Start<F, T>>() > INLINE_CLOSURE || align_of::<Start<F, T>>() > 64 {
        let f = Box::new(start.f);
        lay_inline(g, Start { f: move || f(), cell: start.cell });
    } else {
        lay_inline(g, start);
    }
}

fn lay_inline<F, T>(g: GRef, start: Start<F, T>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let at = (g.stack.get().hi - size_of::<Start<F, T>>()) & !63;
    let at = at as *mut Start<F, T>;
    // SAFETY: the G is ours (Idle, off every list), so its window is unused; its top page is mapped, and `start` and the frame
    // below fit in it (INLINE_CLOSURE); `at` is aligned to 64.
    unsafe {
        at.write(start);
        *g.sp.get() = platform::fresh_stack(at.cast(), g_main, core::ptr::from_ref(g).cast_mut().cast());
    }
    g.closure.set(at.cast());
    g.body.set(Some(body::<F, T> as Body));
}

/// The first function on every stack. Arrives by a switch, with preemption off.
unsafe extern "C" fn g_main(g: *mut ()) -> ! {
    // SAFETY: 1. the switch handed over one level.
    drop(unsafe { PreemptGuard::adopt() });
    // SAFETY: `lay` passed its G, and the G is what runs now.
    let g: GRef = unsafe { &*g.cast::<G>() };
    if let Some(body) = g.body.take() {
        // SAFETY: `lay` stored the body that fits the closure.
        unsafe { body(g.closure.get()) };
    }
    finish(g)
}

/// Runs a G's closure and hands over its outcome.
///
/// # Safety
/// 1. `start` points to a `Start<F, T>` that nobody else reads.
unsafe fn body<F, T>(start: *mut ())
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: 1.
    let Start { f, cell } = unsafe { start.cast::<Start<F, T>>().read() };
    let (mut f, mut result) = (Some(f), None);
    let ran = platform::catch(&mut || result = f.take().map(|f| f()));
    let outcome = match (ran, result) {
        (Ok(()), Some(value)) => Ok(value),
        (Ok(()), None) => Err(JoinError::Exited),
        (Err(payload), _) if payload.is::<ExitG>() => Err(JoinError::Exited),
        (Err(payload), _) => Err(JoinError::Panicked(payload)),
    };
    end_of_body();
    match cell.complete(outcome) {
        Completed::Kept => {}
        Completed::Wake(joiner) => {
            let guard = PreemptGuard::new();
            ready(&guard, joiner);
        }
        Completed::Unclaimed(Ok(value)) => drop_result(value),
        Completed::Unclaimed(Err(JoinError::Panicked(payload))) => report_unjoined(payload),
        Completed::Unclaimed(Err(JoinError::Exited)) => {}
    }
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
    if g.stack.get().size() != DEFAULT_STACK {
        drop_stack(g);
    }
    g.state.recycle();
    p.ended.store(p.ended.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    p.free.push(g, &m.sched().free, &guard);
    guard.release();
}
