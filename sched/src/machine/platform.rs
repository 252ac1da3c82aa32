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
use core::cell::Cell;

pub use super::payload::Payload;
pub use super::token::Token;

/// A stack window: grows down from `hi`, never below `lo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// Lowest address of the window (its guard page lies here).
    pub lo: usize,
    /// One past the highest address.
    pub hi: usize,
}

impl Stack {
    /// No stack.
    pub const NONE: Self = Self { lo: 0, hi: 0 };

    /// Bytes of address space.
    pub fn size(&self) -> usize {
        self.hi - self.lo
    }
}

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
    /// Returns this core's M: the record that was given to [`start_m`](crate::Sched::start_m).
    fn current_m() -> *const ();
    /// Returns the [life](crate::G::life) of the G that calls. Callable anywhere, with preemption
    /// on as well. On a G the life is that G's, on any core.
    fn current_life() -> usize;
    /// Makes `g` the context that runs here, a G or this core's g0.
    ///
    /// # Safety
    /// 1. `g` is the record of a [`G`](crate::G), and lives for ever.
    unsafe fn set_current(g: *const ()) {
        let _ = g;
    }
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
    /// Rests until `token`, that of this core's M, is set, or `until` (ns) has come. May return
    /// early.
    fn idle(token: &Token, until: u64);
    /// Returns the nanoseconds since boot, never backwards. Callable anywhere.
    fn now() -> u64;
    /// Returns the raw counter behind [`now`](Self::now), for records. Callable anywhere.
    fn ticks() -> u64 {
        Self::now()
    }
    /// Fills `addresses` with the return addresses of the code that runs here, their lower halves,
    /// innermost first. Returns how many there are. For records; callable with preemption off.
    fn stack_trace(addresses: &mut [u32]) -> usize {
        let _ = addresses;
        0
    }
    /// Arms the one-shot of this core: the platform calls
    /// [`timer_interrupt`](crate::timer_interrupt) at `at` ns or a little later. `u64::MAX`
    /// disarms.
    fn arm_timer(at: u64);
    /// Makes a stack window of `size` bytes, with its top page mapped.
    fn stack_alloc(size: usize) -> Result<Stack, NoStack>;
    /// Gives the top page back to a window that the scavenger has stripped. Returns false if there
    /// is no memory.
    fn stack_warm(stack: Stack) -> bool {
        let _ = stack;
        true
    }
    /// Takes a window back: its memory, and unless it was retired, its addresses.
    ///
    /// # Safety
    /// 1. `stack` came from `stack_alloc`, and nobody runs on it or points into it.
    unsafe fn stack_free(stack: Stack);
    /// Retires a window whose G was ended where it stood: its number, name, and the number of the
    /// [cause](crate::Cause). Others may still point into the stack, so the window's addresses are
    /// never used again.
    fn stack_retire(stack: Stack, id: u64, name: &str, cause: u8) {
        let _ = (stack, id, name, cause);
    }
    /// Returns true if `addr` lies in a window that was retired.
    fn stack_is_dead(addr: usize) -> bool {
        let _ = addr;
        false
    }
    /// Returns the number of the G whose retired window has `addr`; 0: no such window.
    fn dead_stack(addr: usize) -> u64 {
        let _ = addr;
        0
    }
    /// Gives back all memory that can be given back at once. Returns true if there was any. Called
    /// with preemption on or off, with no lock held.
    fn reclaim() -> bool {
        false
    }
    /// Ends the [doomed](crate::G::doomed) G that runs here as soon as preemption is on again.
    fn pend() {}
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
    fn caught(thrown: Thrown) -> Payload {
        Payload::new(thrown, false)
    }
    /// Catches as `catch` does, for a program's own use. A destructor may call it while the G
    /// unwinds, and the function that panics inside may be the program's `main`.
    ///
    /// # Safety
    /// 1. As `f` has it; it is called once.
    unsafe fn catch_inside(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Payload> {
        // SAFETY: 1. `f` fits `arg`, and the caller allows one call of it.
        unsafe { Self::catch(f, arg) }.map_err(Self::caught)
    }
    /// Unwinds the current G with `payload`. The G panics without a hook, unless the payload is
    /// [`exit_g`](crate::spawn::is_exit)'s. Called on a G with preemption on.
    fn unwind(payload: Payload) -> !;
    /// Returns true if the current G unwinds. Callable on a G.
    fn panicking() -> bool {
        false
    }
    /// Reports that G number `id` panicked unseen, unless that [was done](Payload::is_told). Called
    /// on that G or on the G that dropped its handle, with preemption on; or on a g0.
    fn unjoined_panic(id: u64, payload: &Payload) {
        let _ = (id, payload);
    }
    /// Does the work that handlers of this core have put off (see
    /// [`M::attend_platform`](crate::M::attend_platform)), and passes epochs. Called on g0, each
    /// time it looks for work.
    fn on_g0() {}
    /// Releases the platform's data in `slot`, which is [`G::local`](crate::G::local) of a G that
    /// ends. Called on that G with preemption on.
    fn g_ends(slot: &Cell<*mut ()>) {
        let _ = slot;
    }
    /// Returns true if the caller is an interrupt handler. Callable anywhere.
    fn in_handler() -> bool {
        false
    }
    /// Counts `ns` nanoseconds for which this core has waited for a spin lock of the scheduler.
    fn lock_waited(ns: u64) {
        let _ = ns;
    }
    /// Reports and stops the machine.
    fn fatal(what: Fatal) -> !;
}

