//! The machine: cores as threads, how each finds itself, and how all of them stop.

use std::cell::{Cell, OnceCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use trefoil_sched::internals::state::State;
use trefoil_sched::{G, M, Sched, run_m};

use crate::failure::{Failure, Waiting};
use crate::interrupt::OneShot;

/// A core: one std thread. Lives for ever; the fields below `thread` are its own thread's.
pub(crate) struct Core {
    pub(crate) m: M,
    pub(crate) machine: &'static Machine,
    /// Set by the thread before it can rest.
    pub(crate) thread: OnceLock<Thread>,
    /// How many `PreemptGuard`s stand.
    pub(crate) depth: Cell<u32>,
    /// The G that runs here is being unwound because it exits; until that is caught, it does not
    /// park.
    pub(crate) exiting: Cell<bool>,
    pub(crate) one_shot: OnceCell<OneShot>,
    /// Where [`shake`](Self::shake) is; 0: it does nothing.
    random: Cell<u64>,
}

// SAFETY: the cells are touched by the core's own thread only; the rest is atomics, `OnceLock` and
// an `M`.
unsafe impl Sync for Core {}
// SAFETY: a core is made on one thread and then used by another.
unsafe impl Send for Core {}

/// The state that all cores of one run share. A machine lives for ever, so G records that outlive
/// the run never dangle.
pub(crate) struct Machine {
    pub(crate) sched: &'static Sched,
    pub(crate) cores: OnceLock<Box<[Core]>>,
    /// The number of `main`'s G.
    pub(crate) main: AtomicU64,
    stopping: AtomicBool,
    pub(crate) stacks: AtomicUsize,
    pub(crate) unjoined: Mutex<Vec<String>>,
    end: Mutex<End>,
    changed: Condvar,
}

#[derive(Default)]
struct End {
    ended: bool,
    failure: Option<Failure>,
    running: usize,
}

thread_local! {
    static CURRENT: Cell<*const Core> = const { Cell::new(core::ptr::null()) };
}

/// Returns the core that this thread is; null on a thread that is none.
///
/// The only reader of the thread-local, and never inlined: code on a G may be on another thread
/// after every switch, and the compiler, which does not know that, must have no address of a
/// thread-local to keep. The volatile read keeps it from concluding that two calls give the same.
#[inline(never)]
pub(crate) fn current() -> *const Core {
    // SAFETY: the pointer to the cell is good within `with`.
    CURRENT.with(|c| unsafe { c.as_ptr().read_volatile() })
}

/// Returns the core that this thread is. Panics on a thread that is none.
pub(crate) fn here() -> &'static Core {
    // SAFETY: only `Core::live` stores there, and a core lives for ever.
    match unsafe { current().as_ref() } {
        Some(core) => core,
        None => panic!("this thread is no M: call it in trefoil_hosted::run"),
    }
}

/// Thrown through `run_m`, from where the M rests, to end its thread.
pub(crate) struct Stop;

