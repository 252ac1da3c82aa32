//! A G's life, from `go` to its free list.
//!
//! ```text
//!   go(f)      a G from gfree (or new: record + stack window)
//!              f and its join cell are written to the top of the *new* stack: no allocation but the cell
//!              fresh frame below them, Idle → Runnable, into the slot
//!   g_main     first function on the stack: runs `run` under `catch`
//!   run        reads f, runs it, leaves its value in the cell
//!   end_of_body  wakes the joiner, leaves the group
//!   finish     Running → Dead, leaves the M; `after_exit` recycles record and stack, from another stack
//! ```
//!
//! Only what looks at the closure or its value exists once a type (`Body`); the rest exists once.
//!
//! A G whose stack can't grow, or that has done what can't be undone to somebody else's, does not come to the end of its body. Its frames are
//! [abandoned](abandon): an instruction in the middle of anything can't be unwound, so no destructor runs, and what its frames own is leaked. Its
//! joiner gets the cause, the mutexes that it held are poisoned, and its window's addresses are never used again.
//!
//! A G may belong to a group (a scope, a set): a [`Member`] lies beside its closure, and is told of the end in any case, last.
//!
//! The top word of every stack in use is the address of its G's record.

use alloc::alloc::{Layout, alloc};
use alloc::boxed::Box;
use core::any::Any;
use core::fmt;
use core::mem::{ManuallyDrop, needs_drop};

use crate::g::{Body, Cause, G, GRef, Name, Stack};
use crate::group::{self, Alone, Member};
use crate::join::{CellRef, Completed, JoinError, JoinHandle, JoinWord, Outcome, report_unjoined};
use crate::local;
use crate::locks::owner::owner_died;
use crate::m::M;
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
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let error = Builder::new().stack_max(0).spawn(|| 5).unwrap_err();
/// assert_eq!(error.to_string(), "a goroutine's stack must be 1 byte to 1 GiB");
/// assert_eq!(error.into_inner()(), 5); // the closure
/// # });
/// ```
#[non_exhaustive]
pub enum SpawnError<F> {
    /// No memory for a record or a stack, even after everything that can be given back was.
    OutOfMemory(F),
    /// There are as many stacks of that size as there are addresses for.
    TooManyGoroutines(F),
    /// No window is that large (the largest is 1 GiB), or the size was zero.
    BadStackSize(F),
    /// It was to be pinned to a core that there is not, or that does not run.
    NoSuchCore(F),
}

impl<F> SpawnError<F> {
    /// The closure.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let f = Builder::new().stack_max(usize::MAX).spawn(|| 5).unwrap_err().into_inner();
    /// assert_eq!(f(), 5);
    /// # });
    /// ```
    pub fn into_inner(self) -> F {
        match self {
            Self::OutOfMemory(f) | Self::TooManyGoroutines(f) | Self::BadStackSize(f) | Self::NoSuchCore(f) => f,
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::OutOfMemory(_) => "out of memory for a goroutine's record or stack",
            Self::TooManyGoroutines(_) => "too many goroutines with a stack of that size",
            Self::BadStackSize(_) => "a goroutine's stack must be 1 byte to 1 GiB",
            Self::NoSuchCore(_) => "no such core runs, to pin a goroutine to",
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
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let worker = Builder::new().name("worker").stack_max(1 << 20).spawn(|| 6 * 7);
/// assert_eq!(worker.unwrap().join().unwrap(), 42);
/// # });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Builder {
    name: Name,
    stack: usize,
    pin: Option<usize>,
}

impl Builder {
    /// No name, the default window.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(Builder::new().spawn(|| 5).unwrap().join().unwrap(), 5);
    /// # });
    /// ```
    pub fn new() -> Self {
        Self { name: Name::EMPTY, stack: DEFAULT_STACK, pin: None }
    }

    /// Its name in reports; the first 31 bytes count.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// Builder::new().name("worker").spawn(|| ()).unwrap().join().unwrap();
    /// # });
    /// ```
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Name::new(name);
        self
    }

    /// How far its stack may grow, in bytes (rounded up to 256 KiB, 1 MiB, 16 MiB or 1 GiB, guard included).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let deep = Builder::new().stack_max(1 << 20).spawn(|| [1u8; 300 << 10].iter().filter(|b| **b == 1).count());
    /// assert_eq!(deep.unwrap().join().unwrap(), 300 << 10);
    /// # });
    /// ```
    #[must_use]
    pub fn stack_max(mut self, bytes: usize) -> Self {
        self.stack = bytes;
        self
    }

    /// It runs on core number `core` only, from its first instruction to its last; see [`pin`](crate::pin).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let core = Builder::new().pin(0).spawn(runtime::core).unwrap().join().unwrap();
    /// assert_eq!(core, 0);
    /// # });
    /// ```
    #[must_use]
    pub fn pin(mut self, core: usize) -> Self {
        self.pin = Some(core);
        self
    }

    /// Starts a G that runs `f`. It runs next on this P, unless a thief is faster.
    ///
    /// # Errors
    /// No memory, no window of that size, or no such core to pin it to; `f` comes back.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let handle = Builder::new().spawn(|| "done").unwrap();
    /// assert_eq!(handle.join().unwrap(), "done");
    /// # });
    /// ```
    pub fn spawn<F, T>(self, f: F) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: 1. it borrows nothing.
        unsafe { self.spawn_member(f, Alone) }
    }

