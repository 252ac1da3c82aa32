//! `print!` and `println!`: whole lines never interleave.
//!
//! Several calls may make one line, and other G's print in between. So each G has an unfinished
//! line of its own (`Line`, kept in the G's platform slot). Only whole lines leave for the serial
//! port, under the console's lock. When a G ends with a line unfinished, the kernel finishes the
//! line. Outside any G (boot, g0) each call is a line, if it is not too long for a `Piece`.
//!
//! Printing works when the heap has nothing left. A new line has `ROOM`, enough for most lines.
//! If even that memory can't be had, the call makes a `Piece` on its stack; longer text then
//! leaves in pieces. Rejected: formatting straight into the ring under its lock, since a formatted
//! value may park, print, or panic.
//!
//! A report of a G (its panic, its end) is one piece as well: its lines are gathered in the draft
//! (`report/draft.rs`) between `begin_report` and `end_report`.
//!
//! A line does not wait for the port. The line goes into a ring
//! ([`Output`](trefoil_sched::output::Output)), and the port's interrupt empties the ring. A
//! printing G parks only if the ring is full. `arch/x86_64/serial/transmit.rs` has the table of
//! waits. A handler does not print.
//!
//! The machine's end (`shut`) waits for the reports of deaths that are under way, a second at
//! most. Then it lets no other line begin, and waits until the ring is empty. The report path sends
//! the text in the ring, and then writes to the port directly, even if another core holds the
//! ring's lock.

use alloc::alloc::{Layout, alloc};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use trefoil_sched::output::LINE;
use trefoil_sched::{G, GRef, PreemptGuard};

use crate::arch::serial::{self, OUTPUT};
use crate::arch::{clock, percpu};
use crate::report::backtrace::Out;
use crate::report::{death, draft};

/// A line longer than this leaves in pieces.
const LINE_MAX: usize = LINE;
/// Bytes that a line has room for without asking for memory.
const ROOM: usize = 128;
/// Bytes for the output of one call outside any G; longer output leaves in several pieces.
const PIECE: usize = 256;

/// Bytes of one of the kernel's own lines.
const SAID: usize = 1024;

/// Nanoseconds that the machine's end waits for a line that another core is just adding, and for a
/// port that takes nothing.
const GRACE: u64 = 1_000_000_000;

/// Puts lines into the ring together with the line that a person types: if there is room now, with
/// preemption off by the guard, or when there is. Returns false if they are not in the ring.
pub(crate) type Framer = fn(Option<&PreemptGuard>, &[u8]) -> bool;

/// The [`Framer`], once the program reads from a terminal.
static FRAMER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Frames all lines from here on. In programs that do not read there is no framer.
pub(crate) fn set_framer(framer: Framer) {
    // Release: pairs with the Acquire in `framer`.
    FRAMER.store(framer as *mut (), Ordering::Release);
}

#[inline]
fn framer() -> Option<Framer> {
    let framer = FRAMER.load(Ordering::Acquire);
    // SAFETY: only `set_framer` stores there, and a function of this type, which is no null.
    unsafe { core::mem::transmute::<*mut (), Option<Framer>>(framer) }
}

/// An unfinished line, with a capacity of [`ROOM`] at least.
struct Line(Vec<u8>);

impl Line {
    /// Creates a line. `None`: no memory.
    fn new() -> Option<Self> {
        let mut line = Self(Vec::new());
        line.has_room(ROOM).then_some(line)
    }

    /// Returns true if `n` bytes more fit.
    #[inline(never)]
    fn has_room(&mut self, n: usize) -> bool {
        self.0.try_reserve(n).is_ok()
    }

    /// Sends the whole lines of the buffer.
    fn send_lines(&mut self) {
        let Some(at) = self.0.iter().rposition(|&b| b == b'\n') else { return };
        let end = at + 1;
        send(&self.0[..end]);
        self.0.drain(..end);
    }

    #[inline(never)]
    fn add(&mut self, s: &str) {
        for part in s.as_bytes().chunks(ROOM) {
            if self.0.len() + part.len() > LINE_MAX {
                self.send_lines();
            }
            if self.0.len() + part.len() > LINE_MAX || !self.has_room(part.len()) {
                send(&self.0);
                self.0.clear();
            }
            self.0.extend_from_slice(part);
        }
        // The text before this call has no line end.
        if s.as_bytes().contains(&b'\n') {
            self.send_lines();
        }
    }
}

