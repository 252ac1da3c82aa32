//! Instruments of the test images.

pub mod account;
pub mod deaths;
pub mod inject;
pub mod step;
