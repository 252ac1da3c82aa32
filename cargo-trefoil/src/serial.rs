//! A machine's serial line on its way to a person: with the names of backtraces, without XON, and
//! without the lines of a recorded run.

use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};
use std::process::ChildStdout;
use std::time::Duration;

use crate::feed::XON;
use crate::trace_port::Lines;
use crate::traces::Traces;

/// How long a trace is held back for its next line.
const HOLD: Duration = Duration::from_millis(100);

/// Copies `serial` by `show`, to its end. Calls `asks` when the machine asks for input. The lines
/// of a recorded run go to `recorded`.
pub fn copy(
    mut serial: ChildStdout,
    mut traces: Traces,
    mut recorded: Option<Lines>,
    mut asks: impl FnMut(),
    mut show: impl FnMut(&[u8]),
) {
    let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        // More of a trace may be on its way.
        if traces.is_held() && !has_bytes(serial.as_raw_fd(), HOLD) {
            show(&traces.end());
        }
        let Ok(n @ 1..) = serial.read(&mut buffer) else { break };
        for &byte in &buffer[..n] {
            match byte {
                XON => asks(),
                b'\n' => {
                    match recorded.as_mut().and_then(|recorded| recorded.take(&line)) {
                        Some(rest) => show(rest),
                        None => show(&traces.line(&line)),
                    }
                    line.clear();
                }
                _ => line.push(byte),
            }
        }
        // An unfinished line is shown as it grows, unless it may get an explanation.
        let is_held = Traces::may_change(&line) || recorded.is_some() && Lines::may_take(&line);
        if !line.is_empty() && !is_held {
            show(&traces.end());
            show(&line);
            line.clear();
        }
    }
    show(&traces.end());
    show(&line);
}

/// Returns true if there is something to read from `file`, or its end, within `limit`.
fn has_bytes(file: RawFd, limit: Duration) -> bool {
    let mut asked = libc::pollfd { fd: file, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which lives until the call returns.
    unsafe { libc::poll(&mut asked, 1, limit.as_millis() as libc::c_int) != 0 }
}
