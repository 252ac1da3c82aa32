//! The packets of gdb's remote protocol: `$data#checksum`, with `+` as the receipt of each.

use std::io::{self, Read, Write};

/// Ctrl-C on the line: no packet, and without a receipt.
pub const BREAK: u8 = 3;

/// A packet, or Ctrl-C.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// The bytes between `$` and `#`, escapes and all.
    Data(Vec<u8>),
    /// Ctrl-C.
    Break,
}

/// The end of a connection from which packets come.
#[derive(Debug)]
pub struct Packets<R> {
    from: R,
    buffer: Vec<u8>,
    at: usize,
}

impl<R: Read> Packets<R> {
    /// Reads packets from `from`.
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), at: 0 }
    }

    fn byte(&mut self) -> io::Result<u8> {
        if self.at == self.buffer.len() {
            self.buffer.resize(64 << 10, 0);
            let read = self.from.read(&mut self.buffer)?;
            self.buffer.truncate(read);
            self.at = 0;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.at += 1;
        Ok(self.buffer[self.at - 1])
    }

    /// Returns the next packet, and sends its receipt on `back`. Receipts that come are dropped:
    /// the line is a socket and loses nothing.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn next(&mut self, back: &mut impl Write) -> io::Result<Packet> {
        loop {
            match self.byte()? {
                BREAK => return Ok(Packet::Break),
                b'$' => break,
                _ => {}
            }
        }
        let mut data = Vec::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => data.push(byte),
            }
        }
        // The checksum's two digits.
        self.byte()?;
        self.byte()?;
        back.write_all(b"+")?;
        Ok(Packet::Data(data))
    }
}

/// Sends a packet.
///
/// # Errors
/// The connection has ended.
pub fn send(to: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let sum = data.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
    let mut packet = Vec::with_capacity(data.len() + 4);
    packet.push(b'$');
    packet.extend_from_slice(data);
    write!(packet, "#{sum:02x}")?;
    to.write_all(&packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_one_by_one_and_each_has_its_receipt() {
        let line: &[u8] = b"+$qA#b2+\x03$m10,4#8e";
        let (mut packets, mut back) = (Packets::new(line), Vec::new());
        assert_eq!(packets.next(&mut back).unwrap(), Packet::Data(b"qA".into()));
        assert_eq!(packets.next(&mut back).unwrap(), Packet::Break);
        assert_eq!(packets.next(&mut back).unwrap(), Packet::Data(b"m10,4".into()));
        assert_eq!(back, b"++");
        assert!(packets.next(&mut back).is_err());
    }

    #[test]
    fn a_packet_has_its_checksum() {
        let mut line = Vec::new();
        send(&mut line, b"OK").unwrap();
        assert_eq!(line, b"$OK#9a");
    }
}
