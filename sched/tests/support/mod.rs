//! A platform for tests that never switch: locks and queues need one to link. What a test must not reach panics.
#![allow(dead_code)]

use std::any::Any;

use trefoil_sched::platform::{AfterFn, EntryFn, Fatal, NoStack};
use trefoil_sched::{G, GRef, M, Platform, Stack};

/// A fresh G that stands nowhere.
pub fn g() -> GRef {
    Box::leak(Box::new(G::new()))
}

#[cfg(loom)]
pub mod cores {
    //! Cores as loom threads: a core rests on a condition variable, and a wake-up that is lost is a deadlock that loom finds.

    use std::cell::{Cell, RefCell};

    use loom::sync::{Condvar, Mutex};
    use trefoil_sched::M;

    /// What a core that `run_on` names does once before it rests.
    type Errand = Box<dyn FnOnce(&'static M)>;

    /// One core's rest, and whether an interrupt has come that it has not taken.
    pub struct Core {
        lock: Mutex<bool>,
        interrupt: Condvar,
    }

    loom::lazy_static! {
        /// The cores of the model.
        pub static ref CORES: [Core; 3] = std::array::from_fn(|_| Core { lock: Mutex::new(false), interrupt: Condvar::new() });
    }

    loom::thread_local! {
        static CURRENT: Cell<*const M> = Cell::new(std::ptr::null());
        static ERRAND: RefCell<Option<Errand>> = RefCell::new(None);
        static IN_HANDLER: Cell<bool> = Cell::new(false);
    }

    /// Runs `f` as an interrupt handler of this thread's core.
    pub fn handle<R>(f: impl FnOnce() -> R) -> R {
        IN_HANDLER.with(|it| it.set(true));
        let result = f();
        IN_HANDLER.with(|it| it.set(false));
        result
    }

    /// Whether `handle` runs.
    pub fn in_handler() -> bool {
        IN_HANDLER.with(Cell::get)
    }

    /// This thread is the core of `m`.
    pub fn run_on(m: &'static M) {
        CURRENT.with(|c| c.set(m));
    }

    /// The M that `run_on` named.
    pub fn current_m() -> *const M {
        CURRENT.with(Cell::get)
    }

    /// This thread's core does `errand` the first time that it is about to rest.
    pub fn before_rest(errand: Errand) {
        ERRAND.with(|e| *e.borrow_mut() = Some(errand));
    }

    /// As a core does: interrupts off, test the token, wait.
    pub fn idle(m: &M) {
        if let Some(errand) = ERRAND.with(|e| e.borrow_mut().take()) {
            // SAFETY: `run_on` was given a `&'static M`.
            errand(unsafe { &*current_m() });
        }
        let core = &CORES[m.index()];
        let mut held = core.lock.lock().unwrap();
        while !m.token.is_set() {
            held = core.interrupt.wait(held).unwrap();
        }
    }

    /// The interrupt.
    pub fn wake(m: usize) {
        *CORES[m].lock.lock().unwrap() = true;
        CORES[m].interrupt.notify_one();
    }

    /// Takes the interrupt that has come to core `m`, if one has.
    pub fn take_interrupt(m: usize) -> bool {
        std::mem::take(&mut *CORES[m].lock.lock().unwrap())
    }
}

#[cfg(not(loom))]
mod cores {
    pub fn current_m() -> *const trefoil_sched::M {
        unreachable!("no current M in these tests")
    }
    pub fn idle(_: &trefoil_sched::M) {
        unreachable!("no core here")
    }
    pub fn wake(_: usize) {
        unreachable!("no core here")
    }
    pub fn in_handler() -> bool {
        false
    }
}

struct Double;

// SAFETY: nothing here switches or hands out stacks; `current_m` is what the test named for its thread, which stays there.
unsafe impl Platform for Double {
    fn current_m() -> *const M {
        cores::current_m()
    }
    fn preempt_off() {}
    fn preempt_on() {}
    unsafe fn switch(_: *mut usize, _: *const usize, _: AfterFn, _: *mut (), _: *mut ()) {
        unreachable!("no switch in these tests")
    }
    unsafe fn fresh_stack(_: *mut u8, _: EntryFn, _: *mut ()) -> usize {
        unreachable!("no stack in these tests")
    }
    fn wake_m(index: usize) {
        cores::wake(index);
    }
    fn idle(m: &M, _until: u64) {
        cores::idle(m);
    }
    fn now() -> u64 {
        0
    }
    fn arm_timer(_: &M, _: u64) {}
    fn stack_alloc(_: usize) -> Result<Stack, NoStack> {
        Err(NoStack::Memory)
    }
    fn stack_warm(_: Stack) -> bool {
        false
    }
    fn stack_retire(_: &G) {}
    fn stack_is_dead(_: usize) -> bool {
        false
    }
    fn reclaim() -> bool {
        false
    }
    fn pend() {}
    unsafe fn stack_free(_: Stack) {}
    unsafe fn catch(_: unsafe fn(*mut ()), _: *mut ()) -> Result<(), Box<dyn Any + Send>> {
        unreachable!("no G in these tests")
    }
    unsafe fn catch_inside(_: unsafe fn(*mut ()), _: *mut ()) -> Result<(), Box<dyn Any + Send>> {
        unreachable!("no G in these tests")
    }
    fn unwind(_: Box<dyn Any + Send>) -> ! {
        unreachable!("no G in these tests")
    }
    fn panicking() -> bool {
        std::thread::panicking()
    }
    fn unjoined_panic(_: &G, _: Box<dyn Any + Send>) {}
    fn on_g0(_: &M) {}
    fn g_ends(_: &G) {}
    fn in_handler() -> bool {
        cores::in_handler()
    }

    fn fatal(what: Fatal) -> ! {
        panic!("fatal: {what:?}")
    }
}

trefoil_sched::platform!(Double);
