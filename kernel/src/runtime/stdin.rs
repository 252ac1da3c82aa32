//! Standard input: what arrives at the serial port.
//!
//! The port begins to receive with the first read, and says so to the other end by XON (Ctrl-Q), which a terminal swallows. The runner sends nothing
//! before: what comes while nobody has set up the port is lost in it.

use alloc::string::String;
use alloc::vec::Vec;

use trefoil_sched::PreemptGuard;

use crate::sync::{Mutex, MutexGuard, PoisonError};

use crate::arch::serial::{self, INPUT, Source};
use crate::{console, println};

/// Ctrl-D: the end of the input.
const END: u8 = 4;
/// Ctrl-Q: go on sending.
const XON: u8 = 0x11;

/// What arrives at the machine's serial port: what is typed, or what the runner's own standard input has. Made by [`stdin`]. As an iterator it gives
/// lines.
///
/// One goroutine reads at a time; others wait for their turn.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # trefoil::main!(example);
/// # fn example() {
/// let stdin: runtime::Stdin = runtime::stdin();
/// if let Some(line) = stdin.into_iter().next() {
///     println!("the first of all is {line:?}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Stdin(());

/// The standard input.
///
/// It ends with the byte 4 (Ctrl-D), which the runner sends when its own standard input ends; what comes after that is not read. Bytes come as
/// they are sent: nothing is echoed, and no line is edited.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # trefoil::main!(main);
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

static BUFFER: Mutex<Buffer> =
    Mutex::new(Buffer { open: false, ended: false, after_return: false, bytes: [0; 512], at: 0, len: 0 });

impl Buffer {
    /// The bytes at hand; waits until there are some. None: the input has ended.
    fn fill(&mut self) -> &[u8] {
        if !self.open {
            self.open();
        }
        while self.at == self.len && !self.ended {
            self.at = 0;
            self.len = INPUT.read(&mut self.bytes);
            serial::resume();
            if self.len == 0 {
                INPUT.wait();
            } else if let Some(end) = self.bytes[..self.len].iter().position(|&b| b == END) {
                self.ended = true;
                self.len = end;
            }
        }
        &self.bytes[self.at..self.len]
    }

    fn open(&mut self) {
        // To the end, or not at all: a reader that died in between would leave a port that nobody sets up, and a sender that waits for ever.
        let guard = PreemptGuard::new();
        let source = serial::listen();
        console::send(&[XON]);
        self.open = true;
        drop(guard);
        match source {
            Source::None => {
                self.ended = true;
                println!("trefoil: stdin: there is no serial port");
            }
            Source::Interrupt => {}
            Source::Timer(why) => println!("trefoil: stdin: {why}; looking at the serial port every millisecond"),
        }
    }
}

impl Stdin {
    fn buffer(self) -> MutexGuard<'static, Buffer> {
        // Nothing is half done where a reader can end.
        BUFFER.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is there, at least a byte and at most as many as `into` takes, and says how many; parks until there is something. 0: the input has
    /// ended (or `into` is empty).
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # trefoil::main!(example);
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
        let mut buffer = self.buffer();
        let bytes = buffer.fill();
        let n = bytes.len().min(into.len());
        into[..n].copy_from_slice(&bytes[..n]);
        buffer.at += n;
        n
    }

    /// The bytes, one by one, until the input ends. Each may park.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # trefoil::main!(example);
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

    /// How often the port lost bytes because nobody took them in time. (A sender that heeds flow control loses none.)
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # trefoil::main!(example);
    /// # fn example() {
    /// let stdin = runtime::stdin();
    /// let bytes = stdin.bytes().count();
    /// println!("{bytes} bytes came, and {} times some were lost", stdin.overruns());
    /// # }
    /// ```
    pub fn overruns(&self) -> u64 {
        serial::overruns()
    }

    /// How often the sender had to wait because the program did not read.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # trefoil::main!(example);
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

/// Lines, without what ends them: a line feed, a carriage return (what a terminal sends), or both. The last one need not be ended. What is not UTF-8 is
/// replaced by U+FFFD. Each may park; after the end of the input there are no more.
///
/// # Panics
/// If there is no memory for a line.
impl Iterator for Stdin {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let mut buffer = self.buffer();
        loop {
            let after_return = buffer.after_return;
            let bytes = buffer.fill();
            let skip = usize::from(after_return && bytes.first() == Some(&b'\n'));
            let rest = &bytes[skip..];
            let end = rest.iter().position(|&b| b == b'\n' || b == b'\r');
            line.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
            let (all, ended_by) = (bytes.len(), end.map(|end| rest[end]));
            buffer.at += skip + end.map_or(rest.len(), |end| end + 1);
            buffer.after_return = ended_by == Some(b'\r') || all == 0 && after_return;
            if ended_by.is_some() || all == 0 && !line.is_empty() {
                return Some(text(line));
            }
            if all == 0 {
                return None;
            }
        }
    }
}

/// Without a copy, if it is UTF-8.
fn text(line: Vec<u8>) -> String {
    String::from_utf8(line).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}
