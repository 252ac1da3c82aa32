//! `print!` and `println!`: whole lines never interleave.
//!
//! A line may be made by several calls, and other G's print in between. So each G has a line of its own in the making
//! ([`Line`], kept in the G's platform slot); what leaves for the serial port under the console's lock is whole lines. A G that
//! ends with a line unfinished has it finished for it. Outside any G (boot, g0) each call is a line, if it is not too long for a [`Piece`].
//!
//! Printing works when the heap has nothing left: a line has [`ROOM`] for most lines from its beginning, and where not even that can be had, the
//! call makes a [`Piece`] on its stack. What is longer leaves in pieces then. Rejected: formatting straight to the port under its lock, since what is
//! formatted may park, print, or panic.
//!
//! The machine's end ([`shut`]) waits for the line that another core is writing, and lets no other line begin. The report path does not come
//! here: it writes to the port directly, whoever holds this lock.

use alloc::alloc::{Layout, alloc};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::ptr::NonNull;

use trefoil_sched::{G, M, PreemptGuard};

use crate::arch::{clock, serial};
use crate::mm::lock::Lock;

/// A line longer than this leaves in pieces.
const LINE_MAX: usize = 4096;
/// Bytes that a line has room for without asking for memory.
const ROOM: usize = 128;
/// Bytes of a [`Piece`]; what is longer leaves in several.
const PIECE: usize = 256;

/// Nanoseconds that the last line may take: a long one at 115,200 baud is 0.36 s.
const LAST_LINE: u64 = 1_000_000_000;

static PORT: Lock<()> = Lock::new(());

/// A line in the making, with a capacity of [`ROOM`] at least.
struct Line(Vec<u8>);

impl Line {
    /// None: no memory.
    fn new() -> Option<Self> {
        let mut line = Self(Vec::new());
        line.has_room(ROOM).then_some(line)
    }

    /// Whether `n` bytes more fit.
    #[inline(never)]
    fn has_room(&mut self, n: usize) -> bool {
        self.0.try_reserve(n).is_ok()
    }

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

    #[inline(never)]
    fn add(&mut self, s: &str) {
        for part in s.as_bytes().chunks(ROOM) {
            if !self.has_room(part.len()) {
                send(&self.0);
                self.0.clear();
            }
            self.0.extend_from_slice(part);
        }
        self.send_lines();
    }
}

/// The line of a G that runs here. It is borrowed a piece of text at a time: what is formatted may print itself.
struct LineOf(&'static G);

impl LineOf {
    /// None: no memory for a line.
    fn new(g: &'static G) -> Option<Self> {
        if g.local.get().is_null() {
            let line = Line::new()?;
            // SAFETY: a line has a size.
            let place = NonNull::new(unsafe { alloc(Layout::new::<Line>()) })?.cast::<Line>();
            // SAFETY: it was just allocated for a line.
            unsafe { place.write(line) };
            g.local.set(place.as_ptr().cast());
        }
        Some(Self(g))
    }
}

impl Write for LineOf {
    #[inline(never)]
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // SAFETY: the slot holds the `Line` that `new` has put on the heap, and only its own G uses it, which is running here. The G may move
        // between cores meanwhile; the line belongs to it, not to a core.
        unsafe { &mut *self.0.local.get().cast::<Line>() }.add(s);
        Ok(())
    }
}

/// What one call prints outside any G, and where there is no memory for a [`Line`].
struct Piece {
    len: usize,
    bytes: [u8; PIECE],
}

impl Piece {
    fn send(&mut self) {
        send(&self.bytes[..self.len]);
        self.len = 0;
    }
}

impl Write for Piece {
    #[inline(never)]
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for &byte in s.as_bytes() {
            if self.len == PIECE {
                self.send();
            }
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

pub(crate) fn send(bytes: &[u8]) {
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
    if let Some(mut line) = current_g().and_then(LineOf::new) {
        let _ = fmt::write(&mut line, args);
    } else {
        let mut piece = Piece { len: 0, bytes: [0; PIECE] };
        let _ = fmt::write(&mut piece, args);
        piece.send();
    }
}

/// A line of the kernel's own, sent as it is made: for places that must not allocate, with preemption off and the port's lock not held here.
pub(crate) fn say(args: fmt::Arguments<'_>) {
    struct Port;
    impl Write for Port {
        #[inline(never)]
        fn write_str(&mut self, s: &str) -> fmt::Result {
            s.bytes().for_each(serial::put);
            Ok(())
        }
    }
    let _port = PORT.lock();
    let _ = writeln!(Port, "{args}");
}

/// As [`say`], with preemption on.
pub(crate) fn say_off(args: fmt::Arguments<'_>) {
    let _guard = PreemptGuard::new();
    say(args);
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
    // SAFETY: as in `LineOf`, allocated as a box is; the slot was not empty, and is from here on.
    let mut line = unsafe { Box::from_raw(slot.cast::<Line>()) };
    if !line.0.is_empty() {
        line.add("\n");
    }
}

/// Sends what the current G has not finished: before the machine stops.
pub(crate) fn flush_current() {
    if let Some(g) = current_g() {
        g_ends(g);
    }
}

/// The machine is about to stop: what the current G has begun is sent, the line that another core is writing is waited for, and nobody prints
/// from here on. Whoever stops while it holds the port itself is not waited for for ever.
pub(crate) fn shut() {
    flush_current();
    let until = clock::now() + LAST_LINE;
    loop {
        let port = PORT.try_lock();
        if port.is_some() || clock::now() >= until {
            return core::mem::forget(port); // for good
        }
        core::hint::spin_loop();
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
