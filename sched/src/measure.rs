//! The scheduler's measurements of itself.

pub mod latency;
