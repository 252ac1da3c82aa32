//! The scheduler's hooks, on this machine.

use trefoil_context::switch;
use trefoil_sched::panic::Payload;
use trefoil_sched::platform::{AfterFn, EntryFn, Fatal, NoStack, Platform, Thrown};
use trefoil_sched::{G, M, Stack};

use crate::api::{console, panic};
use crate::arch::{apic, clock, percpu, stretch, tlb};
use crate::mm::record;
use crate::{mm, report};

struct Machine;

// SAFETY: 1. `percpu::m` reads this core's record through `gs`. 2. `switch.rs` documents and keeps
// the register contract.
// 3. `mm::stack` hands a window to one owner at a time.
unsafe impl Platform for Machine {
    #[inline(always)]
    fn current_m() -> *const M {
        percpu::m()
    }

    #[inline(always)]
    fn current_life() -> usize {
        percpu::current_life()
    }

    #[inline(always)]
    fn set_current(g: &G) {
        percpu::set_current(g);
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
        // SAFETY: as above.
        unsafe { switch::fresh(top, entry, arg) }
    }

    fn wake_m(index: usize) {
        if let Some(core) = percpu::get(index) {
            apic::wake(core);
        }
    }

    fn idle(m: &M, until: u64) {
        // The caller has just looked for work.
        stretch::cut();
        // The scavenger may have found work: the caller looks again.
        let Some((until, flushed)) = mm::stack::scavenge::rest(m, until) else { return };
        record::current().magazines.rest();
        stretch::ends();
        apic::rest_until(until, m);
        stretch::begins();
        record::current().magazines.rise();
        mm::stack::scavenge::rise(m, flushed);
        tlb::rise();
    }

    fn now() -> u64 {
        clock::now()
    }

    fn arm_timer(_: &M, at: u64) {
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

    fn stack_retire(g: &G) {
        mm::stack::retire(g);
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
        // SAFETY: 1. as the caller has it.
        unsafe { panic::catch(f, arg) }
    }

    fn caught(thrown: Thrown) -> Payload {
        panic::caught(thrown, 0)
    }

    unsafe fn catch_inside(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Payload> {
        // SAFETY: 1. as the caller has it.
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
    fn on_g0(m: &M) {
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
        let _ = mm::stack::scavenge::poll(m);
    }

    #[inline(always)]
    fn g_ends(g: &G) {
        console::g_ends(g);
    }

    fn in_handler() -> bool {
        percpu::in_handler()
    }

    fn fatal(what: Fatal) -> ! {
        match what {
            Fatal::Deadlock => report::deadlock(),
            Fatal::Broken(rule) => report::broken(rule),
        }
    }
}

trefoil_sched::platform!(Machine);