/// Passes the list of all hooks to `$macro`: the symbol of each, its name in [`Platform`], which
/// documents it, and its type.
#[doc(hidden)]
#[macro_export]
macro_rules! __trefoil_hooks {
    ($macro:path, $($platform:ty)?) => {
        $macro! {
            $($platform)?;
            safe {
                __trefoil_current_m current_m() -> *const ();
                __trefoil_current_life current_life() -> usize;
                __trefoil_preempt_off preempt_off() -> ();
                __trefoil_preempt_on preempt_on() -> ();
                __trefoil_wake_m wake_m(index: usize) -> ();
                __trefoil_idle idle(token: &Token, until: u64) -> ();
                __trefoil_now now() -> u64;
                __trefoil_ticks ticks() -> u64;
                __trefoil_stack_trace stack_trace(addresses: &mut [u32]) -> usize;
                __trefoil_arm_timer arm_timer(at: u64) -> ();
                __trefoil_stack_alloc stack_alloc(size: usize) -> Result<Stack, NoStack>;
                __trefoil_stack_warm stack_warm(stack: Stack) -> bool;
                __trefoil_stack_retire stack_retire(stack: Stack, id: u64, name: &str, cause: u8) -> ();
                __trefoil_stack_is_dead stack_is_dead(addr: usize) -> bool;
                __trefoil_dead_stack dead_stack(addr: usize) -> u64;
                __trefoil_reclaim reclaim() -> bool;
                __trefoil_pend pend() -> ();
                __trefoil_caught caught(thrown: Thrown) -> Payload;
                __trefoil_unwind unwind(payload: Payload) -> !;
                __trefoil_panicking panicking() -> bool;
                __trefoil_unjoined_panic unjoined_panic(id: u64, payload: &Payload) -> ();
                __trefoil_on_g0 on_g0() -> ();
                __trefoil_g_ends g_ends(slot: &Cell<*mut ()>) -> ();
                __trefoil_in_handler in_handler() -> bool;
                __trefoil_lock_waited lock_waited(ns: u64) -> ();
                __trefoil_fatal fatal(what: Fatal) -> !;
            }
            unsafe {
                __trefoil_set_current set_current(g: *const ()) -> ();
                __trefoil_switch switch(prev_sp: *mut usize, next_sp: *const usize, after: AfterFn, a: *mut (), b: *mut ()) -> ();
                __trefoil_fresh_stack fresh_stack(top: *mut u8, entry: EntryFn, arg: *mut ()) -> usize;
                __trefoil_catch catch(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Thrown>;
                __trefoil_catch_inside catch_inside(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Payload>;
                __trefoil_stack_free stack_free(stack: Stack) -> ();
            }
        }
    };
}

/// Declares the symbols.
macro_rules! declare {
    (
        ;
        safe { $($symbol:ident $hook:ident($($arg:ident: $type:ty),*) -> $ret:ty;)* }
        unsafe { $($usymbol:ident $uhook:ident($($uarg:ident: $utype:ty),*) -> $uret:ty;)* }
    ) => {
        #[expect(missing_docs, reason = "documented once, in the trait")]
        mod symbols {
            use super::*;
            unsafe extern "Rust" {
                $(pub safe fn $symbol($($arg: $type),*) -> $ret;)*
                $(pub fn $usymbol($($uarg: $utype),*) -> $uret;)*
            }
        }
        pub use symbols::{$($symbol as $hook,)* $($usymbol as $uhook),*};
    };
}

__trefoil_hooks!(declare,);

/// Defines the symbols.
#[doc(hidden)]
#[macro_export]
macro_rules! __trefoil_define {
    (
        $platform:ty;
        safe { $($symbol:ident $hook:ident($($arg:ident: $type:ty),*) -> $ret:ty;)* }
        unsafe { $($usymbol:ident $uhook:ident($($uarg:ident: $utype:ty),*) -> $uret:ty;)* }
    ) => {
        $(
            #[unsafe(no_mangle)]
            extern "Rust" fn $symbol($($arg: $type),*) -> $ret {
                <$platform as Platform>::$hook($($arg),*)
            }
        )*
        $(
            #[unsafe(no_mangle)]
            unsafe extern "Rust" fn $usymbol($($uarg: $utype),*) -> $uret {
                // SAFETY: the scheduler keeps the trait's rules; this only forwards.
                unsafe { <$platform as Platform>::$uhook($($uarg),*) }
            }
        )*
    };
}

/// Wires `$platform` (a type that implements [`Platform`](crate::Platform)) into the scheduler.
/// Once a program.
#[macro_export]
macro_rules! platform {
    ($platform:ty) => {
        const _: () = {
            use ::core::cell::Cell;
            use $crate::platform::{AfterFn, EntryFn, Fatal, NoStack, Payload, Platform, Stack, Thrown, Token};
            $crate::__trefoil_hooks!($crate::__trefoil_define, $platform);
        };
    };
}
