//! The input of a machine: this process's standard input, or bytes that a test wants typed.
//!
//! A thread sends the input. The thread sends nothing before the machine has asked, by XON: until
//! the port is set up, bytes are lost in it. At the end it sends Ctrl-D, since a serial line has no
//! end of its own. A terminal is raw from the time at which the machine asks ([`Terminal`]).

use std::io::{ErrorKind, Read, Write};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::qemu::Stdin;
use crate::terminal::Terminal;

/// Ctrl-Q: the machine wants to read.
pub const XON: u8 = 0x11;
/// Ctrl-D: there is no more.
const END: u8 = 4;
/// Ten bits at 115,200 baud.
const BYTE: Duration = Duration::from_nanos(86_806);

/// The way into a machine.
pub struct Feed {
    source: Stdin,
    asked: (Sender<()>, Option<Receiver<()>>),
    terminal: Option<Terminal>,
}

impl Feed {
    /// Creates a feed from `source`.
    pub fn new(source: &Stdin) -> Self {
        let terminal = matches!(source, Stdin::Inherit).then(Terminal::find).flatten();
        let (begin, asked) = channel();
        Self { source: source.clone(), asked: (begin, Some(asked)), terminal }
    }

    /// Returns the standard input for the machine's process.
    pub fn stdio(&self) -> Stdio {
        match self.source {
            Stdin::Nothing => Stdio::null(),
            _ => Stdio::piped(),
        }
    }

    /// Starts the thread that feeds `pipe`, the machine's end.
    pub fn connect(&mut self, pipe: Option<ChildStdin>) {
        let (Some(mut pipe), Some(asked)) = (pipe, self.asked.1.take()) else { return };
        let source = self.source.clone();
        // Typed text may end in the middle of a line, which the first Ctrl-D hands over.
        let end = if self.terminal.is_some() { &[END, END][..] } else { &[END] };
        // The thread ends when the machine does: with the pipe, or with this feed.
        std::thread::spawn(move || {
            if asked.recv().is_err() {
                return;
            }
            let sent = match source {
                Stdin::Nothing => return,
                Stdin::Inherit => copy(&mut std::io::stdin().lock(), &mut pipe),
                Stdin::Bytes(bytes, after) => {
                    std::thread::sleep(after);
                    pipe.write_all(&bytes)
                }
                Stdin::Paced(bytes) => bytes.chunks(14).try_for_each(|piece| {
                    std::thread::sleep(BYTE * piece.len() as u32);
                    pipe.write_all(piece)
                }),
            };
            if sent.and_then(|()| pipe.write_all(end)).is_ok() {
                // A closed pipe would be no news to the machine; an open one is none to us.
                let _ = asked.recv_timeout(Duration::from_secs(u32::MAX.into()));
            }
        });
    }

    /// Lets the input begin: the machine has asked.
    pub fn begin(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.make_raw();
        }
        // A feed that has ended wants nothing.
        let _ = self.asked.0.send(());
    }

    /// Returns true if a person types, and sees what the machine sends.
    pub fn is_typed(&self) -> bool {
        self.terminal.as_ref().is_some_and(Terminal::is_raw)
    }
}

/// Copies bytes as they come, not as a buffer fills. An input that can't be read has ended.
fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return Ok(()),
            Ok(n) => to.write_all(&buffer[..n])?,
        }
    }
}
