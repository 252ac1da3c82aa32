//! The scheduler's hooks, on this machine.

use core::cell::Cell;

use trefoil_context::switch;
use trefoil_sched::M;
use trefoil_sched::platform::{AfterFn, EntryFn, Fatal, NoStack, Payload, Platform, Stack, Thrown, Token};

use trefoil_trace::Kind;

use crate::api::{console, panic};
use crate::arch::{apic, clock, percpu, stretch, tlb};
use crate::mm::record;
use crate::{mm, recorder, report};

/// Returns this core's M. With preemption off, in a hook.
#[inline(always)]
fn here<'a>() -> &'a M {
    // SAFETY: the scheduler calls hooks on cores that have an M; M's live for ever.
    unsafe { &*percpu::m() }
}

struct Machine;

// SAFETY: 1. `percpu::m` reads this core's record through `gs`. 2. `switch.rs` documents and keeps
// the register contract.
// 3. `mm::stack` hands a window to one owner at a time.
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
            if recorder::BUILT {
                recorder::note(here(), Kind::IpiSent, index as u64, 0);
            }
            apic::wake(core);
        }
    }

    fn idle(token: &Token, until: u64) {
        // The caller has just looked for work.
        stretch::cut();
        // The scavenger may have found work: the caller looks again.
        let m = here();
        let Some((until, flushed)) = mm::stack::scavenge::rest(m, until) else { return };
        record::current().magazines.rest();
        stretch::ends();
        apic::rest_until(until, token);
        stretch::begins();
        record::current().magazines.rise();
        mm::stack::scavenge::rise(m, flushed);
        tlb::rise();
    }

    fn now() -> u64 {
        clock::now()
    }

    #[inline(always)]
    fn ticks() -> u64 {
        clock::ticks()
    }

    fn stack_trace(addresses: &mut [u32]) -> usize {
        recorder::stack_trace(here(), addresses)
    }

    fn arm_timer(at: u64) {
        apic::arm(at);
    }

    fn stack_alloc(size: usize) -> Result<Stack, NoStack> {
        mm::stack::alloc(size).map(Stack::from)
    }

    fn stack_warm(stack: Stack) -> bool {
        mm::stack::warm(stack.into())
    }

    unsafe fn stack_free(stack: Stack) {
        // SAFETY: the trait's rule 3: the window came from `alloc` and nobody uses it any more.
        unsafe { mm::stack::free(stack.into()) }
    }

    fn stack_retire(stack: Stack, id: u64, name: &str, cause: u8) {
        mm::stack::retire_window(stack, id, name, cause);
    }

    fn stack_is_dead(addr: usize) -> bool {
        mm::stack::is_dead(addr as u64)
    }

    fn dead_stack(addr: usize) -> u64 {
        if mm::stack::is_dead(addr as u64) {
            mm::stack::owner_of(addr as u64).map_or(0, |owner| owner.who().0)
        } else {
            0
        }
    }

    fn reclaim() -> bool {
        let before = mm::heap::mapped();
        mm::heap::trim();
        let trimmed = mm::heap::mapped() < before;
        mm::stack::scavenge::run() > 0 || trimmed
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
        let core = record::current();
        if core.reserve.is_low() {
            mm::stack::fill_reserve();
            if core.reserve.is_low() {
                mm::stack::scavenge::make_room();
            }
        }
        if !core.deferred.is_empty() {
            mm::stack::free_deferred();
        }
        let _ = mm::stack::scavenge::poll(here());
        if recorder::BUILT {
            recorder::on_g0(here());
        }
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