    /// As `spawn`, for a member of a group; one that is not made leaves it at once.
    ///
    /// # Safety
    /// 1. What `f`, its value and `member` borrow lives until the member has left.
    pub(crate) unsafe fn spawn_member<F, T, N>(self, f: F, member: N) -> Result<JoinHandle<T>, SpawnError<F>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
        N: Member,
    {
        // SAFETY: 1.
        unsafe { self.make(f, member) }.map_err(|(error, member)| {
            member.leave();
            error
        })
    }

    /// As `spawn_member`, but the member comes back.
    ///
    /// # Safety
    /// 1. As there.
    #[inline(always)]
    pub(crate) unsafe fn make<F, T, N>(self, f: F, member: N) -> Result<JoinHandle<T>, (SpawnError<F>, N)>
    where
        F: FnOnce() -> T + Send,
        T: Send,
        N: Member,
    {
        let Some(size) = STACK_CLASSES.into_iter().find(|&c| self.stack != 0 && self.stack <= c) else {
            return Err((SpawnError::BadStackSize(f), member));
        };
        if self.pin.is_some_and(no_such_core) {
            return Err((SpawnError::NoSuchCore(f), member));
        }
        let Some(cell) = CellRef::try_new() else { return Err((SpawnError::OutOfMemory(f), member)) };
        let start = match Laid::new(Start { head: Head { cell, member }, f }) {
            Ok(start) => start,
            Err(Start { head, f }) => {
                // SAFETY: 1. nobody else knows the cell yet.
                unsafe { cell.free() };
                return Err((SpawnError::OutOfMemory(f), head.member));
            }
        };
        let (guard, g) = match take_g(size) {
            Ok(taken) => taken,
            Err(why) => {
                let Start { head, f } = start.into_start();
                // SAFETY: 1. as above.
                unsafe { cell.free() };
                let error = match why {
                    NoStack::Memory => SpawnError::OutOfMemory(f),
                    NoStack::Addresses => SpawnError::TooManyGoroutines(f),
                };
                return Err((error, head.member));
            }
        };
        g.name.set(self.name);
        start.lay(g);
        g.pardon();
        if let Some(core) = self.pin {
            g.pin(core);
        }
        Ok(JoinHandle::new(cell, launch(guard, g)))
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
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(0);
/// let sender = go(move || (0..3).for_each(|n| tx.send(n).unwrap()));
/// assert_eq!(rx.iter().sum::<i32>(), 3);
/// sender.join().unwrap();
/// # });
/// ```
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
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// match try_go(|| 5) {
///     Ok(handle) => assert_eq!(handle.join().unwrap(), 5),
///     Err(error) => assert_eq!(error.into_inner()(), 5), // no memory: then here
/// }
/// # });
/// ```
pub fn try_go<F, T>(f: F) -> Result<JoinHandle<T>, SpawnError<F>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f)
}

/// Ends the current G here: its destructors run, `join` gives [`JoinError::Exited`]. Go's `Goexit`.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let g = go(|| {
///     runtime::exit_g();
/// });
/// assert!(matches!(g.join(), Err(JoinError::Exited)));
/// # });
/// ```
pub fn exit_g() -> ! {
    platform::unwind(Box::new(ExitG))
}

/// The payload of [`exit_g`]'s unwinding.
struct ExitG;

