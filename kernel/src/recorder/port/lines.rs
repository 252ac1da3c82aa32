//! Traces as lines of text, for a machine that has a serial port only.

use base64ct::{Base64, Encoding};

use super::Send;

/// Begins each line. The runner knows it: `cargo-trefoil/src/trace_port.rs`.
const PREFIX: &[u8] = b"trefoil-trace: ";
/// Bytes of a line, before they become text.
const BYTES: usize = 192;
const LINE: usize = PREFIX.len() + BYTES / 3 * 4 + 1;

/// Sends `bytes` as lines.
pub fn send(bytes: &[u8], send: Send) {
    let mut line = [0; LINE];
    line[..PREFIX.len()].copy_from_slice(PREFIX);
    for part in bytes.chunks(BYTES) {
        let Ok(text) = Base64::encode(part, &mut line[PREFIX.len()..LINE - 1]) else { return };
        let end = PREFIX.len() + text.len();
        line[end] = b'\n';
        send(&line[..=end]);
    }
}
