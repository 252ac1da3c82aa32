//! The places where a runnable or free G stands: a P's ring, the global queue, the inbox for
//! interrupt handlers, the free lists, and the registry of all records.

pub mod free;
pub mod global;
pub mod inbox;
pub mod registry;
pub mod ring;
