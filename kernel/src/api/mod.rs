//! The program's interface, except for what the scheduler itself provides: see the re-exports in
//! `lib.rs`.

pub mod collections;
#[doc(hidden)]
pub mod console;
pub mod log;
pub mod num;
pub(crate) mod options;
pub mod panic;
pub mod runtime;
pub(crate) mod schedtrace;
pub mod time;
pub mod trace;
