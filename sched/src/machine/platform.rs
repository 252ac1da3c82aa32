//! The scheduler's needs of a machine, and how a platform is wired.
//!
//! The hooks are wired at link time. A platform implements [`Platform`] for a unit type and calls
//! [`platform!`](crate::platform!) once. The macro defines one symbol a hook, and this module
//! declares them. The alternative is a type parameter. A parameter would stand in every public type
//! (`Sender<T, Kernel>`, `JoinHandle<T, Kernel>`) and in every error message, for nothing. With fat
//! LTO the symbols are resolved and inlined: the release disassembly of `yield_now` shows `gs:`
//! accesses where the calls stood.

use alloc::boxed::Box;
use core::any::Any;

use crate::api::panic::Payload;
use crate::core::m::M;
use crate::g::{G, Stack};

/// The payload that a panic throws.
pub type Thrown = Box<dyn Any + Send>;

/// A function that runs on the *next* context's stack once the previous one is saved: the place
/// where a G becomes visible.
pub type AfterFn = unsafe extern "C" fn(*mut (), *mut ());

/// The first function on a fresh stack.
pub type EntryFn = unsafe extern "C" fn(*mut ()) -> !;

/// The reason for the end of the machine.
#[derive(Debug, Clone, Copy)]
pub enum Fatal {
    /// Every M is idle, no timer is armed, and no interrupt is expected: no G will ever run again.
    Deadlock,
    /// The scheduler's own rules were broken; the text says which.
    Broken(&'static str),
}

/// The reason for the lack of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoStack {
    /// No memory.
    Memory,
    /// No addresses: too many windows of that size.
    Addresses,
}

