//! A platform for models in which G's really park: each G is a loom thread, and an M is a baton
//! that the running ones hold.
//!
//! ```text
//!   switch(a → b):   a's thread saves a, runs `after`, passes its M to b's thread, waits until somebody passes it one
//!   switch(a → g0):  the same, and the M's own queue says who b is; with nobody there the M is laid aside
//! ```
//!
//! So park, ready, the state word, the slot and the objects are the production code, and no more
//! cores run than there are M's. A G's saved stack pointer is the number of its context. Its
//! "registers" are a loom cell, so a G that is resumed before it is saved shows as a data race. A G
//! that nobody readies waits for its baton for ever. The last M that is laid aside reports it.
#![allow(dead_code)]

#[path = "../ending/mod.rs"]
mod ending;

use std::any::Any;
use std::cell::Cell;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use trefoil_sched::internals::g::LIFE_SHIFT;
use trefoil_sched::panic::Payload;
use trefoil_sched::platform::{AfterFn, EntryFn, Fatal, NoStack, Token};
use trefoil_sched::{Config, GRef, M, Platform, PreemptGuard, Sched, Stack, WaitReason, model, park};

/// G's in a model; loom itself has room for five threads.
const CONTEXTS: usize = 4;

struct Context {
    /// The M that was passed to it.
    baton: Mutex<Option<&'static M>>,
    passed: Condvar,
    /// Its registers, in a manner of speaking.
    saved: UnsafeCell<u32>,
}

loom::lazy_static! {
    static ref ALL: [Context; CONTEXTS] = std::array::from_fn(|_| Context {
        baton: Mutex::new(None),
        passed: Condvar::new(),
        saved: UnsafeCell::new(0),
    });
}

loom::lazy_static! {
    /// The number of the G on whose stack the model's objects lay; 0: on none.
    static ref FRAME: AtomicUsize = AtomicUsize::new(0);
    /// Whether anybody has died. Not loom's, as below: models without deaths have nothing of them
    /// to explore.
    static ref DEATHS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    /// The time that the clock shows. Not loom's: it is no part of the exploration.
    static ref CLOCK: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    /// The G's and M's of the model. Not loom's, as above.
    static ref CAST: std::sync::Mutex<Cast> = std::sync::Mutex::default();
}

loom::thread_local! {
    /// The M that this thread holds, its context's number (from 1), and whether its G ends with the
    /// next switch.
    static ME: (Cell<*const M>, Cell<usize>, Cell<bool>) =
        (Cell::new(std::ptr::null()), Cell::new(0), Cell::new(false));
    /// The number of levels of preemption that are off, and the event between two pieces of a
    /// crowd.
    static PIECES: (Cell<usize>, Cell<Option<fn()>>) = (Cell::new(0), Cell::new(None));
}

/// The G's and M's of a model.
#[derive(Default)]
struct Cast {
    /// The G's, each with whether it has ended.
    gs: Vec<(GRef, bool)>,
    /// How many M's have been laid aside.
    aside: usize,
}

/// Lays an M aside for good. With the last one, the execution is over.
fn lay_aside() {
    let mut cast = CAST.lock().unwrap();
    cast.aside += 1;
    if cast.aside < cast.gs.len() {
        return;
    }
    // Its state is not shown: without an edge to what has changed it, loom may say what it was.
    let left = cast.gs.iter().position(|(_, ended)| !ended);
    drop(cast);
    if let Some(i) = left {
        panic!("in the end: G {} has not ended, and no M is left that could wake it or run it", i + 1);
    }
}

/// The G that calls does `then` when it is about to go on with the next piece of a crowd that it
/// wakes.
pub fn between_pieces(then: fn()) {
    PIECES.with(|pieces| pieces.1.set(Some(then)));
}

fn preemption_is_on() {
    let Some(then) = PIECES.with(|pieces| pieces.1.get()) else { return };
    // SAFETY: `ME` was set from a `&'static M`.
    let m: &'static M = unsafe { &*ME.with(|me| me.0.get()) };
    if model::wakes_a_crowd(m) {
        PIECES.with(|pieces| pieces.1.set(None));
        then();
    }
}

/// How far the clock goes on each time it is read. Longer than any bound in the production code.
const STEP: u64 = 1 << 30;

/// The G that calls dies, with all that it holds, as after an overflow. Its body returns then.
pub fn die() {
    die_and(|| ());
}

/// As [`die`]; `then` comes between the record of the death and the look at those who wait.
pub fn die_and(then: impl FnOnce()) {
    DEATHS.store(true, std::sync::atomic::Ordering::Relaxed);
    model::owner_died(then);
    see_to_deaths();
}

/// As [`die`], and the model's objects lay on the stack of the one that dies.
pub fn die_with_the_objects() {
    // Release: pairs with the Acquire in `dead_stack`, as in the kernel.
    die_and(|| FRAME.store(ME.with(|me| me.1.get()), Ordering::Release));
}