/// The line of a G that runs here. Each piece of text borrows the line anew, since a formatted
/// value may print, too.
struct LineOf(&'static G);

impl LineOf {
    /// Finds or creates the line of `g`. `None`: no memory for a line.
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
        // SAFETY: the slot holds the `Line` that `new` has put on the heap, and only its own G uses
        // it, which is running here. The G may move between cores meanwhile; the line belongs to
        // it, not to a core.
        unsafe { &mut *self.0.local.get().cast::<Line>() }.add(s);
        Ok(())
    }
}

/// The output of one call outside any G, or where there is no memory for a [`Line`]. Output longer
/// than `N` bytes leaves in several pieces.
struct Piece<const N: usize> {
    bytes: heapless::Vec<u8, N>,
    out: fn(&[u8]),
}

impl<const N: usize> Piece<N> {
    #[inline(never)]
    fn print(args: fmt::Arguments<'_>, out: fn(&[u8])) {
        let mut piece = Self { bytes: heapless::Vec::new(), out };
        let _ = fmt::write(&mut piece, args);
        piece.send();
    }

    fn send(&mut self) {
        (self.out)(&self.bytes);
        self.bytes.clear();
    }
}

impl<const N: usize> Write for Piece<N> {
    #[inline(never)]
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for &byte in s.as_bytes() {
            if self.bytes.is_full() {
                self.send();
            }
            let _ = self.bytes.push(byte);
        }
        Ok(())
    }
}

/// Sends one or more lines, [`LINE_MAX`] bytes at most. Parks if the ring has no room and the
/// caller may park.
#[inline(never)]
pub(crate) fn send(bytes: &[u8]) {
    if bytes.is_empty() || !serial::is_present() {
        return;
    }
    if !percpu::may_park() {
        return send_without_parking(bytes);
    }
    match framer() {
        None => OUTPUT.put(bytes),
        Some(put) => _ = put(None, bytes),
    }
    serial::transmit();
}

/// Sends lines for a caller that must not park. While the ring has no room, other G's run. If they
/// can't run, this function polls the port.
#[inline(never)]
fn send_without_parking(bytes: &[u8]) {
    if !serial::is_present() {
        return;
    }
    let may_yield = percpu::may_park();
    loop {
        let guard = PreemptGuard::new();
        let added = match framer() {
            None => OUTPUT.try_put(&guard, bytes),
            Some(put) => put(Some(&guard), bytes),
        };
        if added {
            break;
        }
        if may_yield {
            drop(guard);
            serial::transmit();
            trefoil_sched::yield_now();
        } else {
            serial::make_room();
        }
    }
    serial::transmit();
}

/// Prints for `print!`.
#[doc(hidden)]
pub fn print(args: fmt::Arguments<'_>) {
    if let Some(mut line) = percpu::current_g().and_then(LineOf::new) {
        let _ = fmt::write(&mut line, args);
    } else {
        Piece::<PIECE>::print(args, send);
    }
}

/// Prints a line of the kernel's own, and allocates nothing.
pub(crate) fn say(args: fmt::Arguments<'_>) {
    Piece::<SAID>::print(format_args!("{args}\n"), send);
}

/// Begins a report of `g`, which leaves as one unit when it [ends](end_report). Other reports come
/// before it or after it. Returns the function that says its lines. The caller runs on `g`, or sees
/// to its end. Allocates nothing, and does not park.
#[inline(never)]
#[optimize(size)]
pub(crate) fn begin_report(g: GRef) -> Out {
    while !draft::TURN.claim(g) {
        if !percpu::may_park() {
            // The caller can't wait for the other report.
            return say;
        }
        trefoil_sched::yield_now();
    }
    say_in_report
}

/// Calls `f` with the unfinished line of the current G, if there is one.
pub(crate) fn with_unfinished(f: impl FnOnce(&mut Vec<u8>)) {
    if let Some(line) = percpu::current_g().map(|g| g.local.get().cast::<Line>())
        && !line.is_null()
    {
        // SAFETY: the slot holds the `Line` that `LineOf::new` has put on the heap. Only its own G
        // uses it, which is running here, and `f` does not print by `LineOf`.
        f(unsafe { &mut (*line).0 });
    }
}

