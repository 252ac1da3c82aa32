//! The recorder's keys: `trace`, `trace_size`, `trace_on_latency`, `trace_port`. Only in images
//! that have a recorder; the others have `trace_off.rs`.

use super::{number_in, size, take};

/// Valid values of `trace_size`, in bytes.
pub const SIZES: core::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;

/// Valid values of `trace_on_latency`, in microseconds.
pub const LATENCIES: core::ops::RangeInclusive<u64> = 1..=60_000_000;

/// The records that are kept when a ring is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The first ones.
    Full,
    /// The last ones, as a flight recorder does.
    Flight,
}

/// The way of a trace to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The fastest that the machine has.
    Fastest,
    /// The serial line, even if there is a faster port.
    Serial,
}

/// The recorder's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trace {
    /// `trace=full` or `trace=flight`: turns the recorder on; off unless told.
    pub mode: Option<Mode>,
    /// `trace_size=SIZE`: bytes of each M's ring, 4K to 1G; as the recorder says unless told.
    pub size: Option<usize>,
    /// `trace_on_latency=US`: a wake-up that takes longer makes a dump, 1 µs to a minute; none
    /// unless told.
    pub on_latency: Option<u64>,
    /// `trace_port=fastest` or `trace_port=serial`; the fastest unless told.
    pub port: Option<Port>,
}

impl Trace {
    /// Reads the value of `key`. Returns the expected text if the key refuses the value. `None`:
    /// the key is not the recorder's.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Option<Option<&'static str>> {
        Some(match key {
            b"trace" => {
                let mode = match value {
                    b"full" => Some(Mode::Full),
                    b"flight" => Some(Mode::Flight),
                    _ => None,
                };
                take(&mut self.mode, mode, "full or flight")
            }
            b"trace_size" => {
                let bytes = size(value).filter(|bytes| SIZES.contains(bytes));
                take(&mut self.size, bytes.map(|bytes| bytes as usize), "a size from 4K to 1G")
            }
            b"trace_on_latency" => {
                take(&mut self.on_latency, number_in(value, LATENCIES), "1 to 60000000 microseconds")
            }
            b"trace_port" => {
                let port = match value {
                    b"fastest" => Some(Port::Fastest),
                    b"serial" => Some(Port::Serial),
                    _ => None,
                };
                take(&mut self.port, port, "fastest or serial")
            }
            _ => return None,
        })
    }
}