impl Core {
    pub(crate) fn new(index: usize, machine: &'static Machine, shake: Option<u64>) -> Self {
        Self {
            m: M::new(index, machine.sched),
            machine,
            thread: OnceLock::new(),
            depth: Cell::new(0),
            exiting: Cell::new(false),
            one_shot: OnceCell::new(),
            random: Cell::new(
                shake.map_or(0, |seed| (seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1),
            ),
        }
    }

    /// Lives the life of this core's thread: runs `begin` with preemption off once the M has
    /// started, and then G's until the machine stops.
    pub(crate) fn live(&'static self, begin: impl FnOnce()) {
        let _ = self.thread.set(std::thread::current());
        CURRENT.set(self);
        let _ = self.one_shot.set(OneShot::for_this_thread());
        self.depth.set(1);
        self.machine.sched.start_m(&self.m);
        begin();
        let ended = catch_unwind(AssertUnwindSafe(|| run_m(&self.m)));
        if let Some(one_shot) = self.one_shot.get() {
            one_shot.arm(u64::MAX);
        }
        CURRENT.set(core::ptr::null());
        if let Err(payload) = ended
            && !payload.is::<Stop>()
        {
            self.machine.fail(Failure::Broken("a panic reached an M's g0"));
        }
        self.machine.left();
    }

    /// Rests until the token is set, the deadline has come or the machine stops.
    pub(crate) fn rest(&self, until: u64) {
        while !self.m.token.is_set() {
            if self.machine.stopping.load(Ordering::Acquire) {
                resume_unwind(Box::new(Stop));
            }
            let now = crate::interrupt::now();
            if now >= until {
                return;
            }
            std::thread::park_timeout(Duration::from_nanos((until - now).min(3_600_000_000_000)));
        }
    }

    /// Delays this core for a moment, now and then, so that other cores come in between. Only in
    /// runs that shake.
    #[inline]
    pub(crate) fn shake(&self) {
        let mut x = self.random.get();
        if x == 0 {
            return;
        }
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        match x % 64 {
            0 => std::thread::yield_now(),
            1..4 => (0..x >> 8 & 0xff).for_each(|_| core::hint::spin_loop()),
            _ => {}
        }
    }
}

impl Machine {
    pub(crate) fn new(sched: &'static Sched) -> Self {
        Self {
            sched,
            cores: OnceLock::new(),
            main: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            stacks: AtomicUsize::new(0),
            unjoined: Mutex::new(Vec::new()),
            end: Mutex::new(End::default()),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn cores(&self) -> &[Core] {
        self.cores.get().map_or(&[], |c| c)
    }

    /// Returns true if `g` runs `main`.
    pub(crate) fn is_main(&self, g: &G) -> bool {
        g.id() == self.main.load(Ordering::Relaxed)
    }

    fn end(&self) -> std::sync::MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more thread that lives.
    pub(crate) fn entered(&self) {
        self.end().running += 1;
    }

    fn left(&self) {
        self.end().running -= 1;
        self.changed.notify_all();
    }

    /// Stops the machine: every M ends when it next rests.
    pub(crate) fn stop(&self) {
        self.end().ended = true;
        // Release: pairs with the Acquire in `rest`; the `unpark` that follows makes a rester look
        // again.
        self.stopping.store(true, Ordering::Release);
        self.changed.notify_all();
        for core in self.cores() {
            if let Some(thread) = core.thread.get() {
                thread.unpark();
            }
        }
    }

    /// Records that the run has failed, unless it is over already, and stops the machine.
    pub(crate) fn fail(&self, failure: Failure) {
        {
            let mut end = self.end();
            if !end.ended {
                end.failure = Some(failure);
            }
        }
        self.stop();
    }

    /// Waits until the run is over, `limit` at most, and then up to `grace` for its threads.
    /// Returns the failure, if any, and whether a thread still runs.
    pub(crate) fn wait(&self, limit: Duration, grace: Duration) -> (Option<Failure>, bool) {
        let deadline = Instant::now() + limit;
        let mut end = self.end();
        while !end.ended && Instant::now() < deadline {
            end = self.wait_until(end, deadline);
        }
        if !end.ended {
            drop(end);
            self.fail(Failure::TimedOut { limit, waiting: self.unfinished() });
            end = self.end();
        }
        let deadline = Instant::now() + grace;
        while end.running > 0 && Instant::now() < deadline {
            end = self.wait_until(end, deadline);
        }
        (end.failure.take(), end.running > 0)
    }

    fn wait_until<'a>(&self, end: std::sync::MutexGuard<'a, End>, at: Instant) -> std::sync::MutexGuard<'a, End> {
        let left = at.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(end, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Lists the G's that have not ended. Exact when no M runs, a guess otherwise.
    pub(crate) fn unfinished(&self) -> Vec<Waiting> {
        let mut all = Vec::new();
        self.sched.for_each_g(|g| {
            if g.state() != State::Idle {
                all.push(Waiting::of(g, self));
            }
        });
        all.sort_by_key(|w| w.id);
        all
    }

    /// Gives back the stacks of G's that have ended. Only when no M runs.
    pub(crate) fn free_stacks(&self) {
        self.sched.for_each_g(|g| {
            let stack = g.stack();
            if g.state() == State::Idle && stack.size() != 0 {
                // SAFETY: 1. it came from the `stack_alloc` hook; its G has ended and no M is left
                // to start another on it.
                unsafe { crate::stack::free(stack) };
                self.stacks.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }
}
