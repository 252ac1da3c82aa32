//! The scheduler's hooks, on this machine.

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use core::cell::Cell;

use trefoil_sched::platform::{AfterFn, EntryFn, Fatal, NoStack, Payload, Platform, Stack, Thrown, Token};
use trefoil_sched::{G, M, Sched};

use crate::arch::{apic, clock, percpu, stretch, switch, tlb};
use crate::{console, mm, panic, report};

/// The one scheduler, published once by `start`.
static SCHED: AtomicPtr<Sched> = AtomicPtr::new(core::ptr::null_mut());

/// The number of the G that runs the program's `main`.
static MAIN_G: AtomicU64 = AtomicU64::new(0);

pub(crate) fn set_sched(sched: &'static Sched) {
    // Release: pairs with the Acquire in `try_sched`.
    SCHED.store(core::ptr::from_ref(sched).cast_mut(), Ordering::Release);
}

pub(crate) fn set_main_g(id: u64) {
    MAIN_G.store(id, Ordering::Relaxed);
}

/// Returns true if `g` runs the program's `main`.
pub(crate) fn is_main(g: &G) -> bool {
    g.id() == MAIN_G.load(Ordering::Relaxed)
}

/// Returns the scheduler, if there is one yet.
pub(crate) fn try_sched() -> Option<&'static Sched> {
    // SAFETY: `set_sched` stored a `&'static Sched`.
    unsafe { SCHED.load(Ordering::Acquire).as_ref() }
}

/// Returns the scheduler.
///
/// # Panics
/// Before `start` has made it.
pub(crate) fn sched() -> &'static Sched {
    try_sched().expect("the scheduler is not running yet")
}

/// Returns this core's M. With preemption off, in a hook.
#[inline(always)]
fn here<'a>() -> &'a M {
    // SAFETY: the scheduler calls hooks on cores that have an M; M's live for ever.
    unsafe { &*percpu::m() }
}

struct Machine;

// SAFETY: 1. `percpu::m` reads this core's record through `gs`. 2. `switch.rs` documents and keeps
// the register contract.
// 3. `mm::window` hands a window to one owner at a time.
unsafe impl Platform for Machine {
    #[inline(always)]
    fn current_m() -> *const () {
        percpu::m().cast()
    }

    #[inline(always)]
    fn current_life() -> usize {
        percpu::current_life()
    }

    #[inline(always)]
    unsafe fn set_current(g: *const ()) {
        // SAFETY: the record of a G, which lives for ever, by the trait's rule.
        unsafe { percpu::set_current(g.cast()) };
    }

    #[inline(always)]
    fn preempt_off() {
        percpu::preempt_off();
    }

    #[inline(always)]
    fn preempt_on() {
        percpu::preempt_on();
    }

    #[inline(always)]
    unsafe fn switch(prev_sp: *mut usize, next_sp: *const usize, after: AfterFn, a: *mut (), b: *mut ()) {
        stretch::cut();
        // SAFETY: the trait's rules, kept by the scheduler.
        unsafe { switch::switch(prev_sp, next_sp, after, a, b) }
    }

    #[inline(always)]
    unsafe fn fresh_stack(top: *mut u8, entry: EntryFn, arg: *mut ()) -> usize {
        // SAFETY: the trait's rules, kept by the scheduler: the bytes below `top` are mapped and
        // unused.
        unsafe { switch::fresh(top, entry, arg) }
    }

    fn wake_m(index: usize) {
        if let Some(core) = percpu::get(index) {
            apic::wake(core);
        }
    }

    fn idle(token: &Token, until: u64) {
        // The caller has just looked for work.
        stretch::cut();
        // The scavenger may have found work: the caller looks again.
        let m = here();
        let Some((until, flushed)) = mm::window::scavenge::rest(m, until) else { return };
        percpu::current().magazines.rest();
        stretch::ends();
        apic::rest_until(until, token);
        stretch::begins();
        percpu::current().magazines.rise();
        mm::window::scavenge::rise(m, flushed);
        tlb::rise();
    }

    fn now() -> u64 {
        clock::now()
    }

    fn arm_timer(at: u64) {
        apic::arm(at);
    }

    fn stack_alloc(size: usize) -> Result<Stack, NoStack> {
        mm::window::alloc(size).map(Stack::from)
    }

    fn stack_warm(stack: Stack) -> bool {
        mm::window::warm(stack.into())
    }

    unsafe fn stack_free(stack: Stack) {
        // SAFETY: the trait's rule 3: the window came from `alloc` and nobody uses it any more.
        unsafe { mm::window::free(stack.into()) }
    }

    fn stack_retire(stack: Stack, id: u64, name: &str, cause: u8) {
        mm::window::retire(stack, id, name, cause);
    }

    fn stack_is_dead(addr: usize) -> bool {
        mm::window::is_dead(addr as u64)
    }

    fn dead_stack(addr: usize) -> u64 {
        if mm::window::is_dead(addr as u64) {
            mm::window::owner_of(addr as u64).map_or(0, |owner| owner.who().0)
        } else {
            0
        }
    }

    fn reclaim() -> bool {
        let before = mm::heap::mapped();
        mm::heap::trim();
        let trimmed = mm::heap::mapped() < before;
        mm::window::scavenge::run() > 0 || trimmed
    }

    fn pend() {
        percpu::pend();
    }

    #[inline(always)]
    unsafe fn catch(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Thrown> {
        // SAFETY: 1. the caller's: `f` may be called with `arg`, and `panic::catch` calls it once.
        unsafe { panic::catch(f, arg) }
    }

    fn caught(thrown: Thrown) -> Payload {
        panic::caught(thrown, 0)
    }

    unsafe fn catch_inside(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Payload> {
        // SAFETY: 1. the caller's: `f` may be called with `arg`, and `panic::catch_inside` calls it
        // once.
        unsafe { panic::catch_inside(f, arg) }
    }

    fn unwind(payload: Payload) -> ! {
        panic::unwind(payload)
    }

    fn panicking() -> bool {
        panic::panicking()
    }

    fn unjoined_panic(id: u64, payload: &Payload) {
        panic::unjoined(id, payload);
    }

    #[inline(always)]
    fn on_g0() {
        stretch::cut();
        let core = percpu::current();
        if core.reserve.is_low() {
            mm::window::fill_reserve();
            if core.reserve.is_low() {
                mm::window::scavenge::make_room();
            }
        }
        if !core.deferred.is_empty() {
            mm::window::free_deferred();
        }
        let _ = mm::window::scavenge::poll(here());
    }

    #[inline(always)]
    fn g_ends(slot: &Cell<*mut ()>) {
        console::g_ends(slot);
    }

    fn in_handler() -> bool {
        percpu::in_handler()
    }

    fn lock_waited(ns: u64) {
        here().counters.lock_ns.add(ns);
    }

    fn fatal(what: Fatal) -> ! {
        match what {
            Fatal::Deadlock => report::deadlock(),
            Fatal::Broken(rule) => report::broken(rule),
        }
    }
}

trefoil_sched::platform!(Machine);
