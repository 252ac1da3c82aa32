//! The parts of Trefoil's host tool.
//!
//! As a library, so the machine tests use the same runner as `cargo run`.

pub mod book;
pub mod boots;
pub mod compare;
pub mod debug;
pub mod elf;
mod feed;
pub mod figures;
pub mod markers;
pub mod new;
pub mod qemu;
pub mod run;
pub mod sample;
pub mod symbols;
pub mod tidy;
