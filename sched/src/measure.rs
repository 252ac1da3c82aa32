//! What the scheduler measures of itself.

pub mod latency;
