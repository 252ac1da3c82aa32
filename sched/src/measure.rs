//! Measurements of the scheduler by itself.

pub mod latency;
#[cfg(all(loom, not(feature = "trace")))]
#[path = "measure/recorder.rs"]
pub mod modelled;
#[cfg(feature = "trace")]
pub mod recorder;
#[cfg(not(feature = "trace"))]
#[path = "measure/no_recorder.rs"]
pub mod recorder;
