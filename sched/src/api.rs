//! The functions and types for programs.

pub mod chan;
pub mod context;
pub mod input;
pub mod join;
pub mod joinset;
pub mod local;
pub mod locks;
pub mod output;
pub mod panic;
pub mod par;
pub mod rand;
pub mod scope;
pub mod select;
pub mod spawn;
pub mod stats;
pub mod task;
pub mod time;
pub mod trace;
