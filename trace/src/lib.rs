//! The format of a trace: the records that the scheduler writes, and the sections of a trace file.
//!
//! ```text
//!   .trefoil file   "TREFOIL TRACE 1\n"  section  section  …  section TEND
//!   section         tag (4 bytes)  index (u32)  length (u64)  payload
//!
//!     META          lines of text: the machine, its clock, its counters (see below)
//!     RING i        the records of M number i: u64 the number of the first, then 32 bytes each
//!     GTAB          the goroutines that live when the trace is dumped: 64 bytes each (`Row`)
//!     SYMS          functions, files and lines of addresses; added by the host
//!     TEND          u64: the bytes of the file in front of this section
//!
//!   record          word 0   the time-stamp counter
//!                   word 1   kind (8 bits)  p (8)  how (8)  place (8)  n (32)
//!                   word 2   a     mostly the number of a goroutine
//!                   word 3   b
//! ```
//!
//! All numbers are little-endian. A record is a *decision of one M*, in the order in which the M
//! made its decisions. (An interrupt handler may write between two records of the code that it
//! interrupts, with an earlier time: the order by time is the true one.) [`Kind`] says what `how`,
//! `place`, `n`, `a` and `b` are for each decision.
//!
//! # How the queues follow from the records
//!
//! A reader can replay the queues of every P. The scheduler moves a goroutine *silently*, without
//! a record of its own, in these cases only:
//!
//! * A record that puts a goroutine into a **slot** ([`Place::Slot`]) moves the goroutine that
//!   stood there to the end of the ring of the same P.
//! * A [`Kind::Switch`] with [`Why::YIELD`] puts the goroutine that leaves at the end of the ring.
//! * A [`Kind::Switch`] takes the goroutine that comes from its [`Place`].
//! * A [`Kind::Overflow`] follows the record of the goroutine that found the ring full.
//! * A thief removes the oldest `n` goroutines of its victim's ring, puts all but the last into its
//!   own ring, and runs the last.
//!
//! Two M's may touch one ring at the same time. Their records then carry times that are a little
//! apart from the moment of the change. A reader that finds a goroutine run from the middle of a
//! ring looks ahead for the thief's record that took the ones before it.
//!
//! # The lines of META
//!
//! Each line is a key and its values, separated by spaces:
//!
//! | line | meaning |
//! |---|---|
//! | `mode full` or `mode flight` | the first records were kept, or the last |
//! | `cause WORD` | of the dump: exit, panic, deadlock, snapshot, latency |
//! | `cores N`, `procs N`, `seed N` | the machine and its scheduler |
//! | `clock I BASE_TICKS BASE_NS SCALE` | nanoseconds are `BASE_NS + ((ticks − BASE_TICKS) × SCALE >> 32)` |
//! | `clock-switch TICKS` | from there on clock 1 holds |
//! | `begin TICKS`, `now TICKS` | the recorder's begin, and the dump |
//! | `image ADDRESS` | the lowest address of the image: it gives the upper half of code addresses |
//! | `reason N TEXT` | a value of [`Why`] |
//! | `m I counted N capacity N runs N …` | counters of M number I, by name |
//! | `ready I N` | bucket I of the kernel's ready-to-run times: N waits of 2^(I−1) to 2^I − 1 ns |
//! | `option WORD` | a word of the command line |

#![no_std]

mod kind;
mod record;

pub use kind::{Kind, Place, Why};
pub use record::{RECORD_BYTES, ROW_BYTES, Record, Row};

/// The first bytes of a trace file.
pub const MAGIC: [u8; 16] = *b"TREFOIL TRACE 1\n";

/// The bytes of a section's head: tag, index, length.
pub const HEAD_BYTES: usize = 16;

/// The tags of the sections.
pub mod tag {
    /// Lines of text about the machine.
    pub const META: [u8; 4] = *b"META";
    /// The records of one M.
    pub const RING: [u8; 4] = *b"RING";
    /// The goroutines that live at the dump.
    pub const GTAB: [u8; 4] = *b"GTAB";
    /// Functions, files and lines.
    pub const SYMS: [u8; 4] = *b"SYMS";
    /// The end.
    pub const TEND: [u8; 4] = *b"TEND";
}

/// Lays out the head of a section.
///
/// ```
/// let head = trefoil_trace::head(trefoil_trace::tag::RING, 3, 40);
/// assert_eq!(head, *b"RING\x03\0\0\0\x28\0\0\0\0\0\0\0");
/// ```
pub fn head(tag: [u8; 4], index: u32, length: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&tag);
    head[4..8].copy_from_slice(&index.to_le_bytes());
    head[8..].copy_from_slice(&length.to_le_bytes());
    head
}
