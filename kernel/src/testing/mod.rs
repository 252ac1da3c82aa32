//! Instruments of the test images.

pub mod account;
pub mod step;