/// Whether this is what [`exit_g`] unwinds with.
pub fn is_exit(payload: &(dyn Any + Send)) -> bool {
    payload.is::<ExitG>()
}

/// What a fresh G finds at the top of its stack.
#[repr(C)]
struct Start<F, T, N> {
    head: Head<T, N>,
    f: F,
}

/// The part of it that is found without knowing `F`.
#[repr(C)]
struct Head<T, N> {
    /// First, so that its word is found without knowing anything.
    cell: CellRef<Outcome<T>>,
    member: N,
}

/// A `Start` in the form in which it will lie there: large closures are boxed, before there is a G to lay them on.
enum Laid<F, T, N> {
    Inline(Start<F, T, N>),
    Boxed(Start<Box<F>, T, N>),
}

#[cold]
fn no_such_core(core: usize) -> bool {
    M::current(&PreemptGuard::new()).sched().m(core).is_none()
}

/// A G in state Idle with a window of `size` bytes whose top page is there, and preemption off.
#[inline(never)]
fn take_g(size: usize) -> Result<(PreemptGuard, GRef), NoStack> {
    let guard = PreemptGuard::new();
    match free_g(size, &guard) {
        Some(g) => Ok((guard, g)),
        None => make_g(size, guard),
    }
}

/// Such a G from the free lists.
#[inline(always)]
fn free_g(size: usize, guard: &PreemptGuard) -> Option<GRef> {
    let m = M::current(guard);
    if size == DEFAULT_STACK { m.held(guard).free.pop(&m.sched().free, guard) } else { None }
}

#[inline(never)]
fn make_g(size: usize, guard: PreemptGuard) -> Result<(PreemptGuard, GRef), NoStack> {
    match new_g(size, &guard) {
        Err(NoStack::Memory) if platform::reclaim() => {
            // What others had to spare is free now.
            drop(guard);
            let guard = PreemptGuard::new();
            let g = free_g(size, &guard).map_or_else(|| new_g(size, &guard), Ok)?;
            Ok((guard, g))
        }
        made => made.map(|g| (guard, g)),
    }
}

/// Such a G made of a bare one, or new.
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

