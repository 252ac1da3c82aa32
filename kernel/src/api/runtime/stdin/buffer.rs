//! Bytes between the serial port and the readers: a chunk of them, and the line that is typed.
//!
//! The port begins to receive with the first read. Then it sends XON (Ctrl-Q) to the other end; a
//! terminal swallows that byte. The runner sends nothing before XON: the port loses bytes that come
//! before it is set up.
//!
//! **A reader may die at any instruction**, and the next one goes on. So the state between the port
//! and the readers changes under a spin lock only. No G ends under that lock (a dying G ends when
//! it has let go of the lock), so each look finds the state whole. A [`Turn`] marks the current
//! reader, and the next reader takes the turn over from a dead one. The bytes that the dead reader
//! has taken are lost with it (at most as many as it asked for); all others are still there.
//!
//! **At a terminal** the bytes go through an [`Editor`], and the readers get its lines. From the
//! first read on, printed lines go into the output ring in a frame of the editor's ([`Framed`]).
//! The editor makes the frame under the lock of the ring, so the order in the ring is the order on
//! the screen.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use trefoil_sched::PreemptGuard;
use trefoil_sched::input::editor::{self, Editor};
use trefoil_sched::internals::spin::SpinLock;
use trefoil_sched::locks::{Turn, TurnGuard};
use trefoil_sched::output::{CAPACITY, LINE, RESERVE, Text};

use crate::api::{console, options};
use crate::arch::serial::{self, INPUT, OUTPUT, Source};
use crate::println;

/// Ctrl-D: the end of the input.
const END: u8 = 4;
/// Ctrl-Q: go on sending.
const XON: u8 = 0x11;

/// Bytes that are taken and edited in one go, with preemption off.
const PIECE: usize = 32;

const _: () = assert!(LINE + editor::FRAME + RESERVE <= CAPACITY, "a frame fits into the ring");

/// Bytes that were taken out of the ring and not read yet.
#[derive(Debug)]
pub(super) struct Buffer {
    /// The port receives.
    open: bool,
    /// The other end was asked to send.
    asked: bool,
    ended: bool,
    /// The last line ended with a carriage return: a line feed that follows belongs to it.
    pub(super) after_return: bool,
    bytes: [u8; 512],
    at: usize,
    len: usize,

    // --- A terminal's.
    /// Its bytes go past the editor, since the last look.
    raw: bool,
    editor: Editor,
}

static BUFFER: SpinLock<Buffer> = SpinLock::new(Buffer {
    open: false,
    asked: false,
    ended: false,
    after_return: false,
    bytes: [0; 512],
    at: 0,
    len: 0,
    raw: false,
    editor: Editor::new(),
});

/// The turn to read.
static TURN: Turn = Turn::new();

/// The input is typed at a terminal. Set before the first byte.
static TYPED: AtomicBool = AtomicBool::new(false);

/// How many want the terminal to be raw.
static RAW: AtomicUsize = AtomicUsize::new(0);

/// Adds one that wants the terminal to be raw, or takes one away.
pub(super) fn set_raw(raw: bool) {
    RAW.fetch_add(if raw { 1 } else { usize::MAX }, Ordering::Relaxed);
}

fn is_typed() -> bool {
    TYPED.load(Ordering::Relaxed)
}

/// A piece of a line in the buffer.
pub(super) struct Piece {
    /// A line feed that belongs to the line before.
    pub(super) skip: usize,
    pub(super) len: usize,
    pub(super) ended_by: Option<u8>,
}

impl Buffer {
    /// Lets the port receive, if the other end was not asked to send yet; the first time with the
    /// source.
    fn open(&mut self) -> Option<Option<Source>> {
        if self.asked {
            return None;
        }
        let source = (!core::mem::replace(&mut self.open, true)).then(serial::listen);
        self.ended |= source == Some(Source::None);
        Some(source)
    }

    /// Takes bytes out of the ring if there are none at hand. Returns whether there are some now
    /// (or the end), and whether the screen lags behind the editor.
    fn fill(&mut self) -> (bool, bool) {
        if self.at == self.len && !self.ended {
            self.at = 0;
            let most = if is_typed() { PIECE } else { self.bytes.len() };
            self.len = INPUT.read(&mut self.bytes[..most]);
            serial::resume();
            if !is_typed()
                && let Some(end) = self.bytes[..self.len].iter().position(|&b| b == END)
            {
                self.ended = true;
                self.len = end;
            }
        }
        let is_stale = is_typed() && self.edit();
        (!self.bytes().is_empty() || self.ended, is_stale)
    }

    /// Feeds the editor until it has a line. Returns true if the screen lags behind.
    #[cold]
    #[inline(never)]
    fn edit(&mut self) -> bool {
        self.raw = RAW.load(Ordering::Relaxed) > 0;
        if self.raw {
            self.editor.hand_over();
        }
        while !self.raw && self.at < self.len && self.editor.is_typing() {
            self.editor.feed(self.bytes[self.at]);
            self.at += 1;
        }
        self.ended |= self.editor.has_ended();
        self.editor.is_stale()
    }

