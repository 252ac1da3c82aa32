//! A platform for tests that never switch: locks and queues need one to link. A hook that no test
//! must reach panics.
#![allow(dead_code)]

use trefoil_sched::panic::Payload;
use trefoil_sched::platform::{AfterFn, EntryFn, Fatal, NoStack, Token};
#[cfg(loom)]
use trefoil_sched::{Config, M, Sched};
use trefoil_sched::{G, GRef, Platform, Stack};

#[cfg(loom)]
#[path = "../ending/mod.rs"]
pub mod ending;

/// A fresh G that stands nowhere.
pub fn g() -> GRef {
    let g = Box::leak(Box::new(G::new()));
    cores::enroll_g(g);
    g
}

/// A G that can run and stands nowhere.
#[cfg(loom)]
pub fn runnable() -> GRef {
    let g = g();
    trefoil_sched::model::make_runnable(g);
    g
}

/// `ms` M's, of which as many as there are P's hold one.
#[cfg(loom)]
pub fn machine(ps: usize, ms: usize) -> (&'static Sched, Vec<&'static M>) {
    machine_with(Config { max_procs: ps, ..Config::default() }, ms)
}

/// The same, as `config` says.
#[cfg(loom)]
pub fn machine_with(config: Config, ms: usize) -> (&'static Sched, Vec<&'static M>) {
    let sched: &'static Sched = Box::leak(Box::new(Sched::new(&config)));
    ending::enroll(sched);
    let ms: Vec<&'static M> = (0..ms).map(|i| &*Box::leak(Box::new(M::new(i, sched)))).collect();
    ms.iter().for_each(|m| sched.start_m(m));
    (sched, ms)
}

#[cfg(loom)]
pub mod cores {
    //! Cores as loom threads: a core rests on a condition variable until an interrupt or its
    //! deadline. A wake-up that is lost is a deadlock that loom finds, or, of a core that [rests to
    //! the end](rest_to_the_end), a state that the end of the model finds.

    use std::cell::{Cell, RefCell};
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use loom::sync::{Condvar, Mutex};
    use trefoil_sched::{GRef, M, Sched, model, wake_interrupt};

    use super::ending;
    pub use super::ending::enroll_g;

