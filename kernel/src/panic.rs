//! Panics.
//!
//! On a G, with preemption on and nothing unwinding yet, a panic unwinds the G: destructors run, and the payload reaches `join`. Anywhere
//! else (in a handler, on g0, with preemption off, before the scheduler, in a destructor during unwinding, in `main`) it ends
//! the machine with a report, which takes no lock and allocates nothing.
//!
//! Memory that runs out is a panic like any other ([`out_of_memory`]): it unwinds the G that asked. What unwinding itself
//! allocates, the payload and the unwinder's object, comes from the heap's reserve if it must. `BTreeMap` does not let such a panic
//! through while it gets a level higher: it ends the machine by an invalid opcode, with a report that names `PanicGuard`.

use alloc::alloc::Layout;
use alloc::boxed::Box;
use alloc::string::String;
use core::any::Any;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use trefoil_sched::spawn::is_exit;
use trefoil_sched::{G, GRef, M, PreemptGuard};

pub use trefoil_sched::panic::{
    AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe, catch_unwind, panic_message, resume_unwind,
};

use crate::arch::percpu;
use crate::report::{self, Who};
use crate::{platform, println};

/// In a G's `panics`, beside their number: since the last of them began a program's own [catch](catch_inside) was entered.
const CAUGHT_INSIDE: u32 = 1 << 31;

/// How many panics unwind right now. A G sees its own count: it wrote it.
static UNWINDING: AtomicU32 = AtomicU32::new(0);

/// The G that runs here, if one does.
pub(crate) fn current_g() -> Option<GRef> {
    if percpu::m().is_null() {
        return None;
    }
    let guard = PreemptGuard::new();
    M::current(&guard).running()
}

/// Why a panic here and now can't unwind; otherwise the G that it unwinds.
fn unwinder() -> Result<GRef, &'static str> {
    if percpu::in_handler() {
        return Err("it is in a handler");
    }
    if percpu::depth() > 0 {
        return Err("preemption is off");
    }
    let g = current_g().ok_or("it is outside any G")?;
    match g.panics.get() {
        // Somebody in the program catches it.
        panics if panics & CAUGHT_INSIDE != 0 => Ok(g),
        0 if platform::is_main(g) => Err(""),
        0 => Ok(g),
        _ => Err("a destructor panicked while another panic unwinds"),
    }
}

/// One more panic unwinds `g`.
fn begins(g: &G) {
    g.panics.set((g.panics.get() & !CAUGHT_INSIDE) + 1);
    UNWINDING.fetch_add(1, Ordering::Relaxed);
}

/// Of the panics that unwind `g` only those in `before` go on.
fn ends(g: &G, before: u32) {
    let ended = (g.panics.replace(before) & !CAUGHT_INSIDE) - (before & !CAUGHT_INSIDE);
    if ended > 0 {
        UNWINDING.fetch_sub(ended, Ordering::Relaxed);
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if report::is_under_way() {
        report::panic(info, "");
    }
    let g = match unwinder() {
        Ok(g) => g,
        Err(why) => report::panic(info, why),
    };
    begins(g);
    g.panicked_at.set(info.location().map(at_home));
    let payload: Box<dyn Any + Send> = match info.message().as_str() {
        Some(text) => Box::new(text),
        None => match text(format_args!("{}", info.message())) {
            Ok(text) => Box::new(text),
            Err(fmt::Error) => Box::new("a panic, and no memory for its message"),
        },
    };
    go_on(payload)
}

/// A location lives as long as the image.
fn at_home(at: &Location<'_>) -> &'static Location<'static> {
    // SAFETY: the compiler makes locations as constants in the image's read-only data; `PanicInfo` only does not say so.
    unsafe { &*core::ptr::from_ref(at).cast::<Location<'static>>() }
}

/// `g` was ended where it stood, maybe while it unwound.
pub(crate) fn abandoned(g: &G) {
    ends(g, 0);
    g.panicked_at.set(None);
}

/// As `format!`, with an error where that runs out of memory.
fn text(message: fmt::Arguments<'_>) -> Result<String, fmt::Error> {
    struct Text(String);

    impl Write for Text {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            self.0.try_reserve(s.len()).map_err(|_| fmt::Error)?;
            self.0.push_str(s);
            Ok(())
        }
    }

    let mut text = Text(String::new());
    text.write_fmt(message)?;
    Ok(text.0)
}

/// An allocation that can't fail has failed.
///
/// The one `#![feature]` of ours. The handler that the compiler makes otherwise must not unwind, and says so to the optimiser: with
/// LTO all that allocates loses the landing pads by which destructors would run. A panic handler comes too late to change that.
#[alloc_error_handler]
fn out_of_memory(layout: Layout) -> ! {
    if panicking() && percpu::depth() == 0 {
        report::message(format_args!("out of memory while a panic unwinds: the heap has no {} bytes", layout.size()));
    }
    panic!("out of memory: the heap has no {} bytes", layout.size())
}

/// Unwinds the current G with `payload`. Unless that is a G's exit, the G panics: as if it had begun here, but without a word.
pub(crate) fn unwind(payload: Box<dyn Any + Send>) -> ! {
    if !is_exit(&*payload) {
        match unwinder() {
            Ok(g) => begins(g),
            Err(why) => report::message(format_args!("panic: {} {why}", message(&*payload))),
        }
    }
    go_on(payload)
}

fn go_on(payload: Box<dyn Any + Send>) -> ! {
    let code = unwinding::panic::begin_panic(payload);
    report::message(format_args!("unwinding failed with code {}", code.0))
}

/// Runs `f(arg)`, once, and stops unwinding here.
///
/// # Safety
/// 1. As `f` has it.
#[inline]
pub(crate) unsafe fn catch(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Box<dyn Any + Send>> {
    // SAFETY: 1.
    let result = unwinding::panic::catch_unwind(|| unsafe { f(arg) });
    if result.is_err() {
        caught();
    }
    result
}

/// The current G unwinds no more.
#[cold]
fn caught() {
    if let Some(g) = current_g() {
        ends(g, 0);
    }
}

/// As [`catch`], for a program's own: also in a destructor that runs while the G unwinds, and in the program's `main`.
///
/// # Safety
/// 1. As `f` has it.
pub(crate) unsafe fn catch_inside(f: unsafe fn(*mut ()), arg: *mut ()) -> Result<(), Box<dyn Any + Send>> {
    let g = current_g();
    let before = g.map_or(0, |g| g.panics.replace(g.panics.get() | CAUGHT_INSIDE));
    // SAFETY: 1.
    let result = unwinding::panic::catch_unwind(|| unsafe { f(arg) });
    if let Some(g) = g {
        ends(g, before);
    }
    result
}

/// Whether the current G unwinds.
#[inline]
pub fn panicking() -> bool {
    // One load where nobody unwinds: every unlock of a mutex asks.
    UNWINDING.load(Ordering::Relaxed) > 0 && this_g_unwinds()
}

#[cold]
fn this_g_unwinds() -> bool {
    current_g().is_some_and(|g| g.panics.get() & !CAUGHT_INSIDE > 0)
}

fn message(payload: &(dyn Any + Send)) -> &str {
    trefoil_sched::join::panic_message(payload).unwrap_or("(no message)")
}

/// A G's panic that no `join` will see.
pub(crate) fn report_unjoined(g: &G, payload: &(dyn Any + Send)) {
    let text = message(payload);
    match g.panicked_at.take() {
        Some(at) => println!("trefoil: {} panicked at {}:{}: {text}", Who(g), at.file(), at.line()),
        None => println!("trefoil: a goroutine panicked, and its handle was dropped: {text}"),
    }
}