    /// Returns true if the readers get the editor's line: all of it, before a byte that is raw.
    fn is_edited(&self) -> bool {
        is_typed() && (!self.raw || !self.editor.ready().is_empty())
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        if self.is_edited() { self.typed() } else { &self.bytes[self.at..self.len] }
    }

    #[cold]
    #[inline(never)]
    fn typed(&self) -> &[u8] {
        self.editor.ready()
    }

    /// Takes `n` of [`bytes`](Self::bytes).
    pub(super) fn take(&mut self, n: usize) {
        if self.is_edited() {
            self.editor.take(n);
        } else {
            self.at += n;
        }
    }

    pub(super) fn piece(&self) -> Piece {
        if self.is_edited() {
            // A line feed ends it, if any.
            let line = self.typed();
            let ended_by = line.last().copied().filter(|&b| b == b'\n');
            return Piece { skip: 0, len: line.len() - usize::from(ended_by.is_some()), ended_by };
        }
        let skip = usize::from(self.after_return && self.bytes().first() == Some(&b'\n'));
        let rest = &self.bytes()[skip..];
        let end = rest.iter().position(|&b| b == b'\n' || b == b'\r');
        Piece { skip, len: end.unwrap_or(rest.len()), ended_by: end.map(|end| rest[end]) }
    }
}

/// The caller's turn to read.
pub(super) struct Reading(#[expect(dead_code, reason = "it is dropped")] TurnGuard<'static>);

impl Reading {
    /// Waits for the turn, and for the first byte or the end of the input.
    pub(super) fn begin() -> Self {
        let reading = Self(TURN.take());
        if let Some(source) = reading.with(Buffer::open) {
            reading.ask(source);
        }
        reading.wait();
        reading
    }

    /// Asks the other end to send. (A reader that dies here leaves that to the next: two XON do no
    /// harm.)
    #[cold]
    fn ask(&self, source: Option<Source>) {
        let is_terminal = options::late("stdin", "terminal or bytes", |value| match value {
            b"terminal" => Some(true),
            b"bytes" => Some(false),
            _ => None,
        });
        console::send(&[XON]);
        self.with(|buffer| {
            buffer.asked = true;
            if is_terminal == Some(true) {
                TYPED.store(true, Ordering::Relaxed);
                console::set_framer(put_framed);
            }
        });
        match source {
            None | Some(Source::Interrupt) => {}
            Some(Source::None) => println!("trefoil: stdin: there is no serial port"),
            Some(Source::Timer(why)) => {
                println!("trefoil: stdin: {why}; looking at the serial port every millisecond");
            }
        }
    }

    /// Runs `f` under the spin lock. No G dies in `f`, which is short.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Buffer) -> R) -> R {
        f(&mut BUFFER.lock(&PreemptGuard::new()))
    }

    /// Reads at least one byte, if the input has not ended.
    pub(super) fn read(&self, into: &mut [u8]) -> usize {
        self.with(|buffer| {
            let n = buffer.bytes().len().min(into.len());
            into[..n].copy_from_slice(&buffer.bytes()[..n]);
            buffer.take(n);
            n
        })
    }

    /// Waits until there are bytes, or the input has ended.
    pub(super) fn wait(&self) {
        if is_typed() {
            self.show_unfinished();
        }
        loop {
            let (is_filled, is_stale) = self.with(Buffer::fill);
            if is_stale {
                OUTPUT.put(&Framed(&[]));
                serial::transmit();
            }
            if is_filled {
                return;
            }
            INPUT.wait();
        }
    }

    /// Makes a prompt of the unfinished line of this G, if a line is to be typed. On a raw terminal
    /// it is sent as it is.
    fn show_unfinished(&self) {
        console::with_unfinished(|text| {
            if RAW.load(Ordering::Relaxed) > 0 {
                console::send(text);
                text.clear();
            } else if text.len() <= editor::PROMPT {
                self.with(|buffer| {
                    if buffer.editor.is_typing() {
                        buffer.editor.set_prompt(text);
                        text.clear();
                    }
                });
            }
        });
    }
}

/// Lines, with what is typed below them.
struct Framed<'a>(&'a [u8]);

impl Text for Framed<'_> {
    fn with_parts(&self, add: impl FnOnce(&[&[u8]]) -> bool) -> bool {
        BUFFER.lock(&PreemptGuard::new()).editor.frame(self.0, add)
    }
}

/// Puts `lines` into the output ring: if there is room now, with preemption off by `guard`, or when
/// there is. Returns false if they are not in the ring.
fn put_framed(guard: Option<&PreemptGuard>, lines: &[u8]) -> bool {
    match guard {
        Some(guard) => OUTPUT.try_put(guard, &Framed(lines)),
        None => {
            OUTPUT.put(&Framed(lines));
            true
        }
    }
}
