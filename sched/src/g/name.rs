//! A name that lies in the record.

use core::fmt;

/// Bytes of a name that a G keeps; longer names are cut at a character boundary.
pub const NAME_BYTES: usize = 31;

/// A short name, stored in the record so that a report can read it without a lock.
#[derive(Clone, Copy)]
pub struct Name {
    len: u8,
    bytes: [u8; NAME_BYTES],
}

impl Name {
    /// No name.
    pub const EMPTY: Self = Self { len: 0, bytes: [0; NAME_BYTES] };

    /// The first [`NAME_BYTES`] bytes of `s`, cut at a character boundary.
    pub fn new(s: &str) -> Self {
        let mut len = s.len().min(NAME_BYTES);
        while !s.is_char_boundary(len) {
            len -= 1;
        }
        let mut bytes = [0; NAME_BYTES];
        bytes[..len].copy_from_slice(&s.as_bytes()[..len]);
        Self { len: len as u8, bytes }
    }

    /// The name. A torn read by a report can make it invalid; then it reads as empty.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..(self.len as usize).min(NAME_BYTES)]).unwrap_or("")
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
