//! Trefoil: a goroutine scheduler that is the whole machine.
#![no_std]

extern crate alloc;

pub mod arch;
pub mod console;
pub mod mm;
mod options;
mod panic;
mod report;
mod start;