/// Begins the life of a G that has its first frame; its number.
#[inline(never)]
fn launch(guard: PreemptGuard, g: GRef) -> u64 {
    let m = M::current(&guard);
    let p = m.held(&guard);
    let id = next_id(m, &p);
    g.set_id(id);
    g.stack_deepest.store(usize::MAX, Ordering::Relaxed);
    p.begun.store(p.begun.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    g.state.spawn();
    enqueue_next(&guard, g);
    id
}

impl<F, T, N> Laid<F, T, N>
where
    F: FnOnce() -> T + Send,
    T: Send,
    N: Member,
{
    /// Without memory for a box, `start` comes back.
    fn new(start: Start<F, T, N>) -> Result<Self, Start<F, T, N>> {
        if size_of::<Start<F, T, N>>() <= INLINE_CLOSURE && align_of::<Start<F, T, N>>() <= 64 {
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
        Ok(Self::Boxed(Start { head: start.head, f }))
    }

    fn into_start(self) -> Start<F, T, N> {
        match self {
            Self::Inline(start) => start,
            Self::Boxed(Start { head, f }) => Start { head, f: *f },
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

fn lay<F, T, N>(g: GRef, start: Start<F, T, N>)
where
    F: FnOnce() -> T + Send,
    T: Send,
    N: Member,
{
    let record = (g.stack.get().hi - size_of::<GRef>()) as *mut GRef;
    let at = (record.addr() - size_of::<Start<F, T, N>>()) & !63;
    let at = at as *mut Start<F, T, N>;
    // SAFETY: the G is ours (Idle, off every list), so its window is unused; its top page is mapped, and the record's address, `start` and the
    // frame below fit in it (INLINE_CLOSURE); `at` is aligned to 64.
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

/// The first function on every stack. Arrives by a switch, with preemption off.
unsafe extern "C" fn g_main(g: *mut ()) -> ! {
    // SAFETY: 1. the switch handed over one level.
    drop(unsafe { PreemptGuard::adopt() });
    // SAFETY: `lay` passed its G, and the G is what runs now.
    let g: GRef = unsafe { &*g.cast::<G>() };
    if let Some(body) = g.body.get() {
        let start = g.closure.get();
        // SAFETY: `lay` stored the body that fits the closure. This is its only run.
        let ran = unsafe { platform::catch(body.run, start) };
        if let Err(payload) = ran {
            failed(body, start, payload);
        }
        // What is kept for this G goes before its joiner learns of the end.
        local::end(g);
        platform::g_ends(g);
        end_of_body(g, body, start);
    }
    finish(g, PreemptGuard::new())
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
    // SAFETY: 1. only this run reads the closure. The head stays readable for others, who copy the cell as well.
    let (cell, f) = unsafe { ((&raw const (*start).head.cell).read(), (&raw const (*start).f).read()) };
    let value = f();
    // SAFETY: 1. of `get` and `put`: the G's side ends with `end_of_body`.
    unsafe { cell.get().put(Ok(value)) };
}

/// Leaves an error in place of the value. What is there already was written by a run that was abandoned: it is leaked like the rest.
///
/// # Safety
/// 1. `start` points to a `Start<_, T, _>` whose G has not completed.
unsafe fn fail<T: Send>(start: *mut (), error: JoinError) {
    // SAFETY: 1. the cell comes first. Of `get` and `put`: the G's side has not ended.
    unsafe { start.cast::<CellRef<Outcome<T>>>().read().get().put(Err(error)) };
}

/// Drops what no handle will ask for.
///
/// # Safety
/// 1. `start` points to a `Start<_, T, N>` whose G has completed, unclaimed, and has not left its group; once.
unsafe fn forget<T: Send, N: Member>(start: *mut ()) {
    // SAFETY: 1. the head comes first; an abandoned cell is the completer's to take from and to free.
    let (outcome, member) = unsafe {
        let head = start.cast::<Head<T, N>>();
        let cell = (*head).cell;
        let outcome = cell.get().take();
        cell.free();
        (outcome, &(*head).member)
    };
    match outcome {
        Ok(value) => drop_result(value),
        Err(error) => member.unclaimed(error),
    }
}

/// What tells a member that its G has ended, if it is one.
const fn leave_group<T, N: Member>() -> Option<unsafe fn(*mut (), Option<GRef>)> {
    /// # Safety
    /// 1. `start` points to a `Start<_, T, N>`; once.
    unsafe fn leave<T, N: Member>(start: *mut (), abandoned: Option<GRef>) {
        // SAFETY: 1. it is not read again.
        let member = unsafe { (&raw const (*start.cast::<Head<T, N>>()).member).read() };
        match abandoned {
            None => member.leave(),
            Some(g) => member.abandoned(g),
        }
    }
    if N::ALONE { None } else { Some(leave::<T, N>) }
}

/// The word of the cell of a `Start`.
///
/// # Safety
/// 1. `start` points to a `Start`, whose G has not completed.
unsafe fn word_of<'a>(start: *mut ()) -> &'a JoinWord {
    // SAFETY: 1. the cell comes first in it, and the word in the cell.
    unsafe { *start.cast::<&JoinWord>() }
}

/// The body did not come to its end, but unwound.
#[cold]
#[inline(never)]
fn failed(body: &Body, start: *mut (), payload: Box<dyn Any + Send>) {
    let error = if is_exit(&*payload) { JoinError::Exited } else { JoinError::Panicked(payload) };
    // SAFETY: 1. `g_main` runs the body, and completes next.
    unsafe { (body.fail)(start, error) };
}

/// Hands over the outcome that is in the cell.
fn end_of_body(g: GRef, body: &Body, start: *mut ()) {
    if complete(g, start) {
        // SAFETY: 1. right above; it leaves below.
        unsafe { (body.forget)(start) };
        // A destructor or the report may have printed, and used locals anew.
        local::end(g);
        platform::g_ends(g);
    }
    if let Some(leave) = body.leave {
        let _guard = PreemptGuard::new();
        // Should this be its end after all, it has left.
        g.body.set(None);
        // SAFETY: 1. this is the one time.
        unsafe { leave(start, None) };
    }
}

/// True: nobody will ever ask for the outcome.
#[inline(always)]
fn complete(g: GRef, start: *mut ()) -> bool {
    let guard = PreemptGuard::new();
    // From here on there is nothing to hand over, should the G be abandoned after all.
    g.closure.set(start.map_addr(|at| at | HANDED_OVER));
    // SAFETY: 1. the G has not completed; `run` or `fail` has put the outcome there.
    match unsafe { word_of(start).complete() } {
        Completed::Kept => {}
        Completed::Wake(joiner) => ready(&guard, joiner),
        Completed::Unclaimed => return true,
    }
    false
}

/// In a G's `closure`, which is aligned to 64: its outcome has been handed over.
const HANDED_OVER: usize = 1;

/// Ends the G that runs on this M where it stands; see the module. The platform has taken the core away from it: this runs on a stack of the
/// platform's, below what the M's g0 has saved.
///
/// # Safety
/// 1. The G never runs again, and its stack can still be read.
pub unsafe fn abandon(guard: PreemptGuard, cause: Cause) -> ! {
    let m = M::current(&guard);
    let g = m.caller();
    g.doom(cause);
    // Leaked like everything else that it had.
    g.locals.set(core::ptr::null_mut());
    // First its window is known to be dead, then those who wait for it are looked for.
    platform::stack_retire(g);
    if let Some(body) = g.body.take() {
        let start = g.closure.get();
        if start.addr() & HANDED_OVER == 0 {
            if let Some(error) = JoinError::of(cause) {
                // SAFETY: 1. the run did not come to its end, or the closure would say so; nor does it ever run again.
                unsafe { (body.fail)(start, error) };
            }
            if complete(g, start) {
                // SAFETY: 1. right above; it leaves below.
                unsafe { (body.forget)(start) };
            }
        }
        let start = start.map_addr(|at| at & !HANDED_OVER);
        match body.leave {
            // SAFETY: 1. `body` was there, so it has not left.
            Some(leave) => unsafe { leave(start, Some(g)) },
            None => group::close_all(g),
        }
    }
    owner_died(m.sched(), &guard);
    g.state.die();
    let next = run_next(m, None);
    // SAFETY: 1. `after_exit` puts the G on a free list. 2. it needs no argument. 3. right above.
    let _gone = unsafe { leave(guard, g, next, after_exit, core::ptr::null_mut()) };
    platform::fatal(platform::Fatal::Broken("an abandoned G was resumed"))
}

/// The G that calls has come to a panic with `payload`, from which it will not unwind: the platform [abandons](abandon) it next, for
/// [`Cause::Panicked`]. With preemption on.
pub fn came_to_panic(payload: Box<dyn Any + Send>) {
    let g = {
        let guard = PreemptGuard::new();
        crate::park::current_g(&guard)
    };
    let start = g.closure.get();
    match g.body.get() {
        // SAFETY: 1. the G has not completed.
        Some(body) if start.addr() & HANDED_OVER == 0 => unsafe { (body.fail)(start, JoinError::Panicked(payload)) },
        // Its outcome was another one.
        _ => core::mem::forget(payload),
    }
}

/// Drops a result that nobody wanted; its destructor may panic like any other code of the G.
fn drop_result<T>(value: T) {
    unsafe fn drop_at<T>(value: *mut ()) {
        // SAFETY: `drop_result` passes its value, which is dropped only here.
        unsafe { value.cast::<T>().drop_in_place() };
    }
    if !needs_drop::<T>() {
        return;
    }
    let mut value = ManuallyDrop::new(value);
    // SAFETY: 1. `drop_at` drops a `T`, once.
    let dropped = unsafe { platform::catch(drop_at::<T>, (&raw mut value).cast()) };
    if let Err(payload) = dropped {
        report_unjoined(payload);
    }
}

/// The G's last instructions: leaves the M for good.
fn finish(g: GRef, guard: PreemptGuard) -> ! {
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
    if g.stack.get().size() == DEFAULT_STACK && !g.is_doomed() && g.is_shallow() {
        p.free.push(g, &m.sched().free, &guard);
    } else {
        recycle_unusual(g, &guard);
    }
    // Release: pairs with the Acquire in `num_goroutines`: who counts it as ended finds its stack where free ones are.
    p.ended.store(p.ended.load(Ordering::Relaxed) + 1, Ordering::Release);
    guard.release();
}

/// Its stack is large, deep, or no more.
#[cold]
#[inline(never)]
fn recycle_unusual(g: GRef, guard: &PreemptGuard) {
    let free = &M::current(guard).sched().free;
    if g.stack.get().size() == DEFAULT_STACK && !g.is_doomed() {
        free.push_deep(g, guard);
    } else {
        drop_stack(g);
        free.push_bare(g, guard);
    }
}
