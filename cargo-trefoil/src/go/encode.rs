//! The bytes of a Go execution trace: batches of events, and the tables of strings and stacks.
//!
//! ```text
//!   header    "go 1.23 trace\0\0\0"
//!   batch     1  generation  M  time  length  data            at most 64 KiB of data
//!     data    8 Hz  |  4 {5 id length bytes}  |  2 {3 id n {pc function file line}}
//!             |  {type  time since the event before  arguments}
//! ```
//!
//! All numbers are variable-length, 7 bits a byte. The trace is one generation. A unit of time is a
//! nanosecond.
//!
//! No two events have the same time. Go's reader merges the M's by time, so the reader sees the
//! events in the order in which they were written here.

use std::collections::{BTreeMap, HashMap};

/// The types of events, by Go's names.
pub mod event {
    #![expect(missing_docs, reason = "the names are Go's, and their arguments stand at their use")]
    pub const PROCS_CHANGE: u8 = 9;
    pub const PROC_START: u8 = 10;
    pub const PROC_STOP: u8 = 11;
    pub const PROC_STATUS: u8 = 13;
    pub const GO_CREATE: u8 = 14;
    pub const GO_START: u8 = 16;
    pub const GO_DESTROY: u8 = 17;
    pub const GO_STOP: u8 = 19;
    pub const GO_BLOCK: u8 = 20;
    pub const GO_UNBLOCK: u8 = 21;
    pub const GO_SYSCALL_BEGIN: u8 = 22;
    pub const GO_SYSCALL_END: u8 = 23;
    pub const GO_SYSCALL_END_BLOCKED: u8 = 24;
    pub const HEAP_ALLOC: u8 = 37;
    pub const GO_LABEL: u8 = 39;
    pub const TASK_BEGIN: u8 = 40;
    pub const TASK_END: u8 = 41;
    pub const REGION_BEGIN: u8 = 42;
    pub const REGION_END: u8 = 43;
    pub const USER_LOG: u8 = 44;
    pub const GO_STATUS_STACK: u8 = 48;
}

const HEADER: &[u8; 16] = b"go 1.23 trace\0\0\0";

const BATCH: u8 = 1;
const STACKS: u8 = 2;
const STACK: u8 = 3;
const STRINGS: u8 = 4;
const STRING: u8 = 5;
const FREQUENCY: u8 = 8;

const GENERATION: u64 = 1;
/// The M of the tables' batches: none.
const NO_THREAD: u64 = u64::MAX;
/// The data of a batch: at most 64 KiB, of which an event may need the last hundred bytes.
const BATCH_BYTES: usize = (64 << 10) - 100;
const STRING_BYTES: usize = 1024;
const STACK_FRAMES: usize = 128;

/// A frame of a stack: a function and the place in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Frame {
    /// The function's name.
    pub function: String,
    /// The source file.
    pub file: String,
    /// The line.
    pub line: u32,
}

/// The number of a string in the table; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Text(u64);

/// The number of a stack in the table; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stack(u64);

impl From<Text> for u64 {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl From<Stack> for u64 {
    fn from(stack: Stack) -> Self {
        stack.0
    }
}

/// Writes a trace.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The batches that are full, in the order of the file.
    done: Vec<u8>,
    threads: BTreeMap<u64, Batch>,
    strings: HashMap<String, u64>,
    /// The entries of the tables, one after another.
    string_bytes: Vec<Vec<u8>>,
    stack_bytes: Vec<Vec<u8>>,
    frames: HashMap<Frame, u64>,
    stacks: HashMap<Vec<u64>, Stack>,
    first: Option<u64>,
    last: u64,
}

/// The batch of an M that grows.
#[derive(Debug, Default)]
struct Batch {
    time: u64,
    last: u64,
    data: Vec<u8>,
}

impl Encoder {
    /// Creates an empty trace.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of a string. Text that is too long for Go is cut.
    pub fn text(&mut self, text: &str) -> Text {
        let text = &text[..text.floor_char_boundary(STRING_BYTES)];
        if text.is_empty() {
            return Text(0);
        }
        if let Some(&id) = self.strings.get(text) {
            return Text(id);
        }
        let id = self.strings.len() as u64 + 1;
        self.strings.insert(text.into(), id);
        let mut entry = vec![STRING];
        numbers(&mut entry, &[id, text.len() as u64]);
        entry.extend_from_slice(text.as_bytes());
        self.string_bytes.push(entry);
        Text(id)
    }

    /// Returns the number of a stack, its innermost frame first. The outermost frames stay if it is
    /// too long for Go: they name the goroutine.
    pub fn stack(&mut self, frames: &[Frame]) -> Stack {
        let frames = &frames[frames.len().saturating_sub(STACK_FRAMES)..];
        if frames.is_empty() {
            return Stack(0);
        }
        let pcs: Vec<u64> = frames.iter().map(|frame| self.pc(frame)).collect();
        if let Some(&stack) = self.stacks.get(&pcs) {
            return stack;
        }
        let id = self.stacks.len() as u64 + 1;
        let mut entry = vec![STACK];
        numbers(&mut entry, &[id, frames.len() as u64]);
        for (frame, &pc) in frames.iter().zip(&pcs) {
            // A frame must have strings, even if they are empty.
            let function = self.text(or_unknown(&frame.function));
            let file = self.text(or_unknown(&frame.file));
            numbers(&mut entry, &[pc, function.0, file.0, frame.line.into()]);
        }
        self.stack_bytes.push(entry);
        self.stacks.insert(pcs, Stack(id));
        Stack(id)
    }

