//! How a page of a parked stack is taken away, and when it may be used again.

pub mod epoch;
pub mod page;
