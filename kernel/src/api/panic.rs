//! Panics: how a panic begins, its message, and how it ends.
//!
//! ```text
//!   panic! ── hook: who, where, what, backtrace ── unwinds its G: destructors run ── catch_unwind, or the payload at `join`
//!     │
//!     ├ in a destructor that runs because its G unwinds: that G ends here, alone; the payload at `join`; no more destructors run
//!     ├ in `main`, with nobody to catch it:              the machine ends, failing, with a report
//!     └ where nothing can be unwound (a handler, g0, preemption off, before the scheduler): the same
//! ```
//!
//! A program's own [`catch_unwind`] may stand anywhere, in `main` and in a destructor too. So each
//! G's count of panics has a mark beside it: a catch was entered since the last panic began. With
//! the mark, a catch stops a new panic. Without the mark, a new panic would leave the destructor.
//!
//! **Ends alone**: the second panic can't be unwound through the destructor, whose caller is in the
//! middle of the first one. So the G ends as after an overflow (`abandon.rs`): its frames are
//! abandoned. Its locks stay held; its groups and its joiner are told.
//!
//! **The message** is made after its panic has begun, since only the memory kept for panics may be
//! left. The program's code makes the message: a `Display` that fails leaves the text written so
//! far. A `Display` that panics begins a panic in place of the first one; a mark beside the count
//! tells that a message is being made.
//!
//! **Without a word**: [`resume_unwind`] does not call the hook. If its panic ends a goroutine that
//! is never joined, a message says so at the end (`unjoined`). A mark beside the count remembers
//! that until the panic is caught.
//!
//! The report of a fatal panic takes no lock and allocates nothing.
//!
//! Running out of memory is a panic like any other (`out_of_memory`): it unwinds the G that
//! asked. Unwinding itself allocates the payload and the unwinder's object, from the heap's reserve
//! if necessary. `BTreeMap` does not let such a panic through while it gets a level higher: it ends
//! the machine by an invalid opcode, with a report that names `PanicGuard`.

use alloc::alloc::Layout;
use alloc::boxed::Box;
use alloc::string::String;
use core::any::Any;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use trefoil_sched::spawn::is_exit;
use trefoil_sched::{Cause, G, GRef};
use x86_64::instructions::interrupts;

pub use trefoil_sched::panic::{
    AssertUnwindSafe, Location, Payload, RefUnwindSafe, UnwindSafe, catch_unwind, panic_message, resume_unwind,
};

pub use hook::{PanicHookInfo, set_hook, take_hook};

use super::console;
use crate::arch::{percpu, reporter};
use crate::mm::stack;
use crate::report::{self, Who};
use crate::scheduler;

mod hook;

/// A mark in a G's `panics`, beside their number: since the last panic began, the G has entered a
/// program's own [catch](catch_inside).
const CAUGHT_INSIDE: u32 = 1 << 31;
/// A mark there as well: the G ends where it stands.
const ENDS_HERE: u32 = 1 << 30;
/// A mark there as well: the last panic began without a word.
const SILENT: u32 = 1 << 29;
/// A mark there as well: the message of the last panic is being made.
const MAKING: u32 = 1 << 28;
/// The number itself.
const COUNT: u32 = MAKING - 1;

/// How many panics unwind right now. A G sees its own count, since it wrote that count itself.
static UNWINDING: AtomicU32 = AtomicU32::new(0);