/// Does the first work of a g0, until the round is over or another M is at it.
fn see_to_deaths() {
    if !DEATHS.load(std::sync::atomic::Ordering::Relaxed) {
        return;
    }
    // SAFETY: `ME` was set from a `&'static M`.
    while model::see_to_deaths(unsafe { &*ME.with(|me| me.0.get()) }) {
        loom::thread::yield_now();
    }
}

/// Runs `f`, which may panic because of a death; that is the only panic that is not reported.
/// Whether it has come to its end.
pub fn survives(f: impl FnOnce()) -> bool {
    use std::sync::Once;
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let quiet = info.payload().downcast_ref::<String>().is_some_and(|text| text.contains("which died of"));
            if !quiet {
                hook(info);
            }
        }));
    });
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(()) => true,
        Err(payload) => match payload.downcast_ref::<String>() {
            Some(text) if text.contains("which died of") => false,
            _ => std::panic::resume_unwind(payload),
        },
    }
}

fn context(number: usize) -> &'static Context {
    &ALL[number - 1]
}

fn pass(m: &'static M, to: usize) {
    let to = context(to);
    to.saved.with(|_| ());
    *to.baton.lock().unwrap() = Some(m);
    to.passed.notify_one();
}

fn wait_for_baton(number: usize) -> &'static M {
    let me = context(number);
    let mut baton = me.baton.lock().unwrap();
    loop {
        match baton.take() {
            Some(m) => return m,
            None => baton = me.passed.wait(baton).unwrap(),
        }
    }
}

std::thread_local! {
    /// Whether the clock goes on. A model runs on one thread of the host.
    static HURRIED: Cell<bool> = const { Cell::new(false) };
    /// Whether deadlines come by themselves.
    static TIMED: Cell<bool> = const { Cell::new(false) };
    /// The function that takes a stack that is given up.
    static FREED: Cell<Option<fn(Stack)>> = const { Cell::new(None) };
    /// Preemptions in an execution; none: as many as the environment says.
    static BOUND: Cell<Option<usize>> = const { Cell::new(None) };
}

/// As [`explore`], with at most one preemption in an execution: for models that would take hours
/// with two. (Where a G waits, another goes on: that is none.)
pub fn explore_coarsely(bodies: impl Fn() -> Vec<Box<dyn FnOnce() + Send>> + Send + Sync + 'static) {
    BOUND.set(Some(1));
    explore(bodies);
    BOUND.set(None);
}

/// As [`explore`]; a stack that is given up goes to `freed`.
pub fn explore_stacks(freed: fn(Stack), bodies: impl Fn() -> Vec<Box<dyn FnOnce() + Send>> + Send + Sync + 'static) {
    FREED.set(Some(freed));
    explore(bodies);
    FREED.set(None);
}

/// As [`explore`], but an M with nothing to do waits for the next deadline, which comes at once.
pub fn explore_timed(bodies: impl Fn() -> Vec<Box<dyn FnOnce() + Send>> + Send + Sync + 'static) {
    TIMED.set(true);
    explore(bodies);
    TIMED.set(false);
}

/// As [`explore`], but every wait is a long one.
pub fn explore_hurried(bodies: impl Fn() -> Vec<Box<dyn FnOnce() + Send>> + Send + Sync + 'static) {
    HURRIED.set(true);
    explore(bodies);
    HURRIED.set(false);
}

/// Runs each of `bodies` as a G on an M of its own, all at once, until all have ended.
pub fn explore(bodies: impl Fn() -> Vec<Box<dyn FnOnce() + Send>> + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = BOUND.get().or(builder.preemption_bound).or(Some(2));
    builder.max_branches = 60_000;
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = count.clone();
    let model = move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let bodies = bodies();
        let ms = bodies.len();
        let kept = Kept::default();
        let sched = kept.keep(Sched::new(&Config { max_procs: ms, ..Config::default() }));
        ending::enroll(sched);
        let gs = model::records(sched);
        CAST.lock().unwrap().gs = gs[..ms].iter().map(|&g| (g, false)).collect();
        let threads: Vec<_> = bodies
            .into_iter()
            .enumerate()
            .map(|(i, body)| {
                let (m, g) = (kept.keep(M::new(i, sched)), gs[i]);
                sched.start_m(m);
                let run = move || live(m, g, i + 1, body);
                // The last one runs on the model's own thread.
                if i + 1 == ms {
                    run();
                    None
                } else {
                    Some(thread::spawn(run))
                }
            })
            .collect();
        threads.into_iter().flatten().for_each(|t| t.join().unwrap());
        kept
    };
    ending::run(builder, model, |sched| {
        let gs = std::mem::take(&mut *CAST.lock().unwrap()).gs;
        if let Some(what) = model::left_behind(sched, gs.into_iter().map(|(g, _)| g)) {
            panic!("in the end: {what}");
        }
    });
    println!("{} executions", count.load(std::sync::atomic::Ordering::Relaxed));
}