    /// Returns a stand-in for the address of a frame. Go's tables have one frame an address, and
    /// inlined functions share theirs, so each frame has a number of its own.
    fn pc(&mut self, frame: &Frame) -> u64 {
        if let Some(&pc) = self.frames.get(frame) {
            return pc;
        }
        let pc = self.frames.len() as u64 + 1;
        self.frames.insert(frame.clone(), pc);
        pc
    }

    /// Writes an event of M `thread`, at `time` in nanoseconds, or right after the event before if
    /// that was later.
    pub fn event(&mut self, thread: u64, time: u64, kind: u8, arguments: &[u64]) {
        let time = time.max(self.last.saturating_add(1));
        self.last = time;
        self.first.get_or_insert(time);
        let batch = self.threads.entry(thread).or_default();
        if batch.data.len() > BATCH_BYTES {
            write_batch(&mut self.done, thread, batch.time, &batch.data);
            batch.data.clear();
        }
        if batch.data.is_empty() {
            (batch.time, batch.last) = (time, time);
        }
        batch.data.push(kind);
        numbers(&mut batch.data, &[time - batch.last]);
        numbers(&mut batch.data, arguments);
        batch.last = time;
    }

    /// Returns the time of the event that was written last.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns the trace.
    pub fn finish(mut self) -> Vec<u8> {
        for (&thread, batch) in self.threads.iter().filter(|(_, batch)| !batch.data.is_empty()) {
            write_batch(&mut self.done, thread, batch.time, &batch.data);
        }
        // The earliest batch is the begin of the trace.
        let first = self.first.unwrap_or(1);
        let mut file = HEADER.to_vec();
        let mut frequency = vec![FREQUENCY];
        numbers(&mut frequency, &[1_000_000_000]);
        write_batch(&mut file, NO_THREAD, first, &frequency);
        file.append(&mut self.done);
        write_table(&mut file, first, STACKS, &self.stack_bytes);
        write_table(&mut file, first, STRINGS, &self.string_bytes);
        file
    }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "?" } else { text }
}

/// Appends variable-length numbers.
fn numbers(to: &mut Vec<u8>, all: &[u64]) {
    for &number in all {
        let mut rest = number;
        while rest >= 0x80 {
            to.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        to.push(rest as u8);
    }
}

fn write_batch(to: &mut Vec<u8>, thread: u64, time: u64, data: &[u8]) {
    to.push(BATCH);
    numbers(to, &[GENERATION, thread, time, data.len() as u64]);
    to.extend_from_slice(data);
}

/// Writes the entries of a table in as many batches as they need.
fn write_table(to: &mut Vec<u8>, time: u64, kind: u8, entries: &[Vec<u8>]) {
    let mut data = vec![kind];
    for entry in entries {
        if data.len() + entry.len() > BATCH_BYTES {
            write_batch(to, NO_THREAD, time, &data);
            data.truncate(1);
        }
        data.extend_from_slice(entry);
    }
    if data.len() > 1 {
        write_batch(to, NO_THREAD, time, &data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_seven_bits_a_byte() {
        let mut bytes = Vec::new();
        numbers(&mut bytes, &[0, 127, 128, 300, u64::MAX]);
        let mut wanted = vec![0, 127, 0x80, 1, 0xac, 2];
        wanted.extend([0xff; 9]);
        wanted.push(1);
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn equal_strings_and_stacks_are_one() {
        let mut encoder = Encoder::new();
        assert_eq!(encoder.text("a"), encoder.text("a"));
        assert_ne!(encoder.text("a"), encoder.text("b"));
        assert_eq!(encoder.text(""), Text(0));
        let frame = |line| Frame { function: "f".into(), file: "f.rs".into(), line };
        assert_eq!(encoder.stack(&[frame(1), frame(2)]), encoder.stack(&[frame(1), frame(2)]));
        assert_ne!(encoder.stack(&[frame(1)]), encoder.stack(&[frame(2)]));
        assert_eq!(encoder.stack(&[]), Stack(0));
    }

    #[test]
    fn a_long_string_is_cut_between_characters() {
        let mut encoder = Encoder::new();
        encoder.text(&format!("{}é", "x".repeat(STRING_BYTES - 1)));
        assert_eq!(encoder.string_bytes[0].len(), 1 + 1 + 2 + STRING_BYTES - 1);
    }

    #[test]
    fn times_grow() {
        let mut encoder = Encoder::new();
        encoder.event(1, 10, event::PROC_STOP, &[]);
        encoder.event(2, 10, event::PROC_STOP, &[]);
        encoder.event(1, 5, event::PROC_STOP, &[]);
        assert_eq!(encoder.last(), 12);
        assert_eq!(encoder.threads[&1].data, [event::PROC_STOP, 0, event::PROC_STOP, 2]);
    }

    #[test]
    fn a_batch_is_at_most_64_kib() {
        let mut encoder = Encoder::new();
        for time in 1..40_000 {
            encoder.event(0, time, event::GO_STATUS_STACK, &[u64::MAX, u64::MAX, u64::MAX, u64::MAX]);
        }
        let bytes = encoder.finish();
        // Header, frequency, and the batches one after another.
        let mut rest = &bytes[HEADER.len()..];
        let mut events = 0;
        while let Some((&first, more)) = rest.split_first() {
            assert_eq!(first, BATCH);
            rest = more;
            let [generation, _, _, length] = std::array::from_fn(|_| number(&mut rest));
            assert_eq!(generation, GENERATION);
            assert!(length <= 64 << 10);
            events += usize::from(rest[0] == event::GO_STATUS_STACK) * length as usize / 42;
            rest = &rest[length as usize..];
        }
        assert_eq!(events, 39_999);
    }

    fn number(bytes: &mut &[u8]) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return number;
            }
        }
    }
}
