//! The scheduler's hooks, on the host.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;

use trefoil_context::switch;
use trefoil_sched::G;
use trefoil_sched::internals::g::OUTSIDE;
use trefoil_sched::platform::{AfterFn, EntryFn, Fatal, NoStack, Payload, Platform, Stack, Thrown, Token};
use trefoil_sched::spawn::is_exit;

use crate::failure::{Failure, find_holders};
use crate::machine::{Core, Stop, current, here};
use crate::{interrupt, stack};

struct Host;

/// Returns this thread's core, if the thread is one. Threads outside a run may use a channel, as
/// long as no waiter has to be woken.
fn maybe_here() -> Option<&'static Core> {
    // SAFETY: a core's record lives for ever.
    unsafe { current().as_ref() }
}

// SAFETY: 1. a core's record is found through a thread-local that its own thread sets. 2.
// `switch.rs` documents and keeps the register contract. 3. the host hands out a mapping once.
unsafe impl Platform for Host {
    fn current_m() -> *const () {
        (&raw const here().m).cast()
    }

    #[inline(never)]
    fn current_life() -> usize {
        maybe_here().and_then(|core| core.m.running()).map_or(OUTSIDE, G::life)
    }

    fn preempt_off() {
        if let Some(core) = maybe_here() {
            core.shake();
            core.depth.set(core.depth.get() + 1);
        }
    }

    fn preempt_on() {
        if let Some(core) = maybe_here() {
            core.depth.set(core.depth.get() - 1);
        }
    }

    unsafe fn switch(prev_sp: *mut usize, next_sp: *const usize, after: AfterFn, a: *mut (), b: *mut ()) {
        let core = here();
        assert_eq!(core.depth.get(), 1, "a switch with a lock or a second guard held");
        assert!(!std::thread::panicking(), "a G parks while it unwinds");
        core.shake();
        // SAFETY: the trait's rules, kept by the scheduler.
        unsafe { switch::switch(prev_sp, next_sp, after, a, b) }
    }

    unsafe fn fresh_stack(top: *mut u8, entry: EntryFn, arg: *mut ()) -> usize {
        // SAFETY: the trait's rules, kept by the scheduler: the bytes below `top` are mapped and
        // unused.
        unsafe { switch::fresh(top, entry, arg) }
    }

    fn wake_m(index: usize) {
        // A core that is no thread yet has not rested yet, and looks at its token before it does.
        if let Some(thread) = here().machine.cores()[index].thread.get() {
            thread.unpark();
        }
    }

    fn idle(_: &Token, until: u64) {
        here().rest(until);
    }

    fn now() -> u64 {
        interrupt::now()
    }

    fn arm_timer(at: u64) {
        if let Some(one_shot) = here().one_shot.get() {
            one_shot.arm(at);
        }
    }

    fn stack_alloc(size: usize) -> Result<Stack, NoStack> {
        let stack = stack::alloc(size).ok_or(NoStack::Memory)?;
        here().machine.stacks.fetch_add(1, Ordering::Relaxed);
        Ok(stack)
    }

    unsafe fn stack_free(stack: Stack) {
        here().machine.stacks.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the trait's rules, kept by the scheduler: `stack` came from `stack_alloc`, and
        // nobody runs on it or points into it.
        unsafe { stack::free(stack) }
    }

    unsafe fn catch(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Thrown> {
        // SAFETY: the caller's: `f` may be called with `arg`, and this is the only call.
        let result = catch_unwind(AssertUnwindSafe(|| unsafe { f(arg) }));
        if result.as_ref().is_err_and(|payload| is_exit(&**payload)) {
            here().exiting.set(false);
        }
        result
    }

    fn unwind(payload: Payload) -> ! {
        let payload = payload.into_inner();
        if is_exit(&*payload) {
            here().exiting.set(true);
        }
        resume_unwind(payload)
    }

    #[inline(never)]
    fn panicking() -> bool {
        // `std` counts an exit among the panics.
        std::thread::panicking() && maybe_here().is_none_or(|core| !core.exiting.get())
    }

    fn unjoined_panic(id: u64, payload: &Payload) {
        let Some(core) = maybe_here() else { return };
        let name = core.m.running().filter(|g| g.id() == id).map_or(String::new(), |g| format!(" {:?}", g.name()));
        let said = format!("G {id}{name} panicked: {}", payload.message().unwrap_or("(no message)"));
        if let Ok(mut unjoined) = core.machine.unjoined.lock() {
            unjoined.push(said);
        }
    }

    fn lock_waited(ns: u64) {
        if let Some(core) = maybe_here() {
            core.m.counters.lock_ns.add(ns);
        }
    }

    fn fatal(what: Fatal) -> ! {
        let core = here();
        core.machine.fail(match what {
            Fatal::Deadlock => {
                let mut waiting = core.machine.unfinished();
                // SAFETY: 1. nobody runs, and nobody will.
                unsafe { find_holders(core.machine.sched, &mut waiting) };
                Failure::Deadlock(waiting)
            }
            Fatal::Broken(rule) => Failure::Broken(rule),
        });
        if core.m.running().is_none() {
            resume_unwind(Box::new(Stop));
        }
        // On a G, in the middle of the scheduler: nothing here can be unwound or trusted. The run
        // is given up with this thread.
        loop {
            std::thread::park();
        }
    }
}

trefoil_sched::platform!(Host);