/// The objects that live as long as one execution of the model.
#[derive(Default)]
struct Kept(std::cell::RefCell<Vec<Box<dyn Any>>>);

impl Kept {
    fn keep<T: 'static>(&self, value: T) -> &'static T {
        let value = Box::new(value);
        let at: *const T = &*value;
        self.0.borrow_mut().push(value);
        // SAFETY: the box is dropped after the last G of this execution has ended.
        unsafe { &*at }
    }
}

fn live(m: &'static M, g: GRef, number: usize, body: Box<dyn FnOnce() + Send>) {
    ME.with(|me| {
        me.0.set(m);
        me.1.set(number);
    });
    model::name(g, number as u64);
    model::begin(m, g);
    body();
    // Its last park: nobody will ready it, and its thread does not wait for that.
    ME.with(|me| me.2.set(true));
    CAST.lock().unwrap().gs[number - 1].1 = true;
    // SAFETY: 1. `stay` publishes nothing, so nobody can ready it, and the thread ends instead of
    // going on.
    unsafe { park(PreemptGuard::new(), WaitReason::None, stay, std::ptr::null_mut()) }.hand_over();
}

unsafe fn stay(_: *mut (), _: GRef) -> bool {
    true
}

struct Batons;

// SAFETY: 1. `ME` holds the M that was passed to this thread. 2. "registers" are the thread's own.
// 3. no stacks.
unsafe impl Platform for Batons {
    fn current_m() -> *const () {
        ME.with(|me| me.0.get()).cast()
    }
    fn current_life() -> usize {
        // Context number n is G number n.
        ME.with(|me| me.1.get()) << LIFE_SHIFT
    }
    fn preempt_off() {
        PIECES.with(|pieces| pieces.0.set(pieces.0.get() + 1));
    }
    fn preempt_on() {
        let depth = PIECES.with(|pieces| pieces.0.replace(pieces.0.get() - 1));
        if depth == 1 {
            preemption_is_on();
        }
    }
    unsafe fn switch(prev_sp: *mut usize, next_sp: *const usize, after: AfterFn, a: *mut (), b: *mut ()) {
        let (m, me, ends) = ME.with(|me| (me.0.get(), me.1.get(), me.2.get()));
        // SAFETY: the word that the scheduler passes was made from a `&'static M`.
        let m: &'static M = unsafe { &*m };
        // SAFETY: this context is ours until it is saved; loom checks that.
        context(me).saved.with_mut(|s| unsafe { *s += 1 });
        // SAFETY: the scheduler passes valid words; the next context is saved and ours.
        let mut next = unsafe {
            prev_sp.write(me);
            next_sp.read()
        };
        // SAFETY: the scheduler passes the `after` of this switch with its arguments, for one call.
        unsafe { after(a, b) };
        if next == 0 {
            // g0: first the rest of a death, then this M's own queue.
            see_to_deaths();
            let mut own = model::take_local(m);
            if own.is_none() && TIMED.get() {
                model::time_passes();
                own = model::take_local(m);
            }
            next = own.map_or(0, |g| g.saved_sp());
        }
        match next {
            0 => lay_aside(),
            next => pass(m, next),
        }
        if !ends {
            let m = wait_for_baton(me);
            ME.with(|me| me.0.set(m));
        }
    }
    unsafe fn fresh_stack(_: *mut u8, _: EntryFn, _: *mut ()) -> usize {
        unreachable!("G's are threads here")
    }
    fn wake_m(_: usize) {
        unreachable!("no M rests here")
    }
    fn idle(_: &Token, _: u64) {
        unreachable!("no M rests here")
    }
    fn now() -> u64 {
        let step = if HURRIED.get() { STEP } else { 0 };
        CLOCK.fetch_add(step, std::sync::atomic::Ordering::Relaxed)
    }
    fn arm_timer(_: u64) {}
    fn stack_alloc(_: usize) -> Result<Stack, NoStack> {
        Err(NoStack::Memory)
    }
    fn dead_stack(_: usize) -> u64 {
        // A model may say that an object lies on a dead stack.
        FRAME.load(Ordering::Acquire) as u64
    }
    unsafe fn stack_free(stack: Stack) {
        if let Some(freed) = FREED.get() {
            freed(stack);
        }
    }
    unsafe fn catch(_: unsafe fn(*mut ()), _: *mut ()) -> Result<(), trefoil_sched::platform::Thrown> {
        unreachable!("G's are threads here")
    }
    unsafe fn catch_inside(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Payload> {
        // SAFETY: 1. the scheduler allows one call of `f` with `arg`. A model's destructors do not
        // panic.
        unsafe { f(arg) };
        Ok(())
    }
    fn unwind(_: Payload) -> ! {
        unreachable!("G's are threads here")
    }
    fn fatal(what: Fatal) -> ! {
        panic!("fatal: {what:?}")
    }
}

trefoil_sched::platform!(Batons);
