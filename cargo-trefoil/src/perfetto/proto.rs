//! The messages of a Perfetto trace, with the fields that an export fills in.
//!
//! A trace is a list of packets. Numbers and types are those of `perfetto_trace.proto`; a field
//! that is missing here is empty.

use prost::Message;

/// One entry of a trace.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Packet {
    #[prost(message, optional, tag = "1")]
    pub(super) ftrace: Option<Bundle>,
    /// Nanoseconds since the machine's start.
    #[prost(uint64, optional, tag = "8")]
    pub(super) timestamp: Option<u64>,
    /// The writer: interned names are its own.
    #[prost(uint32, optional, tag = "10")]
    pub(super) sequence: Option<u32>,
    #[prost(message, optional, tag = "11")]
    pub(super) event: Option<TrackEvent>,
    #[prost(message, optional, tag = "12")]
    pub(super) interned: Option<Interned>,
    #[prost(uint32, optional, tag = "13")]
    pub(super) flags: Option<u32>,
    #[prost(message, optional, tag = "60")]
    pub(super) track: Option<Track>,
}

impl Packet {
    /// In `flags`: names of this sequence that came before are void.
    pub(super) const CLEARED: u32 = 1;
    /// In `flags`: this packet uses interned names.
    pub(super) const NEEDS_NAMES: u32 = 2;

    /// Appends the packet to a trace.
    pub(super) fn push_to(&self, trace: &mut Vec<u8>) {
        // Field 1 of the trace, with a length in front.
        trace.push(1 << 3 | 2);
        self.encode_length_delimited(trace).expect("a Vec has room");
    }
}

/// The events of one core, as Linux's ftrace tells them.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Bundle {
    #[prost(uint32, optional, tag = "1")]
    pub(super) cpu: Option<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(super) events: Vec<FtraceEvent>,
    #[prost(message, optional, tag = "4")]
    pub(super) compact: Option<CompactSched>,
}

/// Switches and wake-ups, a list for each of their fields. Times count from the entry before.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CompactSched {
    #[prost(uint64, repeated, tag = "1")]
    pub(super) switch_timestamp: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub(super) switch_prev_state: Vec<i64>,
    #[prost(int32, repeated, tag = "3")]
    pub(super) switch_next_pid: Vec<i32>,
    #[prost(int32, repeated, tag = "4")]
    pub(super) switch_next_prio: Vec<i32>,
    #[prost(string, repeated, tag = "5")]
    pub(super) intern_table: Vec<String>,
    #[prost(uint32, repeated, tag = "6")]
    pub(super) switch_next_comm: Vec<u32>,
    #[prost(uint64, repeated, tag = "7")]
    pub(super) waking_timestamp: Vec<u64>,
    #[prost(int32, repeated, tag = "8")]
    pub(super) waking_pid: Vec<i32>,
    #[prost(int32, repeated, tag = "9")]
    pub(super) waking_target_cpu: Vec<i32>,
    #[prost(int32, repeated, tag = "10")]
    pub(super) waking_prio: Vec<i32>,
    #[prost(uint32, repeated, tag = "11")]
    pub(super) waking_comm: Vec<u32>,
    #[prost(uint32, repeated, tag = "12")]
    pub(super) waking_flags: Vec<u32>,
}

impl CompactSched {
    /// In `waking_flags`: an interrupt handler.
    pub(super) const HARD_IRQ: u32 = 8;
}

/// One event of ftrace.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FtraceEvent {
    #[prost(uint64, optional, tag = "1")]
    pub(super) timestamp: Option<u64>,
    /// The thread that caused it.
    #[prost(uint32, optional, tag = "2")]
    pub(super) pid: Option<u32>,
    #[prost(message, optional, tag = "20")]
    pub(super) waking: Option<Waking>,
}

/// A thread can run.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Waking {
    #[prost(string, optional, tag = "1")]
    pub(super) comm: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(super) pid: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    pub(super) prio: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    pub(super) success: Option<i32>,
    #[prost(int32, optional, tag = "5")]
    pub(super) target_cpu: Option<i32>,
}

/// A row of the picture.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Track {
    #[prost(uint64, optional, tag = "1")]
    pub(super) uuid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    pub(super) name: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub(super) process: Option<TrackProcess>,
    #[prost(message, optional, tag = "4")]
    pub(super) thread: Option<TrackThread>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) parent: Option<u64>,
    #[prost(message, optional, tag = "8")]
    pub(super) counter: Option<TrackCounter>,
    /// The order of its children: 3 is that of their ranks.
    #[prost(int32, optional, tag = "11")]
    pub(super) child_ordering: Option<i32>,
    #[prost(int32, optional, tag = "12")]
    pub(super) rank: Option<i32>,
    /// A sentence about what it shows.
    #[prost(string, optional, tag = "14")]
    pub(super) description: Option<String>,
}

/// The process that a track belongs to.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackProcess {
    #[prost(int32, optional, tag = "1")]
    pub(super) pid: Option<i32>,
    #[prost(string, optional, tag = "6")]
    pub(super) name: Option<String>,
}

/// The thread that a track belongs to.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackThread {
    #[prost(int32, optional, tag = "1")]
    pub(super) pid: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub(super) tid: Option<i32>,
    #[prost(string, optional, tag = "5")]
    pub(super) name: Option<String>,
}

/// Makes a track one of numbers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackCounter {
    #[prost(string, optional, tag = "6")]
    pub(super) unit: Option<String>,
}

/// Something happens on a track.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackEvent {
    #[prost(uint64, repeated, packed = "false", tag = "3")]
    pub(super) categories: Vec<u64>,
    #[prost(message, repeated, tag = "4")]
    pub(super) args: Vec<Arg>,
    /// 1 a slice begins, 2 ends, 3 an instant, 4 a counter's value.
    #[prost(int32, optional, tag = "9")]
    pub(super) kind: Option<i32>,
    #[prost(uint64, optional, tag = "10")]
    pub(super) name: Option<u64>,
    #[prost(uint64, optional, tag = "11")]
    pub(super) track: Option<u64>,
    #[prost(int64, optional, tag = "30")]
    pub(super) value: Option<i64>,
    /// Arrows that begin, or go on, here.
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    pub(super) flows: Vec<u64>,
    /// Arrows that end here.
    #[prost(fixed64, repeated, packed = "false", tag = "48")]
    pub(super) ending_flows: Vec<u64>,
}

/// A named value of an event.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Arg {
    #[prost(uint64, optional, tag = "1")]
    pub(super) name: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) number: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    pub(super) address: Option<u64>,
    #[prost(uint64, optional, tag = "17")]
    pub(super) interned: Option<u64>,
}

/// Names that later packets give by their numbers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Interned {
    #[prost(message, repeated, tag = "1")]
    pub(super) categories: Vec<Name>,
    #[prost(message, repeated, tag = "2")]
    pub(super) events: Vec<Name>,
    #[prost(message, repeated, tag = "3")]
    pub(super) args: Vec<Name>,
    #[prost(message, repeated, tag = "29")]
    pub(super) texts: Vec<InternedText>,
}

/// A name and its number.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Name {
    #[prost(uint64, optional, tag = "1")]
    pub(super) number: Option<u64>,
    #[prost(string, optional, tag = "2")]
    pub(super) name: Option<String>,
}

/// The text of an argument, and its number.
#[derive(Clone, PartialEq, Message)]
pub(super) struct InternedText {
    #[prost(uint64, optional, tag = "1")]
    pub(super) number: Option<u64>,
    #[prost(bytes, optional, tag = "2")]
    pub(super) text: Option<Vec<u8>>,
}
