//! `print!` and `println!`: whole lines never interleave.
//!
//! A line may be made by several calls, and other G's print in between. So each G has a line of its own in the making
//! ([`Line`], kept in the G's platform slot); what leaves for the serial port under the console's lock is whole lines. A G that
//! ends with a line unfinished has it finished for it. Outside any G (boot, g0) each call is a line.
//!
//! The report path does not come here: it writes to the port directly, whoever holds this lock.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use trefoil_sched::{G, M, PreemptGuard};

use crate::arch::serial;
use crate::mm::lock::Lock;

/// A line longer than this leaves in pieces.
const LINE_MAX: usize = 4096;

static PORT: Lock<()> = Lock::new(());

/// A G's line in the making.
struct Line(Vec<u8>);

impl Line {
    /// Sends the whole lines that are here, or everything if it is too much.
    fn send_lines(&mut self) {
        let end = match self.0.iter().rposition(|&b| b == b'\n') {
            Some(at) => at + 1,
            None if self.0.len() >= LINE_MAX => self.0.len(),
            None => return,
        };
        send(&self.0[..end]);
        self.0.drain(..end);
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        self.send_lines();
        Ok(())
    }
}

fn send(bytes: &[u8]) {
    let _port = PORT.lock();
    bytes.iter().for_each(|&b| serial::put(b));
}

/// The G that runs here, if this is a G.
fn current_g() -> Option<&'static G> {
    crate::platform::try_sched()?;
    let guard = PreemptGuard::new();
    if crate::arch::percpu::m().is_null() { None } else { M::current(&guard).running() }
}

/// What `print!` calls.
#[doc(hidden)]
pub fn print(args: fmt::Arguments<'_>) {
    let Some(g) = current_g() else {
        let mut line = Line(Vec::new());
        let _ = line.write_fmt(args);
        return send(&line.0);
    };
    if g.local.get().is_null() {
        g.local.set(Box::into_raw(Box::new(Line(Vec::new()))).cast());
    }
    // SAFETY: the slot holds the `Box<Line>` made above, and only its own G uses it, which is running here. The G may move
    // between cores meanwhile; the line belongs to it, not to a core.
    let line = unsafe { &mut *g.local.get().cast::<Line>() };
    let _ = line.write_fmt(args);
}

/// A line of the kernel's own, sent as it is made: for places that must not allocate, with preemption off and the port's lock not held here.
pub(crate) fn say(args: fmt::Arguments<'_>) {
    struct Port;
    impl Write for Port {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            s.bytes().for_each(serial::put);
            Ok(())
        }
    }
    let _port = PORT.lock();
    let _ = writeln!(Port, "{args}");
}

/// The G was ended where it stood, maybe inside `print!`: its unfinished line is left alone.
pub(crate) fn abandoned(g: &G) {
    g.local.set(core::ptr::null_mut());
}

/// The G ends: what it has left goes out as a line.
#[inline(always)]
pub(crate) fn g_ends(g: &G) {
    if !g.local.get().is_null() {
        finish_line(g);
    }
}

#[inline(never)]
fn finish_line(g: &G) {
    let slot = g.local.replace(core::ptr::null_mut());
    // SAFETY: as in `print`; the slot was not empty, and is from here on.
    let mut line = unsafe { Box::from_raw(slot.cast::<Line>()) };
    if !line.0.is_empty() {
        line.0.push(b'\n');
        line.send_lines();
    }
}

/// Sends what the current G has not finished: before the machine stops.
pub(crate) fn flush_current() {
    if let Some(g) = current_g() {
        g_ends(g);
    }
}

/// Prints to the console, without a line end.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::console::print(::core::format_args!($($arg)*)) };
}

/// Prints to the console, with a line end.
#[macro_export]
macro_rules! println {
    () => { $crate::console::print(::core::format_args!("\n")) };
    ($($arg:tt)*) => { $crate::console::print(::core::format_args!("{}\n", ::core::format_args!($($arg)*))) };
}

/// Runs `f` with the console's lock held: for tests of the report path.
#[doc(hidden)]
pub fn with_locked<R>(f: impl FnOnce() -> R) -> R {
    let _port = PORT.lock();
    f()
}
