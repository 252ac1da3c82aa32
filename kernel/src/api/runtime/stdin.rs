//! Standard input: the bytes from the serial port.
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

use alloc::string::String;
use alloc::vec::Vec;

use trefoil_sched::PreemptGuard;
use trefoil_sched::internals::spin::SpinLock;

use trefoil_sched::locks::{Turn, TurnGuard};

use crate::api::console;
use crate::arch::serial::{self, INPUT, Source};
use crate::println;

/// Ctrl-D: the end of the input.
const END: u8 = 4;
/// Ctrl-Q: go on sending.
const XON: u8 = 0x11;

/// The bytes from the machine's serial port: typed text, or the runner's own standard input. Made
/// by [`stdin`]. As an iterator it gives lines.
///
/// One goroutine reads at a time; others wait for their turn. If one dies while it reads
/// (`docs/sync.md`), the bytes that it has taken are lost with it, and the next one reads on.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// let stdin: runtime::Stdin = runtime::stdin();
/// if let Some(line) = stdin.into_iter().next() {
///     println!("the first of all is {line:?}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Stdin(());

/// Returns the standard input.
///
/// The input ends with the byte 4 (Ctrl-D), which the runner sends when its own standard input
/// ends. Later bytes are not read. Bytes come as they are sent: nothing is echoed, and no line is
/// edited.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// for line in runtime::stdin() {
///     println!("you said {line:?}");
/// }
/// # }
/// ```
pub fn stdin() -> Stdin {
    Stdin(())
}

/// Bytes that were taken out of the ring and not read yet.
#[derive(Debug)]
struct Buffer {
    open: bool,
    ended: bool,
    /// The last line ended with a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    bytes: [u8; 512],
    at: usize,
    len: usize,
}

static BUFFER: SpinLock<Buffer> =
    SpinLock::new(Buffer { open: false, ended: false, after_return: false, bytes: [0; 512], at: 0, len: 0 });

/// The turn to read.
static TURN: Turn = Turn::new();

/// A piece of a line in the buffer.
struct Piece {
    /// A line feed that belongs to the line before.
    skip: usize,
    len: usize,
    ended_by: Option<u8>,
}

impl Buffer {
    fn open(&mut self) -> Option<Source> {
        if self.open {
            return None;
        }
        self.open = true;
        let source = serial::listen();
        console::send(&[XON]);
        self.ended = matches!(source, Source::None);
        Some(source)
    }

    /// Takes bytes out of the ring if there are none at hand. Returns false if there are none at
    /// all.
    fn fill(&mut self) -> bool {
        if self.at == self.len && !self.ended {
            self.at = 0;
            self.len = INPUT.read(&mut self.bytes);
            serial::resume();
            if let Some(end) = self.bytes[..self.len].iter().position(|&b| b == END) {
                self.ended = true;
                self.len = end;
            }
        }
        self.at < self.len || self.ended
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.at..self.len]
    }

    fn piece(&self) -> Piece {
        let skip = usize::from(self.after_return && self.bytes().first() == Some(&b'\n'));
        let rest = &self.bytes()[skip..];
        let end = rest.iter().position(|&b| b == b'\n' || b == b'\r');
        Piece { skip, len: end.unwrap_or(rest.len()), ended_by: end.map(|end| rest[end]) }
    }
}

/// The caller's turn to read.
struct Reading(#[expect(dead_code, reason = "it is dropped")] TurnGuard<'static>);

impl Reading {
    /// Waits for the turn, and for the first byte or the end of the input.
    fn begin() -> Self {
        let reading = Self(TURN.take());
        match reading.with(Buffer::open) {
            None | Some(Source::Interrupt) => {}
            Some(Source::None) => println!("trefoil: stdin: there is no serial port"),
            Some(Source::Timer(why)) => {
                println!("trefoil: stdin: {why}; looking at the serial port every millisecond");
            }
        }
        reading.wait();
        reading
    }

    /// Runs `f` under the spin lock. No G dies in `f`, which is short.
    fn with<R>(&self, f: impl FnOnce(&mut Buffer) -> R) -> R {
        f(&mut BUFFER.lock(&PreemptGuard::new()))
    }

    /// Waits until there are bytes, or the input has ended.
    fn wait(&self) {
        while !self.with(Buffer::fill) {
            INPUT.wait();
        }
    }
}

impl Stdin {
    /// Reads at least one byte and at most as many as `into` takes, and returns how many. Parks
    /// until there is a byte. 0: the input has ended (or `into` is empty).
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// let mut some = [0; 16];
    /// let n = runtime::stdin().read(&mut some);
    /// println!("{n} bytes: {:?}", &some[..n]);
    /// # }
    /// ```
    pub fn read(&self, into: &mut [u8]) -> usize {
        if into.is_empty() {
            return 0;
        }
        Reading::begin().with(|buffer| {
            let n = buffer.bytes().len().min(into.len());
            into[..n].copy_from_slice(&buffer.bytes()[..n]);
            buffer.at += n;
            n
        })
    }

    /// Returns the bytes, one by one, until the input ends. Each may park.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// let lines = runtime::stdin().bytes().filter(|&byte| byte == b'\n').count();
    /// println!("{lines} lines");
    /// # }
    /// ```
    pub fn bytes(self) -> impl Iterator<Item = u8> {
        core::iter::from_fn(move || {
            let mut byte = [0];
            (self.read(&mut byte) == 1).then_some(byte[0])
        })
    }

    /// Returns how often the port lost bytes because the reader was too slow. (A sender that heeds
    /// flow control loses none.)
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// let stdin = runtime::stdin();
    /// let bytes = stdin.bytes().count();
    /// println!("{bytes} bytes came, and {} times some were lost", stdin.overruns());
    /// # }
    /// ```
    pub fn overruns(&self) -> u64 {
        serial::overruns()
    }

    /// Returns how often the sender had to wait because the program did not read.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// let stdin = runtime::stdin();
    /// stdin.bytes().for_each(drop);
    /// println!("it had to wait {} times", stdin.pauses());
    /// # }
    /// ```
    pub fn pauses(&self) -> u64 {
        INPUT.pauses()
    }
}

/// Iterates over lines, without their ends: a line feed, a carriage return (a terminal sends one),
/// or both. The last line may lack an end. Bytes that are not UTF-8 become U+FFFD. Each call may
/// park; after the end of the input there are no more lines.
///
/// # Panics
/// If there is no memory for a line.
impl Iterator for Stdin {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let reading = Reading::begin();
        loop {
            // Memory comes before the lock. The caller has the turn, so the piece does not change
            // meanwhile.
            let Piece { skip, len, ended_by } = reading.with(|buffer| buffer.piece());
            line.reserve(len);
            let all = reading.with(|buffer| {
                let all = buffer.bytes().len();
                line.extend_from_slice(&buffer.bytes()[skip..skip + len]);
                buffer.at += skip + len + usize::from(ended_by.is_some());
                buffer.after_return = ended_by == Some(b'\r') || all == 0 && buffer.after_return;
                all
            });
            if ended_by.is_some() || all == 0 && !line.is_empty() {
                return Some(text(line));
            }
            if all == 0 {
                return None;
            }
            reading.wait();
        }
    }
}

/// Makes a string of `line`, without a copy if it is UTF-8.
fn text(line: Vec<u8>) -> String {
    String::from_utf8(line).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}