    /// The errand that a core that `run_on` names does once before it rests.
    type Errand = Box<dyn FnOnce(&'static M)>;

    /// One core.
    pub struct Core {
        lock: Mutex<State>,
        interrupt: Condvar,
    }

    /// The state of a core.
    struct State {
        /// An interrupt has come that it has not taken.
        interrupt: bool,
        /// When it rests: until then.
        until: u64,
        /// The model is over: it rests for good.
        over: bool,
    }

    /// A payload that unwinds a core that rests for good.
    struct Over;

    loom::lazy_static! {
        /// The cores of the model.
        pub static ref CORES: [Core; 3] = std::array::from_fn(|_| Core {
            lock: Mutex::new(State { interrupt: false, until: 0, over: false }),
            interrupt: Condvar::new(),
        });
        /// The clock. Not loom's: it is no part of what is explored, and orders nothing.
        static ref CLOCK: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
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

    /// Makes this thread the core of `m`.
    pub fn run_on(m: &'static M) {
        CURRENT.with(|c| c.set(m));
    }

    /// Looks for a G as the core of `m`, and rests until there is one.
    pub fn look(m: &'static M) -> GRef {
        run_on(m);
        model::next_g(m)
    }

    /// The M that `run_on` named.
    pub fn current_m() -> *const M {
        CURRENT.with(Cell::get)
    }

    /// Makes this thread's core do `errand` the first time that it is about to rest.
    pub fn before_rest(errand: Errand) {
        ERRAND.with(|e| *e.borrow_mut() = Some(errand));
    }

    /// Returns the time that the clock shows.
    pub fn now() -> u64 {
        CLOCK.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Sets the clock to `now`. Cores whose rest ends by then get up.
    pub fn time_comes(now: u64) {
        CLOCK.store(now, std::sync::atomic::Ordering::Relaxed);
        for core in CORES.iter() {
            let held = core.lock.lock().unwrap();
            core.interrupt.notify_one();
            drop(held);
        }
    }

    /// A core that looks for a G, and if there is none rests for as long as the model lasts. In a
    /// thread of its own, which ends when the model [is over](all_over).
    pub fn rest_to_the_end(m: &'static M) -> Option<GRef> {
        run_on(m);
        match catch_unwind(AssertUnwindSafe(|| model::next_g(m))) {
            Ok(g) => Some(g),
            Err(payload) if payload.is::<Over>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }

    /// All that was to happen has happened: cores that rest do so for good.
    pub fn all_over() {
        for core in CORES.iter() {
            core.lock.lock().unwrap().over = true;
            core.interrupt.notify_one();
        }
    }

    /// Explores `f`; see [`ending::run`].
    pub fn model(f: impl Fn() + Send + Sync + 'static) {
        ending::run(loom::model::Builder::new(), f, settle);
    }

    /// Takes the interrupts that are still on their way. No core rests for too long.
    fn settle(sched: &'static Sched) {
        for m in sched.ms() {
            if take_interrupt(m.index()) {
                run_on(m);
                wake_interrupt(m);
            }
        }
        for (m, when) in model::deadlines(sched) {
            let until = CORES[m].lock.lock().unwrap().until;
            assert!(until <= when, "in the end: core {m} rests until {until}, with a timer for {when}");
        }
    }

    /// As a core does: interrupts off, test the token, wait.
    pub fn idle(token: &trefoil_sched::platform::Token, until: u64) {
        if let Some(errand) = ERRAND.with(|e| e.borrow_mut().take()) {
            // SAFETY: `run_on` was given a `&'static M`.
            errand(unsafe { &*current_m() });
        }
        // SAFETY: `run_on` was given the `&'static M` of this thread.
        let m = unsafe { current_m().as_ref() }.expect("`run_on` names the M of a thread that rests");
        let core = &CORES[m.index()];
        let mut held = core.lock.lock().unwrap();
        held.until = until;
        while !token.is_set() && until > now() {
            if held.over {
                drop(held);
                resume_unwind(Box::new(Over));
            }
            held = core.interrupt.wait(held).unwrap();
        }
    }

    /// The interrupt.
    pub fn wake(m: usize) {
        CORES[m].lock.lock().unwrap().interrupt = true;
        CORES[m].interrupt.notify_one();
    }

    /// Takes the interrupt that has come to core `m`, if one has.
    pub fn take_interrupt(m: usize) -> bool {
        std::mem::take(&mut CORES[m].lock.lock().unwrap().interrupt)
    }
}

#[cfg(not(loom))]
mod cores {
    pub fn enroll_g(_: trefoil_sched::GRef) {}
    pub fn current_m() -> *const trefoil_sched::M {
        unreachable!("no current M in these tests")
    }
    pub fn idle(_: &trefoil_sched::platform::Token, _: u64) {
        unreachable!("no core here")
    }
    pub fn now() -> u64 {
        0
    }
    pub fn wake(_: usize) {
        unreachable!("no core here")
    }
    pub fn in_handler() -> bool {
        false
    }
}

struct Double;

// SAFETY: nothing here switches or hands out stacks; `current_m` is what the test named for its
// thread, which stays there.
unsafe impl Platform for Double {
    fn current_m() -> *const () {
        cores::current_m().cast()
    }
    fn current_life() -> usize {
        // One G: enough for locks that nobody contends for.
        8
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
    fn idle(token: &Token, until: u64) {
        cores::idle(token, until);
    }
    fn now() -> u64 {
        cores::now()
    }
    fn arm_timer(_: u64) {}
    fn stack_alloc(_: usize) -> Result<Stack, NoStack> {
        Err(NoStack::Memory)
    }
    unsafe fn stack_free(_: Stack) {}
    unsafe fn catch(_: unsafe fn(*mut ()), _: *mut ()) -> Result<(), trefoil_sched::platform::Thrown> {
        unreachable!("no G in these tests")
    }
    unsafe fn catch_inside(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Payload> {
        // SAFETY: 1. the scheduler allows one call of `f` with `arg`. A model's destructors do not
        // panic.
        unsafe { f(arg) };
        Ok(())
    }
    fn unwind(_: Payload) -> ! {
        unreachable!("no G in these tests")
    }
    fn panicking() -> bool {
        std::thread::panicking()
    }
    fn in_handler() -> bool {
        cores::in_handler()
    }

    fn fatal(what: Fatal) -> ! {
        panic!("fatal: {what:?}")
    }
}

trefoil_sched::platform!(Double);