/// Says a line of the report that owns the draft.
fn say_in_report(args: fmt::Arguments<'_>) {
    Piece::<SAID>::print(format_args!("{args}\n"), |line| {
        // SAFETY: 1. `begin_report` has claimed the draft for the G that this function runs for.
        unsafe {
            if !draft::has_room(line.len()) {
                draft::send(send_without_parking);
            }
            draft::add(line);
        }
    });
}

/// Sends the report of `g` if there is one, complete or not.
#[inline(never)]
#[optimize(size)]
pub(crate) fn end_report(g: GRef) {
    if draft::TURN.is_of(g) {
        // SAFETY: 1. the caller runs for the owner.
        unsafe { draft::send(send_without_parking) };
        draft::TURN.release();
    }
}

/// Leaves the unfinished line of `g` alone, and ends its report: `g` was ended where it stood,
/// maybe inside `print!`.
pub(crate) fn abandoned(g: GRef) {
    g.local.set(core::ptr::null_mut());
    end_report(g);
}

/// Sends the unfinished line of `g`, which ends, as a line.
#[inline(always)]
pub(crate) fn g_ends(slot: &Cell<*mut ()>) {
    if !slot.get().is_null() {
        finish_line(slot);
    }
}

#[inline(never)]
fn finish_line(slot: &Cell<*mut ()>) {
    let line = slot.replace(core::ptr::null_mut());
    // SAFETY: the slot held the line of the G that calls, which `LineOf` allocated as a box is.
    // Only its G uses the line, and the slot is empty now.
    let mut line = unsafe { Box::from_raw(line.cast::<Line>()) };
    if !line.0.is_empty() {
        line.add("\n");
    }
}

/// Sends the unfinished line of the current G, before the machine stops.
pub(crate) fn flush_current() {
    if let Some(g) = percpu::current_g() {
        g_ends(&g.local);
    }
}

/// Shuts the console before the machine stops: sends the current G's unfinished line, blocks all
/// later printing, and drains the ring. If the stopping core holds the ring's lock itself, the wait
/// for the lock is bounded.
pub(crate) fn shut() {
    flush_current();
    if percpu::may_park() {
        death::wait_for_reports(clock::now() + GRACE);
    }
    let guard = PreemptGuard::new();
    let until = clock::now() + GRACE;
    while !OUTPUT.close(&guard) && clock::now() < until {
        core::hint::spin_loop();
    }
    guard.hand_over(); // for good
    serial::flush(GRACE);
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

/// The same as [`print!`](crate::print): there is one console.
#[macro_export]
macro_rules! eprint {
    ($($arg:tt)*) => { $crate::print!($($arg)*) };
}

/// The same as [`println!`](crate::println): there is one console.
#[macro_export]
macro_rules! eprintln {
    ($($arg:tt)*) => { $crate::println!($($arg)*) };
}

/// Prints an expression, where it stands, and its value, which it returns, as the standard
/// library's does.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let n = dbg!(3 * 4) + 1; // [src/main.rs:4:9] 3 * 4 = 12
/// assert_eq!(dbg!(n, "n"), (13, "n"));
/// dbg!();
/// # }
/// ```
#[macro_export]
macro_rules! dbg {
    () => {
        $crate::eprintln!("[{}:{}:{}]", ::core::file!(), ::core::line!(), ::core::column!())
    };
    ($value:expr $(,)?) => {
        // A `match`, so that temporaries of the expression live until the end of the statement.
        match $value {
            value => {
                $crate::eprintln!(
                    "[{}:{}:{}] {} = {:#?}",
                    ::core::file!(), ::core::line!(), ::core::column!(), ::core::stringify!($value), &value
                );
                value
            }
        }
    };
    ($($value:expr),+ $(,)?) => {
        ($($crate::dbg!($value)),+,)
    };
}

/// Runs `f` with the console's lock held: for tests of the report path.
#[doc(hidden)]
pub fn with_locked<R>(f: impl FnOnce() -> R) -> R {
    OUTPUT.with_locked(f)
}