/// The machine under the scheduler. All hooks are called with preemption off unless said otherwise.
///
/// # Safety
/// 1. `current_m` returns the M whose core executes the call.
/// 2. `switch` saves and loads every callee-saved register and the stack pointer, and calls
///    `after(a, b)` on the next stack after `*prev_sp` is written.
/// 3. `stack_alloc` returns memory that nobody else uses until `stack_free`.
pub unsafe trait Platform {
    /// Returns this core's M.
    fn current_m() -> *const M;
    /// Returns the [life](G::life) of the G that calls. Callable anywhere, with preemption on as
    /// well. On a G the life is that G's, on any core.
    fn current_life() -> usize;
    /// Makes `g` (or this core's g0) the context that runs here.
    fn set_current(g: &G);
    /// Enters one more level without preemption. Callable anywhere.
    fn preempt_off();
    /// Leaves one level without preemption. Callable anywhere.
    fn preempt_on();
    /// Leaves one context for another; see the trait's safety rules.
    ///
    /// # Safety
    /// 1. `next_sp` holds what an earlier `switch` or `fresh_stack` stored, and nobody else loads
    ///    it.
    unsafe fn switch(prev_sp: *mut usize, next_sp: *const usize, after: AfterFn, a: *mut (), b: *mut ());
    /// Lays the first frame of a context that starts in `entry(arg)`; returns its stack pointer.
    ///
    /// # Safety
    /// 1. The 128 bytes below `top` are mapped and unused.
    unsafe fn fresh_stack(top: *mut u8, entry: EntryFn, arg: *mut ()) -> usize;
    /// Interrupts the rest of M `index`, whose token is already set.
    fn wake_m(index: usize);
    /// Rests until the token of `m` is set or `until` (ns) has come; may return early.
    fn idle(m: &M, until: u64);
    /// Returns the nanoseconds since boot, never backwards. Callable anywhere.
    fn now() -> u64;
    /// Arms the one-shot of `m`: the platform calls [`timer_interrupt`](crate::timer_interrupt) at
    /// `at` ns or a little later. `u64::MAX` disarms.
    fn arm_timer(m: &M, at: u64);
    /// Makes a stack window of `size` bytes, with its top page mapped.
    fn stack_alloc(size: usize) -> Result<Stack, NoStack>;
    /// Gives the top page back to a window that the scavenger has stripped. Returns false if there
    /// is no memory.
    fn stack_warm(stack: Stack) -> bool;
    /// Takes a window back: its memory, and unless it was retired, its addresses.
    ///
    /// # Safety
    /// 1. `stack` came from `stack_alloc`, and nobody runs on it or points into it.
    unsafe fn stack_free(stack: Stack);
    /// Retires the window of `g`, which was ended where it stood. Others may still point into its
    /// stack, so the window's addresses are never used again.
    fn stack_retire(g: &G);
    /// Returns true if `addr` lies in a window that was retired.
    fn stack_is_dead(addr: usize) -> bool;
    /// Returns the number of the G whose retired window has `addr`; 0: no such window.
    fn dead_stack(addr: usize) -> u64;
    /// Gives back all memory that can be given back at once. Returns true if there was any. Called
    /// with preemption on or off, with no lock held.
    fn reclaim() -> bool;
    /// Ends the [doomed](G::doomed) G that runs here as soon as preemption is on again.
    fn pend();
    /// Runs `f(arg)` and stops unwinding here. The caller passes the thrown value to
    /// [`caught`](Self::caught) next. Called on a G with preemption on.
    ///
    /// Every G has the caller's frame on its stack, so there are two hooks: the thrown value passes
    /// in registers.
    ///
    /// # Safety
    /// 1. As `f` has it; it is called once.
    unsafe fn catch(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Thrown>;
    /// Takes `thrown`, which the current G has caught in [`catch`](Self::catch), right before.
    fn caught(thrown: Thrown) -> Payload;
    /// Catches as `catch` does, for a program's own use. A destructor may call it while the G
    /// unwinds, and the function that panics inside may be the program's `main`.
    ///
    /// # Safety
    /// 1. As `f` has it; it is called once.
    unsafe fn catch_inside(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Payload>;
    /// Unwinds the current G with `payload`. The G panics without a hook, unless the payload is
    /// [`exit_g`](crate::api::spawn::is_exit)'s. Called on a G with preemption on.
    fn unwind(payload: Payload) -> !;
    /// Returns true if the current G unwinds. Callable on a G.
    fn panicking() -> bool;
    /// Reports that G number `id` panicked unseen, unless that [was done](Payload::is_told). Called
    /// on that G or on the G that dropped its handle, with preemption on; or on a g0.
    fn unjoined_panic(id: u64, payload: &Payload);
    /// Does the work that handlers of this core have put off (see [`M::attend_platform`]), and
    /// passes epochs. Called on g0, each time it looks for work.
    fn on_g0(m: &M);
    /// Releases the platform's data in [`G::local`], since the G ends. Called on that G with
    /// preemption on.
    fn g_ends(g: &G);
    /// Returns true if the caller is an interrupt handler. Callable anywhere.
    fn in_handler() -> bool;
    /// Reports and stops the machine.
    fn fatal(what: Fatal) -> !;
}

// One symbol a hook; [`Platform`] documents them.
#[expect(missing_docs, reason = "documented once, in the trait")]
mod symbols {
    use super::*;
    unsafe extern "Rust" {
        pub safe fn __trefoil_current_m() -> *const M;
        pub safe fn __trefoil_current_life() -> usize;
        pub safe fn __trefoil_set_current(g: &G);
        pub safe fn __trefoil_preempt_off();
        pub safe fn __trefoil_preempt_on();
        pub fn __trefoil_switch(prev_sp: *mut usize, next_sp: *const usize, after: AfterFn, a: *mut (), b: *mut ());
        pub fn __trefoil_fresh_stack(top: *mut u8, entry: EntryFn, arg: *mut ()) -> usize;
        pub safe fn __trefoil_wake_m(index: usize);
        pub safe fn __trefoil_idle(m: &M, until: u64);
        pub safe fn __trefoil_now() -> u64;
        pub safe fn __trefoil_arm_timer(m: &M, at: u64);
        pub safe fn __trefoil_stack_alloc(size: usize) -> Result<Stack, NoStack>;
        pub safe fn __trefoil_stack_warm(stack: Stack) -> bool;
        pub safe fn __trefoil_stack_retire(g: &G);
        pub safe fn __trefoil_stack_is_dead(addr: usize) -> bool;
        pub safe fn __trefoil_dead_stack(addr: usize) -> u64;
        pub safe fn __trefoil_reclaim() -> bool;
        pub safe fn __trefoil_pend();
        pub fn __trefoil_stack_free(stack: Stack);
        pub fn __trefoil_catch(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Thrown>;
        pub safe fn __trefoil_caught(thrown: Thrown) -> Payload;
        pub fn __trefoil_catch_inside(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Payload>;
        pub safe fn __trefoil_unwind(payload: Payload) -> !;
        pub safe fn __trefoil_panicking() -> bool;
        pub safe fn __trefoil_unjoined_panic(id: u64, payload: &Payload);
        pub safe fn __trefoil_on_g0(m: &M);
        pub safe fn __trefoil_g_ends(g: &G);
        pub safe fn __trefoil_in_handler() -> bool;
        pub safe fn __trefoil_fatal(what: Fatal) -> !;
    }
}

pub use symbols::{
    __trefoil_arm_timer as arm_timer, __trefoil_catch as catch, __trefoil_catch_inside as catch_inside,
    __trefoil_caught as caught, __trefoil_current_life as current_life, __trefoil_current_m as current_m,
    __trefoil_dead_stack as dead_stack, __trefoil_fatal as fatal, __trefoil_fresh_stack as fresh_stack,
    __trefoil_g_ends as g_ends, __trefoil_idle as idle, __trefoil_in_handler as in_handler, __trefoil_now as now,
    __trefoil_on_g0 as on_g0, __trefoil_panicking as panicking, __trefoil_pend as pend,
    __trefoil_preempt_off as preempt_off, __trefoil_preempt_on as preempt_on, __trefoil_reclaim as reclaim,
    __trefoil_set_current as set_current, __trefoil_stack_alloc as stack_alloc, __trefoil_stack_free as stack_free,
    __trefoil_stack_is_dead as stack_is_dead, __trefoil_stack_retire as stack_retire,
    __trefoil_stack_warm as stack_warm, __trefoil_switch as switch, __trefoil_unjoined_panic as unjoined_panic,
    __trefoil_unwind as unwind, __trefoil_wake_m as wake_m,
};

/// Wires `$platform` (a type that implements [`Platform`](crate::Platform)) into the scheduler.
/// Once a program.
#[macro_export]
macro_rules! platform {
    ($platform:ty) => {
        const _: () = {
            use $crate::panic::Payload;
            use $crate::platform::{AfterFn, EntryFn, Fatal, NoStack, Platform, Thrown};
            use $crate::{G, M, Stack};
            type It = $platform;

            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_current_m() -> *const M {
                <It as Platform>::current_m()
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_current_life() -> usize {
                <It as Platform>::current_life()
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_set_current(g: &G) {
                <It as Platform>::set_current(g)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_preempt_off() {
                <It as Platform>::preempt_off()
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_preempt_on() {
                <It as Platform>::preempt_on()
            }
            #[unsafe(no_mangle)]
            unsafe extern "Rust" fn __trefoil_switch(
                prev_sp: *mut usize,
                next_sp: *const usize,
                after: AfterFn,
                a: *mut (),
                b: *mut (),
            ) {
                // SAFETY: the scheduler keeps the trait's rules; this only forwards.
                unsafe { <It as Platform>::switch(prev_sp, next_sp, after, a, b) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "Rust" fn __trefoil_fresh_stack(top: *mut u8, entry: EntryFn, arg: *mut ()) -> usize {
                // SAFETY: as above.
                unsafe { <It as Platform>::fresh_stack(top, entry, arg) }
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_wake_m(index: usize) {
                <It as Platform>::wake_m(index)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_idle(m: &M, until: u64) {
                <It as Platform>::idle(m, until)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_now() -> u64 {
                <It as Platform>::now()
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_arm_timer(m: &M, at: u64) {
                <It as Platform>::arm_timer(m, at)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_stack_alloc(size: usize) -> Result<Stack, NoStack> {
                <It as Platform>::stack_alloc(size)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_stack_warm(stack: Stack) -> bool {
                <It as Platform>::stack_warm(stack)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_stack_retire(g: &G) {
                <It as Platform>::stack_retire(g)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_stack_is_dead(addr: usize) -> bool {
                <It as Platform>::stack_is_dead(addr)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_dead_stack(addr: usize) -> u64 {
                <It as Platform>::dead_stack(addr)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_reclaim() -> bool {
                <It as Platform>::reclaim()
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_pend() {
                <It as Platform>::pend()
            }
            #[unsafe(no_mangle)]
            unsafe extern "Rust" fn __trefoil_stack_free(stack: Stack) {
                // SAFETY: as above.
                unsafe { <It as Platform>::stack_free(stack) }
            }
            #[unsafe(no_mangle)]
            unsafe extern "Rust" fn __trefoil_catch(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Thrown> {
                // SAFETY: as above.
                unsafe { <It as Platform>::catch(f, arg) }
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_caught(thrown: Thrown) -> Payload {
                <It as Platform>::caught(thrown)
            }
            #[unsafe(no_mangle)]
            unsafe extern "Rust" fn __trefoil_catch_inside(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Payload> {
                // SAFETY: as above.
                unsafe { <It as Platform>::catch_inside(f, arg) }
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_unwind(payload: Payload) -> ! {
                <It as Platform>::unwind(payload)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_panicking() -> bool {
                <It as Platform>::panicking()
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_unjoined_panic(id: u64, payload: &Payload) {
                <It as Platform>::unjoined_panic(id, payload)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_on_g0(m: &M) {
                <It as Platform>::on_g0(m)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_g_ends(g: &G) {
                <It as Platform>::g_ends(g)
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_in_handler() -> bool {
                <It as Platform>::in_handler()
            }
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_fatal(what: Fatal) -> ! {
                <It as Platform>::fatal(what)
            }
        };
    };
}
