//! Stack overflows of goroutines: the process says whose stack it was, and aborts.
//!
//! std does so for its threads, but does not know the guards of goroutines. So this module puts a
//! handler before std's. The handler looks whether the fault lies in the guard of the G that runs
//! here, and passes all other faults on. The handler's stack is the one that each M sets up for its
//! timer (`interrupt.rs`), and std's in other threads. The handler takes no lock and allocates
//! nothing.

use core::fmt::{self, Write};
use core::mem;
use core::ptr;
use std::sync::{Once, OnceLock};

use trefoil_sched::G;

use crate::machine::{self, Core};
use crate::stack::PAGE;

/// The signals of a fault. Linux sends the first one for a guard, other systems the second.
const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// The actions that were there before.
static BEFORE: [OnceLock<libc::sigaction>; 2] = [const { OnceLock::new() }; 2];

/// Puts the handler before the present one, once in a process.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
            // SAFETY: a zeroed sigaction is a valid one, and the fields that matter are set; the
            // handler is async-signal-safe. The old action is stored before the handler needs it.
            let done = unsafe {
                let mut old: libc::sigaction = mem::zeroed();
                libc::sigaction(signal, ptr::null(), &mut old);
                let _ = before.set(old);
                let mut action: libc::sigaction = mem::zeroed();
                action.sa_sigaction = handler as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigaction(signal, &action, ptr::null_mut())
            };
            assert_eq!(done, 0, "sigaction: {}", std::io::Error::last_os_error());
        }
    });
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: a core's record lives for ever.
    let core = unsafe { machine::current().as_ref() };
    // SAFETY: the system hands over the record of the signal, and both signals have an address.
    let at = unsafe { (*info).si_addr() } as usize;
    if let Some((core, g)) = core.and_then(|core| Some((core, core.m.running()?)))
        && is_guard_of(g, at)
    {
        report(core, g);
        // SAFETY: it may be called anywhere.
        unsafe { libc::abort() }
    }
    pass_on(signal, info, context);
}

/// Returns true if `at` lies in the guard of `g`'s window, or in the page below.
fn is_guard_of(g: &G, at: usize) -> bool {
    let stack = g.stack();
    stack.size() != 0 && (stack.lo.saturating_sub(PAGE)..stack.lo + PAGE).contains(&at)
}

/// Lets the former handler have the signal.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = SIGNALS.iter().position(|&s| s == signal).and_then(|i| BEFORE[i].get());
    let Some(before) = before else { return };
    let f = before.sa_sigaction;
    if matches!(f, libc::SIG_DFL | libc::SIG_IGN) {
        // The fault happens again when this handler returns, and then without a handler.
        // SAFETY: the action is the one that the process had before.
        unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
    } else if before.sa_flags & libc::SA_SIGINFO != 0 {
        // SAFETY: the flag says which type the handler has, and the arguments are those of this
        // signal.
        unsafe {
            let f: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = mem::transmute(f);
            f(signal, info, context);
        }
    } else {
        // SAFETY: without the flag a handler takes the number alone.
        unsafe {
            let f: extern "C" fn(libc::c_int) = mem::transmute(f);
            f(signal);
        }
    }
}

/// Says that `g` has used up its stack.
fn report(core: &Core, g: &G) {
    let mut text = Text { bytes: [0; 256], len: 0 };
    let (name, kib) = (g.name(), g.stack().size() >> 10);
    let _ = write!(text, "\ngoroutine {}", g.id());
    let _ = match name.as_str() {
        "" => Ok(()),
        name => write!(text, " \"{name}\""),
    };
    let _ = match kib {
        0..1024 => write!(text, " has overflowed its stack of {kib} KiB"),
        _ => write!(text, " has overflowed its stack of {} MiB", kib >> 10),
    };
    let _ = text.write_str(match core.machine.is_main(g) {
        true => " (a goroutine with Builder::stack_max can have more)\n",
        false => " (Builder::stack_max makes it larger)\n",
    });
    // SAFETY: the bytes are ours. (Nothing can be done about an error.)
    unsafe { libc::write(libc::STDERR_FILENO, text.bytes.as_ptr().cast(), text.len) };
}

/// A line under construction; the rest of a line that is too long is cut off.
struct Text {
    bytes: [u8; 256],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let n = s.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}
