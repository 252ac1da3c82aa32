//! Standard input: the bytes from the serial port; lines, if a person types them.
//!
//! `buffer.rs` has the bytes, and the state that survives the death of a reader.

use alloc::string::{FromUtf8Error, String};
use alloc::vec::Vec;

use crate::arch::serial::{self, INPUT};

use buffer::{Piece, Reading};

mod buffer;

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
/// Bytes come as they are sent, and the input ends with the byte 4 (Ctrl-D), which the runner sends
/// when its own standard input ends. Later bytes are not read.
///
/// **At a terminal** (`stdin=terminal` on the kernel's command line; the runner says so when its
/// own standard input is one) a person types lines. Each line is echoed while a goroutine reads,
/// and reaches the program with Enter. Backspace erases a character, Ctrl-W a word, Ctrl-U the
/// line. Ctrl-D ends the input on an empty line; on another it hands over what is typed so far. A
/// line takes 1023 bytes. Lines that other goroutines print meanwhile come above the typed one.
///
/// The unfinished line of the reading goroutine, up to 128 bytes, is shown as a prompt before the
/// typed one:
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// print!("your name? ");
/// if let Some(name) = runtime::stdin().next() {
///     println!("Hello, {name}!");
/// }
/// for line in runtime::stdin() {
///     println!("you said {line:?}");
/// }
/// # }
/// ```
pub fn stdin() -> Stdin {
    Stdin(())
}

/// Every byte goes to the program as it is typed, unchanged, until this value is dropped. Made by
/// [`Stdin::raw`].
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// struct Game {
///     _keys: runtime::Raw, // as long as the game goes on
/// }
/// let game = Game { _keys: runtime::stdin().raw() };
/// println!("{:?}", runtime::stdin().bytes().next());
/// drop(game);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the terminal is raw as long as this value lives"]
pub struct Raw(());

impl Drop for Raw {
    fn drop(&mut self) {
        buffer::set_raw(false);
    }
}

impl Stdin {
    /// Makes the terminal raw as long as the returned value lives, or another one of its kind: each
    /// byte can be read as soon as it is typed. Nothing is echoed or edited, and Ctrl-D is a byte
    /// like others. Enter is a carriage return, and keys without a character send escape sequences.
    /// (Ctrl-C and Ctrl-Z are still the runner's.)
    ///
    /// Typed bytes that were not read yet are raw from then on. A half-typed line is handed over.
    /// An input that is no terminal does not change: its bytes are never edited.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// println!("press a key");
    /// let raw = runtime::stdin().raw();
    /// let key = runtime::stdin().bytes().next();
    /// drop(raw); // lines again
    /// println!("it sends {key:?} first");
    /// # }
    /// ```
    pub fn raw(&self) -> Raw {
        buffer::set_raw(true);
        Raw(())
    }

    /// Reads a line and appends it to `into`. Parks until it is there. Returns the number of
    /// appended bytes; 0: the input has ended. The line ends with a line feed, even if the sender
    /// ends it with a carriage return, or with both. The last line may lack an end.
    ///
    /// # Errors
    /// The line is not UTF-8. The error has its bytes, and `into` is as it was.
    ///
    /// # Panics
    /// If there is no memory for the line.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// let mut answer = String::new();
    /// print!("how many? ");
    /// match runtime::stdin().read_line(&mut answer) {
    ///     Ok(0) => println!("nobody answers"),
    ///     Ok(_) => println!("{} it is", answer.trim_end()),
    ///     Err(e) => println!("{e}: {:?}", e.as_bytes()),
    /// }
    /// # }
    /// ```
    pub fn read_line(&self, into: &mut String) -> Result<usize, FromUtf8Error> {
        let Some((mut line, has_end)) = line() else { return Ok(0) };
        if has_end {
            line.push(b'\n');
        }
        let line = String::from_utf8(line)?;
        into.push_str(&line);
        Ok(line.len())
    }

    /// Reads at least one byte and at most as many as `into` takes, and returns how many. Parks
    /// until there is a byte; at a terminal, until there is a line. 0: the input has ended (or
    /// `into` is empty).
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
        Reading::begin().read(into)
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
        line().map(|(line, _)| text(line))
    }
}

/// Reads a line without its end. True: it had one. `None`: the input has ended.
fn line() -> Option<(Vec<u8>, bool)> {
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
            buffer.take(skip + len + usize::from(ended_by.is_some()));
            buffer.after_return = ended_by == Some(b'\r') || all == 0 && buffer.after_return;
            all
        });
        if ended_by.is_some() || all == 0 && !line.is_empty() {
            return Some((line, ended_by.is_some()));
        }
        if all == 0 {
            return None;
        }
        reading.wait();
    }
}

/// Makes a string of `line`, without a copy if it is UTF-8.
fn text(line: Vec<u8>) -> String {
    String::from_utf8(line).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}
