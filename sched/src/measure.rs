//! Measurements of the scheduler by itself.

pub mod latency;