/// The way in which a panic ends.
enum Way {
    /// The panic unwinds this G.
    Unwind(GRef),
    /// The panic ends this G where it stands.
    EndAlone(GRef),
    /// The panic ends the machine.
    Fatal(&'static str),
}

/// Decides how a panic here and now ends.
fn way() -> Way {
    if percpu::in_handler() {
        return Way::Fatal("it is in a handler");
    }
    if percpu::depth() > 0 {
        return Way::Fatal("preemption is off");
    }
    if !interrupts::are_enabled() {
        return Way::Fatal("interrupts are off");
    }
    let Some(g) = percpu::current_g() else { return Way::Fatal("it is outside any G") };
    match g.panics.get() & !SILENT {
        panics if panics & ENDS_HERE != 0 => Way::Fatal("it is on its way to its end"),
        // A catch of the program stops the panic.
        panics if panics & CAUGHT_INSIDE != 0 => Way::Unwind(g),
        // The panic takes the place of the one whose message was being made.
        panics if panics & MAKING != 0 => Way::Unwind(g),
        0 if scheduler::is_main(g) => Way::Fatal(""),
        0 => Way::Unwind(g),
        _ if scheduler::is_main(g) => Way::Fatal("a destructor panicked while another panic unwinds"),
        _ => Way::EndAlone(g),
    }
}

/// Counts one more panic that unwinds `g`, or another one in the place of the last.
fn begins(g: &G) {
    let panics = g.panics.get();
    let more = u32::from(panics & MAKING == 0);
    g.panics.set((panics & !(CAUGHT_INSIDE | SILENT | MAKING)) + more);
    UNWINDING.fetch_add(more, Ordering::Relaxed);
}

/// Keeps only those in `before` of the panics that unwind `g`.
fn ends(g: &G, before: u32) {
    let ended = (g.panics.replace(before) & COUNT) - (before & COUNT);
    if ended > 0 {
        UNWINDING.fetch_sub(ended, Ordering::Relaxed);
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if reporter::is_under_way() {
        report::panic(info, "");
    }
    match way() {
        Way::Fatal(why) => report::panic(info, why),
        Way::EndAlone(g) => end_alone(g, payload_of(info), info.location()),
        Way::Unwind(g) => {
            // From here on the heap's reserve serves the G.
            begins(g);
            g.panics.set(g.panics.get() | MAKING);
            let payload = payload_of(info);
            g.panics.set(g.panics.get() & !MAKING);
            // `info` lies in the frame of the panic machinery: the frame that panicked is above it.
            hook::call(&PanicHookInfo::new(&*payload, info.location(), g), core::ptr::from_ref(info).addr());
            go_on(payload)
        }
    }
}

/// Makes the message, on the heap.
#[optimize(size)]
fn payload_of(info: &PanicInfo<'_>) -> Box<dyn Any + Send> {
    match info.message().as_str() {
        Some(text) => Box::new(text),
        None => text(format_args!("{}", info.message())),
    }
}

/// Ends `g`, whose panic no catch can stop, with all its frames. `payload` is the result of `g`.
#[cold]
fn end_alone(g: GRef, payload: Box<dyn Any + Send>, at: Option<&Location<'_>>) -> ! {
    g.panics.set(g.panics.get() | ENDS_HERE);
    console::say(format_args!("trefoil: while another panic unwinds: {}", PanicHookInfo::new(&*payload, at, g)));
    trefoil_sched::spawn::came_to_panic(payload);
    g.doom(Cause::Panicked);
    stack::end_here(g);
    report::message(format_args!("{} does not end", Who(g)))
}

/// Clears the panics of `g`, which was ended where it stood, maybe while it unwound.
pub(crate) fn abandoned(g: &G) {
    ends(g, 0);
}

/// Formats as `format!` does, but keeps the text before an error or before the end of memory.
fn text(message: fmt::Arguments<'_>) -> Box<dyn Any + Send> {
    struct Text(String, bool);

    impl Write for Text {
        #[inline(never)]
        fn write_str(&mut self, s: &str) -> fmt::Result {
            if self.0.try_reserve(s.len()).is_err() {
                self.1 = true;
                return Err(fmt::Error);
            }
            self.0.push_str(s);
            Ok(())
        }
    }

    let mut text = Text(String::new(), false);
    let _ = text.write_fmt(message);
    if text.1 && text.0.is_empty() { Box::new("a panic, and no memory for its message") } else { Box::new(text.0) }
}

/// Panics when an allocation that can't fail has failed.
///
/// Needs a `#![feature]`. The handler that the compiler makes otherwise must not unwind, and tells
/// the optimiser so: with LTO all code that allocates loses the landing pads by which destructors
/// would run. A panic handler comes too late to change that.
#[alloc_error_handler]
fn out_of_memory(layout: Layout) -> ! {
    panic!("out of memory: the heap has no {} bytes", layout.size())
}

/// Unwinds the current G with `payload`. Unless the payload is a G's exit, the G panics, as if the
/// panic had begun here, but without a word.
pub(crate) fn unwind(payload: Payload) -> ! {
    let is_told = payload.is_told();
    let payload = payload.into_inner();
    if !is_exit(&*payload) {
        match way() {
            Way::Unwind(g) => {
                begins(g);
                if !is_told {
                    g.panics.set(g.panics.get() | SILENT);
                }
            }
            Way::EndAlone(g) => end_alone(g, payload, None),
            Way::Fatal(why) => report::message(format_args!("panic: {} {why}", message(&*payload))),
        }
    }
    go_on(payload)
}

fn go_on(payload: Box<dyn Any + Send>) -> ! {
    let code = unwinding::panic::begin_panic(payload);
    report::message(format_args!("unwinding failed with code {}", code.0))
}

/// Runs `f(arg)` once, and stops unwinding here; the thrown payload goes to [`caught`] next.
///
/// # Safety
/// 1. As `f` has it.
#[inline]
pub(crate) unsafe fn catch(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Box<dyn Any + Send>> {
    // SAFETY: the caller's: `f` may be called with `arg`, and this is the only call.
    unwinding::panic::catch_unwind(move || unsafe { f(arg) })
}

/// Records that the current G has caught a panic: only panics in `before` still unwind the G.
#[cold]
#[inline(never)]
pub(crate) fn caught(thrown: Box<dyn Any + Send>, before: u32) -> Payload {
    let g = percpu::current_g();
    let is_told = g.is_none_or(|g| g.panics.get() & SILENT == 0);
    if let Some(g) = g {
        ends(g, before);
    }
    Payload::new(thrown, is_told)
}

/// Catches as [`catch`] does, for a program's own catch: also in a destructor that runs while the G
/// unwinds, and in the program's `main`.
///
/// # Safety
/// 1. As `f` has it.
pub(crate) unsafe fn catch_inside(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Payload> {
    let g = percpu::current_g();
    let before = g.map_or(0, |g| g.panics.replace(g.panics.get() | CAUGHT_INSIDE));
    // SAFETY: the caller's: `f` may be called with `arg`, and this is the only call.
    let result = unwinding::panic::catch_unwind(|| unsafe { f(arg) });
    if result.is_ok()
        && let Some(g) = g
    {
        ends(g, before);
    }
    result.map_err(|thrown| caught(thrown, before))
}

/// Reports that G number `id` panicked and is never joined, unless the hook has reported it. The
/// hook has done so unless the panic began without a word.
pub(crate) fn unjoined(id: u64, payload: &Payload) {
    if payload.is_told() {
        return;
    }
    let message = payload.message().unwrap_or("(no message)");
    match percpu::current_g().filter(|g| g.id() == id) {
        Some(g) => console::say(format_args!("trefoil: {} panicked, and nobody joined it: {message}", Who(g))),
        None => console::say(format_args!("trefoil: G {id} panicked, and nobody joined it: {message}")),
    }
}

/// Returns true if the current G unwinds because of a panic.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # use trefoil::panic;
/// # #[trefoil::main]
/// # fn main() {
/// assert!(!panic::panicking());
/// # }
/// ```
#[inline]
pub fn panicking() -> bool {
    // One load if no G unwinds: every unlock of a mutex asks.
    UNWINDING.load(Ordering::Relaxed) > 0 && this_g_unwinds()
}

#[cold]
fn this_g_unwinds() -> bool {
    percpu::current_g().is_some_and(|g| g.panics.get() & COUNT > 0)
}

fn message(payload: &(dyn Any + Send)) -> &str {
    panic_message(payload).unwrap_or("(no message)")
}
