//! Instruments of the test images.

pub mod account;
mod cases;
pub mod deaths;
pub mod inject;
pub mod step;

pub use cases::Case;
