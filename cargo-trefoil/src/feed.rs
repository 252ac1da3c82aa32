//! The input of a machine: this process's standard input, or bytes that a test wants typed.
//!
//! QEMU itself reads a terminal, byte by byte as it is typed on. The terminal is put back as it was
//! when the machine has ended, however that went. A thread sends any other input. The thread sends
//! nothing before the machine has asked, by XON: until the port is set up, bytes are lost in it. At
//! the end it sends Ctrl-D, since a serial line has no end of its own.

use std::io::{IsTerminal, Read, Write};
use std::mem::MaybeUninit;
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::qemu::Stdin;

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
    /// Puts the terminal back.
    _terminal: Option<Terminal>,
}

impl Feed {
    /// Creates a feed from `source`.
    pub fn new(source: &Stdin) -> Self {
        let terminal = match source {
            Stdin::Inherit if std::io::stdin().is_terminal() => Terminal::now(),
            _ => None,
        };
        let (begin, asked) = channel();
        Self { source: source.clone(), asked: (begin, Some(asked)), _terminal: terminal }
    }

    /// Returns the standard input for the machine's process.
    pub fn stdio(&self) -> Stdio {
        match self.source {
            Stdin::Nothing => Stdio::null(),
            Stdin::Inherit if self._terminal.is_some() => Stdio::inherit(),
            _ => Stdio::piped(),
        }
    }

    /// Starts the thread that feeds `pipe`, the machine's end.
    pub fn connect(&mut self, pipe: Option<ChildStdin>) {
        let (Some(mut pipe), Some(asked)) = (pipe, self.asked.1.take()) else { return };
        let source = self.source.clone();
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
            if sent.and_then(|()| pipe.write_all(&[END])).is_ok() {
                // A closed pipe would be no news to the machine; an open one is none to us.
                let _ = asked.recv_timeout(Duration::from_secs(u32::MAX.into()));
            }
        });
    }

    /// Lets the input begin: the machine has asked.
    pub fn begin(&self) {
        // A feed that has ended wants nothing.
        let _ = self.asked.0.send(());
    }
}

/// Copies bytes as they come, not as a buffer fills.
fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}

/// How the terminal was.
struct Terminal(libc::termios);

impl Terminal {
    fn now() -> Option<Self> {
        let mut it = MaybeUninit::uninit();
        // SAFETY: `tcgetattr` fills `it` if it returns 0.
        unsafe {
            if libc::tcgetattr(0, it.as_mut_ptr()) != 0 {
                return None;
            }
            Some(Self(it.assume_init()))
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // SAFETY: puts back what `now` has read.
        unsafe { libc::tcsetattr(0, libc::TCSANOW, &self.0) };
    }
}
